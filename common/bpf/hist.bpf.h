/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fine histograms: HIST_SUB_SLOTS slots of equal width per power of two, so a
 * value is known to within 1/16 of itself, and the slots of one power of two
 * add up to BCC's. The same layout in Rust: common::hist.
 */
#pragma once

#include "kernel/types.h"

#define HIST_SUB_BITS 4
#define HIST_SUB_SLOTS (1 << HIST_SUB_BITS)
/* Values of 2^HIST_MAX_POWER (12 days in microseconds) and up are in the last slot. */
#define HIST_MAX_POWER 40
#define HIST_SLOTS ((HIST_MAX_POWER - HIST_SUB_BITS + 1) * HIST_SUB_SLOTS)

/* All counts only grow: user space takes the difference to its last look. */
struct hist {
	__u64 total; /* of the values, in the unit of the tool's choice */
	__u64 max;
	__u64 slots[HIST_SLOTS];
};

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

/*
 * Counts `value`, which adds `amount` to the total. Exact also where several
 * CPUs share the histogram; max may then miss one of two records set at once.
 */
static __always_inline void hist_add(struct hist *hist, __u64 value, __u64 amount)
{
	__u64 slot = hist_slot(value);

	/* The verifier must see that the very register that was checked is used. */
	barrier_var(slot);
	if (slot >= HIST_SLOTS)
		slot = HIST_SLOTS - 1;
	__sync_fetch_and_add(&hist->slots[slot], 1);
	__sync_fetch_and_add(&hist->total, amount);
	if (value > hist->max)
		hist->max = value;
}
