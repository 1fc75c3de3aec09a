/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "kernel/cgroup.h"
#include "kernel/fs.h"
#include "kernel/ns.h"
#include "kernel/types.h"

typedef int pid_t;

enum { TASK_RUNNING = 0 };
enum { PF_IO_WORKER = 0x00000010, PF_KTHREAD = 0x00200000 };

struct thread_info {
#if defined(__TARGET_ARCH_x86)
	__u32 status;
#else
	unsigned long flags;
#endif
} CO_RE;

struct mm_struct {
	unsigned long arg_start; /* where argv[0] begins; the others follow */
} CO_RE;

/* Its fields are there by CONFIG_TASK_XACCT. */
struct task_io_accounting {
	__u64 syscr; /* how many calls have read … */
	__u64 syscw; /* … and written */
} CO_RE;

struct task_struct {
	struct thread_info thread_info;
	void *stack;
	unsigned int flags; /* PF_* */
	struct mm_struct *mm;
	pid_t pid;
	pid_t tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	__u64 start_boottime; /* ns */
	__u64 self_exec_id; /* grows with every program that the process starts */
	struct pid *thread_pid;
	unsigned long min_flt; /* page faults */
	unsigned long maj_flt;
	char comm[16];
	struct task_io_accounting ioac;
	struct nsproxy *nsproxy;
	struct css_set *cgroups;
	struct fs_struct *fs;
	struct files_struct *files;
} CO_RE;

/* From Linux 5.14 (2f064a59a11f) … */
struct task_struct___int_state {
	unsigned int __state;
} CO_RE;

/* … and before. */
struct task_struct___long_state {
	long state;
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
