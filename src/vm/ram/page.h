/* SPDX-License-Identifier: BSD-3-Clause */
/* Zero-testing, hashing and copying of one RAM page, as fast as the processor can. */
#ifndef STASIS_VM_RAM_PAGE_H
#define STASIS_VM_RAM_PAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "vm/ram/capture.h"

enum { PAGE_SECRET_BYTES = 192 };

struct page_hash {
	uint64_t low, high;
};

/* Pages are RAM_PAGE_BYTES long and aligned to that. All implementations have the same results.
 */
struct page_ops {
	const char *name;
	bool (*is_zero)(const void *page);
	/* XXH3, 128 bits, keyed with PAGE_SECRET_BYTES random bytes. */
	struct page_hash (*hash)(const void *page, const void *secret);
	/* Copy past the caches: the bytes are not looked at again soon. */
	void (*copy_away)(void *to, const void *from);
};

/* All implementations, best first, ended by NULL; those this processor lacks are left out. */
const struct page_ops *const *page_ops_all(void);

/* The best of them. */
const struct page_ops *page_ops_best(void);

/* Ask for a page that is read next. */
static inline void page_prefetch(const void *page)
{
	for (unsigned int i = 0; i < RAM_PAGE_BYTES; i += 64)
		__builtin_prefetch((const char *)page + i);
}

/* The implementations; use page_ops_all(). */
extern const struct page_ops page_ops_avx512, page_ops_avx2, page_ops_plain;

#endif
