/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of manifests: their envelope byte by byte, and every field missing, of a wrong type,
 * out of bounds. */
#include "store_fixture.h"

#include "store/hash.h"
#include "store/manifest.h"

static json_t *good_manifest(void)
{
	struct stream_ref refs[3] = {{.logical_bytes = 4096, .data_bytes = 4096},
				     {.logical_bytes = 1, .data_bytes = 1, .root = {{0xab}}},
				     {.logical_bytes = 0}};
	json_t *manifest = manifest_make("demo", "", 1, refs, refs);

	json_object_set_new(manifest, "format", json_integer(MANIFEST_VERSION));
	json_object_set_new(manifest, "stored_bytes", json_integer(12345));
	json_object_set_new(manifest, "id", json_string("demo-20261122-181900-4f2a"));
	return manifest;
}

static char *good_text(size_t *ret_len)
{
	json_t *manifest = good_manifest();
	struct err err = ERR_INIT;
	char *text;

	assert_ok(manifest_encode(manifest, &text, ret_len, &err));
	json_decref(manifest);
	return text;
}

/* What holds the member at a path such as "vms/0/ram/root", and the member's key. */
static json_t *json_parent(json_t *root, const char *path, char ret_key[64])
{
	char copy[128], *save = NULL;
	json_t *at = root, *parent = root;

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *key = strtok_r(copy, "/", &save); key; key = strtok_r(NULL, "/", &save)) {
		parent = at;
		snprintf(ret_key, 64, "%s", key);
		at = json_is_array(at) ? json_array_get(at, (size_t)atoi(key))
				       : json_object_get(at, key);
	}
	return parent;
}

/* Check the good manifest with the member at `path` replaced by the JSON text, or removed for
 * NULL. */
static int check_with(const char *path, const char *value, struct err *err)
{
	char key[64];
	json_t *manifest = good_manifest(), *parent = json_parent(manifest, path, key), *new;
	int rc;

	if (value) {
		new = json_loads(value, JSON_DECODE_ANY, NULL);
		assert_non_null(new);
		json_object_set_new(parent, key, new);
	} else {
		assert_int_equal(json_object_del(parent, key), 0);
	}
	rc = manifest_check(manifest, err);
	json_decref(manifest);
	return rc;
}

static void test_round_trip(void **state)
{
	json_t *manifest = good_manifest(), *back;
	struct manifest_stream *streams;
	struct err err = ERR_INIT;
	size_t len, count;
	char *text;

	(void)state;
	assert_ok(manifest_encode(manifest, &text, &len, &err));
	assert_memory_equal(text, "stasis-manifest 2 sha256=", 25);
	assert_ok(manifest_decode(text, len, &back, &err));
	assert_true(json_equal(manifest, back));
	assert_ok(manifest_streams(back, &streams, &count, &err));
	assert_int_equal(count, 6);
	assert_true(streams[0].shared);
	assert_string_equal(streams[2].name, "disk");
	assert_false(streams[3].shared);
	assert_string_equal(streams[3].name, "vm0.ram");
	assert_int_equal(streams[4].ref.root.bytes[0], 0xab);
	assert_int_equal(streams[4].ref.data_bytes, 1);
	free(streams);
	free(text);
	json_decref(back);
	json_decref(manifest);
}

static void test_ref_round_trip(void **state)
{
	struct stream_ref ref = {.logical_bytes = STREAM_BYTES_MAX, .data_bytes = 1 << 20},
			  back;
	struct err err = ERR_INIT;
	json_t *object;

	(void)state;
	for (size_t i = 0; i < CHUNK_ID_BYTES; i++)
		ref.root.bytes[i] = (uint8_t)(i * 37);
	object = stream_ref_to_json(&ref);
	assert_ok(stream_ref_from_json(object, &back, &err));
	assert_true(stream_ref_equal(&ref, &back));
	json_object_set_new(object, "root", json_string("00"));
	assert_int_equal(stream_ref_from_json(object, &back, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, "\"root\" must be 64 lower-case hexadecimal digits"));
	assert_int_equal(stream_ref_from_json(NULL, &back, &err), -EBADMSG);
	json_decref(object);
}

static void test_every_flipped_byte(void **state)
{
	size_t len;
	char *text = good_text(&len);

	(void)state;
	for (size_t at = 0; at < len; at++)
		for (int bit = 0; bit < 8; bit++) {
			json_t *manifest;
			int rc;

			text[at] ^= (char)(1 << bit);
			rc = manifest_decode(text, len, &manifest, NULL);
			if (rc != -EBADMSG && rc != -EPROTONOSUPPORT)
				fail_msg("byte %zu bit %d: %d", at, bit, rc);
			text[at] ^= (char)(1 << bit);
		}
	free(text);
}

