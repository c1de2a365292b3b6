/* SPDX-License-Identifier: BSD-3-Clause */
/* Control of a running QEMU: commands that explain themselves, pause, resume, usage, end. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "vm/proc/proc.h"
#include "vm/qemu/args.h"
#include "vm/qemu/machine.h"
#include "vm/ram/capture.h"

enum {
	LOG_TAIL_LINES = 3,
	EXIT_GRACE_MS = 500, /* between the end of QMP and the end of the process */
};

static const char *const sockets[] = {QEMU_SOCK_QMP, QEMU_SOCK_DEBUG, QEMU_SOCK_AGENT,
				      QEMU_SOCK_CONSOLE, QEMU_SOCK_NBD};

int vm_dir_path(const struct vm_config *config, const char *name, char *ret_path, size_t size,
		struct err *err)
{
	return io_path(ret_path, size, err, "%s/%s", config->dir, name);
}

int vm_run_path(const struct vm_config *config, const char *name, char *ret_path, size_t size,
		struct err *err)
{
	return io_path(ret_path, size, err, "%s/%s", config->run_dir, name);
}

int vm_explain(const struct vm *vm, int rc, struct err *err)
{
	char path[IO_PATH_MAX], tail[512];

	if (rc != -ECONNRESET || proc_wait(vm->pidfd, deadline_in_ms(EXIT_GRACE_MS)) < 0)
		return rc;
	tail[0] = '\0';
	if (vm_dir_path(&vm->config, QEMU_LOG, path, sizeof(path), NULL) == 0)
		proc_log_tail(path, LOG_TAIL_LINES, tail, sizeof(tail));
	return err_set(err, ECONNRESET, "QEMU of VM %s has ended; its log says: %s",
		       vm->config.name, tail[0] ? tail : "nothing");
}

int vm_command(struct vm *vm, const char *command, json_t *args, json_t **ret_value,
	       struct err *err)
{
	int rc = qmp_execute(vm->qmp, command, args, deadline_in_ms(VM_COMMAND_MS), ret_value,
			     err);

	return rc < 0 ? vm_explain(vm, rc, err) : 0;
}

static int send_one(struct vm *vm, const char *command, vm_args_fn args, int64_t *ret_id,
		    struct err *err)
{
	int rc = qmp_send(vm->qmp, command, args ? args(vm) : json_object(),
			  deadline_in_ms(VM_COMMAND_MS), ret_id, err);

	return rc < 0 ? vm_explain(vm, rc, err) : 0;
}

int vm_command_all(struct vm *const *vms, size_t count, const char *command, vm_args_fn args,
		   json_t **ret_values, struct err *err)
{
	int64_t *ids = calloc(count, sizeof(*ids));
	size_t sent = 0;
	int first = 0;

	if (!ids)
		return err_sys(err, ENOMEM, "%s to %zu VMs", command, count);
	for (size_t i = 0; i < count && first == 0; i++) {
		first = send_one(vms[i], command, args, &ids[i], err);
		sent += first == 0;
	}
	for (size_t i = 0; i < sent; i++) {
		struct err own = ERR_INIT;
		json_t *value = NULL;
		int rc = qmp_collect(vms[i]->qmp, ids[i], command,
				     deadline_in_ms(VM_COMMAND_MS), &value, &own);

		if (rc < 0)
			vm_explain(vms[i], rc, &own);
		if (rc < 0 && first == 0) {
			first = rc;
			if (err)
				*err = own;
		}
		if (ret_values)
			ret_values[i] = value;
		else
			json_decref(value);
	}
	for (size_t i = 0; ret_values && first < 0 && i < sent; i++)
		json_decref(ret_values[i]);
	free(ids);
	return first;
}

int vm_lower_cpus(struct vm *vm, struct err *err)
{
	int priority = getpriority(PRIO_PROCESS, (id_t)vm->pid) + VM_CPU_NICE;
	json_t *cpus, *cpu;
	size_t i;
	int rc = vm_command(vm, "query-cpus-fast", json_object(), &cpus, err);

	if (rc < 0)
		return rc;
	json_array_foreach(cpus, i, cpu)
	{
		json_int_t thread = json_integer_value(json_object_get(cpu, "thread-id"));

		if (thread > 0 && setpriority(PRIO_PROCESS, (id_t)thread, priority) < 0)
			log_warn("VM %s: the priority of a processor cannot be set: %s",
				 vm->config.name, strerror(errno));
	}
	json_decref(cpus);
	return 0;
}

