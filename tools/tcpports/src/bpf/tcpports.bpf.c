/* SPDX-License-Identifier: GPL-2.0 */
#include "events.bpf.h"
#include "kernel/errno.h"
#include "kernel/ports.h"
#include "kernel/tcp.h"
#include "origin.bpf.h"
#include "tcpports.h"

const volatile __u8 count_by = BY_NETNS;
const volatile __u8 want_owner = 0; /* who has a socket without a file */

const struct tcpports_failure *unused_failure __attribute__((unused));
const struct tcpports_socket *unused_socket __attribute__((unused));
const struct tcpports_group *unused_group __attribute__((unused));

/* Namespaces where something has changed since user space has set this to 0. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u32);
} changed SEC(".maps");

/* How often a port was taken. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct tcpports_group);
	__type(value, __u64);
} uses SEC(".maps");

/*
 * Sockets that have a port and are neither connected nor listening: no table of
 * the kernel's that could be walked has them. From bind(), or the end of a
 * connection with a port of its own, until they are something else or gone.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct sock *);
	__type(value, struct tcpports_socket);
} idle SEC(".maps");

/* A connection, for as long as it may be in TIME_WAIT. */
struct connection {
	__u8 laddr[16];
	__u8 raddr[16];
	__u32 netns;
	__u16 lport;
	__u16 rport;
};

struct closer {
	__u64 cgroup_id;
	__u8 comm[16];
	__u32 tgid;
	__u32 pad;
};

/* Who has closed it: what is left of it then has no file and no cgroup. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct connection);
	__type(value, struct closer);
} closers SEC(".maps");

/* A connect() that has failed, until it returns: by its thread. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct flow);
} refused SEC(".maps");

static __always_inline bool in_range(struct net *net, __u16 port)
{
	struct net___ports *ports = (void *)net;
	struct local_ports *range = &ports->ipv4.ip_local_ports;
	struct local_ports___pair *pair = (void *)range;
	struct local_ports___word *word = (void *)range;
	__u32 low, high;

	if (!port)
		return false;
	if (bpf_core_field_exists(word->range)) { /* as a number, not as an array */
		high = BPF_CORE_READ(word, range);
		low = high & 0xffff;
		high >>= 16;
	} else {
		low = BPF_CORE_READ(pair, range[0]);
		high = BPF_CORE_READ(pair, range[1]);
	}
	return port >= low && port <= high;
}

/* The filters, for a full socket. */
static __always_inline bool sock_matches(struct sock *sk)
{
	struct flow flow;

	if (!family_matches(BPF_CORE_READ(sk, __sk_common.skc_family)) || !sock_is_tcp(sk) ||
	    !netns_matches(sock_net(sk)) || (filter_cgroup && !cgroup_matches(sock_cgroup(sk))))
		return false;
	if (!filter_addrs)
		return true;
	flow_of_sock(&flow, sk, IPPROTO_TCP);
	return flow_addrs_match(&flow);
}

static __always_inline void note_change(__u32 netns)
{
	__u32 *is_changed = bpf_map_lookup_elem(&changed, &netns), one = 1;

	if (!is_changed) {
		if (bpf_map_update_elem(&changed, &netns, &one, BPF_ANY))
			count_lost();
	} else if (!*is_changed) {
		*is_changed = 1;
	}
}

/* Counts that a port was taken, or after all not, by the task on the CPU. */
static __always_inline void count_use(struct sock *sk, __s64 count)
{
	struct tcpports_group group = {};
	struct flow flow;
	__u64 zero = 0, *value;

	group.netns = netns_inum(sock_net(sk));
	switch (count_by) {
	case BY_LADDR:
	case BY_RADDR:
		flow_of_sock(&flow, sk, IPPROTO_TCP);
		group.family = flow.family;
		__builtin_memcpy(group.laddr, flow.saddr, sizeof(group.laddr));
		if (count_by == BY_RADDR) {
			__builtin_memcpy(group.raddr, flow.daddr, sizeof(group.raddr));
			group.rport = flow.dport;
		}
		break;
	case BY_PROCESS:
		group.id = bpf_get_current_pid_tgid() >> 32;
		break;
	case BY_CGROUP:
		group.id = cgroup_id(sock_cgroup(sk));
		break;
	}
	if (count_by == BY_RADDR && !group.rport) /* listens */
		return;
	value = bpf_map_lookup_elem(&uses, &group);
	if (!value) {
		bpf_map_update_elem(&uses, &group, &zero, BPF_NOEXIST);
		value = bpf_map_lookup_elem(&uses, &group);
	}
	if (value)
		__sync_fetch_and_add(value, count);
	else
		count_lost();
}

