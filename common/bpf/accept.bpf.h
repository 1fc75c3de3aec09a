/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Connections at the moment that a process accepts them; the user side is
 * common::accept.
 *
 * The end of accept() and accept4() tells of all of them that programs call,
 * those included that were waiting before the tool came. The function behind
 * them sees what else accepts: io_uring, the kernel itself and 32-bit programs.
 * Alone it would not do: of a call that is waiting in it while a tracer comes or
 * goes the return is not seen.
 */
#pragma once

#include "kernel/sock.h"
#include "syscall.bpf.h"

/* The tool's: the task on the CPU has accepted `sk`, of whatever protocol. */
static __always_inline int accepted(struct sock *sk);

/* Linux 6.10, 92ef0fd55ac8: one argument for what were three. */
struct proto_accept_arg {
	int flags;
} CO_RE;

static __always_inline bool in_accept_call(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	int nr;

	if (BPF_CORE_READ(task, flags) & (PF_KTHREAD | PF_IO_WORKER) || in_compat_syscall())
		return false;
	nr = BPF_CORE_READ(current_regs(), SYSCALL_NR);
	return nr == NR_accept || nr == NR_accept4;
}

static __always_inline int accepted_fd(long fd)
{
	struct sock *sk = fd < 0 ? NULL : fd_sock(fd);

	return sk ? accepted(sk) : 0;
}

static __always_inline int accepted_otherwise(struct sock *sk)
{
	return !sk || in_accept_call() ? 0 : accepted(sk);
}

SEC("tracepoint/syscalls/sys_exit_accept")
int exit_accept(struct trace_event_raw_sys_exit *ctx)
{
	return accepted_fd(ctx->ret);
}

SEC("tracepoint/syscalls/sys_exit_accept4")
int exit_accept4(struct trace_event_raw_sys_exit *ctx)
{
	return accepted_fd(ctx->ret);
}

/* The result is behind the arguments. */
SEC("fexit/inet_csk_accept")
int fexit_accept(__u64 *ctx)
{
	if (bpf_core_type_exists(struct proto_accept_arg))
		return accepted_otherwise((struct sock *)ctx[2]);
	barrier();
	return accepted_otherwise((struct sock *)ctx[4]);
}

SEC("kretprobe/inet_csk_accept")
int BPF_KRETPROBE(kretprobe_accept, struct sock *sk)
{
	return accepted_otherwise(sk);
}

/* Comes by for every system call: for where tracefs may not be used. */
SEC("tp_btf/sys_exit")
int BPF_PROG(exit_any_accept, struct pt_regs *regs, long ret)
{
	int nr = syscall_nr(regs);

	if (nr != NR_accept && nr != NR_accept4)
		return 0;
	return in_compat_syscall() ? 0 : accepted_fd(ret);
}
