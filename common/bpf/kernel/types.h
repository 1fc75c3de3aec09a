/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The integer types and the constants of the BPF system call's stable
 * interface that our programs use. Kernel types live in the headers beside
 * this one, one per subsystem: only the structs and fields that are read,
 * each relocated (CO-RE) to where the running kernel has it.
 */
#pragma once

/* bpf_tracing.h: take the kernel's names of pt_regs' fields. */
#define __VMLINUX_H__

typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u16 __sum16;

typedef _Bool bool;
enum { false = 0, true = 1 };

#define NULL ((void *)0)
/* A kernel type: its field offsets are relocated at load. */
#define CO_RE __attribute__((preserve_access_index))

typedef struct {
	__s64 counter;
} CO_RE atomic64_t;

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_STACK_TRACE = 7,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_SK_STORAGE = 24,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};

/* Helpers that not every kernel of ours has. */
enum bpf_func_id {
	BPF_FUNC_task_pt_regs = 175, /* Linux 5.15 */
};

struct sock;

/* bpf_get_socket_cookie() in tracing programs: Linux 5.12, under an old number. */
typedef __u64 (*btf_bpf_get_socket_ptr_cookie)(struct sock *);

enum { BPF_ANY = 0, BPF_NOEXIST = 1, BPF_EXIST = 2 };
enum { BPF_F_NO_PREALLOC = 1, BPF_F_MMAPABLE = 1 << 10 };
enum { BPF_F_USER_STACK = 1 << 8 };
enum { BPF_SK_STORAGE_GET_F_CREATE = 1, BPF_LOCAL_STORAGE_GET_F_CREATE = 1 };
enum { BPF_RB_NO_WAKEUP = 1, BPF_RB_FORCE_WAKEUP = 2 };
enum { BPF_RB_AVAIL_DATA = 0, BPF_RB_RING_SIZE = 1 };

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
