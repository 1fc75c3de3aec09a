/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

enum fsslower_op {
	OP_READ,
	OP_WRITE,
	OP_OPEN,
	OP_FSYNC,
	OP_GETATTR,
	OP_COMMIT,
};

/* The task whose operation it is. */
struct actor {
	__u64 cgroup_id; /* 0 when not asked for */
	__u8 comm[16];
	__u32 tgid;
	__u32 pid; /* the thread */
};

/* An operation that is over. Behind it stands the file's name, with its NUL. */
struct fsslower_event {
	__u64 ts_ns; /* of its end; monotonic */
	__u64 latency_ns;
	__s64 offset; /* bytes */
	__s64 result; /* bytes or -errno */
	__s64 length; /* bytes that were asked for, where that is known */
	struct actor actor;
	__u16 name_size; /* 0 when the name is not known */
	__u8 op; /* enum fsslower_op */
	__u8 padding[5];
};

_Static_assert(sizeof(struct fsslower_event) == 80, "no hidden padding");
