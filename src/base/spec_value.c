/* SPDX-License-Identifier: BSD-3-Clause */
/* From text to the values of a cluster's description: numbers, sizes, durations, paths,
 * networks. */
#include "base/spec_value.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
	MEMORY_MIN = 128,         /* MiB */
	MEMORY_MAX = 1024 * 1024, /* MiB */
	MTU_MIN = 1280,
	MTU_MAX = 9000,
	PREFIX_MIN = 8,
	PREFIX_MAX = 30,
	SLOTS_MAX = 1024,
	KEEP_MAX = 1000000,
};
#define MIB             (1ULL << 20)
#define DURATION_MAX_MS (366ULL * 24 * 3600 * 1000)

const char *spec_quote(const char *text, char ret_quoted[SPEC_QUOTE_SIZE])
{
	size_t len = strlen(text);
	bool cut = len > SPEC_QUOTE_SIZE - 8;

	if (cut) {
		len = SPEC_QUOTE_SIZE - 8;
		while (len > 0 && ((unsigned char)text[len] & 0xC0) == 0x80)
			len--;
	}
	snprintf(ret_quoted, SPEC_QUOTE_SIZE, "'%.*s%s'", (int)len, text, cut ? "…" : "");
	return ret_quoted;
}

int spec_check_text(const char *text, size_t len, struct err *err)
{
	json_t *probe = json_stringn(text, len);
	size_t i;

	if (!probe)
		return err_set(err, EILSEQ, "not valid UTF-8");
	json_decref(probe);
	for (i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == 0)
			return err_set(err, EINVAL, "a NUL byte is not allowed");
		if ((c < 0x20 && c != '\t') || c == 0x7F)
			return err_set(err, EINVAL, "control character 0x%02x is not allowed",
				       c);
	}
	return 0;
}

/* Decimal digits only, no sign; *ret_rest is what follows. */
static int parse_digits(const char *text, uint64_t *ret_value, const char **ret_rest,
			struct err *err)
{
	char quoted[SPEC_QUOTE_SIZE];
	uint64_t value = 0;
	const char *at = text;

	if (*at < '0' || *at > '9')
		return err_set(err, EINVAL, "%s is not a number", spec_quote(text, quoted));
	for (; *at >= '0' && *at <= '9'; at++) {
		if (__builtin_mul_overflow(value, 10u, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value))
			return err_set(err, ERANGE, "%s is too large a number",
				       spec_quote(text, quoted));
	}
	*ret_value = value;
	*ret_rest = at;
	return 0;
}

struct unit {
	const char *suffix;
	uint64_t factor;
};

static int parse_with_unit(const char *text, const struct unit *units, const char *allowed,
			   uint64_t *ret_value, struct err *err)
{
	char quoted[SPEC_QUOTE_SIZE];
	const char *rest = "";
	uint64_t value = 0;
	int rc = parse_digits(text, &value, &rest, err);

	if (rc < 0)
		return rc == -ERANGE ? rc
				     : err_set(err, EINVAL, "%s is not %s",
					       spec_quote(text, quoted), allowed);
	for (; units->suffix; units++) {
		if (strcmp(rest, units->suffix) != 0)
			continue;
		if (__builtin_mul_overflow(value, units->factor, ret_value))
			return err_set(err, ERANGE, "%s is too large",
				       spec_quote(text, quoted));
		return 0;
	}
	return err_set(err, EINVAL, "%s is not %s", spec_quote(text, quoted), allowed);
}

int spec_parse_size(const char *text, uint64_t *ret_bytes, struct err *err)
{
	static const struct unit units[] = {
		{"", 1},           {"K", 1ULL << 10}, {"M", 1ULL << 20},
		{"G", 1ULL << 30}, {"T", 1ULL << 40}, {NULL, 0},
	};

	return parse_with_unit(text, units,
			       "a size such as 512M or 2G (K, M, G or T; plain: bytes)",
			       ret_bytes, err);
}

