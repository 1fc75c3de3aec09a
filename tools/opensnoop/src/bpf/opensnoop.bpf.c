/* SPDX-License-Identifier: GPL-2.0 */
#include "events.bpf.h"
#include "filters.bpf.h"
#include "kernel/syscall.h"
#include "path.bpf.h"

#include "opensnoop.h"

const volatile __u8 failed_only = 0;
const volatile __u8 full_path = 0;
const volatile __u8 want_cgroup = 0;
const volatile __u8 filter_open = 0; /* by flags: one of the next two has a bit */
const volatile __u64 filter_flags = 0; /* any of these */
const volatile __u8 filter_modes = 0; /* bit per access mode: 1 << O_RDONLY ... */

const struct opensnoop_event *unused_event __attribute__((unused));
const enum opensnoop_base *unused_base __attribute__((unused));
const enum path_end *unused_end __attribute__((unused));

/*
 * Where a program puts an event together. On a preemptible kernel another task
 * may run another of the programs on this CPU meanwhile, but never the same
 * one: so each has its own.
 */
/* Enough for a path of PATH_MAX bytes; and less, as it takes long to load. */
enum { PATH_STEPS = PATH_SIZE / 2, FEW_PATH_STEPS = 32 };

enum call { OPEN, OPENAT, OPENAT2, CREAT, CALLS };

struct record {
	struct opensnoop_event event;
	struct path_text path;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CALLS);
	__type(key, __u32);
	__type(value, struct record);
} records SEC(".maps");

/* The arguments, whichever the call. */
struct args {
	const char *name;
	__u64 flags;
	__u64 mode;
	__u64 resolve;
	int dfd;
};

static __always_inline void read_args(enum call call, struct pt_regs *regs, struct args *args)
{
	struct open_how how = {};

	args->dfd = AT_FDCWD;
	args->resolve = 0;
	switch (call) {
#ifdef HAVE_SYSCALL_OPEN
	case OPEN:
		args->name = (void *)syscall_arg1(regs);
		args->flags = (__u32)syscall_arg2(regs);
		args->mode = (__u32)syscall_arg3(regs);
		break;
	case CREAT:
		args->name = (void *)syscall_arg1(regs);
		args->flags = O_CREAT | O_WRONLY | O_TRUNC;
		args->mode = (__u32)syscall_arg2(regs);
		break;
#endif
	case OPENAT2:
		/* A newer program may give more, which no name depends on. */
		bpf_probe_read_user(&how, sizeof(how), (void *)syscall_arg3(regs));
		args->dfd = syscall_arg1(regs);
		args->name = (void *)syscall_arg2(regs);
		args->flags = how.flags;
		args->mode = how.mode;
		args->resolve = how.resolve;
		return;
	default:
		args->dfd = syscall_arg1(regs);
		args->name = (void *)syscall_arg2(regs);
		args->flags = (__u32)syscall_arg3(regs);
		args->mode = (__u32)syscall_arg4(regs);
	}
	/* Whatever the caller's register held, if it gave no mode. */
	if (!(args->flags & (O_CREAT | O_TMPFILE_BIT)))
		args->mode = 0;
}

static __always_inline bool flags_match(__u64 flags)
{
	return !filter_open || flags & filter_flags ||
	       filter_modes & 1 << (flags & O_ACCMODE);
}

/* What the file name in `text` is relative to, if that is asked for. */
static __always_inline struct path *base_dir(struct args *args, const char *text)
{
	bool in_root = args->resolve & RESOLVE_IN_ROOT;

	if (!full_path || !text[0] || (text[0] == '/' && !in_root))
		return NULL;
	return args->dfd == AT_FDCWD ? cwd_path() : fd_path(args->dfd);
}

static __always_inline int emit(__u32 slot, struct args *args, long ret, __u64 pid_tgid)
{
	struct record *record = bpf_map_lookup_elem(&records, &slot);
	const int steps = full_path ? PATH_STEPS : FEW_PATH_STEPS;
	struct opensnoop_event *event;
	struct path *base;
	__u64 used;
	long size;

	if (!record)
		return 0;
	event = &record->event;
	event->ts_ns = bpf_ktime_get_ns();
	event->cgroup_id = want_cgroup ? bpf_get_current_cgroup_id() : 0;
	event->flags = args->flags;
	event->mode = args->mode;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	event->ret = ret;
	event->tgid = pid_tgid >> 32;
	event->pid = pid_tgid;
	event->uid = bpf_get_current_uid_gid();
	event->padding = 0;

	size = bpf_probe_read_user_str(record->path.text, PATH_SIZE, args->name);
	if (size == 0) { /* "", before Linux 6.13 */
		record->path.text[0] = 0;
		size = 1;
	}
	record->path.used = event->name_size = size > 0 ? size : 0;
	if (size > 0) {
		base = base_dir(args, record->path.text);
		event->base = base ? BASE_DIR : BASE_NONE;
	} else {
		/* The page is no longer there; the file is. */
		base = ret >= 0 ? fd_path(ret) : NULL;
		event->base = base ? BASE_FILE : BASE_NONE;
	}
	event->base_end = base ? add_path(&record->path, base, steps) : PATH_END_ROOT;

	used = record->path.used;
	if (used <= sizeof(record->path.text)) /* always; for the verifier */
		event_output(event, sizeof(*event) + used);
	return 0;
}

