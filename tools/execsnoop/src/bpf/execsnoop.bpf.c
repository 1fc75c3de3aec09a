/* SPDX-License-Identifier: GPL-2.0 */
#include "events.bpf.h"
#include "filters.bpf.h"
#include "kernel/exec.h"
#include "syscall.bpf.h"

#include "execsnoop.h"

const volatile __u32 filter_ppid = -1;
const volatile __u32 max_args = 20; /* with argv[0] */
const volatile __u8 want_cgroup = 0;

const struct execsnoop_event *unused_event __attribute__((unused));

enum {
	NAME_ROOM = PATH_SIZE + 32, /* "/dev/fd/", a number and a path */
	/* What is read at a time; a longer argument takes several. */
	PIECE_SIZE = 12 << 10,
	TEXT_SIZE = 28 << 10, /* a record is below 32 KiB: no per-CPU value is larger */
	/* What all long arguments together take: the kernel's limit, by default, is 2 MiB. */
	LONG_PIECES = (2 << 20) / (PIECE_SIZE - 1) + 1,
	/* Five interpreters, one of the other, and an argument of each's own. */
	INTERPRETER_ARGS = 11,
};

/*
 * Where a program puts an event together: each has its own, since on a
 * preemptible kernel the other may run in between.
 */
enum program { SUCCEEDED, FAILED, PROGRAMS };

struct record {
	struct execsnoop_event event;
	char text[TEXT_SIZE];
	/* In a map, where the verifier does not follow them: else it went through all
	 * their values. */
	__u64 used; /* of the text */
	__u64 strings; /* still to come */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PROGRAMS);
	__type(key, __u32);
	__type(value, struct record);
} records SEC(".maps");

static __always_inline struct task_struct *parent(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, real_parent);
}

static __always_inline bool wanted(__u64 pid_tgid)
{
	return task_matches(pid_tgid) &&
	       (filter_ppid == (__u32)-1 || (__u32)BPF_CORE_READ(parent(), tgid) == filter_ppid);
}

/* The record of a call of the task on the CPU; NULL: it is not wanted. */
static __always_inline struct record *begin(__u32 program)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct task_struct *real_parent;
	struct execsnoop_event *event;
	struct record *record;

	if (!wanted(pid_tgid))
		return NULL;
	record = bpf_map_lookup_elem(&records, &program);
	if (!record)
		return NULL;
	record->used = 0;
	real_parent = parent();
	event = &record->event;
	event->ts_ns = bpf_ktime_get_ns();
	event->cgroup_id = want_cgroup ? bpf_get_current_cgroup_id() : 0;
	event->unread = 0;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	BPF_CORE_READ_INTO(&event->parent_comm, real_parent, comm);
	event->ret = 0;
	event->tgid = pid_tgid >> 32;
	event->pid = pid_tgid;
	event->ppid = BPF_CORE_READ(real_parent, tgid);
	event->uid = bpf_get_current_uid_gid();
	event->cpu = bpf_get_smp_processor_id();
	event->argc = 0;
	event->dfd = AT_FDCWD;
	event->interpreted = 0;
	event->keeps_argv0 = 0;
	event->continues = 0;
	__builtin_memset(event->padding, 0, sizeof(event->padding));
	return record;
}

/* False: lost. */
static __always_inline bool send(struct record *record)
{
	__u64 used = record->used;

	return used <= sizeof(record->text) && /* always; for the verifier */
	       event_output(&record->event, sizeof(record->event) + used);
}

/* Room for a piece, if need be by sending what there is. False: that was lost. */
static __always_inline bool make_room(struct record *record)
{
	bool sent;

	if (record->used <= TEXT_SIZE - PIECE_SIZE)
		return true;
	record->event.continues = 1;
	sent = send(record);
	record->event.continues = 0;
	record->used = 0;
	return sent;
}

/*
 * Adds the string at `from`: its size with the NUL. PIECE_SIZE: a piece without
 * a NUL, PIECE_SIZE - 1 bytes, that the next one goes on with. Less than 0: it
 * cannot be read.
 */
static __always_inline long add_piece(struct record *record, const char *from)
{
	__u64 used = record->used;
	long size;

	if (used > TEXT_SIZE - PIECE_SIZE) /* never; for the verifier */
		return -1;
	size = bpf_probe_read_user_str(record->text + used, PIECE_SIZE, from);
	if (size < 0)
		return size;
	if (size == 0) { /* "", before Linux 6.13 */
		record->text[used] = 0;
		size = 1;
	}
	/* The last byte of a piece is a NUL, whether the string has ended or not. */
	record->used = used + size - (size == PIECE_SIZE);
	return size;
}

