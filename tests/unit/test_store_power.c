/* SPDX-License-Identifier: BSD-3-Clause */
/* The power fails at every instant of a store's work: what was committed is there and whole,
 * what was removed is not, and the store works on. STASIS_TEST_CUTS sets how many states are
 * tried, STASIS_TEST_SEED repeats them. */
#include "store_fixture.h"

#include "base/clock.h"
#include "power.h"

enum { SMALL_BYTES = 18 * PAGE_BYTES + 100, CUTS = 300 };

static const char committed[] = "committed", removing[] = "removing", removed[] = "removed",
		  importing[] = "importing";

struct work {
	const struct fixture *fx;
	char world[300], store[320], log[320];
};

static int small_make(const struct fixture *fx, struct store *store, uint32_t seed,
		      char ret_id[STORE_ID_MAX], struct err *err)
{
	struct recipe recipe = {.cluster = "demo",
				.created_ns = seed,
				.seed = seed,
				.len = SMALL_BYTES,
				.threads = 1};
	int rc = recipe_make(fx, store, &recipe, ret_id, err);

	if (rc == 0)
		power_note(committed, ret_id);
	return rc;
}

static int remove_one(struct store *store, const char *id, struct err *err)
{
	int rc;

	power_note(removing, id);
	rc = store_remove(store, id, err);
	power_note(removed, id);
	return rc;
}

static int prune_all(struct store *store, const char *goes, struct err *err)
{
	store_id *gone = NULL;
	size_t count;
	int rc;

	power_note(removing, goes);
	rc = store_prune(store, &(struct store_retention){.keep = 1}, &gone, &count, err);
	free(gone);
	power_note(removed, goes);
	return rc;
}

static int export_import(struct store *store, const char *id, bool in, int fd, struct err *err)
{
	char got[STORE_ID_MAX];
	int rc;

	if (!in)
		return store_export(store, id, fd, NULL, err);
	power_note(importing, id);
	rc = store_import(store, fd, NULL, got, err);
	if (rc == 0)
		power_note(committed, got);
	return rc;
}

/* In a child, which is dead when the power comes back. */
static int work_run(void *arg)
{
	const struct work *w = arg;
	struct store_config config = {.location = w->store, .level = STORE_LEVEL_RAW};
	char a[STORE_ID_MAX], b[STORE_ID_MAX], c[STORE_ID_MAX];
	int exported = memfd_create("exported", MFD_CLOEXEC);
	struct store_gc_report report;
	struct err err = ERR_INIT;
	struct store *store;
	int rc;

	power_record(w->world);
	rc = store_open(&config, &store, &err);
	if (rc == 0)
		rc = small_make(w->fx, store, 10, a, &err);
	if (rc == 0)
		rc = small_make(w->fx, store, 20, b, &err);
	if (rc == 0)
		rc = export_import(store, b, false, exported, &err);
	if (rc == 0)
		rc = remove_one(store, a, &err);
	/* The images in the pack of the first are needed: it is written anew. */
	if (rc == 0)
		rc = store_gc(store, NULL, &report, &err);
	if (rc == 0 && (report.rewritten != 1 || report.deleted != 1))
		rc = err_set(&err, EINVAL, "nothing was rewritten");
	if (rc == 0)
		rc = small_make(w->fx, store, 30, c, &err);
	if (rc == 0)
		rc = prune_all(store, b, &err);
	if (rc == 0)
		rc = store_gc(store, NULL, &report, &err);
	if (rc == 0)
		rc = export_import(store, b, true, exported, &err);
	if (rc == 0)
		rc = verify_full(store, b, &err);
	if (rc < 0)
		fprintf(stderr, "    child: %s\n", err.msg);
	if (rc == 0)
		store_close(store);
	power_save(w->log);
	return rc < 0 ? 1 : 0;
}

/* What the notes in front of a cut say of a checkpoint: 1 it must be there, -1 it must not, 0
 * either.
 */
static int must_be(const struct power_log *log, size_t count, const char *id)
{
	int must = 0;

	for (size_t i = 0; i < count; i++) {
		const struct power_op *op = &log->ops[i];

		if (op->kind != POWER_NOTE || strcmp(op->path, id) != 0)
			continue;
		must = !strcmp(op->to, committed) ? 1 : !strcmp(op->to, removed) ? -1 : 0;
	}
	return must;
}

static bool listed(const struct store_entry *entries, size_t count, const char *id)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(entries[i].id, id))
			return true;
	return false;
}

