/* SPDX-License-Identifier: BSD-3-Clause */
/* The fields of a manifest: a table for each object, and the rules that span several fields. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "store/hash.h"
#include "store/manifest.h"

enum kind { NAME, NAME_OR_EMPTY, TEXT, HASH, INTEGER, BOOLEAN, OBJECT, OBJECT_OR_NULL, ARRAY };

/* One required member: of a TEXT and an ARRAY min and max bound the length, of an INTEGER the
 * value. */
struct field {
	const char *key;
	enum kind kind;
	json_int_t min, max;
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

enum { CPUS_MAX = 4096, TEXT_MAX = 255, CMDLINE_MAX = 4096, WHERE_MAX = 48 };

#define TIME_MAX INT64_MAX

static const struct field manifest_fields[] = {
	{"format", INTEGER, MANIFEST_VERSION, MANIFEST_VERSION},
	{"id", NAME, 0, 0},
	{"cluster", NAME, 0, 0},
	{"tag", NAME_OR_EMPTY, 0, 0},
	{"created_ns", INTEGER, 0, TIME_MAX},
	{"host", TEXT, 1, TEXT_MAX},
	{"stasis_version", TEXT, 1, TEXT_MAX},
	{"spec", OBJECT, 0, 0},
	{"machine", OBJECT, 0, 0},
	{"images", OBJECT, 0, 0},
	{"vms", ARRAY, 1, MANIFEST_VMS_MAX},
	{"phases", ARRAY, 0, MANIFEST_PHASES_MAX},
	{"pause_ns", INTEGER, 0, TIME_MAX},
	{"total_ns", INTEGER, 0, TIME_MAX},
	{"pause_includes_write", BOOLEAN, 0, 0},
	{"stored_bytes", INTEGER, 0, TIME_MAX},
	{"run", OBJECT_OR_NULL, 0, 0},
};
static const struct field machine_fields[] = {
	{"qemu_version", TEXT, 1, TEXT_MAX}, {"machine", TEXT, 1, TEXT_MAX},
	{"accel", TEXT, 1, TEXT_MAX},        {"cpu", TEXT, 1, TEXT_MAX},
	{"cmdline", TEXT, 0, CMDLINE_MAX},
};
static const struct field images_fields[] = {
	{"kernel", OBJECT, 0, 0},
	{"initrd", OBJECT, 0, 0},
	{"disk", OBJECT, 0, 0},
};
static const struct field disk_image_fields[] = {{"format", TEXT, 1, TEXT_MAX}};
static const struct field vm_fields[] = {
	{"name", NAME, 0, 0},
	{"index", INTEGER, 0, MANIFEST_VMS_MAX - 1},
	{"memory_bytes", INTEGER, 1, STREAM_BYTES_MAX},
	{"cpus", INTEGER, 1, CPUS_MAX},
	{"ram", OBJECT, 0, 0},
	{"state", OBJECT, 0, 0},
	{"disk", OBJECT, 0, 0},
};
static const struct field phase_fields[] = {
	{"name", TEXT, 1, TEXT_MAX},
	{"start_ns", INTEGER, 0, TIME_MAX},
	{"duration_ns", INTEGER, 0, TIME_MAX},
};
static const struct field ref_fields[] = {
	{"root", HASH, 0, 0},
	{"logical_bytes", INTEGER, 0, STREAM_BYTES_MAX},
	{"data_bytes", INTEGER, 0, STREAM_BYTES_MAX},
};

static bool in_bounds(const struct field *field, json_int_t value)
{
	return value >= field->min && value <= field->max;
}

static bool hash_valid(const char *text)
{
	uint8_t hash[HASH_BYTES];

	return strlen(text) == HASH_HEX_MAX - 1 && hash_from_hex(text, hash);
}

/* NULL if the value fits the field, else what it should be. */
static const char *field_fault(const struct field *field, const json_t *value)
{
	const char *text = json_string_value(value);

	switch (field->kind) {
	case NAME: return text && name_valid(text, NAME_LEN_MAX) ? NULL : "a name";
	case NAME_OR_EMPTY:
		return text && (!*text || name_valid(text, NAME_LEN_MAX)) ? NULL
									  : "a name or empty";
	case TEXT: return text && in_bounds(field, (json_int_t)strlen(text)) ? NULL : "a text";
	case HASH: return text && hash_valid(text) ? NULL : "64 lower-case hexadecimal digits";
	case INTEGER:
		return json_is_integer(value) && in_bounds(field, json_integer_value(value))
			       ? NULL
			       : "an integer";
	case BOOLEAN: return json_is_boolean(value) ? NULL : "true or false";
	case OBJECT: return json_is_object(value) ? NULL : "an object";
	case OBJECT_OR_NULL:
		return json_is_object(value) || json_is_null(value) ? NULL
								    : "an object or null";
	case ARRAY:
		return json_is_array(value) &&
				       in_bounds(field, (json_int_t)json_array_size(value))
			       ? NULL
			       : "an array";
	}
	return "of a known kind";
}

static int fields_check(const json_t *object, const char *where, const struct field *fields,
			size_t count, struct err *err)
{
	if (!json_is_object(object))
		return err_set(err, EBADMSG, "the manifest's %s must be an object", where);
	for (size_t i = 0; i < count; i++) {
		const struct field *field = &fields[i];
		const json_t *value = json_object_get(object, field->key);
		const char *fault;

		if (!value)
			return err_set(err, EBADMSG, "the manifest's %s has no \"%s\"", where,
				       field->key);
		fault = field_fault(field, value);
		if (fault && field->max)
			return err_set(
				err, EBADMSG,
				"the manifest's %s: \"%s\" must be %s, %" JSON_INTEGER_FORMAT
				" to %" JSON_INTEGER_FORMAT,
				where, field->key, fault, field->min, field->max);
		if (fault)
			return err_set(err, EBADMSG, "the manifest's %s: \"%s\" must be %s",
				       where, field->key, fault);
	}
	return 0;
}

/* Refuse a text that `seen` has, else note it there. */
static int unique_check(json_t *seen, const char *text, const char *what, struct err *err)
{
	if (json_object_get(seen, text))
		return err_set(err, EBADMSG, "the manifest names the %s \"%s\" twice", what,
			       text);
	if (json_object_set_new(seen, text, json_true()) < 0)
		return err_sys(err, ENOMEM, "manifest");
	return 0;
}

static int part_check(const json_t *vm, const char *where, const char *key, struct err *err)
{
	char inner[WHERE_MAX];

	snprintf(inner, sizeof(inner), "%s.%s", where, key);
	return fields_check(json_object_get(vm, key), inner, ref_fields, COUNT(ref_fields),
			    err);
}

static int vms_check(const json_t *vms, json_t *names, struct err *err)
{
	bool taken[MANIFEST_VMS_MAX] = {false};
	const json_t *vm;
	size_t i;

	json_array_foreach(vms, i, vm)
	{
		char where[WHERE_MAX - 8];
		json_int_t index;
		int rc;

		snprintf(where, sizeof(where), "vms[%zu]", i);
		rc = fields_check(vm, where, vm_fields, COUNT(vm_fields), err);
		if (rc < 0)
			return rc;
		index = json_integer_value(json_object_get(vm, "index"));
		if (taken[index])
			return err_set(err, EBADMSG,
				       "the manifest's %s: index %" JSON_INTEGER_FORMAT
				       " is taken already",
				       where, index);
		taken[index] = true;
		rc = unique_check(names, json_string_value(json_object_get(vm, "name")), "VM",
				  err);
		if (rc == 0)
			rc = part_check(vm, where, "ram", err);
		if (rc == 0)
			rc = part_check(vm, where, "state", err);
		if (rc == 0)
			rc = part_check(vm, where, "disk", err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int images_check(const json_t *images, struct err *err)
{
	int rc = fields_check(images, "images", images_fields, COUNT(images_fields), err);

	for (size_t i = 0; rc == 0 && i < COUNT(images_fields); i++)
		rc = fields_check(json_object_get(images, images_fields[i].key),
				  images_fields[i].key, ref_fields, COUNT(ref_fields), err);
	if (rc == 0)
		rc = fields_check(json_object_get(images, "disk"), "disk", disk_image_fields,
				  COUNT(disk_image_fields), err);
	return rc;
}

int manifest_check(const json_t *manifest, struct err *err)
{
	const json_t *version = json_object_get(manifest, "format"), *phase;
	json_t *names;
	size_t i;
	int rc;

	if (json_is_integer(version) && json_integer_value(version) > MANIFEST_VERSION)
		return err_set(err, EPROTONOSUPPORT,
			       "the manifest has format %" JSON_INTEGER_FORMAT
			       ", this program knows formats up to %d",
			       json_integer_value(version), MANIFEST_VERSION);
	rc = fields_check(manifest, "document", manifest_fields, COUNT(manifest_fields), err);
	if (rc == 0)
		rc = fields_check(json_object_get(manifest, "machine"), "machine",
				  machine_fields, COUNT(machine_fields), err);
	if (rc == 0)
		rc = images_check(json_object_get(manifest, "images"), err);
	json_array_foreach(json_object_get(manifest, "phases"), i, phase)
	{
		if (rc < 0)
			break;
		rc = fields_check(phase, "phases", phase_fields, COUNT(phase_fields), err);
	}
	if (rc < 0)
		return rc;
	names = json_object();
	rc = names ? vms_check(json_object_get(manifest, "vms"), names, err)
		   : err_sys(err, ENOMEM, "manifest");
	json_decref(names);
	return rc;
}

int stream_ref_from_json(const json_t *object, struct stream_ref *ret_ref, struct err *err)
{
	int rc = fields_check(object, "reference", ref_fields, COUNT(ref_fields), err);

	if (rc < 0)
		return rc;
	ret_ref->logical_bytes =
		(uint64_t)json_integer_value(json_object_get(object, "logical_bytes"));
	ret_ref->data_bytes =
		(uint64_t)json_integer_value(json_object_get(object, "data_bytes"));
	hash_from_hex(json_string_value(json_object_get(object, "root")), ret_ref->root.bytes);
	return 0;
}
