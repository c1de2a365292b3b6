/* SPDX-License-Identifier: BSD-3-Clause */
/* One operation of a store's backend, by command line: for tests that break the service. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/backend/backend.h"

enum { PIECE = 1 << 20 };

static const char usage[] =
	"usage: s3_tool LOCATION COMMAND\n"
	"  put NAME FILE     the file becomes an object\n"
	"  drop NAME FILE    as put, but given up at the end\n"
	"  get NAME FILE     the object becomes a file\n"
	"  range NAME OFFSET LEN\n"
	"  list KIND         names and sizes\n"
	"  stat NAME         size and time\n"
	"  remove NAME\n"
	"  now\n"
	"  tidy SECONDS\n"
	"A failure is told as ERRNO: SENTENCE; STASIS_TEST_LOG=1 shows what is tried again.\n";

static int write_file(struct backend *backend, const char *name, FILE *file, bool drop,
		      struct err *err)
{
	CLEANUP_FREE char *piece = malloc(PIECE);
	struct backend_writer *writer;
	int rc = piece ? backend->ops->begin(backend, name, &writer, err)
		       : err_sys(err, ENOMEM, "a piece");
	size_t n;

	if (rc < 0)
		return rc;
	while (rc == 0 && (n = fread(piece, 1, PIECE, file)) > 0)
		rc = backend->ops->append(writer, piece, n, err);
	if (rc == 0 && !drop)
		return backend->ops->commit(writer, err);
	backend->ops->abort(writer);
	return rc;
}

static int put(struct backend *backend, char **args, bool drop, struct err *err)
{
	CLEANUP_FCLOSE FILE *file = fopen(args[1], "re");

	if (!file)
		return err_sys(err, errno, "cannot open %s", args[1]);
	return write_file(backend, args[0], file, drop, err);
}

static int get(struct backend *backend, char **args, struct err *err)
{
	CLEANUP_FCLOSE FILE *file = NULL;
	CLEANUP_FREE void *data = NULL;
	size_t len;
	int rc = backend_get(backend, args[0], 1 << 30, &data, &len, err);

	if (rc < 0)
		return rc;
	file = fopen(args[1], "we");
	if (!file || fwrite(data, 1, len, file) != len)
		return err_sys(err, errno, "cannot write %s", args[1]);
	return 0;
}

static int range(struct backend *backend, char **args, struct err *err)
{
	size_t len = strtoul(args[2], NULL, 10);
	CLEANUP_FREE char *data = malloc(len + 1);
	int rc = data ? backend->ops->read(backend, args[0], strtoull(args[1], NULL, 10), data,
					   len, err)
		      : err_sys(err, ENOMEM, "a range");

	if (rc == 0)
		fwrite(data, 1, len, stdout);
	return rc;
}

static int print_one(const char *name, const struct backend_stat *stat, void *arg,
		     struct err *err)
{
	(void)arg;
	(void)err;
	printf("%s %" PRIu64 "\n", name, stat->bytes);
	return 0;
}

static int stat_print(struct backend *backend, const char *name, struct err *err)
{
	struct backend_stat stat;
	int rc = backend->ops->stat(backend, name, &stat, err);

	if (rc == 0)
		printf("%" PRIu64 " %" PRId64 "\n", stat.bytes, stat.modified_ns);
	return rc;
}

static int now_print(struct backend *backend, struct err *err)
{
	int64_t now_ns;
	int rc = backend->ops->now(backend, &now_ns, err);

	if (rc == 0)
		printf("%" PRId64 "\n", now_ns);
	return rc;
}

static int run(struct backend *backend, const char *command, int count, char **args,
	       struct err *err)
{
	if (!strcmp(command, "put") && count == 2)
		return put(backend, args, false, err);
	if (!strcmp(command, "drop") && count == 2)
		return put(backend, args, true, err);
	if (!strcmp(command, "get") && count == 2)
		return get(backend, args, err);
	if (!strcmp(command, "range") && count == 3)
		return range(backend, args, err);
	if (!strcmp(command, "list") && count == 1)
		return backend->ops->list(backend, args[0], print_one, NULL, err);
	if (!strcmp(command, "stat") && count == 1)
		return stat_print(backend, args[0], err);
	if (!strcmp(command, "remove") && count == 1)
		return backend->ops->remove(backend, args[0], err);
	if (!strcmp(command, "now") && count == 0)
		return now_print(backend, err);
	if (!strcmp(command, "tidy") && count == 1)
		return backend->ops->tidy(backend, strtoll(args[0], NULL, 10) * NS_PER_S, err);
	return err_set(err, EINVAL, "%s", usage);
}

static void log_print(enum log_level level, const char *line, void *arg)
{
	(void)arg;
	fprintf(stderr, "%s: %s\n", log_level_name(level), line);
}

int main(int argc, char **argv)
{
	struct backend *backend = NULL;
	struct err err = ERR_INIT;
	int rc;

	if (argc < 3) {
		fputs(usage, stderr);
		return 2;
	}
	if (getenv("STASIS_TEST_LOG"))
		log_set_sink(log_print, NULL, LOG_DEBUG);
	rc = backend_open(argv[1], &backend, &err);
	if (rc == 0)
		rc = run(backend, argv[2], argc - 3, argv + 3, &err);
	if (rc < 0)
		fprintf(stderr, "%s: %s\n", strerrorname_np(-rc), err.msg);
	backend_close(backend);
	return rc < 0 ? 1 : 0;
}
