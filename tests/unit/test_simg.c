/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of image files: round trips, and that no damage of any byte goes unseen. */
#include "store_fixture.h"

#include <stdatomic.h>
#include <sys/mman.h>

#include "store/hash.h"
#include "store/simg.h"
#include "store/simg_format.h"

static uint64_t image_next_data(void *arg, uint64_t offset)
{
	(void)arg;
	return offset;
}

static int image_block(void *arg, uint64_t offset, uint32_t len, void *scratch,
		       const void **ret_data, struct err *err)
{
	(void)len;
	(void)scratch;
	(void)err;
	*ret_data = (const uint8_t *)arg + offset;
	return 0;
}

static struct simg_source image_source(uint8_t *bytes, size_t len)
{
	return (struct simg_source){
		.logical_bytes = len,
		.next_data = image_next_data,
		.block = image_block,
		.arg = bytes,
	};
}

static void path_of(void **state, const char *name, char *ret_path)
{
	const struct fixture *fx = *state;

	snprintf(ret_path, IO_PATH_MAX, "%s/%s", fx->dir, name);
}

static void add_progress(uint64_t bytes, void *arg)
{
	atomic_fetch_add((atomic_ullong *)arg, bytes);
}

/* Write `bytes` as an image and read it back with that many threads. */
static void round_trip(const char *path, uint8_t *bytes, size_t len, unsigned int threads,
		       struct simg_ref *ret_ref)
{
	struct simg_source source = image_source(bytes, len);
	int dest = memfd_create("dest", MFD_CLOEXEC);
	atomic_ullong written = 0, read = 0;
	uint8_t *back = malloc(len + 1);
	struct err err = ERR_INIT;
	struct stat st;

	assert_non_null(back);
	assert_ok(simg_write(path, &source, threads, add_progress, &written, ret_ref, &err));
	assert_int_equal(written, len);
	assert_int_equal(ret_ref->logical_bytes, len);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, ret_ref->file_bytes);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_ok(simg_check_index(path, ret_ref, &err));
	assert_ok(simg_read(path, ret_ref, dest, threads, add_progress, &read, &err));
	assert_int_equal(read, len);
	assert_int_equal(fstat(dest, &st), 0);
	assert_int_equal(st.st_size, len);
	assert_true((uint64_t)st.st_blocks * 512 <= ret_ref->file_bytes + SIMG_PAGE_BYTES);
	assert_ok(io_pread_all(dest, back, len, 0, &err));
	assert_memory_equal(back, bytes, len);
	close(dest);
	free(back);
}

static void test_round_trip(void **state)
{
	static const size_t sizes[] = {0,
				       1,
				       4095,
				       4096,
				       4097,
				       SIMG_BLOCK_BYTES - 1,
				       SIMG_BLOCK_BYTES,
				       SIMG_BLOCK_BYTES + 1,
				       MEMORY_BYTES,
				       9 * SIMG_BLOCK_BYTES};
	char path[IO_PATH_MAX];

	path_of(state, "image", path);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint8_t *bytes = malloc(sizes[i] + 1);
		struct simg_ref first, again;

		assert_non_null(bytes);
		memory_fill(bytes, sizes[i], (uint32_t)i);
		round_trip(path, bytes, sizes[i], 1, &first);
		unlink(path);
		for (unsigned int threads = 0; threads < 6; threads++) {
			round_trip(path, bytes, sizes[i], threads, &again);
			assert_true(simg_ref_equal(&first, &again));
			unlink(path);
		}
		free(bytes);
	}
}

