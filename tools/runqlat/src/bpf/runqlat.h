/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "hist.bpf.h"

/* A part of the histogram of one process, thread or PID namespace. */
struct runqlat_key {
	__u32 id;
	__u32 part; /* hist_part()'s */
};

struct runqlat_part {
	struct hist_part hist; /* total in nanoseconds */
	__u64 last_ns; /* when this part was last added to … */
	__u8 comm[16]; /* … and the name then; none for a namespace */
};

_Static_assert(sizeof(struct runqlat_key) == 8, "no hidden padding");
_Static_assert(sizeof(struct runqlat_part) == 168, "no hidden padding");
