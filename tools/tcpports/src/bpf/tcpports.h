/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "flow.bpf.h"

/* What the ports are counted by: --by, in the order of the enum in Rust. */
enum tcpports_by { BY_NETNS, BY_LADDR, BY_RADDR, BY_PROCESS, BY_CGROUP };

/* A socket that has a port of the range. The iterator writes no more of it than is asked for. */
struct tcpports_socket {
	__u16 lport; /* host order */
	__u16 rport;
	__u8 state; /* TCP_* */
	__u8 family; /* AF_* */
	__u8 exclusive; /* nobody gets the port by a connect(), wherever to */
	__u8 pad;
	/* With any but BY_NETNS: */
	__u8 laddr[16];
	__u8 raddr[16];
	/* BY_PROCESS, BY_CGROUP: */
	__u64 inode; /* of its file; 0: none */
	__u64 cgroup_id; /* 0: not known */
	__u8 comm[16];
	__u32 tgid; /* of a socket without a file; 0: not known */
	__u32 netns;
};

_Static_assert(sizeof(struct tcpports_socket) == 80, "no hidden padding");

/* What uses of ports are counted by. */
struct tcpports_group {
	__u8 laddr[16];
	__u8 raddr[16];
	__u64 id; /* a process or a cgroup */
	__u32 netns;
	__u16 rport;
	__u16 family;
};

_Static_assert(sizeof(struct tcpports_group) == 48, "no hidden padding");

enum tcpports_call { CALL_CONNECT, CALL_BIND, CALL_LISTEN };

/* A call that has failed. */
struct tcpports_failure {
	__u64 ts_ns; /* monotonic */
	__u64 cgroup_id; /* of the socket */
	struct flow flow; /* as asked for */
	__u8 comm[16];
	__u32 tgid;
	__u32 netns;
	__u16 error; /* errno */
	__u8 call;
	__u8 pad[5];
};

_Static_assert(sizeof(struct tcpports_failure) == 88, "no hidden padding");
