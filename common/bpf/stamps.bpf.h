/* SPDX-License-Identifier: GPL-2.0 */
/*
 * When something began, by the address of the kernel's object: one array access
 * where a hash takes several times as long. Each object has one slot, which
 * others share: one that finds it taken is the caller's to keep elsewhere.
 */
#pragma once

#include "hash.bpf.h"

#define STAMPS_BITS 15

struct stamp {
	__u64 object;
	__u64 ns; /* 0: the slot is free */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << STAMPS_BITS);
	__type(key, __u32);
	__type(value, struct stamp);
} stamps SEC(".maps");

static __always_inline struct stamp *stamp_slot(void *object)
{
	__u32 index = pointer_hash(object, STAMPS_BITS);

	return bpf_map_lookup_elem(&stamps, &index);
}

/* The stamp of `object`, or NULL when its slot has none or another's. */
static __always_inline __u64 *stamp_find(void *object)
{
	struct stamp *slot = stamp_slot(object);

	return slot && slot->object == (__u64)object ? &slot->ns : NULL;
}

/*
 * Stores `ns` for `object`; false when the slot is taken. Two CPUs that take one
 * in the same few nanoseconds are not told apart: the first loses its stamp.
 */
static __always_inline bool stamp_store(void *object, __u64 ns)
{
	struct stamp *slot = stamp_slot(object);

	if (!slot || (slot->ns && slot->object != (__u64)object))
		return false;
	slot->object = (__u64)object;
	slot->ns = ns;
	return true;
}
