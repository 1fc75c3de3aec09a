/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One set of programs for all file systems: user space says which functions
 * they are attached to.
 */
#include "events.bpf.h"
#include "filters.bpf.h"
#include "kernel/errno.h"
#include "syscall.bpf.h"

#include "fsslower.h"

const volatile __u64 min_ns = 0;
const volatile __u8 want_cgroup = 0;
/* fileslower: plain reads and writes of any file system. */
const volatile __u8 any_fs = 0;
const volatile __u8 regular_only = 0;
/* The super blocks of the file system: where all system calls are seen. */
const volatile __u64 fs_magic = 0;
/* Whether getattr() has the mount's id map before the path: Linux 5.12, 549c72977564. */
const volatile __u8 getattr_has_idmap = 0;

const struct fsslower_event *unused_event __attribute__((unused));
const enum fsslower_op *unused_op __attribute__((unused));

/* An operation that is under way. */
struct call {
	__u64 ts_ns;
	struct path *path; /* of the file */
	__s64 offset;
	__s64 length;
};

/* By thread and operation: a write may have an fsync in it. */
struct call_key {
	__u32 pid;
	__u32 op;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct call_key);
	__type(value, struct call);
} calls SEC(".maps");

static __always_inline bool task_is_wanted(void)
{
	return task_matches(bpf_get_current_pid_tgid());
}

static __always_inline int begin(__u32 op, struct path *path, __s64 offset, __s64 length)
{
	struct call_key key = { .pid = bpf_get_current_pid_tgid(), .op = op };
	struct call call = { .path = path, .offset = offset, .length = length };

	call.ts_ns = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&calls, &key, &call, BPF_ANY))
		count_lost();
	return 0;
}

/* Takes what was begun; false: nothing, or it was fast. */
static __always_inline bool take(__u32 op, struct call *call, __u64 *now)
{
	struct call_key key = { .pid = bpf_get_current_pid_tgid(), .op = op };
	struct call *begun = bpf_map_lookup_elem(&calls, &key);

	if (!begun)
		return false;
	*now = bpf_ktime_get_ns();
	*call = *begun;
	bpf_map_delete_elem(&calls, &key);
	return *now - call->ts_ns >= min_ns;
}

struct record {
	struct fsslower_event event;
	char name[NAME_SIZE];
};

/* The task on the CPU. */
static __always_inline void note_actor(struct actor *actor)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();

	actor->cgroup_id = want_cgroup ? bpf_get_current_cgroup_id() : 0;
	bpf_get_current_comm(actor->comm, sizeof(actor->comm));
	actor->tgid = pid_tgid >> 32;
	actor->pid = pid_tgid;
}

/* By `actor`; without one, by the task on the CPU. */
static __always_inline int emit(__u32 op, struct call *call, struct dentry *dentry,
				const struct actor *actor, __u64 now, __s64 result)
{
	struct record record;
	struct fsslower_event *event = &record.event;
	long size = 0;

	if (dentry)
		size = bpf_probe_read_kernel_str(record.name, sizeof(record.name),
						 BPF_CORE_READ(dentry, d_name.name));
	else
		record.name[0] = 0;
	if (any_fs && size == 1) /* pipes and the like */
		return 0;
	if (size < 0 || size > NAME_SIZE)
		size = 0;
	event->ts_ns = now;
	event->latency_ns = now - call->ts_ns;
	event->offset = call->offset;
	event->result = result;
	event->length = call->length;
	if (actor)
		event->actor = *actor;
	else
		note_actor(&event->actor);
	event->name_size = size;
	event->op = op;
	__builtin_memset(event->padding, 0, sizeof(event->padding));
	event_output(&record, sizeof(*event) + size);
	return 0;
}

static __always_inline int emit_call(__u32 op, struct call *call, __u64 now, __s64 result)
{
	struct path *path = call->path;

	return emit(op, call, path ? BPF_CORE_READ(path, dentry) : NULL, NULL, now, result);
}

/* One copy for all programs. */
static __noinline int finish(__u32 op, __s64 result)
{
	struct call call;
	__u64 now;

	return take(op, &call, &now) ? emit_call(op, &call, now, result) : 0;
}

