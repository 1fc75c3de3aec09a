/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "flow.bpf.h"

/* What a record of the ring is: its first member. */
enum tcpconnect_kind { TCPCONNECT_CONNECT, TCPCONNECT_ANSWER };

/* Who called connect(), and when. */
struct connector {
	__u64 ts_ns; /* monotonic */
	__u64 cookie; /* of the socket; 0: none was asked for yet */
	__u64 cgroup_id; /* of the task; 0: not asked for */
	__u8 comm[16]; /* of the thread */
	__u32 tgid;
	__u32 uid;
};

/* One connect() that has sent its SYN. */
struct tcpconnect_event {
	__u32 kind;
	__u32 netns; /* inode number */
	struct connector connector;
	struct flow flow; /* from the client; IPv4 also for a v4-mapped address */
};

_Static_assert(sizeof(struct tcpconnect_event) == 96, "no hidden padding");

/* A datagram of a name server that a process has received; it follows. */
struct tcpconnect_answer {
	__u32 kind;
	__u32 size; /* what there is of it */
	__u64 ts_ns;
};

_Static_assert(sizeof(struct tcpconnect_answer) == 16, "no hidden padding");
