/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Filters on the task in whose context the event happens. Constants that are
 * not set cost nothing: the verifier removes their code.
 */
#pragma once

#include "cgroup.bpf.h"
#include "kernel/task.h"

const volatile __u32 filter_tgid = 0;
const volatile __u32 filter_pid = 0; /* a thread */
const volatile __u32 filter_uid = -1;
const volatile __u8 filter_cgroupset = 0;
const volatile __u8 filter_mntnsset = 0;

/* --cgroupmap, --mntnsmap: replaced by the pinned maps of these options. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u64);
} cgroupset SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u32);
} mntnsset SEC(".maps");

static __always_inline bool in_cgroupset(void)
{
	__u64 id = bpf_get_current_cgroup_id();

	return bpf_map_lookup_elem(&cgroupset, &id);
}

static __always_inline bool in_mntnsset(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct nsproxy *nsproxy = BPF_CORE_READ(task, nsproxy);
	__u64 inum;

	if (!nsproxy) /* an exiting task has left its namespaces: let it pass */
		return true;
	inum = BPF_CORE_READ(nsproxy, mnt_ns, ns.inum);
	return bpf_map_lookup_elem(&mntnsset, &inum);
}

/* --cgroupmap, --mntnsmap */
static __always_inline bool container_matches(void)
{
	if (filter_cgroupset && !in_cgroupset())
		return false;
	return !filter_mntnsset || in_mntnsset();
}

/* `pid_tgid` is bpf_get_current_pid_tgid()'s. */
static __always_inline bool task_matches(__u64 pid_tgid)
{
	if (filter_tgid && pid_tgid >> 32 != filter_tgid)
		return false;
	if (filter_pid && (__u32)pid_tgid != filter_pid)
		return false;
	if (filter_uid != (__u32)-1 && (__u32)bpf_get_current_uid_gid() != filter_uid)
		return false;
	if (filter_cgroup && !cgroup_matches(task_cgroup()))
		return false;
	return container_matches();
}
