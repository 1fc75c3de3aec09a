/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

/*
 * One call of execve(2) or execveat(2). Behind it stand the file name and the
 * arguments, argv[0] first, each with its NUL. Where that does not fit in one
 * record, the next one of the same thread and time goes on with it.
 */
struct execsnoop_event {
	__u64 ts_ns; /* monotonic */
	__u64 cgroup_id; /* 0 when not asked for */
	__u64 unread; /* bit per argument that could not be read; "" stands for it */
	__u8 comm[16];
	__u8 parent_comm[16];
	__s32 ret; /* 0 or -errno */
	__u32 tgid;
	__u32 pid; /* the thread that called */
	__u32 ppid;
	__u32 uid;
	__u32 cpu;
	__u32 argc; /* more than there are here: not all are shown */
	__s32 dfd; /* of a failed execveat(2); else AT_FDCWD */
	__u8 interpreted; /* interpreters have put arguments before the file name */
	__u8 keeps_argv0; /* behind which argv[0] has stayed */
	__u8 continues; /* in another record */
	__u8 padding[5];
};

_Static_assert(sizeof(struct execsnoop_event) == 96, "no hidden padding");
