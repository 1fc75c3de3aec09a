/* SPDX-License-Identifier: GPL-2.0 */
/* Listening sockets: their queues, and the table they are found in. */
#pragma once

#include "kernel/sock.h"
#include "kernel/types.h"

struct sock___listen {
	__u32 sk_ack_backlog; /* connections that wait for accept() */
	__u32 sk_max_ack_backlog;
} CO_RE;

struct hlist_nulls_node {
	struct hlist_nulls_node *next; /* the lowest bit set: the end */
} CO_RE;

struct hlist_nulls_head {
	struct hlist_nulls_node *first;
} CO_RE;

struct sock_common___listen {
	struct hlist_nulls_node skc_nulls_node;
} CO_RE;

struct inet_listen_hashbucket {
	struct hlist_nulls_head nulls_head;
} CO_RE;

struct inet_hashinfo {
	unsigned int lhash2_mask;
	struct inet_listen_hashbucket *lhash2; /* by local address and port */
} CO_RE;

struct inet_timewait_death_row {
	struct inet_hashinfo *hashinfo;
} CO_RE;

struct netns_ipv4 {
	struct inet_timewait_death_row tcp_death_row;
} CO_RE;

struct net___listen {
	__u32 hash_mix;
	struct netns_ipv4 ipv4;
} CO_RE;
