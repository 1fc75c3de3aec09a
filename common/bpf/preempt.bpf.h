/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel skips a program (and counts that: common::lost) while the same
 * one is already running on that CPU. When a task is preempted in the middle
 * of one, all that happens on its CPU until it goes on is missed. A program
 * that cannot be preempted, from Linux 6.10, misses far less.
 */
#pragma once

#include "kernel/types.h"

extern void bpf_preempt_disable(void) __ksym __weak;
extern void bpf_preempt_enable(void) __ksym __weak;

static __always_inline void preempt_off(void)
{
	if (bpf_ksym_exists(bpf_preempt_disable))
		bpf_preempt_disable();
}

static __always_inline void preempt_on(void)
{
	if (bpf_ksym_exists(bpf_preempt_enable))
		bpf_preempt_enable();
}
