/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "kernel/types.h"

/* Counts of one CPU, which only grow. */
struct cachestat_counts {
	__u64 accessed; /* pages that were looked up to be read; some ways count buffers as well */
	__u64 touched; /* buffers that were looked up */
	__u64 added; /* pages that came into the cache … */
	__u64 added_to_write; /* … and of those, which a write made */
	__u64 dirtied_bytes;
};

_Static_assert(sizeof(struct cachestat_counts) == 40, "no hidden padding");