static __always_inline void key_of_sock(struct connection *connection, struct sock_common *common)
{
	struct flow flow;

	flow_of_sock(&flow, (struct sock *)common, IPPROTO_TCP);
	__builtin_memcpy(connection->laddr, flow.saddr, sizeof(connection->laddr));
	__builtin_memcpy(connection->raddr, flow.daddr, sizeof(connection->raddr));
	connection->lport = flow.sport;
	connection->rport = flow.dport;
	connection->netns = netns_inum(BPF_CORE_READ(common, skc_net.net));
}

static __always_inline void note_closer(struct sock *sk)
{
	struct connection connection = {};
	struct closer closer = {};

	key_of_sock(&connection, &sk->__sk_common);
	closer.tgid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(closer.comm, sizeof(closer.comm));
	closer.cgroup_id = cgroup_id(sock_cgroup(sk));
	bpf_map_update_elem(&closers, &connection, &closer, BPF_ANY);
}

/* Of any kind of socket: what is written of it. `full`: NULL for what is none. */
static __always_inline void describe(struct tcpports_socket *to, struct sock_common *common,
				     struct sock *full)
{
	struct inet_timewait_sock *tw = (void *)common;
	struct inet_connection_sock___ports *connection = (void *)common;
	struct inet_bind_bucket *bucket = NULL;
	struct flow flow;

	to->lport = BPF_CORE_READ(common, skc_num);
	to->rport = bpf_ntohs(BPF_CORE_READ(common, skc_dport));
	to->state = BPF_CORE_READ(common, skc_state);
	to->family = BPF_CORE_READ(common, skc_family);
	if (to->state == TCP_TIME_WAIT) {
		to->state = BPF_CORE_READ(tw, tw_substate);
		if (count_by == BY_RADDR)
			bucket = BPF_CORE_READ(tw, tw_tb);
	} else if (to->state != TCP_NEW_SYN_RECV && count_by == BY_RADDR) {
		bucket = BPF_CORE_READ(connection, icsk_bind_hash);
	}
	if (bucket)
		to->exclusive = BPF_CORE_READ(bucket, fastreuse) >= 0 ||
				BPF_CORE_READ(bucket, fastreuseport) >= 0;
	if (count_by == BY_NETNS)
		return;
	flow_of_sock(&flow, (struct sock *)common, IPPROTO_TCP);
	__builtin_memcpy(to->laddr, flow.saddr, sizeof(to->laddr));
	__builtin_memcpy(to->raddr, flow.daddr, sizeof(to->raddr));
	if (count_by < BY_PROCESS || !full)
		return;
	to->inode = BPF_CORE_READ(full, sk_socket, file, f_inode, i_ino);
	to->cgroup_id = cgroup_id(sock_cgroup(full));
}

static __always_inline struct closer *find_closer(struct sock_common *common)
{
	struct connection connection = {};

	key_of_sock(&connection, common);
	return bpf_map_lookup_elem(&closers, &connection);
}

/* User space reads it namespace by namespace, where something has changed. */
SEC("iter/tcp")
int walk_sockets(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	struct tcpports_socket to = {};
	struct closer *closer = NULL;
	struct sock *full;
	struct flow flow;
	struct net *net;

	if (!common)
		return 0;
	net = common->skc_net.net;
	if (!in_range(net, common->skc_num) || !family_matches(common->skc_family) ||
	    !netns_matches(net))
		return 0;
	if (filter_addrs) {
		flow_of_sock(&flow, (struct sock *)common, IPPROTO_TCP);
		if (!flow_addrs_match(&flow))
			return 0;
	}
	full = full_sock((struct sock *)common);
	if (full && filter_cgroup && !cgroup_matches(sock_cgroup(full)))
		return 0;
	if (want_owner && (!full || !BPF_CORE_READ(full, sk_socket))) {
		closer = find_closer(common);
		/* Only those of the cgroup were noted. */
		if (!full && filter_cgroup && !closer)
			return 0;
	}
	describe(&to, common, full);
	if (count_by == BY_NETNS) {
		bpf_seq_write(ctx->meta->seq, &to, __builtin_offsetof(struct tcpports_socket, laddr));
		return 0;
	}
	if (count_by < BY_PROCESS) {
		bpf_seq_write(ctx->meta->seq, &to, __builtin_offsetof(struct tcpports_socket, inode));
		return 0;
	}
	if (closer) {
		to.tgid = closer->tgid;
		to.cgroup_id = closer->cgroup_id;
		__builtin_memcpy(to.comm, closer->comm, sizeof(to.comm));
	}
	bpf_seq_write(ctx->meta->seq, &to, sizeof(to));
	return 0;
}

static __always_inline void note_idle(struct sock *sk)
{
	struct tcpports_socket idler = {};

	describe(&idler, &sk->__sk_common, sk);
	idler.netns = netns_inum(sock_net(sk));
	idler.exclusive = 1;
	if (bpf_map_update_elem(&idle, &sk, &idler, BPF_ANY))
		count_lost();
}

