/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "kernel/types.h"

struct kernfs_node {
	__u64 id; /* of a cgroup: its inode number in cgroupfs */
} CO_RE;

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
} CO_RE;

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
	struct cgroup_root *root; /* of its hierarchy */
} CO_RE;

struct css_set {
	struct cgroup *dfl_cgrp; /* in the cgroup v2 hierarchy */
} CO_RE;
