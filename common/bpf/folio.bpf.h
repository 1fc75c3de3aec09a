/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Pages of the page cache: a `struct folio`, or before Linux 5.16 the first
 * `struct page` of what is kept together.
 */
#pragma once

#include "kernel/mm.h"

static __always_inline unsigned long folio_flags(void *folio)
{
	struct page___struct *named = folio;

	if (bpf_core_field_exists(named->flags.f))
		return BPF_CORE_READ(named, flags.f);
	return BPF_CORE_READ((struct page___word *)folio, flags);
}

/* Before there were folios, the page cache of files had none of several pages to read from. */
static __always_inline __u64 folio_pages(void *folio)
{
	struct folio___nr_pages *nr_pages = folio;
	struct folio___folio_nr_pages *folio_nr_pages = folio;
	struct folio___folio_order *folio_order = folio;
	struct folio___flags_1 *flags_1 = folio;
	struct page___compound_order *second;

	if (!bpf_core_type_exists(struct folio___since_5_16) ||
	    !(folio_flags(folio) & 1UL << bpf_core_enum_value(enum pageflags, PG_head)))
		return 1;
	if (bpf_core_field_exists(nr_pages->_nr_pages))
		return BPF_CORE_READ(nr_pages, _nr_pages);
	if (bpf_core_field_exists(folio_nr_pages->_folio_nr_pages))
		return BPF_CORE_READ(folio_nr_pages, _folio_nr_pages);
	if (bpf_core_field_exists(folio_order->_folio_order))
		return 1ULL << (BPF_CORE_READ(folio_order, _folio_order) & 63);
	if (bpf_core_field_exists(flags_1->_flags_1))
		return 1ULL << (BPF_CORE_READ(flags_1, _flags_1) & 63);
	second = folio + bpf_core_type_size(struct page);
	return 1ULL << (BPF_CORE_READ(second, compound_order) & 63);
}

/* Of anonymous memory, which is no page cache, with its lowest bits set. */
static __always_inline struct address_space *folio_mapping(void *folio)
{
	if (bpf_core_type_exists(struct folio___since_5_16))
		return BPF_CORE_READ((struct folio___since_5_16 *)folio, mapping);
	return BPF_CORE_READ((struct page *)folio, mapping);
}

/* Whether the kernel keeps its content in buffers of the size of a block. */
static __always_inline bool folio_has_buffers(void *folio)
{
	struct buffer_head___folio *by_folio;
	struct buffer_head___page *by_page;

	/* What else it may be does not point back. */
	if (bpf_core_type_exists(struct folio___since_5_16))
		by_folio = BPF_CORE_READ((struct folio___since_5_16 *)folio, private);
	else
		by_folio = (void *)BPF_CORE_READ((struct page *)folio, private);
	by_page = (void *)by_folio;
	if (!by_folio)
		return false;
	if (bpf_core_field_exists(by_folio->b_folio))
		return (void *)BPF_CORE_READ(by_folio, b_folio) == folio;
	return (void *)BPF_CORE_READ(by_page, b_page) == folio;
}
