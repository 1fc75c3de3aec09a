/* SPDX-License-Identifier: GPL-2.0 */
#include "skb.bpf.h"
#include "stack.bpf.h"

#include "listen.bpf.h"
#include "tcpdrop.h"

/* A struct that only the ring buffer carries is missed without this. */
const struct tcpdrop_event *unused_event __attribute__((unused));

/* --reason, --exclude-reason: a bit per reason, by the number of its subsystem and its own. */
const volatile __u8 filter_reasons = 0;
const volatile __u64 wanted_reasons[8 * 256 / 64] = {};

/* -c */
const volatile __u8 counting = 0;

/* The reason of a SYN that a full accept queue turns away, for which the kernel has none. */
const volatile __u32 reason_overflow = 0;
/* The reason for what is left in the queue of a socket that goes; on older kernels one of many. */
const volatile __u32 reason_purge = 0;
/* Where tcp_rcv_state_process() begins and ends. */
const volatile __u64 state_process = 0;
const volatile __u64 state_process_end = 0;
/* Set from the kernel's type information: from Linux 6.4 (dd1b527831a3) on there is a location. */
const volatile __u8 consume_skb_params = 1;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct tcpdrop_key);
	__type(value, __u64);
} counts SEC(".maps");

static __always_inline bool reason_wanted(__u32 reason)
{
	__u64 bit = (reason >> 16 & 7) << 8 | (reason & 0xff), word = bit / 64;

	if (!filter_reasons)
		return true;
	/* The verifier must see that the very register that is bounded is used. */
	barrier_var(word);
	word &= sizeof(wanted_reasons) / sizeof(wanted_reasons[0]) - 1;
	return wanted_reasons[word] >> bit % 64 & 1;
}

static __always_inline void count(__u64 location, __u32 reason)
{
	struct tcpdrop_key key = { .location = location, .reason = reason };
	__u64 *count = bpf_map_lookup_elem(&counts, &key), zero = 0;

	if (!count) {
		bpf_map_update_elem(&counts, &key, &zero, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&counts, &key);
	}
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		count_lost();
}

/* The state of a TCP socket of any kind; 0 for any other socket, and for none. */
static __always_inline __u8 tcp_state(struct sock *sk)
{
	__u16 family;
	__u8 state;

	if (!sk)
		return 0;
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if (family != AF_INET && family != AF_INET6)
		return 0;
	state = BPF_CORE_READ(sk, __sk_common.skc_state);
	/* Half-open and time-wait sockets are TCP's, and have no more than sock_common. */
	if (state == TCP_NEW_SYN_RECV || state == TCP_TIME_WAIT)
		return state;
	return sock_is_tcp(sk) ? state : 0;
}

/* Reads the addresses; false for what is not TCP. */
static __always_inline bool find_segment(struct packet *packet, struct flow *flow,
					 struct sk_buff *skb)
{
	struct sock *sk;
	__u16 transport;

	packet_find(packet, skb);
	if (packet->ethertype) {
		if (!family_matches(packet_family(packet)) || !packet_ip(packet, flow) ||
		    flow->proto != IPPROTO_TCP)
			return false;
		packet_ports(packet, flow);
		return true;
	}
	/* A segment without an IP header yet, as when there is no route: its socket knows. */
	sk = BPF_CORE_READ(skb, sk);
	transport = BPF_CORE_READ(skb, transport_header);
	if (!tcp_state(sk) || transport == 0xffff)
		return false;
	packet->transport = transport;
	flow_of_sock(flow, sk, IPPROTO_TCP);
	return family_matches(flow->family);
}

/* -L, -D: the socket knows which end is local; without one, where the packet comes from. */
static __always_inline bool segment_ports_match(const struct flow *flow, struct sock *sk,
						__u8 state, struct sk_buff *skb)
{
	bool incoming;

	if (!filter_sports && !filter_dports)
		return true;
	if (state)
		incoming = BPF_CORE_READ(sk, __sk_common.skc_num) == flow->dport;
	else
		incoming = BPF_CORE_READ(skb, skb_iif) != 0;
	return incoming ? ports_match(flow->dport, flow->sport) :
			  ports_match(flow->sport, flow->dport);
}