static __always_inline int trace(enum call call, struct pt_regs *regs, long ret, __u64 pid_tgid)
{
	struct args args;

	read_args(call, regs, &args);
	if (!flags_match(args.flags))
		return 0;
	return emit(call, &args, ret, pid_tgid);
}

static __always_inline bool wanted(long ret, __u64 pid_tgid)
{
	return !(failed_only && ret >= 0) && task_matches(pid_tgid);
}

/* fexit: costs nothing to any other system call. */

static __always_inline int on_fexit(enum call call, struct pt_regs *regs, long ret)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();

	return wanted(ret, pid_tgid) ? trace(call, regs, ret, pid_tgid) : 0;
}

/* The one that must load comes first: where it is refused, so are the others. */
SEC("fexit/" SYSCALL_PREFIX "openat")
int BPF_PROG(fexit_openat, struct pt_regs *regs, long ret)
{
	return on_fexit(OPENAT, regs, ret);
}

SEC("fexit/" SYSCALL_PREFIX "openat2")
int BPF_PROG(fexit_openat2, struct pt_regs *regs, long ret)
{
	return on_fexit(OPENAT2, regs, ret);
}

SEC("fexit/" SYSCALL_PREFIX "open")
int BPF_PROG(fexit_open, struct pt_regs *regs, long ret)
{
	return on_fexit(OPEN, regs, ret);
}

SEC("fexit/" SYSCALL_PREFIX "creat")
int BPF_PROG(fexit_creat, struct pt_regs *regs, long ret)
{
	return on_fexit(CREAT, regs, ret);
}

/* The task's saved registers still hold the arguments. */
static __always_inline int on_exit(enum call call, long ret)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();

	if (!wanted(ret, pid_tgid))
		return 0;
	return trace(call, (void *)bpf_task_pt_regs(bpf_get_current_task_btf()), ret, pid_tgid);
}

/* kretprobe: runs with preemption off. */
static __always_inline int on_return(enum call call, struct pt_regs *ctx)
{
	need_graph();
	return on_exit(call, function_result(ctx));
}

SEC("kretprobe.multi/" SYSCALL_PREFIX "openat")
int kret_openat(struct pt_regs *ctx)
{
	return on_return(OPENAT, ctx);
}

SEC("kretprobe.multi/" SYSCALL_PREFIX "openat2")
int kret_openat2(struct pt_regs *ctx)
{
	return on_return(OPENAT2, ctx);
}

SEC("kretprobe.multi/" SYSCALL_PREFIX "open")
int kret_open(struct pt_regs *ctx)
{
	return on_return(OPEN, ctx);
}

SEC("kretprobe.multi/" SYSCALL_PREFIX "creat")
int kret_creat(struct pt_regs *ctx)
{
	return on_return(CREAT, ctx);
}

/* CALLS: none that is traced. */
static __always_inline enum call call_of(long nr)
{
	switch (nr) {
	case NR_openat:
		return OPENAT;
	case NR_openat2:
		return OPENAT2;
#ifdef HAVE_SYSCALL_OPEN
	case NR_open:
		return OPEN;
	case NR_creat:
		return CREAT;
#endif
	default:
		return CALLS;
	}
}

/* tracepoint: one program for all calls, which takes a quarter of the time to load. */

SEC("tracepoint/syscalls/sys_exit_openat")
int tp_exit(struct trace_event_raw_sys_exit *ctx)
{
	/* Of the number the kernel fills in but 32 bits (struct syscall_tp_t). */
	return on_exit(call_of((int)ctx->id), ctx->ret);
}

/* raw tracepoint: comes by for every system call, so the number is first. */

SEC("tp_btf/sys_exit")
int BPF_PROG(raw_exit, struct pt_regs *regs, long ret)
{
	enum call call = call_of(syscall_nr(regs));
	__u64 pid_tgid;

	if (call == CALLS)
		return 0;
	pid_tgid = bpf_get_current_pid_tgid();
	if (!wanted(ret, pid_tgid) || in_compat_syscall())
		return 0;
	return trace(call, regs, ret, pid_tgid);
}

char LICENSE[] SEC("license") = "GPL";
