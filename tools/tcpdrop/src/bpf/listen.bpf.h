/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which listener a SYN is for: the look-up of __inet_lookup_listener() and
 * inet6_lookup_listener() over again, for a program that has just the packet.
 */
#pragma once

#include "flow.bpf.h"
#include "kernel/listen.h"

/* include/linux/jhash.h */
#define JHASH_INITVAL 0xdeadbeef

static __always_inline __u32 rol32(__u32 word, const int shift)
{
	return word << shift | word >> (32 - shift);
}

static __always_inline __u32 jhash_final(__u32 a, __u32 b, __u32 c)
{
	c ^= b; c -= rol32(b, 14);
	a ^= c; a -= rol32(c, 11);
	b ^= a; b -= rol32(a, 25);
	c ^= b; c -= rol32(b, 16);
	a ^= c; a -= rol32(c, 4);
	b ^= a; b -= rol32(a, 14);
	c ^= b; c -= rol32(b, 24);
	return c;
}

static __always_inline __u32 jhash_1(__u32 word, __u32 start)
{
	start += JHASH_INITVAL + (1 << 2);
	return jhash_final(word + start, start, start);
}

static __always_inline __u32 jhash_4(const __u32 *words, __u32 start)
{
	__u32 a, b, c;

	start += JHASH_INITVAL + (4 << 2);
	a = start + words[0];
	b = start + words[1];
	c = start + words[2];
	a -= c; a ^= rol32(c, 4); c += b;
	b -= a; b ^= rol32(a, 6); a += c;
	c -= b; c ^= rol32(b, 8); b += a;
	a -= c; a ^= rol32(c, 16); c += b;
	b -= a; b ^= rol32(a, 19); a += c;
	c -= b; c ^= rol32(b, 4); b += a;
	return jhash_final(a + words[3], b, c);
}

/* sk_acceptq_is_full(): such a listener drops a SYN. */
static __always_inline bool accept_queue_full(struct sock *sk)
{
	struct sock___listen *listen = (void *)sk;

	return BPF_CORE_READ(listen, sk_ack_backlog) > BPF_CORE_READ(listen, sk_max_ack_backlog);
}

static __always_inline bool listens_at(struct sock *sk, const struct flow *flow, bool any)
{
	__u32 addr[4];

	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET ||
	    (flow->family == AF_INET && !any))
		/* Of an IPv6 socket at a v4-mapped address as well. */
		return flow->family == AF_INET &&
		       BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr) ==
			       (any ? 0 : *(const __be32 *)flow->daddr);
	BPF_CORE_READ_INTO(&addr, sk, __sk_common.skc_v6_rcv_saddr);
	if (any)
		return !(addr[0] | addr[1] | addr[2] | addr[3]);
	return addr[0] == ((const __u32 *)flow->daddr)[0] &&
	       addr[1] == ((const __u32 *)flow->daddr)[1] &&
	       addr[2] == ((const __u32 *)flow->daddr)[2] &&
	       addr[3] == ((const __u32 *)flow->daddr)[3];
}

/* Sockets of one list that are looked at. */
#define LISTEN_MAX_SOCKETS 32

/*
 * A listener for the flow's destination whose accept queue is full. Of several
 * (SO_REUSEPORT) it is not known which one the SYN was for, so all must be full.
 */
static __always_inline struct sock *full_listener_in(struct inet_hashinfo *table, __u32 hash,
						     struct net *net, const struct flow *flow,
						     bool any, bool *found)
{
	struct inet_listen_hashbucket *bucket = BPF_CORE_READ(table, lhash2);
	struct hlist_nulls_node *node;
	struct sock *full = NULL;

	hash = (hash ^ flow->dport) & BPF_CORE_READ(table, lhash2_mask);
	bucket = (void *)bucket + hash * (__u64)bpf_core_type_size(struct inet_listen_hashbucket);
	node = BPF_CORE_READ(bucket, nulls_head.first);
	for (int i = 0; i < LISTEN_MAX_SOCKETS && !((__u64)node & 1); i++) {
		struct sock *sk = (void *)node - bpf_core_field_offset(struct sock_common___listen,
								       skc_nulls_node);

		if (BPF_CORE_READ(sk, __sk_common.skc_num) == flow->dport &&
		    BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_LISTEN &&
		    sock_net(sk) == net && listens_at(sk, flow, any)) {
			*found = true;
			if (!accept_queue_full(sk))
				return NULL;
			full = sk;
		}
		node = BPF_CORE_READ(node, next);
	}
	return full;
}

static __always_inline struct sock *full_listener(struct net *net, const struct flow *flow)
{
	struct net___listen *listen = (void *)net;
	struct inet_hashinfo *table = BPF_CORE_READ(listen, ipv4.tcp_death_row.hashinfo);
	__u32 mix = BPF_CORE_READ(listen, hash_mix), hash;
	bool found = false;
	struct sock *full;

	if (!table)
		return NULL;
	if (flow->family == AF_INET6)
		hash = jhash_4((const __u32 *)flow->daddr, mix);
	else
		hash = jhash_1(*(const __u32 *)flow->daddr, mix);
	full = full_listener_in(table, hash, net, flow, false, &found);
	if (found)
		return full;
	return full_listener_in(table, jhash_1(0, mix), net, flow, true, &found);
}
