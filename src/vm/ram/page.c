/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The page operations of this processor, and those in plain C.
 *
 * Each set of operations is a file of its own, compiled for its processor, because XXH3 is
 * compiled into it (XXH_INLINE_ALL) with the vectors that it may use there. The order is by
 * measurement (bench/capture). One core that reads 33 GB/s hashes 32 with AVX-512, 31 with AVX2
 * and 18 with plain C (SSE2); two that read 48 GB/s together hash 45, 45 and 36.
 */
#include "vm/ram/page.h"

#include <pthread.h>
#include <stddef.h>
#include <string.h>

#include "vm/ram/capture.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* Eight words a round, so that a compiler can use what vectors it has. */
static bool plain_is_zero(const void *page)
{
	const uint64_t *v = page;

	for (size_t i = 0; i < RAM_PAGE_BYTES / sizeof(*v); i += 8)
		if (v[i] | v[i + 1] | v[i + 2] | v[i + 3] | v[i + 4] | v[i + 5] | v[i + 6] |
		    v[i + 7])
			return false;
	return true;
}

static struct page_hash plain_hash(const void *page, const void *secret)
{
	XXH128_hash_t hash =
		XXH3_128bits_withSecret(page, RAM_PAGE_BYTES, secret, PAGE_SECRET_BYTES);

	return (struct page_hash){hash.low64, hash.high64};
}

static void plain_copy_away(void *to, const void *from)
{
	memcpy(to, from, RAM_PAGE_BYTES);
}

const struct page_ops page_ops_plain = {"plain", plain_is_zero, plain_hash, plain_copy_away};

static const struct page_ops *usable[4];
static pthread_once_t usable_once = PTHREAD_ONCE_INIT;

static void usable_find(void)
{
	size_t count = 0;

	if (__builtin_cpu_supports("avx512f"))
		usable[count++] = &page_ops_avx512;
	if (__builtin_cpu_supports("avx2"))
		usable[count++] = &page_ops_avx2;
	usable[count] = &page_ops_plain;
}

const struct page_ops *const *page_ops_all(void)
{
	pthread_once(&usable_once, usable_find);
	return usable;
}

const struct page_ops *page_ops_best(void)
{
	return page_ops_all()[0];
}
