/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "flow.bpf.h"
#include "origin.bpf.h"

/* What a row is about: its letter. */
enum {
	RETRANSMIT = 'R',
	LOSS_PROBE = 'L', /* an attempt, which may send nothing */
	SYNACK = 'S',
	NOTHING_SENT = 'F', /* a retransmit that the kernel gave up before it counted it */
};

struct tcpretrans_event {
	__u64 ts_ns; /* monotonic */
	struct flow flow; /* from the socket's own end */
	struct origin origin;
	__u8 dev[16]; /* of the socket's route; empty: not known */
	__u32 ifindex;
	__u32 tgid; /* of the task on the CPU, which may be a bystander */
	__u32 seq;
	__u32 segments;
	__u32 bytes;
	__u32 total_retrans; /* the socket's own count, with this one; 0 for SYNACK */
	__s32 err; /* negative errno, or NET_XMIT_*; 0: sent */
	__u8 kind;
	__u8 state;
	__u8 pad[2];
};

_Static_assert(sizeof(struct tcpretrans_event) == 144, "no hidden padding");

/* -c: per flow */
struct tcpretrans_flow {
	struct flow flow;
	__u32 netns; /* the same addresses may be in several */
};

struct tcpretrans_count {
	__u64 retransmits;
	__u64 probes;
	__u64 synacks;
	__u64 segments;
	__u64 bytes;
	struct origin origin; /* as it was at the first */
};

_Static_assert(sizeof(struct tcpretrans_flow) == 44, "no hidden padding");
