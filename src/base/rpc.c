/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames and messages of remote procedure calls: encoding, decoding, replies, members. */
#include "base/rpc.h"

#include <ctype.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/rpc_frame.h"

const char rpc_magic[RPC_MAGIC_BYTES] = {'\x89', 'S', 'T', 'A', 'S', 'I', 'S', '\n'};

enum {
	OFFSET_VERSION = 8,
	OFFSET_JSON_BYTES = 12,
	OFFSET_BLOB_BYTES = 16,
	OFFSET_HEADER_CHECK = 20,
	OFFSET_CHECK = 24,
	ERRNO_MAX = 4095,
	JSON_DEPTH_MAX = 32,
	JSON_VALUES_MAX = 1 << 18, /* bounds the memory a frame can make the parser take */
};

static void put_u32(char *at, uint32_t value)
{
	value = htole32(value);
	memcpy(at, &value, sizeof(value));
}

static uint32_t get_u32(const char *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return le32toh(value);
}

static uint32_t header_check(const char *frame)
{
	return (uint32_t)XXH64(frame, OFFSET_HEADER_CHECK, 0);
}

static uint64_t frame_check(const char *frame, size_t payload_bytes)
{
	XXH64_state_t state;

	XXH64_reset(&state, 0);
	XXH64_update(&state, frame, OFFSET_CHECK);
	XXH64_update(&state, frame + RPC_HEADER_BYTES, payload_bytes);
	return XXH64_digest(&state);
}

void rpc_msg_clear(struct rpc_msg *msg)
{
	json_decref(msg->json);
	free(msg->blob);
	*msg = (struct rpc_msg){0};
}

int rpc_encode(const json_t *json, const void *blob, size_t blob_len, size_t max,
	       char **ret_bytes, size_t *ret_len, struct err *err)
{
	size_t json_len;
	size_t len;
	uint64_t check;
	char *bytes;

	json_len = json_is_object(json) ? json_dumpb(json, NULL, 0, JSON_COMPACT) : 0;
	if (json_len == 0)
		return err_set(err, EINVAL, "a message must be a JSON object of valid text");
	if (max < RPC_HEADER_BYTES || json_len > max - RPC_HEADER_BYTES ||
	    blob_len > max - RPC_HEADER_BYTES - json_len)
		return err_set(
			err, EMSGSIZE,
			"a message of %zu bytes of JSON and %zu of data exceeds the limit of %zu",
			json_len, blob_len, max);

	len = RPC_HEADER_BYTES + json_len + blob_len;
	bytes = malloc(len);
	if (!bytes)
		return err_set(err, ENOMEM, "no memory for a message of %zu bytes", len);
	memcpy(bytes, rpc_magic, sizeof(rpc_magic));
	put_u32(bytes + OFFSET_VERSION, RPC_VERSION);
	put_u32(bytes + OFFSET_JSON_BYTES, (uint32_t)json_len);
	put_u32(bytes + OFFSET_BLOB_BYTES, (uint32_t)blob_len);
	put_u32(bytes + OFFSET_HEADER_CHECK, header_check(bytes));
	json_dumpb(json, bytes + RPC_HEADER_BYTES, json_len, JSON_COMPACT);
	if (blob_len)
		memcpy(bytes + RPC_HEADER_BYTES + json_len, blob, blob_len);
	check = htole64(frame_check(bytes, json_len + blob_len));
	memcpy(bytes + OFFSET_CHECK, &check, sizeof(check));
	*ret_bytes = bytes;
	*ret_len = len;
	return 0;
}

int rpc_header_parse(const char *frame, size_t max, struct rpc_header *ret_header,
		     struct err *err)
{
	uint32_t version = get_u32(frame + OFFSET_VERSION);
	uint32_t json_bytes = get_u32(frame + OFFSET_JSON_BYTES);
	uint32_t blob_bytes = get_u32(frame + OFFSET_BLOB_BYTES);

	if (memcmp(frame, rpc_magic, sizeof(rpc_magic)) != 0)
		return err_set(err, EPROTO,
			       "the stream does not begin a frame where one is due");
	if (get_u32(frame + OFFSET_HEADER_CHECK) != header_check(frame))
		return err_set(err, EPROTO, "a frame's header is damaged");
	if (version != RPC_VERSION)
		return err_set(
			err, EPROTO,
			"the peer speaks version %u of the protocol, this program version %d",
			version, RPC_VERSION);
	if (json_bytes == 0 || (uint64_t)RPC_HEADER_BYTES + json_bytes + blob_bytes > max)
		return err_set(
			err, EPROTO,
			"a frame of %u bytes of JSON and %u of data is outside the limit of %zu",
			json_bytes, blob_bytes, max);
	*ret_header = (struct rpc_header){json_bytes, blob_bytes};
	return 0;
}

/* Bound nesting and number of values before the parser allocates for them. */
static int json_bounds_check(const char *text, size_t len, struct err *err)
{
	size_t depth = 0;
	size_t values = 1;
	bool in_string = false;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
			continue;
		}
		in_string = c == '"';
		if (c == '{' || c == '[')
			depth++;
		else if ((c == '}' || c == ']') && depth > 0)
			depth--;
		if (c == ',' || c == '{' || c == '[')
			values++;
		if (depth > JSON_DEPTH_MAX || values > JSON_VALUES_MAX)
			return err_set(err, EPROTO,
				       "a message is nested too deeply or too long");
	}
	return 0;
}

