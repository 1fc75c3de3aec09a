/* SPDX-License-Identifier: GPL-2.0 */
#include "block.bpf.h"
#include "hist.bpf.h"
#include "lost.bpf.h"
#include "stamps.bpf.h"

#include "biolatency.h"

const volatile __u64 unit_ns = 1000;
const volatile __u8 by_disk = 0;
const volatile __u8 by_flags = 0;
/* --cgroup goes by the task that made the request, not by its io controller. */
const volatile __u8 owner_is_task = 0;

/*
 * When a request was issued or, with -Q, made; or COUNTED; or 0: those whose
 * slot in `stamps` is taken. The kernel uses its requests again and again, so
 * each keeps its entry: that is cheaper than to delete it. Those of disks that
 * are gone grow old.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct request *);
	__type(value, __u64);
} start SEC(".maps");

/*
 * The bios that tasks of --cgroup made requests of. One that is then merged
 * never comes back as the first of a request: such entries grow old.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, struct bio *);
	__type(value, __u8);
} owned SEC(".maps");

/* The only histogram … */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hist);
} single SEC(".maps");

/* … or one per disk, per flags, or both. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct biolatency_key);
	__type(value, struct biolatency_hist);
} keyed SEC(".maps");

static struct biolatency_hist empty;

static __always_inline bool is_owned(struct request *rq)
{
	struct bio *bio = rq->bio;

	return bio && bpf_map_lookup_elem(&owned, &bio);
}

static __always_inline bool wanted(struct request *rq)
{
	if (!rq_disk_matches(rq))
		return false;
	if (filter_cgroup)
		return owner_is_task ? is_owned(rq) : cgroup_matches(rq_cgroup(rq));
	return true;
}

static __always_inline struct hist *find_hist(struct request *rq)
{
	struct biolatency_key key = {};
	struct biolatency_hist *hist;
	struct gendisk *disk = NULL;
	__u32 zero = 0;

	if (!by_disk && !by_flags)
		return bpf_map_lookup_elem(&single, &zero);

	if (by_disk) {
		disk = rq_disk(rq);
		key.dev = disk_dev(disk);
	}
	if (by_flags)
		key.cmd_flags = rq->cmd_flags;
	hist = bpf_map_lookup_elem(&keyed, &key);
	if (!hist) {
		/* Refused when another CPU has just done the same. */
		bpf_map_update_elem(&keyed, &key, &empty, BPF_NOEXIST);
		hist = bpf_map_lookup_elem(&keyed, &key);
		if (!hist)
			return NULL;
	}
	/* Its first request, or the device number has gone to another disk. */
	if (disk && hist->disk.gendisk != (__u64)disk) {
		hist->disk.gendisk = (__u64)disk;
		bpf_probe_read_kernel(hist->disk.name, sizeof(hist->disk.name), disk->disk_name);
	}
	return &hist->hist;
}

/* In place of a start: the data of this write were counted, its end is to come. */
#define COUNTED 1

/* By itself: older verifiers forget what a variable is that was a key. */
static __always_inline __u64 *find_start(struct request *rq)
{
	__u64 *stamp = stamp_find(rq);

	return stamp ?: bpf_map_lookup_elem(&start, &rq);
}

static __always_inline void begin(struct request *rq)
{
	__u64 now = bpf_ktime_get_ns();

	if (!stamp_store(rq, now) && bpf_map_update_elem(&start, &rq, &now, BPF_ANY))
		count_lost();
}

static __always_inline void count(struct request *rq, __u64 start_ns)
{
	__s64 delta_ns = bpf_ktime_get_ns() - start_ns;
	struct hist *hist = find_hist(rq);

	if (!hist || delta_ns < 0)
		count_lost();
	else if (by_disk || by_flags)
		hist_add(hist, in_units(delta_ns, unit_ns), delta_ns);
	else
		hist_add_this_cpu(hist, in_units(delta_ns, unit_ns), delta_ns);
}

enum from { ISSUE, START, STAMP };

/*
 * A write with a flush before or after it (REQ_PREFLUSH, REQ_FUA) completes
 * twice: after its data, as a step of the flush sequence, and as a whole. From
 * its issue it is timed to the first, else to the second.
 *
 * A request whose start was not seen is timed from its allocation: an empty
 * flush, which is never issued itself; one that was under way already; one for
 * which the kernel skipped our program. So the counts are those of
 * /proc/diskstats. A start from before the allocation is from an earlier use.
 */
static __always_inline void end(struct request *rq, unsigned int nr_bytes, enum from from)
{
	__u64 *slot, start_ns = 0, stamp_ns;
	bool is_step;

	if (!rq_is_done(rq, nr_bytes))
		return;
	is_step = rq_in_flush_sequence(rq) && rq->bio; /* the flush itself has no bio */
	if (is_step && from != ISSUE)
		return;
	slot = from == STAMP ? NULL : find_start(rq);
	if (slot) {
		start_ns = *slot;
		*slot = is_step && start_ns ? COUNTED : 0;
	}
	if (start_ns == COUNTED || (is_step && !start_ns))
		return;
	stamp_ns = rq_stamp_ns(rq);
	if (start_ns < stamp_ns)
		start_ns = stamp_ns;
	if (start_ns && wanted(rq))
		count(rq, start_ns);
}

/* From issue to completion. A request that is issued again begins anew. */
SEC("tp_btf/block_rq_issue")
int issue(__u64 *ctx)
{
	struct request *rq = rq_issue_request(ctx);

	if (wanted(rq))
		begin(rq);
	return 0;
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(complete, struct request *rq, int error, unsigned int nr_bytes)
{
	end(rq, nr_bytes, ISSUE);
	return 0;
}

/* -Q: from the making of the request to its completion. */
SEC("tp_btf/block_io_start")
int BPF_PROG(io_start, struct request *rq)
{
	begin(rq);
	return 0;
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(complete_queued, struct request *rq, int error, unsigned int nr_bytes)
{
	end(rq, nr_bytes, START);
	return 0;
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(complete_stamped, struct request *rq, int error, unsigned int nr_bytes)
{
	end(rq, nr_bytes, STAMP);
	return 0;
}

/* In the task that makes a request: of a bio, or of one put before the others. */
static __always_inline void own(struct bio *bio)
{
	__u8 yes = 1;

	if (!cgroup_matches(task_cgroup()))
		bpf_map_delete_elem(&owned, &bio);
	else if (bpf_map_update_elem(&owned, &bio, &yes, BPF_ANY))
		count_lost();
}

SEC("tp_btf/block_getrq")
int getrq(__u64 *ctx)
{
	own(getrq_bio(ctx));
	return 0;
}

SEC("tp_btf/block_bio_frontmerge")
int frontmerge(__u64 *ctx)
{
	own(frontmerge_bio(ctx));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
