/* SPDX-License-Identifier: BSD-3-Clause */
/* Client of an NBD server on a unix socket: which ranges of an export a metadata context marks.
 */
#include "vm/disk/nbd.h"

#include <errno.h>
#include <libnbd.h>
#include <stdbool.h>
#include <string.h>

#include "base/clock.h"

/* A request's length has 32 bits; this is a multiple of every block size. */
#define REQUEST_BYTES_MAX (UINT64_C(2) << 30)

struct reader {
	struct nbd_handle *nbd;
	const char *context; /* or NULL */
	int64_t deadline_ns;
	uint64_t bytes, offset; /* of the export; the next range begins here */
	nbd_extent_fn fn;
	void *arg;
};

static int fault(const char *what, struct err *err)
{
	int code = nbd_get_errno();
	const char *why = nbd_get_error();

	return err_set(err, code ? code : EIO, "NBD: %s: %s", what,
		       why ? why : "no reason given");
}

/* Let the protocol go on, until something has happened or the deadline has come. */
static int go_on(const struct reader *reader, const char *what, struct err *err)
{
	int left_ms = deadline_left_ms(reader->deadline_ns);

	if (left_ms == 0)
		return err_set(err, ETIMEDOUT, "NBD: %s: no answer in time", what);
	return nbd_poll(reader->nbd, left_ms) < 0 ? fault(what, err) : 0;
}

static int connect_to(struct reader *reader, const char *socket_path, const char *export_name,
		      struct err *err)
{
	static const char what[] = "connection";
	int64_t bytes;
	int rc = 0;

	if (nbd_set_export_name(reader->nbd, export_name) < 0 ||
	    (reader->context && nbd_add_meta_context(reader->nbd, reader->context) < 0) ||
	    nbd_aio_connect_unix(reader->nbd, socket_path) < 0)
		return fault(what, err);
	while (rc == 0 && nbd_aio_is_ready(reader->nbd) <= 0) {
		if (nbd_aio_is_dead(reader->nbd) > 0 || nbd_aio_is_closed(reader->nbd) > 0)
			return err_set(err, ECONNRESET, "NBD: the server at %s hung up",
				       socket_path);
		rc = go_on(reader, what, err);
	}
	if (rc < 0)
		return rc;
	bytes = nbd_get_size(reader->nbd);
	if (bytes < 0)
		return fault("size", err);
	if (reader->context && nbd_can_meta_context(reader->nbd, reader->context) <= 0)
		return err_set(err, EPROTO, "NBD: export %s has no context %s", export_name,
			       reader->context);
	reader->bytes = (uint64_t)bytes;
	return 0;
}

/* One answer: pairs of a length and flags. What it says of bytes beyond the end, or that were
 * told already, is not told. */
static int extents_told(void *user, const char *context, uint64_t offset, uint32_t *entries,
			size_t entry_count, int *error)
{
	struct reader *reader = user;

	(void)error;
	if (strcmp(context, reader->context) != 0)
		return 0;
	for (size_t i = 0; i + 1 < entry_count; i += 2) {
		uint64_t end = offset + entries[i];

		if (end > reader->bytes)
			end = reader->bytes;
		if (offset == reader->offset && end > offset) {
			reader->fn(reader->arg, offset, end - offset, entries[i + 1]);
			reader->offset = end;
		}
		offset = end;
	}
	return 0;
}

static int command_wait(const struct reader *reader, int64_t cookie, const char *what,
			struct err *err)
{
	int done, rc = 0;

	if (cookie < 0)
		return fault(what, err);
	while (rc == 0 &&
	       (done = nbd_aio_command_completed(reader->nbd, (uint64_t)cookie)) <= 0) {
		if (done < 0)
			return fault(what, err);
		rc = go_on(reader, what, err);
	}
	return rc;
}

static int ask(struct reader *reader, struct err *err)
{
	static const char what[] = "block status";
	uint64_t left = reader->bytes - reader->offset, before = reader->offset;
	nbd_extent_callback extents = {.callback = extents_told, .user_data = reader};
	int rc;

	if (left > REQUEST_BYTES_MAX)
		left = REQUEST_BYTES_MAX;
	rc = command_wait(reader,
			  nbd_aio_block_status(reader->nbd, left, reader->offset, extents,
					       NBD_NULL_COMPLETION, 0),
			  what, err);
	if (rc == 0 && reader->offset == before)
		rc = err_set(err, EPROTO, "NBD: %s: an empty answer", what);
	return rc;
}

int nbd_extents(const char *socket_path, const char *export_name, const char *context,
		int64_t deadline_ns, nbd_extent_fn fn, void *arg, uint64_t *ret_bytes,
		struct err *err)
{
	struct reader reader = {
		.nbd = nbd_create(),
		.context = context,
		.deadline_ns = deadline_ns,
		.fn = fn,
		.arg = arg,
	};
	int rc = reader.nbd ? 0 : fault("client", err);

	if (rc == 0)
		rc = connect_to(&reader, socket_path, export_name, err);
	while (rc == 0 && reader.offset < reader.bytes)
		rc = ask(&reader, err);
	nbd_close(reader.nbd);
	if (rc == 0)
		*ret_bytes = reader.bytes;
	return rc;
}

int nbd_read_start(const char *socket_path, const char *export_name, int64_t deadline_ns,
		   void *buf, size_t len, struct err *err)
{
	struct reader reader = {.nbd = nbd_create(), .deadline_ns = deadline_ns};
	int rc = reader.nbd ? 0 : fault("client", err);

	if (rc == 0)
		rc = connect_to(&reader, socket_path, export_name, err);
	if (rc == 0 && reader.bytes < len)
		rc = err_set(err, EIO, "NBD: export %s has %llu bytes only", export_name,
			     (unsigned long long)reader.bytes);
	if (rc == 0)
		rc = command_wait(
			&reader, nbd_aio_pread(reader.nbd, buf, len, 0, NBD_NULL_COMPLETION, 0),
			"read", err);
	nbd_close(reader.nbd);
	return rc;
}
