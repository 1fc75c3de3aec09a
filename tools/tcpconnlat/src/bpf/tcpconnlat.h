/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "flow.bpf.h"

enum tcpconnlat_outcome {
	TCPCONNLAT_ANSWERED,
	TCPCONNLAT_REFUSED, /* with a RST */
	TCPCONNLAT_FAILED, /* without an answer: see error */
};

/* One connect() that has come to its end. */
struct tcpconnlat_event {
	__u64 ts_ns; /* monotonic, of the end */
	__u64 delta_ns; /* from connect() to the end */
	__u64 cookie; /* 0: none was asked for yet */
	__u64 cgroup_id; /* of the socket; 0: root, or not asked for */
	struct flow flow; /* from the client */
	__u8 comm[16]; /* of the thread that connected */
	__u32 tgid;
	__u32 netns; /* inode number; 0: not asked for */
	__u32 error; /* errno; 0 also for a socket that its process has closed */
	enum tcpconnlat_outcome outcome;
};

_Static_assert(sizeof(struct tcpconnlat_event) == 104, "no hidden padding");
