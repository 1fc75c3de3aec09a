/* SPDX-License-Identifier: GPL-2.0 */
/* From an open file or a directory up to the root of the mount namespace. */
#pragma once

#include "files.bpf.h"
#include "kernel/fs.h"
#include "kernel/task.h"

/* Where a walk ended. */
enum path_end {
	PATH_END_ROOT,
	PATH_END_CUT, /* no more room or steps */
	PATH_END_DETACHED, /* no root: unmounted, or never in a directory */
};

/* The place of the task's open file `fd`; NULL when there is none. */
static __always_inline struct path *fd_path(int fd)
{
	struct file *file = fd_file(fd);

	return file ? &file->f_path : NULL;
}

/* The task's working directory. */
static __always_inline struct path *cwd_path(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fs_struct *fs = BPF_CORE_READ(task, fs);

	return fs ? &fs->pwd : NULL;
}

/*
 * Where a path is put together: in a map, since the verifier then knows nothing
 * about `used`. If it did, each step would leave it one more state to look at.
 */
struct path_text {
	char text[2 * PATH_SIZE + NAME_SIZE];
	__u64 used;
};

/*
 * Adds the names from `path` to the root, last one first, each with its NUL, in
 * up to `steps` steps: names and mounts crossed. The verifier goes through all
 * of them, at some 130 instructions each. Takes no locks: a name that is being
 * changed may come out as either of the two.
 */
static __always_inline enum path_end add_path(struct path_text *out, struct path *path,
					      const int steps)
{
	struct dentry *dentry = BPF_CORE_READ(path, dentry);
	struct vfsmount *vfsmnt = BPF_CORE_READ(path, mnt);
	struct mount *mount = (void *)vfsmnt - bpf_core_field_offset(struct mount, mnt);
	struct dentry *root = BPF_CORE_READ(vfsmnt, mnt_root);

	for (int step = 0; step < steps; step++) {
		struct dentry *parent;
		__u64 used;
		long size;

		if (dentry == root) {
			struct mount *below = BPF_CORE_READ(mount, mnt_parent);

			if (below == mount || !below)
				return BPF_CORE_READ(mount, mnt_ns) ? PATH_END_ROOT :
								      PATH_END_DETACHED;
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = below;
			root = BPF_CORE_READ(mount, mnt.mnt_root);
			continue;
		}
		used = out->used;
		if (used > sizeof(out->text) - NAME_SIZE)
			break;
		size = bpf_probe_read_kernel_str(out->text + used, NAME_SIZE,
						 BPF_CORE_READ(dentry, d_name.name));
		if (size <= 0)
			break;
		out->used = used + size;
		parent = BPF_CORE_READ(dentry, d_parent);
		if (parent == dentry)
			return PATH_END_DETACHED;
		dentry = parent;
	}
	return PATH_END_CUT;
}
