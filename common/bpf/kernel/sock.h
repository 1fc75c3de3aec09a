/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "kernel/cgroup.h"
#include "kernel/ns.h"
#include "kernel/types.h"

enum { AF_INET = 2, AF_INET6 = 10 };

/* include/net/tcp_states.h; the kernel asserts that they equal BPF_TCP_*. */
enum { TCP_CLOSE = 7 };

struct in6_addr {
	union {
		__u8 u6_addr8[16];
	} in6_u;
} CO_RE;

typedef struct {
	struct net *net;
} CO_RE possible_net_t;

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport; /* network order */
	unsigned short skc_family;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
} CO_RE;

struct sock_cgroup_data {
} CO_RE;

/* Linux 5.15, 8520e224f547; also in later releases of 5.10. */
struct sock_cgroup_data___pointer {
	struct cgroup *cgroup;
} CO_RE;

/*
 * Before, one word was the pointer or, with one of its two lowest bits set,
 * net_cls' and net_prio's numbers.
 */
struct sock_cgroup_data___word {
	__u64 val;
} CO_RE;

struct sock {
	struct sock_common __sk_common;
	struct sock_cgroup_data sk_cgrp_data;
} CO_RE;

struct inet_sock {
	__be16 inet_sport; /* network order; outlives skc_num, which a close clears */
} CO_RE;

struct inet_connection_sock {
	struct inet_sock icsk_inet;
} CO_RE;

struct tcp_sock {
	struct inet_connection_sock inet_conn;
} CO_RE;
