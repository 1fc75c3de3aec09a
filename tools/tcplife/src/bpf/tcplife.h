/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "flow.bpf.h"
#include "origin.bpf.h"

/* One TCP session that has ended. */
struct tcplife_event {
	__u64 ts_ns; /* monotonic, of the end */
	__u64 span_ns; /* since it was established, or tried to be */
	__u64 sent; /* bytes of payload that the other end has acknowledged */
	__u64 received; /* bytes of payload */
	__u64 retransmitted; /* bytes of payload */
	struct flow flow; /* from the socket's own end */
	struct origin origin;
	__u32 srtt_us; /* smoothed round-trip time; 0: not measured */
	__u32 error; /* errno that the socket has ended with; 0: none */
};

_Static_assert(sizeof(struct tcplife_event) == 136, "no hidden padding");
