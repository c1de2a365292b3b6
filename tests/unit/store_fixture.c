/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of the store share. */
#include "store_fixture.h"

#include <ftw.h>

void memory_fill(uint8_t *bytes, size_t len, uint32_t seed)
{
	memset(bytes, 0, len);
	for (size_t page = 0; page * PAGE_BYTES < len; page++) {
		size_t at = page * PAGE_BYTES;

		if (page % 3 || at / BLOCK_BYTES == 1)
			continue;
		for (size_t i = at; i < len && i < at + PAGE_BYTES; i++) {
			seed = seed * 1664525u + 1013904223u;
			bytes[i] = (uint8_t)(seed >> 24);
		}
	}
}

uint8_t *memory_make(size_t len, uint32_t seed)
{
	uint8_t *bytes = malloc(len + 1);

	assert_non_null(bytes);
	memory_fill(bytes, len, seed);
	return bytes;
}

static uint64_t memory_next_data(void *arg, uint64_t offset)
{
	(void)arg;
	return offset;
}

static int memory_block(void *arg, uint64_t offset, uint32_t len, void *scratch,
			const void **ret_data, struct err *err)
{
	(void)len;
	(void)scratch;
	(void)err;
	*ret_data = (const uint8_t *)arg + offset;
	return 0;
}

struct store_source memory_source(const uint8_t *bytes, size_t len)
{
	return (struct store_source){
		.logical_bytes = len,
		.next_data = memory_next_data,
		.block = memory_block,
		.arg = (void *)(uintptr_t)bytes,
	};
}

void file_make(const char *path, size_t len, uint32_t seed)
{
	uint8_t *bytes = memory_make(len, seed);
	struct err err = ERR_INIT;

	assert_ok(io_replace_file(path, bytes, len, 0600, &err));
	free(bytes);
}

enum { FILE_BYTES = 20000, FILE_SEED = 77 };

int fixture_create(void **state)
{
	static const char *const names[] = {"kernel", "initrd", "disk"};
	struct fixture *fx = calloc(1, sizeof(*fx));

	assert_non_null(fx);
	scratch_make(fx->dir, sizeof(fx->dir));
	snprintf(fx->store, sizeof(fx->store), "%s/store", fx->dir);
	snprintf(fx->cache, sizeof(fx->cache), "%s/cache", fx->dir);
	assert_int_equal(mkdir(fx->cache, 0700), 0);
	for (uint32_t i = 0; i < 3; i++) {
		snprintf(fx->file[i], sizeof(fx->file[i]), "%s/%s", fx->dir, names[i]);
		file_make(fx->file[i], FILE_BYTES + i * 5000, FILE_SEED + i);
	}
	*state = fx;
	return 0;
}

int fixture_destroy(void **state)
{
	struct fixture *fx = *state;
	struct err err = ERR_INIT;

	assert_ok(io_remove_all(fx->dir, &err));
	free(fx);
	return 0;
}

struct store_config plain_config(const struct fixture *fx)
{
	return (struct store_config){.location = fx->store, .cache_dir = fx->cache, .level = 1};
}

struct store *open_config(const struct store_config *config)
{
	struct err err = ERR_INIT;
	struct store *store;

	assert_ok(store_open(config, &store, &err));
	return store;
}

struct store *open_store(const struct fixture *fx)
{
	struct store_config config = plain_config(fx);

	return open_config(&config);
}

