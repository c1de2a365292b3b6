/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of a cluster's description: every key good and bad, the file's own faults, and the way
 * through JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/spec.h"

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

struct fixture {
	char dir[64], path[128];
	struct spec spec;
	struct err err;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/stasis-spec-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/demo.ini", f->dir);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(io_remove_all(f->dir, &f->err), 0);
	free(f);
	return 0;
}

static int read_bytes(struct fixture *f, const char *text, size_t len)
{
	FILE *file = fopen(f->path, "we");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, len, file), len);
	fclose(file);
	memset(&f->err, 0, sizeof(f->err));
	return spec_read_ini(f->path, &f->spec, &f->err);
}

static int read_text(struct fixture *f, const char *text)
{
	return read_bytes(f, text, strlen(text));
}

static void assert_says(const struct fixture *f, const char *needle)
{
	if (!strstr(f->err.msg, needle))
		fail_msg("'%s' does not say '%s'", f->err.msg, needle);
}

/* The file is refused, and the sentence has the line and another text. */
static void assert_refused(struct fixture *f, const char *text, const char *needle)
{
	if (read_text(f, text) == 0)
		fail_msg("accepted: %s", text);
	assert_says(f, "demo.ini");
	assert_says(f, needle);
}

static void test_defaults(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(read_text(f, "# nothing\n"), 0);
	assert_string_equal(f->spec.name, "demo");
	assert_int_equal(f->spec.vms, 2);
	assert_int_equal(f->spec.memory_bytes, 512ULL << 20);
	assert_int_equal(f->spec.cpus, 1);
	assert_int_equal(f->spec.slots, 1);
	assert_string_equal(f->spec.accel, "auto");
	assert_string_equal(f->spec.capture, "compare");
	assert_string_equal(f->spec.image, "");
	assert_string_equal(f->spec.packages, "");
	assert_string_equal(f->spec.subnet, "10.77.0.0/24");
	assert_int_equal(f->spec.mtu, 4500);
	assert_false(f->spec.rdma);
	assert_int_equal(f->spec.file_count, 0);
	assert_int_equal(f->spec.checkpoint_every_ms, 0);
	assert_int_equal(f->spec.checkpoint_keep, 0);
}

static void test_all_keys(void **state)
{
	struct fixture *f = *state;
	char absolute[256];

	assert_int_equal(
		read_text(f,
			  "\xEF\xBB\xBF[cluster]\r\nname = h2o-1\r\n"
			  "  vms: 250 ; as many as can be\n\tmemory=1T\ncpus=64\nslots = 1024\n"
			  "accel = tcg\ncapture = background\n[image]\ndisk = my disk.qcow2\n"
			  "packages =  nwchem-data   g++ \n[network]\nsubnet = 172.16.0.0/12\n"
			  "mtu = 9000\nrdma = yes\n[checkpoint]\nevery = 5m\nkeep = 12\n"
			  "[files]\n/opt/a b/c = x\n/etc/hosts.extra = /etc/hosts\n"),
		0);
	assert_string_equal(f->spec.name, "h2o-1");
	assert_int_equal(f->spec.vms, 250);
	assert_int_equal(f->spec.memory_bytes, 1ULL << 40);
	assert_int_equal(f->spec.cpus, 64);
	assert_int_equal(f->spec.slots, 1024);
	assert_string_equal(f->spec.accel, "tcg");
	assert_string_equal(f->spec.capture, "background");
	snprintf(absolute, sizeof(absolute), "%s/my disk.qcow2", f->dir);
	assert_string_equal(f->spec.image, absolute);
	assert_string_equal(f->spec.packages, "nwchem-data g++");
	assert_string_equal(f->spec.subnet, "172.16.0.0/12");
	assert_int_equal(f->spec.mtu, 9000);
	assert_true(f->spec.rdma);
	assert_int_equal(f->spec.checkpoint_every_ms, 300000);
	assert_int_equal(f->spec.checkpoint_keep, 12);
	assert_int_equal(f->spec.file_count, 2);
	assert_string_equal(f->spec.files[0].guest_path, "/opt/a b/c");
	snprintf(absolute, sizeof(absolute), "%s/x", f->dir);
	assert_string_equal(f->spec.files[0].host_path, absolute);
	assert_string_equal(f->spec.files[1].host_path, "/etc/hosts");
}

