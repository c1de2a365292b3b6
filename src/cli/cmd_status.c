/* SPDX-License-Identifier: BSD-3-Clause */
/* stasis status: the clusters of this host and their VMs. */
#include <string.h>

#include "base/clock.h"
#include "cli/cmds.h"
#include "cli/human.h"
#include "cli/simple.h"

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text && *text ? text : "-";
}

/* "3/4": living VMs of all */
static void living(const json_t *cluster, char ret_text[HUMAN_TEXT_MAX])
{
	const json_t *vms = json_object_get(cluster, "vms"), *vm;
	size_t i, alive = 0;

	json_array_foreach((json_t *)vms, i, vm)
	{
		alive += strcmp(text_of(vm, "state"), "dead") != 0;
	}
	snprintf(ret_text, HUMAN_TEXT_MAX, "%zu/%zu", alive, json_array_size(vms));
}

/* "ID, 12 s ago" */
static void last_checkpoint(const json_t *cluster, char *ret_text, size_t size)
{
	json_int_t at_ns = json_integer_value(json_object_get(cluster, "last_checkpoint_ns"));
	char age[HUMAN_TEXT_MAX];

	if (at_ns <= 0)
		snprintf(ret_text, size, "-");
	else
		snprintf(ret_text, size, "%.80s, %s ago", text_of(cluster, "last_checkpoint"),
			 human_duration(clock_real_ns() - at_ns, age));
}

/* The run's command in one line. */
static void run_command(const json_t *cluster, char *ret_text, size_t size)
{
	const json_t *argv = json_object_get(json_object_get(cluster, "run"), "argv"), *arg;
	size_t i, used = 0;

	snprintf(ret_text, size, "-");
	json_array_foreach((json_t *)argv, i, arg)
	{
		const char *text = json_string_value(arg);

		if (text && used + 1 < size)
			used += (size_t)snprintf(ret_text + used, size - used, "%s%s",
						 used ? " " : "", text);
	}
}

static void print_clusters(const json_t *clusters)
{
	static const char *const titles[] = {"CLUSTER", "STATE",           "VMS",
					     "ACCEL",   "LAST CHECKPOINT", "RUN"};
	struct table *table = table_create(titles, 6);
	const json_t *cluster;
	size_t i;

	json_array_foreach((json_t *)clusters, i, cluster)
	{
		char vms[HUMAN_TEXT_MAX], last[128], run[256];

		if (!table)
			return;
		living(cluster, vms);
		last_checkpoint(cluster, last, sizeof(last));
		run_command(cluster, run, sizeof(run));
		table_add(table,
			  (const char *[]){text_of(cluster, "name"), text_of(cluster, "state"),
					   vms, text_of(cluster, "accel"), last, run});
	}
	if (table)
		table_print(table, stdout);
	table_destroy(table);
}

static void print_vms(const json_t *cluster)
{
	static const char *const titles[] = {"VM",      "STATE",     ">PID", "ADDRESS",
					     ">MEMORY", ">RESIDENT", "AGENT"};
	struct table *table = table_create(titles, 7);
	const json_t *vm;
	size_t i;

	json_array_foreach(json_object_get(cluster, "vms"), i, vm)
	{
		char pid[HUMAN_TEXT_MAX], memory[HUMAN_TEXT_MAX], resident[HUMAN_TEXT_MAX];

		if (!table)
			return;
		snprintf(pid, sizeof(pid), "%" JSON_INTEGER_FORMAT,
			 json_integer_value(json_object_get(vm, "pid")));
		human_bytes((uint64_t)json_integer_value(json_object_get(vm, "memory_bytes")),
			    memory);
		human_bytes((uint64_t)json_integer_value(json_object_get(vm, "resident_bytes")),
			    resident);
		table_add(table, (const char *[]){text_of(vm, "name"), text_of(vm, "state"),
						  pid, text_of(vm, "address"), memory, resident,
						  json_is_true(json_object_get(vm, "agent"))
							  ? "answers"
							  : "silent"});
	}
	putchar('\n');
	if (table)
		table_print(table, stdout);
	table_destroy(table);
}

static void print_message(const json_t *cluster)
{
	char phase[64], message[512];

	human_clean(text_of(cluster, "phase"), phase, sizeof(phase));
	human_clean(text_of(cluster, "message"), message, sizeof(message));
	if (strcmp(phase, "-") != 0)
		printf("\nphase: %s\n", phase);
	if (strcmp(message, "-") != 0)
		printf("\n%s\n", message);
}

static int status(struct cli *cli, int argc, char **argv)
{
	struct err err = ERR_INIT;
	const char *name;
	json_t *reply = NULL, *clusters;
	bool done;
	int code = simple_args(cli, argc, argv, "cluster", &name, &done);

	if (done)
		return code;
	if (name && cli_check_cluster(name, &err) < 0)
		return cli_error(cli, CLI_USAGE, &err);
	code = simple_call(
		cli, json_pack("{s:s, s:s*}", "op", "cluster.status", "cluster", name), &reply);
	if (code != CLI_OK)
		return code;
	clusters = json_object_get(reply, "clusters");
	if (cli->json) {
		json_object_del(reply, "id");
		return cli_print_json(reply);
	}
	if (json_array_size(clusters) == 0) {
		printf("no cluster runs here; stasis up -c FILE starts one\n");
	} else {
		print_clusters(clusters);
		if (json_array_size(clusters) == 1) {
			print_vms(json_array_get(clusters, 0));
			print_message(json_array_get(clusters, 0));
		}
	}
	json_decref(reply);
	return CLI_OK;
}

const struct cli_cmd cmd_status = {
	.name = "status",
	.help = "show the clusters of this host, their VMs and what they are doing",
	.usage = "[CLUSTER]",
	.about = "With one cluster, or only one running, its VMs are listed, too.",
	.example = "stasis status h2o",
	.fn = status,
};
