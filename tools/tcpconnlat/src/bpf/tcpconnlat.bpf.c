/* SPDX-License-Identifier: GPL-2.0 */
#include "events.bpf.h"
#include "hist.bpf.h"
#include "kernel/errno.h"
#include "kernel/skb.h"
#include "kernel/syscall.h"
#include "kernel/task.h"

#include "tcpconnlat.h"

const volatile __u32 filter_tgid = 0;
const volatile __u64 min_ns = 0;
const volatile __u8 want_failed = 0;
const volatile __u8 want_hist = 0; /* instead of events */
const volatile __u8 want_origin = 0; /* cookie, cgroup and network namespace */

const struct tcpconnlat_event *unused_event __attribute__((unused));

struct start {
	__u64 ts_ns; /* 0: answered */
	__u32 tgid;
	__u8 comm[16];
};

/* A connect() that is under way, in its socket: gone with it. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct start);
} starts SEC(".maps");

/*
 * The same for kprobes, which cannot use socket storage, and for Linux 5.10,
 * whose tracing programs cannot.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct sock *);
	__type(value, struct start);
} starts_hash SEC(".maps");

/* Latencies in microseconds. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hist);
} latencies SEC(".maps");

/* What a socket's start is kept in. */
enum store { IN_SOCK, IN_HASH };

/* connect() begins, in the process that calls it. */
static __always_inline int begin(struct sock *sk, enum store store)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct start start = {};

	if (filter_tgid && tgid != filter_tgid)
		return 0;
	if (!family_matches(BPF_CORE_READ(sk, __sk_common.skc_family)) ||
	    !netns_matches(sock_net(sk)))
		return 0;
	if (filter_cgroup && !cgroup_matches(sock_cgroup(sk)))
		return 0;

	start.ts_ns = bpf_ktime_get_ns();
	start.tgid = tgid;
	bpf_get_current_comm(start.comm, sizeof(start.comm));
	if (store == IN_SOCK) {
		struct start *kept = bpf_sk_storage_get(&starts, sk, &start,
							BPF_SK_STORAGE_GET_F_CREATE);

		if (kept)
			*kept = start;
		else
			count_lost();
	} else if (bpf_map_update_elem(&starts_hash, &sk, &start, BPF_ANY)) {
		count_lost();
	}
	return 0;
}

static __always_inline void show(struct sock *sk, struct start *start, enum store store,
				 enum tcpconnlat_outcome outcome, __u32 error)
{
	__u64 now = bpf_ktime_get_ns(), cookie = 0;
	struct tcpconnlat_event *event;
	struct flow flow;

	if (now - start->ts_ns < min_ns)
		return;
	flow_of_inet_sock(&flow, sk, IPPROTO_TCP);
	if (!ports_match(flow.sport, flow.dport) || !flow_addrs_match(&flow))
		return;
	if (want_hist) {
		__u64 us = (now - start->ts_ns) / 1000;
		struct hist *hist;
		__u32 zero = 0;

		hist = bpf_map_lookup_elem(&latencies, &zero);
		if (hist)
			hist_add(hist, us, us);
		return;
	}
	if (want_origin) /* for a kprobe a pointer is just a number */
		cookie = store == IN_SOCK ? make_cookie(sk) :
					    BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	event = event_reserve(struct tcpconnlat_event);
	if (!event)
		return;
	event->ts_ns = now;
	event->delta_ns = now - start->ts_ns;
	event->cookie = cookie;
	event->cgroup_id = want_origin ? cgroup_id(sock_cgroup(sk)) : 0;
	event->flow = flow;
	__builtin_memcpy(event->comm, start->comm, sizeof(event->comm));
	event->tgid = start->tgid;
	event->netns = want_origin ? netns_inum(sock_net(sk)) : 0;
	event->error = error;
	event->outcome = outcome;
	event_submit(event);
}

/* connect() has come to its end, if it is one that was seen to begin. */
static __always_inline int end(struct sock *sk, enum store store,
			       enum tcpconnlat_outcome outcome, __u32 error)
{
	struct start *start = store == IN_SOCK ? bpf_sk_storage_get(&starts, sk, 0, 0) :
						 bpf_map_lookup_elem(&starts_hash, &sk);

	if (!start || !start->ts_ns)
		return 0;
	if (outcome != TCPCONNLAT_FAILED || want_failed)
		show(sk, start, store, outcome, error);
	/* To delete it would cost more than the memory that goes with the socket. */
	if (store == IN_SOCK)
		start->ts_ns = 0;
	else
		bpf_map_delete_elem(&starts_hash, &sk);
	return 0;
}

