/* SPDX-License-Identifier: GPL-2.0 */
#include "kernel/errno.h"
#include "kernel/skb.h"
#include "kernel/tcp.h"
#include "stack.bpf.h"
#include "tcpretrans.h"

const volatile __u8 counting = 0; /* per flow, instead of events */
const volatile __u8 want_origin = 0;
const volatile __u8 want_unsent = 0; /* NOTHING_SENT as well */

const struct tcpretrans_event *unused_event __attribute__((unused));
const struct tcpretrans_flow *unused_flow __attribute__((unused));
const struct tcpretrans_count *unused_count __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, struct tcpretrans_flow);
	__type(value, struct tcpretrans_count);
} counts SEC(".maps");

/* What has happened to a socket or, for SYNACK, to a request. */
struct happening {
	__u8 kind;
	__s32 err;
	__u32 seq;
	__u32 segments;
	__u32 bytes;
};

static __always_inline bool sock_matches(struct sock *sk, struct flow *flow)
{
	if (filter_family && !family_matches(BPF_CORE_READ(sk, __sk_common.skc_family)))
		return false;
	if (filter_netns && !netns_matches(sock_net(sk)))
		return false;
	if (!sock_cgroup_matches(sk))
		return false;
	flow_of_sock(flow, sk, IPPROTO_TCP);
	return ports_match(flow->sport, flow->dport) && flow_addrs_match(flow);
}

/* `vouched`: the kernel vouches for the pointer. */
static __always_inline void fill_origin(struct origin *origin, struct sock *sk, bool vouched)
{
	origin_of_sock(origin, sk);
	if (vouched)
		origin->cookie = make_cookie(sk);
}

static __always_inline int count(struct sock *sk, const struct flow *flow,
				 const struct happening *what, bool vouched)
{
	struct tcpretrans_flow key = {};
	struct tcpretrans_count *value;

	key.flow = *flow;
	key.netns = netns_inum(sock_net(sk));
	value = bpf_map_lookup_elem(&counts, &key);
	if (!value) {
		struct tcpretrans_count first = {};

		if (want_origin)
			fill_origin(&first.origin, sk, vouched);
		bpf_map_update_elem(&counts, &key, &first, BPF_NOEXIST);
		value = bpf_map_lookup_elem(&counts, &key);
		if (!value) {
			count_lost();
			return 0;
		}
	}
	if (what->kind == RETRANSMIT)
		__sync_fetch_and_add(&value->retransmits, 1);
	else if (what->kind == LOSS_PROBE)
		__sync_fetch_and_add(&value->probes, 1);
	else
		__sync_fetch_and_add(&value->synacks, 1);
	/* Of a constant 0, clang would make an instruction that Linux 5.10 lacks. */
	if (what->segments)
		__sync_fetch_and_add(&value->segments, what->segments);
	if (what->bytes)
		__sync_fetch_and_add(&value->bytes, what->bytes);
	return 0;
}

/* The device that the socket's route leads to. */
static __always_inline void fill_device(struct tcpretrans_event *event, struct sock *sk)
{
	struct net_device *dev = NULL;

	if (event->kind != SYNACK)
		dev = BPF_CORE_READ(sk, sk_dst_cache, dev);
	if (!dev)
		return;
	event->ifindex = BPF_CORE_READ(dev, ifindex);
	BPF_CORE_READ_INTO(&event->dev, dev, name);
}

static __always_inline int tell(void *ctx, struct sock *sk, const struct flow *flow,
				const struct happening *what, bool vouched)
{
	struct tcpretrans_event *event;

	if (counting)
		return count(sk, flow, what, vouched);

	event = event_reserve_with_stack(struct tcpretrans_event);
	if (!event)
		return 0;
	event->ts_ns = bpf_ktime_get_ns();
	event->flow = *flow;
	event->tgid = bpf_get_current_pid_tgid() >> 32;
	event->kind = what->kind;
	event->err = what->err;
	event->seq = what->seq;
	event->segments = what->segments;
	event->bytes = what->bytes;
	event->state = BPF_CORE_READ(sk, __sk_common.skc_state);
	event->pad[0] = event->pad[1] = 0;
	event->total_retrans = 0;
	event->ifindex = 0;
	__builtin_memset(event->dev, 0, sizeof(event->dev));
	if (want_origin) {
		if (what->kind != SYNACK)
			event->total_retrans = BPF_CORE_READ((struct tcp_sock *)sk, total_retrans);
		fill_origin(&event->origin, sk, vouched);
		fill_device(event, sk);
	} else {
		__builtin_memset(&event->origin, 0, sizeof(event->origin));
	}
	event_stack(ctx, event);
	event_submit(event);
	return 0;
}

