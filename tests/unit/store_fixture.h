/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of the store share: scratch stores, sources in memory, checkpoints that follow
 * from a seed, children with a fault armed, objects that are damaged. */
#ifndef STASIS_TESTS_STORE_FIXTURE_H
#define STASIS_TESTS_STORE_FIXTURE_H

#include "backend_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "store/store.h"

enum { MEMORY_BYTES = 3 * BLOCK_BYTES + 5000 };

/* Bytes that follow from the seed, with two pages of three left zero and the second block
 * empty. */
void memory_fill(uint8_t *bytes, size_t len, uint32_t seed);
/* malloc'ed. */
uint8_t *memory_make(size_t len, uint32_t seed);
struct store_source memory_source(const uint8_t *bytes, size_t len);

struct fixture {
	char dir[256];
	char store[300], cache[300];
	char file[3][300]; /* kernel, initrd and disk of the clusters */
};
int fixture_create(void **state);
int fixture_destroy(void **state);
#define FIXTURE_TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_create, fixture_destroy)

/* A store that is not encrypted, at a light level, with its catalog in the cache directory. */
struct store_config plain_config(const struct fixture *fx);
struct store *open_config(const struct store_config *config);
struct store *open_store(const struct fixture *fx);

/* A complete manifest of a cluster with one VM, without "format", "id" and "stored_bytes". */
json_t *manifest_make(const char *cluster, const char *tag, int64_t created_ns,
		      const struct stream_ref images[3], const struct stream_ref parts[3]);

/* A checkpoint of one VM, whose streams follow from the seed, of a length each. */
struct recipe {
	const char *cluster, *tag;
	int64_t created_ns;
	uint32_t seed;
	size_t len;
	unsigned int threads;
};
int recipe_make(const struct fixture *fx, struct store *store, const struct recipe *recipe,
		char ret_id[STORE_ID_MAX], struct err *err);
/* The usual one: created at `seed` ns, MEMORY_BYTES each. 0 or the first error. */
int checkpoint_make(const struct fixture *fx, struct store *store, const char *cluster,
		    uint32_t seed, char ret_id[STORE_ID_MAX], struct err *err);

/* Fill each of a usual checkpoint's streams and compare it with what the seed makes. */
void check_checkpoint(const struct fixture *fx, struct store *store, const char *id,
		      uint32_t seed);
/* The same for one stream, of which the bytes are known. */
void check_stream(struct store *store, const struct stream_ref *ref, const uint8_t *want,
		  size_t len);

int verify_full(struct store *store, const char *id, struct err *err);
size_t checkpoints_count(struct store *store, const char *cluster);
/* Every listed checkpoint passes a full verification; their number. */
size_t check_all_good(struct store *store);

/* Names in a directory below the store, without "." and ".."; a missing one has none. */
size_t dir_count(const char *dir, const char *below);
/* Without hidden ones, which are temporary files. */
size_t objects_count(const char *dir, const char *below);
/* The only name there. */
void only_name(const char *dir, const char *below, char ret_name[256]);
void file_flip(const char *path, off_t at, uint8_t mask);
void file_make(const char *path, size_t len, uint32_t seed);
uint64_t tree_bytes(const char *dir);
/* Whether any file of the tree has these bytes in it. */
bool tree_holds(const char *dir, const void *bytes, size_t len);
unsigned int open_fds(void);

#endif
