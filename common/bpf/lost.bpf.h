/* SPDX-License-Identifier: GPL-2.0 */
/* The count of what got lost. */
#pragma once

#include "kernel/types.h"

/*
 * Events that could not be handed over or stored: read by common::lost. Mapped,
 * for while a process asks the kernel for a map's value, the kernel skips
 * kprobe and tracepoint programs on that CPU.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

static __always_inline void count_lost(void)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(&lost, &zero);

	if (count)
		__sync_fetch_and_add(count, 1);
}
