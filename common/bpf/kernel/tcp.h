/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "kernel/sock.h"
#include "kernel/task.h"
#include "kernel/types.h"

/* include/net/inet_connection_sock.h, include/uapi/linux/tcp.h */
enum { ICSK_TIME_LOSS_PROBE = 5 };
enum { TCP_CA_Recovery = 3 }; /* and TCP_CA_Loss above it */

/* A half-open connection. */
struct tcp_request_sock {
	__u32 snt_isn;
} CO_RE;

/* In an sk_buff's cb while it is TCP's. */
struct tcp_skb_cb {
	__u32 seq; /* host order */
	__u16 tcp_gso_segs;
} CO_RE;

/* Linux 6.17, ad892e912b84: of failed attempts as well. */
struct trace_event_raw_tcp_retransmit_skb___since_6_17 {
	int err;
} CO_RE;

/* Also of listening, half-open and time-wait sockets, which are no tcp_sock. */
struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
} CO_RE;
