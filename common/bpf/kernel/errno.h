/* SPDX-License-Identifier: GPL-2.0 */
/* include/uapi/asm-generic/errno*.h: the same on x86 and arm64. */
#pragma once

enum {
	EBADF = 9,
	EAGAIN = 11,
	ENOMEM = 12,
	EBUSY = 16,
	EEXIST = 17,
	EINVAL = 22,
	EADDRINUSE = 98,
	EADDRNOTAVAIL = 99,
	ECONNREFUSED = 111,
	EHOSTUNREACH = 113,
};
