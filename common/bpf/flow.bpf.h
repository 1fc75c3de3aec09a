/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A flow - two ends and a protocol - and the filters of the tools that show
 * flows. Constants that are not set cost nothing.
 */
#pragma once

#include "cgroup.bpf.h"
#include "kernel/sock.h"
#include "ports.bpf.h"
#include <bpf/bpf_endian.h>

const volatile __u16 filter_family = 0;
const volatile __u32 filter_netns = 0; /* inode number */
/*
 * --addr ADDR/LEN: an IPv6 address in 32-bit words of network order, IPv4 as
 * ::ffff:a.b.c.d; an all-zero mask matches all.
 */
const volatile __u32 filter_addr[4] = {};
const volatile __u32 filter_addr_mask[4] = {};
const volatile __u8 filter_addrs = 0;

struct flow {
	__u8 saddr[16]; /* network order; IPv4 in the first four bytes, then zeroes */
	__u8 daddr[16];
	__u16 sport; /* host order; 0 for a protocol without ports */
	__u16 dport;
	__u16 family; /* AF_INET, AF_INET6; 0: not IP */
	__u8 proto; /* IPPROTO_* */
	__u8 pad;
};

_Static_assert(sizeof(struct flow) == 40, "no hidden padding");

/* Of a full socket. */
static __always_inline bool sock_is_tcp(struct sock *sk)
{
	return SOCK_READ(sk, sk_protocol) == IPPROTO_TCP;
}

/* The TCP or UDP socket's own end as the source. Also of a request or time-wait socket. */
static __always_inline void flow_of_sock(struct flow *flow, struct sock *sk, __u8 proto)
{
	struct sock_common *common = (struct sock_common *)sk;

	flow->family = SOCK_READ(common, skc_family);
	flow->proto = proto;
	flow->pad = 0;
	flow->sport = SOCK_READ(common, skc_num);
	flow->dport = bpf_ntohs(SOCK_READ(common, skc_dport));
	if (flow->family == AF_INET6) {
		BPF_CORE_READ_INTO(&flow->saddr, common, skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&flow->daddr, common, skc_v6_daddr);
	} else {
		__builtin_memset(flow->saddr, 0, 32); /* daddr as well */
		*(__be32 *)flow->saddr = SOCK_READ(common, skc_rcv_saddr);
		*(__be32 *)flow->daddr = SOCK_READ(common, skc_daddr);
	}
}

/* Of a full socket: the port also once a close has given it back. */
static __always_inline void flow_of_inet_sock(struct flow *flow, struct sock *sk, __u8 proto)
{
	struct inet_sock *inet = (struct inet_sock *)sk;

	flow_of_sock(flow, sk, proto);
	flow->sport = bpf_ntohs(SOCK_READ(inet, inet_sport));
}

/*
 * The cookie of a socket to which a tp_btf or fentry program got a pointer that
 * the kernel vouches for. Makes one, where the kernel can (Linux 5.12).
 */
static __always_inline __u64 make_cookie(struct sock *sk)
{
	if (bpf_core_type_exists(btf_bpf_get_socket_ptr_cookie))
		return bpf_get_socket_cookie(sk);
	return BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
}

/* Whether an address is in a network that is given as --addr is. */
static __always_inline bool addr_in(const __u8 *addr, __u16 family, const volatile __u32 *net,
				    const volatile __u32 *mask)
{
	const __u32 *word = (const __u32 *)addr;

	if (family == AF_INET6)
		return (word[0] & mask[0]) == net[0] && (word[1] & mask[1]) == net[1] &&
		       (word[2] & mask[2]) == net[2] && (word[3] & mask[3]) == net[3];
	return !(net[0] | net[1]) && (bpf_htonl(0xffff) & mask[2]) == net[2] &&
	       (word[0] & mask[3]) == net[3];
}

static __always_inline bool addr_matches(const __u8 *addr, __u16 family)
{
	return addr_in(addr, family, filter_addr, filter_addr_mask);
}

/* --addr: either end. */
static __always_inline bool flow_addrs_match(const struct flow *flow)
{
	if (!filter_addrs)
		return true;
	return flow->family && (addr_matches(flow->saddr, flow->family) ||
				addr_matches(flow->daddr, flow->family));
}

static __always_inline bool family_matches(__u16 family)
{
	return !filter_family || family == filter_family;
}

static __always_inline __u32 netns_inum(struct net *net)
{
	return SOCK_READ(net, ns.inum);
}

/* Also of a request or time-wait socket. */
static __always_inline struct net *sock_net(struct sock *sk)
{
	return SOCK_READ(sk, __sk_common.skc_net.net);
}

static __always_inline bool netns_matches(struct net *net)
{
	return !filter_netns || netns_inum(net) == filter_netns;
}
