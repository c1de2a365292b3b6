/* SPDX-License-Identifier: BSD-3-Clause */
/* stasis show: what one checkpoint holds and how long each of its phases took. */
#include <string.h>

#include "cli/cmds.h"
#include "cli/human.h"
#include "cli/simple.h"

static void print_line(const char *title, const char *text)
{
	char clean[512];

	human_clean(text && *text ? text : "-", clean, sizeof(clean));
	printf("%-12s %s\n", title, clean);
}

static uint64_t number(const json_t *object, const char *name)
{
	json_int_t value = json_integer_value(json_object_get(object, name));

	return value > 0 ? (uint64_t)value : 0;
}

/* Of a stream's pages that are not all zero. */
static uint64_t data_bytes(const json_t *vm, const char *stream)
{
	return number(json_object_get(vm, stream), "data_bytes");
}

/* "5 MiB, deduplication 3.2x, compression 2.1x", as far as the manifest tells. */
static void print_added(const json_t *reply)
{
	const json_t *cost = json_object_get(json_object_get(reply, "manifest"), "cost");
	char bytes[HUMAN_TEXT_MAX], dedup[HUMAN_TEXT_MAX], compression[HUMAN_TEXT_MAX],
		text[160];

	human_bytes(number(reply, "bytes"), bytes);
	if (json_is_object(cost))
		snprintf(text, sizeof(text), "%s, deduplication %s, compression %s", bytes,
			 human_ratio(number(cost, "data_bytes"), number(cost, "new_bytes"),
				     dedup),
			 human_ratio(number(cost, "new_bytes"), number(cost, "stored_bytes"),
				     compression));
	print_line("added", json_is_object(cost) ? text : bytes);
}

static void print_size(const json_t *reply)
{
	const json_t *vms = json_object_get(json_object_get(reply, "manifest"), "vms");
	char logical[HUMAN_TEXT_MAX], data[HUMAN_TEXT_MAX], text[96];
	const json_t *vm;
	uint64_t sum = 0;
	size_t i;

	json_array_foreach((json_t *)vms, i, vm)
	{
		sum += data_bytes(vm, "ram") + data_bytes(vm, "state") + data_bytes(vm, "disk");
	}
	snprintf(text, sizeof(text), "%s, %s without pages of zeros",
		 human_bytes(number(reply, "logical_bytes"), logical), human_bytes(sum, data));
	print_line("size", text);
}

/* How long, and which phases the VMs stood still for. */
static void print_pause(const json_t *manifest)
{
	char text[400], took[HUMAN_TEXT_MAX];
	bool within = false, last = false;
	const json_t *phase;
	size_t i, used;

	human_duration(json_integer_value(json_object_get(manifest, "pause_ns")), took);
	used = (size_t)snprintf(text, sizeof(text), "%s", took);
	json_array_foreach(json_object_get(manifest, "phases"), i, phase)
	{
		const char *name = json_string_value(json_object_get(phase, "name"));

		if (!name || last || used >= sizeof(text))
			continue;
		within = within || strcmp(name, "pause") == 0;
		last = within && strcmp(name, "resume") == 0;
		human_duration(json_integer_value(json_object_get(phase, "duration_ns")), took);
		if (within)
			used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s %s",
						 strchr(text, ':') ? ", " : ": ", name, took);
	}
	print_line("pause", text);
	if (json_is_true(json_object_get(manifest, "pause_includes_write")))
		print_line("", "memory was short: RAM was written to the store meanwhile");
}

static void print_vms(const json_t *vms)
{
	static const char *const titles[] = {"VM",           ">MEMORY",       ">CPUS",
					     ">MEMORY USED", ">DEVICE STATE", ">DISK CHANGES"};
	struct table *table = table_create(titles, 6);
	const json_t *vm;
	size_t i;

	json_array_foreach((json_t *)vms, i, vm)
	{
		char memory[HUMAN_TEXT_MAX], cpus[HUMAN_TEXT_MAX], ram[HUMAN_TEXT_MAX],
			state[HUMAN_TEXT_MAX], disk[HUMAN_TEXT_MAX];

		if (!table)
			return;
		human_bytes((uint64_t)json_integer_value(json_object_get(vm, "memory_bytes")),
			    memory);
		snprintf(cpus, sizeof(cpus), "%" JSON_INTEGER_FORMAT,
			 json_integer_value(json_object_get(vm, "cpus")));
		human_bytes(data_bytes(vm, "ram"), ram);
		human_bytes(data_bytes(vm, "state"), state);
		human_bytes(data_bytes(vm, "disk"), disk);
		table_add(table,
			  (const char *[]){json_string_value(json_object_get(vm, "name")),
					   memory, cpus, ram, state, disk});
	}
	if (table)
		table_print(table, stdout);
	table_destroy(table);
}

