/* SPDX-License-Identifier: BSD-3-Clause */
/* What loading a state and a background snapshot share: QEMU's migrations, and how they end. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vm/qemu/machine.h"

int vm_migration_status(struct vm *vm, char *ret_status, size_t size, struct err *err)
{
	const char *status;
	json_t *value;
	int rc = vm_command(vm, "query-migrate", json_object(), &value, err);

	if (rc < 0)
		return rc;
	status = json_string_value(json_object_get(value, "status"));
	snprintf(ret_status, size, "%s", status ? status : "none");
	json_decref(value);
	return 0;
}

bool migration_ended(const char *name, const json_t *data, void *arg)
{
	const char *status = json_string_value(json_object_get(data, "status"));

	(void)arg;
	return !strcmp(name, "MIGRATION") && status &&
	       (!strcmp(status, "completed") || !strcmp(status, "failed") ||
		!strcmp(status, "cancelled"));
}

int vm_migration_failure(struct vm *vm, const char *what, struct err *err)
{
	const char *desc;
	json_t *value;
	int rc = vm_command(vm, "query-migrate", json_object(), &value, err);

	if (rc < 0)
		return rc;
	desc = json_string_value(json_object_get(value, "error-desc"));
	rc = err_set(err, EIO, "QEMU could not %s of VM %s: %s", what, vm->config.name,
		     desc ? desc : "no reason given");
	json_decref(value);
	return rc;
}

int vm_migration_wait(struct vm *vm, int64_t deadline_ns, const char *what, struct err *err)
{
	json_t *event;
	const char *status;
	bool completed;
	int rc = qmp_wait_event(vm->qmp, migration_ended, NULL, deadline_ns, &event, err);

	if (rc < 0)
		return vm_explain(vm, rc, err);
	status = json_string_value(json_object_get(json_object_get(event, "data"), "status"));
	completed = status && !strcmp(status, "completed");
	json_decref(event);
	return completed ? 0 : vm_migration_failure(vm, what, err);
}
