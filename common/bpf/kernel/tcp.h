/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "kernel/sock.h"
#include "kernel/types.h"

/* include/net/inet_connection_sock.h, include/net/tcp.h, include/uapi/linux/tcp.h */
enum { ICSK_TIME_LOSS_PROBE = 5 };
enum { TCP_CA_Recovery = 3 }; /* and TCP_CA_Loss above it */

struct inet_connection_sock___timer {
	__u8 icsk_pending; /* what the timer is for: ICSK_TIME_* */
	__u8 icsk_ca_state : 5;
} CO_RE;

struct tcp_sock___statistics {
	__u32 total_retrans; /* segments */
} CO_RE;

/* A half-open connection. */
struct tcp_request_sock {
	__u32 snt_isn;
} CO_RE;

/* In an sk_buff's cb while it is TCP's. */
struct tcp_skb_cb {
	__u32 seq; /* host order */
	__u16 tcp_gso_segs;
} CO_RE;

struct sk_buff;

struct sk_buff___in_tcp {
	char cb[48];
	unsigned int len; /* without headers, as these come with each transmission */
} CO_RE;

struct net_device___route {
	char name[16];
	int ifindex;
} CO_RE;

struct dst_entry___route {
	struct net_device___route *dev;
} CO_RE;

struct sock___route {
	struct dst_entry___route *sk_dst_cache;
} CO_RE;

/* Linux 6.17, ad892e912b84: of failed attempts as well. */
struct trace_event_raw_tcp_retransmit_skb___since_6_17 {
	int err;
} CO_RE;