pid_t vm_pid(const struct vm *vm)
{
	return vm->pid;
}

uint64_t vm_start_time(const struct vm *vm)
{
	return vm->start_time;
}

int vm_pidfd(const struct vm *vm)
{
	return vm->pidfd;
}

int vm_ram_fd(const struct vm *vm)
{
	return vm->ram_fd;
}

bool vm_alive(const struct vm *vm)
{
	return proc_wait(vm->pidfd, 0) < 0;
}

void vm_kill(struct vm *vm)
{
	proc_kill(vm->pidfd, vm->pid);
	for (size_t i = 0; i < sizeof(sockets) / sizeof(sockets[0]); i++) {
		char path[IO_PATH_MAX];

		if (vm_run_path(&vm->config, sockets[i], path, sizeof(path), NULL) == 0)
			unlink(path);
	}
}

void vm_release(struct vm *vm)
{
	if (!vm)
		return;
	qmp_close(vm->qmp);
	if (vm->pidfd >= 0)
		close(vm->pidfd);
	if (vm->ram_fd >= 0)
		close(vm->ram_fd);
	if (vm->state_fd >= 0)
		close(vm->state_fd);
	if (vm->pid > 0)
		proc_reap(vm->pid);
	free(vm);
}

int vm_usage(const struct vm *vm, uint64_t *ret_rss_bytes, uint64_t *ret_ram_bytes,
	     struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	unsigned long long resident_pages;
	char path[64];
	int rc;

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)vm->pid);
	rc = io_read_file(path, 4096, &text, NULL, err);
	if (rc < 0)
		return rc;
	if (sscanf(text, "%*u %llu", &resident_pages) != 1)
		return err_set(err, ESRCH, "QEMU of VM %s has ended", vm->config.name);
	*ret_rss_bytes = resident_pages * (uint64_t)sysconf(_SC_PAGESIZE);
	return ram_populated_bytes(vm->ram_fd, ret_ram_bytes, err);
}

int vm_pause(struct vm *vm, struct err *err)
{
	return vm_command(vm, "stop", json_object(), NULL, err);
}

int vm_resume(struct vm *vm, struct err *err)
{
	return vm_command(vm, "cont", json_object(), NULL, err);
}

int vm_pause_all(struct vm *const *vms, size_t count, struct err *err)
{
	return vm_command_all(vms, count, "stop", NULL, NULL, err);
}

int vm_resume_all(struct vm *const *vms, size_t count, struct err *err)
{
	return vm_command_all(vms, count, "cont", NULL, NULL, err);
}

int vm_run_state(struct vm *vm, char *ret_state, size_t size, struct err *err)
{
	const char *state;
	json_t *value;
	int rc = vm_command(vm, "query-status", json_object(), &value, err);

	if (rc < 0)
		return rc;
	state = json_string_value(json_object_get(value, "status"));
	snprintf(ret_state, size, "%s", state ? state : "");
	json_decref(value);
	return 0;
}

int vm_running(struct vm *vm, bool *ret_running, struct err *err)
{
	char state[32];
	int rc = vm_run_state(vm, state, sizeof(state), err);

	if (rc == 0)
		*ret_running = !strcmp(state, "running");
	return rc;
}

int vm_powerdown(struct vm *vm, int64_t deadline_ns, struct err *err)
{
	int rc = qmp_execute(vm->qmp, "quit", json_object(), deadline_ns, NULL, err);

	if (rc < 0 && rc != -ECONNRESET)
		return rc;
	if (proc_wait(vm->pidfd, deadline_ns) < 0)
		return err_set(err, ETIMEDOUT, "QEMU of VM %s did not end in time",
			       vm->config.name);
	vm_kill(vm); /* reaps it and removes the sockets */
	return 0;
}