/* The file system's own functions. */

static __always_inline int begin_iter(__u32 op, struct kiocb *iocb)
{
	struct file *file;

	if (!task_is_wanted())
		return 0;
	file = BPF_CORE_READ(iocb, ki_filp);
	return begin(op, &file->f_path, BPF_CORE_READ(iocb, ki_pos), 0);
}

static __always_inline int begin_file(__u32 op, struct file *file, __s64 offset, __s64 length)
{
	return task_is_wanted() ? begin(op, &file->f_path, offset, length) : 0;
}

static __always_inline int begin_getattr(struct path *path)
{
	return task_is_wanted() ? begin(OP_GETATTR, path, 0, 0) : 0;
}

/* Only a regular file; or any that is read and written at once, not later. */
static __always_inline bool file_is_synchronous(__u32 op, struct file *file)
{
	if (regular_only)
		return (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) == S_IFREG;
	return op == OP_READ ? BPF_CORE_READ(file, f_op, read_iter) :
			       BPF_CORE_READ(file, f_op, write_iter);
}

static __always_inline int begin_vfs(__u32 op, struct file *file, __s64 count, loff_t *pos)
{
	loff_t offset = 0;

	if (!task_is_wanted() || !file_is_synchronous(op, file))
		return 0;
	if (pos)
		bpf_probe_read_kernel(&offset, sizeof(offset), pos);
	return begin(op, &file->f_path, offset, count);
}

/*
 * Three ways to be called by a function: with its arguments and its result.
 * What returns an int leaves the upper half of the register as it was.
 */
