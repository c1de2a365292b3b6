/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzz target: the store's small texts: its format, leases, marks, and what should be a
 * catalog. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "store/catalog.h"
#include "store/format.h"
#include "store/lease.h"
#include "store/removal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What decodes encodes to itself. */
static void format(const char *text)
{
	struct store_format format;
	char again[FORMAT_BYTES_MAX];

	if (format_decode(text, "fuzz", &format, NULL) < 0)
		return;
	format_encode(&format, again);
	if (strcmp(again, text) != 0)
		abort();
}

/* As a lease, and as a mark that waits for it. */
static void lease(const char *text, size_t len)
{
	static const char name[] = "00112233445566778899aabbccddeeff";
	struct store store = {.index = index_create()};
	struct store_lease *own;
	lease_name *names = NULL;
	size_t count;
	struct err err = ERR_INIT;

	pthread_mutex_init(&store.lock, NULL);
	lease_keeper_init(&store.leases);
	if (!store.index || backend_open_memory("fuzz", &store.backend, NULL) < 0 ||
	    lease_begin(&store, true, &own, NULL) < 0 ||
	    backend_put(store.backend, "removed/demo-1", text, len, NULL) < 0 ||
	    backend_put(store.backend, "leases/00112233445566778899aabbccddeeff", text, len,
			NULL) < 0)
		abort();
	/* A lease that is too long to be one is an error, any other text is one or is not. */
	if (lease_list(&store, own, &names, &count, &err) == 0) {
		if (count > 1 || (count && strcmp(names[0], name) != 0))
			abort();
		free(names);
	}
	removals_settle(&store, own, &err);
	store_lease_end(own);
	lease_keeper_end(&store.leases);
	index_destroy(store.index);
	backend_close(store.backend);
	backend_memory_forget("fuzz");
	pthread_mutex_destroy(&store.lock);
}

static void catalog(const uint8_t *data, size_t size)
{
	char path[] = "/dev/shm/stasis-fuzz-XXXXXX";
	int fd = mkstemp(path);
	struct store_entry *entries = NULL;
	struct catalog *catalog;
	size_t count;

	if (fd < 0 || io_pwrite_all(fd, data, size, 0, NULL) < 0)
		abort();
	close(fd);
	if (catalog_open(path, &catalog, NULL) == 0) {
		struct store_entry entry = {.id = "demo-1", .cluster = "demo"};

		catalog_put(catalog, &entry, NULL);
		if (catalog_list(catalog, "demo", &entries, &count, NULL) == 0)
			free(entries);
		catalog_close(catalog);
	}
	catalog_unlink(path, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	if (!text)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	format(text);
	lease(text, size);
	if (size >= 16 && !memcmp(data, "SQLite format 3", 16))
		catalog(data, size);
	free(text);
	return 0;
}
