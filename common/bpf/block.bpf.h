/* SPDX-License-Identifier: GPL-2.0 */
/* Block I/O requests: the arguments of their tracepoints, and whose they are. */
#pragma once

#include "cgroup.bpf.h"
#include "kernel/block.h"

/*
 * How many parameters these tracepoints have: before Linux 5.11 (a54895fa057c,
 * also in 5.10.137, and e8a676d61c07) the queue came first. Set from the
 * kernel's type information.
 */
const volatile __u8 rq_issue_params = 1; /* also of block_rq_requeue; before: q, rq */
const volatile __u8 getrq_params = 1; /* before: q, bio, rw */
const volatile __u8 frontmerge_params = 1; /* before: q, rq, bio */

/*
 * The first argument of a tracepoint that has one parameter, else the one at
 * `before`. The barrier keeps clang from choosing the address first
 * and loading then, which the verifier refuses.
 */
#define TP_ARG(ctx, params, before)                      \
	({                                               \
		__u64 __arg;                             \
		if (params == 1) {                       \
			__arg = (ctx)[0];                \
			barrier_var(__arg);              \
		} else {                                 \
			__arg = (ctx)[before];           \
		}                                        \
		(void *)__arg;                           \
	})

static __always_inline struct request *rq_issue_request(__u64 *ctx)
{
	return TP_ARG(ctx, rq_issue_params, 1);
}

static __always_inline struct bio *getrq_bio(__u64 *ctx)
{
	return TP_ARG(ctx, getrq_params, 1);
}

static __always_inline struct bio *frontmerge_bio(__u64 *ctx)
{
	return TP_ARG(ctx, frontmerge_params, 2);
}

/*
 * Whether block_rq_complete(rq, error, nr_bytes) ends the request: it also
 * comes for each part of one that the driver ends in parts.
 */
static __always_inline bool rq_is_done(struct request *rq, unsigned int nr_bytes)
{
	return nr_bytes >= rq->__data_len;
}

/*
 * Bits of rq_flags, set from the kernel's type information. Until Linux 6.11
 * (5f89154e8e9e) they were macros, which it does not tell.
 */
const volatile __u32 rqf_flush_seq = 1 << 4;
const volatile __u32 rqf_io_stat = 0; /* not known, and not needed */

/* Whether the request is, or is done as, a step of a flush sequence. */
static __always_inline bool rq_in_flush_sequence(struct request *rq)
{
	return rq->rq_flags & rqf_flush_seq;
}

/*
 * When the request was allocated, which the kernel notes for its statistics; 0
 * without them. Newer kernels (6.18, not yet 6.12) leave an old value then, so
 * it holds only with the flag. A flush always has one.
 */
static __always_inline __u64 rq_stamp_ns(struct request *rq)
{
	if (rqf_io_stat && !(rq->rq_flags & (rqf_io_stat | rqf_flush_seq)))
		return 0;
	return rq->start_time_ns;
}

/* NULL for a command that was sent to a device without a disk. */
static __always_inline struct gendisk *rq_disk(struct request *rq)
{
	if (bpf_core_field_exists(struct request_queue___since_5_15, disk))
		return ((struct request_queue___since_5_15 *)rq->q)->disk;
	return ((struct request___before_5_17 *)rq)->rq_disk;
}

/* The kernel's device number, 0 for no disk. */
static __always_inline __u32 disk_dev(struct gendisk *disk)
{
	return disk ? disk->major << 20 | disk->first_minor : 0;
}

static __always_inline struct gendisk *bio_disk(struct bio *bio)
{
	if (bpf_core_field_exists(struct bio___before_5_12, bi_disk))
		return ((struct bio___before_5_12 *)bio)->bi_disk;
	return ((struct bio___since_5_12 *)bio)->bi_bdev->bd_disk;
}

/* The partition or whole disk that the request is counted for, 0 for none. */
static __always_inline __u32 rq_part_dev(struct request *rq)
{
	if (bpf_core_type_exists(struct hd_struct___before_5_11)) {
		struct hd_struct___before_5_11 *part = ((struct request___before_5_11 *)rq)->part;

		return part ? part->__dev.devt : 0;
	}
	return rq->part ? rq->part->bd_dev : 0;
}

/* The --disk filter: a device number, 0 for any; of a partition with its disk's. */
const volatile __u32 filter_disk = 0;
const volatile __u32 filter_part = 0;

static __always_inline bool disk_matches(struct gendisk *disk)
{
	return !filter_disk || disk_dev(disk) == filter_disk;
}

/* Of a request that is under way: before it, its partition is not known. */
static __always_inline bool rq_disk_matches(struct request *rq)
{
	if (filter_disk && disk_dev(rq_disk(rq)) != filter_disk)
		return false;
	return !filter_part || rq_part_dev(rq) == filter_part;
}

/* The cgroup that the io controller charges, NULL for none. */
static __always_inline struct cgroup *bio_cgroup(struct bio *bio)
{
	struct blkcg_gq *blkg = bio ? bio->bi_blkg : NULL;

	return blkg ? blkg->blkcg->css.cgroup : NULL;
}

/* That of its first bio; NULL for a request without one. */
static __always_inline struct cgroup *rq_cgroup(struct request *rq)
{
	return bio_cgroup(rq->bio);
}
