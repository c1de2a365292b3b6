/* SPDX-License-Identifier: BSD-3-Clause */
/* Accumulate: loops for the compiler to vectorise (built with -O3 -ffp-contract=off, so that
 * all processors give the same bits). */
#include "armci/core/acc.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "armci/core/cpu.h"

/* The application's data: of any alignment, seen as these types here and as others elsewhere.
 * Integers wrap. */
#define ANY __attribute__((may_alias, aligned(1)))

typedef uint32_t any_int ANY;
typedef uint64_t any_long ANY;
typedef float any_float ANY;
typedef double any_double ANY;

int acc_type_parse(int datatype, enum acc_type *ret_type)
{
	static const enum acc_type comex[] = {ACC_INT,     ACC_DOUBLE,   ACC_FLOAT,
					      ACC_COMPLEX, ACC_DCOMPLEX, ACC_LONG};

	if (datatype >= 0 && datatype < ACC_TYPES)
		*ret_type = (enum acc_type)datatype;
	else if (datatype >= 37 && datatype < 37 + ACC_TYPES)
		*ret_type = comex[datatype - 37];
	else
		return -EINVAL;
	return 0;
}

size_t acc_size(enum acc_type type)
{
	static const uint8_t sizes[ACC_TYPES] = {4, 8, 4, 8, 8, 16};

	return sizes[type];
}

int acc_scale_is_one(enum acc_type type, const void *scale)
{
	switch (type) {
	case ACC_INT: return *(const any_int *)scale == 1;
	case ACC_LONG: return *(const any_long *)scale == 1;
	case ACC_FLOAT: return *(const any_float *)scale == 1;
	case ACC_DOUBLE: return *(const any_double *)scale == 1;
	case ACC_COMPLEX:
		return ((const any_float *)scale)[0] == 1 && ((const any_float *)scale)[1] == 0;
	default:
		return ((const any_double *)scale)[0] == 1 &&
		       ((const any_double *)scale)[1] == 0;
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

ADD(add_int, any_int)
ADD(add_long, any_long)
ADD(add_float, any_float)
ADD(add_double, any_double)
ADD_SCALED(scaled_int, any_int)
ADD_SCALED(scaled_long, any_long)
ADD_SCALED(scaled_float, any_float)
ADD_SCALED(scaled_double, any_double)
ADD_SCALED_COMPLEX(scaled_complex, any_float)
ADD_SCALED_COMPLEX(scaled_dcomplex, any_double)

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

/* One element, without what loops need to begin. */
static void acc_one(enum acc_type type, const void *scale, void *dst, const void *src)
{
	switch (type) {
	case ACC_INT:
		*(any_int *)dst +=
			(scale ? *(const any_int *)scale : 1) * *(const any_int *)src;
		break;
	case ACC_LONG:
		*(any_long *)dst +=
			(scale ? *(const any_long *)scale : 1) * *(const any_long *)src;
		break;
	case ACC_FLOAT:
		*(any_float *)dst +=
			(scale ? *(const any_float *)scale : 1) * *(const any_float *)src;
		break;
	case ACC_DOUBLE:
		*(any_double *)dst +=
			(scale ? *(const any_double *)scale : 1) * *(const any_double *)src;
		break;
	default: acc_plain(type, scale, dst, src, 1); break;
	}
}

void acc_add(enum acc_type type, const void *scale, void *dst, const void *src, size_t count)
{
	if (count == 1)
		acc_one(type, scale, dst, src);
	else if (cpu_is_wide())
		acc_wide(type, scale, dst, src, count);
	else
		acc_plain(type, scale, dst, src, count);
}
