/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

/* One TCP state change. */
struct tcpstates_event {
	__u64 ts_ns; /* monotonic */
	__u64 skaddr;
	__u64 duration_ns; /* in the old state; 0 when its start was not seen */
	__u64 cgroup_id; /* of the socket; 0: root, or not asked for */
	__u8 laddr[16]; /* network order; IPv4 in the first four bytes */
	__u8 raddr[16];
	__u8 comm[16];
	__u32 tgid; /* of the task on the CPU, which may be a bystander */
	__u32 netns; /* inode number; 0 when not asked for */
	__u16 lport; /* host order */
	__u16 rport; /* host order */
	__u16 family;
	__u8 oldstate;
	__u8 newstate;
};

_Static_assert(sizeof(struct tcpstates_event) == 96, "no hidden padding");
