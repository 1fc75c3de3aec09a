/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "flow.bpf.h"
#include "origin.bpf.h"

enum event_kind {
	KIND_NEW,
	KIND_DESTROY,
	KIND_FULL,
	KIND_EARLY_DROP,
	KIND_INSERT_FAILED,
	KINDS,
};

/* What an entry is about, in the direction of its first packet. */
struct tuple {
	struct flow flow;
	__u16 icmp_id;
	__u8 icmp_type;
	__u8 icmp_code;
};

_Static_assert(sizeof(struct tuple) == 44, "no hidden padding");

struct ctsnoop_event {
	__u64 ts_ns; /* monotonic */
	__u64 age_ns; /* 0: not known */
	__u64 packets; /* both directions */
	__u64 bytes;
	struct origin origin;
	struct tuple tuple;
	struct tuple reply; /* as answers are expected: with NAT not just the inverse */
	__u32 netns;
	__u32 status; /* IPS_* */
	__u16 zone;
	__u8 kind;
	__u8 tcp_state; /* TCP_CONNTRACK_*; 0: not TCP */
	__u8 accounted; /* packets and bytes are known */
	__u8 pad[3];
};

_Static_assert(sizeof(struct ctsnoop_event) == 184, "no hidden padding");

/* --by: what a key of the summary is. */
enum key_kind {
	BY_NONE,
	BY_PORT,
	BY_PROTO,
	BY_COMM,
	BY_CGROUP,
	BY_ADDR,
	BY_STATE,
};

/* `number`'s values of BY_STATE, beside TCP's states (above KEY_STATE_TCP). */
enum {
	KEY_STATE_NONE, /* was refused */
	KEY_STATE_UNREPLIED,
	KEY_STATE_REPLIED,
	KEY_STATE_ASSURED,
	KEY_STATE_TCP = 16,
};

/* The field of its kind is set, the others are 0. */
struct ctsnoop_key {
	__u8 bytes[16]; /* an address, a name */
	__u64 number; /* a port, protocol, cgroup, state; of a process without a name: its socket's file */
	__u32 family;
	__u32 pad;
};

struct ctsnoop_counts {
	__u64 counts[KINDS];
};

/* A packet that was refused, until it is freed: then it is known whose it was. */
struct ctsnoop_refused {
	__u64 ts_ns;
	struct tuple tuple;
	__u32 netns;
	__u16 zone;
	__u8 pad[6];
};

_Static_assert(sizeof(struct ctsnoop_refused) == 64, "no hidden padding");
