/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "hist.bpf.h"

/* Which histogram: what does not tell them apart is 0. */
struct biolatency_key {
	__u32 dev; /* of the whole disk, major << 20 | minor; 0: none */
	__u32 cmd_flags;
};

struct biolatency_disk {
	__u64 gendisk; /* the disk whose name this is; 0: not known yet */
	__u8 name[32];
};

struct biolatency_hist {
	struct hist hist; /* total in nanoseconds */
	struct biolatency_disk disk;
};

_Static_assert(sizeof(struct biolatency_key) == 8, "no hidden padding");
_Static_assert(sizeof(struct biolatency_disk) == 40, "no hidden padding");
