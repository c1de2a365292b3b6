/* SPDX-License-Identifier: BSD-3-Clause */
/* Which chunks the checkpoints need: marking of live ones. A tree that was marked before is not
 * walked again, so that the work is that of the distinct nodes. */
#include "store/mark.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "store/tree.h"

int mark_begin(struct store *store, struct mark *ret_mark, struct err *err)
{
	*ret_mark = (struct mark){.store = store};
	return chunk_reader_create(store, &ret_mark->reader, err);
}

void mark_end(struct mark *mark)
{
	chunk_reader_destroy(mark->reader);
	id_set_clear(&mark->live);
	free(mark->seen);
	*mark = (struct mark){0};
}

static int mark_inner(const struct chunk_id *id, void *arg, struct err *err)
{
	struct mark *mark = arg;
	int rc = id_set_add(&mark->live, id, err);

	return rc < 0 ? rc : 0;
}

static int mark_leaf(struct mark *mark, const struct stream_ref *ref, uint64_t block,
		     const struct chunk_id *id, struct err *err)
{
	struct node_ids node;
	int rc = chunk_id_is_zero(id) ? 0 : id_set_add(&mark->live, id, err);

	if (rc <= 0) /* zeros, known already, or failed */
		return rc;
	rc = tree_leaf(mark->reader, ref, block, id, &node, err);
	for (unsigned int i = 0; i < NODE_FANOUT && rc >= 0; i++)
		if (!chunk_id_is_zero(&node.ids[i]))
			rc = id_set_add(&mark->live, &node.ids[i], err);
	return rc < 0 ? rc : 0;
}

int mark_stream(struct mark *mark, const struct stream_ref *ref, struct err *err)
{
	uint64_t blocks = tree_blocks(ref->logical_bytes);
	CLEANUP_FREE struct chunk_id *leaves = NULL;
	int rc = tree_inner(mark->reader, ref, mark_inner, mark, &leaves, err);

	for (uint64_t block = 0; block < blocks && rc == 0; block++)
		rc = mark_leaf(mark, ref, block, &leaves[block], err);
	return rc;
}

static int mark_checkpoint(struct mark *mark, const char *id, struct err *err)
{
	CLEANUP_FREE struct manifest_stream *streams = NULL;
	json_t *manifest;
	size_t count = 0;
	int rc = store_manifest_any(mark->store, id, &manifest, err);

	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	rc = manifest_streams(manifest, &streams, &count, err);
	json_decref(manifest);
	for (size_t i = 0; i < count && rc == 0; i++)
		rc = mark_stream(mark, &streams[i].ref, err);
	return rc;
}

static bool quarantined(struct mark *mark, const char *id)
{
	char object[STORE_OBJECT_MAX];

	store_object("damaged", id, object);
	return backend_has(mark->store->backend, object, NULL) == 1;
}

static bool seen(const struct mark *mark, const char *id)
{
	for (size_t i = 0; i < mark->seen_count; i++)
		if (!strcmp(mark->seen[i], id))
			return true;
	return false;
}

int mark_manifests(struct mark *mark, struct err *err)
{
	CLEANUP_FREE store_id *ids = NULL;
	size_t count = 0;
	store_id *more;
	int rc = store_scan(mark->store, &ids, &count, err);

	if (rc < 0)
		return rc;
	more = reallocarray(mark->seen, mark->seen_count + count + 1, sizeof(*more));
	if (!more)
		return err_sys(err, ENOMEM, "list of checkpoints");
	mark->seen = more;
	for (size_t i = 0; i < count && rc == 0; i++) {
		struct err fault = ERR_INIT;

		if (seen(mark, ids[i]))
			continue;
		rc = mark_checkpoint(mark, ids[i], &fault);
		if (rc == -EBADMSG && quarantined(mark, ids[i])) {
			mark->partly = true;
			log_warn("what is left of the damaged checkpoint %s may go", ids[i]);
			rc = 0;
		}
		if (rc < 0)
			return err_set(
				err, -rc,
				"nothing is collected, as it is not known what checkpoint %s needs "
				"(stasis verify %s, or remove it): %s",
				ids[i], ids[i], fault.msg);
		memcpy(mark->seen[mark->seen_count++], ids[i], sizeof(*ids));
	}
	return rc;
}
