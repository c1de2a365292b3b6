/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of damage: each class of object with a byte flipped, cut off, missing, foreign, newer.
 * It is found and named, harms no other checkpoint, and heals. */
#include "store_fixture.h"

#include <endian.h>

#include "store/pack_format.h"

/* The packs' paths are told apart by what a store had before a checkpoint was made. */
struct damaged_store {
	const struct fixture *fx;
	struct store *store;
	char ids[3][STORE_ID_MAX]; /* old, the one that is damaged, another cluster's */
	char packs[3][256];        /* of each */
};

static bool known_pack(const struct damaged_store *d, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(d->packs[i], name))
			return true;
	return false;
}

/* The pack that came with the `at`-th checkpoint. */
static void pack_note(struct damaged_store *d, size_t at)
{
	char path[IO_PATH_MAX];
	struct dirent *item;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/packs", d->fx->store);
	dir = opendir(path);
	assert_non_null(dir);
	while ((item = readdir(dir)))
		if (item->d_name[0] != '.' && !known_pack(d, at, item->d_name))
			snprintf(d->packs[at], sizeof(d->packs[at]), "%s", item->d_name);
	closedir(dir);
}

static void damaged_make(struct damaged_store *d, const struct fixture *fx)
{
	static const char *const clusters[] = {"demo", "demo", "other"};
	struct err err = ERR_INIT;

	*d = (struct damaged_store){.fx = fx, .store = open_store(fx)};
	for (uint32_t i = 0; i < 3; i++) {
		assert_ok(checkpoint_make(fx, d->store, clusters[i], 10 + 10 * i, d->ids[i],
					  &err));
		pack_note(d, i);
	}
	assert_int_equal(dir_count(fx->store, "packs"), 3);
}

static void object_path(const struct damaged_store *d, const char *kind, const char *name,
			char ret_path[IO_PATH_MAX])
{
	snprintf(ret_path, IO_PATH_MAX, "%s/%s/%s", d->fx->store, kind, name);
}

static void reopen(struct damaged_store *d)
{
	store_close(d->store);
	d->store = open_store(d->fx);
}

/* The second checkpoint is found damaged and quarantined; the others are as they were. */
static void check_found(struct damaged_store *d, const char *named, bool quick)
{
	struct store_entry *entries;
	char newest[STORE_ID_MAX], good[60 + STORE_ID_MAX];
	struct err err = ERR_INIT;
	size_t count;

	snprintf(good, sizeof(good), "the newest good checkpoint before it is %s", d->ids[0]);
	assert_fails(store_verify(d->store, d->ids[1], quick, NULL, &err), EBADMSG, good);
	if (!strstr(err.msg, named) || !strstr(err.msg, d->ids[1]))
		fail_msg("\"%s\" is not named: %s", named, err.msg);
	assert_int_equal(dir_count(d->fx->store, "damaged"), 1);
	assert_ok(store_newest(d->store, "demo", newest, &err));
	assert_string_equal(newest, d->ids[0]);
	assert_ok(store_list(d->store, "demo", &entries, &count, &err));
	assert_int_equal(count, 2);
	assert_false(entries[0].damaged);
	assert_true(entries[1].damaged);
	free(entries);
	assert_ok(verify_full(d->store, d->ids[0], &err));
	assert_ok(verify_full(d->store, d->ids[2], &err));
	check_checkpoint(d->fx, d->store, d->ids[0], 10);
}

/* A checkpoint of the same content stores the damaged chunks anew, and so the old one is good
 * again; after that nothing of the damage is left. */
static void check_heals(struct damaged_store *d)
{
	struct store_gc_report report;
	char id[STORE_ID_MAX];
	struct err err = ERR_INIT;

	assert_ok(checkpoint_make(d->fx, d->store, "demo", 20, id, &err));
	assert_ok(verify_full(d->store, id, &err));
	check_checkpoint(d->fx, d->store, id, 20);
	assert_ok(verify_full(d->store, d->ids[1], &err));
	check_checkpoint(d->fx, d->store, d->ids[1], 20);
	assert_int_equal(dir_count(d->fx->store, "damaged"), 0);
	assert_ok(store_gc(d->store, NULL, &report, &err));
	assert_int_equal(check_all_good(d->store), 4);
	reopen(d);
	assert_int_equal(check_all_good(d->store), 4);
	check_checkpoint(d->fx, d->store, d->ids[1], 20);
}

/* Places in a pack: header, first and last segment, index, footer. */
enum place { HEADER, SEGMENT, LAST_SEGMENT, INDEX, FOOTER, PLACES };

static off_t place_offset(const char *path, enum place place)
{
	uint8_t footer[PACK_FOOTER_BYTES];
	struct err err = ERR_INIT;
	uint64_t index_offset;
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_int_equal(fstat(fd, &st), 0);
	assert_ok(io_pread_all(fd, footer, sizeof(footer), st.st_size - (off_t)sizeof(footer),
			       &err));
	close(fd);
	memcpy(&index_offset, footer, sizeof(index_offset));
	index_offset = le64toh(index_offset);
	switch (place) {
	case HEADER: return 20;
	case SEGMENT: return PACK_HEADER_BYTES + 1000;
	case LAST_SEGMENT: return (off_t)index_offset - 10;
	case INDEX: return (off_t)index_offset + 100;
	default: return st.st_size - 60;
	}
}

