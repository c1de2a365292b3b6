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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/hex.h"
#include "base/log.h"
#include "base/process_id.h"

enum { LEASE_BYTES_MAX = 512 };

static const char collects_prefix[] = "gc-";

struct store_lease {
	struct store *store;
	struct store_lease *next;
	char object[STORE_OBJECT_MAX];
	char text[LEASE_BYTES_MAX];
	bool noted; /* there is an object */
	bool lost;  /* expired, and removed by another host */
};

static void lease_text(char ret_text[LEASE_BYTES_MAX])
{
	char host[65] = "", machine[PROCESS_MACHINE_MAX];

	gethostname(host, sizeof(host) - 1);
	process_machine(machine);
	snprintf(ret_text, LEASE_BYTES_MAX,
		 "stasis-lease 1\nmachine %s\npid %d\nstart %" PRIu64 "\nhost %s\n", machine,
		 (int)getpid(), process_start_time(getpid()), host);
}

const char *lease_name_get(const struct store_lease *lease)
{
	return strchr(lease->object, '/') + 1;
}

/* Whether it is still there; one that is not is never made anew. */
static int lease_look(struct store_lease *lease, struct err *err)
{
	int has = lease->lost    ? 0
		  : lease->noted ? backend_has(lease->store->backend, lease->object, err)
				 : 1;

	if (has == 0)
		lease->lost = true;
	return has;
}

int lease_check(struct store_lease *lease, struct err *err)
{
	struct lease_keeper *keeper = &lease->store->leases;
	int has;

	pthread_mutex_lock(&keeper->lock);
	has = lease_look(lease, err);
	pthread_mutex_unlock(&keeper->lock);
	if (has == 0)
		has = err_set(
			err, ESTALE,
			"the lease on the store %s is lost: this process stood still for more than "
			"%d s",
			lease->store->backend->where, LEASE_EXPIRES_S);
	return has < 0 ? has : 0;
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
	lease->noted = rc != -EROFS;
	return rc == -EROFS ? 0 : rc;
}

/* Renew all leases; lock held. */
static void leases_renew(struct lease_keeper *keeper)
{
	for (struct store_lease *lease = keeper->held; lease; lease = lease->next) {
		struct err err = ERR_INIT;
		int rc = lease_look(lease, &err);

		if (rc == 1 && lease->noted)
			rc = lease_write(lease, &err);
		if (rc < 0)
			log_warn("a lease could not be renewed: %s", err.msg);
	}
}

static void *keeper_run(void *arg)
{
	struct lease_keeper *keeper = arg;

	pthread_mutex_lock(&keeper->lock);
	while (!keeper->stop) {
		struct timespec until;

		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += LEASE_RENEW_S;
		if (pthread_cond_timedwait(&keeper->wake, &keeper->lock, &until) == ETIMEDOUT)
			leases_renew(keeper);
	}
	pthread_mutex_unlock(&keeper->lock);
	return NULL;
}

void lease_keeper_init(struct lease_keeper *keeper)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&keeper->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&keeper->wake, &attr);
	pthread_condattr_destroy(&attr);
}

/* Remove the objects of leases that have ended when the store could not be written to. */
static void leases_ended(struct lease_keeper *keeper)
{
	struct store_lease **at;

	pthread_mutex_lock(&keeper->lock);
	at = &keeper->ended;
	while (*at) {
		struct store_lease *lease = *at;
		struct backend *backend = lease->store->backend;

		if (backend->ops->remove(backend, lease->object, NULL) < 0) {
			at = &lease->next;
			continue;
		}
		*at = lease->next;
		free(lease);
	}
	pthread_mutex_unlock(&keeper->lock);
}

void lease_keeper_end(struct lease_keeper *keeper)
{
	pthread_mutex_lock(&keeper->lock);
	keeper->stop = true;
	pthread_cond_signal(&keeper->wake);
	pthread_mutex_unlock(&keeper->lock);
	if (keeper->started)
		pthread_join(keeper->thread, NULL);
	leases_ended(keeper);
	while (keeper->ended) {
		struct store_lease *lease = keeper->ended;

		keeper->ended = lease->next;
		free(lease);
	}
	pthread_cond_destroy(&keeper->wake);
	pthread_mutex_destroy(&keeper->lock);
}

/* From now on the keeper renews it; its thread is started when there is something to renew. */
static int lease_hold(struct store_lease *lease, struct err *err)
{
	struct lease_keeper *keeper = &lease->store->leases;
	int failure = 0;

	pthread_mutex_lock(&keeper->lock);
	if (!keeper->started) {
		failure = pthread_create(&keeper->thread, NULL, keeper_run, keeper);
		keeper->started = failure == 0;
	}
	if (!failure) {
		lease->next = keeper->held;
		keeper->held = lease;
	}
	pthread_mutex_unlock(&keeper->lock);
	return failure ? err_sys(err, failure, "cannot start a thread") : 0;
}

