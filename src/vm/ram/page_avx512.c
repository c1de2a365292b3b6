/* SPDX-License-Identifier: BSD-3-Clause */
/* The page operations with AVX-512; compiled for it, so called only where there is one. */
#include <immintrin.h>
#include <stddef.h>

#include "vm/ram/capture.h"
#include "vm/ram/page.h"

#define XXH_INLINE_ALL
#define XXH_VECTOR XXH_AVX512
#include <xxhash.h>

enum { STEP = 4, VECTORS = RAM_PAGE_BYTES / sizeof(__m512i) }; /* 256 bytes a round */

static bool avx512_is_zero(const void *page)
{
	const __m512i *v = page;

	for (size_t i = 0; i < VECTORS; i += STEP) {
		__m512i any = _mm512_or_si512(_mm512_or_si512(v[i], v[i + 1]),
					      _mm512_or_si512(v[i + 2], v[i + 3]));

		if (_mm512_test_epi64_mask(any, any))
			return false;
	}
	return true;
}

static struct page_hash avx512_hash(const void *page, const void *secret)
{
	XXH128_hash_t hash =
		XXH3_128bits_withSecret(page, RAM_PAGE_BYTES, secret, PAGE_SECRET_BYTES);

	return (struct page_hash){hash.low64, hash.high64};
}

static void avx512_copy_away(void *to, const void *from)
{
	const __m512i *source = from;
	__m512i *target = to;

	for (size_t i = 0; i < VECTORS; i++)
		_mm512_stream_si512(target + i, source[i]);
	_mm_sfence();
}

const struct page_ops page_ops_avx512 = {"avx512", avx512_is_zero, avx512_hash,
					 avx512_copy_away};
