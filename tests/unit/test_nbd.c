/* SPDX-License-Identifier: BSD-3-Clause */
/* The plugin for nbdkit: what it serves is what the store has, and stays while it serves. */
#include "store_fixture.h"

#include <libnbd.h>
#include <signal.h>

#include "base/clock.h"
#include "base/hex.h"
#include "base/paths.h"

enum { START_MS = 30000, READS = 200 };

static const char cluster[] = "demo";

struct server {
	pid_t pid;
	char socket[300];
	char stream[2 * CHUNK_ID_BYTES + 64]; /* an export */
};

static void server_start(struct server *server, const struct fixture *fx,
			 const char *checkpoint)
{
	char path[300], plugin[IO_PATH_MAX], location[400], id[STORE_ID_MAX + 16];
	struct err err = ERR_INIT;
	int log;

	snprintf(path, sizeof(path), "%s/nbd.log", fx->dir);
	snprintf(server->socket, sizeof(server->socket), "%s/nbd.sock", fx->dir);
	snprintf(location, sizeof(location), "location=%s", fx->store);
	snprintf(id, sizeof(id), "checkpoint=%s", checkpoint);
	assert_ok(paths_program("stasis-nbdkit-plugin.so", plugin, sizeof(plugin), &err));
	unlink(server->socket);
	log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	server->pid = fork();
	assert_true(server->pid >= 0);
	if (server->pid == 0) {
		dup2(log, STDERR_FILENO);
#ifdef NBDKIT_PRELOAD
		setenv("LD_PRELOAD", NBDKIT_PRELOAD, 1);
		setenv("ASAN_OPTIONS", "detect_leaks=0", 1); /* nbdkit's own, at its end */
#endif
		execlp("nbdkit", "nbdkit", "--foreground", "--readonly", "--unix",
		       server->socket, plugin, location, id, NULL);
		_exit(127);
	}
	close(log);
}

static struct nbd_handle *connect_to(const struct server *server, const char *export_name)
{
	int64_t deadline_ns = deadline_in_ms(START_MS);

	for (;;) {
		struct nbd_handle *nbd = nbd_create();
		bool starting;

		assert_non_null(nbd);
		assert_int_equal(nbd_set_export_name(nbd, export_name), 0);
		assert_int_equal(nbd_add_meta_context(nbd, LIBNBD_CONTEXT_BASE_ALLOCATION), 0);
		if (nbd_connect_unix(nbd, server->socket) == 0)
			return nbd;
		starting = nbd_get_errno() == ECONNREFUSED || access(server->socket, F_OK) < 0;
		nbd_close(nbd);
		if (!starting || deadline_left_ms(deadline_ns) == 0 ||
		    waitpid(server->pid, NULL, WNOHANG) != 0)
			return NULL;
		nanosleep(&(struct timespec){.tv_nsec = 2 * NS_PER_MS}, NULL);
	}
}

