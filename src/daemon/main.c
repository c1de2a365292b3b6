/* SPDX-License-Identifier: BSD-3-Clause */
/* stasisd: the host daemon. Options, directories, the one-daemon lock, start, end. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/paths.h"
#include "base/rpc.h"
#include "daemon/cluster.h"
#include "daemon/daemon.h"
#include "daemon/loop.h"
#include "daemon/process.h"
#include "daemon/run.h"
#include "daemon/settings.h"

enum {
	EXIT_USAGE = 2,
	START_MS = 60000,
	DYING_MS = 10000,
	DYING_POLL_MS = 20,
	HELLO_MS = 5000
};

struct daemon the_daemon = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.staging = {.lock = PTHREAD_MUTEX_INITIALIZER, .limit_bytes = BUDGET_AUTO},
};

static const char usage[] =
	"Usage: stasisd [OPTION]…\n"
	"Serve the stasis command: own virtual clusters and their checkpoints on this host.\n"
	"stasis starts it by itself when none answers. VMs outlive it; the next one adopts them.\n\n"
	"  -b, --background             go to the background once the socket answers; log to stasisd.log in the state directory\n"
	"  -l, --log-level=LEVEL        error, warn, info (default) or debug\n"
	"  -s, --staging=SIZE           memory for RAM that is captured while VMs are stopped: 512M, 2G, …, or auto (default):\n"
	"                               all that is available; what does not fit is written while they are stopped\n"
	"      --store-key-file=FILE    encrypt the store under the key in FILE, which only its owner may read\n"
	"      --store-key-command=CMD  encrypt the store under the key that CMD prints\n"
	"      --compression=HOW        of the store: auto (default), raw, or a level of zstd, 1 to 19\n"
	"      --list-fault-points      print the names that STASIS_FAULT knows, and end\n"
	"  -h, --help                   print this, and end\n"
	"  -V, --version                print the version, and end\n\n"
	"Environment: STASIS_RUN_DIR, STASIS_STATE_DIR, STASIS_CACHE_DIR, STASIS_STORE_DIR (a directory or\n"
	"s3://BUCKET/PREFIX, with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and others), STASIS_STORE_KEY_FILE,\n"
	"STASIS_STORE_KEY_COMMAND, STASIS_STORE_COMPRESSION, STASIS_STAGING, STASIS_FAULT.\n"
	"See stasisd(8).\n";

struct options {
	bool background;
	enum log_level level;
	struct store_config store;
	const char *staging; /* NULL: not given */
};

/* Options without a letter. */
enum { OPT_FAULT_POINTS = 256, OPT_KEY_FILE, OPT_KEY_COMMAND, OPT_COMPRESSION };

static void log_line(enum log_level level, const char *line, void *arg)
{
	struct timespec now;
	struct tm tm;
	char stamp[32];

	(void)arg;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	fprintf(stderr, "%s.%03dZ %s %s\n", stamp, (int)(now.tv_nsec / NS_PER_MS),
		log_level_name(level), line);
}

static void list_fault_points(void)
{
	for (int i = 0; i < FAULT_POINT_COUNT; i++)
		printf("%-18s %s\n", fault_point_name(i), fault_point_what(i));
}

static int parse_level(const char *text, enum log_level *ret_level)
{
	int level = log_level_parse(text);

	if (level < 0) {
		fprintf(stderr, "stasisd: \"%s\" is no log level: error, warn, info or debug\n",
			text);
		return EXIT_USAGE;
	}
	*ret_level = (enum log_level)level;
	return 0;
}

static int parse_options(int argc, char *argv[], struct options *ret_options)
{
	static const struct option longs[] = {
		{"background", no_argument, NULL, 'b'},
		{"log-level", required_argument, NULL, 'l'},
		{"staging", required_argument, NULL, 's'},
		{"store-key-file", required_argument, NULL, OPT_KEY_FILE},
		{"store-key-command", required_argument, NULL, OPT_KEY_COMMAND},
		{"compression", required_argument, NULL, OPT_COMPRESSION},
		{"list-fault-points", no_argument, NULL, OPT_FAULT_POINTS},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{0}};
	struct settings settings = {0};
	struct err err = ERR_INIT;
	int option;

	while ((option = getopt_long(argc, argv, "bl:s:hV", longs, NULL)) != -1) {
		switch (option) {
		case 'b': ret_options->background = true; break;
		case 'l':
			if (parse_level(optarg, &ret_options->level) != 0)
				return EXIT_USAGE;
			break;
		case 's': ret_options->staging = optarg; break;
		case OPT_KEY_FILE: settings.key_file = optarg; break;
		case OPT_KEY_COMMAND: settings.key_command = optarg; break;
		case OPT_COMPRESSION: settings.compression = optarg; break;
		case OPT_FAULT_POINTS: list_fault_points(); exit(0);
		case 'h': fputs(usage, stdout); exit(0);
		case 'V': puts("stasisd " STASIS_VERSION); exit(0);
		default: fputs("Try: stasisd --help\n", stderr); return EXIT_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "stasisd: unexpected argument \"%s\"\n", argv[optind]);
		return EXIT_USAGE;
	}
	if (settings_store(&settings, &ret_options->store, &err) < 0) {
		fprintf(stderr, "stasisd: %s\n", err.msg);
		return EXIT_USAGE;
	}
	return 0;
}