int spec_parse_duration(const char *text, uint64_t *ret_ms, struct err *err)
{
	static const struct unit units[] = {
		{"", 1000},     {"ms", 1},       {"s", 1000}, {"m", 60000},
		{"h", 3600000}, {"d", 86400000}, {NULL, 0},
	};

	return parse_with_unit(
		text, units,
		"a duration such as 30s, 5m or 250ms (ms, s, m, h or d; plain: seconds)",
		ret_ms, err);
}

bool spec_name_valid(const char *name)
{
	static const char alnum[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
	size_t len = strlen(name);

	return len > 0 && len <= 63 && strchr(alnum, name[0]) &&
	       strspn(name,
		      "._-ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") ==
		       len;
}

int spec_value_name(struct spec *spec, const struct spec_text *text, struct err *err)
{
	const char *value = text->value;
	size_t len = strlen(value);
	char quoted[SPEC_QUOTE_SIZE];

	if (len >= SPEC_NAME_MAX)
		return err_set(err, ENAMETOOLONG, "%s has %zu bytes, at most %d are allowed",
			       spec_quote(value, quoted), len, SPEC_NAME_MAX - 1);
	if (value[0] < 'a' || value[0] > 'z' ||
	    strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789-") != len)
		return err_set(
			err, EINVAL,
			"%s is no cluster name: use a-z, 0-9 and '-', beginning with a letter",
			spec_quote(value, quoted));
	memcpy(spec->name, value, len + 1);
	return 0;
}

static int parse_count(const char *text, unsigned int min, unsigned int max,
		       unsigned int *ret_count, struct err *err)
{
	char quoted[SPEC_QUOTE_SIZE];
	const char *rest = "";
	uint64_t value = 0;
	int rc = parse_digits(text, &value, &rest, err);

	if (rc == -EINVAL || (rc == 0 && *rest))
		return err_set(err, EINVAL, "%s is not a whole number from %u to %u",
			       spec_quote(text, quoted), min, max);
	if (rc < 0 || value < min || value > max)
		return err_set(err, ERANGE, "%s is out of range, allowed is %u to %u",
			       spec_quote(text, quoted), min, max);
	*ret_count = (unsigned int)value;
	return 0;
}

int spec_value_vms(struct spec *spec, const struct spec_text *text, struct err *err)
{
	return parse_count(text->value, 1, SPEC_VMS_MAX, &spec->vms, err);
}

int spec_value_memory(struct spec *spec, const struct spec_text *text, struct err *err)
{
	uint64_t bytes;
	char quoted[SPEC_QUOTE_SIZE];
	int rc = spec_parse_size(text->value, &bytes, err);

	if (rc < 0)
		return rc;
	if (bytes < MEMORY_MIN * MIB || bytes > MEMORY_MAX * MIB)
		return err_set(err, ERANGE, "%s is out of range, allowed is 128M to 1T",
			       spec_quote(text->value, quoted));
	if (bytes % MIB)
		return err_set(err, EINVAL, "%s is not a whole number of MiB (1048576 bytes)",
			       spec_quote(text->value, quoted));
	spec->memory_bytes = bytes;
	return 0;
}

int spec_value_cpus(struct spec *spec, const struct spec_text *text, struct err *err)
{
	return parse_count(text->value, 1, SPEC_CPUS_MAX, &spec->cpus, err);
}

int spec_value_slots(struct spec *spec, const struct spec_text *text, struct err *err)
{
	return parse_count(text->value, 1, SLOTS_MAX, &spec->slots, err);
}

int spec_value_accel(struct spec *spec, const struct spec_text *text, struct err *err)
{
	char quoted[SPEC_QUOTE_SIZE];

	if (strcmp(text->value, "auto") != 0 && strcmp(text->value, "kvm") != 0 &&
	    strcmp(text->value, "tcg") != 0)
		return err_set(err, EINVAL, "%s is not one of auto, kvm, tcg",
			       spec_quote(text->value, quoted));
	snprintf(spec->accel, sizeof(spec->accel), "%s", text->value);
	return 0;
}

int spec_value_capture(struct spec *spec, const struct spec_text *text, struct err *err)
{
	char quoted[SPEC_QUOTE_SIZE];

	if (strcmp(text->value, "compare") != 0 && strcmp(text->value, "background") != 0)
		return err_set(err, EINVAL, "%s is not one of compare, background",
			       spec_quote(text->value, quoted));
	snprintf(spec->capture, sizeof(spec->capture), "%s", text->value);
	return 0;
}

/* A host path made absolute. */
static int parse_host_path(const struct spec_text *text, char ret_path[IO_PATH_MAX],
			   struct err *err)
{
	char quoted[SPEC_QUOTE_SIZE];

	if (!text->value[0])
		return err_set(err, EINVAL, "a path is missing");
	if (text->value[0] == '/')
		return io_path(ret_path, IO_PATH_MAX, err, "%s", text->value);
	if (!text->base_dir)
		return err_set(err, EINVAL, "%s is not an absolute path",
			       spec_quote(text->value, quoted));
	return io_path(ret_path, IO_PATH_MAX, err, "%s/%s", text->base_dir, text->value);
}

int spec_value_image(struct spec *spec, const struct spec_text *text, struct err *err)
{
	if (!text->value[0]) {
		spec->image[0] = '\0';
		return 0;
	}
	return parse_host_path(text, spec->image, err);
}

int spec_value_packages(struct spec *spec, const struct spec_text *text, struct err *err)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	char result[sizeof(spec->packages)] = "";
	const char *at = text->value;
	char quoted[SPEC_QUOTE_SIZE];
	size_t used = 0;

	for (at += strspn(at, " \t"); *at; at += strspn(at, " \t")) {
		size_t len = strcspn(at, " \t");
		size_t good = strspn(at, "abcdefghijklmnopqrstuvwxyz0123456789.+-");

		if (!strchr(first, *at) || good < len || len < 2) {
			char word[SPEC_QUOTE_SIZE];

			snprintf(word, sizeof(word), "%.*s", (int)len, at);
			return err_set(err, EINVAL, "%s is no Debian package name",
				       spec_quote(word, quoted));
		}
		if (used + len + 2 > sizeof(result))
			return err_set(err, ENAMETOOLONG,
				       "the list of packages is longer than %zu bytes",
				       sizeof(result) - 1);
		used += (size_t)snprintf(result + used, sizeof(result) - used, "%s%.*s",
					 used ? " " : "", (int)len, at);
		at += len;
	}
	memcpy(spec->packages, result, sizeof(result));
	return 0;
}

bool spec_subnet_split(const char *text, uint32_t *ret_network, unsigned int *ret_prefix)
{
	const char *slash = strchr(text, '/'), *rest = "";
	char address[16];
	struct in_addr in;
	uint64_t prefix = 0;

	if (!slash || (size_t)(slash - text) >= sizeof(address))
		return false;
	memcpy(address, text, (size_t)(slash - text));
	address[slash - text] = '\0';
	if (inet_pton(AF_INET, address, &in) != 1 ||
	    parse_digits(slash + 1, &prefix, &rest, NULL) < 0 || *rest || prefix > 32 ||
	    rest - slash > 3)
		return false;
	*ret_network = ntohl(in.s_addr);
	*ret_prefix = (unsigned int)prefix;
	return true;
}

int spec_value_subnet(struct spec *spec, const struct spec_text *text, struct err *err)
{
	uint32_t network;
	unsigned int prefix;
	char quoted[SPEC_QUOTE_SIZE];
	bool private;

	if (!spec_subnet_split(text->value, &network, &prefix))
		return err_set(err, EINVAL, "%s is not an IPv4 network such as 10.77.0.0/24",
			       spec_quote(text->value, quoted));
	if (prefix < PREFIX_MIN || prefix > PREFIX_MAX)
		return err_set(err, ERANGE,
			       "prefix length %u of %s is out of range, allowed is %d to %d",
			       prefix, spec_quote(text->value, quoted), PREFIX_MIN, PREFIX_MAX);
	if (network & (0xFFFFFFFFU >> prefix))
		return err_set(err, EINVAL, "%s has host bits set; they must be 0",
			       spec_quote(text->value, quoted));
	private = (network >> 24 == 10) || (network >> 20 == (172U << 4 | 1) && prefix >= 12) ||
		  (network >> 16 == (192U << 8 | 168) && prefix >= 16);
	if (!private)
		return err_set(err, EINVAL,
			       "%s is not in a private network (10/8, 172.16/12 or 192.168/16)",
			       spec_quote(text->value, quoted));
	snprintf(spec->subnet, sizeof(spec->subnet), "%s", text->value);
	return 0;
}

int spec_value_mtu(struct spec *spec, const struct spec_text *text, struct err *err)
{
	return parse_count(text->value, MTU_MIN, MTU_MAX, &spec->mtu, err);
}

int spec_value_rdma(struct spec *spec, const struct spec_text *text, struct err *err)
{
	char quoted[SPEC_QUOTE_SIZE];

	if (strcmp(text->value, "yes") != 0 && strcmp(text->value, "no") != 0)
		return err_set(err, EINVAL, "%s is not yes or no",
			       spec_quote(text->value, quoted));
	spec->rdma = text->value[0] == 'y';
	return 0;
}

int spec_value_device(struct spec *spec, const struct spec_text *text, struct err *err)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789._:,=/@{}+- ";
	char quoted[SPEC_QUOTE_SIZE];

	if (strspn(text->value, allowed) != strlen(text->value) ||
	    strstr(text->value, "id=") == text->value || strstr(text->value, ",id=") ||
	    strstr(text->value, ",bus="))
		return err_set(err, EINVAL,
			       "%s is no list of devices such as vfio-pci,host=0000:3b:00.2, "
			       "without id and bus",
			       spec_quote(text->value, quoted));
	if (strlen(text->value) >= sizeof(spec->device))
		return err_set(err, ENAMETOOLONG,
			       "the list of devices is longer than %zu bytes",
			       sizeof(spec->device) - 1);
	snprintf(spec->device, sizeof(spec->device), "%s", text->value);
	return 0;
}

