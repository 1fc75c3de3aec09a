/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What processes send and receive by TCP, call by call, with what the calls
 * have returned: in the process's context.
 *
 * The tool includes this and defines called().
 */
#pragma once

#include "tcp.bpf.h"

/* The task on the CPU has moved so much: in one direction. */
static __always_inline void called(struct sock *sk, __u64 sent, __u64 received);

/* How many parameters tcp_recvmsg() has, by the kernel's type information; 0: not to be counted. */
const volatile __u8 recvmsg_params = 0;

/* include/linux/socket.h: what is not taken from the stream. */
enum { MSG_PEEK = 0x2, MSG_ERRQUEUE = 0x2000 };

static __always_inline void sent_by_call(struct sock *sk, int result)
{
	if (result > 0 && tcp_sock_matches(sk))
		called(sk, result, 0);
}

static __always_inline void received_by_call(struct sock *sk, int flags, int result)
{
	if (result > 0 && !(flags & (MSG_PEEK | MSG_ERRQUEUE)) && tcp_sock_matches(sk))
		called(sk, 0, result);
}

/* Linux 6.3, 6e6eda44b939. */
SEC("tp_btf/sock_send_length")
int BPF_PROG(call_send, struct sock *sk, int result, int flags)
{
	sent_by_call(sk, result);
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(call_recv, struct sock *sk, int result, int flags)
{
	received_by_call(sk, flags, result);
	return 0;
}

SEC("fexit/tcp_sendmsg")
int BPF_PROG(call_sendmsg, struct sock *sk, void *msg, unsigned long size, int result)
{
	sent_by_call(sk, result);
	return 0;
}

/* Until Linux 6.5 (dc97391e6610). */
SEC("fexit/tcp_sendpage")
int BPF_PROG(call_sendpage, struct sock *sk, void *page, int offset, unsigned long size,
	     int flags, int result)
{
	sent_by_call(sk, result);
	return 0;
}

/*
 * (sk, msg, len, nonblock, flags, addr_len) before Linux 5.19 (ec095263a965),
 * then without nonblock, then without addr_len. The result comes behind them.
 */
SEC("fexit/tcp_recvmsg")
int call_recvmsg(__u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];

	if (recvmsg_params == 6)
		received_by_call(sk, ctx[4], ctx[6]);
	else if (recvmsg_params == 5)
		received_by_call(sk, ctx[3], ctx[5]);
	else if (recvmsg_params == 4)
		received_by_call(sk, ctx[3], ctx[4]);
	return 0;
}
