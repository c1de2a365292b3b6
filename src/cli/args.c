/* SPDX-License-Identifier: BSD-3-Clause */
/* Arguments that several subcommands take: a cluster's file with overrides. */
#include "cli/args.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"

enum { KEY_BYTES_MAX = 4096 };

int args_spec_opt(struct args_spec *args, int value, const char *text, struct err *err)
{
	static const char *const keys[] = {"vms", "memory", "cpus", "slots"};

	if (value == 'c') {
		args->file = text;
		return 0;
	}
	if (value != 'o' && (value < ARGS_VMS || value > ARGS_SLOTS))
		return 1;
	if (args->count == ARGS_OVERRIDES_MAX)
		return err_set(err, EINVAL,
			       "more than %d values are set by options; put them into the file",
			       ARGS_OVERRIDES_MAX);
	args->overrides[args->count].text = text;
	if (value != 'o') {
		args->overrides[args->count].section = "cluster";
		args->overrides[args->count].key = keys[value - ARGS_VMS];
	}
	args->count++;
	return 0;
}

/* The section that has the key, NULL when none has it. */
static const char *section_of(const char *key)
{
	const struct spec_key *known;

	for (known = spec_keys(); known->section; known++) {
		if (strcmp(known->key, key) == 0)
			return known->section;
	}
	return NULL;
}

/* [SECTION.]KEY=VALUE */
static int override_parse(struct spec *spec, const char *text, struct err *err)
{
	const char *equals = strchr(text, '=');
	char name[KEY_BYTES_MAX];
	const char *section, *key;
	char *dot;

	if (!equals || equals == text || (size_t)(equals - text) >= sizeof(name))
		return err_set(err, EINVAL, "--set '%.60s' is not KEY=VALUE", text);
	memcpy(name, text, (size_t)(equals - text));
	name[equals - text] = '\0';
	dot = strchr(name, '.');
	if (dot)
		*dot = '\0';
	section = dot ? name : section_of(name);
	key = dot ? dot + 1 : name;
	if (!section)
		return err_set(
			err, EINVAL,
			"--set %.60s: no key has this name; stasis-cluster(5) lists them",
			text);
	return spec_set(spec, section, key, equals + 1, err);
}

/* Without a file the description begins with the defaults; a name must then be among the
 * overrides. */
static int load_base(const struct args_spec *args, struct spec *ret_spec, struct err *err)
{
	const char *name = NULL;
	unsigned int i;

	if (args->file)
		return spec_read_ini(args->file, ret_spec, err);
	for (i = 0; i < args->count; i++) {
		if (strncmp(args->overrides[i].text, "name=", 5) == 0)
			name = args->overrides[i].text + 5;
	}
	if (!name)
		return err_set(err, EINVAL,
			       "no cluster is described: give -c FILE, or -o name=NAME for the "
			       "defaults under a name");
	return spec_init(ret_spec, name, err);
}

int args_spec_load(const struct args_spec *args, struct spec *ret_spec, struct err *err)
{
	CLEANUP_FREE struct spec *checked = malloc(sizeof(*checked));
	unsigned int i;
	json_t *json;
	int rc;

	if (!checked)
		return err_sys(err, ENOMEM, "cannot read the description");
	if (args->file) {
		rc = cli_check_text("the file of -c", args->file, IO_PATH_MAX - 1, err);
		if (rc < 0)
			return rc;
	}
	rc = load_base(args, ret_spec, err);
	for (i = 0; i < args->count && rc == 0; i++) {
		if (args->overrides[i].section)
			rc = spec_set(ret_spec, args->overrides[i].section,
				      args->overrides[i].key, args->overrides[i].text, err);
		else
			rc = override_parse(ret_spec, args->overrides[i].text, err);
	}
	if (rc < 0)
		return rc;
	/* What no single key shows, such as a network too small for the VMs, is checked with
	 * the whole. */
	json = spec_to_json(ret_spec);
	rc = spec_from_json(json, checked, err);
	json_decref(json);
	return rc;
}
