/* SPDX-License-Identifier: GPL-2.0 */
#define TYPED_FULL_SOCKS

#include "calls.bpf.h"
#include "tcpsubnet.h"
#include "traffic.bpf.h"

const volatile __u32 subnet_count = 0;

/* In the order of the command line: the first that holds the address counts. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TCPSUBNET_MAX);
	__type(key, __u32);
	__type(value, struct tcpsubnet_net);
} subnets SEC(".maps");

/* Bytes sent to each, which only grow: user space takes the difference. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TCPSUBNET_MAX);
	__type(key, __u32);
	__type(value, __u64);
} sent SEC(".maps");

static __always_inline void add(const struct flow *flow, __u64 bytes)
{
	struct tcpsubnet_net *net;
	__u64 *count;
	__u32 index;

	if (!ports_match(flow->sport, flow->dport) || !flow_addrs_match(flow))
		return;
	for (__u32 i = 0; i < TCPSUBNET_MAX; i++) {
		if (i >= subnet_count)
			return;
		index = i;
		net = bpf_map_lookup_elem(&subnets, &index);
		if (!net)
			return;
		if (!addr_in(flow->daddr, flow->family, net->addr, net->mask))
			continue;
		count = bpf_map_lookup_elem(&sent, &index);
		if (count)
			__sync_fetch_and_add(count, bytes);
		return;
	}
}

static __always_inline bool moved(struct bpf_iter_meta *meta, struct sock *sk,
				  struct tcp_sock *tcp, __u64 bytes, __u64 received)
{
	struct flow flow;

	if (!bytes)
		return true;
	flow_of_tcp_sock(&flow, sk, tcp);
	add(&flow, bytes);
	return true;
}

static __always_inline void called(struct sock *sk, __u64 bytes, __u64 received)
{
	struct flow flow;

	if (!bytes)
		return;
	flow_of_sock(&flow, sk, IPPROTO_TCP);
	add(&flow, bytes);
}

char LICENSE[] SEC("license") = "GPL";
