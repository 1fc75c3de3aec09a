/* SPDX-License-Identifier: GPL-2.0 */
/* The page cache. */
#pragma once

#include "kernel/fs.h"
#include "kernel/types.h"

/* include/uapi/linux/magic.h */
enum { HUGETLBFS_MAGIC = 0x958458f6 };

enum pageflags {
	PG_head = 6, /* of a folio of several pages; read from the kernel's type information */
};

struct page {
	struct address_space *mapping;
	unsigned long private;
} CO_RE;

struct page___word {
	unsigned long flags;
} CO_RE;

/* The first page of those that are kept together: Linux 5.16. */
struct folio___since_5_16 {
	struct address_space *mapping;
	void *private;
} CO_RE;

/* Linux 6.18: the flags in a structure. */
struct page___struct {
	struct {
		unsigned long f;
	} flags;
} CO_RE;

/* How many pages, of more than one: not on every kernel, … */
struct folio___nr_pages {
	unsigned int _nr_pages;
} CO_RE;

/* … under another name until Linux 6.15, … */
struct folio___folio_nr_pages {
	unsigned int _folio_nr_pages;
} CO_RE;

/* … or as a power of two, by itself until Linux 6.6 … */
struct folio___folio_order {
	unsigned char _folio_order;
} CO_RE;

/* … and then in the lowest byte. */
struct folio___flags_1 {
	unsigned long _flags_1;
} CO_RE;

/* Until Linux 6.0 (379708ffde1b) in the second page. */
struct page___compound_order {
	unsigned char compound_order;
} CO_RE;

struct buffer_head {
	unsigned long b_size; /* bytes */
} CO_RE;

/* The page that it is in; Linux 6.5 brought the other name. */
struct buffer_head___page {
	struct page *b_page;
} CO_RE;

struct buffer_head___folio {
	struct folio___since_5_16 *b_folio;
} CO_RE;
