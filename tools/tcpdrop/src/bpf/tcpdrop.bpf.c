/* SPDX-License-Identifier: GPL-2.0 */
#include "skb.bpf.h"
#include "stack.bpf.h"

#include "tcpdrop.h"

const struct tcpdrop_event *unused_event __attribute__((unused));

static __always_inline int trace(void *ctx, struct sk_buff *skb, struct sock *sk, __u32 reason, __u64 location)
{
	struct tcpdrop_event *event;
	struct net_device *dev;
	struct packet packet;
	struct flow flow;
	struct net *net;

	packet_find(&packet, skb);
	if (!family_matches(packet_family(&packet)))
		return 0;
	if (!packet_ip(&packet, &flow) || flow.proto != IPPROTO_TCP || !flow_addrs_match(&flow))
		return 0;
	packet_ports(&packet, &flow);
	if (!sk)
		sk = BPF_CORE_READ(skb, sk);
	if (!ports_match(flow.dport, flow.sport) || !sock_cgroup_matches(sk))
		return 0;
	net = skb_net(skb, sk);
	if (!netns_matches(net))
		return 0;
	event = event_reserve_with_stack(struct tcpdrop_event);
	if (!event)
		return 0;
	event->ts_ns = bpf_ktime_get_ns();
	event->location = location;
	event->flow = flow;
	origin_of_sock(&event->origin, sk);
	event->origin.netns = netns_inum(net);
	dev = skb_dev(skb);
	event->ifindex = 0;
	__builtin_memset(event->ifname, 0, sizeof(event->ifname));
	if (dev) {
		event->ifindex = BPF_CORE_READ(dev, ifindex);
		BPF_CORE_READ_STR_INTO(&event->ifname, dev, name);
	}
	event->tgid = bpf_get_current_pid_tgid() >> 32;
	event->reason = reason;
	event->length = packet_length(&packet, skb);
	event->state = sk ? BPF_CORE_READ(sk, __sk_common.skc_state) : 0;
	event->tcp_flags = packet_tcp_flags(&packet);
	__builtin_memset(event->pad, 0, sizeof(event->pad));
	event->pad[0] = packet_vlan(&packet, skb);
	event_stack(ctx, event);
	event_submit(event);
	return 0;
}

SEC("tp_btf/kfree_skb")
int kfree_skb(__u64 *ctx)
{
	return trace(ctx, kfree_skb_skb(ctx), kfree_skb_rx_sk(ctx), kfree_skb_reason(ctx), kfree_skb_location(ctx));
}

SEC("raw_tp/kfree_skb")
int kfree_skb_raw(__u64 *ctx)
{
	return trace(ctx, kfree_skb_skb(ctx), kfree_skb_rx_sk(ctx), kfree_skb_reason(ctx), kfree_skb_location(ctx));
}

char LICENSE[] SEC("license") = "GPL";