/* The socket closes: a start that it still has was never answered. */
static __always_inline int closed(struct sock *sk, enum store store)
{
	struct inet_sock *inet = (struct inet_sock *)sk;
	__u32 error = BPF_CORE_READ(sk, sk_err);

	/* connect() found no free local port: that error is just returned. */
	if (!error && !BPF_CORE_READ(inet, inet_sport))
		error = EADDRNOTAVAIL;
	return end(sk, store, TCPCONNLAT_FAILED, error);
}

/* The first segment that comes back, whatever becomes of it. */
static __always_inline int segment(struct sock *sk, struct sk_buff *skb, enum store store)
{
	unsigned char *tcp, flags = 0;

	if (BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_SYN_SENT)
		return 0;
	tcp = BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, transport_header);
	bpf_probe_read_kernel(&flags, 1, tcp + 13);
	if (flags & 0x04) /* RST */
		return end(sk, store, TCPCONNLAT_REFUSED, ECONNREFUSED);
	return end(sk, store, TCPCONNLAT_ANSWERED, 0);
}

/* An IPv6 socket that speaks IPv4 comes here from tcp_v6_connect(). */
static __always_inline bool begun_as_v6(struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET6;
}

SEC("fentry/tcp_v4_connect")
int BPF_PROG(fentry_v4, struct sock *sk)
{
	return begun_as_v6(sk) ? 0 : begin(sk, IN_SOCK);
}

SEC("fentry/tcp_v6_connect")
int BPF_PROG(fentry_v6, struct sock *sk)
{
	return begin(sk, IN_SOCK);
}

SEC("fentry/tcp_rcv_state_process")
int BPF_PROG(fentry_segment, struct sock *sk, struct sk_buff *skb)
{
	return segment(sk, skb, IN_SOCK);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_closed, struct sock *sk, int oldstate, int newstate)
{
	return oldstate == TCP_SYN_SENT && newstate == TCP_CLOSE ? closed(sk, IN_SOCK) : 0;
}

SEC("kprobe/tcp_v4_connect")
int BPF_KPROBE(kprobe_v4, struct sock *sk)
{
	return begun_as_v6(sk) ? 0 : begin(sk, IN_HASH);
}

SEC("kprobe/tcp_v6_connect")
int BPF_KPROBE(kprobe_v6, struct sock *sk)
{
	return begin(sk, IN_HASH);
}

SEC("kprobe/tcp_rcv_state_process")
int BPF_KPROBE(kprobe_segment, struct sock *sk, struct sk_buff *skb)
{
	return segment(sk, skb, IN_HASH);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_closed_hash, struct sock *sk, int oldstate, int newstate)
{
	return oldstate == TCP_SYN_SENT && newstate == TCP_CLOSE ? closed(sk, IN_HASH) : 0;
}

/* A connect() that failed before it changed the state. */
SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(destroy_hash, struct sock *sk)
{
	bpf_map_delete_elem(&starts_hash, &sk);
	return 0;
}

/* Without the functions themselves: the connection's states. */
static __always_inline int state_set(struct sock *sk, int oldstate, int newstate, enum store store)
{
	if (newstate == TCP_SYN_SENT)
		return sock_is_tcp(sk) ? begin(sk, store) : 0;
	if (oldstate != TCP_SYN_SENT)
		return 0;
	return newstate == TCP_CLOSE ? closed(sk, store) :
				       end(sk, store, TCPCONNLAT_ANSWERED, 0);
}

static __always_inline int reset_received(struct sock *sk, enum store store)
{
	if (sk->__sk_common.skc_state != TCP_SYN_SENT)
		return 0;
	return end(sk, store, TCPCONNLAT_REFUSED, ECONNREFUSED);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_state, struct sock *sk, int oldstate, int newstate)
{
	return state_set(sk, oldstate, newstate, IN_SOCK);
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(receive_reset, struct sock *sk)
{
	return reset_received(sk, IN_SOCK);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_state_hash, struct sock *sk, int oldstate, int newstate)
{
	return state_set(sk, oldstate, newstate, IN_HASH);
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(receive_reset_hash, struct sock *sk)
{
	return reset_received(sk, IN_HASH);
}

char LICENSE[] SEC("license") = "GPL";
