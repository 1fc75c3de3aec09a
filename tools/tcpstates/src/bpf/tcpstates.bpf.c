/* SPDX-License-Identifier: GPL-2.0 */
#include "cgroup.bpf.h"
#include "events.bpf.h"
#include "kernel/sock.h"
#include "ports.bpf.h"
#include "stamps.bpf.h"
#include <bpf/bpf_endian.h>

#include "tcpstates.h"

const volatile __u16 filter_family = 0;
const volatile __u8 want_origin = 0; /* cgroup and network namespace */

const struct tcpstates_event *unused_event __attribute__((unused));

/* When a socket entered its state, in the socket itself. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} since SEC(".maps");

/* The same for 5.10, whose tracing programs cannot use socket storage. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct sock *);
	__type(value, __u64);
} since_hash SEC(".maps");

/*
 * When a client began to connect, taken out of `stamps`; 0 for none. With -L a
 * client's first change comes before it has a local port: storage for each of
 * them, few of which get one of the list, takes ten times as long.
 */
static __always_inline __u64 take_connecting(struct sock *sk)
{
	__u64 *stamp = stamp_find(sk), since = 0;

	if (stamp) {
		since = *stamp;
		*stamp = 0;
	}
	return since;
}

/* Notes that `newstate` was entered at `now`; how long `oldstate` lasted. */
static __always_inline __u64 change(struct sock *sk, __u64 now, int oldstate, int newstate,
				    bool in_sock)
{
	__u64 duration = 0, *start;

	if (in_sock) {
		start = bpf_sk_storage_get(&since, sk, 0,
			newstate == TCP_CLOSE ? 0 : BPF_SK_STORAGE_GET_F_CREATE);
	} else {
		start = bpf_map_lookup_elem(&since_hash, &sk);
	}
	/* A closed socket may be used again: its next state starts anew. */
	if (start && *start && oldstate != TCP_CLOSE)
		duration = now - *start;
	if (in_sock && filter_sports && oldstate == TCP_SYN_SENT) {
		__u64 connecting = take_connecting(sk);

		if (connecting)
			duration = now - connecting;
	}

	if (newstate == TCP_CLOSE) {
		if (!in_sock && start)
			bpf_map_delete_elem(&since_hash, &sk);
	} else if (start) {
		*start = now;
	} else if (!in_sock) {
		bpf_map_update_elem(&since_hash, &sk, &now, BPF_ANY);
	}
	return duration;
}

static __always_inline int trace(struct sock *sk, int oldstate, int newstate, bool in_sock)
{
	__u16 family = sk->__sk_common.skc_family;
	struct tcpstates_event *event;
	struct tcp_sock *tcp;
	__u16 lport, rport;
	__u64 now, duration;
	bool match, undecided;

	if (filter_family && family != filter_family)
		return 0;
	/* SCTP, DCCP and MPTCP sockets come by here as well. */
	tcp = bpf_skc_to_tcp_sock(sk);
	if (!tcp)
		return 0;
	if (filter_cgroup && !cgroup_matches(sock_cgroup(sk)))
		return 0;

	lport = bpf_ntohs(tcp->inet_conn.icsk_inet.inet_sport);
	rport = bpf_ntohs(sk->__sk_common.skc_dport);
	match = ports_match(lport, rport);
	/* A client's local port is 0 in its first change; others stay as they are. */
	undecided = (filter_sports && !lport) || (filter_dports && !rport);
	if (!match && !undecided && in_sock) {
		if (filter_sports && oldstate == TCP_SYN_SENT)
			take_connecting(sk);
		return 0;
	}
	now = bpf_ktime_get_ns();
	if (!match && in_sock && filter_sports && newstate == TCP_SYN_SENT && stamp_store(sk, now))
		return 0;
	duration = change(sk, now, oldstate, newstate, in_sock);
	if (!match)
		return 0;

	event = event_reserve(struct tcpstates_event);
	if (!event)
		return 0;
	event->ts_ns = now;
	event->skaddr = (__u64)sk;
	event->duration_ns = duration;
	event->tgid = bpf_get_current_pid_tgid() >> 32;
	event->lport = lport;
	event->rport = rport;
	event->family = family;
	event->oldstate = oldstate;
	event->newstate = newstate;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	if (family == AF_INET6) {
		bpf_probe_read_kernel(event->laddr, 16, &sk->__sk_common.skc_v6_rcv_saddr);
		bpf_probe_read_kernel(event->raddr, 16, &sk->__sk_common.skc_v6_daddr);
	} else {
		__builtin_memset(event->laddr, 0, 32); /* raddr as well */
		*(__be32 *)event->laddr = sk->__sk_common.skc_rcv_saddr;
		*(__be32 *)event->raddr = sk->__sk_common.skc_daddr;
	}
	event->cgroup_id = want_origin ? cgroup_id(sock_cgroup(sk)) : 0;
	event->netns = want_origin ? sk->__sk_common.skc_net.net->ns.inum : 0;
	event_submit(event);
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_state, struct sock *sk, int oldstate, int newstate)
{
	return trace(sk, oldstate, newstate, true);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_state_hash, struct sock *sk, int oldstate, int newstate)
{
	return trace(sk, oldstate, newstate, false);
}

char LICENSE[] SEC("license") = "GPL";
