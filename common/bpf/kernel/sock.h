/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "kernel/cgroup.h"
#include "kernel/fs.h"
#include "kernel/ns.h"
#include "kernel/types.h"

enum { AF_INET = 2, AF_INET6 = 10 };

enum { SOCK_DONE = 1 }; /* include/net/sock.h: the other end's FIN is here */

enum { IPPROTO_ICMP = 1, IPPROTO_TCP = 6, IPPROTO_UDP = 17, IPPROTO_ICMPV6 = 58 };

/* include/net/tcp_states.h; the kernel asserts that they equal BPF_TCP_*. */
enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT,
	TCP_SYN_RECV,
	TCP_FIN_WAIT1,
	TCP_FIN_WAIT2,
	TCP_TIME_WAIT,
	TCP_CLOSE,
	TCP_CLOSE_WAIT,
	TCP_LAST_ACK,
	TCP_LISTEN,
	TCP_CLOSING,
	TCP_NEW_SYN_RECV,
};

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
	__u16 skc_num; /* the local port, host order */
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
	unsigned long skc_flags; /* 1 << SOCK_* */
	struct sock *skc_listener; /* of a half-open connection, TCP_NEW_SYN_RECV */
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

typedef struct {
	int owned;
} CO_RE socket_lock_t;

struct socket {
	struct file *file;
	struct sock *sk;
} CO_RE;

struct sock {
	struct sock_common __sk_common;
	socket_lock_t sk_lock;
	struct socket *sk_socket; /* NULL for one that its process has closed */
	__u16 sk_protocol;
	int sk_err; /* errno, positive */
	struct dst_entry *sk_dst_cache; /* the route */
	struct sock_cgroup_data sk_cgrp_data;
	struct bpf_local_storage *sk_bpf_storage; /* NULL: no BPF program keeps anything in it */
} CO_RE;

/*
 * A field of a socket, or of what a socket's field points to. A program that
 * gets all its sockets as typed arguments (tp_btf, fexit, iterators), and none
 * that is a request or in time-wait, defines TYPED_FULL_SOCKS: then it is a load,
 * not a helper's call. The verifier refuses that where it does not know the type.
 */
#ifdef TYPED_FULL_SOCKS
#define SOCK_READ(from, field) ((from)->field)
#else
#define SOCK_READ(from, field) BPF_CORE_READ(from, field)
#endif

struct inet_sock {
	__be16 inet_sport; /* network order; outlives skc_num, which a close clears */
} CO_RE;

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	__u8 icsk_pending; /* what the timer is for: ICSK_TIME_* */
	__u8 icsk_ca_state : 5; /* TCP_CA_* */
} CO_RE;

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u64 bytes_sent; /* payload, with what was sent again */
	__u64 bytes_retrans; /* payload that was sent again */
	__u64 bytes_acked; /* with SYN and FIN, which have numbers of their own */
	__u64 bytes_received; /* with the FIN */
	__u32 rcv_nxt; /* the other end's next sequence number; 0 while it has told none */
	__u32 srtt_us; /* in eighths */
	__u32 total_retrans; /* segments */
	__u32 packets_out; /* segments that are under way */
} CO_RE;
