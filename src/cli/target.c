/* SPDX-License-Identifier: BSD-3-Clause */
/* Naming VMs and paths in them: [CLUSTER:]VM and [CLUSTER:]VM:/path. */
#include "cli/target.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static int copy_part(char *ret_part, size_t size, const char *text, size_t len,
		     const char *what, struct err *err)
{
	if (len >= size)
		return err_set(err, ENAMETOOLONG,
			       "%s in '%.60s…' is too long: %zu bytes, at most %zu", what, text,
			       len, size - 1);
	memcpy(ret_part, text, len);
	ret_part[len] = '\0';
	return 0;
}

/* `text` up to `len`: VM or CLUSTER:VM */
static int parse_names(const char *text, size_t len, struct target *target, struct err *err)
{
	const char *colon = memchr(text, ':', len);
	const char *vm = colon ? colon + 1 : text;
	int rc;

	if (colon) {
		rc = copy_part(target->cluster, sizeof(target->cluster), text,
			       (size_t)(colon - text), "the cluster's name", err);
		if (rc == 0)
			rc = cli_check_cluster(target->cluster, err);
		if (rc < 0)
			return rc;
	}
	rc = copy_part(target->vm, sizeof(target->vm), vm, len - (size_t)(vm - text),
		       "the VM's name", err);
	if (rc == 0)
		rc = cli_check_vm(target->vm, err);
	if (rc < 0)
		return rc;
	target->guest = true;
	return 0;
}

int target_parse_vm(const char *text, struct target *ret_target, struct err *err)
{
	memset(ret_target, 0, sizeof(*ret_target));
	return parse_names(text, strlen(text), ret_target, err);
}

int target_parse_path(const char *text, struct target *ret_target, struct err *err)
{
	const char *slash = strchr(text, '/');
	size_t head = slash ? (size_t)(slash - text) : strlen(text);
	const char *colon = memrchr(text, ':', head);
	int rc = cli_check_text("a path", text, sizeof(ret_target->path) - 1, err);

	if (rc < 0)
		return rc;
	memset(ret_target, 0, sizeof(*ret_target));
	if (!colon)
		return copy_part(ret_target->path, sizeof(ret_target->path), text, strlen(text),
				 "the path", err);
	if (!slash || slash != colon + 1)
		return err_set(
			err, EINVAL,
			"'%.200s': a path in a VM must be absolute, as in vm0:/root/file; a file of this "
			"host is written ./%.60s",
			text, text);
	rc = parse_names(text, (size_t)(colon - text), ret_target, err);
	if (rc < 0)
		return rc;
	return copy_part(ret_target->path, sizeof(ret_target->path), slash, strlen(slash),
			 "the path", err);
}

void target_basename(const char *path, char ret_name[256])
{
	size_t end = strlen(path), begin;

	while (end > 0 && path[end - 1] == '/')
		end--;
	for (begin = end; begin > 0 && path[begin - 1] != '/'; begin--)
		;
	snprintf(ret_name, 256, "%.*s", (int)(end - begin), path + begin);
	if (strcmp(ret_name, ".") == 0 || strcmp(ret_name, "..") == 0)
		ret_name[0] = '\0';
}