/* connect() has found no port: only now it is known from which address. */
static __always_inline void note_refused(struct sock *sk)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct flow flow;

	count_use(sk, -1);
	flow_of_sock(&flow, sk, IPPROTO_TCP);
	bpf_map_update_elem(&refused, &pid_tgid, &flow, BPF_ANY);
}

static __always_inline int change(struct sock *sk, int oldstate, int newstate)
{
	struct net *net = sock_net(sk);
	struct inet_sock *inet = (struct inet_sock *)sk;
	__u16 port = BPF_CORE_READ(sk, __sk_common.skc_num);
	bool begins = newstate == TCP_SYN_SENT || newstate == TCP_LISTEN;

	/* Without a port it is about to get one, has failed to, or has given it back. */
	if (port && !in_range(net, port))
		return 0;
	if (!port && !begins && newstate != TCP_CLOSE)
		return 0;
	if (!sock_matches(sk))
		return 0;
	note_change(netns_inum(net));
	if (begins) {
		/* The bind() was counted, but had no remote end. */
		if (!port || (count_by == BY_RADDR && newstate == TCP_SYN_SENT))
			count_use(sk, 1);
		if (port)
			bpf_map_delete_elem(&idle, &sk);
		return 0;
	}
	if (newstate == TCP_CLOSE) {
		if (oldstate == TCP_SYN_SENT && !BPF_CORE_READ(inet, inet_sport))
			note_refused(sk);
		else if (port) /* its own, which it keeps */
			note_idle(sk);
	} else if (newstate == TCP_FIN_WAIT1 && want_owner) {
		note_closer(sk);
	}
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_state, struct sock *sk, int oldstate, int newstate)
{
	return change(sk, oldstate, newstate);
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(destroy, struct sock *sk)
{
	if (bpf_map_lookup_elem(&idle, &sk)) {
		note_change(netns_inum(sock_net(sk)));
		bpf_map_delete_elem(&idle, &sk);
	}
	return 0;
}

/* Read once, at the begin: sockets that are idle then. */
SEC("iter/task_file")
int find_idle(struct bpf_iter__task_file *ctx)
{
	struct file *file = ctx->file;
	struct socket *socket;
	struct sock *sk;

	if (!file || (file->f_inode->i_mode & S_IFMT) != S_IFSOCK)
		return 0;
	socket = file->private_data;
	sk = BPF_CORE_READ(socket, sk);
	/* Not a socket: a file system's place of one. */
	if (!sk || BPF_CORE_READ(socket, file) != file)
		return 0;
	if (BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_CLOSE && sock_matches(sk) &&
	    in_range(sock_net(sk), BPF_CORE_READ(sk, __sk_common.skc_num)))
		note_idle(sk);
	return 0;
}

/* The calls. */

union sockaddr_any {
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* The flow that was asked for. `addr` is the kernel's or the process's. */
static __always_inline void flow_of_call(struct flow *flow, struct sock *sk, const void *addr,
					 bool of_process, enum tcpports_call call)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	union sockaddr_any any = {};
	struct flow *from;
	__u32 size;
	__u8 *to;

	flow_of_sock(flow, sk, IPPROTO_TCP);
	if (call == CALL_LISTEN)
		return;
	if (call == CALL_CONNECT) {
		from = bpf_map_lookup_elem(&refused, &pid_tgid);
		if (from) {
			__builtin_memcpy(flow->saddr, from->saddr, sizeof(flow->saddr));
			bpf_map_delete_elem(&refused, &pid_tgid);
		}
	}
	size = flow->family == AF_INET6 ? sizeof(any.v6) : sizeof(any.v4);
	if (of_process)
		bpf_probe_read_user(&any, size, addr);
	else
		bpf_probe_read_kernel(&any, size, addr);
	to = call == CALL_CONNECT ? flow->daddr : flow->saddr;
	if (flow->family == AF_INET6)
		__builtin_memcpy(to, any.v6.sin6_addr, sizeof(any.v6.sin6_addr));
	else
		__builtin_memcpy(to, any.v4.sin_addr, sizeof(any.v4.sin_addr));
	/* Where sin6_port is as well. */
	if (call == CALL_CONNECT)
		flow->dport = bpf_ntohs(any.v4.sin_port);
	else
		flow->sport = bpf_ntohs(any.v4.sin_port);
}

static __always_inline void show_failure(struct sock *sk, const struct flow *flow,
					 enum tcpports_call call, int error)
{
	struct tcpports_failure *failure = event_reserve(struct tcpports_failure);

	if (!failure)
		return;
	__builtin_memset(failure, 0, sizeof(*failure));
	failure->ts_ns = bpf_ktime_get_ns();
	failure->flow = *flow;
	failure->netns = netns_inum(sock_net(sk));
	failure->cgroup_id = cgroup_id(sock_cgroup(sk));
	failure->tgid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(failure->comm, sizeof(failure->comm));
	failure->error = -error;
	failure->call = call;
	event_submit(failure);
}

/* Whether there is nothing to tell about a call with this result. */
static __always_inline bool is_silent(enum tcpports_call call, long ret)
{
	return ret != -EADDRNOTAVAIL && ret != -EADDRINUSE && (call != CALL_BIND || ret);
}

static __always_inline int called(struct sock *sk, const void *addr, bool of_process,
				  enum tcpports_call call, long ret)
{
	struct net *net = sock_net(sk);
	struct flow flow;

	if (!family_matches(BPF_CORE_READ(sk, __sk_common.skc_family)) || !sock_is_tcp(sk) ||
	    !netns_matches(net) || (filter_cgroup && !cgroup_matches(sock_cgroup(sk))))
		return 0;
	if (ret) {
		flow_of_call(&flow, sk, addr, of_process, call);
		if (flow_addrs_match(&flow))
			show_failure(sk, &flow, call, ret);
		return 0;
	}
	/* bind() */
	if (in_range(net, BPF_CORE_READ(sk, __sk_common.skc_num)) && sock_matches(sk)) {
		note_change(netns_inum(net));
		count_use(sk, 1);
		note_idle(sk);
	}
	return 0;
}

static __always_inline int on_fexit(struct sock *sk, void *addr, __u16 family,
				    enum tcpports_call call, int ret)
{
	/* An IPv6 socket that speaks IPv4 goes through both functions. */
	if (is_silent(call, ret) || BPF_CORE_READ(sk, __sk_common.skc_family) != family)
		return 0;
	return called(sk, addr, false, call, ret);
}

SEC("fexit/tcp_v4_connect")
int BPF_PROG(connect4_exit, struct sock *sk, void *addr, int length, int ret)
{
	return on_fexit(sk, addr, AF_INET, CALL_CONNECT, ret);
}

SEC("fexit/tcp_v6_connect")
int BPF_PROG(connect6_exit, struct sock *sk, void *addr, int length, int ret)
{
	return on_fexit(sk, addr, AF_INET6, CALL_CONNECT, ret);
}

SEC("fexit/__inet_bind")
int BPF_PROG(bind4_exit, struct sock *sk, void *addr, int length, __u32 flags, int ret)
{
	return on_fexit(sk, addr, AF_INET, CALL_BIND, ret);
}

SEC("fexit/__inet6_bind")
int BPF_PROG(bind6_exit, struct sock *sk, void *addr, int length, __u32 flags, int ret)
{
	return on_fexit(sk, addr, AF_INET6, CALL_BIND, ret);
}

SEC("fexit/inet_listen")
int BPF_PROG(listen_exit, struct socket *socket, int backlog, int ret)
{
	struct sock *sk = BPF_CORE_READ(socket, sk);

	return is_silent(CALL_LISTEN, ret) ? 0 : called(sk, NULL, false, CALL_LISTEN, ret);
}

/* The task's saved registers still hold the arguments. */
static __always_inline int on_syscall(enum tcpports_call call, long ret)
{
	struct pt_regs *regs;
	struct sock *sk;
	void *addr;
	int fd;

	if (is_silent(call, ret))
		return 0;
	regs = current_regs();
	fd = read_syscall_arg(regs, 1);
	addr = (void *)read_syscall_arg(regs, 2);
	sk = fd_sock(fd);
	return sk ? called(sk, addr, true, call, ret) : 0;
}

SEC("tracepoint/syscalls/sys_exit_connect")
int tp_connect(struct trace_event_raw_sys_exit *ctx)
{
	return on_syscall(CALL_CONNECT, ctx->ret);
}

SEC("tracepoint/syscalls/sys_exit_bind")
int tp_bind(struct trace_event_raw_sys_exit *ctx)
{
	return on_syscall(CALL_BIND, ctx->ret);
}

SEC("tracepoint/syscalls/sys_exit_listen")
int tp_listen(struct trace_event_raw_sys_exit *ctx)
{
	return on_syscall(CALL_LISTEN, ctx->ret);
}

/* raw tracepoint: comes by for every system call, so the number is first. */
SEC("tp_btf/sys_exit")
int BPF_PROG(raw_exit, struct pt_regs *regs, long ret)
{
	enum tcpports_call call;

	switch (syscall_nr(regs)) {
	case NR_connect:
		call = CALL_CONNECT;
		break;
	case NR_bind:
		call = CALL_BIND;
		break;
	case NR_listen:
		call = CALL_LISTEN;
		break;
	default:
		return 0;
	}
	return in_compat_syscall() ? 0 : on_syscall(call, ret);
}

char LICENSE[] SEC("license") = "GPL";
