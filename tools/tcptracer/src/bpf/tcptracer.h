/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "flow.bpf.h"

/* As BCC numbers them. */
enum tcptracer_kind { TCPTRACER_CONNECT = 1, TCPTRACER_ACCEPT, TCPTRACER_CLOSE };

/* Who connects, accepts or closes. */
struct actor {
	__u64 cgroup_id; /* of the task; 0: not asked for */
	__u8 comm[16]; /* of the thread */
	__u32 tgid; /* 0: nobody */
	__u32 uid;
};

/* The begin or the end of one end of a connection. */
struct tcptracer_event {
	__u64 ts_ns; /* monotonic */
	__u64 cookie; /* 0: none was asked for yet */
	struct actor actor;
	struct flow flow; /* from the socket's own end */
	__u32 netns; /* inode number */
	__u32 kind; /* enum tcptracer_kind */
};

_Static_assert(sizeof(struct tcptracer_event) == 96, "no hidden padding");
