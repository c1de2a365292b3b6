/* SPDX-License-Identifier: BSD-3-Clause */
/* Matrix multiplication of all types, transposed or not, whole and by patches, against a serial
 * one. */
#include "check.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = 37, COLUMNS = 29, INNER = 41, TAG_A = 1, TAG_B = 2, TAG_C = 3 };

/* A distributed matrix of small whole numbers, and the same in this process. */
struct matrix {
	const struct type *type;
	int g_a, dims[2];
	struct num *data;
};

/* Small enough that a sum of INNER products times alpha is exact in single precision. */
static struct num small_at(const struct type *type, int tag, size_t index)
{
	struct num num = num_at(type, tag, index);

	return (struct num){num.re % 12, num.im % 12};
}

static struct matrix matrix_create(const struct type *type, int rows, int columns, int tag)
{
	struct matrix m = {.type = type, .dims = {rows, columns}};
	struct box mine = {.ndim = 2};
	int at[2];

	m.data = check_alloc((size_t)(rows * columns), sizeof(*m.data));
	for (size_t i = 0; i < (size_t)(rows * columns); i++)
		m.data[i] = small_at(type, tag, i);
	m.g_a = NGA_Create(type->ga, 2, m.dims, "matrix", NULL);
	CHECK(m.g_a, "NGA_Create of a matrix of %s fails", type->name);
	NGA_Distribution(m.g_a, check_rank, mine.lo, mine.hi);
	if (mine.hi[0] >= mine.lo[0] && mine.hi[1] >= mine.lo[1]) {
		struct patch patch = patch_create(type, &mine, 0);

		box_first(&mine, at);
		do {
			num_store(type, patch_at(&patch, at),
				  m.data[dims_offset(2, m.dims, at)]);
		} while (box_next(&mine, at));
		NGA_Put(m.g_a, mine.lo, mine.hi, patch.data, patch.ld);
		patch_destroy(&patch);
	}
	GA_Sync();
	return m;
}

static void matrix_destroy(struct matrix *m)
{
	GA_Destroy(m->g_a);
	free(m->data);
}

static struct num element(const struct matrix *m, int transposed, int i, int j)
{
	return transposed ? m->data[j * m->dims[1] + i] : m->data[i * m->dims[1] + j];
}

/* The part of c from (row, column): alpha · op(a) · op(b) + beta · c, with a and b from their
 * own origins. */
struct product {
	const struct matrix *a, *b;
	struct matrix *c;
	int ta, tb, m, n, k;
	int a_at[2], b_at[2], c_at[2];
	struct num alpha, beta;
};

static void multiply_serially(const struct product *p)
{
	for (int i = 0; i < p->m; i++) {
		for (int j = 0; j < p->n; j++) {
			struct num *c =
				&p->c->data[(p->c_at[0] + i) * p->c->dims[1] + p->c_at[1] + j];
			struct num sum = {0};

			for (int l = 0; l < p->k; l++) {
				struct num x =
					element(p->a, p->ta, p->a_at[0] + i, p->a_at[1] + l);
				struct num y =
					element(p->b, p->tb, p->b_at[0] + l, p->b_at[1] + j);

				sum = num_add(sum, num_mul(x, y));
			}
			*c = num_add(num_mul(p->alpha, sum), num_mul(p->beta, *c));
		}
	}
}

static void multiply_whole(const struct product *p)
{
	char ta = p->ta ? 't' : 'n', tb = p->tb ? 't' : 'n';
	double alpha = (double)p->alpha.re, beta = (double)p->beta.re;
	int a = p->a->g_a, b = p->b->g_a, c = p->c->g_a;

	switch (p->c->type->ga) {
	case C_DBL: GA_Dgemm(ta, tb, p->m, p->n, p->k, alpha, a, b, beta, c); break;
	case C_FLOAT:
		GA_Sgemm(ta, tb, p->m, p->n, p->k, (float)alpha, a, b, (float)beta, c);
		break;
	case C_DCPL:
		GA_Zgemm(ta, tb, p->m, p->n, p->k, (DoubleComplex){alpha, (double)p->alpha.im},
			 a, b, (DoubleComplex){beta, (double)p->beta.im}, c);
		break;
	case C_SCPL:
		GA_Cgemm(ta, tb, p->m, p->n, p->k,
			 (SingleComplex){(float)alpha, (float)p->alpha.im}, a, b,
			 (SingleComplex){(float)beta, (float)p->beta.im}, c);
		break;
	default: CHECK(0, "no multiplication of %s", p->c->type->name);
	}
}

static void do_whole(const struct type *type)
{
	for (int form = 0; form < 4; form++) {
		int ta = form & 1, tb = form >> 1;
		struct matrix a =
			matrix_create(type, ta ? INNER : ROWS, ta ? ROWS : INNER, TAG_A);
		struct matrix b =
			matrix_create(type, tb ? COLUMNS : INNER, tb ? INNER : COLUMNS, TAG_B);
		struct matrix c = matrix_create(type, ROWS, COLUMNS, TAG_C);
		struct product p = {.a = &a, .b = &b, .c = &c, .ta = ta, .tb = tb};

		p.m = ROWS;
		p.n = COLUMNS;
		p.k = INNER;
		p.alpha = (struct num){2, type->complex ? -1 : 0};
		p.beta = (struct num){form == 0 ? 0 : -3, type->complex && form ? 2 : 0};
		multiply_whole(&p);
		multiply_serially(&p);
		check_array(c.g_a, c.data, "after a multiplication");
		check_array(a.g_a, a.data, "the left factor");
		check_array(b.g_a, b.data, "the right factor");
		GA_Sync();
		matrix_destroy(&a);
		matrix_destroy(&b);
		matrix_destroy(&c);
	}
}

/* Only a part of each matrix takes part; the rest of the result stays. */
static void do_patch(const struct type *type)
{
	struct matrix a = matrix_create(type, ROWS, INNER, TAG_A);
	struct matrix b = matrix_create(type, INNER, COLUMNS, TAG_B);
	struct matrix c = matrix_create(type, ROWS, COLUMNS, TAG_C);
	struct product p = {.a = &a, .b = &b, .c = &c, .m = 14, .n = 11, .k = 19};
	int a_to[2] = {16, 23}, b_to[2] = {25, 12}, c_to[2] = {22, 23};
	unsigned char alpha[16] __attribute__((aligned(16)));
	unsigned char beta[16] __attribute__((aligned(16)));

	memcpy(p.a_at, (int[]){3, 5}, sizeof(p.a_at));
	memcpy(p.b_at, (int[]){7, 2}, sizeof(p.b_at));
	memcpy(p.c_at, (int[]){9, 13}, sizeof(p.c_at));
	p.alpha = (struct num){-1, type->complex ? 2 : 0};
	p.beta = (struct num){3, 0};
	num_store(type, alpha, p.alpha);
	num_store(type, beta, p.beta);
	NGA_Matmul_patch('n', 'n', alpha, beta, a.g_a, p.a_at, a_to, b.g_a, p.b_at, b_to, c.g_a,
			 p.c_at, c_to);
	multiply_serially(&p);
	check_array(c.g_a, c.data, "after a multiplication of patches");
	GA_Sync();
	matrix_destroy(&a);
	matrix_destroy(&b);
	matrix_destroy(&c);
}

int main(int argc, char **argv)
{
	check_begin(&argc, &argv);
	for (int t = 0; t < check_types_count; t++) {
		if (check_types[t].ga == C_INT || check_types[t].ga == C_LONG)
			continue;
		do_whole(&check_types[t]);
		do_patch(&check_types[t]);
	}
	return check_end();
}
