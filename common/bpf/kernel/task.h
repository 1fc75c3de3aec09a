/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "kernel/cgroup.h"
#include "kernel/fs.h"
#include "kernel/ns.h"
#include "kernel/types.h"

typedef int pid_t;

struct thread_info {
#if defined(__TARGET_ARCH_x86)
	__u32 status;
#else
	unsigned long flags;
#endif
} CO_RE;

struct task_struct {
	struct thread_info thread_info;
	pid_t pid;
	pid_t tgid;
	char comm[16];
	struct nsproxy *nsproxy;
	struct css_set *cgroups;
	struct fs_struct *fs;
	struct files_struct *files;
} CO_RE;
