/* SPDX-License-Identifier: GPL-2.0 */
#include "biosnoop.h"
#include "events.bpf.h"
#include "io.bpf.h"

const volatile __u64 min_ns = 0;
const volatile __u8 want_pattern = 0;
const volatile __u8 want_dev = 0;

const struct biosnoop_event *unused_event __attribute__((unused));

/* Where the last request of each disk has ended: its next sector, by device number. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u64);
} next_sectors SEC(".maps");

/* When the first request was issued that was seen: what is made later is seen as well. */
static __u64 begin_ns;

/* What is known of a request; not what was of an earlier use, whose end was not seen. */
static __always_inline struct io *current_io(struct request *rq)
{
	struct io *io = find_io(rq);

	if (io && io->issued_ns && io->issued_ns < rq_stamp_ns(rq))
		end_io(io);
	return io;
}

SEC("tp_btf/block_rq_issue")
int issue(__u64 *ctx)
{
	struct request *rq = rq_issue_request(ctx);
	struct io *io;

	if (!rq_disk_matches(rq))
		return 0;
	io = learn_io(rq, current_io(rq));
	if (!io_matches(io))
		return 0;
	if (!io)
		io = add_io(rq);
	if (!io)
		return 0;
	/* When it is issued again, a part of it may be done. */
	if (!io->issued_ns) {
		io->sector = rq->__sector;
		io->bytes = rq->__data_len;
	}
	io->is_told = 0; /* of an earlier use, whose end was not seen */
	io->issued_ns = bpf_ktime_get_ns();
	if (!begin_ns)
		begin_ns = io->issued_ns;
	return 0;
}

/* Whether the data of this request begin where those of the disk's last one have ended. */
static __always_inline __u32 pattern_of(struct request *rq, struct io *io)
{
	__u32 dev = disk_dev(rq_disk(rq)), pattern = PATTERN_UNKNOWN;
	__u64 begin = rq->__sector, *last, next;

	/* A command of a program (SG_IO) has data, but no place, or no disk. */
	if (!dev || begin == NOWHERE || !rq->__data_len)
		return PATTERN_UNKNOWN;
	next = begin + (rq->__data_len >> 9);
	if (io && io->issued_ns)
		begin = io->sector; /* the part that is done last ends with the whole */
	last = bpf_map_lookup_elem(&next_sectors, &dev);
	if (last) {
		pattern = *last == begin ? PATTERN_SEQUENTIAL : PATTERN_RANDOM;
		*last = next;
	} else {
		bpf_map_update_elem(&next_sectors, &dev, &next, BPF_ANY);
	}
	return pattern;
}

static __always_inline void show(struct request *rq, struct io *io, int error, __u32 pattern)
{
	__u64 now = bpf_ktime_get_ns(), made_ns = io->maker.ns;
	__u64 issued_ns = io->issued_ns, latency_ns = now - (issued_ns ?: made_ns);
	struct gendisk *disk = rq_disk(rq);
	struct biosnoop_event *event;
	__u64 sector;
	__u32 bytes;

	if (latency_ns < min_ns)
		return;
	sector = rq->__sector;
	bytes = rq->__data_len;
	/* Read here: clang would choose the address first, as in TP_ARG. */
	barrier_var(sector);
	barrier_var(bytes);
	if (issued_ns) {
		sector = io->sector;
		bytes = io->bytes;
	}
	event = event_reserve(struct biosnoop_event);
	if (!event)
		return;
	event->ts_ns = now;
	event->latency_ns = latency_ns;
	event->queue_ns = made_ns && issued_ns ? issued_ns - made_ns : NOT_SEEN;
	event->sector = sector;
	event->bytes = bytes;
	event->cmd_flags = rq->cmd_flags;
	event->error = error;
	event->pattern = pattern;
	event->disk_dev = disk_dev(disk);
	event->dev = want_dev ? rq_part_dev(rq) ?: event->disk_dev : 0;
	if (disk)
		bpf_probe_read_kernel(event->disk, sizeof(event->disk), disk->disk_name);
	else
		event->disk[0] = 0;
	event->has_maker = made_ns != 0;
	if (made_ns) {
		event->tgid = io->maker.tgid;
		event->pid = io->maker.pid;
		event->cgroup = io->maker.cgroup;
		__builtin_memcpy(event->comm, io->maker.comm, sizeof(event->comm));
	} else {
		event->tgid = 0;
		event->pid = 0;
		event->cgroup = 0;
		__builtin_memset(event->comm, 0, sizeof(event->comm));
	}
	event_submit(event);
}

/*
 * A write with a flush before or after it (REQ_PREFLUSH, REQ_FUA) completes
 * twice: after its data, as a step of the flush sequence, which is when it is
 * shown, and as a whole. One without data is never issued and is shown then, for
 * it is an I/O of its maker.
 */
SEC("tp_btf/block_rq_complete")
int BPF_PROG(complete, struct request *rq, int error, unsigned int nr_bytes)
{
	__u32 pattern = PATTERN_UNKNOWN;
	bool is_step;
	struct io *io;

	if (!rq_is_done(rq, nr_bytes) || !rq_disk_matches(rq))
		return 0;
	is_step = rq_in_flush_sequence(rq) && rq->bio; /* the flush itself has no bio */
	io = current_io(rq);
	if (io && io->is_told) {
		if (!is_step)
			end_io(io);
		return 0;
	}
	if (!io || !io->issued_ns)
		io = learn_io(rq, io);
	if (want_pattern)
		pattern = pattern_of(rq, io);
	if (is_step && !(io && io->issued_ns))
		return 0;
	if (!io || (!io->issued_ns && !io->maker.ns)) {
		/* It was under way already, unless it was made since. */
		if (!filter_cgroup && begin_ns && rq_stamp_ns(rq) > begin_ns)
			count_lost();
		return 0;
	}
	if (io_matches(io))
		show(rq, io, error, pattern);
	end_io(io);
	io->is_told = is_step;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
