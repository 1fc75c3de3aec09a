/* SPDX-License-Identifier: GPL-2.0 */
/* Which freed packets are a qdisc's drops, and which qdisc's. */
#pragma once

#include "kernel/qdisc.h"
#include "qdiscdrop.h"
#include "skb.bpf.h"

struct drop {
	struct sk_buff *skb;
	struct sock *sk;
	struct net_device *dev;
	struct Qdisc *qdisc; /* root, or that of the filters */
	char dev_name[16];
	char kind[16];
	__u32 ifindex;
	__u32 netns;
	__u32 reason;
	__u32 len;
	__u32 qlen;
	__u32 backlog;
	__u32 limit;
	__u8 limit_in_bytes;
	__u8 where;
	bool policed;
	bool counted;
	bool maybe_enqueue; /* where is DEQUEUE, unless the qdisc is one that drops early */
};

/* ---- Is it a qdisc's? ---- */

/* One bit per reason, from the kernel's type information. */
#define REASON_WORDS 8
const volatile __u64 qdisc_reasons[REASON_WORDS] = {};
const volatile __u64 filter_reasons[REASON_WORDS] = {}; /* TC_... */
const volatile __u32 reason_tc_egress = 0;
const volatile __u32 reason_tc_ingress = 0;
const volatile __u32 reason_not_specified = 0;
const volatile __u32 reason_burst = ~0U; /* QDISC_BURST_DROP: no qdisc counts it */
/*
 * The kernel's reasons of qdiscs' own (Linux 7.1): beside the packet when it is
 * freed with others, else as the reason itself.
 */
const volatile __u32 reason_subsystem = ~0U; /* upper half */
const volatile __u32 reason_congested = ~0U;
const volatile __u32 reason_l4s_step = ~0U;

/* Text: [start, end) */
struct range {
	__u64 start;
	__u64 end;
};

/* Functions, and the part that the compiler has put elsewhere as unlikely. */
#define PARTS 2
const volatile struct range text_list[PARTS] = {}; /* kfree_skb_list: its caller drops */
const volatile struct range text_xmit[PARTS] = {}; /* __dev_queue_xmit */
const volatile struct range text_free[PARTS] = {}; /* __tcf_kfree_skb_list, Linux 7.1 */
const volatile struct range text_receive[PARTS] = {}; /* __netif_receive_skb_core */

/* The code of qdiscs that free packets themselves: modules, or functions in the kernel. */
#define QDISC_TEXTS 32
struct range text_qdiscs[QDISC_TEXTS] = {};
__u32 text_qdiscs_used = 0;

static __always_inline bool in_function(__u64 addr, const volatile struct range *parts)
{
	return (addr >= parts[0].start && addr < parts[0].end) ||
	       (addr >= parts[1].start && addr < parts[1].end);
}

static __always_inline bool in_qdisc(__u64 addr)
{
	bool found = false;

	for (__u32 i = 0; i < QDISC_TEXTS && i < text_qdiscs_used; i++)
		found |= addr >= text_qdiscs[i].start && addr < text_qdiscs[i].end;
	return found;
}

/* A qdisc's module that is loaded while we trace. */
SEC("tp_btf/module_load")
int BPF_PROG(module_loaded, struct module *module)
{
	struct module___since_6_4 *since = (void *)module;
	struct module___before_6_4 *before = (void *)module;
	struct range range;
	__u64 name;
	__u32 index;

	bpf_probe_read_kernel(&name, sizeof(name), module->name);
	/*
	 * tbf drops nothing at dequeue; at enqueue it frees a large packet whose
	 * segments it has all dropped, which is one packet too many.
	 */
	if (__builtin_memcmp(&name, "sch_", 4) || !__builtin_memcmp(&name, "sch_tbf", 8))
		return 0;
	if (bpf_core_field_exists(since->mem)) {
		range.start = (__u64)BPF_CORE_READ(since, mem[0].base);
		range.end = range.start + BPF_CORE_READ(since, mem[0].size);
	} else {
		range.start = (__u64)BPF_CORE_READ(before, core_layout.base);
		range.end = range.start + BPF_CORE_READ(before, core_layout.text_size);
	}
	index = text_qdiscs_used;
	if (index < QDISC_TEXTS) {
		text_qdiscs[index] = range;
		text_qdiscs_used = index + 1;
	}
	return 0;
}