static int json_parse(const char *text, size_t len, json_t **ret_json, struct err *err)
{
	json_error_t why;
	json_t *json;
	int rc;

	rc = json_bounds_check(text, len, err);
	if (rc < 0)
		return rc;
	json = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
	if (!json)
		return err_set(err, EPROTO, "a message is not valid JSON at byte %d",
			       why.position);
	if (!json_is_object(json)) {
		json_decref(json);
		return err_set(err, EPROTO, "a message is not a JSON object");
	}
	*ret_json = json;
	return 0;
}

int rpc_frame_decode(const char *frame, struct rpc_header header, struct rpc_msg *ret_msg,
		     struct err *err)
{
	struct rpc_msg msg = {.blob_len = header.blob_bytes};
	uint64_t check;
	int rc;

	memcpy(&check, frame + OFFSET_CHECK, sizeof(check));
	if (le64toh(check) != frame_check(frame, (size_t)header.json_bytes + header.blob_bytes))
		return err_set(err, EPROTO, "a frame is damaged: its checksum does not match");
	rc = json_parse(frame + RPC_HEADER_BYTES, header.json_bytes, &msg.json, err);
	if (rc < 0)
		return rc;
	if (msg.blob_len) {
		msg.blob = malloc(msg.blob_len);
		if (!msg.blob) {
			json_decref(msg.json);
			return err_set(err, ENOMEM, "no memory for %zu bytes of data",
				       msg.blob_len);
		}
		memcpy(msg.blob, frame + RPC_HEADER_BYTES + header.json_bytes, msg.blob_len);
	}
	*ret_msg = msg;
	return 0;
}

static json_t *reply_new(const json_t *request, json_t *ok)
{
	json_t *reply = json_object();
	json_t *id = json_object_get(request, "id");

	if (!reply) {
		json_decref(ok);
		return NULL;
	}
	if (json_object_set(reply, "id", json_is_integer(id) ? id : json_null()) < 0 ||
	    json_object_set_new(reply, "ok", ok) < 0) {
		json_decref(reply);
		return NULL;
	}
	return reply;
}

json_t *rpc_reply_ok(const json_t *request)
{
	return reply_new(request, json_true());
}

/* The text with everything but ASCII replaced: it quotes bytes that are not UTF-8, or was cut
 * inside a character. */
static json_t *ascii_string(const char *text)
{
	char *copy = strdup(text);
	json_t *value;

	for (char *c = copy; c && *c; c++)
		if (!isascii(*c))
			*c = '?';
	value = copy ? json_string(copy) : NULL;
	free(copy);
	return value;
}

json_t *rpc_reply_error(const json_t *request, const struct err *err)
{
	json_t *reply = reply_new(request, json_false());
	json_t *message = json_string(err->msg);

	if (!message)
		message = ascii_string(err->msg);
	if (json_object_set_new(reply, "errno", json_integer(err->code)) < 0 ||
	    json_object_set_new(reply, "message", message) < 0) {
		json_decref(reply);
		return NULL;
	}
	return reply;
}

int rpc_reply_check(const json_t *reply, struct err *err)
{
	json_t *ok = json_object_get(reply, "ok");
	const char *message = "";
	int64_t code = 0;
	int rc;

	if (json_is_true(ok))
		return 0;
	if (!json_is_false(ok))
		return err_set(err, EPROTO,
			       "the reply has no member \"ok\" that is true or false");
	rc = rpc_get_int(reply, "errno", 1, ERRNO_MAX, &code, err);
	if (rc == 0)
		rc = rpc_get_str(reply, "message", &message, err);
	if (rc < 0)
		return rc;
	rc = err_set(err, (int)code, "%s", message);
	for (char *c = err ? err->msg : NULL; c && *c; c++)
		if (iscntrl((unsigned char)*c)) /* a peer's text must not steer a terminal */
			*c = '?';
	return rc;
}

static int member_missing(const char *key, struct err *err)
{
	return err_set(err, EPROTO, "the message has no member \"%s\"", key);
}

int rpc_get_str(const json_t *json, const char *key, const char **ret_value, struct err *err)
{
	if (!json_object_get(json, key))
		return member_missing(key, err);
	return rpc_opt_str(json, key, ret_value, err);
}

int rpc_get_int(const json_t *json, const char *key, int64_t min, int64_t max,
		int64_t *ret_value, struct err *err)
{
	if (!json_object_get(json, key))
		return member_missing(key, err);
	return rpc_opt_int(json, key, min, max, ret_value, err);
}

int rpc_opt_str(const json_t *json, const char *key, const char **ret_value, struct err *err)
{
	json_t *member = json_object_get(json, key);

	if (!member)
		return 0;
	if (!json_is_string(member))
		return err_set(err, EPROTO, "the message's member \"%s\" is not a text", key);
	*ret_value = json_string_value(member);
	return 0;
}

int rpc_opt_int(const json_t *json, const char *key, int64_t min, int64_t max,
		int64_t *ret_value, struct err *err)
{
	json_t *member = json_object_get(json, key);
	int64_t value;

	if (!member)
		return 0;
	if (!json_is_integer(member))
		return err_set(err, EPROTO, "the message's member \"%s\" is not a whole number",
			       key);
	value = json_integer_value(member);
	if (value < min || value > max)
		return err_set(err, EPROTO,
			       "the message's member \"%s\" is %" PRId64
			       ", not between %" PRId64 " and %" PRId64,
			       key, value, min, max);
	*ret_value = value;
	return 0;
}

int rpc_opt_bool(const json_t *json, const char *key, bool *ret_value, struct err *err)
{
	json_t *member = json_object_get(json, key);

	if (!member)
		return 0;
	if (!json_is_boolean(member))
		return err_set(err, EPROTO, "the message's member \"%s\" is not true or false",
			       key);
	*ret_value = json_is_true(member);
	return 0;
}
