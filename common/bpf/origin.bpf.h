/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where a socket's traffic comes from: namespace, cgroup, cookie, and the
 * process that owns the socket. Packets and timers are handled on top of
 * whatever task runs at the time, so the task on the CPU is the owner only
 * where it acts for itself.
 */
#pragma once

#include "cgroup.bpf.h"
#include "flow.bpf.h"
#include "hash.bpf.h"
#include "kernel/sock.h"
#include "syscall.bpf.h"

struct origin {
	__u64 cookie; /* as ss -e shows it; 0: none was asked for yet */
	__u64 cgroup_id; /* of the socket; 0: not known */
	__u64 inode; /* of the socket's file, by which user space finds who has it; 0: no file */
	__u8 comm[16];
	__u32 tgid; /* the owner; 0: not known here, see inode */
	__u32 netns; /* inode number */
};

_Static_assert(sizeof(struct origin) == 48, "no hidden padding");

/*
 * Who last changed the state of a TCP socket, as a process and not by a packet:
 * connect(), listen(), shutdown() and close() of it. A socket that is closed
 * still sends, but has no file by which its owner could be found. Not in socket
 * storage, which only some kinds of programs and of sockets can use; and in an
 * array, which takes a fifth of a hash's time. Sockets share a slot: the newer
 * one has it.
 */
struct sock_owner {
	__u64 sk; /* 0: the slot is free */
	__u64 comm[2];
	__u32 tgid;
	__u32 check; /* nobody has written into the slot meanwhile */
};

#define OWNERS_BITS 14

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << OWNERS_BITS);
	__type(key, __u32);
	__type(value, struct sock_owner);
} sock_owners SEC(".maps");

static __always_inline struct sock_owner *owner_slot(struct sock *sk)
{
	__u32 index = pointer_hash(sk, OWNERS_BITS);

	return bpf_map_lookup_elem(&sock_owners, &index);
}

static __always_inline __u32 owner_check(struct sock *sk, const __u64 comm[2], __u32 tgid)
{
	__u64 sum = ((pointer_low(sk) * 31ULL + comm[0]) * 31 + comm[1]) * 31 + tgid;

	return sum ^ sum >> 32;
}

static __always_inline void owner_store(struct sock *sk)
{
	struct sock_owner *slot = owner_slot(sk);
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	__u64 comm[2];

	if (!slot)
		return;
	bpf_get_current_comm(comm, sizeof(comm));
	slot->sk = (__u64)sk;
	slot->comm[0] = comm[0];
	slot->comm[1] = comm[1];
	slot->tgid = tgid;
	slot->check = owner_check(sk, comm, tgid);
}

static __always_inline void owner_forget(struct sock *sk)
{
	struct sock_owner *slot = owner_slot(sk);

	if (slot && slot->sk == (__u64)sk)
		slot->sk = 0;
}

/* Leaves `origin` as it is when the owner is not known. */
static __always_inline void owner_find(struct origin *origin, struct sock *sk)
{
	volatile struct sock_owner *slot = owner_slot(sk);
	__u64 comm[2];
	__u32 tgid;

	if (!slot || slot->sk != (__u64)sk)
		return;
	comm[0] = slot->comm[0];
	comm[1] = slot->comm[1];
	tgid = slot->tgid;
	if (slot->check != owner_check(sk, comm, tgid))
		return;
	origin->tgid = tgid;
	__builtin_memcpy(origin->comm, comm, sizeof(origin->comm));
}

/*
 * Whether the task on this CPU is in a system call on `file`: send, write,
 * connect and the like have its descriptor as first argument. That holds also
 * while a packet or a timer has interrupted the task, and never for a
 * bystander.
 */
static __always_inline bool current_uses(struct file *file)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return !(BPF_CORE_READ(task, flags) & PF_KTHREAD) &&
	       fd_file(read_syscall_arg(current_regs(), 1)) == file;
}

/* The full socket that stands for any kind: for a request its listener; NULL for time-wait. */
static __always_inline struct sock *full_sock(struct sock *sk)
{
#ifdef TYPED_FULL_SOCKS
	return sk;
#else
	__u8 state;

	if (!sk)
		return NULL;
	state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (state == TCP_NEW_SYN_RECV)
		return BPF_CORE_READ(sk, __sk_common.skc_listener);
	return state == TCP_TIME_WAIT ? NULL : sk;
#endif
}

/*
 * Fills in all of `origin`; `sk` may be NULL or any kind of socket. netns is 0
 * when there is no socket.
 */
static __always_inline void origin_of_sock(struct origin *origin, struct sock *sk)
{
	struct socket *socket;
	struct inode *inode;
	struct sock *full;
	struct file *file;

	__builtin_memset(origin, 0, sizeof(*origin));
	if (!sk)
		return;
	origin->cookie = SOCK_READ(sk, __sk_common.skc_cookie.counter);
	origin->netns = netns_inum(sock_net(sk));
	full = full_sock(sk);
	if (!full)
		return;
	origin->cgroup_id = cgroup_id(sock_cgroup(full));
	socket = SOCK_READ(full, sk_socket);
	file = socket ? SOCK_READ(socket, file) : NULL;
	if (file) {
		inode = SOCK_READ(file, f_inode);
		origin->inode = SOCK_READ(inode, i_ino);
		if (current_uses(file)) {
			origin->tgid = bpf_get_current_pid_tgid() >> 32;
			bpf_get_current_comm(origin->comm, sizeof(origin->comm));
		}
		return;
	}
	if (sock_is_tcp(full))
		owner_find(origin, full);
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

/* Notes the owner of a socket: these changes are made by its process alone. */
static __always_inline int owner_state(struct sock *sk, int newstate)
{
	switch (newstate) {
	case TCP_SYN_RECV: /* a listener's child: who will accept it is not known yet */
		owner_forget(sk);
		return 0;
	case TCP_SYN_SENT:
	case TCP_LISTEN:
	case TCP_FIN_WAIT1:
	case TCP_LAST_ACK:
		if (sock_is_tcp(sk))
			owner_store(sk);
	}
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(note_owner, struct sock *sk, int oldstate, int newstate)
{
	return owner_state(sk, newstate);
}

/* User space reads it when it meets a socket that it does not know. */
struct socket_file {
	__u64 inode;
	__u64 started; /* the process: ns since the boot */
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
	entry.started = task->group_leader->start_boottime;
	bpf_probe_read_kernel(entry.comm, sizeof(entry.comm), task->group_leader->comm);
	bpf_seq_write(ctx->meta->seq, &entry, sizeof(entry));
	return 0;
}
