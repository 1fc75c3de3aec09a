/* SPDX-License-Identifier: GPL-2.0 */
/* Which cgroup something belongs to. */
#pragma once

#include "kernel/cgroup.h"
#include "kernel/sock.h"
#include "kernel/task.h"

/* The --cgroup filter: the id of a cgroup v2 directory, 0 for none. */
const volatile __u64 filter_cgroup = 0;

/* The kernel allows deeper trees (cgroup.max.depth); nobody has them. */
#define CGROUP_MAX_DEPTH 32

static __always_inline __u64 cgroup_id(struct cgroup *cgroup)
{
	struct kernfs_node *node = cgroup ? SOCK_READ(cgroup, kn) : NULL;

	return node ? SOCK_READ(node, id) : 0;
}

/* Whether `cgroup` is the one of --cgroup or below it. */
static __always_inline bool cgroup_matches(struct cgroup *cgroup)
{
	for (int level = 0; level < CGROUP_MAX_DEPTH && cgroup; level++) {
		/* A parent has not the type of a cgroup, which cgroup_id() may ask for. */
		if (BPF_CORE_READ(cgroup, kn, id) == filter_cgroup)
			return true;
		/* self is the first member, so the parent's css is the parent. */
		cgroup = (struct cgroup *)BPF_CORE_READ(cgroup, self.parent);
	}
	return false;
}

/* The cgroup v2 of a task … */
static __always_inline struct cgroup *cgroup_of(struct task_struct *task)
{
	return BPF_CORE_READ(task, cgroups, dfl_cgrp);
}

/* … and of the one on this CPU. */
static __always_inline struct cgroup *task_cgroup(void)
{
	return cgroup_of((void *)bpf_get_current_task());
}

/* The cgroup v2 that a socket was made in; NULL stands for the root. */
static __always_inline struct cgroup *sock_cgroup(struct sock *sk)
{
	struct sock_cgroup_data___pointer *pointer = (void *)&sk->sk_cgrp_data;
	struct sock_cgroup_data___word *word = (void *)pointer;
	__u64 val;

	if (bpf_core_field_exists(pointer->cgroup))
		return SOCK_READ(pointer, cgroup);
	val = SOCK_READ(word, val);
	return val & 3 ? NULL : (struct cgroup *)val;
}
