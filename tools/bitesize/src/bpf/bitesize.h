/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "kernel/types.h"

/* Whose I/O a histogram is of. */
struct bitesize_key {
	__u8 comm[16];
};

_Static_assert(sizeof(struct bitesize_key) == 16, "no hidden padding");
