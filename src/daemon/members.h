/* SPDX-License-Identifier: BSD-3-Clause */
/* Members that records and manifests have in common. */
#ifndef STASIS_DAEMON_MEMBERS_H
#define STASIS_DAEMON_MEMBERS_H

#include <jansson.h>
#include <stddef.h>

#include "base/err.h"
#include "vm/vm.h"

/* Copy a text member into a buffer; -EPROTO when it is missing, -ENAMETOOLONG when it does not
 * fit. */
int members_get_text(const json_t *json, const char *key, char *ret_text, size_t size,
		     struct err *err);

/* A machine as an object of four texts, and back. */
json_t *members_machine_to_json(const struct vm_machine *machine);
int members_machine_from_json(const json_t *json, struct vm_machine *ret_machine,
			      struct err *err);

#endif