static void test_every_length(void **state)
{
	json_t *manifest;
	size_t len;
	char *text = good_text(&len), *copy;

	(void)state;
	for (size_t cut = 0; cut < len; cut++) {
		/* An exact copy, so that a sanitizer sees a read behind it. */
		copy = malloc(cut ? cut : 1);
		assert_non_null(copy);
		memcpy(copy, text, cut);
		assert_int_equal(manifest_decode(copy, cut, &manifest, NULL), -EBADMSG);
		free(copy);
	}
	copy = malloc(len + 1);
	assert_non_null(copy);
	memcpy(copy, text, len);
	copy[len] = '\n';
	assert_int_equal(manifest_decode(copy, len + 1, &manifest, NULL), -EBADMSG);
	free(copy);
	free(text);
}

static void test_newer(void **state)
{
	static const char text[] = "stasis-manifest 3 whatever comes then\n\1\2\3";
	static const char old[] = "stasis-manifest 1 sha256=00 bytes=0\n";
	struct err err = ERR_INIT;
	json_t *manifest;

	(void)state;
	assert_int_equal(manifest_decode(text, sizeof(text) - 1, &manifest, &err),
			 -EPROTONOSUPPORT);
	assert_string_equal(err.msg,
			    "the manifest has version 3, this program knows versions up to 2");
	assert_fails(check_with("format", "3", &err), EPROTONOSUPPORT, "format 3");
	assert_fails(manifest_decode(old, sizeof(old) - 1, &manifest, &err), EPROTONOSUPPORT,
		     "version 1, which this program does not read any more");
	assert_fails(check_with("format", "1", &err), EBADMSG, "format");
}

/* A NUL in the first line ends neither the line nor the checks. */
static void test_nul_in_first_line(void **state)
{
	json_t *manifest;
	size_t len, line;
	char *text = good_text(&len);

	(void)state;
	line = (size_t)(strchr(text, '\n') - text);
	for (size_t at = 0; at < line; at++) {
		char keep = text[at];

		text[at] = '\0';
		assert_int_equal(manifest_decode(text, len, &manifest, NULL), -EBADMSG);
		text[at] = keep;
	}
	/* The fuzzer's find: a good first line, a NUL, more bytes, and the length of what
	 * strlen() would leave. */
	text[line] = '\0';
	text[line + 5] = '\n';
	assert_int_equal(manifest_decode(text, len, &manifest, NULL), -EBADMSG);
	free(text);
}

/* Envelope around any JSON text, with a correct hash. */
static int decode_json(const char *json, struct err *err)
{
	uint8_t hash[HASH_BYTES];
	char hex[HASH_HEX_MAX], *text;
	json_t *manifest;
	int len, rc;

	assert_int_equal(
		hash_sha256(&(struct iovec){(void *)json, strlen(json)}, 1, hash, NULL), 0);
	hash_to_hex(hash, hex);
	len = asprintf(&text, "stasis-manifest 2 sha256=%s bytes=%zu\n%s", hex, strlen(json),
		       json);
	assert_true(len > 0);
	rc = manifest_decode(text, (size_t)len, &manifest, err);
	if (rc == 0)
		json_decref(manifest);
	free(text);
	return rc;
}

static void test_bad_json(void **state)
{
	static const char *const texts[] = {"",
					    "{",
					    "[]",
					    "null",
					    "{} {}",
					    "{\"a\": 1, \"a\": 1}",
					    "{\"a\": \"\\u0000\"}",
					    "{\"a\": \"\xff\"}",
					    "{\"a\": 99999999999999999999}",
					    "{}"};
	json_t *manifest = good_manifest();
	char *json = json_dumps(manifest, 0);
	char *deep = malloc(100001);

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_int_equal(decode_json(texts[i], NULL), -EBADMSG);
	assert_non_null(deep);
	memset(deep, '[', 100000);
	deep[100000] = '\0';
	assert_int_equal(decode_json(deep, NULL), -EBADMSG);
	assert_int_equal(decode_json(json, NULL), 0);
	free(deep);
	free(json);
	json_decref(manifest);
}

static void test_fields_missing_or_mistyped(void **state)
{
	static const char *const paths[] = {
		"format",
		"id",
		"cluster",
		"tag",
		"created_ns",
		"host",
		"stasis_version",
		"spec",
		"machine",
		"machine/qemu_version",
		"machine/machine",
		"machine/accel",
		"machine/cpu",
		"machine/cmdline",
		"images",
		"images/kernel",
		"images/kernel/root",
		"images/initrd",
		"images/initrd/logical_bytes",
		"images/disk",
		"images/disk/data_bytes",
		"images/disk/format",
		"vms",
		"vms/0/name",
		"vms/0/index",
		"vms/0/memory_bytes",
		"vms/0/cpus",
		"vms/0/ram",
		"vms/0/ram/root",
		"vms/0/state",
		"vms/0/state/logical_bytes",
		"vms/0/disk",
		"vms/0/disk/data_bytes",
		"phases",
		"phases/0/name",
		"phases/0/start_ns",
		"phases/0/duration_ns",
		"pause_ns",
		"total_ns",
		"pause_includes_write",
		"stored_bytes",
		"run",
	};
	static const char *const values[] = {"1.5", "-1"};

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		const char *key =
			strrchr(paths[i], '/') ? strrchr(paths[i], '/') + 1 : paths[i];
		struct err err = ERR_INIT;

		assert_int_equal(check_with(paths[i], NULL, &err), -EBADMSG);
		if (!strstr(err.msg, key))
			fail_msg("%s: the sentence does not name it: %s", paths[i], err.msg);
		for (size_t j = 0; j < sizeof(values) / sizeof(values[0]); j++)
			if (check_with(paths[i], values[j], &err) != -EBADMSG)
				fail_msg("%s = %s was accepted", paths[i], values[j]);
	}
}

