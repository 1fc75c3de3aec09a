/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "flow.bpf.h"
#include "origin.bpf.h"

/* What a socket has carried since it was last looked at. */
struct tcptop_event {
	__u64 sent; /* bytes of payload that the other end has acknowledged */
	__u64 received; /* bytes of payload */
	struct flow flow; /* from the socket's own end */
	struct origin origin;
};

_Static_assert(sizeof(struct tcptop_event) == 104, "no hidden padding");

/* Who has sent and received by which connection: what the calls are counted by. */
struct tcptop_key {
	struct flow flow;
	__u8 comm[16];
	__u32 tgid;
	__u32 netns; /* inode number */
};

_Static_assert(sizeof(struct tcptop_key) == 64, "no hidden padding");

/* The counts only grow: user space takes the difference to its last look. */
struct tcptop_calls {
	__u64 sent; /* bytes that the calls have returned */
	__u64 received;
	__u64 cgroup_id; /* of the socket */
	__u64 cookie;
};
