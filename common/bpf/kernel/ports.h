/* SPDX-License-Identifier: GPL-2.0 */
/* A namespace's local ports, and what holds one. */
#pragma once

#include "kernel/sock.h"
#include "kernel/types.h"

/* Before Linux 6.8 (41db7626b732). */
struct local_ports___pair {
	int range[2]; /* the lowest, the highest */
} CO_RE;

/* Since then: the highest in the upper half. */
struct local_ports___word {
	__u32 range;
} CO_RE;

struct local_ports {
} CO_RE;

struct netns_ipv4___ports {
	struct local_ports ip_local_ports;
} CO_RE;

struct net___ports {
	struct netns_ipv4___ports ipv4;
} CO_RE;

/* Of a port: the sockets on it. Negative: only such as connect() has given the port to. */
struct inet_bind_bucket {
	signed char fastreuse;
	signed char fastreuseport;
} CO_RE;

struct inet_connection_sock___ports {
	struct inet_bind_bucket *icsk_bind_hash;
} CO_RE;

struct inet_timewait_sock {
	unsigned char tw_substate; /* TCP_TIME_WAIT or TCP_FIN_WAIT2 */
	struct inet_bind_bucket *tw_tb;
} CO_RE;

/* include/uapi/linux/in.h, in6.h */
struct sockaddr_in {
	__u16 sin_family;
	__be16 sin_port;
	__u8 sin_addr[4];
};

struct sockaddr_in6 {
	__u16 sin6_family;
	__be16 sin6_port;
	__be32 sin6_flowinfo;
	__u8 sin6_addr[16];
};
