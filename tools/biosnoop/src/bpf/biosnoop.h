/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "kernel/types.h"

/* As numbers of `pattern`. */
enum { PATTERN_UNKNOWN, PATTERN_SEQUENTIAL, PATTERN_RANDOM };

/* No time: it was not seen. */
#define NOT_SEEN (~0ULL)
/* The kernel's sector of a request without a place, such as a flush. */
#define NOWHERE (~0ULL)

/* One request that has completed. */
struct biosnoop_event {
	__u64 ts_ns; /* monotonic, of the completion */
	__u64 latency_ns; /* since its issue; of one that was never issued since its making */
	__u64 queue_ns; /* from its making to its issue, or NOT_SEEN */
	__u64 sector; /* or NOWHERE */
	__u64 cgroup; /* id of the owner's; 0: not known, or not asked for */
	__u32 bytes;
	__u32 cmd_flags; /* operation, REQ_* */
	__u32 disk_dev; /* major << 20 | minor; 0: no disk */
	__u32 dev; /* of the partition, else of the disk; 0: not asked for */
	__u32 tgid;
	__u32 pid;
	__s32 error; /* negative: -errno; positive: a blk_status_t */
	__u16 pattern;
	__u16 has_maker; /* it is known who made it */
	__u8 comm[16];
	__u8 disk[32];
};

_Static_assert(sizeof(struct biosnoop_event) == 120, "no hidden padding");
