/* SPDX-License-Identifier: BSD-3-Clause */
/* What depends on the processor: pausing in a loop, and wide vector instructions where they are
 * there at run time. */
#ifndef STASIS_ARMCI_CORE_CPU_H
#define STASIS_ARMCI_CORE_CPU_H

#include <stdbool.h>
#include <string.h>

/*
 * A function marked CPU_WIDE may use vectors of 32 bytes: call it only if cpu_is_wide(). Its
 * work is an always_inline function (CPU_BODY) that the function for all processors has too.
 */
#define CPU_BODY static inline __attribute__((always_inline))

#if defined(__x86_64__)

#include <immintrin.h>

#define CPU_WIDE __attribute__((target("avx2")))

static inline bool cpu_is_wide(void)
{
	return __builtin_cpu_supports("avx2");
}

static inline void cpu_pause(void)
{
	__builtin_ia32_pause();
}

/* Copy 32 bytes past the caches, to an address that is a multiple of 32. Others see them in
 * order only after cpu_stream_end(). */
CPU_WIDE static inline void cpu_stream_32(void *dst, const void *src)
{
	_mm256_stream_si256(dst, _mm256_loadu_si256(src));
}

static inline void cpu_stream_end(void)
{
	_mm_sfence();
}

#else

#define CPU_WIDE

static inline bool cpu_is_wide(void)
{
	return false;
}

static inline void cpu_pause(void)
{
	__asm__ __volatile__("" ::: "memory");
}

static inline void cpu_stream_32(void *dst, const void *src)
{
	memcpy(dst, src, 32);
}

static inline void cpu_stream_end(void)
{
}

#endif

/* Data of the library's own that every operation looks at: reached directly, not through the
 * dynamic linker's table. */
#define CPU_NEAR_DATA __attribute__((visibility("hidden")))

#endif
