/* SPDX-License-Identifier: BSD-3-Clause */
/* One bad use of the library for each run: bad_use MODE, or bad_use --list for "mode call kind"
 * lines. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bad_use.h"
#include "conf.h"

void **bad_bases;
char bad_outside[BAD_BYTES];
char bad_local[2 * BAD_BYTES];

int bad_other(void)
{
	return conf_size - 1;
}

char *bad_there(void)
{
	return bad_bases[bad_other()];
}

static void run(const struct bad_mode *mode)
{
	bool freed = strstr(mode->name, "_freed") != NULL;

	if (mode->kind == BEFORE) {
		mode->act();
		return;
	}
	CHECK_OK(ARMCI_Init());
	if (mode->kind == AFTER) {
		CHECK_OK(ARMCI_Finalize());
		mode->act();
		return;
	}
	bad_bases = conf_alloc(sizeof(void *) * (size_t)conf_size);
	CHECK_OK(ARMCI_Malloc(bad_bases, BAD_BYTES));
	CHECK_OK(ARMCI_Create_mutexes(1));
	if (freed)
		CHECK_OK(ARMCI_Free(bad_bases[conf_rank]));
	ARMCI_Barrier();
	if (mode->kind == ALL || conf_rank == 0)
		mode->act();
	if (mode->kind != ALL && conf_rank == 0)
		return;
	ARMCI_Barrier();
}

static const struct bad_mode *find(const char *name)
{
	for (int t = 0; t < 2; t++) {
		const struct bad_mode *mode = t == 0 ? bad_transfers : bad_others;

		for (; mode->name != NULL; mode++) {
			if (strcmp(mode->name, name) == 0)
				return mode;
		}
	}
	return NULL;
}

static void list(const struct bad_mode *mode)
{
	static const char *const kinds[] = {"alone", "all", "before", "after", "silent"};

	for (; mode->name != NULL; mode++)
		printf("%s %s %s\n", mode->name, mode->call, kinds[mode->kind]);
}

int main(int argc, char **argv)
{
	const struct bad_mode *mode = argc == 2 ? find(argv[1]) : NULL;
	int rank, size;

	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		list(bad_transfers);
		list(bad_others);
		return 0;
	}
	if (mode == NULL) {
		fprintf(stderr, "usage: bad_use MODE | --list\n");
		return 2;
	}
	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &size);
	conf_begin_bare("bad_use", rank, size);
	run(mode);
	/* The runner looks for this word: the library has let it pass. */
	fprintf(stderr, "bad_use %s: rank %d survived\n", mode->name, rank);
	MPI_Abort(MPI_COMM_WORLD, 3);
	return 3;
}