/* The option goes before the environment. */
static int set_staging(const struct options *options)
{
	const char *name = "--staging", *value = options->staging;
	struct err err = ERR_INIT;

	if (!value) {
		name = "STASIS_STAGING";
		value = getenv(name);
	}
	if (!value || !*value ||
	    budget_parse(value, &the_daemon.staging.limit_bytes, &err) == 0)
		return 0;
	fprintf(stderr, "stasisd: %s: %s, or auto\n", name, err.msg);
	return EXIT_USAGE;
}

static int make_directories(struct err *err)
{
	struct daemon *daemon = &the_daemon;
	int rc = paths_run_dir(daemon->run_dir, sizeof(daemon->run_dir), err);

	if (rc == 0)
		rc = paths_state_dir(daemon->state_dir, sizeof(daemon->state_dir), err);
	if (rc == 0)
		rc = paths_cache_dir(daemon->cache_dir, sizeof(daemon->cache_dir), err);
	if (rc == 0)
		rc = paths_store_dir(daemon->store_dir, sizeof(daemon->store_dir), err);
	if (rc == 0)
		rc = io_mkdir_all(daemon->run_dir, 0700, err);
	if (rc == 0)
		rc = io_mkdir_all(daemon->state_dir, 0700, err);
	if (rc == 0)
		rc = io_mkdir_all(daemon->cache_dir, 0700, err);
	return rc;
}

/* Whether a daemon answers; a dying one may still take connections, but says no word. */
static bool daemon_serves(void)
{
	char path[IO_PATH_MAX];
	struct rpc_conn *conn = NULL;
	struct rpc_msg reply = {0};
	json_t *hello = json_pack("{s:s,s:i}", "op", "hello", "version", RPC_VERSION);
	int rc = paths_socket(path, sizeof(path), NULL);

	if (rc == 0)
		rc = rpc_connect_unix(path, RPC_FRAME_MAX, &conn, NULL);
	if (rc == 0)
		rc = rpc_call(conn, hello, NULL, 0, deadline_in_ms(HELLO_MS), NULL, NULL,
			      &reply, NULL);
	rpc_msg_clear(&reply);
	json_decref(hello);
	rpc_conn_close(conn);
	return rc == 0;
}

static void dying_wait(void)
{
	const struct timespec pause = {.tv_nsec = DYING_POLL_MS * NS_PER_MS};

	nanosleep(&pause, NULL);
}

/* flock(), with patience for a daemon that does not serve: a killed one keeps its lock until
 * the kernel has freed its memory. */
static int lock_wait(int fd)
{
	int64_t deadline_ns = deadline_in_ms(DYING_MS);

	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK)
			return -errno;
		if (daemon_serves() || deadline_left_ms(deadline_ns) == 0)
			return -EBUSY;
		dying_wait();
	}
	return 0;
}

/* One daemon for each run directory. The lock ends with the process. */
static int take_lock(struct err *err)
{
	char path[IO_PATH_MAX], pid[32];
	int fd, rc = io_path(path, sizeof(path), err, "%s/stasisd.lock", the_daemon.run_dir);

	if (rc < 0)
		return rc;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(err, errno, "cannot open %s", path);
	rc = lock_wait(fd);
	if (rc < 0) {
		close(fd);
		if (rc != -EBUSY)
			return err_sys(err, -rc, "cannot lock %s", path);
		return err_set(err, EBUSY, "a stasisd serves %s already", the_daemon.run_dir);
	}
	snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	if (ftruncate(fd, 0) < 0 || write(fd, pid, strlen(pid)) < 0)
		log_warn("cannot write %s", path);
	return 0;
}

/* In the parent: the child's word is a 0 byte when it serves, else the sentence why it doesn't.
 */