void store_lease_end(struct store_lease *lease)
{
	struct lease_keeper *keeper;
	struct store_lease **at;
	struct err err = ERR_INIT;

	if (!lease)
		return;
	keeper = &lease->store->leases;
	pthread_mutex_lock(&keeper->lock);
	for (at = &keeper->held; *at && *at != lease; at = &(*at)->next)
		;
	if (*at)
		*at = lease->next;
	pthread_mutex_unlock(&keeper->lock);
	if (lease->store->backend->ops->remove(lease->store->backend, lease->object, &err) ==
	    0) {
		free(lease);
		return;
	}
	/* Others would respect it as long as this process lives. */
	log_warn("a lease is left until it can be removed: %s", err.msg);
	pthread_mutex_lock(&keeper->lock);
	lease->next = keeper->ended;
	keeper->ended = lease;
	pthread_mutex_unlock(&keeper->lock);
}

int lease_begin(struct store *store, bool collects, struct store_lease **ret_lease,
		struct err *err)
{
	struct store_lease *lease = calloc(1, sizeof(*lease));
	char hex[2 * 16 + 1], name[LEASE_NAME_MAX];
	uint8_t random[16];
	int rc;

	if (!lease)
		return err_sys(err, ENOMEM, "lease");
	if (getrandom(random, sizeof(random), 0) != sizeof(random)) {
		free(lease);
		return err_sys(err, errno, "no random number for a lease");
	}
	hex_encode(random, sizeof(random), hex);
	snprintf(name, sizeof(name), "%s%s", collects ? collects_prefix : "", hex);
	lease->store = store;
	store_object("leases", name, lease->object);
	lease_text(lease->text);
	rc = lease_write(lease, err);
	if (rc < 0) {
		free(lease);
		return rc;
	}
	rc = lease_hold(lease, err);
	if (rc < 0)
		store_lease_end(lease);
	else
		*ret_lease = lease;
	return rc;
}

int store_lease_begin(struct store *store, const char *checkpoint,
		      struct store_lease **ret_lease, struct err *err)
{
	struct store_lease *lease;
	int rc = lease_begin(store, false, &lease, err);

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

/* Whether the lease's process can still be at work. */
static bool lease_alive(const char *text, int64_t age_ns)
{
	char machine[PROCESS_MACHINE_MAX], here[PROCESS_MACHINE_MAX];
	uint64_t started;
	int pid;

	process_machine(here);
	if (sscanf(text, "stasis-lease 1\nmachine %79s\npid %d\nstart %" SCNu64, machine, &pid,
		   &started) == 3 &&
	    pid > 0 && !strcmp(machine, here))
		return !process_over(pid, started);
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

static void listing_drop(struct listing *listing, const char *name)
{
	size_t kept = 0;

	for (size_t i = 0; i < listing->count; i++)
		if (strcmp(listing->names[i], name) != 0)
			memmove(listing->names[kept++], listing->names[i], LEASE_NAME_MAX);
	listing->count = kept;
}

int lease_list(struct store *store, const struct store_lease *except, lease_name **ret_names,
	       size_t *ret_count, struct err *err)
{
	struct listing listing = {0};
	int64_t now_ns = 0;
	int rc;

	leases_ended(&store->leases);
	rc = store->backend->ops->now(store->backend, &now_ns, err);
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
	if (except)
		listing_drop(&listing, lease_name_get(except));
	*ret_names = listing.names;
	*ret_count = listing.count;
	return 0;
}

bool lease_collects(const char *name)
{
	return !strncmp(name, collects_prefix, strlen(collects_prefix));
}

int lease_note(struct store *store, const char *object, const char *head,
	       const lease_name *names, size_t count, struct err *err)
{
	size_t len = strlen(head);
	CLEANUP_FREE char *text = malloc(len + (count + 1) * (LEASE_NAME_MAX + 1));
	char *at;

	if (!text)
		return err_sys(err, ENOMEM, "leases");
	at = stpcpy(text, head);
	for (size_t i = 0; i < count; i++) {
		at = stpcpy(at, names[i]);
		at = stpcpy(at, "\n");
	}
	if (count == 0)
		at = stpcpy(at, "-\n"); /* looked at, and there was none */
	return backend_put(store->backend, object, text, (size_t)(at - text), err);
}

bool lease_noted(const char *text, const lease_name *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strstr(text, names[i]))
			return true;
	return false;
}
