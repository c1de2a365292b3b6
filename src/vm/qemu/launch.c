/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Starting a QEMU, and taking over one that another daemon started.
 *
 * The monitor's socket is bound and listening before QEMU exists, and QEMU inherits it: so the
 * connection succeeds at once, and its greeting is the sign that QEMU is ready. RAM is a
 * descriptor that QEMU keeps open, where an adopter finds it again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/paths.h"
#include "vm/disk/disk.h"
#include "vm/net/netns.h"
#include "vm/proc/proc.h"
#include "vm/qemu/args.h"
#include "vm/qemu/machine.h"

enum {
	LAUNCH_MS = 60000, /* until the greeting */
	ADOPT_MS = 10000,
};

static int listener_open(const struct vm_config *config, int *ret_fd, struct err *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char path[IO_PATH_MAX], longest[IO_PATH_MAX];
	CLEANUP_CLOSE int fd = -1;
	int rc = vm_run_path(config, QEMU_SOCK_QMP, path, sizeof(path), err);

	if (rc == 0)
		rc = vm_run_path(config, QEMU_SOCK_CONSOLE, longest, sizeof(longest), err);
	if (rc < 0)
		return rc;
	if (strlen(longest) >= sizeof(address.sun_path))
		return err_set(err, ENAMETOOLONG,
			       "the socket path %s has more than %zu bytes: use a shorter run "
			       "directory",
			       longest, sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, strlen(path));
	unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(err, errno, "cannot make a socket");
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 1) < 0)
		return err_sys(err, errno, "cannot make the monitor socket %s", path);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int vm_alloc(const struct vm_config *config, struct vm **ret_vm, struct err *err)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return err_sys(err, ENOMEM, "VM %s", config->name);
	vm->config = *config;
	vm->pidfd = vm->ram_fd = vm->state_fd = -1;
	*ret_vm = vm;
	return 0;
}

/* Start the process and know it: pid, start time, pidfd. */
static int process_start(struct vm *vm, char *const argv[], int listener, int log,
			 struct err *err)
{
	struct proc_fd fds[] = {
		{.from = log, .to = 1},
		{.from = log, .to = 2},
		{.from = vm->ram_fd, .to = QEMU_FD_RAM},
		{.from = listener, .to = QEMU_FD_QMP},
	};
	int rc = proc_spawn(argv, fds, sizeof(fds) / sizeof(fds[0]), &vm->pid, err);

	if (rc < 0)
		return rc;
	vm->pidfd = pidfd_open(vm->pid, 0);
	if (vm->pidfd < 0)
		return err_sys(err, errno, "cannot watch QEMU of VM %s", vm->config.name);
	rc = proc_start_time(vm->pid, &vm->start_time, err);
	return rc == -ESRCH ? -ECONNRESET : rc; /* so early an end is explained with its log */
}

static int process_launch(struct vm *vm, bool incoming, struct err *err)
{
	char netns[IO_PATH_MAX] = "", path[IO_PATH_MAX];
	CLEANUP_CLOSE int listener = -1;
	CLEANUP_CLOSE int log = -1;
	char **argv;
	int rc = 0;

	if (vm->config.net_pid > 0)
		rc = paths_program(NETNS_PROGRAM, netns, sizeof(netns), err);
	if (rc == 0)
		rc = vm_dir_path(&vm->config, QEMU_LOG, path, sizeof(path), err);
	if (rc == 0)
		rc = listener_open(&vm->config, &listener, err);
	if (rc < 0)
		return rc;
	log = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	if (log < 0)
		return err_sys(err, errno, "cannot make %s", path);
	rc = qemu_args_build(&vm->config, incoming, netns, &argv, err);
	if (rc < 0)
		return rc;
	rc = process_start(vm, argv, listener, log, err);
	qemu_args_free(argv);
	return rc;
}

/* The listener is QEMU's alone by now, so that an early end of QEMU is seen as the end of the
 * connection. */
static int monitor_connect(struct vm *vm, int64_t deadline_ns, struct err *err)
{
	char path[IO_PATH_MAX];
	int rc = vm_run_path(&vm->config, QEMU_SOCK_QMP, path, sizeof(path), err);

	if (rc == 0)
		rc = qmp_connect(path, deadline_ns, &vm->qmp, err);
	if (rc == -ECONNREFUSED) /* nobody listens any more */
		rc = err_set(err, ECONNRESET, "QEMU of VM %s closed its monitor",
			     vm->config.name);
	return rc;
}

int vm_launch(const struct vm_config *config, int ram_fd, bool incoming, struct vm **ret_vm,
	      struct err *err)
{
	struct vm *vm;
	int rc = disk_check(config, incoming, err);

	if (rc == 0)
		rc = vm_alloc(config, &vm, err);
	if (rc < 0)
		return rc;
	vm->ram_fd = fcntl(ram_fd, F_DUPFD_CLOEXEC, 0);
	if (vm->ram_fd < 0)
		rc = err_sys(err, errno, "RAM of VM %s", config->name);
	if (rc == 0)
		rc = process_launch(vm, incoming, err);
	if (rc == 0)
		rc = monitor_connect(vm, deadline_in_ms(LAUNCH_MS), err);
	if (rc == 0)
		rc = vm_lower_cpus(vm, err);
	if (rc < 0) {
		if (vm->pidfd >= 0) {
			vm_explain(vm, rc, err);
			vm_kill(vm);
		}
		vm_release(vm);
		return rc;
	}
	*ret_vm = vm;
	return 0;
}

/* The RAM of the process, as it was handed to it. */
static int ram_reopen(struct vm *vm, struct err *err)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)vm->pid, QEMU_FD_RAM);
	vm->ram_fd = open(path, O_RDWR | O_CLOEXEC);
	if (vm->ram_fd < 0)
		return err_sys(err, errno, "cannot open the RAM of VM %s", vm->config.name);
	if (fstat(vm->ram_fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    (uint64_t)st.st_size != vm->config.memory_bytes)
		return err_set(err, EINVAL,
			       "process %d is not the QEMU of VM %s: its RAM differs",
			       (int)vm->pid, vm->config.name);
	return 0;
}

/* A QEMU that a background snapshot holds answers when it is released; one that is only about
 * to be held is found at the second attempt. */
static int monitor_adopt(struct vm *vm, struct err *err)
{
	int rc;

	background_rescue(vm);
	rc = monitor_connect(vm, deadline_in_ms(ADOPT_MS), err);
	if (rc == -ETIMEDOUT && background_rescue(vm))
		rc = monitor_connect(vm, deadline_in_ms(ADOPT_MS), err);
	return rc;
}

int vm_adopt(const struct vm_config *config, pid_t pid, uint64_t start_time, struct vm **ret_vm,
	     struct err *err)
{
	struct vm *vm;
	int rc = vm_alloc(config, &vm, err);

	if (rc < 0)
		return rc;
	rc = proc_open(pid, start_time, &vm->pidfd, err);
	if (rc == 0) {
		vm->pid = pid;
		vm->start_time = start_time;
		rc = ram_reopen(vm, err);
	}
	if (rc == 0)
		rc = monitor_adopt(vm, err);
	if (rc == 0)
		rc = vm_lower_cpus(vm, err);
	if (rc == -ETIMEDOUT)
		err_set(err, ETIMEDOUT,
			"QEMU of VM %s does not answer on its monitor; does another program hold %s/%s?",
			config->name, config->run_dir, QEMU_SOCK_QMP);
	if (rc < 0) {
		vm_release(vm);
		return rc;
	}
	*ret_vm = vm;
	return 0;
}
