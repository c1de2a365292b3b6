/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of reading from the store: filling of several targets, random reading by several
 * threads, and what levels of compression do to the packs. */
#include "store_fixture.h"

#include <stdatomic.h>

#include "base/parallel.h"

/* Streams of several VMs that have most of their pages in common, at the same and at other
 * places, of different lengths. */
enum { VMS = 4 };

struct vms {
	uint8_t *bytes[VMS];
	size_t len[VMS];
	struct stream_ref ref[VMS];
};

static void vms_put(struct store *store, struct vms *vms)
{
	struct store_part parts[VMS];
	struct store_source sources[VMS];
	struct store_work work = {.threads = 3};
	struct err err = ERR_INIT;
	char id[STORE_ID_MAX];
	struct store_txn *txn;
	json_t *manifest;

	for (uint32_t i = 0; i < VMS; i++) {
		vms->len[i] = MEMORY_BYTES + i * (BLOCK_BYTES / 2 + 1);
		vms->bytes[i] = memory_make(vms->len[i], 7);
		if (i == 3) /* other places */
			memmove(vms->bytes[i] + 2 * BLOCK_BYTES, vms->bytes[i] + PAGE_BYTES,
				BLOCK_BYTES);
		memcpy(vms->bytes[i] + PAGE_BYTES, &i, sizeof(i));
		sources[i] = memory_source(vms->bytes[i], vms->len[i]);
		parts[i] = (struct store_part){.source = &sources[i]};
	}
	assert_ok(store_begin(store, "demo", id, &txn, &err));
	assert_ok(store_txn_put(txn, parts, VMS, &work, &err));
	for (int i = 0; i < VMS; i++)
		vms->ref[i] = parts[i].ref;
	manifest = manifest_make("demo", "", 1, vms->ref, vms->ref + 1);
	assert_ok(store_commit(txn, manifest, &err));
	json_decref(manifest);
}

static void vms_free(struct vms *vms)
{
	for (int i = 0; i < VMS; i++)
		free(vms->bytes[i]);
}

static void add_progress(uint64_t bytes, void *arg)
{
	atomic_fetch_add((atomic_ullong *)arg, bytes);
}

static void test_fill_several(void **state)
{
	struct store *store = open_store(*state);
	struct store_target targets[VMS + 1];
	atomic_ullong progress = 0;
	struct store_work work = {
		.threads = 3, .progress = add_progress, .progress_arg = &progress};
	struct err err = ERR_INIT;
	uint64_t data = 0;
	struct vms vms;

	vms_put(store, &vms);
	for (int i = 0; i < VMS; i++) {
		targets[i] = (struct store_target){"vm", vms.ref[i],
						   memfd_create("vm", MFD_CLOEXEC)};
		data += vms.ref[i].data_bytes;
	}
	targets[VMS] = (struct store_target){"check", vms.ref[0], -1};
	data += vms.ref[0].data_bytes;
	work.background = true;
	assert_ok(store_fill(store, targets, VMS + 1, &work, &err));
	assert_int_equal(progress, data);
	for (int i = 0; i < VMS; i++) {
		uint8_t *got = malloc(vms.len[i]);
		struct stat st;

		assert_non_null(got);
		assert_int_equal(fstat(targets[i].fd, &st), 0);
		assert_int_equal(st.st_size, vms.len[i]);
		/* Holes stay holes. */
		assert_true((uint64_t)st.st_blocks * 512 <= vms.ref[i].data_bytes + PAGE_BYTES);
		assert_ok(io_pread_all(targets[i].fd, got, vms.len[i], 0, &err));
		assert_memory_equal(got, vms.bytes[i], vms.len[i]);
		free(got);
		close(targets[i].fd);
	}
	assert_ok(store_fill(store, targets, 0, NULL, &err));
	vms_free(&vms);
	store_close(store);
}

