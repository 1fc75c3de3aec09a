/* SPDX-License-Identifier: GPL-2.0 */
#include "ctsnoop.h"

#include "events.bpf.h"
#include "kernel/conntrack.h"
#include "skb.bpf.h"

const volatile __s32 filter_proto = -1;
const volatile __s32 filter_zone = -1;
/* FULL, EARLY_DROP and INSERT_FAILED. */
const volatile __u8 want_refused = 1;
/* Entries are remembered from NEW on: for the age, the owner and the cgroup of their end. */
const volatile __u8 remember = 0;
/* No events, just counts, by this key. */
const volatile __u8 summary = 0;
const volatile __u8 summary_by = BY_NONE;

/* Structs that only the ring buffer or user space carries are missed without this. */
const struct ctsnoop_event *unused_event __attribute__((unused));
const struct ctsnoop_refused *unused_refused __attribute__((unused));

/* Running calls by task: as many as can be under way at a time. */
#define MAX_CALLS 4096
#define ERR_NOMEM (-12L)
#define NF_VERDICT_MASK 0xff /* 0: dropped */

/* An entry that is about to be inserted: between the begin and the end of the insertion. */
struct insertion {
	struct nf_conn *ct;
	struct sk_buff *skb; /* its first packet; NULL: made by a process, over netlink */
	__u64 inserted;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_CALLS);
	__type(key, __u64);
	__type(value, struct insertion);
} insertions SEC(".maps");

/* A call of __nf_conntrack_alloc(), for its return: kretprobes do not see arguments. */
struct allocation {
	struct net *net;
	struct nf_conntrack_zone *zone;
	struct nf_conntrack_tuple *tuple;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_CALLS);
	__type(key, __u64);
	__type(value, struct allocation);
} allocations SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_CALLS);
	__type(key, __u64);
	__type(value, struct ctsnoop_refused);
} refused SEC(".maps");

/* Tasks in early_drop(). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_CALLS);
	__type(key, __u64);
	__type(value, __u8);
} dropping SEC(".maps");

/* How many may be in `refused` and `dropping`: most of the time none, and nothing is looked up. */
__s64 refused_now = 0;
__s64 dropping_now = 0;

struct made {
	__u64 ts_ns;
	struct origin origin;
};

/* Entries by their address. The ones that were made longest ago go first. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct made);
} entries SEC(".maps");

/* By namespace. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct ctsnoop_counts);
} totals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct ctsnoop_key);
	__type(value, struct ctsnoop_counts);
} keys SEC(".maps");

/* Who runs here: a call is in the same task at its begin and its end. */
static __always_inline __u64 task_key(void)
{
	return bpf_get_current_task();
}

static __always_inline bool has_ports(__u8 proto)
{
	switch (proto) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_DCCP:
	case IPPROTO_SCTP:
	case IPPROTO_UDPLITE:
		return true;
	default:
		return false;
	}
}

static __always_inline void read_tuple(struct tuple *to, struct nf_conntrack_tuple *from)
{
	struct flow *flow = &to->flow;
	__be16 sport, dport;

	__builtin_memset(to, 0, sizeof(*to));
	flow->family = BPF_CORE_READ(from, src.l3num);
	flow->proto = BPF_CORE_READ(from, dst.protonum);
	if (flow->family == AF_INET6) {
		BPF_CORE_READ_INTO(&flow->saddr, from, src.u3);
		BPF_CORE_READ_INTO(&flow->daddr, from, dst.u3);
	} else {
		*(__u32 *)flow->saddr = BPF_CORE_READ(from, src.u3.all[0]);
		*(__u32 *)flow->daddr = BPF_CORE_READ(from, dst.u3.all[0]);
	}
	sport = BPF_CORE_READ(from, src.u.all);
	dport = BPF_CORE_READ(from, dst.u.all);
	if (has_ports(flow->proto)) {
		flow->sport = bpf_ntohs(sport);
		flow->dport = bpf_ntohs(dport);
	} else if (flow->proto == IPPROTO_ICMP || flow->proto == IPPROTO_ICMPV6) {
		to->icmp_id = bpf_ntohs(sport);
		to->icmp_type = bpf_ntohs(dport) >> 8;
		to->icmp_code = bpf_ntohs(dport);
	}
}