/* A file's holes and its written zeros must make the same image. */
static void test_sparse_file(void **state)
{
	static const off_t places[] = {0, 5 * SIMG_BLOCK_BYTES + 8192,
				       300 * (off_t)SIMG_BLOCK_BYTES};
	char path[IO_PATH_MAX], image[IO_PATH_MAX];
	struct simg_ref refs[2];
	struct err err = ERR_INIT;
	uint8_t page[4096];

	path_of(state, "sparse", path);
	path_of(state, "image", image);
	for (int zeros = 0; zeros < 2; zeros++) {
		int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		int dest = memfd_create("dest", MFD_CLOEXEC);
		struct simg_source source;

		assert_true(fd >= 0);
		assert_int_equal(ftruncate(fd, 300 * (off_t)SIMG_BLOCK_BYTES + 100), 0);
		memset(page, 0, sizeof(page));
		for (off_t at = 0; zeros && at < 100 * (off_t)sizeof(page); at += sizeof(page))
			assert_ok(io_pwrite_all(fd, page, sizeof(page), at, &err));
		memset(page, 0xa5, sizeof(page));
		for (size_t i = 0; i < 3; i++)
			assert_ok(io_pwrite_all(fd, page, 50, places[i], &err));
		assert_ok(simg_source_fd(fd, &source, &err));
		assert_ok(simg_write(image, &source, 3, NULL, NULL, &refs[zeros], &err));
		free(source.arg);
		assert_int_equal(refs[zeros].file_bytes, 64 + 4096 + 4096 + 100 + 3 * 80 + 72);
		assert_ok(simg_read(image, &refs[zeros], dest, 3, NULL, NULL, &err));
		for (size_t i = 0; i < 3; i++) {
			assert_ok(io_pread_all(dest, page, 50, places[i], &err));
			assert_int_equal(page[0], 0xa5);
			assert_int_equal(page[49], 0xa5);
		}
		close(dest);
		close(fd);
		unlink(image);
	}
	assert_true(simg_ref_equal(&refs[0], &refs[1]));
}

/* Three pages in two blocks and a short page at the end: each part of the format is there. */
static size_t small_image(const char *path, struct simg_ref *ret_ref)
{
	size_t len = 2 * SIMG_BLOCK_BYTES + 4096 + 10;
	uint8_t *bytes = calloc(1, len);
	struct simg_source source = image_source(bytes, len);
	struct err err = ERR_INIT;

	assert_non_null(bytes);
	bytes[4096] = 1;
	bytes[2 * SIMG_BLOCK_BYTES] = 2;
	memset(bytes + 2 * SIMG_BLOCK_BYTES + 4096, 3, 10);
	assert_ok(simg_write(path, &source, 1, NULL, NULL, ret_ref, &err));
	free(bytes);
	assert_int_equal(ret_ref->file_bytes, 64 + 4096 + 4096 + 10 + 2 * 80 + 72);
	return ret_ref->file_bytes;
}

static void test_every_flipped_byte(void **state)
{
	static const uint8_t masks[] = {1, 0xff};
	char path[IO_PATH_MAX];
	struct simg_ref ref;
	size_t size;

	path_of(state, "image", path);
	size = small_image(path, &ref);
	for (size_t at = 0; at < size; at++)
		for (size_t m = 0; m < 2; m++) {
			struct err err = ERR_INIT;
			int rc;

			file_flip(path, (off_t)at, masks[m]);
			rc = simg_read(path, &ref, -1, 1, NULL, NULL, &err);
			if (rc != -EBADMSG || !strstr(err.msg, path))
				fail_msg("byte %zu mask %u: %d %s", at, masks[m], rc, err.msg);
			/* All but the data is also seen by the quick check. */
			if (at < 64 || at >= size - 2 * 80 - 72)
				assert_int_equal(simg_check_index(path, &ref, NULL), -EBADMSG);
			file_flip(path, (off_t)at, masks[m]);
		}
	assert_int_equal(simg_read(path, &ref, -1, 1, NULL, NULL, NULL), 0);
}

static void test_every_length(void **state)
{
	struct err err = ERR_INIT;
	char path[IO_PATH_MAX];
	struct simg_ref ref, lie;
	size_t size;

	path_of(state, "image", path);
	size = small_image(path, &ref);
	assert_int_equal(truncate(path, (off_t)size + 1), 0);
	assert_int_equal(simg_check_index(path, &ref, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, "has 8499 bytes instead of 8498"));
	for (size_t len = size; len-- > 0;) {
		assert_int_equal(truncate(path, (off_t)len), 0);
		assert_int_equal(simg_read(path, &ref, -1, 1, NULL, NULL, NULL), -EBADMSG);
		/* Nor may a reference that agrees with the length make it good. */
		lie = ref;
		lie.file_bytes = len;
		assert_int_equal(simg_read(path, &lie, -1, 1, NULL, NULL, NULL), -EBADMSG);
	}
}

/* Apply `patch` to the raw image, then mend the index hash and the root, so that only the patch
 * is wrong. */
