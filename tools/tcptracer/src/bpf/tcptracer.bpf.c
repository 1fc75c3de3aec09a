/* SPDX-License-Identifier: GPL-2.0 */
#include "accept.bpf.h"
#include "events.bpf.h"
#include "files.bpf.h"
#include "filters.bpf.h"
#include "kernel/errno.h"

#include "tcptracer.h"

const volatile __u8 want_place = 0; /* cookie and cgroup */

const struct tcptracer_event *unused_event __attribute__((unused));
const enum tcptracer_kind *unused_kind __attribute__((unused));

/* Who connects a socket until the handshake is over, in the socket itself. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct actor);
} connecting SEC(".maps");

/* The same for 5.10, whose tracing programs cannot use socket storage. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct sock *);
	__type(value, struct actor);
} connecting_hash SEC(".maps");

/*
 * Sockets whose close was seen where the function itself cannot be traced, until
 * they are destroyed. It counts while the close goes on: older ones may go.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct sock *);
	__type(value, __u8);
} closed SEC(".maps");

enum store { IN_SOCK, IN_HASH };

/* The filters on the socket, but for what is not known as it begins to connect. */
static __always_inline bool sock_matches(struct sock *sk)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	return (family == AF_INET || family == AF_INET6) && family_matches(family) &&
	       sock_is_tcp(sk) && netns_matches(sock_net(sk));
}

static __always_inline bool current_matches(void)
{
	return task_matches(bpf_get_current_pid_tgid());
}

/* The task on the CPU. */
static __always_inline void note_actor(struct actor *actor)
{
	actor->cgroup_id = want_place ? bpf_get_current_cgroup_id() : 0;
	bpf_get_current_comm(actor->comm, sizeof(actor->comm));
	actor->tgid = bpf_get_current_pid_tgid() >> 32;
	actor->uid = bpf_get_current_uid_gid();
}

static __always_inline bool is_zero(const __u8 *addr)
{
	const __u64 *words = (const __u64 *)addr;

	return !words[0] && !words[1];
}

static __always_inline int tell(struct sock *sk, enum tcptracer_kind kind,
				const struct actor *actor)
{
	struct tcptracer_event *event;
	struct flow flow;

	flow_of_inet_sock(&flow, sk, IPPROTO_TCP);
	/* Never connected, or disconnected. */
	if (!flow.sport || !flow.dport || is_zero(flow.saddr) || is_zero(flow.daddr))
		return 0;
	if (!ports_match(flow.sport, flow.dport) || !flow_addrs_match(&flow))
		return 0;
	event = event_reserve(struct tcptracer_event);
	if (!event)
		return 0;
	event->ts_ns = bpf_ktime_get_ns();
	event->cookie = want_place ? BPF_CORE_READ(sk, __sk_common.skc_cookie.counter) : 0;
	event->actor = *actor;
	event->flow = flow;
	event->netns = netns_inum(sock_net(sk));
	event->kind = kind;
	event_submit(event);
	return 0;
}

static __always_inline int tell_of_current(struct sock *sk, enum tcptracer_kind kind)
{
	struct actor actor;

	note_actor(&actor);
	return tell(sk, kind, &actor);
}

static __always_inline int accepted(struct sock *sk)
{
	if (!current_matches() || !sock_matches(sk))
		return 0;
	return tell_of_current(sk, TCPTRACER_ACCEPT);
}

/* connect: the task is known as it begins, the event is the end of the handshake. */

