/* SPDX-License-Identifier: BSD-3-Clause */
/* The catalog: a SQLite table of checkpoints, and a memory of files that were hashed before. */
#include "store/catalog.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "store/hash.h"

enum { SCHEMA_VERSION = 2 };

static const char schema[] =
	"BEGIN;"
	"CREATE TABLE checkpoint ("
	"  id TEXT PRIMARY KEY, cluster TEXT NOT NULL, tag TEXT NOT NULL, created_ns INTEGER NOT NULL,"
	"  logical_bytes INTEGER NOT NULL, bytes INTEGER NOT NULL, pause_ns INTEGER NOT NULL, vms INTEGER NOT NULL,"
	"  damaged INTEGER NOT NULL) STRICT;"
	"CREATE TABLE file ("
	"  device INTEGER NOT NULL, inode INTEGER NOT NULL, size_bytes INTEGER NOT NULL,"
	"  mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL, root BLOB NOT NULL,"
	"  logical_bytes INTEGER NOT NULL, data_bytes INTEGER NOT NULL,"
	"  PRIMARY KEY (device, inode)) STRICT;"
	"PRAGMA user_version = 2;"
	"COMMIT;";

struct catalog {
	sqlite3 *db;
};

static int catalog_errno(int code)
{
	switch (code & 0xff) {
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_FORMAT: return EBADMSG;
	case SQLITE_FULL: return ENOSPC;
	case SQLITE_NOMEM: return ENOMEM;
	case SQLITE_BUSY:
	case SQLITE_LOCKED: return EBUSY;
	case SQLITE_READONLY: return EROFS;
	default: return EIO;
	}
}

static int catalog_err(const struct catalog *catalog, struct err *err)
{
	return err_set(err, catalog_errno(sqlite3_errcode(catalog->db)),
		       "the store's catalog: %s", sqlite3_errmsg(catalog->db));
}

static int catalog_exec(struct catalog *catalog, const char *sql, struct err *err)
{
	if (sqlite3_exec(catalog->db, sql, NULL, NULL, NULL) != SQLITE_OK)
		return catalog_err(catalog, err);
	return 0;
}

static int catalog_prepare(struct catalog *catalog, const char *sql, sqlite3_stmt **ret_stmt,
			   struct err *err)
{
	if (sqlite3_prepare_v2(catalog->db, sql, -1, ret_stmt, NULL) != SQLITE_OK)
		return catalog_err(catalog, err);
	return 0;
}

/* Run a statement that gives no rows, and finalize it. */
static int catalog_finish(struct catalog *catalog, sqlite3_stmt *stmt, struct err *err)
{
	int rc = sqlite3_step(stmt) == SQLITE_DONE ? 0 : catalog_err(catalog, err);

	sqlite3_finalize(stmt);
	return rc;
}

/* The one value of a one-row query, as text. */
static int catalog_text(struct catalog *catalog, const char *sql, char *ret_text, size_t size,
			struct err *err)
{
	sqlite3_stmt *stmt;
	int rc = catalog_prepare(catalog, sql, &stmt, err);

	if (rc < 0)
		return rc;
	if (sqlite3_step(stmt) == SQLITE_ROW)
		snprintf(ret_text, size, "%s", (const char *)sqlite3_column_text(stmt, 0));
	else
		rc = catalog_err(catalog, err);
	sqlite3_finalize(stmt);
	return rc;
}

static void bind_text(sqlite3_stmt *stmt, int at, const char *text)
{
	sqlite3_bind_text(stmt, at, text, -1, SQLITE_TRANSIENT);
}

/* Set the connection up and see that the database is sound; an empty one gets its tables. */
static int catalog_init(struct catalog *catalog, struct err *err)
{
	char text[64];
	int rc;

	sqlite3_extended_result_codes(catalog->db, 1);
	sqlite3_busy_timeout(catalog->db, 5000);
	rc = catalog_exec(catalog, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;",
			  err);
	if (rc == 0)
		rc = catalog_text(catalog, "PRAGMA quick_check(1)", text, sizeof(text), err);
	if (rc == 0 && strcmp(text, "ok"))
		return err_set(err, EBADMSG, "the store's catalog is damaged: %s", text);
	if (rc == 0)
		rc = catalog_text(catalog, "PRAGMA user_version", text, sizeof(text), err);
	if (rc < 0)
		return rc;
	if (atoi(text) == SCHEMA_VERSION)
		return 0;
	if (atoi(text) != 0)
		return err_set(err, EBADMSG,
			       "the store's catalog has version %s, this program's is %d", text,
			       SCHEMA_VERSION);
	rc = catalog_text(catalog, "SELECT count(*) FROM sqlite_schema", text, sizeof(text),
			  err);
	if (rc == 0 && strcmp(text, "0"))
		return err_set(err, EBADMSG, "the store's catalog is not a catalog");
	return rc < 0 ? rc : catalog_exec(catalog, schema, err);
}

