/* SPDX-License-Identifier: GPL-2.0 */
#include "events.bpf.h"
#include "tcpretrans.h"

const struct tcpretrans_event *unused_event __attribute__((unused));

struct sk_buff;

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(retransmit, struct sock *sk, struct sk_buff *skb)
{
	struct tcpretrans_event *event;

	if (!family_matches(sk->__sk_common.skc_family) || !netns_matches(sock_net(sk)))
		return 0;
	if (!sock_cgroup_matches(sk))
		return 0;
	event = event_reserve(struct tcpretrans_event);
	if (!event)
		return 0;
	event->ts_ns = bpf_ktime_get_ns();
	flow_of_sock(&event->flow, sk, IPPROTO_TCP);
	origin_of_sock(&event->origin, sk);
	event->origin.cookie = make_cookie(sk);
	event->tgid = bpf_get_current_pid_tgid() >> 32;
	event->state = sk->__sk_common.skc_state;
	if (!flow_addrs_match(&event->flow) || !ports_match(event->flow.sport, event->flow.dport)) {
		bpf_ringbuf_discard(event, BPF_RB_NO_WAKEUP);
		return 0;
	}
	event_submit(event);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
