/* SPDX-License-Identifier: BSD-3-Clause */
/* The second half of a run, shared by run and attach: follow the job, fetch its results, end
 * the run. */
#include "cli/run_follow.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/copy.h"
#include "cli/follow.h"
#include "cli/human.h"

int run_guest_dir(const char *cluster, char ret_path[IO_PATH_MAX], struct err *err)
{
	return io_path(ret_path, IO_PATH_MAX, err, "/home/stasis/%s", cluster);
}

int run_marker_path(const char *cluster, char ret_path[IO_PATH_MAX], struct err *err)
{
	return io_path(ret_path, IO_PATH_MAX, err, "/home/stasis/.%s.copied-in", cluster);
}

/* Fetch what is new or changed: from vm0, then from the others what the VMs before them do not
 * have. */
static int fetch_results(struct copy *copy, const struct run *run, struct err *err)
{
	struct copy_filter filter = {.seen = json_object()};
	char marker[IO_PATH_MAX], kind[8];
	size_t vm;
	int rc = run_marker_path(run->cluster, marker, err);

	for (vm = 0; rc == 0 && vm < copy->agents->count; vm++) {
		rc = copy_guest_kind(copy->agents, vm, marker, kind, &filter.since_ns, err);
		if (rc == 0 && strcmp(kind, "file") == 0)
			rc = copy_out(copy, vm, run->guest_dir, run->work_dir, "", &filter,
				      err);
	}
	json_decref(filter.seen);
	return rc;
}

/* The newest good checkpoint of the cluster, empty when there is none. */
static void newest_checkpoint(struct client *client, const char *cluster, char ret_id[64],
			      int64_t *ret_created_ns)
{
	json_t *reply = NULL;
	const json_t *entry;
	struct err ignored;
	size_t i;

	ret_id[0] = '\0';
	client_call(client, json_pack("{s:s, s:s}", "op", "ckpt.list", "cluster", cluster),
		    &reply, &ignored);
	json_array_foreach(json_object_get(reply, "checkpoints"), i, entry)
	{
		const char *id = json_string_value(json_object_get(entry, "id"));

		if (id && !json_is_true(json_object_get(entry, "damaged"))) {
			snprintf(ret_id, 64, "%s", id);
			*ret_created_ns =
				json_integer_value(json_object_get(entry, "created_ns"));
		}
	}
	json_decref(reply);
}

static int run_lost(const struct cli *cli, struct client *client, const struct run *run,
		    const char *why)
{
	struct err err = ERR_INIT;
	int64_t created_ns = 0;
	char id[64], when[HUMAN_TEXT_MAX];

	newest_checkpoint(client, run->cluster, id, &created_ns);
	if (id[0])
		err_set(&err, ECONNABORTED,
			"cluster %s was lost: %.300s; go on from its last checkpoint, of %s, with: "
			"stasis restart %s && stasis attach %s",
			run->cluster, why, human_time(created_ns, when), id, run->cluster);
	else
		err_set(&err, ECONNABORTED,
			"cluster %s was lost: %.300s; it has no checkpoint, so it must begin anew: stasis down %s, "
			"then stasis run",
			run->cluster, why, run->cluster);
	return cli_error(cli, CLI_LOST, &err);
}

static int run_detached(const struct cli *cli, const struct run *run, int signal)
{
	if (cli->json)
		cli_print_json(json_pack("{s:s, s:s, s:b, s:i}", "cluster", run->cluster, "job",
					 run->job, "detached", 1, "code", 128 + signal));
	else
		fprintf(stderr,
			"\nstasis: detached; the job goes on. To return: stasis attach %s. To end it: stasis down "
			"%s\n",
			run->cluster, run->cluster);
	return 128 + signal;
}

/* The job has ended: results out, record away, and the word on what is left. */
static int run_ended(const struct cli *cli, struct client *client, struct agents *all,
		     const struct run *run, const struct follow_vm *vm)
{
	struct copy copy = {.cli = cli, .agents = all, .progress = &client->progress};
	struct err err = ERR_INIT;
	char bytes[HUMAN_TEXT_MAX];
	int rc = fetch_results(&copy, run, &err);

	progress_end(&client->progress);
	if (rc < 0) {
		err_prefix(
			&err,
			"the job has ended (code %d), but its results could not be fetched (they stay in "
			"the VMs; stasis attach %s tries again)",
			follow_exit_code(vm), run->cluster);
		return cli_failed(cli, &err);
	}
	if (client_call(client,
			json_pack("{s:s, s:s}", "op", "run.end", "cluster", run->cluster), NULL,
			&err) < 0)
		return cli_failed(cli, &err);
	if (run->down &&
	    client_call(client,
			json_pack("{s:s, s:s}", "op", "cluster.down", "cluster", run->cluster),
			NULL, &err) < 0)
		return cli_failed(cli, &err);
	if (cli->json)
		cli_print_json(json_pack(
			"{s:s, s:s, s:b, s:i, s:i, s:{s:I, s:I, s:I}}", "cluster", run->cluster,
			"job", run->job, "detached", 0, "code", vm->code, "signal", vm->signal,
			"results", "files", (json_int_t)copy.files, "bytes",
			(json_int_t)copy.bytes, "skipped", (json_int_t)copy.skipped));
	cli_note(cli, "stasis: %llu files (%s) copied out; cluster %s %s%s",
		 (unsigned long long)copy.files, human_bytes(copy.bytes, bytes), run->cluster,
		 run->down ? "has ended" : "stays up, to end it: stasis down ",
		 run->down ? "" : run->cluster);
	return follow_exit_code(vm);
}

int run_follow(const struct cli *cli, struct client *client, const json_t *cluster,
	       const struct run *run)
{
	struct agents first = {0}, all = {0};
	struct follow follow = {.cli = cli,
				.client = client,
				.agents = &first,
				.job = run->job,
				.detach = true,
				.signal_fd = -1,
				.new_only = run->new_only};
	enum follow_end end = FOLLOW_LOST;
	struct err err = ERR_INIT;
	int code, rc = agents_open(&first, cluster, "vm0", &err);

	if (rc == 0)
		rc = agents_open(&all, cluster, "all", &err);
	if (rc == 0)
		rc = follow_init(&follow, &err);
	if (rc == 0)
		rc = follow_run(&follow, &end, &err);
	if (rc < 0)
		code = cli_failed(cli, &err);
	else if (end == FOLLOW_DETACHED)
		code = run_detached(cli, run, follow.signal);
	else if (end == FOLLOW_LOST)
		code = run_lost(cli, client, run, follow.lost);
	else {
		struct follow_vm ended = follow.vms[0];

		follow_clear(&follow); /* from here on Ctrl-C ends this program; attach fetches
					  the results */
		code = run_ended(cli, client, &all, run, &ended);
	}
	follow_clear(&follow);
	agents_close(&all);
	agents_close(&first);
	return code;
}