#define ON_ENTRY(name, call, ...)                                                  \
	SEC("fentry") int BPF_PROG(fentry_##name, ##__VA_ARGS__) { return call; }  \
	ON_KENTRY(name, call, ##__VA_ARGS__)

#define ON_KENTRY(name, call, ...)                                                  \
	SEC("kprobe") int BPF_KPROBE(kprobe_##name, ##__VA_ARGS__) { return call; } \
	SEC("kprobe.multi") int BPF_KPROBE(multi_##name, ##__VA_ARGS__) { return call; }

#define ON_RETURN(name, op, type, ...)                                                      \
	SEC("fexit") int BPF_PROG(fexit_##name, ##__VA_ARGS__, type ret) { return finish(op, ret); } \
	ON_KRETURN(name, op, type)

#define ON_KRETURN(name, op, type)                                                          \
	SEC("kretprobe") int kretprobe_##name(struct pt_regs *ctx)                          \
	{                                                                                   \
		return finish(op, (type)function_result(ctx));                                 \
	}                                                                                   \
	SEC("kretprobe.multi") int multiret_##name(struct pt_regs *ctx)                     \
	{                                                                                   \
		need_graph();                                                               \
		return finish(op, (type)function_result(ctx));                                 \
	}

ON_ENTRY(read, begin_iter(OP_READ, iocb), struct kiocb *iocb)
ON_RETURN(read, OP_READ, long, struct kiocb *iocb, void *iter)

ON_ENTRY(write, begin_iter(OP_WRITE, iocb), struct kiocb *iocb)
ON_RETURN(write, OP_WRITE, long, struct kiocb *iocb, void *iter)

ON_ENTRY(open, begin_file(OP_OPEN, file, 0, 0), void *inode, struct file *file)
ON_RETURN(open, OP_OPEN, int, void *inode, struct file *file)

/* A file system may have two: NFS by its version. */
ON_ENTRY(open2, begin_file(OP_OPEN, file, 0, 0), void *inode, struct file *file)
ON_RETURN(open2, OP_OPEN, int, void *inode, struct file *file)

ON_ENTRY(fsync, begin_file(OP_FSYNC, file, start, end - start),
	 struct file *file, loff_t start, loff_t end)
ON_RETURN(fsync, OP_FSYNC, int, struct file *file, loff_t start, loff_t end, int datasync)

ON_ENTRY(getattr, begin_getattr(getattr_has_idmap ? second : first),
	 struct path *first, struct path *second)
ON_KRETURN(getattr, OP_GETATTR, int)

SEC("fexit")
int fexit_getattr(__u64 *ctx)
{
	__u64 result = 0;

	/* No load: the verifier takes none from a place that is computed. */
	bpf_probe_read_kernel(&result, sizeof(result), &ctx[getattr_has_idmap ? 5 : 4]);
	return finish(OP_GETATTR, (int)result);
}

/* Old verifiers let no program load a pointer to a number. */
static __always_inline int begin_vfs_at(__u32 op, __u64 *ctx)
{
	loff_t *pos = NULL;

	bpf_probe_read_kernel(&pos, sizeof(pos), &ctx[3]);
	return begin_vfs(op, (struct file *)ctx[0], ctx[2], pos);
}

SEC("fentry")
int fentry_vfs_read(__u64 *ctx)
{
	return begin_vfs_at(OP_READ, ctx);
}

SEC("fentry")
int fentry_vfs_write(__u64 *ctx)
{
	return begin_vfs_at(OP_WRITE, ctx);
}

ON_KENTRY(vfs_read, begin_vfs(OP_READ, file, count, pos),
	  struct file *file, void *buf, unsigned long count, loff_t *pos)
ON_RETURN(vfs_read, OP_READ, long, struct file *file, void *buf, unsigned long count, loff_t *pos)

ON_KENTRY(vfs_write, begin_vfs(OP_WRITE, file, count, pos),
	  struct file *file, void *buf, unsigned long count, loff_t *pos)
ON_RETURN(vfs_write, OP_WRITE, long, struct file *file, void *buf, unsigned long count, loff_t *pos)

/*
 * NFS: what the server has but not on its disk is committed. A task asks for it, and
 * a worker has the answer.
 */

/* Of modules: where those have no type information, nothing is read. */
struct nfs_open_context___nfs {
	struct dentry *dentry;
} CO_RE;

struct nfs_commit_data___nfs {
	struct nfs_open_context___nfs *context;
} CO_RE;

struct rpc_task___sunrpc {
	int tk_status;
} CO_RE;

struct commit {
	struct call call;
	struct actor actor;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct nfs_commit_data___nfs *);
	__type(value, struct commit);
} commits SEC(".maps");

SEC("raw_tp/nfs_initiate_commit")
int BPF_PROG(begin_commit, struct nfs_commit_data___nfs *data)
{
	struct commit commit = {};

	if (!task_is_wanted())
		return 0;
	commit.call.ts_ns = bpf_ktime_get_ns();
	note_actor(&commit.actor);
	if (bpf_map_update_elem(&commits, &data, &commit, BPF_ANY))
		count_lost();
	return 0;
}

SEC("raw_tp/nfs_commit_done")
int BPF_PROG(end_commit, struct rpc_task___sunrpc *task, struct nfs_commit_data___nfs *data)
{
	struct commit *begun = bpf_map_lookup_elem(&commits, &data), commit;
	__u64 now = bpf_ktime_get_ns();
	struct dentry *dentry = NULL;
	__s64 result = 0;

	if (!begun)
		return 0;
	commit = *begun;
	bpf_map_delete_elem(&commits, &data);
	if (now - commit.call.ts_ns < min_ns)
		return 0;
	if (bpf_core_type_exists(struct nfs_commit_data___nfs))
		dentry = BPF_CORE_READ(data, context, dentry);
	if (bpf_core_type_exists(struct rpc_task___sunrpc))
		result = BPF_CORE_READ(task, tk_status);
	return emit(OP_COMMIT, &commit.call, dentry, &commit.actor, now, result);
}

/* System calls, where no function can be traced. */

enum { NO_OP = -1 };

static __always_inline int op_of_call(long nr)
{
	switch (nr) {
	case NR_read:
	case NR_pread64:
		return OP_READ;
	case NR_write:
	case NR_pwrite64:
		return OP_WRITE;
	}
	if (any_fs)
		return NO_OP;
	switch (nr) {
	case NR_readv:
	case NR_preadv:
	case NR_preadv2:
		return OP_READ;
	case NR_writev:
	case NR_pwritev:
	case NR_pwritev2:
		return OP_WRITE;
	case NR_openat:
	case NR_openat2:
#ifdef HAVE_SYSCALL_OPEN
	case NR_open:
	case NR_creat:
#endif
		return OP_OPEN;
	case NR_fsync:
	case NR_fdatasync:
		return OP_FSYNC;
	}
	return NO_OP;
}

/* Where the call reads or writes: where its argument says, or where the file is at. */
static __always_inline __s64 call_offset(long nr, struct pt_regs *regs, struct file *file)
{
	__s64 offset = -1;

	switch (nr) {
	case NR_pread64:
	case NR_pwrite64:
	case NR_preadv:
	case NR_pwritev:
	case NR_preadv2:
	case NR_pwritev2:
		offset = read_syscall_arg(regs, 4);
	}
	return offset == -1 ? BPF_CORE_READ(file, f_pos) : offset;
}

static __always_inline bool file_matches(__u32 op, struct file *file)
{
	if (any_fs)
		return file_is_synchronous(op, file);
	/* Of other files only a directory is the file system's, for fsync(2). */
	if (op != OP_FSYNC && (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFREG)
		return false;
	return BPF_CORE_READ(file, f_inode, i_sb, s_magic) == fs_magic;
}

static __always_inline int enter(long nr, struct pt_regs *regs)
{
	int op = op_of_call(nr);
	struct file *file;

	if (op == NO_OP || !task_is_wanted())
		return 0;
	if (op == OP_OPEN) /* which file is known afterwards */
		return begin(op, NULL, 0, 0);
	file = fd_file(read_syscall_arg(regs, 1));
	if (!file || !file_matches(op, file))
		return 0;
	if (op == OP_FSYNC)
		return begin(op, &file->f_path, 0, LLONG_MAX);
	return begin(op, &file->f_path, call_offset(nr, regs, file),
		     any_fs ? read_syscall_arg(regs, 3) : 0);
}

/* The file that was opened is one of the file system, and was opened by it. */
static __always_inline bool opened_matches(struct file *file)
{
	return file && !(BPF_CORE_READ(file, f_mode) & FMODE_PATH) && file_matches(OP_OPEN, file);
}

static __always_inline int leave(long nr, struct pt_regs *regs, __s64 result)
{
	int op = op_of_call(nr);
	struct file *file;
	struct call call;
	__u64 now;

	if (op == NO_OP || !take(op, &call, &now))
		return 0;
	/* A file that is not open for this: the file system was not asked. */
	if (result == -EBADF)
		return 0;
	if (op == OP_OPEN) {
		file = result >= 0 ? fd_file(result) : NULL;
		if (!opened_matches(file))
			return 0;
		call.path = &file->f_path;
		result = 0;
	} else {
		/* Another thread may have closed it: its name is gone. */
		file = fd_file(read_syscall_arg(regs, 1));
		if (!file || &file->f_path != call.path)
			call.path = NULL;
	}
	return emit_call(op, &call, now, result);
}

/* Of the number the kernel fills in but 32 bits (struct syscall_tp_t). */

SEC("tracepoint/syscalls/sys_enter_read")
int tp_enter(struct trace_event_raw_sys_enter *ctx)
{
	return enter((int)ctx->id, current_regs());
}

SEC("tracepoint/syscalls/sys_exit_read")
int tp_exit(struct trace_event_raw_sys_exit *ctx)
{
	return leave((int)ctx->id, current_regs(), ctx->ret);
}

/* The raw tracepoints come by for every system call. */

SEC("tp_btf/sys_enter")
int BPF_PROG(raw_enter, struct pt_regs *regs, long nr)
{
	return op_of_call(nr) == NO_OP || in_compat_syscall() ? 0 : enter(nr, regs);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(raw_exit, struct pt_regs *regs, long ret)
{
	int nr = syscall_nr(regs);

	return op_of_call(nr) == NO_OP || in_compat_syscall() ? 0 : leave(nr, regs, ret);
}

char LICENSE[] SEC("license") = "GPL";
