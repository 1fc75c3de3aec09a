// SPDX-License-Identifier: GPL-2.0
/*
 * The floor: what a hook costs when nothing is done there. The targets are set
 * when the object is loaded.
 */
#include "kernel/types.h"

#include <bpf/bpf_helpers.h>

SEC("tp_btf")
int typed(void *ctx)
{
	return 0;
}

SEC("tracepoint")
int classic(void *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
