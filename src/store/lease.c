/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Leases: who writes into a store or reads from it now, on whatever host
 * (docs/formats/store.md).
 *
 * A lease is an object with the host's boot id and pid namespace, the pid and the process's
 * start time in it. One of this host is over when its process is gone; one of another host when
 * it was not renewed for LEASE_EXPIRES_S by the backend's clock. Whoever holds one looks before
 * it publishes whether it still has it.
 */
#include "store/lease.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/hex.h"
#include "base/log.h"

enum { LEASE_BYTES_MAX = 512, MACHINE_MAX = 80, STAT_MAX = 1024, START_TIME_FIELD = 22 };
enum { RANDOM_BYTES = 16 };

/* What names of leases of collections begin with. */
#define COLLECTION "gc-"

struct store_lease {
	struct store *store;
	bool noted; /* there is an object */
	char object[STORE_OBJECT_MAX];
	char text[LEASE_BYTES_MAX];
};

/* Where a pid means something: this boot of this host, and this namespace of pids. */
static void machine_read(char ret_machine[MACHINE_MAX])
{
	CLEANUP_FCLOSE FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
	char boot[40] = "unknown";
	struct stat st = {0};

	if (file && fgets(boot, sizeof(boot), file))
		boot[strcspn(boot, "\n")] = '\0';
	if (stat("/proc/self/ns/pid", &st) < 0)
		st.st_ino = 0;
	snprintf(ret_machine, MACHINE_MAX, "%s/%llu", boot, (unsigned long long)st.st_ino);
}

/* When a process started, in ticks since boot; 0: it cannot be looked at; UINT64_MAX: it is dead,
 * though nobody has waited for it yet. */
static uint64_t start_time(pid_t pid)
{
	char path[64], text[STAT_MAX], *at;
	CLEANUP_FCLOSE FILE *file = NULL;
	size_t len;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	len = fread(text, 1, sizeof(text) - 1, file);
	text[len] = '\0';
	/* The name in parentheses may hold anything; the state, the third field, is behind it.
	 */
	at = strrchr(text, ')');
	if (!at || strlen(at) < 4)
		return 0;
	at += 2;
	if (*at == 'Z' || *at == 'X')
		return UINT64_MAX;
	for (int field = 3; at && field < START_TIME_FIELD; field++)
		at = strchr(at + 1, ' ');
	return at ? strtoull(at, NULL, 10) : 0;
}

static void lease_text(char ret_text[LEASE_BYTES_MAX])
{
	char host[65] = "", machine[MACHINE_MAX];

	gethostname(host, sizeof(host) - 1);
	machine_read(machine);
	snprintf(ret_text, LEASE_BYTES_MAX,
		 "stasis-lease 1\nmachine %s\npid %d\nstart %" PRIu64 "\nhost %s\n", machine,
		 (int)getpid(), start_time(getpid()), host);
}

/* A full medium has room for a name: such a lease is over when it was not renewed. On one that
 * cannot be written to nothing goes, and there is no lease. */
static int lease_write(struct store_lease *lease, struct err *err)
{
	struct backend *backend = lease->store->backend;
	int rc = lease->store->read_only ? -EROFS
					 : backend_put(backend, lease->object, lease->text,
						       strlen(lease->text), err);

	if (rc == -ENOSPC || rc == -EDQUOT)
		rc = backend_put(backend, lease->object, "", 0, err);
	lease->noted = rc == 0;
	return rc == -EROFS ? 0 : rc;
}

static int lease_begin(struct store *store, const char *prefix, struct store_lease **ret_lease,
		struct err *err)
{
	struct store_lease *lease = calloc(1, sizeof(*lease));
	char hex[2 * RANDOM_BYTES + 1], name[LEASE_NAME_MAX];
	uint8_t random[RANDOM_BYTES];
	int rc;

	if (!lease)
		return err_sys(err, ENOMEM, "lease");
	if (getrandom(random, sizeof(random), 0) != sizeof(random)) {
		free(lease);
		return err_sys(err, errno, "no random number for a lease");
	}
	hex_encode(random, sizeof(random), hex);
	snprintf(name, sizeof(name), "%s%s", prefix, hex);
	lease->store = store;
	store_object("leases", name, lease->object);
	lease_text(lease->text);
	rc = lease_write(lease, err);
	if (rc < 0)
		free(lease);
	else
		*ret_lease = lease;
	return rc;
}

const char *lease_name_get(const struct store_lease *lease)
{
	return strchr(lease->object, '/') + 1;
}

int store_lease_renew(struct store_lease *lease, struct err *err)
{
	int rc = lease_check(lease, err);

	return rc < 0 || !lease->noted ? rc : lease_write(lease, err);
}

int lease_check(struct store_lease *lease, struct err *err)
{
	int rc = lease->noted ? backend_has(lease->store->backend, lease->object, err) : 1;

	if (rc == 0)
		rc = err_set(
			err, ESTALE,
			"the lease on the store %s is lost: this process stood still for more than "
			"%d s",
			lease->store->backend->where, LEASE_EXPIRES_S);
	return rc < 0 ? rc : 0;
}