json_t *manifest_make(const char *cluster, const char *tag, int64_t created_ns,
		      const struct stream_ref images[3], const struct stream_ref parts[3])
{
	json_t *disk = stream_ref_to_json(&images[2]), *manifest;

	json_object_set_new(disk, "format", json_string("raw"));
	manifest = json_pack(
		"{s:s, s:s, s:I, s:s, s:s, s:{s:i}, s:{s:s, s:s, s:s, s:s, s:s}, s:{s:o, s:o, "
		"s:o}, s:[{s:s, s:i, s:I, s:i, s:o, s:o, s:o}], s:[{s:s, s:i, s:i}],"
		" s:i, s:i, s:b, s:n}",
		"cluster", cluster, "tag", tag, "created_ns", (json_int_t)created_ns, "host",
		"h1", "stasis_version", "0.1.0", "spec", "vms", 1, "machine", "qemu_version",
		"7.2.0", "machine", "q35", "accel", "tcg", "cpu", "max", "cmdline",
		"console=ttyS0", "images", "kernel", stream_ref_to_json(&images[0]), "initrd",
		stream_ref_to_json(&images[1]), "disk", disk, "vms", "name", "vm0", "index", 0,
		"memory_bytes", (json_int_t)MEMORY_BYTES, "cpus", 1, "ram",
		stream_ref_to_json(&parts[0]), "state", stream_ref_to_json(&parts[1]), "disk",
		stream_ref_to_json(&parts[2]), "phases", "name", "pause", "start_ns", 0,
		"duration_ns", 5, "pause_ns", 7, "total_ns", 9, "pause_includes_write", 0,
		"run");
	assert_non_null(manifest);
	return manifest;
}

static int streams_put(const struct fixture *fx, struct store_txn *txn,
		       const struct recipe *recipe, struct stream_ref images[3],
		       struct stream_ref parts[3], struct err *err)
{
	struct store_work work = {.threads = recipe->threads};
	struct store_part put[3];
	struct store_source sources[3];
	uint8_t *bytes[3];
	int rc = 0;

	for (uint32_t i = 0; i < 3; i++) {
		bytes[i] = memory_make(recipe->len, recipe->seed + i);
		sources[i] = memory_source(bytes[i], recipe->len);
		put[i] = (struct store_part){.source = &sources[i]};
		if (rc == 0)
			rc = store_txn_put_file(txn, fx->file[i], &images[i], &work, err);
	}
	if (rc == 0)
		rc = store_txn_put(txn, put, 3, &work, err);
	for (uint32_t i = 0; i < 3; i++) {
		parts[i] = put[i].ref;
		free(bytes[i]);
	}
	return rc;
}

int recipe_make(const struct fixture *fx, struct store *store, const struct recipe *recipe,
		char ret_id[STORE_ID_MAX], struct err *err)
{
	struct stream_ref images[3], parts[3];
	struct store_txn *txn;
	json_t *manifest;
	int rc = store_begin(store, recipe->cluster, ret_id, &txn, err);

	if (rc < 0)
		return rc;
	rc = streams_put(fx, txn, recipe, images, parts, err);
	if (rc < 0) {
		store_abort(txn);
		return rc;
	}
	manifest = manifest_make(recipe->cluster, recipe->tag ? recipe->tag : "",
				 recipe->created_ns, images, parts);
	rc = store_commit(txn, manifest, err);
	json_decref(manifest);
	return rc;
}

int checkpoint_make(const struct fixture *fx, struct store *store, const char *cluster,
		    uint32_t seed, char ret_id[STORE_ID_MAX], struct err *err)
{
	struct recipe recipe = {.cluster = cluster,
				.created_ns = seed,
				.seed = seed,
				.len = MEMORY_BYTES,
				.threads = 2};

	return recipe_make(fx, store, &recipe, ret_id, err);
}

void check_stream(struct store *store, const struct stream_ref *ref, const uint8_t *want,
		  size_t len)
{
	struct store_target target = {.name = "stream", .ref = *ref};
	uint8_t *got = malloc(len + 1);
	struct err err = ERR_INIT;
	struct stat st;

	assert_non_null(got);
	assert_int_equal(ref->logical_bytes, len);
	target.fd = memfd_create("target", MFD_CLOEXEC);
	assert_ok(store_fill(store, &target, 1, NULL, &err));
	assert_int_equal(fstat(target.fd, &st), 0);
	assert_int_equal(st.st_size, len);
	assert_ok(io_pread_all(target.fd, got, len, 0, &err));
	assert_memory_equal(want, got, len);
	close(target.fd);
	free(got);
}

