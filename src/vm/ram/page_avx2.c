/* SPDX-License-Identifier: BSD-3-Clause */
/* The page operations with AVX2; compiled for it, so called only where there is one. */
#include <immintrin.h>
#include <stddef.h>

#include "vm/ram/capture.h"
#include "vm/ram/page.h"

#define XXH_INLINE_ALL
#define XXH_VECTOR XXH_AVX2
#include <xxhash.h>

enum { STEP = 4, VECTORS = RAM_PAGE_BYTES / sizeof(__m256i) }; /* 128 bytes a round */

static bool avx2_is_zero(const void *page)
{
	const __m256i *v = page;

	for (size_t i = 0; i < VECTORS; i += STEP) {
		__m256i any = _mm256_or_si256(_mm256_or_si256(v[i], v[i + 1]),
					      _mm256_or_si256(v[i + 2], v[i + 3]));

		if (!_mm256_testz_si256(any, any))
			return false;
	}
	return true;
}

static struct page_hash avx2_hash(const void *page, const void *secret)
{
	XXH128_hash_t hash =
		XXH3_128bits_withSecret(page, RAM_PAGE_BYTES, secret, PAGE_SECRET_BYTES);

	return (struct page_hash){hash.low64, hash.high64};
}

static void avx2_copy_away(void *to, const void *from)
{
	const __m256i *source = from;
	__m256i *target = to;

	for (size_t i = 0; i < VECTORS; i++)
		_mm256_stream_si256(target + i, source[i]);
	_mm_sfence();
}

const struct page_ops page_ops_avx2 = {"avx2", avx2_is_zero, avx2_hash, avx2_copy_away};