static void test_bad_values(void **state)
{
	static const struct {
		const char *section, *key;
		const char *values[14];
	} cases[] = {
		{"cluster",
		 "name",
		 {"", "A", "1a", "a_b", "a b", "-a", "ä", "a123456789012345678901234567890b"}},
		{"cluster",
		 "vms",
		 {"", "0", "251", "-1", "+1", "two", "2.5", "0x2", "1e1", "2 3",
		  "99999999999999999999999"}},
		{"cluster",
		 "memory",
		 {"", "127M", "2T", "-1G", "1.5G", "1X", "512MB", "G", "268435457",
		  "17179869185G", "99999999999999999999999M"}},
		{"cluster", "cpus", {"", "0", "65", "-1", "many"}},
		{"cluster", "slots", {"", "0", "1025", "-1", "x"}},
		{"cluster", "accel", {"", "xen", "KVM", "auto auto"}},
		{"cluster", "capture", {"", "Compare", "auto", "compare background"}},
		{"image", "packages", {"Big", "a", "-a", "ok; rm", "a_b", "$(x)", "../x"}},
		{"network",
		 "subnet",
		 {"", "10.0.0.0", "10.0.0.0/7", "10.0.0.0/31", "10.0.0.1/24", "10.0.0.0/24x",
		  "10.0.0.0/024", "8.8.8.0/24", "300.0.0.0/8", "fd00::/64", "172.32.0.0/16",
		  "172.16.0.0/11", "1111111111111111111/8"}},
		{"network", "mtu", {"", "1279", "9001", "-4500", "big"}},
		{"network", "rdma", {"", "true", "1", "Yes", "nono"}},
		{"network", "device", {"card,id=x", "id=x", "card,bus=rp1", "a;b", "card\"x"}},
		{"checkpoint",
		 "every",
		 {"", "-1", "999ms", "367d", "1w", "s", "1.5s", "5 m", "18446744073709551615",
		  "99999999999999999999999s"}},
		{"checkpoint", "keep", {"", "-1", "1000001", "all", "2d"}},
	};
	struct fixture *f = *state;
	size_t i, j;

	for (i = 0; i < ARRAY_LEN(cases); i++) {
		for (j = 0; cases[i].values[j]; j++) {
			char text[256], place[64];

			snprintf(text, sizeof(text), "[%s]\n\n%s = %s\n", cases[i].section,
				 cases[i].key, cases[i].values[j]);
			snprintf(place, sizeof(place), "line 3: [%s] %s", cases[i].section,
				 cases[i].key);
			assert_refused(f, text, place);
		}
	}
}

static void test_long_values(void **state)
{
	struct fixture *f = *state;
	const struct spec_key *key;
	char *text = malloc(10000);

	for (key = spec_keys(); key->section; key++) {
		int at = snprintf(text, 200, "[%s]\n%s = ", key->section, key->key);

		memset(text + at, 'a', 5000);
		text[at + 5000] = '\0';
		assert_refused(f, text, "line 2: the line is longer than 4096 bytes");
		if (strcmp(key->section, "files") == 0 || strcmp(key->key, "disk") == 0 ||
		    strcmp(key->key, "packages") == 0)
			continue;
		text[at + 3000] = '\0';
		assert_refused(f, text, key->key);
	}
	/* a list of packages that does not fit */
	strcpy(text, "[image]\npackages =");
	while (strlen(text) < 1100)
		strcat(text, " package");
	assert_refused(f, text, "longer than 1023 bytes");
	free(text);
}

static void test_not_text(void **state)
{
	struct fixture *f = *state;
	const struct spec_key *key;

	for (key = spec_keys(); key->section; key++) {
		static const struct {
			const char *bytes, *says;
		} bad[] = {{"\xFF", "not valid UTF-8"},     {"\xC3", "not valid UTF-8"},
			   {"\xC0\x80", "not valid UTF-8"}, {"\xED\xA0\x80", "not valid UTF-8"},
			   {"\x01", "control character"},   {"a\x7F", "control character"}};
		size_t i;

		for (i = 0; i < ARRAY_LEN(bad); i++) {
			char text[128];

			snprintf(text, sizeof(text), "[%s]\n%s = %s\n", key->section, key->key,
				 bad[i].bytes);
			assert_refused(f, text, bad[i].says);
			assert_says(f, "line 2");
		}
	}
	assert_int_equal(read_bytes(f, "[cluster]\nvms = 2\0\n", 19), -EINVAL);
	assert_says(f, "line 2: a NUL byte");
}

