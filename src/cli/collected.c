/* SPDX-License-Identifier: BSD-3-Clause */
/* Telling what a collection of garbage in the store has done. */
#include "cli/collected.h"

#include "cli/human.h"

static json_int_t number(const json_t *collected, const char *name)
{
	return json_integer_value(json_object_get(collected, name));
}

void collected_print(const struct cli *cli, const json_t *collected)
{
	char freed[HUMAN_TEXT_MAX], live[HUMAN_TEXT_MAX];
	json_int_t waiting = number(collected, "waiting");

	printf("%s freed (packs deleted: %" JSON_INTEGER_FORMAT
	       ", rewritten: %" JSON_INTEGER_FORMAT "), %s in use\n",
	       human_bytes((uint64_t)number(collected, "freed_bytes"), freed),
	       number(collected, "deleted"), number(collected, "rewritten"),
	       human_bytes((uint64_t)number(collected, "live_bytes"), live));
	if (waiting > 0)
		cli_note(cli,
			 "packs that checkpoints or restarts under way may need: "
			 "%" JSON_INTEGER_FORMAT "; the next stasis gc frees them",
			 waiting);
}