static int catalog_try_open(const char *path, struct catalog **ret_catalog, struct err *err)
{
	struct catalog *catalog = calloc(1, sizeof(*catalog));
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOFOLLOW;
	int rc;

	if (!catalog)
		return err_sys(err, ENOMEM, "catalog");
	if (sqlite3_open_v2(path, &catalog->db, flags, NULL) != SQLITE_OK)
		rc = catalog_err(catalog, err);
	else
		rc = catalog_init(catalog, err);
	if (rc < 0)
		catalog_close(catalog);
	else
		*ret_catalog = catalog;
	return rc;
}

int catalog_unlink(const char *path, struct err *err)
{
	static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		char name[IO_PATH_MAX];
		int rc = io_path(name, sizeof(name), err, "%s%s", path, suffixes[i]);

		if (rc < 0)
			return rc;
		if (unlink(name) < 0 && errno != ENOENT)
			return err_sys(err, errno, "cannot remove %s", name);
	}
	return 0;
}

int catalog_open(const char *path, struct catalog **ret_catalog, struct err *err)
{
	struct err fault = ERR_INIT;
	int rc = catalog_try_open(path ? path : ":memory:", ret_catalog, &fault);

	if (rc == -EBADMSG && path) {
		log_warn("%s; it is made anew", fault.msg);
		rc = catalog_unlink(path, &fault);
		if (rc == 0)
			rc = catalog_try_open(path, ret_catalog, &fault);
	}
	if (rc < 0 && err)
		*err = fault;
	return rc;
}

void catalog_close(struct catalog *catalog)
{
	if (!catalog)
		return;
	sqlite3_close(catalog->db);
	free(catalog);
}

int catalog_put(struct catalog *catalog, const struct store_entry *entry, struct err *err)
{
	sqlite3_stmt *stmt;
	int rc = catalog_prepare(
		catalog,
		"INSERT OR REPLACE INTO checkpoint (id, cluster, tag, created_ns, "
		"bytes, pause_ns, vms, damaged, logical_bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
		&stmt, err);

	if (rc < 0)
		return rc;
	bind_text(stmt, 1, entry->id);
	bind_text(stmt, 2, entry->cluster);
	bind_text(stmt, 3, entry->tag);
	sqlite3_bind_int64(stmt, 4, entry->created_ns);
	sqlite3_bind_int64(stmt, 5, (sqlite3_int64)entry->bytes);
	sqlite3_bind_int64(stmt, 6, entry->pause_ns);
	sqlite3_bind_int64(stmt, 7, entry->vms);
	sqlite3_bind_int(stmt, 8, entry->damaged);
	sqlite3_bind_int64(stmt, 9, (sqlite3_int64)entry->logical_bytes);
	return catalog_finish(catalog, stmt, err);
}

int catalog_remove(struct catalog *catalog, const char *id, struct err *err)
{
	sqlite3_stmt *stmt;
	int rc = catalog_prepare(catalog, "DELETE FROM checkpoint WHERE id = ?", &stmt, err);

	if (rc < 0)
		return rc;
	bind_text(stmt, 1, id);
	return catalog_finish(catalog, stmt, err);
}

int catalog_set_damaged(struct catalog *catalog, const char *id, bool damaged, struct err *err)
{
	sqlite3_stmt *stmt;
	int rc = catalog_prepare(catalog, "UPDATE checkpoint SET damaged = ? WHERE id = ?",
				 &stmt, err);

	if (rc < 0)
		return rc;
	sqlite3_bind_int(stmt, 1, damaged);
	bind_text(stmt, 2, id);
	return catalog_finish(catalog, stmt, err);
}

static void column_copy(sqlite3_stmt *stmt, int at, char ret_text[STORE_ID_MAX])
{
	snprintf(ret_text, STORE_ID_MAX, "%s", (const char *)sqlite3_column_text(stmt, at));
}

static void entry_from_row(sqlite3_stmt *stmt, struct store_entry *ret_entry)
{
	*ret_entry = (struct store_entry){
		.created_ns = sqlite3_column_int64(stmt, 3),
		.bytes = (uint64_t)sqlite3_column_int64(stmt, 4),
		.pause_ns = sqlite3_column_int64(stmt, 5),
		.vms = (unsigned int)sqlite3_column_int64(stmt, 6),
		.damaged = sqlite3_column_int(stmt, 7),
		.logical_bytes = (uint64_t)sqlite3_column_int64(stmt, 8),
	};
	column_copy(stmt, 0, ret_entry->id);
	column_copy(stmt, 1, ret_entry->cluster);
	column_copy(stmt, 2, ret_entry->tag);
}