static void test_file_faults(void **state)
{
	struct fixture *f = *state;
	const struct spec_key *key;
	char text[256];

	assert_refused(f, "[cluster]\nvms = 2\n[clutser]\ncpus = 1\n",
		       "line 4: unknown section 'clutser'");
	assert_refused(f, "[cluster]\nvm = 2\n", "line 2: unknown key 'vm'");
	assert_refused(f, "[cluster]\nmtu = 2\n", "line 2: unknown key 'mtu' in [cluster]");
	assert_refused(f, "vms = 2\n", "line 1: 'vms' stands before the first [section]");
	assert_refused(f, "[cluster]\n\nvms\n", "line 3 is neither");
	assert_refused(f, "[cluster\nvms = 2\n", "line 1 is neither");
	assert_refused(f, "[cluster]\n = 2\n", "line 2: unknown key ''");
	for (key = spec_keys(); key->section; key++) {
		const char *value = key->default_text[0] == '(' ? "8" : key->default_text;

		if (strcmp(key->key, "name") == 0)
			value = "abc";
		if (strcmp(key->key, "packages") == 0)
			value = "abc";
		snprintf(text, sizeof(text), "[%s]\n%s=%s\n[cluster]\n[%s]\n%s=%s\n",
			 key->section, key->key, value, key->section, key->key, value);
		assert_refused(f, text, "given twice");
		assert_says(f, "line 5");
	}
	assert_refused(f, "[network]\nsubnet = 192.168.0.0/30\n[cluster]\nvms = 3\n",
		       "only 2 host addresses");
	assert_int_equal(spec_read_ini("/nonexistent/x.ini", &f->spec, &f->err), -ENOENT);
	assert_says(f, "/nonexistent/x.ini");
	assert_true(spec_read_ini(f->dir, &f->spec, &f->err) < 0);
	assert_int_equal(spec_read_ini("/nonexistent/x.ini", &f->spec, NULL), -ENOENT);
}

static void test_files(void **state)
{
	static const char *const bad[] = {"opt/x",   "/",     "/opt/../x", "/opt/./x",
					  "/opt//x", "/opt/", "/..",       "."};
	struct fixture *f = *state;
	char *text = malloc(65536);
	size_t i, at;

	for (i = 0; i < ARRAY_LEN(bad); i++) {
		snprintf(text, 256, "[files]\n%s = x\n", bad[i]);
		assert_refused(f, text, "line 2: [files]: ");
	}
	assert_refused(f, "[files]\n/x =\n", "a path is missing");
	at = (size_t)sprintf(text, "[files]\n");
	for (i = 0; i < SPEC_FILES_MAX; i++)
		at += (size_t)sprintf(
			text + at,
			"/a-guest-path-that-is-longer-than-fifty-bytes-as-the-library-cuts/%zu=x\n",
			i);
	assert_int_equal(read_text(f, text), 0);
	assert_int_equal(f->spec.file_count, SPEC_FILES_MAX);
	assert_string_equal(
		f->spec.files[7].guest_path,
		"/a-guest-path-that-is-longer-than-fifty-bytes-as-the-library-cuts/7");
	sprintf(text + at, "/one-more=x\n");
	assert_refused(f, text, "line 66: [files]: more than 64 files");
	free(text);
}

static void test_slots(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(read_text(f, "[cluster]\ncpus = 4\n"), 0);
	assert_int_equal(f->spec.slots, 4);
	assert_int_equal(spec_set(&f->spec, "cluster", "cpus", "8", &f->err), 0);
	assert_int_equal(f->spec.slots, 8);
	assert_int_equal(read_text(f, "[cluster]\nslots = 1\ncpus = 4\n"), 0);
	assert_int_equal(f->spec.slots, 1);
	assert_int_equal(spec_set(&f->spec, "cluster", "cpus", "8", &f->err), 0);
	assert_int_equal(f->spec.slots, 1);
}

static void test_name_from_file(void **state)
{
	struct fixture *f = *state;

	snprintf(f->path, sizeof(f->path), "%s/My Cluster.ini", f->dir);
	assert_true(read_text(f, "") < 0);
	assert_says(f, "the file's name is the cluster's");
	assert_int_equal(read_text(f, "[cluster]\nname = mine\n"), 0);
	assert_string_equal(f->spec.name, "mine");
	snprintf(f->path, sizeof(f->path), "%s/plain", f->dir);
	assert_int_equal(read_text(f, ""), 0);
	assert_string_equal(f->spec.name, "plain");
}

