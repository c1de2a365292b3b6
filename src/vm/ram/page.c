/* SPDX-License-Identifier: BSD-3-Clause */
/* Comparing and zero-testing of one RAM page, as fast as the processor can. */
#include "vm/ram/page.h"

#include <immintrin.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "vm/ram/capture.h"

enum { AVX2_STEP = 4 }; /* vectors per round: 128 bytes */

__attribute__((target("avx2"))) static bool avx2_is_zero(const void *page)
{
	const __m256i *v = page;

	for (size_t i = 0; i < RAM_PAGE_BYTES / sizeof(*v); i += AVX2_STEP) {
		__m256i any = _mm256_or_si256(_mm256_or_si256(v[i], v[i + 1]),
					      _mm256_or_si256(v[i + 2], v[i + 3]));

		if (!_mm256_testz_si256(any, any))
			return false;
	}
	return true;
}

__attribute__((target("avx2"))) static bool avx2_equal(const void *page, const void *other)
{
	const __m256i *a = page, *b = other;

	for (size_t i = 0; i < RAM_PAGE_BYTES / sizeof(*a); i += AVX2_STEP) {
		__m256i low = _mm256_or_si256(_mm256_xor_si256(a[i], b[i]),
					      _mm256_xor_si256(a[i + 1], b[i + 1]));
		__m256i high = _mm256_or_si256(_mm256_xor_si256(a[i + 2], b[i + 2]),
					       _mm256_xor_si256(a[i + 3], b[i + 3]));
		__m256i any = _mm256_or_si256(low, high);

		if (!_mm256_testz_si256(any, any))
			return false;
	}
	return true;
}

/* Plain C, eight words a round, so that a compiler can use what vectors it has. */
static bool plain_is_zero(const void *page)
{
	const uint64_t *v = page;

	for (size_t i = 0; i < RAM_PAGE_BYTES / sizeof(*v); i += 8)
		if (v[i] | v[i + 1] | v[i + 2] | v[i + 3] | v[i + 4] | v[i + 5] | v[i + 6] |
		    v[i + 7])
			return false;
	return true;
}

static bool plain_equal(const void *page, const void *other)
{
	const uint64_t *a = page, *b = other;

	for (size_t i = 0; i < RAM_PAGE_BYTES / sizeof(*a); i += 4)
		if ((a[i] ^ b[i]) | (a[i + 1] ^ b[i + 1]) | (a[i + 2] ^ b[i + 2]) |
		    (a[i + 3] ^ b[i + 3]))
			return false;
	return true;
}

static const struct page_ops avx2_ops = {"avx2", avx2_is_zero, avx2_equal};
static const struct page_ops plain_ops = {"plain", plain_is_zero, plain_equal};

static const struct page_ops *usable[3];
static pthread_once_t usable_once = PTHREAD_ONCE_INIT;

static void usable_find(void)
{
	size_t count = 0;

	if (__builtin_cpu_supports("avx2"))
		usable[count++] = &avx2_ops;
	usable[count] = &plain_ops;
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