int catalog_list(struct catalog *catalog, const char *cluster, struct store_entry **ret_entries,
		 size_t *ret_count, struct err *err)
{
	CLEANUP_FREE struct store_entry *entries = NULL;
	size_t count = 0, room = 0;
	sqlite3_stmt *stmt;
	int step,
		rc = catalog_prepare(
			catalog,
			"SELECT id, cluster, tag, created_ns, bytes, pause_ns, vms, "
			"damaged, logical_bytes FROM checkpoint WHERE ?1 IS NULL OR cluster = ?1 "
			"ORDER BY created_ns, id",
			&stmt, err);

	if (rc < 0)
		return rc;
	if (cluster)
		bind_text(stmt, 1, cluster);
	while ((step = sqlite3_step(stmt)) == SQLITE_ROW) {
		if (count == room) {
			struct store_entry *more;

			room = room ? 2 * room : 16;
			more = reallocarray(entries, room, sizeof(*more));
			if (!more) {
				rc = err_sys(err, ENOMEM, "list of checkpoints");
				break;
			}
			entries = more;
		}
		entry_from_row(stmt, &entries[count++]);
	}
	if (rc == 0 && step != SQLITE_DONE)
		rc = catalog_err(catalog, err);
	sqlite3_finalize(stmt);
	if (rc < 0)
		return rc;
	*ret_entries = TAKE_PTR(entries);
	*ret_count = count;
	return 0;
}

int catalog_file_recall(struct catalog *catalog, const struct catalog_file *file,
			struct stream_ref *ret_ref, struct err *err)
{
	sqlite3_stmt *stmt;
	int step, rc = catalog_prepare(catalog,
				       "SELECT root, logical_bytes, data_bytes FROM file WHERE "
				       "device = ? AND inode = ? AND size_bytes = ? AND "
				       "mtime_ns = ? AND ctime_ns = ? AND length(root) = 32",
				       &stmt, err);

	if (rc < 0)
		return rc;
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)file->device);
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)file->inode);
	sqlite3_bind_int64(stmt, 3, (sqlite3_int64)file->size_bytes);
	sqlite3_bind_int64(stmt, 4, file->mtime_ns);
	sqlite3_bind_int64(stmt, 5, file->ctime_ns);
	step = sqlite3_step(stmt);
	if (step == SQLITE_ROW) {
		memcpy(ret_ref->root.bytes, sqlite3_column_blob(stmt, 0), CHUNK_ID_BYTES);
		ret_ref->logical_bytes = (uint64_t)sqlite3_column_int64(stmt, 1);
		ret_ref->data_bytes = (uint64_t)sqlite3_column_int64(stmt, 2);
		rc = 1;
	} else if (step != SQLITE_DONE) {
		rc = catalog_err(catalog, err);
	}
	sqlite3_finalize(stmt);
	return rc;
}

int catalog_file_remember(struct catalog *catalog, const struct catalog_file *file,
			  const struct stream_ref *ref, struct err *err)
{
	sqlite3_stmt *stmt;
	int rc = catalog_prepare(
		catalog,
		"INSERT OR REPLACE INTO file (device, inode, size_bytes, mtime_ns, "
		"ctime_ns, root, logical_bytes, data_bytes) "
		"VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		&stmt, err);

	if (rc < 0)
		return rc;
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)file->device);
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)file->inode);
	sqlite3_bind_int64(stmt, 3, (sqlite3_int64)file->size_bytes);
	sqlite3_bind_int64(stmt, 4, file->mtime_ns);
	sqlite3_bind_int64(stmt, 5, file->ctime_ns);
	sqlite3_bind_blob(stmt, 6, ref->root.bytes, CHUNK_ID_BYTES, SQLITE_TRANSIENT);
	sqlite3_bind_int64(stmt, 7, (sqlite3_int64)ref->logical_bytes);
	sqlite3_bind_int64(stmt, 8, (sqlite3_int64)ref->data_bytes);
	return catalog_finish(catalog, stmt, err);
}

int catalog_file_forget(struct catalog *catalog, const struct stream_ref *ref, struct err *err)
{
	sqlite3_stmt *stmt;
	int rc = catalog_prepare(catalog, "DELETE FROM file WHERE root = ?", &stmt, err);

	if (rc < 0)
		return rc;
	sqlite3_bind_blob(stmt, 1, ref->root.bytes, CHUNK_ID_BYTES, SQLITE_TRANSIENT);
	return catalog_finish(catalog, stmt, err);
}