static void check_listed(const struct power_log *log, size_t cut, struct store *store)
{
	struct store_entry *entries;
	struct err err = ERR_INIT;
	size_t count;

	assert_ok(store_list(store, NULL, &entries, &count, &err));
	for (size_t i = 0; i < log->count; i++) {
		const char *id = log->ops[i].path;
		int must;

		if (log->ops[i].kind != POWER_NOTE)
			continue;
		must = must_be(log, cut, id);
		if (must == 1 && !listed(entries, count, id))
			fail_msg("checkpoint %s was committed and is lost", id);
		if (must == -1 && listed(entries, count, id))
			fail_msg("checkpoint %s was removed and is back", id);
	}
	free(entries);
}

/* The store works on: a checkpoint, collections, and nothing is left over. */
static void check_works(const struct fixture *fx, struct store *store, const char *location)
{
	struct recipe recipe = {.cluster = "next",
				.created_ns = 90,
				.seed = 20, /* of which there may be remains */
				.len = SMALL_BYTES,
				.threads = 1};
	struct store_gc_report report;
	struct err err = ERR_INIT;
	char id[STORE_ID_MAX];

	assert_ok(recipe_make(fx, store, &recipe, id, &err));
	for (int i = 0; i < 3; i++)
		assert_ok(store_gc(store, NULL, &report, &err));
	assert_int_equal(report.waiting + report.condemned + report.deleted, 0);
	assert_int_equal(objects_count(location, "packs"), report.packs);
	check_all_good(store);
	assert_int_equal(objects_count(location, "condemned"), 0);
	assert_int_equal(objects_count(location, "leases"), 0);
}

static void cut_check(const struct work *w, const struct power_log *log, size_t cut,
		      enum power_data data, enum power_names names, unsigned int *seed)
{
	char dir[300], location[320];
	struct store_config config = {.location = location, .level = STORE_LEVEL_RAW};
	struct store *store;

	snprintf(dir, sizeof(dir), "%s/cut", w->fx->dir);
	snprintf(location, sizeof(location), "%s/store", dir);
	power_cut(log, cut, data, names, seed, dir);
	store = open_config(&config);
	check_listed(log, cut, store);
	check_all_good(store);
	check_works(w->fx, store, location);
	check_listed(log, cut, store);
	store_close(store);
}

static void test_every_instant(void **state)
{
	static const struct {
		enum power_data data;
		enum power_names names;
	} states[] = {
		{DATA_ABSENT, NAMES_LOST}, {DATA_ABSENT, NAMES_KEPT},
		{DATA_ZEROS, NAMES_KEPT},  {DATA_MIXED, NAMES_MIXED},
		{DATA_WHOLE, NAMES_KEPT},  {DATA_PARTLY, NAMES_MIXED},
		{DATA_WHOLE, NAMES_LOST},
	};
	enum { STATES = sizeof(states) / sizeof(states[0]) };
	struct fixture *fx = *state;
	const char *env = getenv("STASIS_TEST_SEED"), *cuts_env = getenv("STASIS_TEST_CUTS");
	unsigned int seed = env ? (unsigned int)atoi(env) : (unsigned int)clock_real_ns();
	size_t cuts = cuts_env ? (size_t)atoi(cuts_env) : CUTS, all;
	struct work w = {.fx = fx};
	struct power_log log;

	snprintf(w.world, sizeof(w.world), "%s/world", fx->dir);
	snprintf(w.store, sizeof(w.store), "%s/store", w.world);
	snprintf(w.log, sizeof(w.log), "%s/log", fx->dir);
	assert_int_equal(mkdir(w.world, 0700), 0);
	usleep(150000); /* the images' times settle */
	assert_int_equal(child_run(NULL, work_run, &w), 0);
	power_load(w.log, &log);
	all = (log.count + 1) * STATES;
	print_message("    seed %u, %zu operations\n", seed, log.count);
	for (size_t i = 0; i < all; i++) {
		size_t cut = i / STATES, at = i % STATES;
		unsigned int own_seed = seed + (unsigned int)i;

		/* Evenly, and each time other ones. */
		if (i > 0 && cuts < all && (size_t)rand_r(&own_seed) % all >= cuts)
			continue;
		if (getenv("STASIS_TEST_VERBOSE"))
			print_message("    cut %zu state %zu seed %u\n", cut, at, own_seed);
		cut_check(&w, &log, cut, states[at].data, states[at].names, &own_seed);
	}
	power_free(&log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(test_every_instant),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