static void print_phases(const json_t *phases)
{
	static const char *const titles[] = {"PHASE", ">BEGAN AFTER", ">TOOK"};
	struct table *table = table_create(titles, 3);
	const json_t *phase;
	size_t i;

	json_array_foreach((json_t *)phases, i, phase)
	{
		char start[HUMAN_TEXT_MAX], took[HUMAN_TEXT_MAX];

		if (!table)
			return;
		human_duration(json_integer_value(json_object_get(phase, "start_ns")), start);
		human_duration(json_integer_value(json_object_get(phase, "duration_ns")), took);
		table_add(table,
			  (const char *[]){json_string_value(json_object_get(phase, "name")),
					   start, took});
	}
	if (table)
		table_print(table, stdout);
	table_destroy(table);
}

static void print_fabric(const json_t *fabric)
{
	static const char *const titles[] = {"VM", ">SUSPENDED", "INFINIBAND AT THE CAPTURE"};
	struct table *table = table_create(titles, 3);
	const json_t *vm;
	size_t i;

	json_array_foreach((json_t *)fabric, i, vm)
	{
		char processes[HUMAN_TEXT_MAX], resources[256];
		const char *text = json_string_value(json_object_get(vm, "resources"));

		if (!table)
			return;
		snprintf(processes, sizeof(processes), "%" JSON_INTEGER_FORMAT,
			 json_integer_value(json_object_get(vm, "processes")));
		human_clean(text && *text ? text : "no device", resources, sizeof(resources));
		table_add(table, (const char *[]){json_string_value(json_object_get(vm, "vm")),
						  processes, resources});
	}
	if (table && i > 0) {
		putchar('\n');
		table_print(table, stdout);
	}
	table_destroy(table);
}

static void print_manifest(const json_t *reply)
{
	const json_t *manifest = json_object_get(reply, "manifest");
	const json_t *machine = json_object_get(manifest, "machine");
	char text[HUMAN_TEXT_MAX];

	print_line("checkpoint", json_string_value(json_object_get(manifest, "id")));
	print_line("cluster", json_string_value(json_object_get(manifest, "cluster")));
	print_line("tag", json_string_value(json_object_get(manifest, "tag")));
	print_line(
		"created",
		human_time(json_integer_value(json_object_get(manifest, "created_ns")), text));
	print_line("state",
		   json_is_true(json_object_get(reply, "damaged")) ? "damaged" : "good");
	print_size(reply);
	print_added(reply);
	print_pause(manifest);
	print_line("host", json_string_value(json_object_get(manifest, "host")));
	print_line("accelerator", json_string_value(json_object_get(machine, "accel")));
	print_line("QEMU", json_string_value(json_object_get(machine, "qemu_version")));
	putchar('\n');
	print_vms(json_object_get(manifest, "vms"));
	putchar('\n');
	print_phases(json_object_get(manifest, "phases"));
	print_fabric(json_object_get(manifest, "fabric"));
}

static int show(struct cli *cli, int argc, char **argv)
{
	struct err err = ERR_INIT;
	const char *id;
	json_t *reply = NULL;
	bool done;
	int code = simple_args(cli, argc, argv, "checkpoint", &id, &done);

	if (done)
		return code;
	if (!id)
		return cli_usage(cli, "the checkpoint's id is missing; stasis list shows them");
	if (cli_check_checkpoint(id, &err) < 0)
		return cli_error(cli, CLI_USAGE, &err);
	code = simple_call(cli, json_pack("{s:s, s:s}", "op", "ckpt.show", "checkpoint", id),
			   &reply);
	if (code != CLI_OK)
		return code;
	if (cli->json) {
		json_object_del(reply, "id");
		return cli_print_json(reply);
	}
	print_manifest(reply);
	json_decref(reply);
	return CLI_OK;
}

const struct cli_cmd cmd_show = {
	.name = "show",
	.help = "show what a checkpoint holds and how long its phases took",
	.usage = "CHECKPOINT",
	.example = "stasis show h2o-20260301-120005-4f2a91c3",
	.fn = show,
};