int spec_value_every(struct spec *spec, const struct spec_text *text, struct err *err)
{
	char quoted[SPEC_QUOTE_SIZE];
	uint64_t ms;
	int rc = spec_parse_duration(text->value, &ms, err);

	if (rc < 0)
		return rc;
	if ((ms > 0 && ms < 1000) || ms > DURATION_MAX_MS)
		return err_set(err, ERANGE, "%s is out of range, allowed is 1s to 366d, or 0",
			       spec_quote(text->value, quoted));
	spec->checkpoint_every_ms = ms;
	return 0;
}

int spec_value_keep(struct spec *spec, const struct spec_text *text, struct err *err)
{
	return parse_count(text->value, 0, KEEP_MAX, &spec->checkpoint_keep, err);
}

/* Absolute, not the root, no empty, "." or ".." component. */
static bool guest_path_valid(const char *path)
{
	const char *at = path;

	if (*at != '/')
		return false;
	while (*at == '/') {
		size_t len = strcspn(++at, "/");

		if (len == 0 || (len == 1 && at[0] == '.') ||
		    (len == 2 && at[0] == '.' && at[1] == '.'))
			return false;
		at += len;
	}
	return true;
}

int spec_value_file(struct spec *spec, const char *guest_path, const struct spec_text *text,
		    struct err *err)
{
	struct spec_file *file = &spec->files[spec->file_count];
	char quoted[SPEC_QUOTE_SIZE];
	unsigned int i;
	int rc;

	if (!guest_path_valid(guest_path) || strlen(guest_path) >= sizeof(file->guest_path))
		return err_set(
			err, EINVAL,
			"%s is no path of a guest's file: it must be absolute, without '.', "
			"'..' and doubled '/', below %d bytes",
			spec_quote(guest_path, quoted), IO_PATH_MAX);
	for (i = 0; i < spec->file_count; i++) {
		if (strcmp(spec->files[i].guest_path, guest_path) == 0)
			return err_set(err, EEXIST, "%s is given twice",
				       spec_quote(guest_path, quoted));
	}
	if (spec->file_count == SPEC_FILES_MAX)
		return err_set(err, E2BIG, "more than %d files", SPEC_FILES_MAX);
	rc = parse_host_path(text, file->host_path, err);
	if (rc < 0)
		return rc;
	memcpy(file->guest_path, guest_path, strlen(guest_path) + 1);
	spec->file_count++;
	return 0;
}
