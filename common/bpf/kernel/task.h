/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "kernel/cgroup.h"
#include "kernel/fs.h"
#include "kernel/ns.h"
#include "kernel/types.h"

typedef int pid_t;

enum { PF_IO_WORKER = 0x00000010, PF_KTHREAD = 0x00200000 };

struct thread_info {
#if defined(__TARGET_ARCH_x86)
	__u32 status;
#else
	unsigned long flags;
#endif
} CO_RE;

struct task_struct {
	struct thread_info thread_info;
	void *stack;
	unsigned int flags; /* PF_* */
	pid_t pid;
	pid_t tgid;
	struct task_struct *group_leader;
	char comm[16];
	struct nsproxy *nsproxy;
	struct css_set *cgroups;
	struct fs_struct *fs;
	struct files_struct *files;
} CO_RE;

/* Per CPU, on x86 from Linux 6.2 (64701838bf05) to 6.14. */
struct pcpu_hot {
} CO_RE;

struct bpf_iter_meta {
	struct seq_file *seq;
} CO_RE;

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	struct file *file;
} CO_RE;
