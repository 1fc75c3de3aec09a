/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "kernel/types.h"

struct ns_common {
	unsigned int inum; /* as in readlink /proc/PID/ns/... */
} CO_RE;

struct mnt_namespace {
	struct ns_common ns;
} CO_RE;

struct pid_namespace {
	struct ns_common ns;
} CO_RE;

struct upid {
	struct pid_namespace *ns;
} CO_RE;

/* A task's numbers: one in each namespace from the first down to its own. */
struct pid {
	unsigned int level;
	struct upid numbers[];
} CO_RE;

struct net {
	struct ns_common ns;
} CO_RE;

struct nsproxy {
	struct mnt_namespace *mnt_ns;
} CO_RE;
