/* SPDX-License-Identifier: GPL-2.0 */
#include "cgroup.bpf.h"
#include "folio.bpf.h"
#include "hash.bpf.h"
#include "lost.bpf.h"
#include "syscall.bpf.h"

#include "cachestat.h"

const volatile __u8 page_shift = 12;

const struct cachestat_counts *unused_counts __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cachestat_counts);
} counts SEC(".maps");

static __always_inline bool wanted(void)
{
	return !filter_cgroup || cgroup_matches(task_cgroup());
}

static __always_inline struct cachestat_counts *this_cpu(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&counts, &zero);
}

/* Atomic, for some kernels let another program run in the middle of one. */
#define COUNT(field, amount)                                          \
	({                                                            \
		struct cachestat_counts *__counts = this_cpu();       \
		if (__counts)                                         \
			__sync_fetch_and_add(&__counts->field, amount); \
	})

/*
 * Who added a page to the cache, by the page's address: one slot each, which
 * others share. A write dirties what it has added before its task reads, writes
 * or faults again; what was added to be read is not a write's for being
 * dirtied later.
 */
struct adder {
	__u64 folio;
	__u64 pid;
	__u64 steps;
};

#define ADDERS_BITS 14

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << ADDERS_BITS);
	__type(key, __u32);
	__type(value, struct adder);
} adders SEC(".maps");

static __always_inline struct adder *adder_slot(void *folio)
{
	__u32 index = pointer_hash(folio, ADDERS_BITS);

	return bpf_map_lookup_elem(&adders, &index);
}

static __always_inline __u64 faults(struct task_struct *task)
{
	return BPF_CORE_READ(task, min_flt) + BPF_CORE_READ(task, maj_flt);
}

/* How many calls of the task have read. */
static __always_inline __u64 reads(struct task_struct *task)
{
	return bpf_core_field_exists(task->ioac.syscr) ? BPF_CORE_READ(task, ioac.syscr) : 0;
}

/* Grows with each call of the task that reads or writes, and each fault. */
static __always_inline __u64 steps(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u64 writes = 0;

	if (bpf_core_field_exists(task->ioac.syscw))
		writes = BPF_CORE_READ(task, ioac.syscw);
	return reads(task) + writes + faults(task);
}

/* Huge pages are memory, not the cache of a file. */
static __always_inline bool is_hugetlb(void *folio)
{
	return BPF_CORE_READ(folio_mapping(folio), host, i_sb, s_magic) == HUGETLBFS_MAGIC;
}

SEC("tp_btf/mm_filemap_add_to_page_cache")
int BPF_PROG(added, void *folio)
{
	struct adder *adder;

	if (!wanted() || is_hugetlb(folio))
		return 0;
	COUNT(added, folio_pages(folio));
	adder = adder_slot(folio);
	if (adder) {
		adder->folio = (__u64)folio;
		adder->pid = bpf_get_current_pid_tgid();
		adder->steps = steps();
	}
	return 0;
}

static __always_inline int is_dirtied(void *folio)
{
	struct adder *adder;
	__u64 pages;

	if (!wanted())
		return 0;
	pages = folio_pages(folio);
	adder = adder_slot(folio);
	if (adder && adder->folio == (__u64)folio) {
		adder->folio = 0;
		if (adder->pid == bpf_get_current_pid_tgid() && adder->steps == steps())
			COUNT(added_to_write, pages);
	}
	/* Buffers are counted one by one. */
	if (!folio_has_buffers(folio))
		COUNT(dirtied_bytes, pages << page_shift);
	return 0;
}

SEC("tp_btf/writeback_dirty_folio")
int BPF_PROG(dirtied, void *folio)
{
	return is_dirtied(folio);
}

/* Its name when there were no folios. */
SEC("tp_btf/writeback_dirty_page")
int BPF_PROG(dirtied_page, void *page)
{
	return is_dirtied(page);
}

/* mark_buffer_dirty(), also of a buffer that is dirty already. */
SEC("tp_btf/block_dirty_buffer")
int BPF_PROG(dirtied_buffer, struct buffer_head *buffer)
{
	if (wanted())
		COUNT(dirtied_bytes, buffer->b_size);
	return 0;
}

/* A block of metadata is looked up. */
SEC("tp_btf/block_touch_buffer")
int BPF_PROG(touched)
{
	if (wanted())
		COUNT(touched, 1);
	return 0;
}

/* How far the task has read. */
struct reading {
	__u64 mapping;
	__u64 call; /* how many calls were before */
	__u64 index; /* from where its last look went on */
	__u64 last; /* up to where it was to read */
	__u64 end; /* the same, or the end of the file */
	__u64 fault; /* how many faults were before, and 1 */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct reading);
} reading SEC(".maps");