static __always_inline bool flow_matches(const struct flow *flow)
{
	return (filter_proto < 0 || flow->proto == filter_proto) && family_matches(flow->family) &&
	       ports_match(flow->sport, flow->dport);
}

static __always_inline bool place_matches(struct net *net, __u16 zone)
{
	return (filter_zone < 0 || zone == filter_zone) && netns_matches(net);
}

static __always_inline void count(void *map, const void *key, __u8 kind)
{
	struct ctsnoop_counts *counts = bpf_map_lookup_elem(map, key);
	struct ctsnoop_counts none = {};

	if (!counts) {
		/* Another CPU may be first: that is as good. */
		bpf_map_update_elem(map, key, &none, BPF_NOEXIST);
		counts = bpf_map_lookup_elem(map, key);
		if (!counts) {
			count_lost();
			return;
		}
	}
	if (kind < KINDS)
		__sync_fetch_and_add(&counts->counts[kind], 1);
}

static __always_inline void count_key(__u8 kind, const struct tuple *tuple,
				      const struct origin *origin, __u64 state)
{
	struct ctsnoop_key key = {};

	switch (summary_by) {
	case BY_PORT:
		key.number = tuple->flow.dport;
		break;
	case BY_PROTO:
		key.number = tuple->flow.proto;
		break;
	case BY_COMM:
		if (origin->tgid)
			__builtin_memcpy(key.bytes, origin->comm, sizeof(key.bytes));
		else
			key.number = origin->inode;
		break;
	case BY_CGROUP:
		key.number = origin->cgroup_id;
		break;
	case BY_ADDR:
		__builtin_memcpy(key.bytes, tuple->flow.saddr, sizeof(key.bytes));
		key.family = tuple->flow.family;
		break;
	case BY_STATE:
		key.number = state;
		break;
	default:
		return;
	}
	count(&keys, &key, kind);
}

static __always_inline __u64 state_of(__u8 proto, __u8 tcp_state, __u32 status)
{
	if (proto == IPPROTO_TCP)
		return KEY_STATE_TCP + tcp_state;
	return status & IPS_ASSURED ? KEY_STATE_ASSURED :
	       status & IPS_SEEN_REPLY ? KEY_STATE_REPLIED : KEY_STATE_UNREPLIED;
}

/*
 * What two extensions of an entry hold. It is as it always was, and not
 * relocated: Linux 5.10 has no type information of modules.
 */
struct conn_acct {
	struct {
		__u64 packets;
		__u64 bytes;
	} counter[IP_CT_DIR_MAX];
};

struct conn_tstamp {
	__u64 start; /* wall clock, nanoseconds */
	__u64 stop;
};

/* The entry's extension `id`, or NULL. */
static __always_inline void *extension(struct nf_conn *ct, __u32 id)
{
	struct nf_ct_ext *ext = BPF_CORE_READ(ct, ext);
	__u8 offset = 0;

	if (!ext)
		return NULL;
	bpf_probe_read_kernel(&offset, sizeof(offset),
			      (void *)ext + bpf_core_field_offset(ext->offset) + id);
	return offset ? (void *)ext + offset : NULL;
}

static __always_inline void add_end(struct ctsnoop_event *event, struct nf_conn *ct)
{
	struct conn_tstamp stamps, *tstamp;
	struct conn_acct counters, *acct;

	acct = extension(ct, bpf_core_enum_value(enum nf_ct_ext_id, NF_CT_EXT_ACCT));
	if (acct && !bpf_probe_read_kernel(&counters, sizeof(counters), acct)) {
		event->packets = counters.counter[0].packets + counters.counter[1].packets;
		event->bytes = counters.counter[0].bytes + counters.counter[1].bytes;
		event->accounted = 1;
	}
	if (event->age_ns)
		return;
	tstamp = extension(ct, bpf_core_enum_value(enum nf_ct_ext_id, NF_CT_EXT_TSTAMP));
	if (tstamp && !bpf_probe_read_kernel(&stamps, sizeof(stamps), tstamp) && stamps.start &&
	    stamps.stop > stamps.start)
		event->age_ns = stamps.stop - stamps.start;
}

