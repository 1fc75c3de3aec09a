/* SPDX-License-Identifier: GPL-2.0 */
#include "bitesize.h"
#include "hist.bpf.h"
#include "io.bpf.h"

/* --comm: what the name begins with; a length of 0 for any. */
const volatile __u8 filter_comm[16] = {};
const volatile __u8 filter_comm_length = 0;

const struct bitesize_key *unused_key __attribute__((unused));

/* In Kbytes, the total in bytes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 10240);
	__type(key, struct bitesize_key);
	__type(value, struct hist);
} sizes SEC(".maps");

static struct hist empty;

static __always_inline bool comm_matches(const struct bitesize_key *key)
{
	for (int i = 0; i < (int)sizeof(key->comm) && i < filter_comm_length; i++)
		if (key->comm[i] != filter_comm[i])
			return false;
	return true;
}

static __always_inline struct hist *find_hist(const struct bitesize_key *key)
{
	struct hist *hist = bpf_map_lookup_elem(&sizes, key);

	if (hist)
		return hist;
	/* Refused when another CPU has just done the same. */
	bpf_map_update_elem(&sizes, key, &empty, BPF_NOEXIST);
	return bpf_map_lookup_elem(&sizes, key);
}

SEC("tp_btf/block_rq_issue")
int issue(__u64 *ctx)
{
	struct request *rq = rq_issue_request(ctx);
	struct bitesize_key key = {};
	struct hist *hist;
	__u32 bytes;
	struct io *io;

	if (!rq_disk_matches(rq))
		return 0;
	io = learn_io(rq, find_io(rq));
	if (io && io->is_told) {
		io->is_told = 0;
		return 0;
	}
	if (!io_matches(io))
		return 0;
	if (io && io->maker.ns) {
		__builtin_memcpy(key.comm, io->maker.comm, sizeof(key.comm));
		io->maker.ns = 0; /* of this use */
	} else {
		/* As in BCC: a flush, or the making was not seen. */
		bpf_get_current_comm(key.comm, sizeof(key.comm));
	}
	if (!comm_matches(&key))
		return 0;
	bytes = rq->__data_len;
	hist = find_hist(&key);
	if (hist)
		hist_add(hist, bytes / 1024, bytes);
	else
		count_lost();
	return 0;
}

/* The driver cannot take the request now, or did, so that it has been counted. */
SEC("tp_btf/block_rq_requeue")
int requeue(__u64 *ctx)
{
	struct request *rq = rq_issue_request(ctx);
	struct io *io;

	if (!rq_disk_matches(rq) || rq->state == MQ_RQ_IDLE)
		return 0;
	io = find_io(rq) ?: add_io(rq);
	if (io)
		io->is_told = 1;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