static __always_inline struct reading *this_task(struct task_struct *task)
{
	struct reading *this = bpf_task_storage_get(&reading, task, 0,
						    BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!this)
		count_lost();
	return this;
}

/*
 * The file that the task's call reads, and from where on; NULL for other ways to
 * read, and for one of another file.
 */
static __always_inline struct file *file_of_call(struct address_space *mapping, __u64 *pos)
{
	struct pt_regs *regs = current_regs();
	struct file *file;
	int nr = syscall_nr(regs);
	bool at = nr == NR_pread64 || nr == NR_preadv;

	if ((!at && nr != NR_read && nr != NR_readv) || in_compat_syscall())
		return NULL;
	file = fd_file(syscall_arg1(regs));
	if (!file || BPF_CORE_READ(file, f_mapping) != mapping)
		return NULL;
	*pos = at ? syscall_arg4(regs) : BPF_CORE_READ(file, f_pos);
	return file;
}

/*
 * A call that reads looks again and again at the rest of its pages, the first
 * time from `index` on: its pages are counted then, all of them. When some are
 * not read in yet, the kernel does not tell of the looks before, so where the
 * call begins is asked for. A page in which the file's last read has ended is
 * the same access: so the kernel has it as well.
 */
static __always_inline __u64 pages_read(struct address_space *mapping, __u64 index, __u64 last)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct reading *this = this_task(task);
	__u64 pos, start = index, end, call;
	struct file *file;
	__s64 size, prev;
	bool same, again;

	if (!this)
		return 0;
	call = reads(task);
	if (this->mapping == (__u64)mapping && this->call == call && this->last == last &&
	    this->index < index) {
		this->index = index;
		return 0;
	}
	same = this->mapping == (__u64)mapping;
	again = same && this->end == index;
	/* One page, of the file as before, and another: there is nothing to ask. */
	file = same && !again && index == last ? NULL : file_of_call(mapping, &pos);
	if (file) {
		pos >>= page_shift;
		if (pos < start)
			start = pos;
		prev = BPF_CORE_READ(file, f_ra.prev_pos);
		again = prev > 0 && (__u64)(prev - 1) >> page_shift == start;
	}
	size = mapping->host->i_size;
	end = size > 0 ? (__u64)(size - 1) >> page_shift : 0;
	if (end > last)
		end = last;
	this->mapping = (__u64)mapping;
	this->call = call;
	this->index = index;
	this->last = last;
	this->end = end;
	if (size <= 0 || end < start)
		return 0;
	return end - start + !again;
}

SEC("tp_btf/mm_filemap_get_pages")
int BPF_PROG(read, struct address_space *mapping, __u64 index, __u64 last)
{
	__u64 pages;

	if (!wanted())
		return 0;
	pages = pages_read(mapping, index, last);
	if (pages)
		COUNT(accessed, pages);
	return 0;
}

/* One access, whether it finds the page, maps it with its neighbours, or is tried again. */
static __always_inline int is_faulted(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct reading *this;
	__u64 fault;

	if (!wanted())
		return 0;
	fault = faults(task) + 1;
	this = this_task(task);
	if (!this || this->fault == fault)
		return 0;
	this->fault = fault;
	COUNT(accessed, 1);
	return 0;
}

SEC("tp_btf/mm_filemap_fault")
int BPF_PROG(faulted)
{
	return is_faulted();
}

SEC("tp_btf/mm_filemap_map_pages")
int BPF_PROG(mapped)
{
	return is_faulted();
}

/* Where the kernel itself notes accesses: once per call and folio; and per buffer. */
static __always_inline int is_accessed(void *folio)
{
	struct address_space *mapping;

	if (!wanted())
		return 0;
	mapping = folio_mapping(folio);
	if (mapping && !((__u64)mapping & 3))
		COUNT(accessed, folio_pages(folio));
	return 0;
}

SEC("fentry/folio_mark_accessed")
int BPF_PROG(accessed_fentry, void *folio)
{
	return is_accessed(folio);
}

SEC("kprobe/folio_mark_accessed")
int BPF_KPROBE(accessed_kprobe, void *folio)
{
	return is_accessed(folio);
}

SEC("fentry/mark_page_accessed")
int BPF_PROG(accessed_page_fentry, void *page)
{
	return is_accessed(page);
}

SEC("kprobe/mark_page_accessed")
int BPF_KPROBE(accessed_page_kprobe, void *page)
{
	return is_accessed(page);
}

char LICENSE[] SEC("license") = "GPL";
