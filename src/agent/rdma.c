/* SPDX-License-Identifier: BSD-3-Clause */
/* Soft-RoCE by the rdma command of iproute2; a note in /run says what there is to restore. */
#include "agent/rdma.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"

#define CLASS       "/sys/class/infiniband"
#define NOTE        "/run/stasis/rdma"
#define UVERBS      "/dev/infiniband/uverbs"
#define HOOK_DETACH "/etc/stasis/fabric-detach"
#define HOOK_ATTACH "/etc/stasis/fabric-attach"
#define DEV_MAX     64

enum { COMMAND_MS = 10000, ACTIVE_MS = 10000, CHECK_MS = 5 };

/* The network device of the Soft-RoCE device, and the number of the last one made. */
struct note {
	char netdev[IFNAMSIZ];
	unsigned int number;
};

static bool note_read(struct note *ret_note)
{
	FILE *file = fopen(NOTE, "re");
	int n = file ? fscanf(file, "%15s %u", ret_note->netdev, &ret_note->number) : 0;

	if (file)
		fclose(file);
	return n == 2;
}

static int note_write(const struct note *note, struct err *err)
{
	char text[64];
	int len = snprintf(text, sizeof(text), "%s %u\n", note->netdev, note->number);

	return io_replace_file(NOTE, text, (size_t)len, 0644, err);
}

static const char *rdma_command(void)
{
	static const char *const places[] = {"/sbin/rdma", "/usr/sbin/rdma", "/usr/bin/rdma"};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (access(places[i], X_OK) == 0)
			return places[i];
	return NULL;
}

/* Wait for a child until the deadline, then kill it; its wait status, or -errno. */
static int child_wait(pid_t pid, int64_t deadline_ns)
{
	int status;

	for (;;) {
		pid_t done = waitpid(pid, &status, WNOHANG);

		if (done == pid)
			return status;
		if (done < 0 && errno != EINTR)
			return -errno;
		if (deadline_left_ms(deadline_ns) == 0)
			break;
		nanosleep(&(struct timespec){.tv_nsec = CHECK_MS * NS_PER_MS}, NULL);
	}
	kill(pid, SIGKILL);
	return -ETIMEDOUT;
}

void rdma_resources(char *ret_text, size_t size)
{
	char command[64];
	FILE *pipe;
	size_t n;

	ret_text[0] = '\0';
	if (!rdma_command() || access(CLASS, F_OK) != 0)
		return;
	snprintf(command, sizeof(command), "exec %s resource show", rdma_command());
	pipe = popen(command, "re");
	if (!pipe)
		return;
	n = fread(ret_text, 1, size - 1, pipe);
	while (n > 0 && isspace((unsigned char)ret_text[n - 1]))
		n--;
	ret_text[n] = '\0';
	pclose(pipe);
}

/* Run a program to its end; its exit status, or -errno. */
static int program_run(const char *path, char *const argv[], struct err *err)
{
	pid_t pid;
	int rc = posix_spawn(&pid, path, NULL, NULL, argv, environ);

	if (rc != 0)
		return err_sys(err, rc, "cannot run %s", path);
	rc = child_wait(pid, deadline_in_ms(COMMAND_MS));
	if (rc < 0)
		return err_sys(err, -rc, "waiting for %s", path);
	return WIFEXITED(rc) ? WEXITSTATUS(rc) : 128 + WTERMSIG(rc);
}

/* rdma link ACTION DEVICE … */
static int rdma_run(char *const argv[], struct err *err)
{
	const char *command = rdma_command();
	int rc;

	if (!command)
		return err_set(
			err, ENOENT,
			"the guest has no rdma command: add iproute2 to its image, or turn "
			"rdma off");
	rc = program_run(command, argv, err);
	if (rc > 0)
		return err_set(
			err, EIO,
			"rdma link %s %s failed: does the guest's kernel have the module "
			"rdma_rxe?",
			argv[2], argv[3]);
	return rc;
}

/* A site's own program in the place of what follows: 1 if there is one, and it has succeeded.
 */
static int hook_run(const char *path, struct err *err)
{
	char *const argv[] = {(char *)path, NULL};
	int rc;

	if (access(path, X_OK) != 0)
		return 0;
	rc = program_run(path, argv, err);
	if (rc > 0)
		return err_set(err, EIO, "%s failed with status %d", path, rc);
	return rc < 0 ? rc : 1;
}

