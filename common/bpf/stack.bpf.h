/* SPDX-License-Identifier: GPL-2.0 */
/* --stack: the kernel stack behind an event, as the tail of its record. */
#pragma once

#include "events.bpf.h"

const volatile __u8 want_stack = 0;

#define STACK_FRAMES 127 /* the kernel's own limit, by default */

struct stack {
	__s64 size; /* bytes of frames in use, or a negative error */
	__u64 frames[STACK_FRAMES]; /* innermost first */
};

/* As event_reserve(); with room for the stack when that is wanted. */
#define event_reserve_with_stack(type)                                                   \
	({                                                                               \
		type *__event;                                                           \
		if (want_stack)                                                          \
			__event = bpf_ringbuf_reserve(                                   \
				&events, sizeof(type) + sizeof(struct stack), 0);        \
		else                                                                     \
			__event = bpf_ringbuf_reserve(&events, sizeof(type), 0);         \
		if (!__event)                                                            \
			count_lost();                                                    \
		__event;                                                                 \
	})

/* Fills in the stack of a record from event_reserve_with_stack(). */
#define event_stack(ctx, event)                                                          \
	do {                                                                             \
		if (want_stack) {                                                        \
			struct stack *__stack = (void *)((event) + 1);                   \
			__stack->size = bpf_get_stack(ctx, __stack->frames,              \
						      sizeof(__stack->frames), 0);       \
		}                                                                        \
	} while (0)
