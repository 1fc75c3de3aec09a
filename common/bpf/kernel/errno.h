/* SPDX-License-Identifier: GPL-2.0 */
/* include/uapi/asm-generic/errno*.h: the same on x86 and arm64. */
#pragma once

enum { EADDRNOTAVAIL = 99, ECONNREFUSED = 111 };