static _Noreturn void await_child(int ready, const char *log_path)
{
	struct pollfd poll_ready = {.fd = ready, .events = POLLIN};
	char said[sizeof(((struct err *)0)->msg)];
	size_t len = 0;
	ssize_t n = 0;

	if (poll(&poll_ready, 1, START_MS) == 1)
		while (len < sizeof(said) - 1 &&
		       (n = read(ready, said + len, sizeof(said) - 1 - len)) > 0)
			len += (size_t)n;
	if (len > 0 && said[0] == '\0')
		_exit(0);
	said[len] = '\0';
	if (len > 0)
		fprintf(stderr, "stasisd: %s\n", said);
	else
		fprintf(stderr, "stasisd: did not start; see the end of %s\n", log_path);
	_exit(1);
}

/* Leave the caller's life: the parent waits for a word on `ready`, then ends. */
static int go_background(int *ret_ready, struct err *err)
{
	char log_path[IO_PATH_MAX];
	int ready[2], log, rc;
	pid_t pid;

	rc = io_path(log_path, sizeof(log_path), err, "%s/stasisd.log", the_daemon.state_dir);
	if (rc < 0)
		return rc;
	if (pipe2(ready, O_CLOEXEC) < 0)
		return err_sys(err, errno, "pipe");
	pid = fork();
	if (pid < 0)
		return err_sys(err, errno, "fork");
	if (pid > 0) {
		close(ready[1]);
		await_child(ready[0], log_path);
	}
	close(ready[0]);
	setsid();
	log = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (log < 0)
		return err_sys(err, errno, "cannot open %s", log_path);
	dup2(log, STDERR_FILENO);
	close(log);
	log = open("/dev/null", O_RDWR | O_CLOEXEC);
	dup2(log, STDIN_FILENO);
	dup2(log, STDOUT_FILENO);
	close(log);
	if (chdir("/") < 0)
		return err_sys(err, errno, "chdir");
	*ret_ready = ready[1];
	return 0;
}

static void on_signal(uv_signal_t *handle, int signo)
{
	(void)handle;
	log_info("ending on signal %d, after what is under way; VMs live on", signo);
	server_shutdown();
}

/* Processes that booted templates for a daemon before this one. */
static void end_stray_templates(void)
{
	char path[IO_PATH_MAX];

	if (io_path(path, sizeof(path), NULL, "%s/t", the_daemon.run_dir) < 0)
		return;
	processes_end(path);
	io_remove_all(path, NULL);
}

static int start(const struct store_config *store, struct err *err)
{
	static uv_signal_t on_term, on_int;
	char socket_path[IO_PATH_MAX];
	int rc = take_lock(err);

	if (rc == 0)
		rc = loop_init(err);
	the_daemon.store_config = *store;
	if (rc == 0)
		rc = store_open(store, &the_daemon.store, err);
	if (rc < 0)
		return rc;
	end_stray_templates();
	rc = cluster_adopt_all(err);
	if (rc == 0)
		rc = paths_socket(socket_path, sizeof(socket_path), err);
	if (rc == 0)
		rc = server_start(socket_path, err);
	if (rc < 0)
		return rc;
	run_timer_start();
	signal(SIGPIPE, SIG_IGN);
	/* A write beyond a limit of file sizes is an error, not the end. */
	signal(SIGXFSZ, SIG_IGN);
	uv_signal_init(loop_uv(), &on_term);
	uv_signal_start(&on_term, on_signal, SIGTERM);
	uv_signal_init(loop_uv(), &on_int);
	uv_signal_start(&on_int, on_signal, SIGINT);
	log_info("stasisd %s serves %s, store %s", STASIS_VERSION, socket_path,
		 the_daemon.store_dir);
	return 0;
}

int main(int argc, char *argv[])
{
	struct options options = {
		.level = LOG_INFO,
		.store = {.location = the_daemon.store_dir, .cache_dir = the_daemon.cache_dir}};
	struct err err = ERR_INIT;
	int ready = -1, rc = parse_options(argc, argv, &options);

	if (rc == 0)
		rc = set_staging(&options);
	if (rc != 0)
		return rc;
	close_range(STDERR_FILENO + 1, ~0U, 0);
	log_set_sink(log_line, NULL, options.level);
	rc = fault_init(&err);
	if (rc == 0)
		rc = make_directories(&err);
	if (rc == 0 && options.background)
		rc = go_background(&ready, &err);
	if (rc == 0)
		rc = start(&options.store, &err);
	if (rc < 0) {
		fprintf(stderr, "stasisd: %s\n", err.msg);
		if (ready >= 0 && write(ready, err.msg, strlen(err.msg)) < 0)
			log_warn("nobody waits for this daemon's start");
		return 1;
	}
	if (ready >= 0) {
		if (write(ready, "", 1) < 0)
			log_warn("nobody waits for this daemon's start");
		close(ready);
	}
	loop_run();
	return 0;
}
