/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "flow.bpf.h"
#include "origin.bpf.h"

/* One retransmit. */
struct tcpretrans_event {
	__u64 ts_ns; /* monotonic */
	struct flow flow; /* from the socket's own end */
	struct origin origin;
	__u32 tgid; /* of the task on the CPU, which may be a bystander */
	__u32 state;
};