static int read_patched(const char *path, const struct simg_ref *ref,
			void (*patch)(uint8_t *raw, size_t size), struct err *ret_err)
{
	struct err err = ERR_INIT;
	struct simg_ref mended = *ref;
	char copy[IO_PATH_MAX];
	uint8_t *footer, *index;
	size_t len, index_bytes = 2 * SIMG_ENTRY_BYTES;
	char *raw;
	int rc;

	snprintf(copy, sizeof(copy), "%.4000s.patched", path);
	assert_ok(io_read_file(path, 1 << 20, &raw, &len, &err));
	footer = (uint8_t *)raw + len - SIMG_FOOTER_BYTES;
	index = footer - index_bytes;
	patch((uint8_t *)raw, len);
	assert_ok(hash_sha256(&(struct iovec){index, index_bytes}, 1,
			      footer + SIMG_FOOTER_HASH_AT, &err));
	assert_ok(
		simg_root_hash((uint8_t *)raw, index, index_bytes, footer, mended.root, &err));
	assert_ok(io_replace_file(copy, raw, len, 0600, &err));
	rc = simg_read(copy, &mended, -1, 1, NULL, NULL, ret_err);
	free(raw);
	return rc;
}

#define FOOTER(raw, size)   ((raw) + (size)-SIMG_FOOTER_BYTES)
#define ENTRY(raw, size, i) (FOOTER(raw, size) - (2 - (i)) * SIMG_ENTRY_BYTES)

static void patch_nothing(uint8_t *raw, size_t size)
{
	(void)raw;
	(void)size;
}
static void patch_version(uint8_t *raw, size_t size)
{
	raw[8] = 2;
	FOOTER(raw, size)[56] = 2;
}
static void patch_version_zero(uint8_t *raw, size_t size)
{
	raw[8] = 0;
	FOOTER(raw, size)[56] = 0;
}
static void patch_swap(uint8_t *raw, size_t size)
{
	uint8_t entry[SIMG_ENTRY_BYTES];

	memcpy(entry, ENTRY(raw, size, 0), sizeof(entry));
	memcpy(ENTRY(raw, size, 0), ENTRY(raw, size, 1), sizeof(entry));
	memcpy(ENTRY(raw, size, 1), entry, sizeof(entry));
}
static void patch_same_block(uint8_t *raw, size_t size)
{
	ENTRY(raw, size, 1)[0] = 0;
}
static void patch_block_range(uint8_t *raw, size_t size)
{
	ENTRY(raw, size, 1)[0] = 3;
}
static void patch_block_huge(uint8_t *raw, size_t size)
{
	memset(ENTRY(raw, size, 1), 0xff, 8);
}
static void patch_offset_overlap(uint8_t *raw, size_t size)
{
	memcpy(ENTRY(raw, size, 1) + 8, ENTRY(raw, size, 0) + 8, 8);
}
static void patch_offset_huge(uint8_t *raw, size_t size)
{
	memset(ENTRY(raw, size, 0) + 8, 0xff, 8);
}
static void patch_bitmap_empty(uint8_t *raw, size_t size)
{
	memset(ENTRY(raw, size, 0) + SIMG_ENTRY_BITMAP_AT, 0, SIMG_BITMAP_BYTES);
}
static void patch_bitmap_beyond_image(uint8_t *raw, size_t size)
{
	ENTRY(raw, size, 1)[SIMG_ENTRY_BITMAP_AT] |= 4;
}
static void patch_bitmap_beyond_data(uint8_t *raw, size_t size)
{
	memset(ENTRY(raw, size, 0) + SIMG_ENTRY_BITMAP_AT, 0xff, SIMG_BITMAP_BYTES);
}
static void patch_bitmap_gap(uint8_t *raw, size_t size)
{
	ENTRY(raw, size, 1)[SIMG_ENTRY_BITMAP_AT] = 2;
}
static void patch_bitmap_other_page(uint8_t *raw, size_t size)
{
	ENTRY(raw, size, 0)[SIMG_ENTRY_BITMAP_AT] = 4;
}
static void patch_count_huge(uint8_t *raw, size_t size)
{
	memset(FOOTER(raw, size) + 8, 0xff, 8);
}
static void patch_count_wraps(uint8_t *raw, size_t size)
{
	/* 2^60 + 2 entries of 80 bytes have, modulo 2^64, the size of two. */
	FOOTER(raw, size)[8 + 7] = 0x10;
}
static void patch_index_offset(uint8_t *raw, size_t size)
{
	FOOTER(raw, size)[16] ^= 1;
}
static void patch_logical_huge(uint8_t *raw, size_t size)
{
	memset(raw + 24, 0xff, 8);
	memset(FOOTER(raw, size), 0xff, 8);
}
static void patch_block_bytes(uint8_t *raw, size_t size)
{
	(void)size;
	raw[14] = 0x20;
}
static void patch_padding(uint8_t *raw, size_t size)
{
	(void)size;
	raw[40] = 1;
}

