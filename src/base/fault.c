/* SPDX-License-Identifier: BSD-3-Clause */
/* Named fault points: parsing of STASIS_FAULT and the passage through a point. */
#include "base/fault.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

enum fault_action { FAULT_NONE, FAULT_KILL, FAULT_FAIL, FAULT_RUN };

struct fault {
	enum fault_action action;
	int code;
	int at;
	char command[256];
	atomic_int passed;
};

static const struct {
	const char *name, *what;
} points[] = {
#define FAULT_POINT(id, name, what) {name, what},
#include "base/fault_points.def"
#undef FAULT_POINT
};

static struct fault faults[FAULT_POINT_COUNT];

const char *fault_point_name(enum fault_point point)
{
	return points[point].name;
}

const char *fault_point_what(enum fault_point point)
{
	return points[point].what;
}

static int errno_parse(const char *text)
{
	static const struct {
		const char *name;
		int code;
	} known[] = {
		{"EIO", EIO}, {"ENOSPC", ENOSPC}, {"ENOMEM", ENOMEM}, {"ETIMEDOUT", ETIMEDOUT}};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (!strcmp(text, known[i].name))
			return known[i].code;
	return atoi(text);
}

static int fault_arm(char *item, struct err *err)
{
	char *count = strchr(item, ':'), *action = NULL;
	struct fault *fault = NULL;

	if (count) {
		*count++ = '\0';
		action = strchr(count, ':');
		if (action)
			*action++ = '\0';
	}
	for (int i = 0; i < FAULT_POINT_COUNT; i++)
		if (!strcmp(item, points[i].name))
			fault = &faults[i];
	if (!fault)
		return err_set(err, EINVAL, "STASIS_FAULT names no fault point: \"%s\"", item);
	fault->at = count ? atoi(count) : 1;
	if (fault->at < 1)
		return err_set(err, EINVAL, "STASIS_FAULT: count of \"%s\" must be 1 or more",
			       item);
	if (!action || !strcmp(action, "kill")) {
		fault->action = FAULT_KILL;
	} else if (!strncmp(action, "fail=", 5) && errno_parse(action + 5) > 0) {
		fault->action = FAULT_FAIL;
		fault->code = errno_parse(action + 5);
	} else if (!strncmp(action, "run=", 4) && strlen(action + 4) < sizeof(fault->command)) {
		fault->action = FAULT_RUN;
		snprintf(fault->command, sizeof(fault->command), "%s", action + 4);
	} else {
		return err_set(err, EINVAL,
			       "STASIS_FAULT: \"%s\" is none of kill, fail=ERRNO, run=COMMAND",
			       action);
	}
	return 0;
}

int fault_init(struct err *err)
{
	const char *env = getenv("STASIS_FAULT");
	CLEANUP_FREE char *copy = NULL;
	char *save = NULL;

	if (!env || !*env)
		return 0;
	copy = strdup(env);
	if (!copy)
		return err_sys(err, ENOMEM, "STASIS_FAULT");
	for (char *item = strtok_r(copy, ",", &save); item; item = strtok_r(NULL, ",", &save)) {
		int rc = fault_arm(item, err);

		if (rc < 0)
			return rc;
	}
	return 0;
}

int fault_hit(enum fault_point point, struct err *err)
{
	struct fault *fault = &faults[point];

	if (fault->action == FAULT_NONE || atomic_fetch_add(&fault->passed, 1) + 1 != fault->at)
		return 0;
	switch (fault->action) {
	case FAULT_FAIL:
		return err_sys(err, fault->code, "injected fault at %s", points[point].name);
	case FAULT_RUN:
		if (system(fault->command) != 0)
			return err_set(err, EINVAL, "fault command at %s failed",
				       points[point].name);
		return 0;
	default: kill(getpid(), SIGKILL); return 0;
	}
}
