/* SPDX-License-Identifier: GPL-2.0 */
#include "events.bpf.h"
#include "filters.bpf.h"

#include "profile.h"

/* Frames of a stack, at most: the kernel's own limit, by default. */
const volatile __u32 max_frames = 127;
const volatile __u8 want_kernel = 1;
const volatile __u8 want_user = 1;
const volatile __u8 include_idle = 0;
/* -p, -L with more than one: what is a key of `wanted`. */
const volatile __u8 filter_tgids = 0;
const volatile __u8 filter_pids = 0;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u8);
} wanted SEC(".maps");

/* Made in advance: these programs interrupt whatever asks for memory. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct profile_key);
	__type(value, struct profile_count);
} counts SEC(".maps");

/* A struct profile_stack and twice max_frames. No sample interrupts another on its CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct profile_stack) + 2 * 127 * sizeof(__u64));
} scratch SEC(".maps");

#define MAX_FRAMES 1024 /* what max_frames can be */

static __always_inline bool is_listed(__u32 id)
{
	return bpf_map_lookup_elem(&wanted, &id);
}

static __always_inline __u64 mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15;
	return hash ^ hash >> 32;
}

/* The bytes of frames that `size` says; an error is a stack that is not there. */
static __always_inline __u32 frame_bytes(__s64 size, __u32 max_bytes)
{
	return size > 0 && size <= max_bytes ? size : 0;
}

/* Fills in the stacks. */
static __always_inline void read_stacks(void *ctx, struct profile_stack *stack)
{
	__u32 max_bytes = max_frames * sizeof(__u64);
	void *frames = stack + 1;
	__u64 kernel = 0;

	if (want_kernel)
		kernel = frame_bytes(bpf_get_stack(ctx, frames, max_bytes, 0), max_bytes);
	stack->kernel_bytes = kernel;
	/* The verifier must see that the very register that is checked is used. */
	barrier_var(kernel);
	stack->user_bytes = 0;
	if (want_user && kernel <= max_bytes)
		stack->user_bytes = frame_bytes(bpf_get_stack(ctx, frames + kernel, max_bytes,
							      BPF_F_USER_STACK),
						max_bytes);
}

static __always_inline __u64 hash_stacks(struct profile_stack *stack)
{
	__u64 hash = mix(stack->kernel_bytes, stack->user_bytes);
	__u32 used = (stack->kernel_bytes + stack->user_bytes) / sizeof(__u64);
	__u64 *frames = (void *)(stack + 1);

	for (__u32 i = 0; i < 2 * MAX_FRAMES; i++) {
		if (i >= used || i >= 2 * max_frames)
			break;
		hash = mix(hash, frames[i]);
	}
	return hash;
}

static __always_inline void count_stack(struct profile_stack *stack)
{
	struct profile_count *count = bpf_map_lookup_elem(&counts, &stack->key), none = {};
	__u64 size;

	if (!count) {
		/* Refused when another CPU has just done the same. */
		bpf_map_update_elem(&counts, &stack->key, &none, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&counts, &stack->key);
	}
	if (!count) {
		count_lost();
		return;
	}
	__sync_fetch_and_add(&count->samples, 1);
	if (count->sent)
		return;
	size = sizeof(*stack) + stack->kernel_bytes + stack->user_bytes;
	barrier_var(size);
	if (size > sizeof(*stack) + 2 * max_frames * sizeof(__u64))
		return;
	/* Where the ring is full, the next sample of this stack tries again. */
	if (!bpf_ringbuf_output(&events, stack, size, ring_flags()))
		count->sent = 1;
}

SEC("perf_event")
int sample(void *ctx)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct profile_stack *stack;
	struct task_struct *task;
	__u32 zero = 0;

	if (!include_idle && !(__u32)pid_tgid)
		return 0;
	if (filter_tgids && !is_listed(pid_tgid >> 32))
		return 0;
	if (filter_pids && !is_listed(pid_tgid))
		return 0;
	if (!task_matches(pid_tgid))
		return 0;
	stack = bpf_map_lookup_elem(&scratch, &zero);
	if (!stack)
		return 0;
	read_stacks(ctx, stack);
	task = (void *)bpf_get_current_task();
	stack->key.stack = hash_stacks(stack);
	stack->key.start_ns = BPF_CORE_READ(task, group_leader, start_boottime);
	stack->key.tgid = pid_tgid >> 32;
	stack->key.exec_id = BPF_CORE_READ(task, self_exec_id);
	bpf_get_current_comm(stack->key.comm, sizeof(stack->key.comm));
	count_stack(stack);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";

/* For the type to be known to the user side. */
const struct profile_stack *unused_stack __attribute__((unused));