static __always_inline int begin_connect(struct sock *sk, enum store store)
{
	struct actor actor, *kept;

	if (!current_matches() || !sock_matches(sk))
		return 0;
	note_actor(&actor);
	if (want_place)
		make_cookie(sk);
	if (store == IN_HASH) {
		if (bpf_map_update_elem(&connecting_hash, &sk, &actor, BPF_ANY))
			count_lost();
		return 0;
	}
	kept = bpf_sk_storage_get(&connecting, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (kept)
		*kept = actor;
	else
		count_lost();
	return 0;
}

static __always_inline int end_connect(struct sock *sk, int newstate, enum store store)
{
	struct actor actor, *kept;

	kept = store == IN_SOCK ? bpf_sk_storage_get(&connecting, sk, 0, 0) :
				  bpf_map_lookup_elem(&connecting_hash, &sk);
	if (!kept || !kept->tgid)
		return 0;
	actor = *kept;
	if (store == IN_SOCK)
		kept->tgid = 0; /* the socket may connect again */
	else
		bpf_map_delete_elem(&connecting_hash, &sk);
	return newstate == TCP_ESTABLISHED ? tell(sk, TCPTRACER_CONNECT, &actor) : 0;
}

static __always_inline int change_connect(struct sock *sk, int oldstate, int newstate,
					  enum store store)
{
	if (newstate == TCP_SYN_SENT)
		return begin_connect(sk, store);
	/* Two ends that connect to each other come by way of SYN_RECV. */
	if ((oldstate != TCP_SYN_SENT && oldstate != TCP_SYN_RECV) || newstate == TCP_SYN_RECV)
		return 0;
	return end_connect(sk, newstate, store);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_connected, struct sock *sk, int oldstate, int newstate)
{
	return change_connect(sk, oldstate, newstate, IN_SOCK);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_connected_hash, struct sock *sk, int oldstate, int newstate)
{
	return change_connect(sk, oldstate, newstate, IN_HASH);
}

/* close: the function, where it can be traced */

/*
 * Whether the socket has ever been connected, since it last began to connect:
 * the other end's sequence numbers are known. A listener has no other end.
 */
static __always_inline bool was_connected(struct sock *sk)
{
	struct tcp_sock *tcp = (struct tcp_sock *)sk;

	return BPF_CORE_READ(sk, __sk_common.skc_dport) && BPF_CORE_READ(tcp, rcv_nxt);
}

/* No connection yet, whose end could be shown. */
static __always_inline bool is_young(int state)
{
	return state == TCP_SYN_SENT || state == TCP_SYN_RECV || state == TCP_NEW_SYN_RECV;
}

static __always_inline int close(struct sock *sk)
{
	if (!current_matches() || !sock_matches(sk) ||
	    is_young(BPF_CORE_READ(sk, __sk_common.skc_state)) || !was_connected(sk))
		return 0;
	return tell_of_current(sk, TCPTRACER_CLOSE);
}

SEC("fentry/tcp_close")
int BPF_PROG(fentry_close, struct sock *sk)
{
	return close(sk);
}

SEC("kprobe/tcp_close")
int BPF_KPROBE(kprobe_close, struct sock *sk)
{
	return close(sk);
}

/*
 * Without the function: it sets the state of every connection, if only to the
 * state that it is in; one that is in CLOSE already it destroys. Both happen in
 * the task that closes, which has locked the socket.
 */

/* Else it is a packet or a timer that handles the socket, on top of any task. */
static __always_inline bool is_locked_by_task(struct sock *sk)
{
	return BPF_CORE_READ(sk, sk_lock.owned);
}

/* Whether that is new. Before Linux 6.4 the result has just 32 bits. */
static __always_inline bool note_closed(struct sock *sk)
{
	__u8 one = 1;

	return (int)bpf_map_update_elem(&closed, &sk, &one, BPF_NOEXIST) != -EEXIST;
}

static __always_inline int close_once(struct sock *sk)
{
	if (!current_matches() || !sock_matches(sk) || !was_connected(sk) || !note_closed(sk))
		return 0;
	return tell_of_current(sk, TCPTRACER_CLOSE);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_closed, struct sock *sk, int oldstate, int newstate)
{
	struct socket *socket;
	struct file *file;

	/* What else can be the next state is not set by a close. */
	if (newstate != TCP_FIN_WAIT1 && newstate != TCP_LAST_ACK && newstate != TCP_CLOSE &&
	    newstate != oldstate)
		return 0;
	if (is_young(oldstate) || oldstate == TCP_LISTEN || oldstate == TCP_CLOSE ||
	    !is_locked_by_task(sk))
		return 0;
	socket = BPF_CORE_READ(sk, sk_socket);
	if (!socket) {
		/* It was closed before, and is no socket that was over by then. */
		if (newstate == TCP_CLOSE)
			note_closed(sk);
		return 0;
	}
	/* With descriptors left it is shutdown(), or packets that have waited for the
	 * task. The kernel's own sockets have none. */
	file = BPF_CORE_READ(socket, file);
	return !file || file_is_gone(file) ? close_once(sk) : 0;
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(destroyed, struct sock *sk)
{
	if (is_locked_by_task(sk))
		close_once(sk);
	bpf_map_delete_elem(&closed, &sk);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
