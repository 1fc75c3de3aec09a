/* SPDX-License-Identifier: GPL-2.0 */
#include "events.bpf.h"
#include "tcp.bpf.h"
#include "tcplife.h"

const volatile __u32 filter_tgid = 0;
const volatile __u8 want_all = 0; /* what only JSON shows */

const struct tcplife_event *unused_event __attribute__((unused));

/* A session that has not ended. */
struct life {
	__u64 birth_ns; /* 0: ended, or its begin was not seen */
	__u32 tgid; /* who has connected, or closed its end; 0: not known yet */
	__u8 comm[16];
};

/* In its socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct life);
} lives SEC(".maps");

/* The same for 5.10, whose tracing programs cannot use socket storage. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct sock *);
	__type(value, struct life);
} lives_hash SEC(".maps");

enum store { IN_SOCK, IN_HASH };

/* The life of a socket; a new one if it has none yet. */
static __always_inline struct life *begin(struct sock *sk, enum store store)
{
	struct life *life, none = {};

	if (store == IN_SOCK) {
		life = bpf_sk_storage_get(&lives, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	} else {
		bpf_map_update_elem(&lives_hash, &sk, &none, BPF_NOEXIST);
		life = bpf_map_lookup_elem(&lives_hash, &sk);
	}
	if (!life)
		count_lost();
	return life;
}

static __always_inline struct life *find(struct sock *sk, enum store store)
{
	struct life *life = store == IN_SOCK ? bpf_sk_storage_get(&lives, sk, 0, 0) :
					       bpf_map_lookup_elem(&lives_hash, &sk);

	return life && life->birth_ns ? life : NULL;
}

/* The task on the CPU owns the socket: it is changing the state by a system call. */
static __always_inline void note_life_owner(struct life *life)
{
	life->tgid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(life->comm, sizeof(life->comm));
}

static __always_inline void show(struct sock *sk, struct life *life)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);
	struct tcplife_event *event;
	struct flow flow;

	if (!tcp)
		return;
	flow_of_tcp_sock(&flow, sk, tcp);
	if (!ports_match(flow.sport, flow.dport) || !flow_addrs_match(&flow))
		return;
	if (filter_tgid && life->tgid && life->tgid != filter_tgid)
		return;

	event = event_reserve(struct tcplife_event);
	if (!event)
		return;
	event->ts_ns = bpf_ktime_get_ns();
	event->span_ns = event->ts_ns - life->birth_ns;
	event->flow = flow;
	origin_of_sock(&event->origin, sk);
	if (life->tgid) {
		event->origin.tgid = life->tgid;
		__builtin_memcpy(event->origin.comm, life->comm, sizeof(life->comm));
	}
	if (want_all)
		event->origin.cookie = make_cookie(sk);
	event->retransmitted = tcp->bytes_retrans;
	event->sent = tcp_sent(tcp);
	event->received = tcp_received(sk, tcp);
	event->srtt_us = tcp->srtt_us >> 3; /* kept in eighths */
	event->error = sk->sk_err;
	event_submit(event);
}

static __always_inline int change(struct sock *sk, int newstate, enum store store)
{
	struct life *life;

	switch (newstate) {
	case TCP_SYN_SENT:
	case TCP_SYN_RECV:
	case TCP_ESTABLISHED:
		/* A state later the rest of the life is new again: as in BCC. */
		life = tcp_sock_matches(sk) ? begin(sk, store) : NULL;
		if (!life)
			return 0;
		life->birth_ns = bpf_ktime_get_ns();
		if (newstate == TCP_SYN_SENT)
			note_life_owner(life);
		else if (newstate == TCP_SYN_RECV)
			life->tgid = 0; /* who will accept it is not known yet */
		return 0;
	case TCP_FIN_WAIT1:
	case TCP_LAST_ACK:
		life = find(sk, store);
		if (life)
			note_life_owner(life);
		return 0;
	case TCP_CLOSE:
		life = find(sk, store);
		if (!life)
			return 0;
		show(sk, life);
		life->birth_ns = 0;
		if (store == IN_HASH)
			bpf_map_delete_elem(&lives_hash, &sk);
		return 0;
	}
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_state, struct sock *sk, int oldstate, int newstate)
{
	return change(sk, newstate, IN_SOCK);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_state_hash, struct sock *sk, int oldstate, int newstate)
{
	return change(sk, newstate, IN_HASH);
}

char LICENSE[] SEC("license") = "GPL";
