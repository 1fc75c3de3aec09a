/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Requests under way: who made each, when, and when it was issued.
 *
 * The task on the CPU makes a request, mostly for itself; it may be another that
 * issues it, and is any task that is interrupted by its completion.
 */
#pragma once

#include "block.bpf.h"
#include "hash.bpf.h"
#include "lost.bpf.h"

/* More of who made a request than the name is to be told, and its owner's cgroup. */
const volatile __u8 want_details = 0;
const volatile __u8 want_cgroup = 0;

struct maker {
	__u64 ns; /* when; 1: without details, of a request; 0: nobody is known */
	__u64 cgroup; /* the owner's id; 0: not asked for */
	__u32 tgid;
	__u32 pid;
	__u8 comm[16];
};

struct io {
	struct maker maker;
	__u64 issued_ns; /* the last time; 0: not yet */
	__u64 sector; /* when it was issued for the first time */
	__u32 bytes; /* then */
	__u32 is_told; /* what is still to come is not: its end as a whole, another issue */
};

struct io_slot {
	__u64 request; /* whose it is; 0: nobody's yet */
	struct io io;
};

#define IO_SLOTS_BITS 14

/*
 * By the request: one array access where a hash takes several times as long. The
 * kernel uses its requests again and again, so each keeps the slot that it was
 * the first to take. Two CPUs that take one in the same few nanoseconds are not
 * told apart.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << IO_SLOTS_BITS);
	__type(key, __u32);
	__type(value, struct io_slot);
} io_slots SEC(".maps");

/*
 * Requests whose slot is another's and, where the making of requests is not seen,
 * the first bios of those that are not issued yet. Those that are not used any
 * more make room.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, void *);
	__type(value, struct io);
} ios SEC(".maps");

static struct io no_io;

/* Requests are known by their bios: set by the program that sees these. */
static bool by_bio;

/* Bios that were put before the one of which the request was made, at most. */
#define FRONT_MERGES 8

/* By itself: older verifiers forget what a variable is that was a key. */
static __always_inline struct io *hash_find(void *object)
{
	return bpf_map_lookup_elem(&ios, &object);
}

static __always_inline struct io *hash_add(void *object)
{
	struct io *io;

	bpf_map_update_elem(&ios, &object, &no_io, BPF_ANY);
	io = bpf_map_lookup_elem(&ios, &object);
	if (!io)
		count_lost();
	return io;
}

static __always_inline struct io_slot *io_slot(struct request *rq)
{
	__u32 index = pointer_hash(rq, IO_SLOTS_BITS);

	return bpf_map_lookup_elem(&io_slots, &index);
}

static __always_inline struct io *find_io(struct request *rq)
{
	struct io_slot *slot = io_slot(rq);

	if (slot && slot->request == (__u64)rq)
		return &slot->io;
	return slot && slot->request ? hash_find(rq) : NULL;
}

static __always_inline struct io *add_io(struct request *rq)
{
	struct io_slot *slot = io_slot(rq);

	if (!slot || slot->request)
		return hash_add(rq);
	slot->request = (__u64)rq;
	return &slot->io;
}

/* For the next use of the request. */
static __always_inline void end_io(struct io *io)
{
	io->maker.ns = 0;
	io->issued_ns = 0;
	io->is_told = 0;
}

/*
 * Whose the I/O is that the task on the CPU makes a request for: the task's own
 * cgroup, or the one elsewhere in the tree that the io controller charges.
 * Threads of the kernel write for others.
 */
static __always_inline struct cgroup *owner_cgroup(struct bio *bio)
{
	struct cgroup *own = task_cgroup(), *at = own, *charged = bio_cgroup(bio);
	__u64 charged_id = cgroup_id(charged);

	/* With cgroup v1 it may charge one of another hierarchy. */
	if (!charged_id || BPF_CORE_READ(charged, root) != BPF_CORE_READ(own, root))
		return own;
	for (int level = 0; level < CGROUP_MAX_DEPTH && at; level++) {
		if (cgroup_id(at) == charged_id)
			return own;
		at = (struct cgroup *)BPF_CORE_READ(at, self.parent);
	}
	return charged;
}

/* Whether I/O of `bio` that the task on the CPU makes passes --cgroup. */
static __always_inline bool owner_matches(struct bio *bio, struct cgroup **owner)
{
	*owner = filter_cgroup || want_cgroup ? owner_cgroup(bio) : NULL;
	return !filter_cgroup || cgroup_matches(*owner);
}

/* The task on the CPU makes the request. */
static __always_inline void made(struct io *io, struct cgroup *owner)
{
	if (!io)
		return;
	end_io(io);
	if (want_details) {
		io->maker.tgid = bpf_get_current_pid_tgid() >> 32;
		io->maker.pid = bpf_get_current_pid_tgid();
	}
	if (want_cgroup)
		io->maker.cgroup = cgroup_id(owner);
	bpf_get_current_comm(io->maker.comm, sizeof(io->maker.comm));
	io->maker.ns = want_details || by_bio ? bpf_ktime_get_ns() : 1;
}

/* Linux 6.5, 5a80bd075f3b. */
SEC("tp_btf/block_io_start")
int BPF_PROG(io_start, struct request *rq)
{
	struct cgroup *owner;
	struct io *io;

	if (!disk_matches(rq_disk(rq)))
		return 0;
	io = find_io(rq);
	if (owner_matches(rq->bio, &owner))
		made(io ?: add_io(rq), owner);
	else if (io)
		end_io(io);
	return 0;
}

SEC("tp_btf/block_getrq")
int getrq(__u64 *ctx)
{
	struct bio *bio = getrq_bio(ctx);
	struct cgroup *owner;
	struct io *io;

	if (!by_bio)
		by_bio = true;
	if (!disk_matches(bio_disk(bio)))
		return 0;
	io = hash_find(bio);
	if (owner_matches(bio, &owner))
		made(io ?: hash_add(bio), owner);
	else if (io)
		end_io(io);
	return 0;
}

/*
 * What is known of a request by its bios. One that is older than the request is
 * of an earlier use of the bio.
 */
static __always_inline struct io *find_made_bio(struct request *rq)
{
	__u64 stamp_ns = rq_stamp_ns(rq);
	struct bio *bio = rq->bio;

	for (int i = 0; i < FRONT_MERGES && bio; i++) {
		struct io *io = hash_find(bio);

		if (io && io->maker.ns && io->maker.ns >= stamp_ns)
			return io;
		bio = bio->bi_next;
	}
	return NULL;
}

/* What is known of a request, `io`; or of a new one, by its bios. */
static __always_inline struct io *learn_io(struct request *rq, struct io *io)
{
	struct io *made = by_bio ? find_made_bio(rq) : NULL;
	struct maker maker;

	if (!made)
		return io;
	maker = made->maker;
	made->maker.ns = 0;
	if (!io)
		io = add_io(rq);
	if (!io)
		return NULL;
	end_io(io);
	io->maker = maker;
	return io;
}

/* Whether the request passes --cgroup: only those of its tasks are followed. */
static __always_inline bool io_matches(struct io *io)
{
	return !filter_cgroup || (io && io->maker.ns);
}
