/* SPDX-License-Identifier: BSD-3-Clause */
/* A device that comes and goes while the VM runs, behind a root port of its own. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "vm/qemu/args.h"
#include "vm/qemu/machine.h"

#define DEVICE "fabric0"
#define NETDEV "fabric"

enum { LOOK_MS = 20, LINE_MAX_BYTES = 2048 };

/* A command in the words of the command line: those of QMP want to know the type of each
 * property. It says nothing if it succeeds. */
static int human(struct vm *vm, const char *line, struct err *err)
{
	json_t *said = NULL;
	char text[256];
	int rc = vm_command(vm, "human-monitor-command",
			    json_pack("{s:s}", "command-line", line), &said, err);

	if (rc < 0)
		return rc;
	snprintf(text, sizeof(text), "%s",
		 json_string_value(said) ? json_string_value(said) : "");
	json_decref(said);
	text[strcspn(text, "\r\n")] = '\0';
	return text[0] ? err_set(err, EIO, "QEMU of VM %s: %s", vm->config.name, text) : 0;
}

static int plugged(struct vm *vm, bool *ret_plugged, struct err *err)
{
	json_t *all = NULL, *one;
	size_t i;
	int rc = vm_command(vm, "qom-list", json_pack("{s:s}", "path", "/machine/peripheral"),
			    &all, err);

	*ret_plugged = false;
	if (rc < 0)
		return rc;
	json_array_foreach(all, i, one)
	{
		const char *name = json_string_value(json_object_get(one, "name"));

		*ret_plugged |= name && strcmp(name, DEVICE) == 0;
	}
	json_decref(all);
	return 0;
}

/* A value as QMP wants it: numbers and switches have types of their own. */
static json_t *typed(const char *text)
{
	bool digits = *text && strspn(text, "0123456789") == strlen(text) && strlen(text) < 18;

	if (digits)
		return json_integer(atoll(text));
	if (strcmp(text, "on") == 0 || strcmp(text, "off") == 0)
		return json_boolean(text[1] == 'n');
	return json_string(text);
}

/* "local.path" = value: into the object "local". */
static void member_set(json_t *object, char *key, const char *value)
{
	char *dot = strchr(key, '.');
	json_t *inner;

	if (!dot) {
		json_object_set_new(object, key, typed(value));
		return;
	}
	*dot = '\0';
	inner = json_object_get(object, key);
	if (!json_is_object(inner))
		json_object_set_new(object, key, inner = json_object());
	member_set(inner, dot + 1, value);
}

/* TYPE,KEY=VALUE,… as arguments of netdev_add, which, unlike device_add, takes all of them in
 * this form only. */
static json_t *netdev_arguments(const char *text)
{
	json_t *object = json_pack("{s:s}", "id", NETDEV);
	CLEANUP_FREE char *copy = strdup(text);
	char *rest = copy;

	for (char *word; rest && (word = strsep(&rest, ","));) {
		char *value = strchr(word, '=');

		if (value)
			*value++ = '\0';
		if (word == copy && !value)
			json_object_set_new(object, "type", json_string(word));
		else
			member_set(object, word, value ? value : "on");
	}
	return object;
}

/* What is left of it when the device is gone, or could not be added. */
static void netdev_remove(struct vm *vm)
{
	human(vm, "netdev_del " NETDEV, NULL);
}

int vm_plug(struct vm *vm, const char *device, struct err *err)
{
	const char *netdev = strchr(device, '@');
	size_t len = netdev ? (size_t)(netdev - device) : strlen(device);
	char line[LINE_MAX_BYTES];
	bool is_there;
	int rc = plugged(vm, &is_there, err);

	if (rc < 0 || is_there)
		return rc;
	if (netdev) {
		netdev_remove(vm);
		rc = vm_command(vm, "netdev_add", netdev_arguments(netdev + 1), NULL, err);
	}
	snprintf(line, sizeof(line), "device_add %.*s,id=" DEVICE ",bus=" QEMU_PLUG_BUS "%s",
		 (int)len, device, netdev ? ",netdev=" NETDEV : "");
	if (rc == 0)
		rc = human(vm, line, err);
	if (rc < 0 && netdev)
		netdev_remove(vm);
	return rc;
}

int vm_unplug(struct vm *vm, int64_t deadline_ns, struct err *err)
{
	bool is_there;
	int rc = plugged(vm, &is_there, err);

	if (rc < 0 || !is_there)
		return rc;
	rc = vm_command(vm, "device_del", json_pack("{s:s}", "id", DEVICE), NULL, err);
	/* The guest has to let go of it first. */
	while (rc == 0 && (rc = plugged(vm, &is_there, err)) == 0 && is_there) {
		if (deadline_left_ms(deadline_ns) == 0)
			return err_set(err, ETIMEDOUT,
				       "the guest of VM %s does not let go of its device",
				       vm->config.name);
		nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * NS_PER_MS}, NULL);
	}
	if (rc == 0)
		netdev_remove(vm);
	return rc;
}
