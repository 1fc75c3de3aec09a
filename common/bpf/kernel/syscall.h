/* SPDX-License-Identifier: GPL-2.0 */
/*
 * System calls as the kernel enters them: the function behind each one, and
 * where a task's saved registers hold its number and arguments. The registers
 * keep the arguments until the call is over. They are read with plain loads:
 * `regs` must be a pointer whose type the verifier knows.
 */
#pragma once

#include "kernel/task.h"
#include "kernel/types.h"

#if defined(__TARGET_ARCH_x86)

#define SYSCALL_PREFIX "__x64_sys_"
#define HAVE_SYSCALL_OPEN

enum {
	NR_read = 0,
	NR_write = 1,
	NR_open = 2,
	NR_pread64 = 17,
	NR_pwrite64 = 18,
	NR_readv = 19,
	NR_writev = 20,
	NR_accept = 43,
	NR_recvfrom = 45,
	NR_recvmsg = 47,
	NR_execve = 59,
	NR_fsync = 74,
	NR_fdatasync = 75,
	NR_creat = 85,
	NR_openat = 257,
	NR_accept4 = 288,
	NR_preadv = 295,
	NR_pwritev = 296,
	NR_recvmmsg = 299,
	NR_execveat = 322,
	NR_preadv2 = 327,
	NR_pwritev2 = 328,
	NR_openat2 = 437,
};

enum { NR_connect = 42, NR_bind = 49, NR_listen = 50 };

struct pt_regs {
	unsigned long r10;
	unsigned long r8;
	unsigned long cx;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long ax; /* when a function has returned: its result */
	unsigned long orig_ax;
} CO_RE;

#define syscall_nr(regs) ((int)(regs)->orig_ax)
#define syscall_arg1(regs) ((regs)->di)
#define syscall_arg2(regs) ((regs)->si)
#define syscall_arg3(regs) ((regs)->dx)
#define syscall_arg4(regs) ((regs)->r10)
/* The same as fields, for BPF_CORE_READ(). */
#define SYSCALL_NR orig_ax
#define SYSCALL_ARG1 di
#define SYSCALL_ARG2 si
#define SYSCALL_ARG3 dx
#define SYSCALL_ARG4 r10
#define SYSCALL_ARG5 r8
#define function_result(regs) ((long)(regs)->ax)

/* Whether the task is in a 32-bit system call, whose numbers mean others. */
static __always_inline bool in_compat_syscall(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, thread_info.status) & 0x0002; /* TS_COMPAT */
}

#elif defined(__TARGET_ARCH_arm64)

#define SYSCALL_PREFIX "__arm64_sys_"

enum {
	NR_openat = 56,
	NR_read = 63,
	NR_write = 64,
	NR_readv = 65,
	NR_writev = 66,
	NR_pread64 = 67,
	NR_pwrite64 = 68,
	NR_preadv = 69,
	NR_pwritev = 70,
	NR_fsync = 82,
	NR_fdatasync = 83,
	NR_accept = 202,
	NR_recvfrom = 207,
	NR_recvmsg = 212,
	NR_execve = 221,
	NR_accept4 = 242,
	NR_recvmmsg = 243,
	NR_execveat = 281,
	NR_preadv2 = 286,
	NR_pwritev2 = 287,
	NR_openat2 = 437,
};

enum { NR_bind = 200, NR_listen = 201, NR_connect = 203 };

struct pt_regs {
	__u64 regs[31]; /* regs[0] becomes the result */
	__u64 orig_x0;
	__s32 syscallno;
} CO_RE;

/* As what libbpf's macros see it. */
struct user_pt_regs {
	__u64 regs[31];
} CO_RE;

#define syscall_nr(regs) ((regs)->syscallno)
#define syscall_arg1(regs) ((regs)->orig_x0)
#define syscall_arg2(from) ((from)->regs[1])
#define syscall_arg3(from) ((from)->regs[2])
#define syscall_arg4(from) ((from)->regs[3])
#define SYSCALL_NR syscallno
#define SYSCALL_ARG1 orig_x0
#define SYSCALL_ARG2 regs[1]
#define SYSCALL_ARG3 regs[2]
#define SYSCALL_ARG4 regs[3]
#define SYSCALL_ARG5 regs[4]
#define function_result(from) ((long)(from)->regs[0])

static __always_inline bool in_compat_syscall(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, thread_info.flags) & 1UL << 22; /* TIF_32BIT */
}

#else
#error "kernel/syscall.h: which registers hold a system call's arguments?"
#endif

/* The records of the tracepoints syscalls/sys_enter_* … */
struct trace_event_raw_sys_enter {
	long id;
} CO_RE;

/* … and syscalls/sys_exit_* */
struct trace_event_raw_sys_exit {
	long id;
	long ret;
} CO_RE;

/* include/uapi/linux/openat2.h */
struct open_how {
	__u64 flags;
	__u64 mode;
	__u64 resolve;
};

enum { RESOLVE_IN_ROOT = 0x10 };

/* include/uapi/linux/fcntl.h, asm-generic/fcntl.h: the same on x86 and arm64 */
enum {
	O_ACCMODE = 00000003,
	O_WRONLY = 00000001,
	O_CREAT = 00000100,
	O_TRUNC = 00001000,
	O_TMPFILE_BIT = 020000000, /* __O_TMPFILE */
	AT_FDCWD = -100,
};

/* Since Linux 6.14 (4346ba160409) by function graph, not by rethook. */
struct fprobe___by_graph {
	struct fprobe_hlist *hlist_array;
} CO_RE;

/*
 * Where a kretprobe.multi rests on the function graph tracer, any number of
 * calls may be under way; before, those beyond a small pool are missed
 * uncounted: there the unguarded offset refuses to load.
 */
static __always_inline void need_graph(void)
{
	__u32 by_graph = bpf_core_field_offset(struct fprobe___by_graph, hlist_array);

	barrier_var(by_graph);
}
