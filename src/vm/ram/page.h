/* SPDX-License-Identifier: BSD-3-Clause */
/* Comparing and zero-testing of one RAM page, as fast as the processor can. */
#ifndef STASIS_VM_RAM_PAGE_H
#define STASIS_VM_RAM_PAGE_H

#include <stdbool.h>

/* Pages are RAM_PAGE_BYTES long and aligned to that. */
struct page_ops {
	const char *name;
	bool (*is_zero)(const void *page);
	bool (*equal)(const void *page, const void *other);
};

/* All implementations, best first, ended by NULL; those this processor lacks are left out. */
const struct page_ops *const *page_ops_all(void);

/* The best of them. */
const struct page_ops *page_ops_best(void);

#endif