static void test_forged_index(void **state)
{
	static void (*const patches[])(uint8_t *, size_t) = {
		patch_version_zero,       patch_swap,         patch_same_block,
		patch_block_range,        patch_block_huge,   patch_offset_overlap,
		patch_offset_huge,        patch_bitmap_empty, patch_bitmap_beyond_image,
		patch_bitmap_beyond_data, patch_bitmap_gap,   patch_bitmap_other_page,
		patch_count_huge,         patch_count_wraps,  patch_index_offset,
		patch_logical_huge,       patch_block_bytes,  patch_padding,
	};
	struct err err = ERR_INIT;
	char path[IO_PATH_MAX];
	struct simg_ref ref;

	path_of(state, "image", path);
	small_image(path, &ref);
	assert_ok(read_patched(path, &ref, patch_nothing, &err));
	for (size_t i = 0; i < sizeof(patches) / sizeof(patches[0]); i++)
		if (read_patched(path, &ref, patches[i], &err) != -EBADMSG)
			fail_msg("forgery %zu was accepted", i);
	assert_int_equal(read_patched(path, &ref, patch_version, &err), -EPROTONOSUPPORT);
	assert_non_null(strstr(err.msg, "version 2, this program knows versions up to 1"));
}

static void test_wrong_files(void **state)
{
	uint8_t bytes[100] = {1};
	struct simg_source source = image_source(bytes, sizeof(bytes));
	struct simg_ref ref, other;
	struct err err = ERR_INIT;
	char path[IO_PATH_MAX];

	path_of(state, "image", path);
	assert_ok(simg_write(path, &source, 1, NULL, NULL, &ref, &err));
	assert_int_equal(simg_write(path, &source, 1, NULL, NULL, &other, &err), -EEXIST);
	assert_ok(simg_read(path, &ref, -1, 0, NULL, NULL, &err));
	bytes[0] = 2;
	unlink(path);
	assert_ok(simg_write(path, &source, 1, NULL, NULL, &other, &err));
	assert_int_equal(simg_check_index(path, &ref, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, "not the image that was stored"));
	unlink(path);
	assert_int_equal(simg_read(path, &ref, -1, 0, NULL, NULL, &err), -ENOENT);
	assert_non_null(strstr(err.msg, path));
	source.logical_bytes = SIMG_LOGICAL_MAX + 1;
	assert_int_equal(simg_write(path, &source, 1, NULL, NULL, &ref, &err), -EFBIG);
	assert_int_equal(simg_source_fd(-1, &source, &err), -EBADF);
}

static int failing_block(void *arg, uint64_t offset, uint32_t len, void *scratch,
			 const void **ret_data, struct err *err)
{
	(void)arg;
	if (offset == 5 * SIMG_BLOCK_BYTES)
		return err_set(err, EIO, "block five is gone");
	memset(scratch, 1, len);
	*ret_data = scratch;
	return 0;
}

static void test_failing_source(void **state)
{
	struct simg_source source = {.logical_bytes = 40 * SIMG_BLOCK_BYTES,
				     .next_data = image_next_data,
				     .block = failing_block};
	char path[IO_PATH_MAX];
	struct simg_ref ref;

	path_of(state, "image", path);
	for (unsigned int threads = 1; threads < 9; threads++) {
		struct err err = ERR_INIT;

		assert_int_equal(simg_write(path, &source, threads, NULL, NULL, &ref, &err),
				 -EIO);
		assert_non_null(strstr(err.msg, "block five is gone"));
		assert_int_equal(access(path, F_OK), -1);
	}
}

/* Damaged data must not reach the destination. */
static void test_damage_not_delivered(void **state)
{
	int dest = memfd_create("dest", MFD_CLOEXEC);
	struct err err = ERR_INIT;
	char path[IO_PATH_MAX];
	struct simg_ref ref;
	uint8_t byte;

	path_of(state, "image", path);
	small_image(path, &ref);
	file_flip(path, 64, 0x10);
	assert_int_equal(simg_read(path, &ref, dest, 1, NULL, NULL, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, "block 0"));
	assert_ok(io_pread_all(dest, &byte, 1, 4096, &err));
	assert_int_equal(byte, 0);
	close(dest);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_create, fixture_destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_round_trip),         TEST(test_sparse_file),
		TEST(test_every_flipped_byte), TEST(test_every_length),
		TEST(test_forged_index),       TEST(test_wrong_files),
		TEST(test_failing_source),     TEST(test_damage_not_delivered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
