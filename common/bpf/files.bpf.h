/* SPDX-License-Identifier: GPL-2.0 */
/* A task's open files. */
#pragma once

#include "kernel/fs.h"
#include "kernel/task.h"

/* The open file `fd` of the task on this CPU; NULL when there is none. */
static __always_inline struct file *fd_file(int fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fdtable *fdt = BPF_CORE_READ(task, files, fdt);
	struct file **slot, *file = NULL;

	if (!fdt || (__u32)fd >= BPF_CORE_READ(fdt, max_fds))
		return NULL;
	slot = BPF_CORE_READ(fdt, fd);
	bpf_probe_read_kernel(&file, sizeof(file), slot + fd);
	return file;
}