#define CALLER_FRAMES 16

/* A qdisc in a class, as netlink names it. */
struct leaf_key {
	__u32 netns;
	__u32 ifindex;
	__u32 handle;
	__u32 parent; /* the class */
};

/* The search for the class. */
struct leaf_walk {
	struct hlist_node *node;
	struct Qdisc *chosen; /* by the packet's priority */
	struct Qdisc *child;
	struct Qdisc *grown;
	struct leaf_key key; /* of the one that has grown */
	__u32 grown_to;
	__u32 bucket;
	__u32 children;
	__u32 growing;
};

/* What is too large for the stack, or has too many values for the verifier to follow. */
struct scratch {
	__u64 frames[CALLER_FRAMES];
	__u64 caller;
	__u64 next;
	struct qdiscdrop_key key;
	struct leaf_walk walk;
	struct drop drop;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

static __always_inline struct scratch *scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratches, &zero);
}

/* Who called kfree_skb_list(); 0: not found. */
static __always_inline __u64 list_caller(__u64 *ctx)
{
	struct scratch *scratch_ = scratch();

	if (!scratch_)
		return 0;
	scratch_->caller = 0;
	scratch_->next = 0;
	__builtin_memset(scratch_->frames, 0, sizeof(scratch_->frames));
	bpf_get_stack(ctx, scratch_->frames, sizeof(scratch_->frames), 0);
	for (int i = 0; i < CALLER_FRAMES; i++) {
		__u64 list = in_function(scratch_->frames[i], text_list);

		if (scratch_->next && !list && !scratch_->caller)
			scratch_->caller = scratch_->frames[i];
		scratch_->next = list;
	}
	return scratch_->caller;
}

/* The packet that a filter or the action police refused last on this CPU, to be freed soon. */
struct verdict {
	__u64 refused;
	__u64 policed;
	/* What the actions are called with, for their end */
	__u64 skb;
	__u64 actions;
	__u64 count;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct verdict);
} verdicts SEC(".maps");

static __always_inline struct verdict *verdict(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&verdicts, &zero);
}

/* Linux 5.10: on the way in. */
SEC("fexit/tcf_classify_ingress")
int refused_ingress(__u64 *ctx)
{
	struct verdict *last = verdict();

	/* skb, block, filters, result, compat; then what it returns */
	if (last)
		last->refused = (int)ctx[5] == TC_ACT_SHOT ? ctx[0] : 0;
	return 0;
}

