/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Port lists: one bit per port, so that a list of any length costs one array
 * access. Ports are in host order.
 */
#pragma once

#include "kernel/types.h"

const volatile __u8 filter_sports = 0;
const volatile __u8 filter_dports = 0;

struct port_bitmap {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536 / 64);
	__type(key, __u32);
	__type(value, __u64);
};

struct port_bitmap sports SEC(".maps"), dports SEC(".maps");

static __always_inline bool port_in(void *bitmap, __u16 port)
{
	__u32 index = port / 64;
	__u64 *word = bpf_map_lookup_elem(bitmap, &index);

	return word && *word & 1ULL << port % 64;
}

static __always_inline bool ports_match(__u16 local, __u16 remote)
{
	if (filter_sports && !port_in(&sports, local))
		return false;
	return !filter_dports || port_in(&dports, remote);
}
