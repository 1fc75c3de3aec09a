/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

/* What the names behind the file name lead to. */
enum opensnoop_base {
	BASE_NONE, /* there are none */
	BASE_DIR, /* the directory that the file name is relative to */
	BASE_FILE, /* the opened file itself: its name could not be read */
};

/*
 * One call of open(2), openat(2), openat2(2) or creat(2). Behind it stand the
 * file name as given, with its NUL, and, each with its NUL, the names from
 * `base` up to the root.
 */
struct opensnoop_event {
	__u64 ts_ns; /* monotonic */
	__u64 cgroup_id; /* 0 when not asked for */
	__u64 flags;
	__u64 mode;
	__u8 comm[16];
	__s32 ret; /* fd or -errno */
	__u32 tgid;
	__u32 pid; /* the thread */
	__u32 uid;
	__u16 name_size; /* 0 when the name could not be read */
	__u8 base; /* enum opensnoop_base */
	__u8 base_end; /* enum path_end */
	__u32 padding;
};

_Static_assert(sizeof(struct opensnoop_event) == 72, "no hidden padding");