/* Linux 5.15 (3aa260559455) and newer: both ways. */
SEC("fexit/tcf_classify")
int refused(__u64 *ctx)
{
	struct verdict *last = verdict();

	/* Before, it has one parameter less; so old a kernel lacks this helper as well. */
	if (!bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		return 0;
	if (last)
		last->refused = (int)ctx[5] == TC_ACT_SHOT ? ctx[0] : 0;
	return 0;
}

#define ACTIONS 8

/* Whether one of a filter's actions that have refused a packet is police: notes the packet. */
static __always_inline void note_police(struct sk_buff *skb, struct tc_action **actions,
					int count)
{
	struct verdict *last = verdict();

	if (!last)
		return;
	last->policed = 0;
	for (int i = 0; i < ACTIONS && i < count; i++) {
		struct tc_action *action = NULL;

		bpf_probe_read_kernel(&action, sizeof(action), &actions[i]);
		if (action && BPF_CORE_READ(action, ops, id) ==
				      bpf_core_enum_value(enum tca_id, TCA_ID_POLICE))
			last->policed = (__u64)skb;
	}
}

/* The verifier lets no program read an argument that is a pointer to a pointer. */
SEC("fexit/tcf_action_exec")
int policed(__u64 *ctx)
{
	__u64 skb = 0, actions = 0, count = 0, result = 0;

	bpf_get_func_ret(ctx, &result);
	if ((int)result != TC_ACT_SHOT)
		return 0;
	bpf_get_func_arg(ctx, 0, &skb);
	bpf_get_func_arg(ctx, 1, &actions);
	bpf_get_func_arg(ctx, 2, &count);
	note_police((void *)skb, (void *)actions, count);
	return 0;
}

SEC("kprobe/tcf_action_exec")
int BPF_KPROBE(actions_begin, struct sk_buff *skb, struct tc_action **actions, int count)
{
	struct verdict *last = verdict();

	if (last) {
		last->skb = (__u64)skb;
		last->actions = (__u64)actions;
		last->count = count;
	}
	return 0;
}

SEC("kretprobe/tcf_action_exec")
int BPF_KRETPROBE(actions_end, int result)
{
	struct verdict *last = verdict();

	if (last && result == TC_ACT_SHOT)
		note_police((void *)last->skb, (void *)last->actions, last->count);
	return 0;
}

static __always_inline void add_police(struct drop *drop)
{
	struct verdict *last = verdict();

	if (last && last->policed == (__u64)drop->skb) {
		drop->policed = true;
		last->policed = 0;
	}
}

/* The detail that the kernel has written beside the packet, where it does; else 0. */
static __always_inline __u32 qdisc_reason(struct sk_buff *skb)
{
	struct tc_skb_cb___since_6_8 *cb = (void *)((struct sk_buff___qdisc *)skb)->cb;

	if (reason_congested == ~0U || !bpf_core_field_exists(cb->drop_reason))
		return 0;
	return BPF_CORE_READ(cb, drop_reason);
}

static __always_inline bool in_reasons(const volatile __u64 *reasons, __u32 reason)
{
	return reason < REASON_WORDS * 64 && reasons[reason / 64] >> reason % 64 & 1;
}

/*
 * From where just a qdisc's packets are freed, whatever reason they have: since
 * Linux 6.8 it stands beside the packet, where the segments of a large one (in
 * tbf) have something else.
 */
static __always_inline bool freed_for_qdisc(__u64 location)
{
	struct tc_skb_cb___since_6_8 *cb = NULL;

	return bpf_core_field_exists(cb->drop_reason) &&
	       (in_function(location, text_free) || in_function(location, text_xmit));
}

/* Most packets are freed for other reasons. */
static __always_inline bool may_be_qdisc(__u32 reason, __u64 location)
{
	return reason == reason_not_specified || reason >> 16 == reason_subsystem ||
	       in_reasons(qdisc_reasons, reason) || in_reasons(filter_reasons, reason) ||
	       freed_for_qdisc(location);
}

static __always_inline bool by_reason(__u64 *ctx, struct drop *drop)
{
	struct Qdisc___since_6_19 *since = NULL;
	__u64 location = kfree_skb_location(ctx);
	__u32 reason = kfree_skb_reason(ctx), detail;

	drop->reason = reason;
	drop->counted = reason != reason_burst;
	if (reason == reason_not_specified && !in_function(location, text_free)) {
		if (in_function(location, text_list))
			location = list_caller(ctx);
		if (!in_qdisc(location))
			return false;
		drop->where = DEQUEUE;
	} else if (reason >> 16 == reason_subsystem) {
		drop->where = DEQUEUE;
	} else if (in_reasons(filter_reasons, reason)) {
		struct sk_buff___qdisc *skb = (void *)drop->skb;

		drop->where = reason == reason_tc_ingress ||
					      (reason != reason_tc_egress &&
					       BPF_CORE_READ_BITFIELD_PROBED(skb, tc_at_ingress)) ?
				      INGRESS :
				      EGRESS;
	} else {
		detail = qdisc_reason(drop->skb);
		drop->where = ENQUEUE;
		if (bpf_core_field_exists(since->to_free)) {
			drop->maybe_enqueue = !in_qdisc(location);
			if (!drop->maybe_enqueue || detail == reason_congested ||
			    detail == reason_l4s_step)
				drop->where = DEQUEUE;
		} else if (!in_function(location, text_xmit) &&
			   !in_function(location, text_list)) {
			drop->where = DEQUEUE;
		}
		if (detail >> 16 == reason_subsystem)
			drop->reason = detail;
		else if (!in_reasons(qdisc_reasons, reason))
			drop->reason = 0;
	}
	add_police(drop);
	return true;
}

static __always_inline bool by_location(__u64 *ctx, struct drop *drop)
{
	__u64 location = kfree_skb_location(ctx);
	struct verdict *last;

	drop->reason = 0;
	drop->counted = 1;
	if (in_function(location, text_xmit)) {
		drop->where = EGRESS;
	} else if (in_function(location, text_receive)) {
		last = verdict();
		if (!last || last->refused != (__u64)drop->skb)
			return false;
		last->refused = 0;
		drop->where = INGRESS;
	} else {
		if (in_function(location, text_list))
			location = list_caller(ctx);
		if (in_function(location, text_xmit))
			drop->where = ENQUEUE;
		else if (in_qdisc(location))
			drop->where = DEQUEUE;
		else
			return false;
	}
	add_police(drop);
	return true;
}

/* ---- Which qdisc? ---- */

static __always_inline bool find_device(struct drop *drop)
{
	struct sk_buff *skb = drop->skb; /* BPF_CORE_READ() would relocate drop as well */
	struct net_device *dev = BPF_CORE_READ(skb, dev);

	if (!dev)
		return false;
	drop->dev = dev;
	drop->ifindex = BPF_CORE_READ(dev, ifindex);
	drop->netns = netns_inum(BPF_CORE_READ(dev, nd_net.net));
	BPF_CORE_READ_INTO(&drop->dev_name, dev, name);
	return true;
}

/* The first four bytes of a kind, which tell them all apart that matter here. */
#define KIND(a, b, c, d) ((a) | (b) << 8 | (c) << 16 | (__u32)(d) << 24)

static __always_inline __u32 kind_word(const char *kind)
{
	return *(const __u32 *)kind;
}

/* These drop at random before they are full, at enqueue, and call it congestion as well. */
static __always_inline bool drops_early(const char *kind)
{
	switch (kind_word(kind)) {
	case KIND('r', 'e', 'd', 0):
	case KIND('g', 'r', 'e', 'd'):
	case KIND('p', 'i', 'e', 0):
	case KIND('f', 'q', '_', 'p'): /* fq_pie */
	case KIND('s', 'f', 'b', 0):
	case KIND('c', 'h', 'o', 'k'):
		return true;
	}
	return false;
}

/* The root qdisc, or clsact or ingress for their filters; NULL when there is none. */
static __always_inline void find_qdisc(struct drop *drop)
{
	struct net_device___qdisc *dev = (void *)drop->dev;
	struct sk_buff___qdisc *skb = (void *)drop->skb;
	struct netdev_queue *queue;
	struct Qdisc *qdisc;
	__u32 index;

	drop->qdisc = NULL;
	__builtin_memset(drop->kind, 0, sizeof(drop->kind));
	if (drop->where == EGRESS || drop->where == INGRESS) {
		queue = BPF_CORE_READ(dev, ingress_queue);
		qdisc = BPF_CORE_READ(queue, qdisc_sleeping);
	} else {
		index = BPF_CORE_READ(skb, queue_mapping);
		if (index >= BPF_CORE_READ(dev, num_tx_queues))
			index = 0;
		queue = (void *)BPF_CORE_READ(dev, _tx) +
			index * bpf_core_type_size(struct netdev_queue);
		qdisc = BPF_CORE_READ(queue, qdisc);
		/* A device without a queue drops for reasons of its own. */
		if (!BPF_CORE_READ(qdisc, enqueue))
			return;
	}
	drop->qdisc = qdisc;
	BPF_CORE_READ_INTO(&drop->kind, qdisc, ops, id);
	/* What a device has that is down or has no carrier. */
	if (kind_word(drop->kind) == KIND('n', 'o', 'o', 'p'))
		drop->counted = 0;
	if (drop->where == DEQUEUE && drop->maybe_enqueue && drops_early(drop->kind))
		drop->where = ENQUEUE;
}

/* ---- Which class? ---- */

/*
 * Drops of each such qdisc that have a row, or that were before we began: user
 * space fills that in.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct leaf_key);
	__type(value, __u32);
} leaf_drops SEC(".maps");

#define LEAF_STEPS 96

/* The packets' classes are chosen anew for each: several of them, with a qdisc in each. */
static __always_inline bool has_classes(const char *kind)
{
	switch (kind_word(kind)) {
	case KIND('h', 't', 'b', 0):
	case KIND('h', 'f', 's', 'c'):
	case KIND('p', 'r', 'i', 'o'):
	case KIND('d', 'r', 'r', 0):
	case KIND('e', 't', 's', 0):
	case KIND('q', 'f', 'q', 0):
	case KIND('m', 'u', 'l', 't'):
		return true;
	}
	return false;
}

/*
 * These drop at dequeue: in a class they free first and count then, so that a
 * count which has grown may belong to an earlier packet.
 */
static __always_inline bool counts_late(struct Qdisc *qdisc)
{
	char kind[16] __attribute__((aligned(8)));

	BPF_CORE_READ_INTO(&kind, qdisc, ops, id);
	switch (kind_word(kind)) {
	case KIND('c', 'o', 'd', 'e'):
	case KIND('f', 'q', '_', 'c'): /* fq_codel */
	case KIND('c', 'a', 'k', 'e'):
	case KIND('d', 'u', 'a', 'l'):
		return true;
	}
	return false;
}

/*
 * The qdisc in the class that dropped: the only one there is, that of the class
 * which the packet's priority names, or the only one whose own count of drops
 * has grown. The kernel keeps no other trace of the class. Not static, so that
 * the verifier checks it once: works on the drop in `scratches` and leaves what it
 * finds there in walk.child; 0 when it cannot be told.
 */
__noinline int find_child(void)
{
	struct scratch *scratch_ = scratch();
	struct net_device___qdisc *dev;
	struct leaf_key key = {};
	struct sk_buff___qdisc *skb;
	struct netdev_queue *queue;
	struct Qdisc *root, *qdisc;
	struct leaf_walk *walk;
	__u32 priority, major;

	if (!scratch_)
		return 0;
	root = scratch_->drop.qdisc;
	queue = BPF_CORE_READ(root, dev_queue);
	major = BPF_CORE_READ(root, handle) >> 16;
	dev = (void *)scratch_->drop.dev;
	skb = (void *)scratch_->drop.skb;
	priority = BPF_CORE_READ(skb, priority);
	walk = &scratch_->walk;
	__builtin_memset(walk, 0, sizeof(*walk));
	key.netns = scratch_->drop.netns;
	key.ifindex = scratch_->drop.ifindex;
	for (int i = 0; i < LEAF_STEPS; i++) {
		struct hlist_node *node = walk->node;
		__u32 drops, before, *known;

		if (!node) {
			if (walk->bucket >= QDISC_BUCKETS)
				break;
			bpf_probe_read_kernel(&walk->node, sizeof(walk->node),
					      (void *)dev +
						      bpf_core_field_offset(dev->qdisc_hash) +
						      walk->bucket * sizeof(walk->node));
			walk->bucket++;
			continue;
		}
		qdisc = (void *)node - bpf_core_field_offset(((struct Qdisc *)0)->hash);
		walk->node = BPF_CORE_READ(node, next);
		key.parent = BPF_CORE_READ(qdisc, parent);
		if (key.parent >> 16 != major || BPF_CORE_READ(qdisc, dev_queue) != queue)
			continue;
		if (key.parent == priority)
			walk->chosen = qdisc;
		walk->children++;
		walk->child = qdisc;
		drops = BPF_CORE_READ(qdisc, qstats.drops);
		key.handle = BPF_CORE_READ(qdisc, handle);
		known = bpf_map_lookup_elem(&leaf_drops, &key);
		before = known ? *known : 0;
		if (drops == before)
			continue;
		bpf_map_update_elem(&leaf_drops, &key, &drops, BPF_ANY);
		walk->growing++;
		walk->grown = qdisc;
		walk->key = key;
		walk->grown_to = before < drops ? before + 1 : drops;
	}
	if (walk->bucket < QDISC_BUCKETS || walk->node)
		return 0; /* too many to look at */
	if (walk->chosen) {
		walk->child = walk->chosen;
	} else if (walk->children != 1) {
		if (walk->growing != 1 || counts_late(walk->grown))
			return 0;
		/* It may have dropped several at once, of which this is one. */
		bpf_map_update_elem(&leaf_drops, &walk->key, &walk->grown_to, BPF_ANY);
		walk->child = walk->grown;
	}
	return 1;
}

static __always_inline struct Qdisc *found_child(void)
{
	struct scratch *scratch_ = find_child() ? scratch() : NULL;

	return scratch_ ? scratch_->walk.child : NULL;
}

/* The qdisc for show, and what is in the one that dropped. */
static __always_inline void find_leaf(struct drop *drop, struct qdisc *shown, bool want_backlog)
{
	struct net_device___qdisc *dev = (void *)drop->dev;
	struct Qdisc *root = drop->qdisc, *leaf = NULL, *full = root;
	bool classes = has_classes(drop->kind);
	char kind[16] __attribute__((aligned(8)));

	__builtin_memcpy(shown->kind, drop->kind, sizeof(shown->kind));
	__builtin_memset(shown->leaf_kind, 0, sizeof(shown->leaf_kind));
	shown->handle = BPF_CORE_READ(root, handle);
	shown->class = 0;
	drop->qlen = drop->backlog = ~0U;
	if (drop->where != ENQUEUE && drop->where != DEQUEUE)
		return;
	if (classes || (want_backlog && BPF_CORE_READ(root, ops, cl_ops)))
		leaf = found_child();
	if (classes && leaf) {
		full = leaf;
		shown->class = BPF_CORE_READ(leaf, parent);
		BPF_CORE_READ_INTO(&shown->leaf_kind, leaf, ops, id);
		if (drop->where == DEQUEUE && drop->maybe_enqueue && drops_early(shown->leaf_kind))
			drop->where = ENQUEUE;
	}
	if (!want_backlog)
		return;
	/* Where there is but one in it, as in tbf, that has the limit. */
	if (!leaf)
		leaf = root;
	drop->limit = BPF_CORE_READ(leaf, limit);
	BPF_CORE_READ_INTO(&kind, leaf, ops, id);
	drop->limit_in_bytes = kind_word(kind) == KIND('b', 'f', 'i', 'f');
	if (BPF_CORE_READ(full, flags) & TCQ_F_CPUSTATS) {
		/* pfifo_fast: each of its three bands */
		drop->limit = BPF_CORE_READ(dev, tx_queue_len);
		return;
	}
	drop->qlen = BPF_CORE_READ(full, q.qlen);
	drop->backlog = BPF_CORE_READ(full, qstats.backlog);
}

/* ---- How long? ---- */

/* From the link layer's header on, which is pulled off on the way in. */
static __always_inline __u32 link_length(struct sk_buff *skb)
{
	__u16 mac = BPF_CORE_READ(skb, mac_header);
	__u32 len = BPF_CORE_READ(skb, len);
	__u64 offset = BPF_CORE_READ(skb, data) - BPF_CORE_READ(skb, head);

	return mac != 0xffff && mac < offset ? len + offset - mac : len;
}