static __always_inline void show(void *ctx, struct packet *packet, const struct flow *flow,
				 struct sk_buff *skb, struct sock *sk, __u32 reason,
				 __u64 location)
{
	struct tcpdrop_event *event;
	struct net_device *dev;
	struct net *net = NULL;
	__u8 state;

	if (!flow_addrs_match(flow))
		return;
	state = tcp_state(sk);
	if (!segment_ports_match(flow, sk, state, skb) || !sock_cgroup_matches(sk))
		return;
	if (filter_netns || !counting)
		net = skb_net(skb, sk);
	if (!netns_matches(net))
		return;
	if (counting) {
		count(location, reason);
		return;
	}
	event = event_reserve_with_stack(struct tcpdrop_event);
	if (!event)
		return;
	event->ts_ns = bpf_ktime_get_ns();
	event->location = location;
	event->flow = *flow;
	origin_of_sock(&event->origin, sk);
	event->origin.netns = netns_inum(net);
	dev = skb_dev(skb);
	if (!dev)
		dev = skb_ingress_dev(skb, net);
	event->ifindex = BPF_CORE_READ(dev, ifindex);
	BPF_CORE_READ_INTO(&event->ifname, dev, name);
	event->tgid = bpf_get_current_pid_tgid() >> 32;
	event->reason = reason;
	event->length = packet_length(packet, skb);
	event->state = state;
	event->tcp_flags = packet_tcp_flags(packet);
	__builtin_memset(event->pad, 0, sizeof(event->pad));
	event_stack(ctx, event);
	event_submit(event);
}

SEC("tp_btf/kfree_skb")
int kfree_skb(__u64 *ctx)
{
	struct sk_buff *skb = kfree_skb_skb(ctx);
	__u32 reason = kfree_skb_reason(ctx);
	struct packet packet;
	struct flow flow;
	struct sock *sk;

	if (!reason_wanted(reason))
		return 0;
	/*
	 * The FIN of an ordinary close. TCP has taken its header off and acted on
	 * it; that nobody read it from the queue is no loss.
	 */
	if (reason == reason_purge && !BPF_CORE_READ(skb, len))
		return 0;
	if (!find_segment(&packet, &flow, skb))
		return 0;
	sk = kfree_skb_rx_sk(ctx);
	if (!sk)
		sk = BPF_CORE_READ(skb, sk);
	show(ctx, &packet, &flow, skb, sk, reason, kfree_skb_location(ctx));
	return 0;
}

/*
 * A listener with a full accept queue forgets a SYN, and the kernel then frees
 * it as if it had been used: not kfree_skb, but consume_skb.
 */
static __always_inline int turn_away(void *ctx, struct sock *sk, struct sk_buff *skb)
{
	struct packet packet;
	struct flow flow;

	if (!reason_wanted(reason_overflow) || !accept_queue_full(sk) ||
	    !find_segment(&packet, &flow, skb))
		return 0;
	show(ctx, &packet, &flow, skb, sk, reason_overflow, IN_CONN_REQUEST);
	return 0;
}

SEC("fentry/tcp_conn_request")
int BPF_PROG(conn_request, void *rsk_ops, void *af_ops, struct sock *sk, struct sk_buff *skb)
{
	return turn_away(ctx, sk, skb);
}

SEC("kprobe/tcp_conn_request")
int BPF_KPROBE(conn_request_kprobe, void *rsk_ops, void *af_ops, struct sock *sk,
	       struct sk_buff *skb)
{
	return turn_away(ctx, sk, skb);
}

/* Where functions cannot be traced: the same as turn_away() a moment later. */
SEC("tp_btf/consume_skb")
int consume_skb(__u64 *ctx)
{
	struct sk_buff *skb = (void *)ctx[0];
	struct packet packet;
	struct flow flow;
	struct net *net;
	struct sock *sk;
	__u64 location;

	if (consume_skb_params < 2)
		return 0;
	location = ctx[1];
	if (location < state_process || location >= state_process_end)
		return 0;
	if (!reason_wanted(reason_overflow) || !find_segment(&packet, &flow, skb) ||
	    (packet_tcp_flags(&packet) & (TCP_FLAG_SYN | TCP_FLAG_ACK)) != TCP_FLAG_SYN)
		return 0;
	net = skb_net(skb, NULL);
	sk = net ? full_listener(net, &flow) : NULL;
	if (sk)
		show(ctx, &packet, &flow, skb, sk, reason_overflow, location);
	return 0;
}

/*
 * What TCP itself throws away, before Linux 5.17: it then frees the packet so that
 * kfree_skb does not see it. Compilers often inline the function.
 */
static __always_inline int tcp_dropped(void *ctx, struct sock *sk, struct sk_buff *skb)
{
	struct packet packet;
	struct flow flow;

	if (reason_wanted(0) && find_segment(&packet, &flow, skb))
		show(ctx, &packet, &flow, skb, sk, 0, IN_TCP_DROP);
	return 0;
}

SEC("fentry/tcp_drop")
int BPF_PROG(tcp_drop, struct sock *sk, struct sk_buff *skb)
{
	return tcp_dropped(ctx, sk, skb);
}

SEC("kprobe/tcp_drop")
int BPF_KPROBE(tcp_drop_kprobe, struct sock *sk, struct sk_buff *skb)
{
	return tcp_dropped(ctx, sk, skb);
}

char LICENSE[] SEC("license") = "GPL";