/* A byte of each part of a pack, while the store is open and when it is opened anew. */
static void flipped(void **state, bool open_anew)
{
	for (int place = 0; place < PLACES; place++) {
		struct damaged_store d;
		char path[IO_PATH_MAX];
		off_t at;

		damaged_make(&d, *state);
		object_path(&d, "packs", d.packs[1], path);
		at = place_offset(path, (enum place)place);
		file_flip(path, at, 0x10);
		if (open_anew)
			reopen(&d);
		/* What the index of an open store has read before still names the pack. */
		check_found(&d,
			    place == SEGMENT || place == LAST_SEGMENT || !open_anew ? d.packs[1]
										    : "vm0",
			    false);
		check_heals(&d);
		store_close(d.store);
		fixture_destroy(state);
		fixture_create(state);
	}
}

static void test_flipped_in_open_store(void **state)
{
	flipped(state, false);
}

static void test_flipped_and_opened(void **state)
{
	flipped(state, true);
}

/* A transient fault of the medium: the quarantine ends with the first full verification. */
static void test_transient(void **state)
{
	struct damaged_store d;
	char path[IO_PATH_MAX], newest[STORE_ID_MAX];
	struct err err = ERR_INIT;

	damaged_make(&d, *state);
	object_path(&d, "packs", d.packs[1], path);
	file_flip(path, place_offset(path, SEGMENT), 1);
	check_found(&d, d.packs[1], false);
	file_flip(path, place_offset(path, SEGMENT), 1);
	assert_ok(store_verify(d.store, d.ids[1], true, NULL, &err));
	assert_ok(store_newest(d.store, "demo", newest, &err));
	assert_string_equal(newest, d.ids[0]);
	assert_ok(verify_full(d.store, d.ids[1], &err));
	assert_ok(store_newest(d.store, "demo", newest, &err));
	assert_string_equal(newest, d.ids[1]);
	store_close(d.store);
}

/* Packs that are cut off, empty, missing, foreign, another one's, newer. */

enum ruin { TRUNCATED, BARELY_CUT, EMPTY, MISSING, FOREIGN, SWAPPED, NEWER, RUINS };

static void pack_ruin(const struct damaged_store *d, const char *path, enum ruin ruin)
{
	char other[IO_PATH_MAX], *bytes;
	struct err err = ERR_INIT;
	struct stat st;
	size_t len;

	assert_int_equal(stat(path, &st), 0);
	switch (ruin) {
	case TRUNCATED: assert_int_equal(truncate(path, st.st_size / 2), 0); break;
	case BARELY_CUT: assert_int_equal(truncate(path, st.st_size - 1), 0); break;
	case EMPTY: assert_int_equal(truncate(path, 0), 0); break;
	case MISSING: assert_int_equal(unlink(path), 0); break;
	case FOREIGN: assert_ok(io_replace_file(path, path, strlen(path), 0600, &err)); break;
	case SWAPPED:
		object_path(d, "packs", d->packs[0], other);
		assert_ok(io_read_file(other, 64 << 20, &bytes, &len, &err));
		assert_ok(io_replace_file(path, bytes, len, 0600, &err));
		free(bytes);
		break;
	default: file_flip(path, 8, PACK_VERSION ^ 7); break;
	}
}

static void test_ruined_packs(void **state)
{
	for (int ruin = 0; ruin < RUINS; ruin++) {
		struct damaged_store d;
		char path[IO_PATH_MAX];

		damaged_make(&d, *state);
		object_path(&d, "packs", d.packs[1], path);
		pack_ruin(&d, path, (enum ruin)ruin);
		if (ruin % 2 || ruin == SWAPPED || ruin == NEWER)
			reopen(&d);
		check_found(&d, "vm0", ruin != NEWER);
		check_heals(&d);
		store_close(d.store);
		fixture_destroy(state);
		fixture_create(state);
	}
}

/* Manifests. */

static void test_flipped_manifest(void **state)
{
	struct damaged_store d;
	char path[IO_PATH_MAX];
	struct err err = ERR_INIT;
	struct store_gc_report report;

	damaged_make(&d, *state);
	object_path(&d, "manifests", d.ids[1], path);
	file_flip(path, 300, 2);
	/* Unnoticed yet: nothing is collected, and it is not given out as the newest. */
	reopen(&d);
	assert_fails(store_gc(d.store, NULL, &report, &err), EBADMSG, d.ids[1]);
	assert_int_equal(dir_count(d.fx->store, "packs"), 3);
	check_found(&d, "manifest", false);
	assert_ok(store_gc(d.store, NULL, &report, &err));
	assert_int_equal(report.condemned, 1);
	assert_ok(store_remove(d.store, d.ids[1], &err));
	assert_int_equal(dir_count(d.fx->store, "damaged"), 0);
	assert_int_equal(check_all_good(d.store), 2);
	store_close(d.store);
}

