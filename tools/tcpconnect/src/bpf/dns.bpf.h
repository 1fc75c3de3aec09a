/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Answers of name servers, as processes receive them: at the end of the system
 * calls that can receive a datagram, when the answer is in the caller's memory.
 */
#pragma once

#include "events.bpf.h"
#include "syscall.bpf.h"
#include "tcpconnect.h"

/* A packet's worth: what name servers send at most nowadays. */
enum { DNS_BYTES = 1472 };
/* Header, the shortest question, and one answer with an IPv4 address. */
enum { DNS_SMALLEST = 12 + 5 + 16 };
enum { DNS_PORT = 53 };
/* Messages of one recvmmsg() that are looked at. */
enum { DNS_MESSAGES = 8 };

const struct tcpconnect_answer *unused_answer __attribute__((unused));

struct answer_record {
	struct tcpconnect_answer answer;
	__u8 data[DNS_BYTES];
};

struct dns_header {
	__be16 id;
	__u8 flags; /* the highest bit: an answer */
	__u8 code;
	__be16 questions;
	__be16 answers;
};

/* include/uapi/asm-generic, include/linux/socket.h: as the caller has them. */
struct iovec {
	void *iov_base;
	__u64 iov_len;
};

struct user_msghdr {
	void *msg_name;
	__u64 msg_namelen;
	struct iovec *msg_iov;
	__u64 msg_iovlen;
	void *msg_control;
	__u64 msg_controllen;
	__u64 msg_flags;
};

struct mmsghdr {
	struct user_msghdr msg_hdr;
	__u64 msg_len;
};

/* Of IPv4 and IPv6 alike. */
struct sockaddr_in_any {
	__u16 family;
	__be16 port;
};

/*
 * Whether a datagram that `sk` has received comes from a name server: from what
 * the socket is connected to, or from the address that the caller was given.
 */
static __always_inline bool from_name_server(struct sock *sk, void *name)
{
	struct sockaddr_in_any from = {};

	if (BPF_CORE_READ(sk, __sk_common.skc_dport) == bpf_htons(DNS_PORT))
		return true;
	if (!name || bpf_probe_read_user(&from, sizeof(from), name))
		return false;
	return (from.family == AF_INET || from.family == AF_INET6) &&
	       from.port == bpf_htons(DNS_PORT);
}

static __always_inline bool sock_is_udp(struct sock *sk)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	return (family == AF_INET || family == AF_INET6) &&
	       BPF_CORE_READ(sk, sk_protocol) == IPPROTO_UDP;
}

static __always_inline void tell_answer(void *data, __u64 size)
{
	struct dns_header header;
	struct answer_record *record;

	if (size < DNS_SMALLEST || bpf_probe_read_user(&header, sizeof(header), data))
		return;
	if (!(header.flags & 0x80) || !header.answers)
		return;
	record = event_reserve(struct answer_record);
	if (!record)
		return;
	if (size > DNS_BYTES)
		size = DNS_BYTES;
	record->answer.kind = TCPCONNECT_ANSWER;
	record->answer.size = size;
	record->answer.ts_ns = bpf_ktime_get_ns();
	if (bpf_probe_read_user(record->data, size, data))
		bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
	else
		event_submit(record);
}

static __always_inline void received_message(struct sock *sk, struct user_msghdr *msg, __u64 size)
{
	struct user_msghdr hdr;
	struct iovec iov;

	if (bpf_probe_read_user(&hdr, sizeof(hdr), msg) || !from_name_server(sk, hdr.msg_name))
		return;
	if (!hdr.msg_iovlen || bpf_probe_read_user(&iov, sizeof(iov), hdr.msg_iov))
		return;
	tell_answer(iov.iov_base, size < iov.iov_len ? size : iov.iov_len);
}

static __always_inline int received_messages(struct sock *sk, struct mmsghdr *msgs, long count)
{
	struct mmsghdr msg;

	for (int i = 0; i < DNS_MESSAGES && i < count; i++) {
		if (bpf_probe_read_user(&msg, sizeof(msg), msgs + i))
			break;
		received_message(sk, &msgs[i].msg_hdr, (__u32)msg.msg_len);
	}
	return 0;
}

/* A system call, `nr`, has received `ret` bytes or, recvmmsg(), messages. */
static __always_inline int received(int nr, long ret)
{
	struct pt_regs *regs;
	struct sock *sk;
	void *data;

	if (ret < (nr == NR_recvmmsg ? 1 : DNS_SMALLEST))
		return 0;
	regs = current_regs();
	sk = fd_sock(read_syscall_arg(regs, 1));
	if (!sk || !sock_is_udp(sk))
		return 0;
	data = (void *)read_syscall_arg(regs, 2);
	switch (nr) {
	case NR_recvmmsg:
		return received_messages(sk, data, ret);
	case NR_recvmsg:
		received_message(sk, data, ret);
		return 0;
	case NR_recvfrom:
		if (from_name_server(sk, (void *)read_syscall_arg(regs, 5)))
			tell_answer(data, ret);
		return 0;
	default:
		if (from_name_server(sk, NULL))
			tell_answer(data, ret);
		return 0;
	}
}

/* Functions of their own: merged into one, Linux 5.10 loses sight of the sizes. */

static __noinline int received_from(long ret)
{
	return received(NR_recvfrom, ret);
}

static __noinline int received_msg(long ret)
{
	return received(NR_recvmsg, ret);
}

static __noinline int received_mmsg(long ret)
{
	return received(NR_recvmmsg, ret);
}

/* Go's resolver reads its connected sockets. */
static __noinline int received_read(long ret)
{
	return received(NR_read, ret);
}

SEC("tracepoint/syscalls/sys_exit_recvfrom")
int exit_recvfrom(struct trace_event_raw_sys_exit *ctx)
{
	return received_from(ctx->ret);
}

SEC("tracepoint/syscalls/sys_exit_recvmsg")
int exit_recvmsg(struct trace_event_raw_sys_exit *ctx)
{
	return received_msg(ctx->ret);
}

SEC("tracepoint/syscalls/sys_exit_recvmmsg")
int exit_recvmmsg(struct trace_event_raw_sys_exit *ctx)
{
	return received_mmsg(ctx->ret);
}

SEC("tracepoint/syscalls/sys_exit_read")
int exit_read(struct trace_event_raw_sys_exit *ctx)
{
	return received_read(ctx->ret);
}

/* Comes by for every system call: for where tracefs may not be used. */
SEC("tp_btf/sys_exit")
int BPF_PROG(exit_any, struct pt_regs *regs, long ret)
{
	int nr = syscall_nr(regs);

	if ((nr != NR_recvfrom && nr != NR_recvmsg && nr != NR_recvmmsg && nr != NR_read) ||
	    in_compat_syscall())
		return 0;
	switch (nr) {
	case NR_recvfrom:
		return received_from(ret);
	case NR_recvmsg:
		return received_msg(ret);
	case NR_recvmmsg:
		return received_mmsg(ret);
	default:
		return received_read(ret);
	}
}
