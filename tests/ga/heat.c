/* SPDX-License-Identifier: BSD-3-Clause */
/* Heat flow on a torus, by ghost cells and by periodic gets, equal to the serial result to the
 * last bit at every step. */
#include "check.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = 48, COLUMNS = 40, STEPS = 24 };

/* One cell from its neighbours; every version computes it here, so that the bits are the same.
 */
static double cell_next(double here, double north, double south, double west, double east)
{
	return here +
	       0.125 * ((north - here) + (south - here) + (west - here) + (east - here)) -
	       0.001 * here * here;
}

static double cell_begin(int row, int column)
{
	return (double)(check_mix((uint64_t)(row * COLUMNS + column)) % 1000003) / 1000003.0;
}

static void step_serially(const double *old, double *new)
{
	for (int i = 0; i < ROWS; i++) {
		for (int j = 0; j < COLUMNS; j++) {
			new[i * COLUMNS + j] = cell_next(
				old[i * COLUMNS + j], old[(i + ROWS - 1) % ROWS * COLUMNS + j],
				old[(i + 1) % ROWS * COLUMNS + j],
				old[i * COLUMNS + (j + COLUMNS - 1) % COLUMNS],
				old[i * COLUMNS + (j + 1) % COLUMNS]);
		}
	}
}

static void compare(int g_a, const double *serial, int step, const char *how)
{
	double *all = check_alloc(ROWS * COLUMNS, sizeof(*all));
	int lo[2] = {0, 0}, hi[2] = {ROWS - 1, COLUMNS - 1}, ld[1] = {COLUMNS};

	NGA_Get(g_a, lo, hi, all, ld);
	for (int i = 0; i < ROWS * COLUMNS; i++) {
		CHECK(memcmp(&all[i], &serial[i], sizeof(double)) == 0,
		      "heat by %s: cell (%d,%d) after step %d is %.17g instead of %.17g", how,
		      i / COLUMNS, i % COLUMNS, step, all[i], serial[i]);
	}
	free(all);
	GA_Sync();
}

/* The block of this process: rows and columns, 0 by 0 when it has none. */
struct block {
	int lo[2], hi[2], rows, columns;
};

static struct block block_of(int g_a)
{
	struct block b;

	NGA_Distribution(g_a, check_rank, b.lo, b.hi);
	b.rows = b.hi[0] - b.lo[0] + 1;
	b.columns = b.hi[1] - b.lo[1] + 1;
	if (b.rows <= 0 || b.columns <= 0 || b.lo[0] < 0 || b.lo[1] < 0)
		b.rows = b.columns = 0;
	return b;
}

static void begin(int g_a)
{
	struct block b = block_of(g_a);
	double *data = check_alloc((size_t)(b.rows * b.columns), sizeof(*data));
	int ld[1] = {b.columns};

	for (int i = 0; i < b.rows; i++) {
		for (int j = 0; j < b.columns; j++)
			data[i * b.columns + j] = cell_begin(b.lo[0] + i, b.lo[1] + j);
	}
	if (b.rows)
		NGA_Put(g_a, b.lo, b.hi, data, ld);
	GA_Sync();
	free(data);
}

/* Both arrays are worked on in place, in the memory of the arrays. */
static void step_by_ghosts(int g_old, int g_new)
{
	struct block b = block_of(g_old);
	int dims[2], ld;
	double *old, *new;

	GA_Update_ghosts(g_old);
	if (b.rows) {
		NGA_Access_ghosts(g_old, dims, &old, &ld);
		NGA_Access_ghosts(g_new, dims, &new, &ld);
		for (int i = 1; i <= b.rows; i++) {
			for (int j = 1; j <= b.columns; j++) {
				const double *at = old + i * ld + j;

				new[i * ld + j] =
					cell_next(*at, at[-ld], at[ld], at[-1], at[1]);
			}
		}
		NGA_Release_ghosts(g_old);
		NGA_Release_update_ghosts(g_new);
	}
	GA_Sync();
}

/* The block and a border of one cell are fetched around the edges; the result is put. */
static void step_by_periodic_get(int g_old, int g_new)
{
	struct block b = block_of(g_old);
	int width = b.columns + 2, lo[2], hi[2];
	double *old = check_alloc((size_t)((b.rows + 2) * width), sizeof(*old));
	double *new = check_alloc((size_t)(b.rows * b.columns), sizeof(*new));

	if (b.rows) {
		for (int i = 0; i < 2; i++) {
			lo[i] = b.lo[i] - 1;
			hi[i] = b.hi[i] + 1;
		}
		NGA_Periodic_get(g_old, lo, hi, old, &width);
		for (int i = 0; i < b.rows; i++) {
			for (int j = 0; j < b.columns; j++) {
				const double *at = old + (i + 1) * width + j + 1;

				new[i * b.columns + j] =
					cell_next(*at, at[-width], at[width], at[-1], at[1]);
			}
		}
		NGA_Put(g_new, b.lo, b.hi, new, &b.columns);
	}
	GA_Sync();
	free(old);
	free(new);
}

static void run(int width, void (*step)(int, int), const char *how)
{
	int dims[2] = {ROWS, COLUMNS}, widths[2] = {width, width};
	int g_old = NGA_Create_ghosts(C_DBL, 2, dims, widths, "old", NULL);
	int g_new = NGA_Create_ghosts(C_DBL, 2, dims, widths, "new", NULL);
	double *old = check_alloc(ROWS * COLUMNS, sizeof(*old));
	double *new = check_alloc(ROWS * COLUMNS, sizeof(*new));

	CHECK(g_old && g_new, "NGA_Create_ghosts fails");
	for (int i = 0; i < ROWS * COLUMNS; i++)
		old[i] = cell_begin(i / COLUMNS, i % COLUMNS);
	begin(g_old);
	for (int i = 1; i <= STEPS; i++) {
		double *swap = old;
		int g_swap = g_old;

		step_serially(old, new);
		step(g_old, g_new);
		compare(g_new, new, i, how);
		old = new;
		new = swap;
		g_old = g_new;
		g_new = g_swap;
	}
	GA_Destroy(g_old);
	GA_Destroy(g_new);
	free(old);
	free(new);
}

int main(int argc, char **argv)
{
	check_begin(&argc, &argv);
	run(1, step_by_ghosts, "ghosts");
	run(0, step_by_periodic_get, "periodic gets");
	return check_end();
}
