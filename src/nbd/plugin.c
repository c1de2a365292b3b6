/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stasis-nbdkit-plugin: streams of a store as exports of an NBD server, read-only.
 *
 *   nbdkit --readonly --unix SOCKET stasis-nbdkit-plugin.so location=… [checkpoint=…]
 *          [key-file=…] [key-command=…]
 *
 * An export's name is <root>-<logical bytes>-<data bytes>, the stream's reference in the
 * checkpoint's manifest. While the server lives it has a lease, so that what it serves stays,
 * whatever is removed. Every page is checked against its id when it is read: damage is EIO.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "base/hex.h"
#include "base/log.h"
#include "store/store.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

/* The one store of this process. */
static struct {
	char *location, *checkpoint, *key_file, *key_command;
	struct store *store;
	struct store_lease *lease;
} served;

struct handle {
	struct store_stream *stream;
	uint64_t bytes;
};

/* Errors are told in sentences and as an errno for the client. */
static int fail(const struct err *err)
{
	nbdkit_error("%s", err->msg);
	nbdkit_set_error(err->code == EBADMSG ? EIO : err->code);
	return -1;
}

static void log_line(enum log_level level, const char *line, void *arg)
{
	(void)arg;
	if (level <= LOG_WARN)
		nbdkit_error("%s", line);
	else
		nbdkit_debug("%s", line);
}

static void served_load(void)
{
	/* nbdkit in the foreground asks to be ended with its parent. That is the daemon's
	 * thread which started it and ends with its restart, while the VMs go on reading. */
	prctl(PR_SET_PDEATHSIG, 0);
	log_set_sink(log_line, NULL, LOG_INFO);
}

static void served_unload(void)
{
	free(served.location);
	free(served.checkpoint);
	free(served.key_file);
	free(served.key_command);
}

static int served_config(const char *key, const char *value)
{
	static const struct {
		const char *key;
		char **text;
	} keys[] = {
		{"location", &served.location},
		{"checkpoint", &served.checkpoint},
		{"key-file", &served.key_file},
		{"key-command", &served.key_command},
	};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (strcmp(key, keys[i].key) != 0)
			continue;
		free(*keys[i].text);
		*keys[i].text = strdup(value);
		return *keys[i].text ? 0 : -1;
	}
	nbdkit_error("there is no setting %s", key);
	return -1;
}

static int served_config_complete(void)
{
	if (served.location)
		return 0;
	nbdkit_error("location=… must say where the store is");
	return -1;
}

/* In the process that serves: no thread and no lock of the store crosses a fork. */
static int served_after_fork(void)
{
	const struct store_config config = {
		.location = served.location,
		.key_file = served.key_file,
		.key_command = served.key_command,
		/* Nothing is written but the lease, which a store for reading only has not. */
	};
	struct err err = ERR_INIT;
	int rc = store_open(&config, &served.store, &err);

	if (rc == 0)
		rc = store_lease_begin(served.store, served.checkpoint, &served.lease, &err);
	return rc < 0 ? fail(&err) : 0;
}

static void served_cleanup(void)
{
	store_lease_end(served.lease);
	store_close(served.store);
	served.lease = NULL;
	served.store = NULL;
}

/* <root>-<logical bytes>-<data bytes> */
static bool name_parse(const char *name, struct stream_ref *ret_ref)
{
	int used = 0;

	if (strlen(name) < 2 * CHUNK_ID_BYTES ||
	    !hex_decode(name, ret_ref->root.bytes, CHUNK_ID_BYTES))
		return false;
	name += 2 * CHUNK_ID_BYTES;
	if (sscanf(name, "-%" SCNu64 "-%" SCNu64 "%n", &ret_ref->logical_bytes,
		   &ret_ref->data_bytes, &used) != 2 ||
	    name[used] != '\0')
		return false;
	return ret_ref->logical_bytes <= STREAM_BYTES_MAX &&
	       ret_ref->data_bytes <= ret_ref->logical_bytes;
}

static void *served_open(int readonly)
{
	const char *name = nbdkit_export_name();
	struct err err = ERR_INIT;
	struct stream_ref ref;
	struct handle *handle;

	(void)readonly;
	if (!name || !name_parse(name, &ref)) {
		nbdkit_error("the export \"%s\" is not <root>-<logical bytes>-<data bytes>",
			     name ? name : "");
		nbdkit_set_error(ENOENT);
		return NULL;
	}
	handle = calloc(1, sizeof(*handle));
	if (!handle) {
		nbdkit_error("no memory");
		return NULL;
	}
	handle->bytes = ref.logical_bytes;
	if (store_stream_open(served.store, &ref, &handle->stream, &err) < 0) {
		fail(&err);
		free(handle);
		return NULL;
	}
	return handle;
}

static void served_close(void *opened)
{
	struct handle *handle = opened;

	store_stream_close(handle->stream);
	free(handle);
}

static int64_t served_get_size(void *opened)
{
	return (int64_t)((const struct handle *)opened)->bytes;
}

/* Nothing is ever written, so that connections cannot differ. */
static int served_can_multi_conn(void *opened)
{
	(void)opened;
	return 1;
}

static int served_can_write(void *opened)
{
	(void)opened;
	return 0;
}

static int served_can_extents(void *opened)
{
	(void)opened;
	return 1;
}

static int served_pread(void *opened, void *buf, uint32_t count, uint64_t offset,
			uint32_t flags)
{
	struct handle *handle = opened;
	struct err err = ERR_INIT;

	(void)flags;
	return store_stream_read(handle->stream, offset, buf, count, &err) < 0 ? fail(&err) : 0;
}

static int served_extents(void *opened, uint32_t count, uint64_t offset, uint32_t flags,
			  struct nbdkit_extents *extents)
{
	struct handle *handle = opened;
	uint64_t end = offset + count;
	struct err err = ERR_INIT;

	while (offset < end) {
		uint64_t next;
		bool data;

		if (store_stream_extent(handle->stream, offset, &data, &next, &err) < 0)
			return fail(&err);
		if (nbdkit_add_extent(extents, offset, next - offset,
				      data ? 0 : NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO) < 0)
			return -1;
		offset = next;
		if (flags & NBDKIT_FLAG_REQ_ONE)
			break;
	}
	return 0;
}

static struct nbdkit_plugin plugin = {
	.name = "stasis",
	.longname = "Stasis store",
	.version = STASIS_VERSION,
	.description = "serves disk layers of checkpoints",
	.config_help = "location=DIR|s3://BUCKET/PREFIX  where the store is\n"
		       "checkpoint=ID                    must exist; what it names is kept\n"
		       "key-file=FILE, key-command=CMD   of an encrypted store",
	.load = served_load,
	.unload = served_unload,
	.config = served_config,
	.config_complete = served_config_complete,
	.after_fork = served_after_fork,
	.cleanup = served_cleanup,
	.open = served_open,
	.close = served_close,
	.get_size = served_get_size,
	.can_multi_conn = served_can_multi_conn,
	.can_write = served_can_write,
	.can_extents = served_can_extents,
	.pread = served_pread,
	.extents = served_extents,
};

/* What the macro defines, for nbdkit. */
struct nbdkit_plugin *plugin_init(void);

NBDKIT_REGISTER_PLUGIN(plugin)
