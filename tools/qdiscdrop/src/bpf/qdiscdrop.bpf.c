/* SPDX-License-Identifier: GPL-2.0 */
#include "events.bpf.h"
#include "qdiscdrop.h"
#include "kernel/qdisc.h"
#include "skb.bpf.h"
#include "stack.bpf.h"

#include "found.bpf.h"

const struct qdiscdrop_event *unused_event __attribute__((unused));

const volatile char filter_dev[16] = {};
const volatile __u8 filter_devs = 0;
const volatile __u8 filter_proto = 0;
const volatile __u8 filter_protos = 0;
const volatile __u8 want_backlog = 0;
const volatile __u8 by = 0; /* 0: a row for each */

/* Every drop that was seen, filtered or not: to compare with the qdiscs' own counters. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct qdiscdrop_place);
	__type(value, __u64);
} traced SEC(".maps");

/* -c: only grows; user space takes the difference. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct qdiscdrop_key);
	__type(value, struct qdiscdrop_sum);
} sums SEC(".maps");

static __always_inline struct drop *new_drop(__u64 *ctx)
{
	struct scratch *scratch_ = scratch();

	if (!scratch_)
		return NULL;
	__builtin_memset(&scratch_->drop, 0, sizeof(scratch_->drop));
	scratch_->drop.skb = kfree_skb_skb(ctx);
	return &scratch_->drop;
}

static __always_inline void count_traced(const struct drop *drop)
{
	struct qdiscdrop_place place = {
		.netns = drop->netns,
		.ifindex = drop->ifindex,
		.filters = drop->where == EGRESS || drop->where == INGRESS,
		.counted = drop->counted,
	};
	__u64 *count = bpf_map_lookup_elem(&traced, &place), none = 0;

	if (!count) {
		bpf_map_update_elem(&traced, &place, &none, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&traced, &place);
	}
	if (count)
		__sync_fetch_and_add(count, 1);
}

static __always_inline bool dev_matches(const char *name)
{
	const __u64 *words = (const __u64 *)name;
	const volatile __u64 *wanted = (const volatile __u64 *)filter_dev;

	return !filter_devs || (words[0] == wanted[0] && words[1] == wanted[1]);
}

static __always_inline void sum_up(struct drop *drop, const struct flow *flow,
				   const struct packet *packet)
{
	struct qdiscdrop_sum *sum, first = { .packets = 1, .bytes = drop->len };
	struct scratch *scratch_ = scratch();
	struct qdiscdrop_key *key;
	struct origin origin;

	if (!scratch_)
		return;
	key = &scratch_->key;
	__builtin_memset(key, 0, sizeof(*key));
	switch (by) {
	case BY_FLOW:
		key->flow = *flow;
		key->ethertype = packet->ethertype;
		key->netns = drop->netns;
		key->vlan = packet_vlan(packet, drop->skb);
		break;
	case BY_QDISC:
		find_leaf(drop, &key->qdisc, false);
		goto device;
	case BY_DEVICE:
device:
		__builtin_memcpy(key->dev, drop->dev_name, sizeof(key->dev));
		key->netns = drop->netns;
		key->ifindex = drop->ifindex;
		break;
	case BY_CGROUP:
	case BY_PROCESS:
		origin_of_sock(&origin, drop->sk);
		key->cgroup_id = origin.cgroup_id;
		if (by == BY_CGROUP)
			break;
		key->tgid = origin.tgid;
		__builtin_memcpy(key->comm, origin.comm, sizeof(key->comm));
		if (!origin.tgid)
			key->inode = origin.inode;
		else
			key->cgroup_id = 0;
		break;
	default:
		key->where = drop->where;
		key->policed = drop->policed;
		key->reason = drop->reason;
	}
	sum = bpf_map_lookup_elem(&sums, key);
	if (!sum) {
		if (!bpf_map_update_elem(&sums, key, &first, BPF_NOEXIST))
			return;
		/* Somebody else was first; or it is full. */
		sum = bpf_map_lookup_elem(&sums, key);
		if (!sum) {
			count_lost();
			return;
		}
	}
	__sync_fetch_and_add(&sum->packets, 1);
	__sync_fetch_and_add(&sum->bytes, drop->len);
}

static __always_inline void report(__u64 *ctx, struct drop *drop, const struct flow *flow,
				   const struct packet *packet)
{
	struct qdiscdrop_event *event;

	event = event_reserve_with_stack(struct qdiscdrop_event);
	if (!event)
		return;
	event->ts_ns = bpf_ktime_get_ns();
	event->location = kfree_skb_location(ctx);
	event->flow = *flow;
	origin_of_sock(&event->origin, drop->sk);
	__builtin_memcpy(event->dev, drop->dev_name, sizeof(event->dev));
	event->ifindex = drop->ifindex;
	event->netns = drop->netns;
	event->len = drop->len;
	event->reason = drop->reason;
	event->ethertype = packet->ethertype;
	event->vlan = packet_vlan(packet, drop->skb);
	event->policed = drop->policed;
	__builtin_memset(event->pad, 0, sizeof(event->pad));
	find_leaf(drop, &event->qdisc, want_backlog);
	event->where = drop->where;
	event->qlen = drop->qlen;
	event->backlog = drop->backlog;
	event->limit = drop->limit;
	event->limit_in_bytes = drop->limit_in_bytes;
	event_stack(ctx, event);
	event_submit(event);
}

static __always_inline int trace(__u64 *ctx, struct drop *drop)
{
	struct packet packet;
	struct flow flow;
	struct sk_buff *skb = drop->skb;
	bool incoming;

	if (!find_device(drop))
		return 0;
	if (filter_netns && drop->netns != filter_netns)
		return 0;
	if (!dev_matches(drop->dev_name))
		return 0;
	find_qdisc(drop);
	if (!drop->qdisc && drop->where != EGRESS && drop->where != INGRESS)
		return 0;
	count_traced(drop);
	drop->sk = BPF_CORE_READ(skb, sk);
	if (!sock_cgroup_matches(drop->sk))
		return 0;
	packet_find(&packet, skb);
	if (!family_matches(packet_family(&packet)))
		return 0;
	packet_ip(&packet, &flow);
	if (filter_protos && (!flow.family || flow.proto != filter_proto))
		return 0;
	packet_ports(&packet, &flow);
	incoming = drop->where == INGRESS;
	if (!flow_addrs_match(&flow) ||
	    !ports_match(incoming ? flow.dport : flow.sport, incoming ? flow.sport : flow.dport))
		return 0;
	drop->len = link_length(skb);
	if (by)
		sum_up(drop, &flow, &packet);
	else
		report(ctx, drop, &flow, &packet);
	return 0;
}

/* A kernel that gives reasons for what qdiscs drop (Linux 5.18, 7faef0547f4c). */
SEC("tp_btf/kfree_skb")
int drop_reason(__u64 *ctx)
{
	struct drop *drop;

	if (!may_be_qdisc(kfree_skb_reason(ctx), kfree_skb_location(ctx)))
		return 0;
	drop = new_drop(ctx);
	return drop && by_reason(ctx, drop) ? trace(ctx, drop) : 0;
}

/* One that does not: by where in the kernel it was freed. */
SEC("tp_btf/kfree_skb")
int drop_location(__u64 *ctx)
{
	struct drop *drop = new_drop(ctx);

	return drop && by_location(ctx, drop) ? trace(ctx, drop) : 0;
}

char LICENSE[] SEC("license") = "GPL";
