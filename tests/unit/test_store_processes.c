/* SPDX-License-Identifier: BSD-3-Clause */
/* Several processes on one store at once, killed at random instants: whatever is listed is
 * whole, and after a last collection nothing is left that nobody needs. STASIS_TEST_SECONDS
 * makes it longer, STASIS_TEST_SEED repeats one. */
#include "store_fixture.h"

#include <signal.h>
#include <time.h>

#include "base/clock.h"

enum { SMALL_BYTES = 60 * PAGE_BYTES + 100, PROCESSES_MAX = 4, KEEP = 3 };

struct churn {
	const struct fixture *fx;
	unsigned int seed;
};

static double seconds(void)
{
	const char *text = getenv("STASIS_TEST_SECONDS");

	return text ? atof(text) : 4;
}

/* One stream that changes a little from step to step, put on the newest checkpoint's as base.
 */

struct drift {
	uint8_t bytes[SMALL_BYTES];
	uint8_t base[SMALL_BYTES];
};

static bool drift_changed(void *arg, uint64_t offset, uint32_t len,
			  uint8_t bitmap[NODE_FANOUT / 8])
{
	const struct drift *d = arg;
	bool any = false;

	for (uint32_t at = 0; at < len; at += PAGE_BYTES) {
		uint32_t part = len - at < PAGE_BYTES ? len - at : PAGE_BYTES;

		if (!memcmp(d->bytes + offset + at, d->base + offset + at, part))
			continue;
		bitmap[at / PAGE_BYTES / 8] |= (uint8_t)(1 << at / PAGE_BYTES % 8);
		any = true;
	}
	return any;
}

/* The newest checkpoint's first stream, read into d->base: 1, or 0 when there is none. */
static int base_find(struct store *store, const char *cluster, struct drift *d,
		     struct stream_ref *ret_ref, struct err *err)
{
	struct store_target target = {.name = "base"};
	struct manifest_stream *streams;
	char id[STORE_ID_MAX];
	json_t *manifest;
	size_t count;
	int rc = store_newest(store, cluster, id, err);

	if (rc == 0)
		rc = store_manifest(store, id, &manifest, err);
	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	rc = manifest_streams(manifest, &streams, &count, err);
	json_decref(manifest);
	if (rc < 0)
		return rc;
	target.ref = streams[3].ref;
	free(streams);
	target.fd = memfd_create("base", MFD_CLOEXEC);
	rc = store_fill(store, &target, 1, &(struct store_work){.threads = 1}, err);
	if (rc == 0)
		rc = io_pread_all(target.fd, d->base, SMALL_BYTES, 0, err);
	close(target.fd);
	*ret_ref = target.ref;
	return rc < 0 ? rc : 1;
}

static int checkpoint_step(const struct churn *c, struct store *store, const char *cluster,
			   unsigned int *seed, struct err *err)
{
	struct drift *d = calloc(1, sizeof(*d));
	struct stream_ref base, images[3];
	struct store_source source = memory_source(d->bytes, SMALL_BYTES);
	struct store_part part = {.source = &source};
	struct store_work work = {.threads = 1 + (unsigned int)rand_r(seed) % 2};
	char id[STORE_ID_MAX];
	struct store_txn *txn;
	json_t *manifest;
	int rc = store_begin(store, cluster, id, &txn, err);

	if (rc < 0) {
		free(d);
		return rc;
	}
	rc = base_find(store, cluster, d, &base, err);
	memory_fill(d->bytes, SMALL_BYTES, (uint32_t)rand_r(seed) % 8);
	if (rc == 1) {
		memcpy(d->bytes, d->base, SMALL_BYTES);
		memory_fill(d->bytes + (size_t)rand_r(seed) % 40 * PAGE_BYTES, 12 * PAGE_BYTES,
			    (uint32_t)rand_r(seed));
		source.base = &base;
		source.changed = drift_changed;
	}
	for (int i = 0; i < 3 && rc >= 0; i++)
		rc = store_txn_put_file(txn, c->fx->file[i], &images[i], &work, err);
	if (rc >= 0)
		rc = store_txn_put(txn, &part, 1, &work, err);
	free(d);
	if (rc < 0) {
		store_abort(txn);
		return rc;
	}
	manifest = manifest_make(cluster, "", clock_real_ns(), images,
				 (struct stream_ref[3]){part.ref, part.ref, part.ref});
	rc = store_commit(txn, manifest, err);
	json_decref(manifest);
	return rc;
}

static int prune_step(struct store *store, unsigned int *seed, struct err *err)
{
	struct store_retention retention = {.keep = 1 + (unsigned int)rand_r(seed) % KEEP};
	store_id *ids = NULL;
	size_t count;
	int rc = store_prune(store, &retention, &ids, &count, err);

	free(ids);
	return rc;
}

/* Verify one that is listed; it may go meanwhile, but must not be damaged. */
static int verify_step(struct store *store, unsigned int *seed, struct err *err)
{
	struct store_entry *entries;
	size_t count;
	int rc = store_list(store, NULL, &entries, &count, err);

	if (rc < 0)
		return rc;
	if (count)
		rc = store_verify(store, entries[(size_t)rand_r(seed) % count].id,
				  rand_r(seed) % 2, NULL, err);
	free(entries);
	return rc == -ENOENT ? 0 : rc;
}