/*
 * Whose it is. Of a new entry: its first packet's socket, for what is sent from
 * here; or the process that makes it. Of another: as it was remembered. False:
 * --cgroup leaves it out.
 */
static __always_inline bool find_origin(struct origin *origin, __u64 *made_ns, __u8 kind,
					struct nf_conn *ct, const struct insertion *insertion)
{
	__u64 key = (__u64)ct;
	struct sk_buff *skb = insertion ? insertion->skb : NULL;
	struct made *made;
	struct sock *sk;

	*made_ns = 0;
	if (skb) {
		sk = BPF_CORE_READ(skb, sk);
		if (filter_cgroup && !(sk && sock_cgroup_matches(sk)))
			return false;
		origin_of_sock(origin, sk);
		return true;
	}
	__builtin_memset(origin, 0, sizeof(*origin));
	if (insertion) {
		if (filter_cgroup && !cgroup_matches(task_cgroup()))
			return false;
		origin->tgid = bpf_get_current_pid_tgid() >> 32;
		bpf_get_current_comm(origin->comm, sizeof(origin->comm));
		origin->cgroup_id = cgroup_id(task_cgroup());
		return true;
	}
	if (remember && kind != KIND_NEW) {
		made = bpf_map_lookup_elem(&entries, &key);
		if (made) {
			*made_ns = made->ts_ns;
			*origin = made->origin;
			if (kind == KIND_DESTROY)
				bpf_map_delete_elem(&entries, &key);
			return true;
		}
	}
	return !filter_cgroup;
}

/* Something has happened to an entry. */
static __always_inline void report(__u8 kind, struct nf_conn *ct,
				   const struct insertion *insertion)
{
	struct net *net = BPF_CORE_READ(ct, ct_net.net);
	__u16 zone = BPF_CORE_READ(ct, zone.id);
	struct ctsnoop_event *event;
	struct tuple tuple, reply;
	struct origin origin;
	struct made made;
	__u8 tcp_state;
	__u64 made_ns;
	__u32 status;
	__u64 now;
	__u64 key = (__u64)ct;

	if (!place_matches(net, zone))
		return;
	read_tuple(&tuple, &ct->tuplehash[IP_CT_DIR_ORIGINAL].tuple);
	if (!flow_matches(&tuple.flow))
		return;
	read_tuple(&reply, &ct->tuplehash[IP_CT_DIR_REPLY].tuple);
	if (!flow_addrs_match(&tuple.flow) && !flow_addrs_match(&reply.flow))
		return;
	if (!find_origin(&origin, &made_ns, kind, ct, insertion))
		return;
	now = bpf_ktime_get_ns();
	if (remember && kind == KIND_NEW) {
		made.ts_ns = now;
		made.origin = origin;
		bpf_map_update_elem(&entries, &key, &made, BPF_ANY);
	}
	status = BPF_CORE_READ(ct, status);
	tcp_state = tuple.flow.proto == IPPROTO_TCP ? BPF_CORE_READ(ct, proto.tcp.state) : 0;
	if (summary) {
		__u32 netns = netns_inum(net);

		count(&totals, &netns, kind);
		count_key(kind, &tuple, &origin, state_of(tuple.flow.proto, tcp_state, status));
		return;
	}
	event = event_reserve(struct ctsnoop_event);
	if (!event)
		return;
	event->ts_ns = now;
	event->age_ns = made_ns ? now - made_ns : 0;
	event->packets = 0;
	event->bytes = 0;
	event->origin = origin;
	event->tuple = tuple;
	event->reply = reply;
	event->netns = netns_inum(net);
	event->status = status;
	event->zone = zone;
	event->kind = kind;
	event->tcp_state = tcp_state;
	event->accounted = 0;
	__builtin_memset(event->pad, 0, sizeof(event->pad));
	if (kind == KIND_DESTROY)
		add_end(event, ct);
	event_submit(event);
}

