/* SPDX-License-Identifier: BSD-3-Clause */
/* Sums, products, largest and smallest over all ranks, of every type and many lengths;
 * broadcasts from every rank. */
#include "check.h"

#include <stdlib.h>
#include <string.h>

enum { LENGTHS = 7, LONGEST = 20000 };

static const int lengths[LENGTHS] = {1, 2, 17, 100, 1023, 4097, LONGEST};
static const char *const operations[] = {"+", "*", "max", "min", "absmax", "absmin"};

/* Small, so that the product over all ranks fits into an int. */
static long word(int rank, int tag, int i)
{
	return (long)(check_mix(check_mix((uint64_t)(rank * 50 + tag)) ^ (uint64_t)i) % 19) - 9;
}

static long combine(const char *op, long a, long b)
{
	if (strcmp(op, "+") == 0)
		return a + b;
	if (strcmp(op, "*") == 0)
		return a * b;
	if (strncmp(op, "abs", 3) == 0) {
		a = labs(a);
		b = labs(b);
	}
	return (a > b) == (strstr(op, "max") != NULL) ? a : b;
}

static long expected_of(const char *op, int tag, int i)
{
	long value = word(0, tag, i);

	if (strncmp(op, "abs", 3) == 0)
		value = labs(value);
	for (int rank = 1; rank < check_ranks; rank++)
		value = combine(op, value, word(rank, tag, i));
	return value;
}

static void reduce(const struct type *type, void *data, int n, char *op)
{
	switch (type->ga) {
	case C_INT: GA_Igop(data, n, op); break;
	case C_LONG: GA_Lgop(data, n, op); break;
	case C_FLOAT: GA_Fgop(data, n, op); break;
	case C_DBL: GA_Dgop(data, n, op); break;
	case C_SCPL: GA_Cgop(data, n, op); break;
	case C_DCPL: GA_Zgop(data, n, op); break;
	default: CHECK(0, "no reduction of %s", type->name);
	}
}

/* Real types: each operation. A product of eight words of one digit is exact in single
 * precision up to 9^7. */
static void do_real(const struct type *type, const char *op, int n)
{
	unsigned char *data = check_alloc((size_t)n, type->size);
	int limit = type->ga == C_FLOAT && strcmp(op, "*") == 0 && check_ranks > 7;
	char name[8];

	strcpy(name, op);
	for (int i = 0; i < n; i++) {
		long value = word(check_rank, n, i);

		num_store(type, data + (size_t)i * type->size, (struct num){value, 0});
	}
	reduce(type, data, n, name);
	for (int i = 0; i < n; i++) {
		const void *place = data + (size_t)i * type->size;
		struct num wanted = {expected_of(op, n, i), 0};

		if (limit && labs(wanted.re) >= 1L << 24)
			continue;
		CHECK(num_is(type, place, wanted),
		      "\"%s\" of %d of %s: element %d is %s instead of %s", op, n, type->name,
		      i, num_text(type, place), num_wanted(type, wanted));
	}
	free(data);
}

static void do_complex(const struct type *type, int n)
{
	unsigned char *data = check_alloc((size_t)n, type->size);
	char name[] = "+";

	for (int i = 0; i < n; i++) {
		struct num value = {word(check_rank, n, i), word(check_rank, n + 1, i)};

		num_store(type, data + (size_t)i * type->size, value);
	}
	reduce(type, data, n, name);
	for (int i = 0; i < n; i++) {
		const void *place = data + (size_t)i * type->size;
		struct num wanted = {expected_of("+", n, i), expected_of("+", n + 1, i)};

		CHECK(num_is(type, place, wanted),
		      "\"+\" of %d of %s: element %d is %s instead of %s", n, type->name, i,
		      num_text(type, place), num_wanted(type, wanted));
	}
	free(data);
}

static void do_long_long(void)
{
	long long values[3];
	char sum[] = "+", most[] = "max";

	for (int i = 0; i < 3; i++)
		values[i] = (1LL << 40) * (check_rank + 1) + i;
	GA_Llgop(values, 3, sum);
	for (int i = 0; i < 3; i++) {
		long long wanted = (1LL << 40) * check_ranks * (check_ranks + 1) / 2 +
				   (long long)i * check_ranks;

		CHECK(values[i] == wanted, "the sum of long longs is %lld, not %lld", values[i],
		      wanted);
		values[i] = (1LL << 40) * (check_rank + 1) + i;
	}
	GA_Llgop(values, 3, most);
	for (int i = 0; i < 3; i++)
		CHECK(values[i] == (1LL << 40) * check_ranks + i,
		      "the largest of long longs is %lld, not %lld", values[i],
		      (1LL << 40) * check_ranks + i);
}

/* Odd lengths and addresses too; nothing beyond the end is touched. */
static void do_broadcasts(void)
{
	static const int sizes[] = {1, 3, 8, 255, 4096, 65537, 300001};

	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		int size = sizes[s];
		unsigned char *buffer = check_alloc((size_t)size + 2, 1);

		for (int root = 0; root < check_ranks; root++) {
			memset(buffer, PATCH_GUARD, (size_t)size + 2);
			for (int i = 0; root == check_rank && i < size; i++)
				buffer[i + 1] = (unsigned char)check_mix((uint64_t)(root + i));
			GA_Brdcst(buffer + 1, size, root);
			for (int i = 0; i < size; i++)
				CHECK(buffer[i + 1] ==
					      (unsigned char)check_mix((uint64_t)(root + i)),
				      "broadcast of %d bytes from %d: byte %d is wrong", size,
				      root, i);
			CHECK(buffer[0] == PATCH_GUARD && buffer[size + 1] == PATCH_GUARD,
			      "a broadcast of %d bytes from %d writes beyond its buffer", size,
			      root);
		}
		free(buffer);
	}
}

int main(int argc, char **argv)
{
	check_begin(&argc, &argv);
	for (int i = 0; i < LENGTHS; i++) {
		for (int t = 0; t < check_types_count; t++) {
			const struct type *type = &check_types[t];
			size_t count = sizeof(operations) / sizeof(operations[0]);

			for (size_t op = 0; !type->complex && op < count; op++)
				do_real(type, operations[op], lengths[i]);
			if (type->complex)
				do_complex(type, lengths[i]);
		}
	}
	do_long_long();
	do_broadcasts();
	return check_end();
}
