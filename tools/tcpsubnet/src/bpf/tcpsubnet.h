/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "kernel/types.h"

/* As filter_addr of flow.bpf.h. */
struct tcpsubnet_net {
	__u32 addr[4];
	__u32 mask[4];
};

#define TCPSUBNET_MAX 256