static __always_inline struct nf_conn *skb_conn(struct sk_buff *skb)
{
	struct sk_buff___conntrack *packet = (void *)skb;

	return (void *)(BPF_CORE_READ(packet, _nfct) & ~7UL);
}

/*
 * NEW and INSERT_FAILED. An entry is made when the kernel meets the first packet
 * of a flow, but is in the table only when that packet leaves or arrives: then it
 * is confirmed. The insertion itself has no packet, its caller has.
 */
static __always_inline int begin_insertion(struct nf_conn *ct, struct sk_buff *skb)
{
	struct insertion insertion = { .ct = ct, .skb = skb };
	__u64 task = task_key();

	bpf_map_update_elem(&insertions, &task, &insertion, BPF_ANY);
	return 0;
}

static __always_inline int on_insert(struct nf_conn *ct)
{
	__u64 task = task_key();
	struct insertion *insertion = bpf_map_lookup_elem(&insertions, &task);

	if (insertion && insertion->ct == ct)
		insertion->inserted = 1;
	else
		insertion = NULL;
	report(KIND_NEW, ct, insertion);
	return 0;
}

static __always_inline int end_insertion(bool failed)
{
	__u64 task = task_key();
	struct insertion *found = bpf_map_lookup_elem(&insertions, &task);
	struct insertion insertion;
	struct nf_conn *ct;

	if (!found)
		return 0;
	insertion = *found;
	bpf_map_delete_elem(&insertions, &task);
	if (insertion.inserted)
		return 0;
	if (failed) {
		if (want_refused)
			report(KIND_INSERT_FAILED, insertion.ct, &insertion);
		return 0;
	}
	/* After a clash, an entry may be inserted for the way back alone (Linux 5.7, 6a757c07e51f). */
	ct = insertion.ct;
	if (insertion.skb && skb_conn(insertion.skb) == ct &&
	    BPF_CORE_READ(ct, status) & IPS_CONFIRMED)
		report(KIND_NEW, ct, &insertion);
	return 0;
}

SEC("fentry/__nf_conntrack_confirm")
int BPF_PROG(confirm_enter, struct sk_buff *skb)
{
	return begin_insertion(skb_conn(skb), skb);
}

SEC("fexit/__nf_conntrack_confirm")
int BPF_PROG(confirm_exit, struct sk_buff *skb, int ret)
{
	return end_insertion(!(ret & NF_VERDICT_MASK));
}

SEC("fentry/nf_conntrack_hash_check_insert")
int BPF_PROG(check_insert_enter, struct nf_conn *ct)
{
	return begin_insertion(ct, NULL);
}

SEC("fexit/nf_conntrack_hash_check_insert")
int BPF_PROG(check_insert_exit, struct nf_conn *ct, int ret)
{
	return end_insertion(ret);
}

SEC("fentry/__nf_conntrack_hash_insert")
int BPF_PROG(hash_insert, struct nf_conn *ct)
{
	return on_insert(ct);
}

SEC("kprobe/__nf_conntrack_confirm")
int BPF_KPROBE(confirm_enter_kprobe, struct sk_buff *skb)
{
	return begin_insertion(skb_conn(skb), skb);
}

SEC("kretprobe/__nf_conntrack_confirm")
int BPF_KRETPROBE(confirm_exit_kprobe, int ret)
{
	return end_insertion(!(ret & NF_VERDICT_MASK));
}

SEC("kprobe/nf_conntrack_hash_check_insert")
int BPF_KPROBE(check_insert_enter_kprobe, struct nf_conn *ct)
{
	return begin_insertion(ct, NULL);
}

SEC("kretprobe/nf_conntrack_hash_check_insert")
int BPF_KRETPROBE(check_insert_exit_kprobe, int ret)
{
	return end_insertion(ret);
}

SEC("kprobe/__nf_conntrack_hash_insert")
int BPF_KPROBE(hash_insert_kprobe, struct nf_conn *ct)
{
	return on_insert(ct);
}

