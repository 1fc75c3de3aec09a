/* SPDX-License-Identifier: GPL-2.0 */
/* What the kernel knows of a program that it is starting. */
#pragma once

#include "kernel/types.h"

struct linux_binprm {
	int argc; /* with what interpreters have added */
	const char *filename; /* as given; /dev/fd/... below a descriptor */
	const char *interp; /* the same, but for a script: its interpreter */
	unsigned int interp_flags;
} CO_RE;

/* include/linux/binfmts.h: binfmt_misc has left argv[0] behind the file name. */
enum { BINPRM_FLAGS_PRESERVE_ARGV0 = 1 << 3 };
