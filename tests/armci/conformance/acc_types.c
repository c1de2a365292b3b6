/* SPDX-License-Identifier: BSD-3-Clause */
/* The six types of accumulate (acc.h). */
#include <string.h>

#include "acc.h"
#include "conf.h"

const struct acc_type acc_types[ACC_TYPES] = {
	{"int", ARMCI_ACC_INT, 37, sizeof(int), 1},
	{"long", ARMCI_ACC_LNG, 42, sizeof(long), 1},
	{"float", ARMCI_ACC_FLT, 39, sizeof(float), 1},
	{"double", ARMCI_ACC_DBL, 38, sizeof(double), 1},
	{"complex", ARMCI_ACC_CPL, 40, 2 * sizeof(float), 2},
	{"double complex", ARMCI_ACC_DCP, 41, 2 * sizeof(double), 2},
};

/* Part number i of the buffer, of the type's real type. */
static void set_part(const struct acc_type *type, void *buf, int i, double value)
{
	char *at = (char *)buf + (size_t)i * (size_t)(type->bytes / type->parts);

	switch (type->type) {
	case ARMCI_ACC_INT: memcpy(at, &(int){(int)value}, sizeof(int)); break;
	case ARMCI_ACC_LNG: memcpy(at, &(long){(long)value}, sizeof(long)); break;
	case ARMCI_ACC_FLT:
	case ARMCI_ACC_CPL: memcpy(at, &(float){(float)value}, sizeof(float)); break;
	default: memcpy(at, &value, sizeof(double)); break;
	}
}

static double get_part(const struct acc_type *type, const void *buf, int i)
{
	const char *at = (const char *)buf + (size_t)i * (size_t)(type->bytes / type->parts);
	double real;
	float single;
	int word;
	long longer;

	switch (type->type) {
	case ARMCI_ACC_INT: memcpy(&word, at, sizeof(word)); return word;
	case ARMCI_ACC_LNG: memcpy(&longer, at, sizeof(longer)); return (double)longer;
	case ARMCI_ACC_FLT:
	case ARMCI_ACC_CPL: memcpy(&single, at, sizeof(single)); return (double)single;
	default: memcpy(&real, at, sizeof(real)); return real;
	}
}

void acc_fill(const struct acc_type *type, void *buf, int elements, uint64_t seed)
{
	for (int i = 0; i < elements * type->parts; i++)
		set_part(type, buf, i, conf_below(&seed, 2001) - 1000);
}

void acc_scale(const struct acc_type *type, int i, void *ret_scale)
{
	static const double real[ACC_SCALES] = {1, 0, -1, 2, -3, 0.5};
	static const double imaginary[ACC_SCALES] = {0, 0, 0, 1, -2, 0.25};
	bool whole = type->type == ARMCI_ACC_INT || type->type == ARMCI_ACC_LNG;

	set_part(type, ret_scale, 0, whole && i == ACC_SCALES - 1 ? 7 : real[i]);
	if (type->parts == 2)
		set_part(type, ret_scale, 1, imaginary[i]);
}

void acc_model(const struct acc_type *type, const void *scale, const void *src, void *dst,
	       int elements)
{
	double a = get_part(type, scale, 0);

	for (int i = 0; type->parts == 1 && i < elements; i++)
		set_part(type, dst, i, get_part(type, dst, i) + a * get_part(type, src, i));
	for (int i = 0; type->parts == 2 && i < elements; i++) {
		double b = get_part(type, scale, 1);
		double re = get_part(type, src, 2 * i), im = get_part(type, src, 2 * i + 1);

		set_part(type, dst, 2 * i, get_part(type, dst, 2 * i) + (a * re - b * im));
		set_part(type, dst, 2 * i + 1,
			 get_part(type, dst, 2 * i + 1) + (a * im + b * re));
	}
}