/* In a child, until it is killed: 1 on any failure. */
static int churn_run(const struct churn *c)
{
	static const char *const clusters[] = {"one", "two"};
	struct store_config config = plain_config(c->fx);
	unsigned int seed = c->seed;
	struct err err = ERR_INIT;
	struct store *store;
	int rc = store_open(&config, &store, &err);

	while (rc == 0) {
		unsigned int what = (unsigned int)rand_r(&seed) % 10;
		struct store_gc_report report;

		if (what < 5)
			rc = checkpoint_step(c, store, clusters[what % 2], &seed, &err);
		else if (what < 7)
			rc = prune_step(store, &seed, &err);
		else if (what < 9)
			rc = store_gc(store, NULL, &report, &err);
		else
			rc = verify_step(store, &seed, &err);
		if (rc == -EBUSY) /* one collection at a time */
			rc = 0;
	}
	fprintf(stderr, "    child of seed %u: %s\n", c->seed, err.msg);
	return 1;
}

static pid_t churn_start(const struct churn *c)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		freopen("/dev/null", "w", stdout);
		_exit(churn_run(c));
	}
	assert_true(pid > 0);
	return pid;
}

/* Kill a child, at a random instant, and see that it had not ended by itself, with a failure.
 */
static void churn_kill(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFSIGNALED(status))
		fail_msg("a process failed with status %d", WEXITSTATUS(status));
}

/* Temporary files of the dead are swept when they are old. */
static void tmp_files_age(const struct fixture *fx, size_t *ret_count)
{
	static const char *const kinds[] = {".",      "store",     "packs",   "manifests",
					    "leases", "condemned", "damaged", "suspect"};
	struct timespec old[2] = {{.tv_sec = time(NULL) - 7200}, {.tv_sec = time(NULL) - 7200}};

	*ret_count = 0;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		char path[IO_PATH_MAX];
		struct dirent *item;
		DIR *dir;

		snprintf(path, sizeof(path), "%s/%s", fx->store, kinds[i]);
		dir = opendir(path);
		while (dir && (item = readdir(dir))) {
			if (strncmp(item->d_name, ".tmp", 4))
				continue;
			++*ret_count;
			assert_int_equal(utimensat(dirfd(dir), item->d_name, old, 0), 0);
		}
		if (dir)
			closedir(dir);
	}
}

/* Collections that end with nothing left to do; then only what is needed is there. */
static void check_clean(const struct fixture *fx, struct store *store)
{
	struct store_gc_report report;
	struct store_stats stats;
	struct err err = ERR_INIT;
	size_t left;

	tmp_files_age(fx, &left);
	for (int i = 0; i < 3; i++)
		assert_ok(store_gc(store, NULL, &report, &err));
	assert_int_equal(report.waiting + report.condemned + report.deleted, 0);
	tmp_files_age(fx, &left);
	assert_int_equal(left, 0);
	assert_int_equal(dir_count(fx->store, "leases"), 0);
	assert_int_equal(dir_count(fx->store, "condemned"), 0);
	assert_int_equal(dir_count(fx->store, "suspect"), 0);
	assert_int_equal(dir_count(fx->store, "damaged"), 0);
	assert_int_equal(dir_count(fx->store, "packs"), report.packs);
	assert_ok(store_stats(store, &stats, &err));
	assert_int_equal(dir_count(fx->store, "packs"), stats.packs);
	/* At least half of each pack is alive; nodes and frames come on top. */
	assert_true(stats.pack_bytes <= 3 * report.live_bytes + stats.packs * 8192);
}

static void churn(void **state, int processes)
{
	const struct fixture *fx = *state;
	const char *env = getenv("STASIS_TEST_SEED");
	unsigned int seed = env ? (unsigned int)atoi(env) : (unsigned int)clock_real_ns();
	int64_t end_ns = clock_mono_ns() + (int64_t)(seconds() * (double)NS_PER_S);
	pid_t pids[PROCESSES_MAX];
	struct store *store;
	int kills = 0;

	print_message("    seed %u\n", seed);
	store_close(open_store(fx));
	for (int i = 0; i < processes; i++)
		pids[i] = churn_start(&(struct churn){fx, seed + (unsigned int)i});
	while (clock_mono_ns() < end_ns) {
		int victim = rand_r(&seed) % processes;

		usleep(1000 * (useconds_t)(20 + rand_r(&seed) % 300));
		churn_kill(pids[victim]);
		pids[victim] =
			churn_start(&(struct churn){fx, seed + 1000 * (unsigned int)++kills});
	}
	for (int i = 0; i < processes; i++)
		churn_kill(pids[i]);
	store = open_store(fx);
	print_message("    %zu checkpoints after %d kills\n", check_all_good(store), kills);
	check_clean(fx, store);
	check_all_good(store);
	store_close(store);
}

static void test_two_processes(void **state)
{
	churn(state, 2);
}

static void test_four_processes(void **state)
{
	churn(state, PROCESSES_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(test_two_processes),
		FIXTURE_TEST(test_four_processes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
