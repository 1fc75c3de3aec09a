/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fine histogram slots: HIST_SUB_SLOTS of equal width per power of two, so a
 * value is known to within 1/16 of itself, and the slots of one power of two
 * add up to BCC's. The same function in Rust: common::hist::slot_of.
 */
#pragma once

#include "kernel/types.h"

#define HIST_SUB_BITS 4
#define HIST_SUB_SLOTS (1 << HIST_SUB_BITS)

/* floor(log2(v)), 0 for 0 */
static __always_inline __u32 log2_floor(__u64 v)
{
	__u32 power = 0;

	if (v >> 32) { v >>= 32; power += 32; }
	if (v >> 16) { v >>= 16; power += 16; }
	if (v >> 8) { v >>= 8; power += 8; }
	if (v >> 4) { v >>= 4; power += 4; }
	if (v >> 2) { v >>= 2; power += 2; }
	if (v >> 1) power += 1;
	return power;
}

static __always_inline __u32 hist_slot(__u64 v)
{
	__u32 power;

	if (v < HIST_SUB_SLOTS)
		return v;
	power = log2_floor(v);
	return (power - HIST_SUB_BITS + 1) * HIST_SUB_SLOTS +
	       ((v >> (power - HIST_SUB_BITS)) & (HIST_SUB_SLOTS - 1));
}
