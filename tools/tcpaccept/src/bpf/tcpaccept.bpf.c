/* SPDX-License-Identifier: GPL-2.0 */
#include "cgroup.bpf.h"
#include "events.bpf.h"

#include "tcpaccept.h"

/* A struct that only the ring buffer carries is missed without this. */
const struct tcpaccept_event *unused_event __attribute__((unused));

SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_exec)
{
	struct tcpaccept_event *event;

	if (filter_cgroup && !cgroup_matches(task_cgroup()))
		return 0;

	event = event_reserve(struct tcpaccept_event);
	if (!event)
		return 0;
	event->tgid = bpf_get_current_pid_tgid() >> 32;
	event->pad = 0;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	event_submit(event);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
