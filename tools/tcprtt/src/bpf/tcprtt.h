/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "hist.bpf.h"

/* What a histogram is of. */
struct tcprtt_key {
	__u8 addr[16]; /* network order; IPv4 in the first four bytes, then zeroes */
	__u16 family; /* 0: of all addresses */
	__u8 pad[6];
};

_Static_assert(sizeof(struct tcprtt_key) == 24, "no hidden padding");
