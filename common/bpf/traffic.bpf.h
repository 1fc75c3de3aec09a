/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What TCP sockets carry, without any work per packet: an iterator that user
 * space reads from time to time (common::tcp_iter) finds how far the kernel's
 * own counts have got since it last came by, and the end of a socket gives
 * what has come since then.
 *
 * The tool includes this and defines moved().
 */
#pragma once

#include "lost.bpf.h"
#include "tcp.bpf.h"

/*
 * A socket has carried this much more. `meta` is the iterator's, NULL at the
 * end of the socket. False: not taken, to be told again.
 */
static __always_inline bool moved(struct bpf_iter_meta *meta, struct sock *sk,
				  struct tcp_sock *tcp, __u64 sent, __u64 received);

/*
 * The network namespaces that user space has walked once: their sockets of
 * which nothing is noted are younger than that, and have carried nothing of
 * which was told.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, __u8);
} walked SEC(".maps");

/* The last one that was asked for and found: nearly always the next one's. */
__u32 last_walked = 0;

static __always_inline bool is_walked(struct sock *sk)
{
	__u32 netns = netns_inum(sock_net(sk));

	if (netns == last_walked)
		return true;
	if (!bpf_map_lookup_elem(&walked, &netns))
		return false;
	last_walked = netns;
	return true;
}

/*
 * Sockets that ended without their begin or a walk having been seen: of how
 * much they carried it is not known what is new.
 */
__u64 unwalked = 0;

/* How far a socket's counts were when it was last looked at. */
struct traffic {
	__u64 sent;
	__u64 received;
};

/* In the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct traffic);
} traffic SEC(".maps");

/* The same for 5.10, whose tracing programs cannot use socket storage. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, struct sock *);
	__type(value, struct traffic);
} traffic_hash SEC(".maps");

enum traffic_store { TRAFFIC_IN_SOCK, TRAFFIC_IN_HASH };

static __always_inline struct traffic *find_traffic(void *sk, enum traffic_store store)
{
	return store == TRAFFIC_IN_SOCK ? bpf_sk_storage_get(&traffic, sk, 0, 0) :
					  bpf_map_lookup_elem(&traffic_hash, &sk);
}

/* The counts of a socket are told from here on. */
static __always_inline void begin_traffic(void *sk, struct traffic *from,
					  enum traffic_store store)
{
	struct traffic *traffic_of_sk;

	if (store == TRAFFIC_IN_HASH) {
		if (bpf_map_update_elem(&traffic_hash, &sk, from, BPF_ANY))
			count_lost();
		return;
	}
	traffic_of_sk = bpf_sk_storage_get(&traffic, sk, from, BPF_SK_STORAGE_GET_F_CREATE);
	if (traffic_of_sk)
		*traffic_of_sk = *from;
	else
		count_lost();
}

static __always_inline void tell_traffic(struct bpf_iter_meta *meta, struct sock *sk,
					 struct tcp_sock *tcp, struct traffic *last)
{
	struct traffic now = {
		.sent = tcp_sent(tcp),
		.received = tcp_received(sk, tcp),
	};

	/* They never go back, but for a connection that gives up its own. */
	if (now.sent < last->sent)
		now.sent = last->sent;
	if (now.received < last->received)
		now.received = last->received;
	if (now.sent == last->sent && now.received == last->received)
		return;
	if (moved(meta, sk, tcp, now.sent - last->sent, now.received - last->received))
		*last = now;
}

/* The same for a socket of a tracepoint: in most of them no program keeps anything. */
static __always_inline struct traffic *find_traffic_of(struct sock *sk, enum traffic_store store)
{
	return store == TRAFFIC_IN_SOCK && !sk->sk_bpf_storage ? NULL : find_traffic(sk, store);
}

static __always_inline int traffic_state(struct sock *sk, int oldstate, int newstate,
					 enum traffic_store store)
{
	struct traffic *last, none = {};
	struct tcp_sock *tcp;

	switch (newstate) {
	case TCP_SYN_SENT:
	case TCP_SYN_RECV:
	case TCP_ESTABLISHED:
		last = find_traffic_of(sk, store);
		if (last && newstate != TCP_ESTABLISHED)
			*last = none; /* it connects again: the kernel's counts begin anew */
		else if (!last && !is_walked(sk) && tcp_sock_matches(sk))
			begin_traffic(sk, &none, store);
		return 0;
	case TCP_CLOSE:
		/* Closed after a reset: all has been told. */
		if (oldstate == TCP_CLOSE)
			return 0;
		tcp = bpf_skc_to_tcp_sock(sk);
		if (!tcp)
			return 0;
		last = find_traffic_of(sk, store);
		if (last)
			tell_traffic(NULL, sk, tcp, last);
		else if (!tcp_sock_matches(sk))
			return 0;
		else if (is_walked(sk))
			tell_traffic(NULL, sk, tcp, &none);
		else if (tcp_sent(tcp) || tcp_received(sk, tcp))
			__sync_fetch_and_add(&unwalked, 1);
		if (last && store == TRAFFIC_IN_HASH)
			bpf_map_delete_elem(&traffic_hash, &sk);
		return 0;
	}
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(traffic_end, struct sock *sk, int oldstate, int newstate)
{
	return traffic_state(sk, oldstate, newstate, TRAFFIC_IN_SOCK);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(traffic_end_hash, struct sock *sk, int oldstate, int newstate)
{
	return traffic_state(sk, oldstate, newstate, TRAFFIC_IN_HASH);
}

static __always_inline int walk_traffic(struct bpf_iter__tcp *ctx, enum traffic_store store)
{
	struct sock_common *common = ctx->sk_common;
	struct traffic *last, now = {};
	struct tcp_sock *tcp;
	struct sock *sk;

	if (!common || common->skc_state == TCP_LISTEN)
		return 0;
	tcp = bpf_skc_to_tcp_sock(common);
	if (!tcp)
		return 0;
	sk = (struct sock *)tcp;
	last = find_traffic(common, store);
	if (last) {
		tell_traffic(ctx->meta, sk, tcp, last);
	} else if (tcp_sock_matches(sk)) {
		if (is_walked(sk)) {
			tell_traffic(ctx->meta, sk, tcp, &now);
		} else {
			/* Older than the tool: what it has carried until now is history. */
			now.sent = tcp_sent(tcp);
			now.received = tcp_received(sk, tcp);
		}
		begin_traffic(common, &now, store);
	}
	return 0;
}

SEC("iter/tcp")
int traffic_walk(struct bpf_iter__tcp *ctx)
{
	return walk_traffic(ctx, TRAFFIC_IN_SOCK);
}

SEC("iter/tcp")
int traffic_walk_hash(struct bpf_iter__tcp *ctx)
{
	return walk_traffic(ctx, TRAFFIC_IN_HASH);
}
