/* SPDX-License-Identifier: GPL-2.0 */
#include "dns.bpf.h"
#include "events.bpf.h"
#include "filters.bpf.h"
#include "kernel/tcp.h"

#include "tcpconnect.h"

const volatile __u8 counting = 0; /* per flow, instead of events */
const volatile __u8 count_sports = 0; /* by local port as well */
const volatile __u8 want_place = 0; /* cookie and cgroup */

const struct tcpconnect_event *unused_event __attribute__((unused));
const enum tcpconnect_kind *unused_kind __attribute__((unused));

/* How many connects; the local port is 0 unless asked for. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, struct flow);
	__type(value, __u64);
} counts SEC(".maps");

/* The socket that a thread is connecting: from a function's call to its return. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct sock *);
} calls SEC(".maps");

/*
 * Without the functions: a connect() that has begun, until it is known to have
 * sent its SYN. By its socket's address, as not all that tells so may use socket
 * storage.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct sock *);
	__type(value, struct connector);
} begun SEC(".maps");

/* As BCC: a v4-mapped address is IPv4, for that is what is spoken. */
static __always_inline void flow_of_connect(struct flow *flow, struct sock *sk)
{
	__u32 *daddr = (__u32 *)flow->daddr, *saddr = (__u32 *)flow->saddr;

	flow_of_inet_sock(flow, sk, IPPROTO_TCP);
	if (flow->family != AF_INET6 || daddr[0] || daddr[1] || daddr[2] != bpf_htonl(0xffff))
		return;
	flow->family = AF_INET;
	daddr[0] = daddr[3];
	saddr[0] = saddr[3];
	daddr[2] = daddr[3] = 0;
	saddr[1] = saddr[2] = saddr[3] = 0;
}

static __always_inline bool flow_matches(const struct flow *flow)
{
	return family_matches(flow->family) && ports_match(flow->sport, flow->dport) &&
	       flow_addrs_match(flow);
}

static __always_inline void count(struct flow *flow)
{
	__u64 zero = 0, *value;

	if (!count_sports)
		flow->sport = 0;
	value = bpf_map_lookup_elem(&counts, flow);
	if (!value) {
		bpf_map_update_elem(&counts, flow, &zero, BPF_NOEXIST);
		value = bpf_map_lookup_elem(&counts, flow);
	}
	if (value)
		__sync_fetch_and_add(value, 1);
	else
		count_lost();
}

/* The task on the CPU connects `sk`. */
static __always_inline void note_connector(struct connector *connector, __u64 cookie)
{
	connector->ts_ns = bpf_ktime_get_ns();
	connector->cookie = cookie;
	connector->cgroup_id = want_place ? bpf_get_current_cgroup_id() : 0;
	bpf_get_current_comm(connector->comm, sizeof(connector->comm));
	connector->tgid = bpf_get_current_pid_tgid() >> 32;
	connector->uid = bpf_get_current_uid_gid();
}

static __always_inline void tell(struct sock *sk, struct flow *flow,
				 const struct connector *connector)
{
	struct tcpconnect_event *event = event_reserve(struct tcpconnect_event);

	if (!event)
		return;
	event->kind = TCPCONNECT_CONNECT;
	event->netns = netns_inum(sock_net(sk));
	event->connector = *connector;
	event->flow = *flow;
	event_submit(event);
}

/* The task on the CPU has connected `sk`, if `vouched` with a pointer that the
 * kernel vouches for. */
static __always_inline int connected(struct sock *sk, bool vouched)
{
	struct connector connector;
	struct flow flow;

	if (!netns_matches(sock_net(sk)))
		return 0;
	flow_of_connect(&flow, sk);
	if (!flow_matches(&flow))
		return 0;
	if (counting) {
		count(&flow);
		return 0;
	}
	note_connector(&connector, !want_place ? 0 : vouched ? make_cookie(sk) :
			BPF_CORE_READ(sk, __sk_common.skc_cookie.counter));
	tell(sk, &flow, &connector);
	return 0;
}

static __always_inline bool current_matches(void)
{
	return task_matches(bpf_get_current_pid_tgid());
}