static __always_inline void add_empty(struct record *record)
{
	__u64 used = record->used;

	if (used < sizeof(record->text)) { /* always; for the verifier */
		record->text[used] = 0;
		record->used = used + 1;
	}
}

/*
 * The new program's memory: the kernel has just written the arguments there,
 * one behind the other, so no page of them is missing. Comes by for whatever
 * starts a program, be it 32-bit programs or the kernel itself.
 */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(succeeded, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	struct record *record = begin(SUCCEEDED);
	struct execsnoop_event *event;
	const char *from;
	long size;

	if (!record)
		return 0;
	event = &record->event;
	event->pid = old_pid; /* meanwhile it has taken over the process's */
	event->argc = bprm->argc;
	record->strings = max_args;
	if (bprm->interp != bprm->filename) {
		event->interpreted = 1;
		event->keeps_argv0 = !!(bprm->interp_flags & BINPRM_FLAGS_PRESERVE_ARGV0);
		record->strings += INTERPRETER_ARGS;
	}
	if (record->strings > event->argc)
		record->strings = event->argc;

	size = bpf_probe_read_kernel_str(record->text, NAME_ROOM, bprm->filename);
	if (size > 0)
		record->used = size;
	else
		add_empty(record);
	from = (const char *)BPF_CORE_READ(task, mm, arg_start);
	for (__u32 step = 0; step < max_args + INTERPRETER_ARGS + LONG_PIECES; step++) {
		if (!record->strings)
			break;
		if (!make_room(record))
			return 0;
		size = add_piece(record, from);
		if (size < 0)
			break;
		if (size == PIECE_SIZE) {
			from += size - 1;
		} else {
			from += size;
			record->strings--;
		}
	}
	send(record);
	return 0;
}

/*
 * The old program goes on: its registers and its memory hold the arguments. The
 * kernel may have given up before it read them, so that a page that the program
 * itself has not used yet is missing.
 */
static __always_inline int failed(struct pt_regs *regs, int nr, long ret)
{
	struct record *record = begin(FAILED);
	const char *name, **argv, *from = NULL;
	struct execsnoop_event *event;
	long size;

	if (!record)
		return 0;
	event = &record->event;
	event->ret = ret;
	if (nr == NR_execveat) {
		event->dfd = read_syscall_arg(regs, 1);
		name = (void *)read_syscall_arg(regs, 2);
		argv = (void *)read_syscall_arg(regs, 3);
	} else {
		name = (void *)read_syscall_arg(regs, 1);
		argv = (void *)read_syscall_arg(regs, 2);
	}

	size = bpf_probe_read_user_str(record->text, NAME_ROOM, name);
	if (size > 0)
		record->used = size;
	else
		add_empty(record);
	for (__u32 step = 0; step < max_args + LONG_PIECES && argv; step++) {
		if (!from) {
			__u32 index = event->argc;
			long error = bpf_probe_read_user(&from, sizeof(from), argv + index);

			if (!error && !from)
				break;
			event->argc = index + 1;
			if (error || index >= max_args)
				break;
		}
		if (!make_room(record))
			return 0;
		size = add_piece(record, from);
		if (size == PIECE_SIZE) {
			from += size - 1;
			continue;
		}
		from = NULL;
		if (size < 0) {
			add_empty(record);
			if (event->argc <= 64)
				event->unread |= 1ULL << (event->argc - 1);
		}
	}
	send(record);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_execve")
int failed_call(struct trace_event_raw_sys_exit *ctx)
{
	/* Of the number the kernel fills in but 32 bits (struct syscall_tp_t). */
	return ctx->ret < 0 ? failed(current_regs(), (int)ctx->id, ctx->ret) : 0;
}

/* Comes by for every system call: for where tracefs may not be used. */
SEC("tp_btf/sys_exit")
int BPF_PROG(failed_any, struct pt_regs *regs, long ret)
{
	int nr = syscall_nr(regs);

	if (ret >= 0 || (nr != NR_execve && nr != NR_execveat))
		return 0;
	return in_compat_syscall() ? 0 : failed(regs, nr, ret);
}

char LICENSE[] SEC("license") = "GPL";
