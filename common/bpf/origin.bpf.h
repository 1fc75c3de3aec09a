/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where a socket's traffic comes from: namespace, cgroup, cookie, and the
 * process that owns the socket. Packets and timers are handled on top of
 * whatever task runs at the time, so the task on the CPU is the owner only
 * where it acts for itself.
 */
#pragma once

#include "cgroup.bpf.h"
#include "kernel/sock.h"

struct origin {
	__u64 cookie; /* as ss -e shows it; 0: none was asked for yet */
	__u64 cgroup_id; /* of the socket; 0: not known */
	__u64 inode; /* of the socket's file, by which user space finds who has it; 0: no file */
	__u8 comm[16];
	__u32 tgid; /* the owner; 0: not known here, see inode */
	__u32 netns; /* inode number */
};

_Static_assert(sizeof(struct origin) == 48, "no hidden padding");

struct sock_owner {
	__u32 tgid;
	__u8 comm[16];
};

/*
 * Who last changed the state of a TCP socket, as a process and not by a packet:
 * connect(), listen(), shutdown() and close() of it. A socket that is closed
 * still sends, but has no file by which its owner could be found. A hash, and
 * not socket storage, which only some kinds of programs and of sockets can
 * use; the entry of a socket that is gone is dropped for a newer one's.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct sock *);
	__type(value, struct sock_owner);
} sock_owners SEC(".maps");

extern const int __preempt_count __ksym __weak; /* x86, since 6.15 and before 6.2 */
extern const struct pcpu_hot pcpu_hot __ksym __weak; /* x86 in between */

#define SOFTIRQ_BEING_SERVED 0x100 /* SOFTIRQ_OFFSET */
#define PF_KTHREAD 0x00200000

/* Whether the task on this CPU acts for itself, not interrupted by packets or timers. */
static __always_inline bool in_process(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	int count;

	if (BPF_CORE_READ(task, flags) & PF_KTHREAD)
		return false;
#if defined(__TARGET_ARCH_x86)
	if (bpf_ksym_exists(&__preempt_count))
		count = *(int *)bpf_this_cpu_ptr(&__preempt_count);
	else if (bpf_ksym_exists(&pcpu_hot))
		count = ((struct pcpu_hot *)bpf_this_cpu_ptr(&pcpu_hot))->preempt_count;
	else
		return false;
#else
	count = BPF_CORE_READ(task, thread_info.preempt_count);
#endif
	return !(count & SOFTIRQ_BEING_SERVED);
}

/* The full socket that stands for any kind: for a request its listener; NULL for time-wait. */
static __always_inline struct sock *full_sock(struct sock *sk)
{
	__u8 state;

	if (!sk)
		return NULL;
	state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (state == TCP_NEW_SYN_RECV)
		return BPF_CORE_READ((struct request_sock *)sk, rsk_listener);
	return state == TCP_TIME_WAIT ? NULL : sk;
}

static __always_inline bool sock_is_tcp(struct sock *sk)
{
	return BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP;
}

/*
 * Fills in all of `origin`; `sk` may be NULL or any kind of socket. netns is 0
 * when there is no socket.
 */
static __always_inline void origin_of_sock(struct origin *origin, struct sock *sk)
{
	struct sock_owner *owner;
	struct sock *full;

	__builtin_memset(origin, 0, sizeof(*origin));
	if (!sk)
		return;
	origin->cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	origin->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	full = full_sock(sk);
	if (!full)
		return;
	origin->cgroup_id = cgroup_id(sock_cgroup(full));
	/* A process that handles its own TCP socket has locked it. */
	if (in_process() && (!sock_is_tcp(full) || BPF_CORE_READ(full, sk_lock.owned))) {
		origin->tgid = bpf_get_current_pid_tgid() >> 32;
		bpf_get_current_comm(origin->comm, sizeof(origin->comm));
		return;
	}
	origin->inode = BPF_CORE_READ(full, sk_socket, file, f_inode, i_ino);
	if (origin->inode || !sock_is_tcp(full))
		return;
	owner = bpf_map_lookup_elem(&sock_owners, &full);
	if (owner) {
		origin->tgid = owner->tgid;
		__builtin_memcpy(origin->comm, owner->comm, sizeof(origin->comm));
	}
}

/*
 * --cgroup, for any kind of socket. One without a cgroup of its own (time-wait)
 * belongs to none.
 */
static __always_inline bool sock_cgroup_matches(struct sock *sk)
{
	struct sock *full;

	if (!filter_cgroup)
		return true;
	full = full_sock(sk);
	return full && cgroup_matches(sock_cgroup(full));
}

/* Notes the owner of a socket that its process is connecting, opening or closing. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(note_owner, struct sock *sk, int oldstate, int newstate)
{
	struct sock_owner owner;

	/* A child of a listener: accepted later, by whom is not known yet. */
	if (newstate == TCP_SYN_RECV) {
		bpf_map_delete_elem(&sock_owners, &sk);
		return 0;
	}
	if (newstate == TCP_ESTABLISHED || !sk->sk_lock.owned || !in_process() ||
	    !sock_is_tcp(sk))
		return 0;
	owner.tgid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(owner.comm, sizeof(owner.comm));
	bpf_map_update_elem(&sock_owners, &sk, &owner, BPF_ANY);
	return 0;
}

/* User space reads it when it meets a socket that it does not know. */
struct socket_file {
	__u64 inode;
	__u8 comm[16];
	__u32 tgid;
	__u32 pad;
};

SEC("iter/task_file")
int socket_files(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct socket_file entry = {};
	struct file *file = ctx->file;

	if (!task || !file || (file->f_inode->i_mode & S_IFMT) != S_IFSOCK)
		return 0;
	entry.inode = file->f_inode->i_ino;
	entry.tgid = task->tgid;
	bpf_probe_read_kernel(entry.comm, sizeof(entry.comm), task->group_leader->comm);
	bpf_seq_write(ctx->meta->seq, &entry, sizeof(entry));
	return 0;
}
