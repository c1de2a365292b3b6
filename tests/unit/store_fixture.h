/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of the store share: scratch directories, image sources, manifests, and
 * children with a fault armed. */
#ifndef STASIS_TESTS_STORE_FIXTURE_H
#define STASIS_TESTS_STORE_FIXTURE_H

/* cmocka.h needs these in front of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/io.h"
#include "store/store.h"

/* Assert success, showing the sentence of a failure. */
#define assert_ok(call)                                                 \
	do {                                                            \
		int ok_rc_ = (call);                                    \
		if (ok_rc_ < 0)                                         \
			fail_msg("%s: %d: %s", #call, ok_rc_, err.msg); \
	} while (0)

enum { MEMORY_BYTES = 3 * SIMG_BLOCK_BYTES + 5000 };

/* Bytes that follow from the seed, with two pages of three left zero and the second block
 * empty. */
static inline void memory_fill(uint8_t *bytes, size_t len, uint32_t seed)
{
	memset(bytes, 0, len);
	for (size_t page = 0; page * SIMG_PAGE_BYTES < len; page++) {
		size_t at = page * SIMG_PAGE_BYTES;

		if (page % 3 || at / SIMG_BLOCK_BYTES == 1)
			continue;
		for (size_t i = at; i < len && i < at + SIMG_PAGE_BYTES; i++) {
			seed = seed * 1664525u + 1013904223u;
			bytes[i] = (uint8_t)(seed >> 24);
		}
	}
}

static inline uint64_t memory_next_data(void *arg, uint64_t offset)
{
	(void)arg;
	return offset;
}

static inline int memory_block(void *arg, uint64_t offset, uint32_t len, void *scratch,
			       const void **ret_data, struct err *err)
{
	(void)len;
	(void)scratch;
	(void)err;
	*ret_data = (const uint8_t *)arg + offset;
	return 0;
}

static inline struct simg_source memory_source(uint8_t *bytes, size_t len)
{
	return (struct simg_source){
		.logical_bytes = len,
		.next_data = memory_next_data,
		.block = memory_block,
		.arg = bytes,
	};
}

struct fixture {
	char dir[256];
	char store[300];
	char file[3][300]; /* kernel, initrd and disk of the clusters */
};

static inline void file_make(const char *path, size_t len, uint32_t seed)
{
	uint8_t *bytes = malloc(len);
	struct err err = ERR_INIT;

	assert_non_null(bytes);
	memory_fill(bytes, len, seed);
	assert_ok(io_replace_file(path, bytes, len, 0600, &err));
	free(bytes);
}

static inline int fixture_create(void **state)
{
	static const char *const names[] = {"kernel", "initrd", "disk"};
	const char *tmp = getenv("TMPDIR");
	struct fixture *fx = calloc(1, sizeof(*fx));

	assert_non_null(fx);
	snprintf(fx->dir, sizeof(fx->dir), "%s/stasis-test-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(fx->dir));
	snprintf(fx->store, sizeof(fx->store), "%s/store", fx->dir);
	for (uint32_t i = 0; i < 3; i++) {
		snprintf(fx->file[i], sizeof(fx->file[i]), "%s/%s", fx->dir, names[i]);
		file_make(fx->file[i], 20000 + i * 5000, 77 + i);
	}
	*state = fx;
	return 0;
}

static inline int fixture_destroy(void **state)
{
	struct fixture *fx = *state;
	struct err err = ERR_INIT;

	assert_ok(io_remove_all(fx->dir, &err));
	free(fx);
	return 0;
}

static inline json_t *part_json(const struct simg_ref *ref, const char *file)
{
	json_t *part = simg_ref_to_json(ref);

	json_object_set_new(part, "file", json_string(file));
	return part;
}

/* A complete manifest of a cluster with one VM, without "format" and "id". */
static inline json_t *manifest_make(const char *cluster, int64_t created_ns,
				    const struct simg_ref images[3],
				    const struct simg_ref parts[3])
{
	json_t *disk = simg_ref_to_json(&images[2]), *manifest;

	json_object_set_new(disk, "format", json_string("raw"));
	manifest = json_pack(
		"{s:s, s:s, s:I, s:s, s:s, s:{s:i}, s:{s:s, s:s, s:s, s:s, s:s}, s:{s:o, s:o, s:o},"
		" s:[{s:s, s:i, s:i, s:i, s:o, s:o, s:o}], s:[{s:s, s:i, s:i}],"
		" s:i, s:i, s:b, s:n}",
		"cluster", cluster, "tag", "", "created_ns", (json_int_t)created_ns, "host",
		"h1", "stasis_version", "0.1.0", "spec", "vms", 1, "machine", "qemu_version",
		"7.2.0", "machine", "q35", "accel", "tcg", "cpu", "max", "cmdline",
		"console=ttyS0", "images", "kernel", simg_ref_to_json(&images[0]), "initrd",
		simg_ref_to_json(&images[1]), "disk", disk, "vms", "name", "vm0", "index", 0,
		"memory_bytes", MEMORY_BYTES, "cpus", 1, "ram",
		part_json(&parts[0], "vm0.ram.simg"), "state",
		part_json(&parts[1], "vm0.state.simg"), "disk",
		part_json(&parts[2], "vm0.disk.simg"), "phases", "name", "pause", "start_ns", 0,
		"duration_ns", 5, "pause_ns", 7, "total_ns", 9, "pause_includes_write", 0,
		"run");
	assert_non_null(manifest);
	return manifest;
}

/* Write a checkpoint of one VM whose RAM follows from the seed. Returns 0 or the first error.
 */
static inline int checkpoint_make(const struct fixture *fx, struct store *store,
				  const char *cluster, uint32_t seed, char ret_id[STORE_ID_MAX],
				  struct err *err)
{
	static const char *const names[] = {"vm0.ram", "vm0.state", "vm0.disk"};
	struct simg_ref images[3], parts[3];
	uint8_t *bytes = malloc(MEMORY_BYTES);
	struct store_txn *txn;
	json_t *manifest;
	int rc = bytes ? store_begin(store, cluster, ret_id, &txn, err) : -ENOMEM;

	for (uint32_t i = 0; rc == 0 && i < 3; i++) {
		struct simg_source source = memory_source(bytes, MEMORY_BYTES);

		memory_fill(bytes, MEMORY_BYTES, seed + i);
		rc = store_image_put(store, fx->file[i], &images[i], err);
		if (rc == 0)
			rc = store_txn_put(txn, names[i], &source, 2, NULL, NULL, &parts[i],
					   err);
		if (rc < 0)
			store_abort(txn);
	}
	free(bytes);
	if (rc < 0)
		return rc;
	manifest = manifest_make(cluster, seed, images, parts);
	rc = store_commit(txn, manifest, err);
	json_decref(manifest);
	return rc;
}

/* Open the store of the fixture. */
static inline struct store *open_store(const struct fixture *fx)
{
	struct err err = ERR_INIT;
	struct store *store;

	assert_ok(store_open(fx->store, &store, &err));
	return store;
}

static inline size_t list_count(struct store *store, const char *cluster)
{
	struct store_entry *entries;
	struct err err = ERR_INIT;
	size_t count;

	assert_ok(store_list(store, cluster, &entries, &count, &err));
	free(entries);
	return count;
}

/* Read a part back and compare it with what the seed makes. */
static inline void check_part(struct store *store, const char *id, const char *part,
			      uint32_t seed)
{
	uint8_t *want = malloc(MEMORY_BYTES), *got = malloc(MEMORY_BYTES);
	int dest = memfd_create("dest", MFD_CLOEXEC);
	struct manifest_file *files;
	struct err err = ERR_INIT;
	char path[IO_PATH_MAX];
	json_t *manifest;
	size_t count, at;

	assert_ok(store_manifest(store, id, &manifest, &err));
	assert_ok(manifest_files(manifest, &files, &count, &err));
	assert_ok(store_part_path(store, id, part, path, sizeof(path), &err));
	for (at = 0; strcmp(files[at].name, strrchr(path, '/') + 1); at++)
		assert_true(at + 1 < count);
	assert_ok(simg_read(path, &files[at].ref, dest, 0, NULL, NULL, &err));
	memory_fill(want, MEMORY_BYTES, seed);
	assert_ok(io_pread_all(dest, got, MEMORY_BYTES, 0, &err));
	assert_memory_equal(want, got, MEMORY_BYTES);
	close(dest);
	free(files);
	json_decref(manifest);
	free(want);
	free(got);
}

/* Run fn in a child with STASIS_FAULT set (NULL: unset); returns the status of waitpid(). */
static inline int child_run(const char *fault, int (*fn)(void *arg), void *arg)
{
	pid_t pid;
	int status;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		if (fault)
			setenv("STASIS_FAULT", fault, 1);
		_exit(fault_init(NULL) < 0 ? 99 : fn(arg));
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* Entries of a directory without "." and "..". */
static inline size_t dir_count(const char *dir, const char *below)
{
	char path[IO_PATH_MAX];
	struct dirent *item;
	size_t count = 0;
	DIR *handle;

	snprintf(path, sizeof(path), "%s/%s", dir, below);
	handle = opendir(path);
	assert_non_null(handle);
	while ((item = readdir(handle)))
		count += strcmp(item->d_name, ".") && strcmp(item->d_name, "..");
	closedir(handle);
	return count;
}

/* Flip the bits of `mask` in one byte of a file. */
static inline void file_flip(const char *path, off_t at, uint8_t mask)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	uint8_t byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= mask;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

#endif
