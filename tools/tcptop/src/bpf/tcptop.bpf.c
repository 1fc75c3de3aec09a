/* SPDX-License-Identifier: GPL-2.0 */
#define TYPED_FULL_SOCKS

#include "calls.bpf.h"
#include "events.bpf.h"
#include "filters.bpf.h"
#include "tcptop.h"
#include "traffic.bpf.h"

const volatile __u8 want_all = 0; /* what only JSON shows */

const struct tcptop_event *unused_event __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 18);
	__type(key, struct tcptop_key);
	__type(value, struct tcptop_calls);
} calls SEC(".maps");

static __always_inline bool flow_matches(const struct flow *flow)
{
	return ports_match(flow->sport, flow->dport) && flow_addrs_match(flow);
}

static __always_inline bool moved(struct bpf_iter_meta *meta, struct sock *sk,
				  struct tcp_sock *tcp, __u64 sent, __u64 received)
{
	struct tcptop_event event;

	flow_of_tcp_sock(&event.flow, sk, tcp);
	if (!flow_matches(&event.flow))
		return true;
	event.sent = sent;
	event.received = received;
	origin_of_sock(&event.origin, sk);
	if (want_all)
		event.origin.cookie = make_cookie((struct sock *)tcp);
	if (meta)
		return !bpf_seq_write(meta->seq, &event, sizeof(event));
	event_output(&event, sizeof(event));
	return true;
}

static __always_inline void called(struct sock *sk, __u64 sent, __u64 received)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct tcptop_key key = {}; /* older helpers leave what is behind the name */
	struct tcptop_calls *count, first = { .sent = sent, .received = received };

	if ((filter_tgid && pid_tgid >> 32 != filter_tgid) || !container_matches())
		return;
	flow_of_sock(&key.flow, sk, IPPROTO_TCP);
	if (!flow_matches(&key.flow))
		return;
	key.tgid = pid_tgid >> 32;
	key.netns = netns_inum(sock_net(sk));
	bpf_get_current_comm(key.comm, sizeof(key.comm));
	count = bpf_map_lookup_elem(&calls, &key);
	if (!count) {
		if (want_all) {
			first.cgroup_id = cgroup_id(sock_cgroup(sk));
			first.cookie = make_cookie(sk);
		}
		if (!bpf_map_update_elem(&calls, &key, &first, BPF_NOEXIST))
			return;
		/* Another CPU has just done the same, or there is no room. */
		count = bpf_map_lookup_elem(&calls, &key);
		if (!count) {
			count_lost();
			return;
		}
	}
	if (sent)
		__sync_fetch_and_add(&count->sent, sent);
	else
		__sync_fetch_and_add(&count->received, received);
}

/* One program for both. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(sock_state, struct sock *sk, int oldstate, int newstate)
{
	owner_state(sk, newstate);
	return traffic_state(sk, oldstate, newstate, TRAFFIC_IN_SOCK);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(sock_state_hash, struct sock *sk, int oldstate, int newstate)
{
	owner_state(sk, newstate);
	return traffic_state(sk, oldstate, newstate, TRAFFIC_IN_HASH);
}

char LICENSE[] SEC("license") = "GPL";
