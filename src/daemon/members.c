/* SPDX-License-Identifier: BSD-3-Clause */
/* Members that records and manifests have in common. */
#include "daemon/members.h"

#include <errno.h>
#include <string.h>

#include "base/rpc.h"

int members_get_text(const json_t *json, const char *key, char *ret_text, size_t size,
		     struct err *err)
{
	const char *text;
	int rc = rpc_get_str(json, key, &text, err);

	if (rc < 0)
		return rc;
	if (strlen(text) >= size)
		return err_set(err, ENAMETOOLONG, "member \"%s\" is too long", key);
	memcpy(ret_text, text, strlen(text) + 1);
	return 0;
}

json_t *members_machine_to_json(const struct vm_machine *machine)
{
	return json_pack("{s:s,s:s,s:s,s:s}", "qemu_version", machine->qemu_version, "machine",
			 machine->machine, "accel", machine->accel, "cpu", machine->cpu);
}

int members_machine_from_json(const json_t *json, struct vm_machine *ret_machine,
			      struct err *err)
{
	struct vm_machine *m = ret_machine;
	int rc = members_get_text(json, "qemu_version", m->qemu_version,
				  sizeof(m->qemu_version), err);

	if (rc == 0)
		rc = members_get_text(json, "machine", m->machine, sizeof(m->machine), err);
	if (rc == 0)
		rc = members_get_text(json, "accel", m->accel, sizeof(m->accel), err);
	if (rc == 0)
		rc = members_get_text(json, "cpu", m->cpu, sizeof(m->cpu), err);
	return rc;
}
