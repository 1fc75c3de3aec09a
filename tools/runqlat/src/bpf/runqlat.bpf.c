/* SPDX-License-Identifier: GPL-2.0 */
#include "cgroup.bpf.h"
#include "hist.bpf.h"
#include "kernel/ns.h"
#include "lost.bpf.h"
#include "stamps.bpf.h"

#include "runqlat.h"

/* What the histograms are by: common with the Rust side. */
enum { BY_NONE, BY_PROCESS, BY_THREAD, BY_PIDNS };

const volatile __u8 by = BY_NONE;
const volatile __u64 unit_ns = 1000;
const volatile __u32 filter_tgid = 0;

/*
 * When a task began to wait is in `stamps` or, where others have its slot at that
 * time, here. The maps of these programs are made in advance: they run under a run
 * queue's lock, where memory must not be asked for, for that may wake kswapd.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64); /* the task */
	__type(value, __u64);
} start SEC(".maps");

/* Entries of `start`: mostly there are none to be looked for. */
static __u64 in_start;

/* The only histogram … */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hist);
} single SEC(".maps");

/* … or many, in parts. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct runqlat_key);
	__type(value, struct runqlat_part);
} keyed SEC(".maps");

static struct runqlat_part empty;

/* A task's field: `direct` in programs to whom the kernel gives tasks with their type. */
#define task_read(task, field) (direct ? (task)->field : BPF_CORE_READ(task, field))

static __always_inline bool is_runnable(struct task_struct *task, bool direct)
{
	struct task_struct___long_state *old = (void *)task;
	struct task_struct___int_state *new = (void *)task;

	if (bpf_core_field_exists(new->__state))
		return task_read(new, __state) == TASK_RUNNING;
	return task_read(old, state) == TASK_RUNNING;
}

/* Never the idle task, which waits for nothing. */
static __always_inline bool wanted(struct task_struct *task, bool direct)
{
	if (filter_tgid)
		return (__u32)task_read(task, tgid) == filter_tgid;
	return task_read(task, pid) != 0;
}

/* Takes the task's stamp out of `start`; 0: it has none there. */
static __always_inline __u64 take_from_start(struct task_struct *task)
{
	__u64 key = (__u64)task, *found, ns;

	if (!in_start)
		return 0;
	found = bpf_map_lookup_elem(&start, &key);
	if (!found)
		return 0;
	ns = *found;
	if (!bpf_map_delete_elem(&start, &key))
		__sync_fetch_and_add(&in_start, -1);
	return ns;
}

static __always_inline void begin(struct task_struct *task, __u64 now)
{
	__u64 key = (__u64)task;

	/* A task that is woken while it waits waits from then on, as in the classics. */
	take_from_start(task);
	if (stamp_store(task, now))
		return;
	if (bpf_map_update_elem(&start, &key, &now, BPF_NOEXIST))
		count_lost();
	else
		__sync_fetch_and_add(&in_start, 1);
}

/* When the task began to wait; 0: it did not, or that was not seen. */
static __always_inline __u64 take_start(struct task_struct *task)
{
	__u64 *stamp = stamp_find(task), ns;

	if (!stamp || !*stamp)
		return take_from_start(task);
	ns = *stamp;
	*stamp = 0;
	return ns;
}

/* The namespace that the task has its own number in; 0: it has none any more. */
static __always_inline __u32 pidns_of(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level);
	struct upid *upid = (void *)pid + bpf_core_field_offset(pid->numbers) +
			    level * bpf_core_type_size(struct upid);

	return BPF_CORE_READ(upid, ns, ns.inum);
}

static __always_inline void count_by(struct task_struct *task, __u64 delta_ns, __u64 now,
				     bool direct)
{
	__u64 value = in_units(delta_ns, unit_ns);
	struct task_struct *named = task;
	__u32 slot = hist_slot(value);
	struct runqlat_key key = {};
	struct runqlat_part *part;

	key.part = hist_part(slot);
	if (by == BY_PIDNS) {
		key.id = pidns_of(task);
	} else if (by == BY_THREAD) {
		key.id = task_read(task, pid);
	} else {
		key.id = task_read(task, tgid);
		named = task_read(task, group_leader);
	}
	part = bpf_map_lookup_elem(&keyed, &key);
	if (!part) {
		/* Refused when another CPU has just done the same. */
		bpf_map_update_elem(&keyed, &key, &empty, BPF_NOEXIST);
		part = bpf_map_lookup_elem(&keyed, &key);
	}
	if (!part) {
		count_lost();
		return;
	}
	hist_part_add(&part->hist, slot, value, delta_ns);
	part->last_ns = now;
	if (by != BY_PIDNS)
		bpf_probe_read_kernel(part->comm, sizeof(part->comm), named->comm);
}

static __always_inline void count(struct task_struct *task, __u64 start_ns, __u64 now,
				  bool direct)
{
	__s64 delta_ns = now - start_ns;
	struct hist *hist;
	__u32 zero = 0;

	if (delta_ns < 0) {
		count_lost();
	} else if (by != BY_NONE) {
		count_by(task, delta_ns, now, direct);
	} else {
		hist = bpf_map_lookup_elem(&single, &zero);
		if (hist)
			hist_add_this_cpu(hist, in_units(delta_ns, unit_ns), delta_ns);
	}
}

static __always_inline bool in_cgroup(struct task_struct *task)
{
	return !filter_cgroup || cgroup_matches(cgroup_of(task));
}

static __always_inline int woken_up(struct task_struct *task, bool direct)
{
	if (wanted(task, direct) && in_cgroup(task))
		begin(task, bpf_ktime_get_ns());
	return 0;
}

/*
 * Who has to leave the CPU and is not done waits from here on; that may also be a
 * task on its way to sleep (`preempt`). The state is the task's own: prev_state of
 * Linux 5.18 (fa2c3254d7cf) is that from before a signal has kept it awake. A task
 * that was woken while it ran has a stamp but did not wait: it goes with a sleep or
 * the task's end, or a wait that begins takes its place.
 */
static __always_inline int switched(bool preempt, struct task_struct *prev,
				    struct task_struct *next, bool direct)
{
	__u64 start_ns = wanted(next, direct) ? take_start(next) : 0;
	bool waits = false;
	__u64 now;

	if (wanted(prev, direct)) {
		if (preempt || is_runnable(prev, direct))
			waits = in_cgroup(prev);
		else
			take_start(prev);
	}
	if (!waits && !start_ns)
		return 0;
	now = bpf_ktime_get_ns();
	if (start_ns)
		count(next, start_ns, now, direct);
	if (waits)
		begin(prev, now);
	return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(switch_task, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	return switched(preempt, prev, next, true);
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(wake, struct task_struct *task)
{
	return woken_up(task, true);
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(wake_new, struct task_struct *task)
{
	return woken_up(task, true);
}

SEC("raw_tp/sched_switch")
int BPF_PROG(switch_task_raw, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	return switched(preempt, prev, next, false);
}

SEC("raw_tp/sched_wakeup")
int BPF_PROG(wake_raw, struct task_struct *task)
{
	return woken_up(task, false);
}

SEC("raw_tp/sched_wakeup_new")
int BPF_PROG(wake_new_raw, struct task_struct *task)
{
	return woken_up(task, false);
}

char LICENSE[] SEC("license") = "GPL";