static void test_init_and_set(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(spec_init(&f->spec, "x", &f->err), 0);
	assert_int_equal(f->spec.slots, 1);
	assert_true(spec_init(&f->spec, "X", &f->err) < 0);
	assert_true(spec_init(&f->spec, "X", NULL) < 0);
	assert_int_equal(spec_init(&f->spec, "x", &f->err), 0);
	assert_true(spec_set(&f->spec, "cluster", "vms", "0", NULL) < 0);
	assert_int_equal(f->spec.vms, 2);
	assert_int_equal(spec_set(&f->spec, "cluster", "vms", "\xFF", &f->err), -EILSEQ);
	assert_int_equal(spec_set(&f->spec, "image", "disk", "rel", &f->err), 0);
	assert_int_equal(f->spec.image[0], '/');
	assert_int_equal(spec_set(&f->spec, "image", "disk", "", &f->err), 0);
	assert_string_equal(f->spec.image, "");
}

static void test_round_trip(void **state)
{
	struct fixture *f = *state;
	struct spec *back = calloc(1, sizeof(*back));
	json_t *json, *parsed;
	char *text;

	assert_int_equal(
		read_text(
			f,
			"[cluster]\nvms=7\nmemory=1G\ncpus=2\naccel=kvm\ncapture=background\n[image]\ndisk=/d\n"
			"packages=ab cd\n[network]\nsubnet=192.168.3.0/24\nmtu=1500\nrdma=yes\n"
			"[checkpoint]\nevery=1500ms\nkeep=3\n[files]\n/a=/b\n/ü=/ö\n"),
		0);
	json = spec_to_json(&f->spec);
	text = json_dumps(json, 0);
	parsed = json_loads(text, 0, NULL);
	assert_int_equal(spec_from_json(parsed, back, &f->err), 0);
	assert_memory_equal(&f->spec, back, sizeof(*back));
	free(text);
	json_decref(parsed);
	json_decref(json);
	free(back);
}

static const struct {
	const char *member, *value;
} bad_members[] = {
	{"name", "\"A\""},
	{"vms", "0"},
	{"vms", "251"},
	{"vms", "2.0"},
	{"vms", "-2"},
	{"memory_bytes", "1"},
	{"memory_bytes", "536870913"},
	{"memory_bytes", "-1"},
	{"cpus", "\"1\""},
	{"slots", "0"},
	{"accel", "\"xen\""},
	{"capture", "\"both\""},
	{"image", "\"relative\""},
	{"packages", "\"A B\""},
	{"subnet", "\"1.2.3.4\""},
	{"mtu", "10"},
	{"rdma", "1"},
	{"checkpoint_every_ms", "5"},
	{"checkpoint_every_ms", "-5"},
	{"checkpoint_keep", "-1"},
	{"checkpoint_keep", "1000001"},
	{"files", "{}"},
	{"files", "[1]"},
	{"files", "[{\"guest\": \"/a\"}]"},
	{"files", "[{\"guest\": \"/a\", \"host\": \"b\"}]"},
	{"files", "[{\"guest\": \"a\", \"host\": \"/b\"}]"},
	{"files", "[{\"guest\": \"/a\", \"host\": \"/b\", \"x\": 1}]"},
	{"name", "\"a\\u0000b\""},
	{"subnet", "\"10.0.0.0/30\""},
};

/* Each member missing, of another type, out of range; unknown members. */
static void test_bad_json(void **state)
{
	struct fixture *f = *state;
	struct spec *back = calloc(1, sizeof(*back));
	json_t *good;
	const char *member;
	json_t *value;
	size_t i;

	assert_int_equal(read_text(f, "[cluster]\nvms = 3\n"), 0);
	good = spec_to_json(&f->spec);
	json_object_foreach(good, member, value)
	{
		json_t *copy = json_copy(good);

		json_object_del(copy, member);
		assert_true(spec_from_json(copy, back, &f->err) < 0);
		assert_says(f, member);
		json_object_set_new(copy, member, json_null());
		assert_true(spec_from_json(copy, back, &f->err) < 0);
		assert_true(spec_from_json(copy, back, NULL) < 0);
		json_decref(copy);
	}
	for (i = 0; i < ARRAY_LEN(bad_members); i++) {
		json_t *copy = json_copy(good);

		json_object_set_new(copy, bad_members[i].member,
				    json_loads(bad_members[i].value,
					       JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL));
		if (spec_from_json(copy, back, &f->err) == 0)
			fail_msg("accepted: %s = %s", bad_members[i].member,
				 bad_members[i].value);
		json_decref(copy);
	}
	json_object_set_new(good, "color", json_string("red"));
	assert_true(spec_from_json(good, back, &f->err) < 0);
	assert_true(spec_from_json(NULL, back, &f->err) < 0);
	json_decref(good);
	free(back);
}