static void test_ruined_manifests(void **state)
{
	const struct fixture *fx = *state;
	struct damaged_store d;
	char path[IO_PATH_MAX], other[IO_PATH_MAX], newest[STORE_ID_MAX], *text;
	struct store_gc_report report;
	struct err err = ERR_INIT;
	json_t *manifest;
	size_t len;

	damaged_make(&d, fx);
	object_path(&d, "manifests", d.ids[1], path);
	object_path(&d, "manifests", d.ids[0], other);
	/* Another one's. */
	assert_ok(io_read_file(other, MANIFEST_BYTES_MAX, &text, &len, &err));
	assert_ok(io_replace_file(path, text, len, 0600, &err));
	check_found(&d, "its manifest is that of", false);
	/* A newer program's: no damage, but nothing that this one can use, or collect around.
	 */
	text[strlen("stasis-manifest ")] = '9';
	assert_ok(io_replace_file(path, text, len, 0600, &err));
	reopen(&d);
	assert_fails(store_manifest(d.store, d.ids[1], &manifest, &err), EPROTONOSUPPORT,
		     "version 9");
	assert_ok(store_newest(d.store, "demo", newest, &err));
	assert_string_equal(newest, d.ids[0]);
	assert_fails(store_gc(d.store, NULL, &report, &err), EPROTONOSUPPORT, d.ids[1]);
	/* Cut off, empty. */
	text[strlen("stasis-manifest ")] = '0' + MANIFEST_VERSION;
	assert_ok(io_replace_file(path, text, len / 2, 0600, &err));
	free(text);
	check_found(&d, "announces", false);
	assert_int_equal(truncate(path, 0), 0);
	check_found(&d, "not a manifest", false);
	/* Missing: it does not exist. */
	assert_int_equal(unlink(path), 0);
	assert_fails(verify_full(d.store, d.ids[1], &err), ENOENT, d.ids[1]);
	assert_int_equal(checkpoints_count(d.store, "demo"), 1);
	assert_ok(store_gc(d.store, NULL, &report, &err));
	assert_int_equal(dir_count(d.fx->store, "damaged"), 0);
	store_close(d.store);
}

/* Files that are not the store's are left alone. */
static void test_foreign_files(void **state)
{
	static const char *const names[] = {"packs/notes.txt", "packs/.hidden",
					    "manifests/a b",   "leases/x",
					    "notes",           "condemned/readme"};
	struct damaged_store d;
	struct store_gc_report report;
	struct err err = ERR_INIT;
	char path[IO_PATH_MAX];

	damaged_make(&d, *state);
	snprintf(path, sizeof(path), "%s/condemned", d.fx->store);
	assert_int_equal(mkdir(path, 0700), 0);
	for (size_t i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "%s/%s", d.fx->store, names[i]);
		file_make(path, 100, 1);
	}
	snprintf(path, sizeof(path), "%s/packs/dir.pack", d.fx->store);
	assert_int_equal(mkdir(path, 0700), 0);
	reopen(&d);
	assert_int_equal(check_all_good(d.store), 3);
	assert_ok(store_gc(d.store, NULL, &report, &err));
	assert_int_equal(dir_count(d.fx->store, "packs"), 6);
	store_close(d.store);
}

/* Damage that is not in what a checkpoint needs is not its damage; a base with damage is stored
 * anew where it is used. */
static void test_shared_damage(void **state)
{
	struct damaged_store d;
	char path[IO_PATH_MAX];
	struct err err = ERR_INIT;

	/* The images came with the first checkpoint: their loss is everyone's. */
	damaged_make(&d, *state);
	object_path(&d, "packs", d.packs[0], path);
	file_flip(path, PACK_HEADER_BYTES + 10, 1); /* the first segment: images */
	for (int i = 0; i < 3; i++)
		assert_fails(verify_full(d.store, d.ids[i], &err), EBADMSG, d.packs[0]);
	assert_non_null(strstr(err.msg, "there is no good checkpoint before it"));
	assert_int_equal(dir_count(d.fx->store, "damaged"), 3);
	/* The next checkpoint has them again, for all. */
	assert_ok(checkpoint_make(d.fx, d.store, "third", 70, path, &err));
	for (int i = 0; i < 3; i++)
		assert_ok(verify_full(d.store, d.ids[i], &err));
	assert_int_equal(check_all_good(d.store), 4);
	store_close(d.store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(test_flipped_in_open_store),
		FIXTURE_TEST(test_flipped_and_opened),
		FIXTURE_TEST(test_transient),
		FIXTURE_TEST(test_ruined_packs),
		FIXTURE_TEST(test_flipped_manifest),
		FIXTURE_TEST(test_ruined_manifests),
		FIXTURE_TEST(test_foreign_files),
		FIXTURE_TEST(test_shared_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
