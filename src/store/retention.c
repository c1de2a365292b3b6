/* SPDX-License-Identifier: BSD-3-Clause */
/* Which checkpoints go: retention by count, age and tag. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "store/store_priv.h"

static bool tag_kept(const struct store_retention *retention, const char *tag)
{
	for (size_t i = 0; i < retention->keep_tag_count; i++)
		if (*tag && !strcmp(retention->keep_tags[i], tag))
			return true;
	return false;
}

/* Good checkpoints of the same cluster that are newer. */
static unsigned int newer_good(const struct store_entry *entries, size_t count, size_t at)
{
	unsigned int newer = 0;

	for (size_t i = at + 1; i < count; i++)
		newer +=
			!entries[i].damaged && !strcmp(entries[i].cluster, entries[at].cluster);
	return newer;
}

static bool stays(const struct store_retention *retention, const struct store_entry *entries,
		  size_t count, size_t at, int64_t now_ns)
{
	const struct store_entry *entry = &entries[at];
	unsigned int newer = newer_good(entries, count, at);
	unsigned int keep = retention->keep ? retention->keep : 1;

	if (!entry->damaged && newer < keep)
		return true;
	if (retention->keep_within_ns && now_ns - entry->created_ns < retention->keep_within_ns)
		return true;
	return tag_kept(retention, entry->tag);
}

int store_prune(struct store *store, const struct store_retention *retention,
		store_id **ret_ids, size_t *ret_count, struct err *err)
{
	CLEANUP_FREE struct store_entry *entries = NULL;
	CLEANUP_FREE store_id *ids = NULL;
	int64_t now_ns = clock_real_ns();
	size_t count, removed = 0;
	int rc = store_list(store, retention->cluster, &entries, &count, err);

	if (rc < 0)
		return rc;
	ids = calloc(count + 1, sizeof(*ids));
	if (!ids)
		return err_sys(err, ENOMEM, "list of checkpoints");
	for (size_t i = 0; i < count && rc == 0; i++) {
		if (stays(retention, entries, count, i, now_ns))
			continue;
		if (!retention->dry_run)
			rc = store_remove(store, entries[i].id, err);
		if (rc == -ENOENT) /* another host was faster */
			rc = 0;
		if (rc == 0)
			memcpy(ids[removed++], entries[i].id, sizeof(*ids));
	}
	if (rc < 0)
		return rc;
	*ret_ids = TAKE_PTR(ids);
	*ret_count = removed;
	return 0;
}