/* A sealed memfd of the right size is filled; one that cannot be resized is an error. */
static void test_fill_sealed(void **state)
{
	struct store *store = open_store(*state);
	struct store_target target = {.name = "vm0.ram"};
	struct err err = ERR_INIT;
	struct vms vms;

	vms_put(store, &vms);
	target.ref = vms.ref[1];
	target.fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(target.fd, (off_t)vms.len[1]), 0);
	assert_int_equal(fcntl(target.fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	assert_ok(store_fill(store, &target, 1, NULL, &err));
	target.ref = vms.ref[2];
	assert_fails(store_fill(store, &target, 1, NULL, &err), EPERM, "vm0.ram");
	close(target.fd);
	vms_free(&vms);
	store_close(store);
}

struct reading {
	struct store_stream *stream;
	const uint8_t *bytes;
	size_t len;
};

enum { READS = 200, READ_MAX = 20000, READ_THREADS = 8 };

static int read_some(size_t index, void *arg, struct err *err)
{
	const struct reading *r = arg;
	unsigned int seed = (unsigned int)index + 1;
	uint8_t *buf = malloc(READ_MAX);
	int rc = 0;

	for (int i = 0; i < READS && rc == 0; i++) {
		uint64_t at = (uint64_t)rand_r(&seed) % (r->len + 1);
		size_t len = (size_t)rand_r(&seed) % READ_MAX;

		if (len > r->len - at)
			len = r->len - at;
		rc = store_stream_read(r->stream, at, buf, len, err);
		if (rc == 0 && memcmp(buf, r->bytes + at, len))
			rc = err_set(err, EBADMSG, "other bytes at %llu",
				     (unsigned long long)at);
	}
	free(buf);
	return rc;
}

/* Extents cover the stream; holes are zero; data has a page that is not. */
static void check_extents(const struct reading *r, uint64_t step)
{
	static const uint8_t zeros[PAGE_BYTES];
	struct err err = ERR_INIT;
	uint64_t end;

	for (uint64_t at = 0; at < r->len; at = step && at + step < end ? at + step : end) {
		bool data;

		assert_ok(store_stream_extent(r->stream, at, &data, &end, &err));
		assert_true(end > at && end <= r->len);
		assert_true(end == r->len || end % PAGE_BYTES == 0);
		for (uint64_t page = at / PAGE_BYTES * PAGE_BYTES; page < end;
		     page += PAGE_BYTES) {
			size_t len = r->len - page < PAGE_BYTES ? r->len - page : PAGE_BYTES;

			assert_int_equal(memcmp(r->bytes + page, zeros, len) != 0, data);
		}
	}
}

static void test_random_reads(void **state)
{
	struct store *store = open_store(*state);
	struct err err = ERR_INIT;
	struct vms vms;
	uint8_t byte;
	uint64_t end;
	bool data;

	vms_put(store, &vms);
	for (int i = 0; i < VMS; i++) {
		struct reading r = {.bytes = vms.bytes[i], .len = vms.len[i]};

		assert_ok(store_stream_open(store, &vms.ref[i], &r.stream, &err));
		assert_ok(parallel_each(READ_THREADS, read_some, &r, &err));
		check_extents(&r, 0);
		check_extents(&r, 100000);
		assert_ok(store_stream_read(r.stream, r.len, &byte, 0, &err));
		assert_fails(store_stream_read(r.stream, r.len, &byte, 1, &err), EINVAL, "end");
		assert_fails(store_stream_read(r.stream, UINT64_MAX, &byte, 1, &err), EINVAL,
			     "end");
		assert_fails(store_stream_extent(r.stream, r.len, &data, &end, &err), EINVAL,
			     "end");
		store_stream_close(r.stream);
	}
	vms_free(&vms);
	store_close(store);
}

static void test_empty_and_zeros(void **state)
{
	struct store *store = open_store(*state);
	struct stream_ref ref = {0};
	struct store_stream *stream;
	struct err err = ERR_INIT;
	uint8_t buf[100];
	uint64_t end;
	bool data;

	assert_ok(store_stream_open(store, &ref, &stream, &err));
	assert_ok(store_stream_read(stream, 0, buf, 0, &err));
	store_stream_close(stream);
	ref.logical_bytes = (uint64_t)300 * BLOCK_BYTES + 5;
	assert_ok(store_stream_open(store, &ref, &stream, &err));
	memset(buf, 1, sizeof(buf));
	assert_ok(store_stream_read(stream, ref.logical_bytes - 100, buf, 100, &err));
	for (int i = 0; i < 100; i++)
		assert_int_equal(buf[i], 0);
	assert_ok(store_stream_extent(stream, 4097, &data, &end, &err));
	assert_false(data);
	assert_int_equal(end, ref.logical_bytes);
	store_stream_close(stream);
	/* A root that no pack has. */
	ref.root.bytes[0] = 1;
	assert_fails(store_stream_open(store, &ref, &stream, &err), EBADMSG,
		     "no readable pack");
	store_close(store);
}

/* What is read under a lease stays, whatever is removed and collected. */
static void test_lease_keeps(void **state)
{
	const struct fixture *fx = *state;
	struct store *store = open_store(fx), *other = open_store(fx);
	struct store_gc_report report;
	struct store_lease *lease;
	struct store_stream *stream;
	struct reading r;
	struct store_entry *entries;
	struct err err = ERR_INIT;
	struct vms vms;
	size_t count;

	vms_put(store, &vms);
	assert_ok(store_list(store, NULL, &entries, &count, &err));
	assert_int_equal(count, 1);
	assert_ok(store_lease_begin(store, entries[0].id, &lease, &err));
	assert_ok(store_stream_open(store, &vms.ref[3], &stream, &err));
	r = (struct reading){stream, vms.bytes[3], vms.len[3]};
	assert_ok(store_remove(other, entries[0].id, &err));
	assert_int_equal(checkpoints_count(store, NULL), 0);
	for (int i = 0; i < 3; i++) {
		assert_ok(store_gc(i % 2 ? store : other, NULL, &report, &err));
		assert_int_equal(report.deleted, 0);
	}
	assert_ok(parallel_each(READ_THREADS, read_some, &r, &err));
	store_stream_close(stream);
	store_lease_end(lease);
	assert_ok(store_gc(other, NULL, &report, &err));
	assert_int_equal(report.deleted, 1);
	assert_true(report.freed_bytes > 0);
	assert_int_equal(dir_count(fx->store, "packs"), 0);
	assert_int_equal(dir_count(fx->store, "condemned"), 0);
	assert_int_equal(dir_count(fx->store, "removed"), 0);
	assert_int_equal(dir_count(fx->store, "manifests"), 0);
	assert_int_equal(dir_count(fx->store, "leases"), 0);
	assert_fails(store_lease_begin(store, entries[0].id, &lease, &err), ENOENT,
		     "no checkpoint");
	free(entries);
	vms_free(&vms);
	store_close(other);
	store_close(store);
}

/* Text that compresses well. */
static void text_fill(uint8_t *bytes, size_t len)
{
	static const char text[] = "stasis checkpoint ";

	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)text[i % (sizeof(text) - 1)];
	for (size_t page = 0; page * PAGE_BYTES + 1 < len; page++) { /* none like another */
		bytes[page * PAGE_BYTES] = (uint8_t)page;
		bytes[page * PAGE_BYTES + 1] = (uint8_t)(page >> 8);
	}
}

