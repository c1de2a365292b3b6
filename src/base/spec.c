/* SPDX-License-Identifier: BSD-3-Clause */
/* The description of a cluster: one table of keys that serves the INI reader, the JSON form and
 * the documentation. */
#include "base/spec.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ini.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/spec_value.h"

/*
 * Each value reaches the struct through one road: text → spec_apply() → the key's function of
 * spec_value.h. The INI reader has text; JSON members are printed to text first. So all checks
 * of one form hold for the other, too.
 */

enum { LINE_BYTES_MAX = 4096 };

enum kind { KIND_TEXT, KIND_COUNT, KIND_SIZE, KIND_DURATION, KIND_BOOL };

/* section, key, default (in parentheses: described, not a value), JSON member = field, kind,
 * parse function, what it is */
#define SPEC_KEYS(X)                                                                          \
	X("cluster", "name", "(the file's name without .ini)", name, KIND_TEXT,               \
	  spec_value_name,                                                                    \
	  "name of the cluster: a-z, 0-9 and '-', beginning with a letter, at most 31 bytes") \
	X("cluster", "vms", "2", vms, KIND_COUNT, spec_value_vms, "number of VMs, 1 to 250")  \
	X("cluster", "memory", "512M", memory_bytes, KIND_SIZE, spec_value_memory,            \
	  "memory of each VM, 128M to 1T in whole MiB")                                       \
	X("cluster", "cpus", "1", cpus, KIND_COUNT, spec_value_cpus,                          \
	  "processors of each VM, 1 to 64")                                                   \
	X("cluster", "slots", "(as cpus)", slots, KIND_COUNT, spec_value_slots,               \
	  "MPI ranks that mpirun places in each VM, 1 to 1024")                               \
	X("cluster", "accel", "auto", accel, KIND_TEXT, spec_value_accel,                     \
	  "kvm, tcg, or auto: kvm where a probe shows that it works, else tcg")               \
	X("cluster", "capture", "compare", capture, KIND_TEXT, spec_value_capture,            \
	  "compare: RAM is copied before and in the pause; background: after it, by QEMU")    \
	X("image", "disk", "(the image that Stasis builds)", image, KIND_TEXT,                \
	  spec_value_image,                                                                   \
	  "own base disk image; a relative path is taken from the file's directory")          \
	X("image", "packages", "(none)", packages, KIND_TEXT, spec_value_packages,            \
	  "Debian packages added to the built image, separated by spaces")                    \
	X("network", "subnet", "10.77.0.0/24", subnet, KIND_TEXT, spec_value_subnet,          \
	  "private IPv4 network of the VMs; vm0 gets its first host address")                 \
	X("network", "mtu", "4500", mtu, KIND_COUNT, spec_value_mtu,                          \
	  "largest packet on that network in bytes, 1280 to 9000")                            \
	X("network", "rdma", "no", rdma, KIND_BOOL, spec_value_rdma,                          \
	  "yes: a Soft-RoCE InfiniBand device in each VM")                                    \
	X("network", "device", "(none)", device, KIND_TEXT, spec_value_device,                \
	  "device of the host, or emulated card, in each VM but while it is captured")        \
	X("checkpoint", "every", "0", checkpoint_every_ms, KIND_DURATION, spec_value_every,   \
	  "time between checkpoints of a run, 1s to 366d; 0: only on request")                \
	X("checkpoint", "keep", "0", checkpoint_keep, KIND_COUNT, spec_value_keep,            \
	  "how many of the newest checkpoints stay after each new one; 0: all")

static const struct spec_key KEYS[] = {
#define X(section, key, default_text, member, kind, parse, doc) \
	{section, key, default_text, doc},
	SPEC_KEYS(X)
#undef X
		{"files", "/GUEST/PATH", "(none)",
		 "each line /guest/path = host/path puts a file or directory of the host into every VM at its start"},
	{0},
};

struct field {
	const char *section, *key, *default_text, *member;
	enum kind kind;
	size_t offset;
	spec_value_fn parse;
};

