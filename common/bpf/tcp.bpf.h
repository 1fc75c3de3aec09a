/* SPDX-License-Identifier: GPL-2.0 */
/* What a TCP socket knows of itself. */
#pragma once

#include "cgroup.bpf.h"
#include "flow.bpf.h"
#include "kernel/tcp.h"

/* The filters that a socket meets all its life, or never. */
static __always_inline bool tcp_sock_matches(struct sock *sk)
{
	return family_matches(SOCK_READ(sk, __sk_common.skc_family)) && sock_is_tcp(sk) &&
	       netns_matches(sock_net(sk)) && (!filter_cgroup || cgroup_matches(sock_cgroup(sk)));
}

/* Its own end as the source. The port also once a close has given it back. */
static __always_inline void flow_of_tcp_sock(struct flow *flow, struct sock *sk,
					     struct tcp_sock *tcp)
{
	flow_of_sock(flow, sk, IPPROTO_TCP);
	flow->sport = bpf_ntohs(tcp->inet_conn.icsk_inet.inet_sport);
}

/*
 * Bytes of payload that the other end has acknowledged. What was acknowledged
 * has the SYN and the FIN in it, what was sent has not.
 */
static __always_inline __u64 tcp_sent(struct tcp_sock *tcp)
{
	__u64 sent = tcp->bytes_sent - tcp->bytes_retrans;
	__u64 acked = tcp->bytes_acked;

	return sent < acked ? sent : acked;
}

/* Bytes of payload: the other end's FIN is counted as one more. */
static __always_inline __u64 tcp_received(struct sock *sk, struct tcp_sock *tcp)
{
	__u64 received = tcp->bytes_received;

	if (received && SOCK_READ(sk, __sk_common.skc_flags) & 1 << SOCK_DONE)
		received--;
	return received;
}
