/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "flow.bpf.h"
#include "origin.bpf.h"

/* Where in a qdisc's work a packet was dropped. */
enum where {
	ENQUEUE = 1,
	DEQUEUE = 2,
	EGRESS = 3, /* by a filter of clsact */
	INGRESS = 4, /* by a filter of clsact or ingress */
};

/* What --by counts. */
enum by {
	BY_FLOW = 1,
	BY_QDISC,
	BY_DEVICE,
	BY_CGROUP,
	BY_PROCESS,
	BY_REASON,
};

struct qdisc {
	char kind[16];
	char leaf_kind[16]; /* of the qdisc in `class`; empty: not known */
	__u32 handle;
	__u32 class; /* 0: not known, or there are none */
};

/* One dropped packet. */
struct qdiscdrop_event {
	__u64 ts_ns; /* monotonic */
	__u64 location;
	struct flow flow; /* as the packet has it */
	struct origin origin;
	struct qdisc qdisc;
	char dev[16];
	__u32 ifindex;
	__u32 netns; /* of the device */
	__u32 len; /* with the link layer's header */
	__u32 reason; /* the kernel's code; 0: it gives none */
	__u32 qlen; /* packets in the qdisc */
	__u32 backlog; /* bytes in the qdisc; all ones: not known */
	__u32 limit; /* 0: none, or not known */
	__u16 ethertype;
	__u16 vlan;
	__u8 where;
	__u8 policed; /* by the action police */
	__u8 limit_in_bytes;
	__u8 pad[5];
};

_Static_assert(sizeof(struct qdiscdrop_event) == 200, "no hidden padding");

/* For --by: only what it is by is set. */
struct qdiscdrop_key {
	struct flow flow;
	struct qdisc qdisc;
	char dev[16];
	__u8 comm[16];
	__u64 cgroup_id;
	__u64 inode;
	__u32 netns;
	__u32 ifindex;
	__u32 tgid;
	__u32 reason;
	__u16 ethertype;
	__u16 vlan;
	__u8 where;
	__u8 policed;
	__u8 pad[2];
};

_Static_assert(sizeof(struct qdiscdrop_key) == 152, "no hidden padding");

struct qdiscdrop_sum {
	__u64 packets;
	__u64 bytes;
};

/* Whose counter a drop is in. */
struct qdiscdrop_place {
	__u32 netns;
	__u32 ifindex;
	__u32 filters; /* of clsact or ingress; else of the root qdisc */
	__u32 counted; /* 0: no qdisc counts it */
};