/*
 * FULL. What is refused has a tuple and no entry, and the packet is not at hand
 * where it is refused: whose it was is known a moment later, when it is freed.
 */
static __always_inline void report_refused(const struct ctsnoop_refused *from, struct sk_buff *skb)
{
	struct ctsnoop_event *event;
	struct origin origin;
	struct sock *sk;

	if (skb) {
		sk = BPF_CORE_READ(skb, sk);
		if (filter_cgroup && !(sk && sock_cgroup_matches(sk)))
			return;
		origin_of_sock(&origin, sk);
	} else {
		if (filter_cgroup)
			return;
		__builtin_memset(&origin, 0, sizeof(origin));
	}
	if (summary) {
		count(&totals, &from->netns, KIND_FULL);
		count_key(KIND_FULL, &from->tuple, &origin, KEY_STATE_NONE);
		return;
	}
	event = event_reserve(struct ctsnoop_event);
	if (!event)
		return;
	__builtin_memset(event, 0, sizeof(*event));
	event->ts_ns = from->ts_ns;
	event->origin = origin;
	event->tuple = from->tuple;
	event->netns = from->netns;
	event->zone = from->zone;
	event->kind = KIND_FULL;
	event_submit(event);
}

/* Takes the task's refused packet out, if nobody else has. */
static __always_inline bool take_refused(__u64 task)
{
	if (bpf_map_delete_elem(&refused, &task))
		return false;
	__sync_fetch_and_add(&refused_now, -1);
	return true;
}

static __always_inline int end_allocation(struct net *net, struct nf_conntrack_zone *zone,
					  struct nf_conntrack_tuple *tuple)
{
	struct ctsnoop_refused entry = {}, earlier, *found;
	__u64 task = task_key();

	if (!want_refused)
		return 0;
	entry.zone = BPF_CORE_READ(zone, id);
	if (!place_matches(net, entry.zone))
		return 0;
	read_tuple(&entry.tuple, tuple);
	if (!flow_matches(&entry.tuple.flow) || !flow_addrs_match(&entry.tuple.flow))
		return 0;
	entry.ts_ns = bpf_ktime_get_ns();
	entry.netns = netns_inum(net);
	found = bpf_map_lookup_elem(&refused, &task);
	if (found) {
		earlier = *found;
		if (take_refused(task))
			report_refused(&earlier, NULL);
	}
	if (bpf_map_update_elem(&refused, &task, &entry, BPF_ANY))
		report_refused(&entry, NULL);
	else
		__sync_fetch_and_add(&refused_now, 1);
	return 0;
}

static __always_inline bool same_addrs(const struct flow *a, const struct flow *b)
{
	const __u32 *left = (const __u32 *)a->saddr, *right = (const __u32 *)b->saddr;

	for (int word = 0; word < 8; word++) { /* daddr as well */
		if (left[word] != right[word])
			return false;
	}
	return true;
}

SEC("tp_btf/kfree_skb")
int BPF_PROG(refused_freed, struct sk_buff *skb)
{
	struct ctsnoop_refused *found, entry;
	struct packet packet;
	struct flow flow;
	__u64 task;

	if (!refused_now)
		return 0;
	task = task_key();
	found = bpf_map_lookup_elem(&refused, &task);
	if (!found)
		return 0;
	entry = *found;
	packet_find(&packet, skb);
	if (!packet_ip(&packet, &flow) || flow.proto != entry.tuple.flow.proto ||
	    !same_addrs(&flow, &entry.tuple.flow))
		return 0;
	if (take_refused(task))
		report_refused(&entry, skb);
	return 0;
}

SEC("fexit/__nf_conntrack_alloc")
int BPF_PROG(alloc_exit, struct net *net, struct nf_conntrack_zone *zone,
	     struct nf_conntrack_tuple *orig, struct nf_conntrack_tuple *repl, unsigned int gfp,
	     __u32 hash, void *ret)
{
	return (long)ret == ERR_NOMEM ? end_allocation(net, zone, orig) : 0;
}