static void test_field_bounds(void **state)
{
	static const struct {
		const char *path, *value;
		int rc;
	} cases[] = {
		{"id", "\"../x\"", -EBADMSG},
		{"id", "\".hidden\"", -EBADMSG},
		{"id", "\"\"", -EBADMSG},
		{"cluster", "\"a b\"", -EBADMSG},
		{"cluster",
		 "\"0123456789012345678901234567890123456789012345678901234567890123\"",
		 -EBADMSG},
		{"cluster",
		 "\"012345678901234567890123456789012345678901234567890123456789012\"", 0},
		{"tag", "\"before-drain\"", 0},
		{"tag", "\"a/b\"", -EBADMSG},
		{"host", "\"\"", -EBADMSG},
		{"format", "0", -EBADMSG},
		{"vms", "[]", -EBADMSG},
		{"vms", "[1]", -EBADMSG},
		{"vms/0/index", "1023", 0},
		{"vms/0/index", "1024", -EBADMSG},
		{"vms/0/memory_bytes", "0", -EBADMSG},
		{"vms/0/memory_bytes", "70368744177665", -EBADMSG},
		{"vms/0/cpus", "0", -EBADMSG},
		{"vms/0/cpus", "4097", -EBADMSG},
		{"vms/0/ram/root",
		 "\"ABCDEF0000000000000000000000000000000000000000000000000000000000\"",
		 -EBADMSG},
		{"vms/0/ram/logical_bytes", "70368744177665", -EBADMSG},
		{"vms/0/ram/data_bytes", "70368744177665", -EBADMSG},
		{"vms/0/ram/data_bytes", "-1", -EBADMSG},
		{"stored_bytes", "0", 0},
		{"phases", "[]", 0},
		{"run", "{\"argv\": [\"x\"]}", 0},
		{"unknown", "[1, 2]", 0},
		{"vms/0/unknown", "true", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (check_with(cases[i].path, cases[i].value, NULL) != cases[i].rc)
			fail_msg("%s = %s", cases[i].path, cases[i].value);
}

/* The good manifest's VM `count` times, each with its own name and index. */
static json_t *many_vms(int count)
{
	json_t *manifest = good_manifest(), *vms = json_array();
	const json_t *first = json_array_get(json_object_get(manifest, "vms"), 0);

	for (int i = 0; i < count; i++) {
		json_t *vm = json_deep_copy(first);

		json_object_set_new(vm, "name", json_sprintf("vm%d", i));
		json_object_set_new(vm, "index", json_integer(i));
		json_array_append_new(vms, vm);
	}
	json_object_set_new(manifest, "vms", vms);
	return manifest;
}

static void test_many_vms(void **state)
{
	json_t *manifest = many_vms(MANIFEST_VMS_MAX), *vms = json_object_get(manifest, "vms"),
	       *back;
	struct err err = ERR_INIT;
	size_t len;
	char *text;

	(void)state;
	assert_ok(manifest_encode(manifest, &text, &len, &err));
	assert_ok(manifest_decode(text, len, &back, &err));
	assert_true(json_equal(manifest, back));
	json_decref(back);
	free(text);
	json_object_set_new(json_array_get(vms, 7), "name", json_string("vm900"));
	assert_int_equal(manifest_check(manifest, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, "names the VM \"vm900\" twice"));
	json_object_set_new(json_array_get(vms, 7), "name", json_string("other"));
	json_object_set_new(json_array_get(vms, 7), "index", json_integer(8));
	assert_int_equal(manifest_check(manifest, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, "index 8 is taken"));
	json_decref(manifest);
	manifest = many_vms(MANIFEST_VMS_MAX + 1);
	assert_int_equal(manifest_check(manifest, &err), -EBADMSG);
	json_decref(manifest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_ref_round_trip),
		cmocka_unit_test(test_every_flipped_byte),
		cmocka_unit_test(test_every_length),
		cmocka_unit_test(test_newer),
		cmocka_unit_test(test_nul_in_first_line),
		cmocka_unit_test(test_bad_json),
		cmocka_unit_test(test_fields_missing_or_mistyped),
		cmocka_unit_test(test_field_bounds),
		cmocka_unit_test(test_many_vms),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
