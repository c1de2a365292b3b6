/* SPDX-License-Identifier: BSD-3-Clause */
/* stasis doctor: what this machine can and cannot do, and the remedy. */
#include <unistd.h>

#include "cli/cmds.h"
#include "cli/doctor.h"
#include "cli/human.h"

static const char *const grades[] = {
	[DOCTOR_OK] = "ok", [DOCTOR_WARN] = "warn", [DOCTOR_FAIL] = "FAIL"};

/* Run checks; each is printed as it is made, or added to `list` when there is one. Returns the
 * failures. */
static unsigned int run_checks(const struct doctor_check *checks, json_t *list)
{
	unsigned int failed = 0;

	for (; checks->name; checks++) {
		struct doctor_result result = {0};

		checks->fn(&result);
		failed += result.grade == DOCTOR_FAIL;
		if (list) {
			json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "check",
							      checks->name, "grade",
							      result.grade == DOCTOR_FAIL
								      ? "fail"
								      : grades[result.grade],
							      "found", result.found, "remedy",
							      result.remedy));
			continue;
		}
		printf("%-5s %-16s %s\n", grades[result.grade], checks->name, result.found);
		if (result.remedy[0])
			printf("%-5s %-16s remedy: %s\n", "", "", result.remedy);
		fflush(stdout);
	}
	return failed;
}

static int doctor(struct cli *cli, int argc, char **argv)
{
	unsigned int failed;
	json_t *list;

	if (cli_opt_next(cli, argc, argv) == CLI_OPT_EXIT)
		return cli->exit_code;
	if (optind < argc)
		return cli_usage(cli, "'%.60s' is too much", argv[optind]);
	list = cli->json ? json_array() : NULL;
	failed =
		run_checks(doctor_machine_checks, list) + run_checks(doctor_space_checks, list);
	if (cli->json)
		cli_print_json(json_pack("{s:i, s:o}", "failed", (int)failed, "checks", list));
	else if (failed)
		printf("\n%u thing%s must be mended before a cluster can run here\n", failed,
		       failed == 1 ? "" : "s");
	else
		printf("\nclusters can run here\n");
	return failed ? CLI_FAILED : CLI_OK;
}

const struct cli_cmd cmd_doctor = {
	.name = "doctor",
	.help = "say what this machine can and cannot do, and the remedy",
	.usage = "",
	.about =
		"Starts nothing. Exit code 1 when something is missing that nothing works without.",
	.example = "stasis doctor",
	.fn = doctor,
};
