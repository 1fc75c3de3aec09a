/* SPDX-License-Identifier: GPL-2.0 */
/* The system call that the task on this CPU is in. */
#pragma once

#include "files.bpf.h"
#include "kernel/sock.h"
#include "kernel/syscall.h"

/*
 * The registers that the task has saved on entry. No helper gives them before
 * Linux 5.15: there they are taken from where x86-64 saves them, at the top of a
 * kernel stack of four pages.
 */
static __always_inline struct pt_regs *current_regs(void)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		return (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
#if defined(__TARGET_ARCH_x86)
	struct task_struct *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, stack) + 4 * 4096 - bpf_core_type_size(struct pt_regs);
#else
	return NULL;
#endif
}

/* Argument `n`, a plain number, of the call; of any kind of pointer to registers. */
#define read_syscall_arg(regs, n) BPF_CORE_READ(regs, SYSCALL_ARG##n)

/* The socket that the task's open file `fd` is; NULL when it is none. */
static __always_inline struct sock *fd_sock(int fd)
{
	struct file *file = fd_file(fd);
	struct socket *socket;

	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}