/* Call `act` for each Soft-RoCE device until it fails; their number, or its -errno. */
static int each_device(int (*act)(const char *name, struct err *err), struct err *err)
{
	CLEANUP_CLOSEDIR DIR *dir = opendir(CLASS);
	const struct dirent *entry;
	int count = 0;

	while (dir && (entry = readdir(dir))) {
		int rc;

		if (strncmp(entry->d_name, "rxe", 3) != 0)
			continue;
		rc = act ? act(entry->d_name, err) : 0;
		if (rc < 0)
			return rc;
		count++;
	}
	return count;
}

static bool is_active(const char *name)
{
	char path[sizeof(CLASS) + DEV_MAX + 32], text[32] = "";
	FILE *file;

	snprintf(path, sizeof(path), CLASS "/%.*s/ports/1/state", DEV_MAX, name);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (!fgets(text, sizeof(text), file))
		text[0] = '\0';
	fclose(file);
	return strstr(text, "ACTIVE") != NULL;
}

static int active_await(const char *name, struct err *err)
{
	int64_t deadline_ns = deadline_in_ms(ACTIVE_MS);

	while (!is_active(name)) {
		if (deadline_left_ms(deadline_ns) == 0)
			return err_set(err, ETIMEDOUT, "the port of %s does not become active",
				       name);
		nanosleep(&(struct timespec){.tv_nsec = CHECK_MS * NS_PER_MS}, NULL);
	}
	return 0;
}

static int device_add(struct note *note, struct err *err)
{
	char name[DEV_MAX];
	char *const argv[] = {"rdma", "link",   "add",        name, "type",
			      "rxe",  "netdev", note->netdev, NULL};
	int rc;

	snprintf(name, sizeof(name), "rxe%u", note->number);
	rc = rdma_run(argv, err);
	if (rc == 0)
		rc = note_write(note, err);
	return rc < 0 ? rc : active_await(name, err);
}

int rdma_attach(const char *netdev, struct err *err)
{
	struct note note = {.number = 0};

	if (each_device(NULL, err) > 0)
		return 0;
	if (note_read(&note))
		note.number++;
	snprintf(note.netdev, sizeof(note.netdev), "%s", netdev);
	return device_add(&note, err);
}

static int device_delete(const char *name, struct err *err)
{
	char *const argv[] = {"rdma", "link", "delete", (char *)name, NULL};

	return rdma_run(argv, err);
}

int rdma_detach(struct err *err)
{
	struct note note;
	int rc = hook_run(HOOK_DETACH, err);

	if (rc != 0 || !note_read(&note))
		return rc < 0 ? rc : 0;
	rc = each_device(device_delete, err);
	return rc < 0 ? rc : 0;
}

int rdma_restore(struct err *err)
{
	struct note note;
	int rc = hook_run(HOOK_ATTACH, err);

	if (rc != 0 || !note_read(&note))
		return rc < 0 ? rc : 0;
	return rdma_attach(note.netdev, err);
}

/* Does the process have a user verbs device open? */
static bool uses_verbs(const char *pid)
{
	char path[300], target[sizeof(UVERBS)];
	const struct dirent *entry;
	bool uses = false;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	dir = opendir(path);
	while (dir && !uses && (entry = readdir(dir))) {
		char fd[600];
		ssize_t len;

		snprintf(fd, sizeof(fd), "%s/%s", path, entry->d_name);
		len = readlink(fd, target, sizeof(target));
		uses = len >= (ssize_t)strlen(UVERBS) &&
		       memcmp(target, UVERBS, strlen(UVERBS)) == 0;
	}
	if (dir)
		closedir(dir);
	return uses;
}

static void command_name(const char *pid, char *ret_name, size_t size)
{
	char path[300];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	snprintf(ret_name, size, "?");
	file = fopen(path, "re");
	if (!file)
		return;
	if (fgets(ret_name, (int)size, file))
		ret_name[strcspn(ret_name, "\n")] = '\0';
	fclose(file);
}

int rdma_check_unused(struct err *err)
{
	CLEANUP_CLOSEDIR DIR *dir = opendir("/proc");
	const struct dirent *entry;
	char name[64];

	while (dir && (entry = readdir(dir))) {
		if (!isdigit((unsigned char)entry->d_name[0]) || !uses_verbs(entry->d_name))
			continue;
		command_name(entry->d_name, name, sizeof(name));
		return err_set(
			err, EBUSY,
			"process %s (%s) has an InfiniBand device open that libarmci does "
			"not let go of: it uses verbs by itself, or began ARMCI just now",
			entry->d_name, name);
	}
	return 0;
}
