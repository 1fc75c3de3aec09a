/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Events to user space: a ring buffer, and a count of what did not fit.
 */
#pragma once

#include "lost.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 2 << 20);
} events SEC(".maps");

/* User space is woken when the ring holds this much: an eighth of it. */
const volatile __u64 ring_wakeup_bytes = 256 << 10;

/*
 * A wake-up costs several times as much as the event, so user space comes by
 * itself (common::session) and is woken only as the ring fills past the mark.
 * Past it just the first few events wake: a reader that is awake but slow
 * does not make every further event pay.
 */
#define RING_WAKEUP_WINDOW 4096

static __always_inline __u64 ring_flags(void)
{
	__u64 used = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA);

	return used - ring_wakeup_bytes < RING_WAKEUP_WINDOW ?
		BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* Room for one event, or NULL when the ring is full (counted). */
#define event_reserve(type)                                                    \
	({                                                                     \
		type *__event = bpf_ringbuf_reserve(&events, sizeof(type), 0); \
		if (!__event)                                                  \
			count_lost();                                          \
		__event;                                                       \
	})

static __always_inline void event_submit(void *event)
{
	bpf_ringbuf_submit(event, ring_flags());
}

/* An event that ends with a tail as long as its content: copies `size` bytes. False: lost. */
static __always_inline bool event_output(void *event, __u64 size)
{
	if (!bpf_ringbuf_output(&events, event, size, ring_flags()))
		return true;
	count_lost();
	return false;
}