void check_checkpoint(const struct fixture *fx, struct store *store, const char *id,
		      uint32_t seed)
{
	struct manifest_stream *streams;
	struct store_lease *lease;
	struct err err = ERR_INIT;
	json_t *manifest;
	size_t count;

	assert_ok(store_lease_begin(store, id, &lease, &err));
	assert_ok(store_manifest(store, id, &manifest, &err));
	assert_ok(manifest_streams(manifest, &streams, &count, &err));
	assert_int_equal(count, 6);
	for (uint32_t i = 0; i < 6; i++) {
		uint8_t *want;
		size_t len = MEMORY_BYTES;

		if (i < 3) {
			assert_ok(
				io_read_file(fx->file[i], 1 << 20, (char **)&want, &len, &err));
		} else {
			want = memory_make(len, seed + i - 3);
		}
		check_stream(store, &streams[i].ref, want, len);
		free(want);
	}
	free(streams);
	json_decref(manifest);
	store_lease_end(lease);
}

int verify_full(struct store *store, const char *id, struct err *err)
{
	return store_verify(store, id, false, NULL, err);
}

size_t checkpoints_count(struct store *store, const char *cluster)
{
	struct store_entry *entries;
	struct err err = ERR_INIT;
	size_t count;

	assert_ok(store_list(store, cluster, &entries, &count, &err));
	free(entries);
	return count;
}

size_t check_all_good(struct store *store)
{
	struct store_entry *entries;
	struct err err = ERR_INIT;
	size_t count;

	assert_ok(store_list(store, NULL, &entries, &count, &err));
	for (size_t i = 0; i < count; i++) {
		assert_ok(verify_full(store, entries[i].id, &err));
		assert_false(entries[i].damaged);
	}
	free(entries);
	return count;
}

static size_t names_count(const char *dir, const char *below, bool hidden)
{
	char path[IO_PATH_MAX];
	struct dirent *item;
	size_t count = 0;
	DIR *handle;

	snprintf(path, sizeof(path), "%s/%s", dir, below);
	handle = opendir(path);
	if (!handle)
		return 0;
	while ((item = readdir(handle)))
		count += item->d_name[0] != '.' ||
			 (hidden && strcmp(item->d_name, ".") && strcmp(item->d_name, ".."));
	closedir(handle);
	return count;
}

size_t dir_count(const char *dir, const char *below)
{
	return names_count(dir, below, true);
}

size_t objects_count(const char *dir, const char *below)
{
	return names_count(dir, below, false);
}

void only_name(const char *dir, const char *below, char ret_name[256])
{
	char path[IO_PATH_MAX];
	struct dirent *item;
	DIR *handle;

	assert_int_equal(dir_count(dir, below), 1);
	snprintf(path, sizeof(path), "%s/%s", dir, below);
	handle = opendir(path);
	assert_non_null(handle);
	while ((item = readdir(handle)))
		if (item->d_name[0] != '.')
			snprintf(ret_name, 256, "%s", item->d_name);
	closedir(handle);
}

void file_flip(const char *path, off_t at, uint8_t mask)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	uint8_t byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= mask;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

/* For nftw(), which passes no argument. */
static uint64_t walk_bytes;
static const void *walk_needle;
static size_t walk_needle_len;
static bool walk_found;

static int add_bytes(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)path;
	(void)ftw;
	walk_bytes += kind == FTW_F ? (uint64_t)st->st_size : 0;
	return 0;
}

uint64_t tree_bytes(const char *dir)
{
	walk_bytes = 0;
	nftw(dir, add_bytes, 16, FTW_PHYS); /* files may go while it looks */
	return walk_bytes;
}

static int find_needle(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	struct err err = ERR_INIT;
	char *bytes;
	size_t len;

	(void)ftw;
	if (kind != FTW_F)
		return 0;
	assert_ok(io_read_file(path, (size_t)st->st_size, &bytes, &len, &err));
	walk_found |= memmem(bytes, len, walk_needle, walk_needle_len) != NULL;
	free(bytes);
	return 0;
}

bool tree_holds(const char *dir, const void *bytes, size_t len)
{
	walk_needle = bytes;
	walk_needle_len = len;
	walk_found = false;
	assert_int_equal(nftw(dir, find_needle, 16, FTW_PHYS), 0);
	return walk_found;
}

unsigned int open_fds(void)
{
	return (unsigned int)dir_count("/proc/self", "fd");
}