static uint64_t stored_at(const struct fixture *fx, int level, const uint8_t *bytes, size_t len)
{
	struct store_config config = plain_config(fx);
	struct store_source source = memory_source(bytes, len);
	struct store_part part = {.source = &source};
	struct err err = ERR_INIT;
	char id[STORE_ID_MAX], location[400];
	struct store_cost cost;
	struct store_txn *txn;
	struct store *store;
	json_t *manifest;

	snprintf(location, sizeof(location), "%s-%d", fx->store, level);
	config.location = location;
	config.level = level;
	store = open_config(&config);
	assert_ok(store_begin(store, "demo", id, &txn, &err));
	assert_ok(store_txn_put(txn, &part, 1, NULL, &err));
	store_txn_cost(txn, &cost);
	manifest = manifest_make("demo", "", 1,
				 (struct stream_ref[3]){part.ref, part.ref, part.ref},
				 (struct stream_ref[3]){part.ref, part.ref, part.ref});
	assert_ok(store_commit(txn, manifest, &err));
	json_decref(manifest);
	check_stream(store, &part.ref, bytes, len);
	assert_int_equal(check_all_good(store), 1);
	store_close(store);
	return cost.stored_bytes;
}

static void test_levels(void **state)
{
	const struct fixture *fx = *state;
	uint8_t *bytes = malloc(MEMORY_BYTES);
	uint64_t raw, fast, strong, automatic;

	assert_non_null(bytes);
	text_fill(bytes, MEMORY_BYTES);
	raw = stored_at(fx, STORE_LEVEL_RAW, bytes, MEMORY_BYTES);
	assert_true(raw > MEMORY_BYTES - PAGE_BYTES);
	fast = stored_at(fx, -5, bytes, MEMORY_BYTES);
	strong = stored_at(fx, 9, bytes, MEMORY_BYTES);
	automatic = stored_at(fx, STORE_LEVEL_AUTO, bytes, MEMORY_BYTES);
	assert_true(fast < raw / 4);
	assert_true(strong <= fast);
	assert_true(automatic <= raw);
	/* What cannot be compressed is stored as it is. */
	memory_fill(bytes, MEMORY_BYTES, 5);
	assert_true(stored_at(fx, 3, bytes, BLOCK_BYTES) < BLOCK_BYTES / 3 + 30000);
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(test_fill_several), FIXTURE_TEST(test_fill_sealed),
		FIXTURE_TEST(test_random_reads), FIXTURE_TEST(test_empty_and_zeros),
		FIXTURE_TEST(test_lease_keeps),  FIXTURE_TEST(test_levels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
