/* SPDX-License-Identifier: BSD-3-Clause */
/* Accumulate: loops for the compiler to vectorise (built with -O3). */
#include "armci/core/acc.h"

#include <stdint.h>
#include <string.h>

#include "armci/core/cpu.h"

int acc_scale_is_one(enum acc_type type, const void *scale)
{
	switch (type) {
	case ACC_INT: return *(const acc_int *)scale == 1;
	case ACC_LONG: return *(const acc_long *)scale == 1;
	case ACC_FLOAT: return *(const acc_float *)scale == 1;
	case ACC_DOUBLE: return *(const acc_double *)scale == 1;
	case ACC_COMPLEX:
		return ((const acc_float *)scale)[0] == 1 && ((const acc_float *)scale)[1] == 0;
	default:
		return ((const acc_double *)scale)[0] == 1 &&
		       ((const acc_double *)scale)[1] == 0;
	}
}

/* dst += src */
#define ADD(name, type)                                                \
	CPU_BODY void name(void *dst_, const void *src_, size_t count) \
	{                                                              \
		type *dst = dst_;                                      \
		const type *src = src_;                                \
                                                                       \
		for (size_t i = 0; i < count; i++)                     \
			dst[i] += src[i];                              \
	}

/* dst += scale * src */
#define ADD_SCALED(name, type)                                                             \
	CPU_BODY void name(void *dst_, const void *src_, size_t count, const void *scale_) \
	{                                                                                  \
		type *dst = dst_;                                                          \
		const type *src = src_;                                                    \
		const type scale = *(const type *)scale_;                                  \
                                                                                           \
		for (size_t i = 0; i < count; i++)                                         \
			dst[i] += scale * src[i];                                          \
	}

/* The same for pairs of real and imaginary part. */
#define ADD_SCALED_COMPLEX(name, type)                                                     \
	CPU_BODY void name(void *dst_, const void *src_, size_t count, const void *scale_) \
	{                                                                                  \
		type *dst = dst_;                                                          \
		const type *src = src_;                                                    \
		const type re = ((const type *)scale_)[0];                                 \
		const type im = ((const type *)scale_)[1];                                 \
                                                                                           \
		for (size_t i = 0; i < 2 * count; i += 2) {                                \
			const type src_re = src[i], src_im = src[i + 1];                   \
                                                                                           \
			dst[i] += re * src_re - im * src_im;                               \
			dst[i + 1] += re * src_im + im * src_re;                           \
		}                                                                          \
	}

ADD(add_int, acc_int)
ADD(add_long, acc_long)
ADD(add_float, acc_float)
ADD(add_double, acc_double)
ADD_SCALED(scaled_int, acc_int)
ADD_SCALED(scaled_long, acc_long)
ADD_SCALED(scaled_float, acc_float)
ADD_SCALED(scaled_double, acc_double)
ADD_SCALED_COMPLEX(scaled_complex, acc_float)
ADD_SCALED_COMPLEX(scaled_dcomplex, acc_double)

CPU_BODY void add_body(enum acc_type type, void *dst, const void *src, size_t count)
{
	switch (type) {
	case ACC_INT: add_int(dst, src, count); break;
	case ACC_LONG: add_long(dst, src, count); break;
	case ACC_FLOAT: add_float(dst, src, count); break;
	case ACC_DOUBLE: add_double(dst, src, count); break;
	case ACC_COMPLEX: add_float(dst, src, 2 * count); break;
	default: add_double(dst, src, 2 * count); break;
	}
}

CPU_BODY void scaled_body(enum acc_type type, const void *scale, void *dst, const void *src,
			  size_t count)
{
	switch (type) {
	case ACC_INT: scaled_int(dst, src, count, scale); break;
	case ACC_LONG: scaled_long(dst, src, count, scale); break;
	case ACC_FLOAT: scaled_float(dst, src, count, scale); break;
	case ACC_DOUBLE: scaled_double(dst, src, count, scale); break;
	case ACC_COMPLEX: scaled_complex(dst, src, count, scale); break;
	default: scaled_dcomplex(dst, src, count, scale); break;
	}
}

CPU_BODY void acc_body(enum acc_type type, const void *scale, void *dst, const void *src,
		       size_t count)
{
	if (!scale || acc_scale_is_one(type, scale))
		add_body(type, dst, src, count);
	else
		scaled_body(type, scale, dst, src, count);
}

CPU_WIDE static void acc_wide(enum acc_type type, const void *scale, void *dst, const void *src,
			      size_t count)
{
	acc_body(type, scale, dst, src, count);
}

static void acc_plain(enum acc_type type, const void *scale, void *dst, const void *src,
		      size_t count)
{
	acc_body(type, scale, dst, src, count);
}

void acc_add(enum acc_type type, const void *scale, void *dst, const void *src, size_t count)
{
	if (cpu_is_wide())
		acc_wide(type, scale, dst, src, count);
	else
		acc_plain(type, scale, dst, src, count);
}
