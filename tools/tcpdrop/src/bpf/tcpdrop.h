/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "flow.bpf.h"
#include "origin.bpf.h"

/* A location that is not an address: the function that the program is on. */
enum {
	IN_CONN_REQUEST = 0,
	IN_TCP_DROP = 1,
};

/* One dropped TCP packet; a struct stack follows. */
struct tcpdrop_event {
	__u64 ts_ns; /* monotonic */
	__u64 location; /* an address in the function that dropped it, or IN_* */
	struct flow flow; /* the packet's source and destination */
	struct origin origin; /* of the socket; netns also without one */
	__u8 ifname[16];
	__u32 ifindex; /* 0: not known */
	__u32 tgid; /* of the task on the CPU, which may be a bystander */
	__u32 reason; /* the kernel's number, or one of our own; 0: it gives none */
	__u32 length; /* of the packet, from its IP header on */
	__u8 state; /* of the socket; 0: no TCP socket */
	__u8 tcp_flags;
	__u8 pad[6];
};

_Static_assert(sizeof(struct tcpdrop_event) == 144, "no hidden padding");

/* What -c counts. */
struct tcpdrop_key {
	__u64 location;
	__u32 reason;
	__u32 pad;
};

_Static_assert(sizeof(struct tcpdrop_key) == 16, "no hidden padding");
