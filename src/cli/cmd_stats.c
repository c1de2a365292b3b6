/* SPDX-License-Identifier: BSD-3-Clause */
/* stasis stats: what the store holds, and what deduplication and compression save. */
#include "cli/cmds.h"
#include "cli/human.h"
#include "cli/simple.h"

static json_int_t number(const json_t *stats, const char *name)
{
	return json_integer_value(json_object_get(stats, name));
}

/* A row with a size and a remark. */
static void add_bytes(struct table *table, const char *title, const json_t *stats,
		      const char *name, const char *remark)
{
	char text[HUMAN_TEXT_MAX];

	table_add(table,
		  (const char *[]){title, human_bytes((uint64_t)number(stats, name), text),
				   remark});
}

static void add_count(struct table *table, const char *title, json_int_t count,
		      const char *remark)
{
	char text[HUMAN_TEXT_MAX];

	snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT, count);
	table_add(table, (const char *[]){title, text, remark});
}

/* "deduplication 3.2x", of two sizes. */
static const char *saved(const char *word, const json_t *stats, const char *whole,
			 const char *part, char ret_text[64])
{
	char ratio[HUMAN_TEXT_MAX];

	snprintf(ret_text, 64, "%s %s", word,
		 human_ratio((uint64_t)number(stats, whole), (uint64_t)number(stats, part),
			     ratio));
	return ret_text;
}

static void print_stats(const json_t *stats)
{
	static const char *const titles[] = {"STORE", ">VALUE", "REMARK"};
	struct table *table = table_create(titles, 3);
	const char *where = json_string_value(json_object_get(stats, "where"));
	char text[64], clean[512];

	if (!table)
		return;
	human_clean(where ? where : "-", clean, sizeof(clean));
	printf("%s\n\n", clean);
	snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT " damaged",
		 number(stats, "damaged"));
	add_count(table, "checkpoints", number(stats, "checkpoints"),
		  number(stats, "damaged") ? text : "");
	add_bytes(table, "logical", stats, "logical_bytes",
		  "memory, devices, disks of the VMs");
	add_bytes(table, "data", stats, "data_bytes", "without pages of zeros");
	add_bytes(table, "chunks", stats, "chunk_bytes",
		  saved("deduplication", stats, "data_bytes", "chunk_bytes", text));
	add_bytes(table, "stored", stats, "pack_bytes",
		  saved("compression", stats, "chunk_bytes", "pack_bytes", text));
	add_count(table, "packs", number(stats, "packs"),
		  saved("in all", stats, "logical_bytes", "pack_bytes", text));
	add_bytes(table, "index", stats, "index_memory_bytes", "memory of stasisd");
	table_add(table,
		  (const char *[]){"encrypted",
				   json_is_true(json_object_get(stats, "encrypted")) ? "yes"
										     : "no",
				   ""});
	table_print(table, stdout);
	table_destroy(table);
}

static int stats(struct cli *cli, int argc, char **argv)
{
	struct err err = ERR_INIT;
	json_t *reply = NULL;
	int code;

	if (cli_opt_next(cli, argc, argv) == CLI_OPT_EXIT)
		return cli->exit_code;
	if (cli_no_operand(argc, argv, &err) < 0)
		return cli_error(cli, CLI_USAGE, &err);
	code = simple_call(cli, json_pack("{s:s}", "op", "store.stats"), &reply);
	if (code != CLI_OK)
		return code;
	if (cli->json) {
		json_object_del(reply, "id");
		return cli_print_json(reply);
	}
	print_stats(reply);
	json_decref(reply);
	return CLI_OK;
}

const struct cli_cmd cmd_stats = {
	.name = "stats",
	.help = "show what the store holds and how much it saves",
	.usage = "",
	.about =
		"Deduplication: data of all checkpoints' VMs against what of it is different, guest images included.\n"
		"Compression: that against what the packs take.",
	.example = "stasis stats",
	.fn = stats,
};