void store_lease_end(struct store_lease *lease)
{
	struct backend *backend;
	struct err err = ERR_INIT;

	if (!lease)
		return;
	backend = lease->store->backend;
	if (lease->noted && backend->ops->remove(backend, lease->object, &err) < 0)
		log_warn("a lease is left until it expires: %s", err.msg);
	free(lease);
}

static int lease_begin_refreshed(struct store *store, const char *prefix,
				 const char *checkpoint, struct store_lease **ret_lease,
				 struct err *err)
{
	struct store_lease *lease = NULL;
	int rc = lease_begin(store, prefix, &lease, err);

	if (rc < 0)
		return rc;
	if (checkpoint)
		rc = store_exists(store, checkpoint, err);
	if (checkpoint && rc == 0)
		rc = err_set(err, ENOENT, "there is no checkpoint \"%s\" in the store %s",
			     checkpoint, store->backend->where);
	if (rc >= 0)
		rc = index_refresh(store->index, store->backend, store->crypt, err);
	if (rc < 0) {
		store_lease_end(lease);
		return rc;
	}
	*ret_lease = lease;
	return 0;
}

int store_lease_begin(struct store *store, const char *checkpoint,
		      struct store_lease **ret_lease, struct err *err)
{
	return lease_begin_refreshed(store, "", checkpoint, ret_lease, err);
}

int lease_begin_collection(struct store *store, struct store_lease **ret_lease, struct err *err)
{
	CLEANUP_FREE lease_name *names = NULL;
	struct store_lease *lease = NULL;
	size_t count = 0;
	int rc = lease_begin_refreshed(store, COLLECTION, NULL, &lease, err);

	if (rc < 0)
		return rc;
	rc = lease_list(store, &names, &count, err);
	for (size_t i = 0; i < count && rc == 0; i++)
		if (!strncmp(names[i], COLLECTION, strlen(COLLECTION)) &&
		    strcmp(names[i], lease_name_get(lease)) != 0)
			rc = err_set(err, EBUSY,
				     "another collection of the store %s is at work",
				     store->backend->where);
	if (rc < 0)
		store_lease_end(lease);
	else
		*ret_lease = lease;
	return rc;
}

/* Whether the lease's process can still be at work. */
static bool lease_alive(const char *text, int64_t age_ns)
{
	char machine[MACHINE_MAX], here[MACHINE_MAX];
	uint64_t started, is;
	int pid;

	machine_read(here);
	if (sscanf(text, "stasis-lease 1\nmachine %79s\npid %d\nstart %" SCNu64, machine, &pid,
		   &started) == 3 &&
	    pid > 0 && !strcmp(machine, here)) {
		if (kill(pid, 0) < 0 && errno == ESRCH)
			return false;
		is = start_time(pid);
		return is == 0 || is == started;
	}
	return age_ns < LEASE_EXPIRES_S * NS_PER_S;
}

struct listing {
	lease_name *names;
	int64_t *modified_ns;
	size_t count;
};

static int list_lease(const char *name, const struct backend_stat *stat, void *arg,
		      struct err *err)
{
	struct listing *listing = arg;
	lease_name *names;
	int64_t *times;

	if (strlen(name) >= LEASE_NAME_MAX)
		return 0;
	names = reallocarray(listing->names, listing->count + 1, sizeof(*names));
	if (names)
		listing->names = names;
	times = reallocarray(listing->modified_ns, listing->count + 1, sizeof(*times));
	if (times)
		listing->modified_ns = times;
	if (!names || !times)
		return err_sys(err, ENOMEM, "list of leases");
	strcpy(names[listing->count], name); /* its length was looked at */
	times[listing->count++] = stat->modified_ns;
	return 0;
}

/* Keep the living ones in the listing, and remove the others. */
static int listing_sift(struct store *store, struct listing *listing, int64_t now_ns,
			struct err *err)
{
	size_t kept = 0;

	for (size_t i = 0; i < listing->count; i++) {
		char object[STORE_OBJECT_MAX];
		void *text = NULL;
		bool alive;
		int rc;

		store_object("leases", listing->names[i], object);
		rc = backend_get(store->backend, object, LEASE_BYTES_MAX, &text, NULL, err);
		if (rc == -ENOENT)
			continue;
		if (rc < 0)
			return rc;
		alive = lease_alive(text, now_ns - listing->modified_ns[i]);
		free(text);
		if (alive) {
			memmove(listing->names[kept++], listing->names[i], LEASE_NAME_MAX);
			continue;
		}
		log_info("store=%s removed the lease of a process that is gone",
			 store->backend->where);
		rc = store->backend->ops->remove(store->backend, object, err);
		if (rc < 0)
			return rc;
	}
	listing->count = kept;
	return 0;
}

int lease_list(struct store *store, lease_name **ret_names, size_t *ret_count, struct err *err)
{
	struct listing listing = {0};
	int64_t now_ns = 0;
	int rc = store->backend->ops->now(store->backend, &now_ns, err);

	if (rc == 0)
		rc = store->backend->ops->list(store->backend, "leases", list_lease, &listing,
					       err);
	if (rc == 0)
		rc = listing_sift(store, &listing, now_ns, err);
	free(listing.modified_ns);
	if (rc < 0) {
		free(listing.names);
		return rc;
	}
	*ret_names = listing.names;
	*ret_count = listing.count;
	return 0;
}
