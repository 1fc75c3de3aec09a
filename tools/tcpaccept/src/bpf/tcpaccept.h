/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "flow.bpf.h"

/* One connection that a process has accepted. */
struct tcpaccept_event {
	__u64 ts_ns; /* monotonic */
	__u64 cookie; /* 0: none was asked for yet */
	__u64 cgroup_id; /* of the task; 0: not asked for */
	struct flow flow; /* from the accepted socket's own end */
	__u8 comm[16]; /* of the thread */
	__u32 tgid;
	__u32 uid;
	__u32 netns; /* inode number */
	__u32 pad;
};

_Static_assert(sizeof(struct tcpaccept_event) == 96, "no hidden padding");
