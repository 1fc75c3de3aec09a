/* SPDX-License-Identifier: GPL-2.0 */
/* A task's open files. */
#pragma once

#include "kernel/fs.h"
#include "kernel/task.h"

/* Whether nobody has the file open any more: the kernel is letting it go. */
static __always_inline bool file_is_gone(struct file *file)
{
	struct file___f_ref *ref = (void *)file;
	struct file___f_count *count = (void *)file;

	if (bpf_core_field_exists(ref->f_ref))
		return BPF_CORE_READ(ref, f_ref.refcnt.counter) < 0;
	return !BPF_CORE_READ(count, f_count.counter);
}

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
