/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Removal of checkpoints, whose data stay as long as somebody uses them.
 *
 * A checkpoint ends to exist by an object removed/<checkpoint>. Whoever holds a lease may have
 * found it before: it reads it, or takes unchanged pages from it into the next checkpoint. So
 * its manifest stays, and with it for collections all that it needs, until the leases of that
 * moment have ended. Mostly there are none, and it goes at once.
 */
#include "store/removal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fault.h"

enum { NOTE_BYTES_MAX = 1 << 20 };

int removal_has(struct store *store, const char *id, struct err *err)
{
	char object[STORE_OBJECT_MAX];

	store_object("removed", id, object);
	return backend_has(store->backend, object, err);
}

static int removal_finish(struct store *store, const char *id, struct err *err)
{
	static const char *const kinds[] = {"manifests", "removed", "damaged"};
	int rc = 0;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && rc == 0; i++) {
		char object[STORE_OBJECT_MAX];

		store_object(kinds[i], id, object);
		rc = store->backend->ops->remove(store->backend, object, err);
	}
	return rc;
}

static int removal_go_on(struct store *store, const char *id, struct err *err)
{
	CLEANUP_FREE lease_name *leases = NULL;
	char object[STORE_OBJECT_MAX];
	size_t count;
	int rc = lease_list(store, NULL, &leases, &count, err);

	store_object("removed", id, object);
	if (rc < 0)
		return rc;
	return count ? lease_note(store, object, "", leases, count, err)
		     : removal_finish(store, id, err);
}

/* Put the mark. A store that is so full that it does not take it must be emptied all the same:
 * if there is no lease the checkpoint can go without. */
static int removal_begin(struct store *store, const char *id, struct err *err)
{
	CLEANUP_FREE lease_name *leases = NULL;
	char object[STORE_OBJECT_MAX];
	size_t count;
	int rc;

	store_object("removed", id, object);
	rc = backend_put(store->backend, object, "", 0, err);
	if ((rc == -ENOSPC || rc == -EDQUOT) &&
	    lease_list(store, NULL, &leases, &count, NULL) == 0 && count == 0)
		rc = 0;
	return rc;
}

int store_remove(struct store *store, const char *id, struct err *err)
{
	int rc = store_writable(store, err);

	if (rc < 0)
		return rc;
	rc = store_exists(store, id, err);
	if (rc == 0)
		return err_set(err, ENOENT, "there is no checkpoint \"%s\" in the store %s", id,
			       store->backend->where);
	if (rc == 1)
		rc = removal_begin(store, id, err);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&store->lock);
	if (store->catalog)
		catalog_remove(store->catalog, id, NULL); /* else it is seen at the next sync */
	pthread_mutex_unlock(&store->lock);
	rc = fault_hit(FAULT_STORE_REMOVE, err);
	return rc < 0 ? rc : removal_go_on(store, id, err);
}

/* A removal, and the leases that it waits for; none are noted if the remover came no further.
 */
struct removal {
	store_id id;
	char *leases;
};

struct removals {
	struct store *store;
	struct removal *items;
	size_t count;
};

static int list_removal(const char *name, const struct backend_stat *stat, void *arg,
			struct err *err)
{
	struct removals *removals = arg;
	struct removal *more =
		reallocarray(removals->items, removals->count + 1, sizeof(*more));
	char object[STORE_OBJECT_MAX];
	void *text;
	int rc;

	(void)stat;
	if (!more)
		return err_sys(err, ENOMEM, "list of removed checkpoints");
	removals->items = more;
	if (!name_valid(name, STORE_ID_MAX - 1))
		return 0;
	store_object("removed", name, object);
	rc = backend_get(removals->store->backend, object, NOTE_BYTES_MAX, &text, NULL, err);
	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	more[removals->count].leases = text;
	strcpy(more[removals->count++].id, name); /* name_valid() has bounded it */
	return 0;
}

static int removal_settle(struct store *store, struct store_lease *own,
			  const struct removal *removal, const lease_name *leases, size_t count,
			  struct err *err)
{
	char object[STORE_OBJECT_MAX];
	int rc;

	store_object("removed", removal->id, object);
	if (!*removal->leases && count)
		return lease_note(store, object, "", leases, count, err);
	if (lease_noted(removal->leases, leases, count))
		return 0;
	rc = lease_check(own, err);
	return rc < 0 ? rc : removal_finish(store, removal->id, err);
}

int removals_settle(struct store *store, struct store_lease *own, struct err *err)
{
	struct removals removals = {.store = store};
	CLEANUP_FREE lease_name *leases = NULL;
	size_t count = 0;
	int rc = store->backend->ops->list(store->backend, "removed", list_removal, &removals,
					   err);

	/* After the texts were read: they may be empty, and then these leases are noted. */
	if (rc == 0 && removals.count)
		rc = lease_list(store, own, &leases, &count, err);
	for (size_t i = 0; i < removals.count; i++) {
		if (rc == 0)
			rc = removal_settle(store, own, &removals.items[i], leases, count, err);
		free(removals.items[i].leases);
	}
	free(removals.items);
	return rc;
}
