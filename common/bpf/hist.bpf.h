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

/*
 * A histogram in parts, one per power of two (the values below HIST_SUB_SLOTS are
 * the first): where there are many histograms, most of a whole one is zeros.
 */
struct hist_part {
	__u64 total;
	__u64 max;
	__u64 slots[HIST_SUB_SLOTS];
};

/* A time in microseconds or, with 1000000, milliseconds. */
static __always_inline __u64 in_units(__u64 ns, __u64 unit_ns)
{
	/* As compilers divide 32 bits; the kernel's emits a division, which takes longer. */
	if (unit_ns == 1000 && ns <= 0xffffffff)
		return ns * 274877907 >> 38;
	return ns / unit_ns;
}

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

/*
 * The same without the cost of atomic operations, for a histogram per CPU that
 * one program adds to: the kernel runs it once at a time on a CPU.
 */
static __always_inline void hist_add_this_cpu(struct hist *hist, __u64 value, __u64 amount)
{
	__u64 slot = hist_slot(value);

	barrier_var(slot);
	if (slot >= HIST_SLOTS)
		slot = HIST_SLOTS - 1;
	hist->slots[slot]++;
	hist->total += amount;
	if (value > hist->max)
		hist->max = value;
}

/* `slot` is hist_slot()'s: which part of a histogram it is in … */
static __always_inline __u32 hist_part(__u32 slot)
{
	return (slot < HIST_SLOTS ? slot : HIST_SLOTS - 1) / HIST_SUB_SLOTS;
}

/* … and the same as hist_add(), in that part. */
static __always_inline void hist_part_add(struct hist_part *part, __u32 slot, __u64 value,
					  __u64 amount)
{
	__u64 sub = slot < HIST_SLOTS ? slot % HIST_SUB_SLOTS : HIST_SUB_SLOTS - 1;

	barrier_var(sub);
	if (sub >= HIST_SUB_SLOTS)
		return;
	__sync_fetch_and_add(&part->slots[sub], 1);
	__sync_fetch_and_add(&part->total, amount);
	if (value > part->max)
		part->max = value;
}
