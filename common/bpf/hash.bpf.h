/* SPDX-License-Identifier: GPL-2.0 */
/* A kernel object's place in an array, by its address. */
#pragma once

#include "kernel/types.h"

/* The lower half of an address as a number: the verifier lets no pointer be multiplied. */
static __always_inline __u32 pointer_low(void *pointer)
{
	__u64 low;

	asm("r0 = %1; w0 = w0; %0 = r0" : "=r"(low) : "r"(pointer) : "r0");
	return low;
}

/* Fibonacci hashing: the upper bits of the product depend on all of it. */
static __always_inline __u32 pointer_hash(void *pointer, __u32 bits)
{
	return pointer_low(pointer) * 0x9e3779b1 >> (32 - bits);
}
