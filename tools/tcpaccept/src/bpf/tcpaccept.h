/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

/* One program start. */
struct tcpaccept_event {
	__u8 comm[16]; /* of the new program */
	__u32 tgid;
	__u32 pad;
};

_Static_assert(sizeof(struct tcpaccept_event) == 24, "no hidden padding");