static void server_stop(struct server *server)
{
	int status;

	assert_int_equal(kill(server->pid, SIGTERM), 0);
	assert_int_equal(waitpid(server->pid, &status, 0), server->pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* The name of the RAM's stream of a checkpoint. */
static void stream_name(struct store *store, const char *id, char ret_name[], size_t size)
{
	char root[2 * CHUNK_ID_BYTES + 1];
	struct err err = ERR_INIT;
	struct stream_ref ref;
	json_t *manifest;

	assert_ok(store_manifest(store, id, &manifest, &err));
	assert_ok(stream_ref_from_json(
		json_object_get(json_array_get(json_object_get(manifest, "vms"), 0), "ram"),
		&ref, &err));
	json_decref(manifest);
	hex_encode(ref.root.bytes, CHUNK_ID_BYTES, root);
	snprintf(ret_name, size, "%s-%llu-%llu", root, (unsigned long long)ref.logical_bytes,
		 (unsigned long long)ref.data_bytes);
}

static void setup_server(struct server *server, const struct fixture *fx, uint32_t seed,
			 char ret_id[STORE_ID_MAX])
{
	struct store *store = open_store(fx);
	struct err err = ERR_INIT;

	assert_ok(checkpoint_make(fx, store, cluster, seed, ret_id, &err));
	stream_name(store, ret_id, server->stream, sizeof(server->stream));
	store_close(store);
	server_start(server, fx, ret_id);
}

static void check_reads(struct nbd_handle *nbd, uint32_t seed)
{
	uint8_t *want = memory_make(MEMORY_BYTES, seed), *got = malloc(MEMORY_BYTES);
	unsigned int dice = 5;

	assert_int_equal(nbd_get_size(nbd), MEMORY_BYTES);
	assert_int_equal(nbd_is_read_only(nbd), 1);
	assert_int_equal(nbd_pread(nbd, got, MEMORY_BYTES, 0, 0), 0);
	assert_memory_equal(got, want, MEMORY_BYTES);
	for (int i = 0; i < READS; i++) {
		uint64_t at = rand_r(&dice) % (MEMORY_BYTES - 1);
		size_t len = 1 + rand_r(&dice) % (MEMORY_BYTES - at);

		if (i % 2)
			len = 1 + len % 9000;
		assert_int_equal(nbd_pread(nbd, got, len, at, 0), 0);
		assert_memory_equal(got, want + at, len);
	}
	free(want);
	free(got);
}

struct extents {
	const uint8_t *bytes;
	uint64_t offset, holes;
};

static int extents_told(void *user, const char *context, uint64_t offset, uint32_t *entries,
			size_t count, int *error)
{
	struct extents *extents = user;

	(void)context;
	(void)error;
	assert_int_equal(offset, extents->offset);
	for (size_t i = 0; i + 1 < count; i += 2) {
		for (uint32_t b = 0; entries[i + 1] && b < entries[i]; b++)
			assert_int_equal(extents->bytes[extents->offset + b], 0);
		extents->holes += entries[i + 1] ? entries[i] : 0;
		extents->offset += entries[i];
	}
	return 0;
}

static void check_extents(struct nbd_handle *nbd, uint32_t seed)
{
	uint8_t *bytes = memory_make(MEMORY_BYTES, seed);
	struct extents extents = {.bytes = bytes};

	while (extents.offset < MEMORY_BYTES)
		assert_int_equal(
			nbd_block_status(nbd, MEMORY_BYTES - extents.offset, extents.offset,
					 (nbd_extent_callback){.callback = extents_told,
							       .user_data = &extents},
					 0),
			0);
	assert_int_equal(extents.offset, MEMORY_BYTES);
	assert_true(extents.holes > MEMORY_BYTES / 2);
	free(bytes);
}

static void test_served(void **state)
{
	const struct fixture *fx = *state;
	struct server server;
	char id[STORE_ID_MAX];
	struct nbd_handle *nbd;

	setup_server(&server, fx, 3, id);
	nbd = connect_to(&server, server.stream);
	assert_non_null(nbd);
	check_reads(nbd, 3);
	check_extents(nbd, 3);
	nbd_close(nbd);
	server_stop(&server);
	assert_int_equal(dir_count(fx->store, "leases"), 0);
}

/* Names that are none, of other lengths, or of nothing in the store. */
static void test_bad_names(void **state)
{
	static const char *const bad[] = {
		"",
		"x",
		"-1-1",
		"0000000000000000000000000000000000000000000000000000000000000000",
		"00000000000000000000000000000000000000000000000000000000000000zz-1-1",
		"0000000000000000000000000000000000000000000000000000000000000000-1-2",
		"0000000000000000000000000000000000000000000000000000000000000000-99999999999999999-1"};
	const struct fixture *fx = *state;
	struct server server;
	struct nbd_handle *nbd;
	char id[STORE_ID_MAX], longer[sizeof(server.stream) + 8];
	uint8_t page[PAGE_BYTES];

	setup_server(&server, fx, 4, id);
	nbd_close(connect_to(&server, server.stream));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_null(connect_to(&server, bad[i]));
	snprintf(longer, sizeof(longer), "%s ", server.stream);
	assert_null(connect_to(&server, longer));
	/* A good name of nothing in the store: there is nothing to read. */
	nbd = connect_to(
		&server,
		"1000000000000000000000000000000000000000000000000000000000000001-4096-4096");
	assert_non_null(nbd);
	assert_int_equal(nbd_pread(nbd, page, sizeof(page), 0, 0), -1);
	nbd_close(nbd);
	nbd = connect_to(&server, server.stream); /* it serves on */
	assert_non_null(nbd);
	nbd_close(nbd);
	server_stop(&server);
}

/* The checkpoint is removed and its data collected, but not under a server. */
static void test_lease(void **state)
{
	const struct fixture *fx = *state;
	struct store_gc_report report;
	struct err err = ERR_INIT;
	struct server server;
	struct nbd_handle *nbd;
	struct store *store;
	char id[STORE_ID_MAX], later[STORE_ID_MAX];
	int status;

	setup_server(&server, fx, 5, id);
	nbd = connect_to(&server, server.stream);
	assert_non_null(nbd);
	store = open_store(fx);
	assert_ok(checkpoint_make(fx, store, cluster, 50, later, &err));
	assert_ok(store_remove(store, id, &err));
	assert_ok(store_gc(store, NULL, &report, &err));
	check_reads(nbd, 5);
	nbd_close(nbd);
	assert_int_equal(kill(server.pid, SIGKILL), 0);
	assert_int_equal(waitpid(server.pid, &status, 0), server.pid);
	store_close(store);

	server_start(&server, fx, id); /* it does not exist any more */
	assert_null(connect_to(&server, server.stream));
	waitpid(server.pid, &status, 0);
}

/* Damage is an error of the read, not wrong bytes. */
static void test_damage(void **state)
{
	const struct fixture *fx = *state;
	char id[STORE_ID_MAX], name[256], path[900];
	uint8_t bytes[PAGE_BYTES];
	struct server server;
	struct nbd_handle *nbd;
	unsigned int failed = 0;
	struct stat st;

	setup_server(&server, fx, 6, id);
	nbd = connect_to(&server, server.stream);
	assert_non_null(nbd);
	only_name(fx->store, "packs", name);
	snprintf(path, sizeof(path), "%s/packs/%s", fx->store, name);
	assert_int_equal(stat(path, &st), 0);
	for (off_t at = st.st_size / 8; at < st.st_size / 2; at += 512)
		file_flip(path, at, 0x10);
	for (uint64_t at = 0; at + sizeof(bytes) <= MEMORY_BYTES; at += sizeof(bytes))
		failed += nbd_pread(nbd, bytes, sizeof(bytes), at, 0) < 0;
	assert_true(failed > 0);
	nbd_close(nbd);
	server_stop(&server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(test_served),
		FIXTURE_TEST(test_bad_names),
		FIXTURE_TEST(test_lease),
		FIXTURE_TEST(test_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