static const struct field FIELDS[] = {
#define X(section, key, default_text, member, kind, parse, doc) \
	{section, key, default_text, #member, kind, offsetof(struct spec, member), parse},
	SPEC_KEYS(X)
#undef X
};
enum { FIELD_COUNT = sizeof(FIELDS) / sizeof(FIELDS[0]) };

const struct spec_key *spec_keys(void)
{
	return KEYS;
}

static const struct field *field_find(const char *section, const char *key)
{
	size_t i;

	for (i = 0; i < FIELD_COUNT; i++) {
		if (strcmp(FIELDS[i].section, section) == 0 && strcmp(FIELDS[i].key, key) == 0)
			return &FIELDS[i];
	}
	return NULL;
}

static bool section_known(const char *section)
{
	const struct spec_key *key;

	for (key = KEYS; key->section; key++) {
		if (strcmp(key->section, section) == 0)
			return true;
	}
	return false;
}

/* Sections, or the keys of one section, separated by commas. */
static const char *list_keys(const char *section, char ret_list[256])
{
	const struct spec_key *key, *before = NULL;
	size_t used = 0;

	ret_list[0] = '\0';
	for (key = KEYS; key->section; before = key++) {
		const char *word = section ? key->key : key->section;

		if (section ? strcmp(key->section, section) != 0
			    : before && strcmp(before->section, key->section) == 0)
			continue;
		used += (size_t)snprintf(ret_list + used, 256 - used, "%s%s", used ? ", " : "",
					 word);
	}
	return ret_list;
}

/* One value from text into its field; what is wrong is said with section and key in front. */
static int spec_apply(struct spec *spec, const char *section, const char *key,
		      const struct spec_text *text, struct err *err)
{
	char quoted[SPEC_QUOTE_SIZE], list[256];
	const struct field *field;
	int rc = spec_check_text(text->value, strlen(text->value), err);

	if (!section_known(section))
		return err_set(err, EINVAL, "unknown section %s; sections are %s",
			       spec_quote(section, quoted), list_keys(NULL, list));
	if (strcmp(section, "files") == 0) {
		if (rc == 0)
			rc = spec_value_file(spec, key, text, err);
		return rc < 0 ? err_prefix(err, "[files]") : 0;
	}
	field = field_find(section, key);
	if (!field)
		return err_set(err, EINVAL, "unknown key %s in [%s]; its keys are %s",
			       spec_quote(key, quoted), section, list_keys(section, list));
	if (rc == 0)
		rc = field->parse(spec, text, err);
	return rc < 0 ? err_prefix(err, "[%s] %s", section, key) : 0;
}

static unsigned int word_count(const char *text)
{
	unsigned int count = 0;

	for (text += strspn(text, " "); *text; text += strspn(text, " ")) {
		text += strcspn(text, " ");
		count++;
	}
	return count;
}

/* What a single key cannot show: the VMs fit into the network, each has its device. */
static int spec_check_whole(const struct spec *spec, struct err *err)
{
	char text[16];
	unsigned int prefix;

	if (word_count(spec->device) > 1 && word_count(spec->device) != spec->vms)
		return err_set(err, EINVAL, "[network] device: %u devices for %u VMs",
			       word_count(spec->device), spec->vms);
	return spec_address(spec, spec->vms - 1, text, &prefix, err);
}

/* Defaults without a name; slots 0 stands for "as cpus" until spec_finish(). */
static void spec_defaults(struct spec *ret_spec)
{
	size_t i;

	memset(ret_spec, 0, sizeof(*ret_spec));
	for (i = 0; i < FIELD_COUNT; i++) {
		struct spec_text text = {.base_dir = NULL, .value = FIELDS[i].default_text};

		if (FIELDS[i].default_text[0] != '(')
			FIELDS[i].parse(ret_spec, &text, NULL);
	}
}

static int spec_finish(struct spec *spec, struct err *err)
{
	if (spec->slots == 0)
		spec->slots = spec->cpus;
	return spec_check_whole(spec, err);
}

int spec_init(struct spec *ret_spec, const char *name, struct err *err)
{
	struct spec_text text = {.base_dir = NULL, .value = name};
	struct err local;
	int rc;

	if (!err)
		err = &local;
	spec_defaults(ret_spec);
	rc = spec_apply(ret_spec, "cluster", "name", &text, err);
	return rc < 0 ? rc : spec_finish(ret_spec, err);
}

int spec_set(struct spec *spec, const char *section, const char *key, const char *value,
	     struct err *err)
{
	char cwd[IO_PATH_MAX];
	struct spec_text text = {.base_dir = getcwd(cwd, sizeof(cwd)), .value = value};
	bool slots_follow = spec->slots == spec->cpus;
	struct err local;
	int rc;

	if (!err)
		err = &local;
	rc = spec_apply(spec, section, key, &text, err);
	if (rc == 0 && slots_follow && strcmp(section, "cluster") == 0 &&
	    strcmp(key, "cpus") == 0)
		spec->slots = spec->cpus;
	return rc;
}

/* --- The INI file --- */

struct ini {
	FILE *file;
	struct spec *spec;
	char base_dir[IO_PATH_MAX];
	char line[LINE_BYTES_MAX + 2]; /* the line being parsed, with its newline */
	unsigned int line_number;
	unsigned int seen[FIELD_COUNT]; /* line of each key, 0: not seen */
	struct err *err;                /* set once, then reading stops */
	int rc;
};

/* Read and check one line; -ENODATA at the end of the file. */
static int ini_read_line(struct ini *ini, struct err *err)
{
	size_t len = 0;
	int c;

	while ((c = getc_unlocked(ini->file)) != EOF) {
		if (c != '\n' && len == LINE_BYTES_MAX)
			return err_set(err, EINVAL, "the line is longer than %d bytes",
				       LINE_BYTES_MAX);
		ini->line[len++] = (char)c;
		if (c == '\n')
			break;
	}
	if (ferror(ini->file))
		return err_sys(err, errno ? errno : EIO, "cannot read");
	if (len == 0)
		return -ENODATA;
	ini->line[len] = '\0';
	if (c == '\n')
		len--;
	if (len > 0 && ini->line[len - 1] == '\r')
		len--;
	return spec_check_text(ini->line, len, err);
}

/* inih's reader: one whole line per call, without leading blanks, which inih would take for a
 * continued value. */
static char *ini_next_line(char *str, int num, void *stream)
{
	static const char bom[] = "\xEF\xBB\xBF";
	struct ini *ini = stream;
	const char *at = ini->line;

	if (ini->rc < 0)
		return NULL;
	ini->line_number++;
	ini->rc = ini_read_line(ini, ini->err);
	if (ini->rc < 0) {
		if (ini->rc == -ENODATA)
			ini->rc = 0;
		return NULL;
	}
	if (ini->line_number == 1 && strncmp(at, bom, 3) == 0)
		at += 3;
	at += strspn(at, " \t");
	memmove(ini->line, at, strlen(at) + 1);
	snprintf(str, (size_t)num, "%s", ini->line);
	return str;
}

/* The key of the current line: inih's own copy is cut at 49 bytes. */
static void ini_key(const struct ini *ini, char ret_key[LINE_BYTES_MAX + 2])
{
	size_t len = strcspn(ini->line, "=:");

	while (len > 0 && (ini->line[len - 1] == ' ' || ini->line[len - 1] == '\t'))
		len--;
	memcpy(ret_key, ini->line, len);
	ret_key[len] = '\0';
}

/* inih's handler: 1 to go on, 0 for an error. */
static int ini_handle(void *user, const char *section, const char *name, const char *value)
{
	struct ini *ini = user;
	struct spec_text text = {.base_dir = ini->base_dir, .value = value};
	char key[LINE_BYTES_MAX + 2], quoted[SPEC_QUOTE_SIZE];
	const struct field *field;

	(void)name;
	if (ini->rc < 0)
		return 0;
	ini_key(ini, key);
	field = field_find(section, key);
	if (!section[0])
		ini->rc = err_set(ini->err, EINVAL, "%s stands before the first [section]",
				  spec_quote(key, quoted));
	else if (field && ini->seen[field - FIELDS])
		ini->rc = err_set(ini->err, EEXIST, "[%s] %s is given twice, first in line %u",
				  section, key, ini->seen[field - FIELDS]);
	else
		ini->rc = spec_apply(ini->spec, section, key, &text, ini->err);
	if (field)
		ini->seen[field - FIELDS] = ini->line_number;
	return ini->rc == 0;
}

/* The directory of `path`, absolute. The file itself may be a pipe or another thing without a
 * place. */
static int ini_base_dir(const char *path, char ret_dir[IO_PATH_MAX], struct err *err)
{
	const char *slash = strrchr(path, '/');
	char dir[IO_PATH_MAX];
	int rc = 0;

	if (slash)
		rc = io_path(dir, sizeof(dir), err, "%.*s",
			     slash == path ? 1 : (int)(slash - path), path);
	else
		strcpy(dir, ".");
	if (rc == 0 && !realpath(dir, ret_dir))
		rc = err_sys(err, errno, "cannot open");
	return rc;
}

/* Without [cluster] name the file's name without .ini. */
static int ini_default_name(struct spec *spec, const char *path, struct err *err)
{
	const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
	size_t len = strlen(base);
	char name[IO_PATH_MAX];
	struct spec_text text = {.base_dir = NULL, .value = name};
	int rc;

	if (spec->name[0])
		return 0;
	if (len > 4 && strcmp(base + len - 4, ".ini") == 0)
		len -= 4;
	rc = io_path(name, sizeof(name), err, "%.*s", (int)len, base);
	if (rc == 0)
		rc = spec_apply(spec, "cluster", "name", &text, err);
	return rc < 0 ? err_prefix(err,
				   "the file's name is the cluster's without [cluster] name")
		      : 0;
}

static int ini_parse_lines(struct ini *ini, struct err *err)
{
	int bad;

	ini_max_line = LINE_BYTES_MAX + 3; /* a run-time setting of inih, always this one */
	bad = ini_parse_stream(ini_next_line, ini, ini_handle, ini);
	if (ini->rc < 0 && (bad == 0 || (unsigned int)bad == ini->line_number))
		return err_prefix(err, "line %u", ini->line_number);
	if (bad) /* a line of inih's own complaint, before anything that was noticed here */
		return err_set(err, EINVAL, "line %d is neither [section] nor key = value",
			       bad);
	return 0;
}

int spec_read_ini(const char *path, struct spec *ret_spec, struct err *err)
{
	CLEANUP_FREE struct ini *ini = calloc(1, sizeof(*ini));
	CLEANUP_FCLOSE FILE *file = NULL;
	struct err local;
	int rc;

	if (!ini)
		return err_sys(err, ENOMEM, "cannot read %.200s", path);
	if (!err)
		err = &local;
	spec_defaults(ret_spec);
	ini->spec = ret_spec;
	ini->err = err;
	rc = ini_base_dir(path, ini->base_dir, err);
	if (rc < 0)
		return err_prefix(err, "%.200s", path);
	file = fopen(path, "re");
	if (!file)
		return err_sys(err, errno, "%.200s: cannot open", path);
	ini->file = file;
	rc = ini_parse_lines(ini, err);
	if (rc == 0)
		rc = ini_default_name(ret_spec, path, err);
	if (rc == 0)
		rc = spec_finish(ret_spec, err);
	return rc < 0 ? err_prefix(err, "%.200s", path) : 0;
}

/* --- JSON --- */

static json_t *field_to_json(const struct spec *spec, const struct field *field)
{
	const void *at = (const char *)spec + field->offset;

	switch (field->kind) {
	case KIND_TEXT: return json_string(at);
	case KIND_COUNT: return json_integer(*(const unsigned int *)at);
	case KIND_SIZE:
	case KIND_DURATION: return json_integer((json_int_t) * (const uint64_t *)at);
	case KIND_BOOL: return json_boolean(*(const bool *)at);
	}
	return NULL;
}

json_t *spec_to_json(const struct spec *spec)
{
	json_t *json = json_object(), *files = json_array();
	unsigned int i;

	for (i = 0; i < FIELD_COUNT; i++)
		json_object_set_new(json, FIELDS[i].member, field_to_json(spec, &FIELDS[i]));
	for (i = 0; i < spec->file_count; i++)
		json_array_append_new(files, json_pack("{s:s, s:s}", "guest",
						       spec->files[i].guest_path, "host",
						       spec->files[i].host_path));
	json_object_set_new(json, "files", files);
	return json;
}

/* The text that the INI file would have for a member, in *ret_text: the member's own or `buf`.
 */
static int json_to_text(const json_t *value, enum kind kind, char buf[32],
			const char **ret_text, struct err *err)
{
	*ret_text = buf;
	if (kind == KIND_TEXT) {
		*ret_text = json_string_value(value);
		if (*ret_text && strlen(*ret_text) != json_string_length(value))
			return err_set(err, EINVAL, "a NUL byte is not allowed");
		return *ret_text ? 0 : err_set(err, EINVAL, "must be a string");
	}
	if (kind == KIND_BOOL) {
		snprintf(buf, 32, "%s", json_is_true(value) ? "yes" : "no");
		return json_is_boolean(value) ? 0
					      : err_set(err, EINVAL, "must be true or false");
	}
	snprintf(buf, 32, "%" JSON_INTEGER_FORMAT "%s", json_integer_value(value),
		 kind == KIND_DURATION ? "ms" : "");
	return json_is_integer(value) ? 0 : err_set(err, EINVAL, "must be a whole number");
}

static int field_from_json(const json_t *json, const struct field *field, struct spec *spec,
			   struct err *err)
{
	const json_t *value = json_object_get(json, field->member);
	struct spec_text text = {0};
	char buf[32];
	int rc;

	if (!value)
		return err_set(err, EINVAL, "member \"%s\" is missing", field->member);
	rc = json_to_text(value, field->kind, buf, &text.value, err);
	if (rc == 0)
		rc = spec_apply(spec, field->section, field->key, &text, err);
	return rc < 0 ? err_prefix(err, "\"%s\"", field->member) : 0;
}

static int files_from_json(const json_t *files, struct spec *spec, struct err *err)
{
	const json_t *file;
	size_t i;

	if (!json_is_array(files))
		return err_set(err, EINVAL, "\"files\" must be an array");
	json_array_foreach(files, i, file)
	{
		const char *guest = json_string_value(json_object_get(file, "guest"));
		const char *host = json_string_value(json_object_get(file, "host"));
		struct spec_text text = {.base_dir = NULL, .value = host};
		int rc;

		if (!guest || !host || json_object_size(file) != 2)
			return err_set(err, EINVAL,
				       "\"files\" must hold {\"guest\", \"host\"}");
		rc = spec_apply(spec, "files", guest, &text, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int spec_from_json(const json_t *json, struct spec *ret_spec, struct err *err)
{
	struct err local;
	size_t i;
	int rc;

	if (!err)
		err = &local;
	memset(ret_spec, 0, sizeof(*ret_spec));
	if (!json_is_object(json))
		return err_set(err, EINVAL, "a cluster's description must be a JSON object");
	for (i = 0; i < FIELD_COUNT; i++) {
		rc = field_from_json(json, &FIELDS[i], ret_spec, err);
		if (rc < 0)
			return rc;
	}
	rc = files_from_json(json_object_get(json, "files"), ret_spec, err);
	if (rc < 0)
		return rc;
	if (json_object_size(json) != FIELD_COUNT + 1)
		return err_set(err, EINVAL, "a cluster's description has unknown members");
	return spec_check_whole(ret_spec, err);
}

int spec_address(const struct spec *spec, unsigned int index, char ret_text[16],
		 unsigned int *ret_prefix, struct err *err)
{
	struct in_addr in;
	uint32_t network;
	unsigned int prefix;

	if (!spec_subnet_split(spec->subnet, &network, &prefix) || prefix > 30)
		return err_set(err, EINVAL, "'%s' is not an IPv4 network", spec->subnet);
	if (index + 1U >= (1U << (32 - prefix)) - 1)
		return err_set(
			err, ERANGE,
			"network %s has only %u host addresses, too few for %u VMs; set [network] subnet "
			"to a larger one",
			spec->subnet, (1U << (32 - prefix)) - 2, index + 1);
	in.s_addr = htonl(network + index + 1);
	*ret_prefix = prefix;
	inet_ntop(AF_INET, &in, ret_text, 16);
	return 0;
}

void spec_device(const struct spec *spec, unsigned int index, char *ret_text, size_t size)
{
	const char *at = spec->device + strspn(spec->device, " ");
	unsigned int skip = word_count(spec->device) > 1 ? index : 0;
	size_t used = 0;

	for (; skip > 0; skip--) {
		at += strcspn(at, " ");
		at += strspn(at, " ");
	}
	while (*at && *at != ' ' && used + 1 < size) {
		if (strncmp(at, "{i}", 3) == 0) {
			used += (size_t)snprintf(ret_text + used, size - used, "%u", index);
			at += 3;
		} else {
			ret_text[used++] = *at++;
		}
	}
	ret_text[used < size ? used : size - 1] = '\0';
}