SEC("kprobe/__nf_conntrack_alloc")
int BPF_KPROBE(alloc_enter_kprobe, struct net *net, struct nf_conntrack_zone *zone,
	       struct nf_conntrack_tuple *orig)
{
	struct allocation allocation = { net, zone, orig };
	__u64 task = task_key();

	bpf_map_update_elem(&allocations, &task, &allocation, BPF_ANY);
	return 0;
}

SEC("kretprobe/__nf_conntrack_alloc")
int BPF_KRETPROBE(alloc_exit_kprobe, long ret)
{
	__u64 task = task_key();
	struct allocation allocation, *found = bpf_map_lookup_elem(&allocations, &task);

	if (!found)
		return 0;
	allocation = *found;
	bpf_map_delete_elem(&allocations, &task);
	return ret == ERR_NOMEM ?
		end_allocation(allocation.net, allocation.zone, allocation.tuple) : 0;
}

/*
 * EARLY_DROP. A full table makes room by dropping entries that have no answer:
 * what is deleted in early_drop() and is not just expired.
 */
static __always_inline int begin_early_drop(void)
{
	__u64 task = task_key();
	__u8 one = 1;

	if (want_refused && !bpf_map_update_elem(&dropping, &task, &one, BPF_NOEXIST))
		__sync_fetch_and_add(&dropping_now, 1);
	return 0;
}

static __always_inline int end_early_drop(void)
{
	__u64 task = task_key();

	if (!bpf_map_delete_elem(&dropping, &task))
		__sync_fetch_and_add(&dropping_now, -1);
	return 0;
}

static __always_inline int on_delete(struct nf_conn *ct)
{
	__u64 task;

	if (!dropping_now)
		return 0;
	task = task_key();
	if (!bpf_map_lookup_elem(&dropping, &task))
		return 0;
	if ((__s32)(BPF_CORE_READ(ct, timeout) - (__u32)bpf_jiffies64()) > 0)
		report(KIND_EARLY_DROP, ct, NULL);
	return 0;
}

SEC("fentry/early_drop")
int BPF_PROG(early_drop_enter)
{
	return begin_early_drop();
}

SEC("fexit/early_drop")
int BPF_PROG(early_drop_exit)
{
	return end_early_drop();
}

SEC("fentry/__nf_ct_delete_from_lists")
int BPF_PROG(deleted, struct nf_conn *ct)
{
	return on_delete(ct);
}

SEC("kprobe/early_drop")
int BPF_KPROBE(early_drop_enter_kprobe)
{
	return begin_early_drop();
}

SEC("kretprobe/early_drop")
int BPF_KRETPROBE(early_drop_exit_kprobe)
{
	return end_early_drop();
}

SEC("kprobe/__nf_ct_delete_from_lists")
int BPF_KPROBE(deleted_kprobe, struct nf_conn *ct)
{
	return on_delete(ct);
}

/* Before Linux 5.19 (2ed3bf188b33). */
SEC("kprobe/nf_ct_delete_from_lists")
int BPF_KPROBE(deleted_kprobe_5_10, struct nf_conn *ct)
{
	return on_delete(ct);
}

/* DESTROY: nobody uses the entry any more. Not of what never was in the table. */
static __always_inline int on_destroy(struct nf_conn *ct)
{
	unsigned long status = BPF_CORE_READ(ct, status);

	if (status & IPS_CONFIRMED && !(status & IPS_TEMPLATE))
		report(KIND_DESTROY, ct, NULL);
	return 0;
}

SEC("fentry/nf_ct_destroy")
int BPF_PROG(destroy, struct nf_conn *ct)
{
	return on_destroy(ct);
}

SEC("kprobe/nf_ct_destroy")
int BPF_KPROBE(destroy_kprobe, struct nf_conn *ct)
{
	return on_destroy(ct);
}

/* Before Linux 5.17 (6ae7989c9af0). */
SEC("kprobe/destroy_conntrack")
int BPF_KPROBE(destroy_kprobe_5_10, struct nf_conn *ct)
{
	return on_destroy(ct);
}

char LICENSE[] SEC("license") = "GPL";
