/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "kernel/types.h"

/* What is counted: a stack of a process. */
struct profile_key {
	__u64 stack; /* a hash of the frames */
	__u64 start_ns; /* with tgid: which process; since boot */
	__u32 tgid;
	__u32 exec_id; /* which of its programs, one after the other */
	__u8 comm[16];
};

struct profile_count {
	__u64 samples;
	__u64 sent; /* user space has the stack */
};

/* A stack that is new, behind it its frames: the kernel's, then the user's, innermost first. */
struct profile_stack {
	struct profile_key key;
	__u32 kernel_bytes;
	__u32 user_bytes;
};

_Static_assert(sizeof(struct profile_key) == 40, "no hidden padding");
_Static_assert(sizeof(struct profile_count) == 16, "no hidden padding");
_Static_assert(sizeof(struct profile_stack) == 48, "no hidden padding");