/*
 * Whether the kernel gave up before it counted a retransmit: the segment is
 * still in a queue of this host, behind the receiver's window or acknowledged,
 * or there is no memory or no route. Other errors are of the way down: a
 * firewall or a queueing discipline of this host has dropped what the kernel
 * takes for sent, in RetransSegs and tcpi_total_retrans.
 */
static __always_inline bool sent_nothing(int err)
{
	return err == -EBUSY || err == -EAGAIN || err == -EHOSTUNREACH || err == -ENOMEM ||
	       err == -EINVAL;
}

static __always_inline int resent(void *ctx, struct sock *sk, struct sk_buff *skb, int err)
{
	struct tcp_skb_cb *cb = (void *)&skb->cb;
	struct happening what = { .kind = RETRANSMIT, .err = err };
	struct flow flow;

	if (sent_nothing(err)) {
		if (!want_unsent)
			return 0;
		what.kind = NOTHING_SENT;
	}
	if (!sock_matches(sk, &flow))
		return 0;
	if (what.kind == RETRANSMIT) {
		what.segments = BPF_CORE_READ(cb, tcp_gso_segs);
		what.bytes = BPF_CORE_READ(skb, len);
	}
	what.seq = BPF_CORE_READ(cb, seq);
	return tell(ctx, sk, &flow, &what, true);
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(retransmit, struct sock *sk, struct sk_buff *skb)
{
	int err = 0;

	if (bpf_core_field_exists(struct trace_event_raw_tcp_retransmit_skb___since_6_17, err))
		err = (int)ctx[2];
	return resent(ctx, sk, skb, err);
}

/* What the tracepoint did not tell of before Linux 6.17. */
SEC("fexit/tcp_retransmit_skb")
int BPF_PROG(refused, struct sock *sk, struct sk_buff *skb, int segs, int err)
{
	return err ? resent(ctx, sk, skb, err) : 0;
}

static __always_inline int probe(void *ctx, struct sock *sk, bool vouched)
{
	struct happening what = { .kind = LOSS_PROBE };
	struct flow flow;

	if (!sock_matches(sk, &flow))
		return 0;
	return tell(ctx, sk, &flow, &what, vouched);
}

SEC("fentry/tcp_send_loss_probe")
int BPF_PROG(loss_probe_fentry, struct sock *sk)
{
	return probe(ctx, sk, true);
}

SEC("kprobe/tcp_send_loss_probe")
int BPF_KPROBE(loss_probe_kprobe, struct sock *sk)
{
	return probe(ctx, sk, false);
}

/*
 * Where the function cannot be traced, the probes that retransmit: then the
 * timer's purpose is still that of the probe. It may be so, too, as an
 * acknowledgement makes the kernel retransmit, but that is in recovery, in
 * which there are no probes.
 */
SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(loss_probe_state, struct sock *sk, struct sk_buff *skb)
{
	struct inet_connection_sock *icsk = (void *)sk;

	if (BPF_CORE_READ(icsk, icsk_pending) != ICSK_TIME_LOSS_PROBE ||
	    BPF_CORE_READ_BITFIELD_PROBED(icsk, icsk_ca_state) >= TCP_CA_Recovery)
		return 0;
	return probe(ctx, sk, true);
}

SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(synack, struct sock *sk, struct sock *request)
{
	struct happening what = { .kind = SYNACK, .segments = 1 };
	struct flow flow;

	if (!sock_matches(request, &flow))
		return 0;
	what.seq = BPF_CORE_READ((struct tcp_request_sock *)request, snt_isn);
	return tell(ctx, request, &flow, &what, true);
}

char LICENSE[] SEC("license") = "GPL";