static void test_addresses(void **state)
{
	struct fixture *f = *state;
	char text[16];
	unsigned int prefix;

	assert_int_equal(spec_init(&f->spec, "x", &f->err), 0);
	assert_int_equal(spec_address(&f->spec, 0, text, &prefix, &f->err), 0);
	assert_string_equal(text, "10.77.0.1");
	assert_int_equal(prefix, 24);
	assert_int_equal(spec_address(&f->spec, 249, text, &prefix, &f->err), 0);
	assert_string_equal(text, "10.77.0.250");
	assert_int_equal(spec_address(&f->spec, 254, text, &prefix, &f->err), -ERANGE);
	assert_int_equal(spec_set(&f->spec, "network", "subnet", "10.0.0.0/8", &f->err), 0);
	assert_int_equal(spec_address(&f->spec, 255, text, &prefix, &f->err), 0);
	assert_string_equal(text, "10.0.1.0");
}

static void test_sizes_and_durations(void **state)
{
	struct err err;
	uint64_t value;

	(void)state;
	assert_int_equal(spec_parse_size("0", &value, &err), 0);
	assert_int_equal(value, 0);
	assert_int_equal(spec_parse_size("3K", &value, &err), 0);
	assert_int_equal(value, 3072);
	assert_int_equal(spec_parse_size("18446744073709551615", &value, &err), 0);
	assert_int_equal(spec_parse_size("18446744073709551616", &value, &err), -ERANGE);
	assert_int_equal(spec_parse_size("16777215T", &value, &err), 0);
	assert_int_equal(spec_parse_size("16777216T", &value, &err), -ERANGE);
	assert_int_equal(spec_parse_size("12q", &value, &err), -EINVAL);
	assert_int_equal(spec_parse_size(" 1", &value, &err), -EINVAL);
	assert_int_equal(spec_parse_duration("250ms", &value, &err), 0);
	assert_int_equal(value, 250);
	assert_int_equal(spec_parse_duration("30", &value, &err), 0);
	assert_int_equal(value, 30000);
	assert_int_equal(spec_parse_duration("2d", &value, &err), 0);
	assert_int_equal(value, 172800000);
	assert_int_equal(spec_parse_duration("18446744073709551615h", &value, &err), -ERANGE);
	assert_int_equal(spec_parse_duration("-1s", &value, &err), -EINVAL);
	assert_int_equal(spec_parse_duration("", &value, NULL), -EINVAL);
}

static void test_names(void **state)
{
	char name[65];

	(void)state;
	assert_true(spec_name_valid("a"));
	assert_true(spec_name_valid("0.A_b-c"));
	assert_false(spec_name_valid(""));
	assert_false(spec_name_valid(".a"));
	assert_false(spec_name_valid("-a"));
	assert_false(spec_name_valid("a/b"));
	assert_false(spec_name_valid("a b"));
	assert_false(spec_name_valid("\xC3\xA4"));
	memset(name, 'a', 64);
	name[64] = '\0';
	assert_false(spec_name_valid(name));
	name[63] = '\0';
	assert_true(spec_name_valid(name));
}

static void test_devices(void **state)
{
	struct fixture *f = *state;
	char text[128];

	assert_int_equal(spec_init(&f->spec, "devices", &f->err), 0);
	spec_device(&f->spec, 1, text, sizeof(text));
	assert_string_equal(text, "");
	assert_int_equal(spec_set(&f->spec, "network", "device", "card,mac=52:54:00:00:00:0{i}",
				  &f->err),
			 0);
	spec_device(&f->spec, 7, text, sizeof(text));
	assert_string_equal(text, "card,mac=52:54:00:00:00:07");
	assert_int_equal(spec_set(&f->spec, "network", "device",
				  "vfio-pci,host=0000:3b:00.2  vfio-pci,host=0000:3b:00.5",
				  &f->err),
			 0);
	spec_device(&f->spec, 1, text, sizeof(text));
	assert_string_equal(text, "vfio-pci,host=0000:3b:00.5");
	spec_device(&f->spec, 0, text, 9);
	assert_string_equal(text, "vfio-pci");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_defaults, setup, teardown),
		cmocka_unit_test_setup_teardown(test_all_keys, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_values, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_values, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_text, setup, teardown),
		cmocka_unit_test_setup_teardown(test_file_faults, setup, teardown),
		cmocka_unit_test_setup_teardown(test_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slots, setup, teardown),
		cmocka_unit_test_setup_teardown(test_name_from_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_init_and_set, setup, teardown),
		cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_json, setup, teardown),
		cmocka_unit_test_setup_teardown(test_addresses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_devices, setup, teardown),
		cmocka_unit_test(test_sizes_and_durations),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