/* An IPv6 socket that speaks IPv4 comes here from tcp_v6_connect(). */
static __always_inline bool begun_as_v6(struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET6;
}

/* fexit: arguments and result at once. */

SEC("fexit/tcp_v4_connect")
int BPF_PROG(fexit_v4, struct sock *sk, struct sockaddr *addr, int addr_len, int ret)
{
	if (ret || !current_matches() || begun_as_v6(sk))
		return 0;
	return connected(sk, true);
}

SEC("fexit/tcp_v6_connect")
int BPF_PROG(fexit_v6, struct sock *sk, struct sockaddr *addr, int addr_len, int ret)
{
	return ret || !current_matches() ? 0 : connected(sk, true);
}

/* kprobe and kretprobe: of a v6 function that calls the v4 one the inner return counts. */

static __always_inline int call(struct sock *sk)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();

	if (task_matches(pid_tgid) && bpf_map_update_elem(&calls, &pid_tgid, &sk, BPF_ANY))
		count_lost();
	return 0;
}

static __always_inline int call_returns(int ret)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct sock **kept = bpf_map_lookup_elem(&calls, &pid_tgid), *sk;

	if (!kept)
		return 0;
	sk = *kept;
	bpf_map_delete_elem(&calls, &pid_tgid);
	return ret ? 0 : connected(sk, false);
}

SEC("kprobe/tcp_v4_connect")
int BPF_KPROBE(kprobe_v4, struct sock *sk)
{
	return call(sk);
}

SEC("kprobe/tcp_v6_connect")
int BPF_KPROBE(kprobe_v6, struct sock *sk)
{
	return call(sk);
}

SEC("kretprobe/tcp_v4_connect")
int BPF_KRETPROBE(kretprobe_v4, int ret)
{
	return call_returns(ret);
}

SEC("kretprobe/tcp_v6_connect")
int BPF_KRETPROBE(kretprobe_v6, int ret)
{
	return call_returns(ret);
}

/*
 * Without the functions: the state becomes SYN_SENT in the task that connects,
 * before it is sure that a SYN can be sent. That shows by the first of these: the
 * system call ends, the state changes again, the SYN is sent again.
 */

static __always_inline int begin(struct sock *sk)
{
	struct connector connector;

	if (!sock_is_tcp(sk) || !netns_matches(sock_net(sk)) || !current_matches())
		return 0;
	note_connector(&connector, want_place ? make_cookie(sk) : 0);
	if (bpf_map_update_elem(&begun, &sk, &connector, BPF_ANY))
		count_lost();
	return 0;
}

/* Two of them may come at once, on two CPUs: only one can delete the entry. */
static __always_inline int confirm(struct sock *sk)
{
	struct connector *kept = bpf_map_lookup_elem(&begun, &sk), connector;
	struct flow flow;

	if (!kept)
		return 0;
	connector = *kept;
	if (bpf_map_delete_elem(&begun, &sk))
		return 0;
	flow_of_connect(&flow, sk);
	if (!flow_matches(&flow))
		return 0;
	if (counting)
		count(&flow);
	else
		tell(sk, &flow, &connector);
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_state, struct sock *sk, int oldstate, int newstate)
{
	struct tcp_sock *tcp = (struct tcp_sock *)sk;

	if (newstate == TCP_SYN_SENT)
		return begin(sk);
	if (oldstate != TCP_SYN_SENT)
		return 0;
	/*
	 * connect() itself has failed: nothing is under way. An answer that ends
	 * the attempt sets an error, close() leaves the SYN for later.
	 */
	if (newstate == TCP_CLOSE && !BPF_CORE_READ(sk, sk_err) &&
	    !BPF_CORE_READ(tcp, packets_out)) {
		bpf_map_delete_elem(&begun, &sk);
		return 0;
	}
	return confirm(sk);
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(retransmit, struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_SYN_SENT ? confirm(sk) : 0;
}

SEC("tracepoint/syscalls/sys_exit_connect")
int exit_connect(struct trace_event_raw_sys_exit *ctx)
{
	struct sock *sk = fd_sock(read_syscall_arg(current_regs(), 1));

	return sk ? confirm(sk) : 0;
}

char LICENSE[] SEC("license") = "GPL";
