/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Choice of machine type and accelerator.
 *
 * A /dev/kvm that opens proves little: where the hypervisor of a cloud offers KVM for guests of
 * its own kind only, an ordinary kernel hangs. So KVM is taken only after a guest of ours has
 * come up in it.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "vm/proc/proc.h"
#include "vm/qemu/args.h"
#include "vm/vm.h"

enum {
	QUERY_MS = 30000,
	PROBE_MS = 15000, /* a guest under KVM needs some 2 s */
};

static const char probe_answer[] = "stasis-probe-ok";

static int version_read(char *ret_version, size_t size, struct err *err)
{
	char program[IO_PATH_MAX], text[1024];
	char *const argv[] = {program, "--version", NULL};
	const char *found;
	int rc;

	snprintf(program, sizeof(program), "%s", qemu_program());
	rc = proc_run(argv, deadline_in_ms(QUERY_MS), text, sizeof(text), err);
	if (rc == -ENOENT)
		return err_set(
			err, ENOENT,
			"%s is not installed; install Debian's package qemu-system-x86, or set "
			"STASIS_QEMU",
			program);
	if (rc < 0)
		return rc;
	found = strstr(text, "version ");
	if (!found)
		return err_set(err, EIO, "%s --version has an unknown form", program);
	found += strlen("version ");
	snprintf(ret_version, size, "%.*s", (int)strcspn(found, " (\n"), found);
	return 0;
}

/* What the alias q35 stands for in this QEMU: "q35   Standard PC … (alias of pc-q35-7.2)". */
static int machine_read(char *ret_machine, size_t size, struct err *err)
{
	static const char mark[] = "(alias of pc-q35-";
	char program[IO_PATH_MAX], text[16384];
	char *const argv[] = {program, "-machine", "help", NULL};
	const char *found;
	int rc;

	snprintf(program, sizeof(program), "%s", qemu_program());
	rc = proc_run(argv, deadline_in_ms(QUERY_MS), text, sizeof(text), err);
	if (rc < 0)
		return rc;
	found = strstr(text, mark);
	if (!found)
		return err_set(err, ENOTSUP, "%s has no machine type q35", program);
	found += strlen("(alias of ");
	snprintf(ret_machine, size, "%.*s", (int)strcspn(found, ")\n"), found);
	return 0;
}

/* True when a line "flags" of /proc/cpuinfo holds the word. */
static bool cpu_has(const char *word)
{
	CLEANUP_FCLOSE FILE *file = fopen("/proc/cpuinfo", "re");
	CLEANUP_FREE char *line = NULL;
	size_t size = 0;

	while (file && getline(&line, &size, file) > 0) {
		char *save = NULL;

		if (strncmp(line, "flags", 5) != 0)
			continue;
		for (char *flag = strtok_r(line, " \t\n", &save); flag;
		     flag = strtok_r(NULL, " \t\n", &save))
			if (!strcmp(flag, word))
				return true;
		return false; /* the other processors are the same */
	}
	return false;
}

/* 0 when a guest came up under KVM; else the sentence says what stood in the way. */
static int kvm_probe(const char *machine, const char *kernel, const char *initrd,
		     struct err *err)
{
	char program[IO_PATH_MAX], type[64], kernel_arg[IO_PATH_MAX], initrd_arg[IO_PATH_MAX],
		text[16384];
	char *const argv[] = {program,       "-machine", type,
			      "-accel",      "kvm",      "-cpu",
			      "host",        "-m",       "256M",
			      "-nodefaults", "-display", "none",
			      "-serial",     "stdio",    "-no-reboot",
			      "-kernel",     kernel_arg, "-initrd",
			      initrd_arg,    "-append",  "console=ttyS0 stasis.probe",
			      NULL};
	int rc;

	snprintf(program, sizeof(program), "%s", qemu_program());
	snprintf(type, sizeof(type), "%s", machine);
	snprintf(kernel_arg, sizeof(kernel_arg), "%s", kernel);
	snprintf(initrd_arg, sizeof(initrd_arg), "%s", initrd);
	rc = proc_run(argv, deadline_in_ms(PROBE_MS), text, sizeof(text), err);
	if (rc == -ETIMEDOUT)
		return err_set(err, ETIMEDOUT,
			       "a probe guest under KVM did not come up in %d s",
			       PROBE_MS / 1000);
	if (rc == 0 && !strstr(text, probe_answer))
		return err_set(err, EIO, "a probe guest under KVM ended without its answer");
	return rc < 0 ? err_prefix(err, "a probe guest under KVM") : 0;
}

static int kvm_check(const char *machine, const char *kernel, const char *initrd,
		     struct err *err)
{
	CLEANUP_CLOSE int fd = -1;

	if (!cpu_has("vmx") && !cpu_has("svm"))
		return err_set(err, ENOTSUP, "this processor shows neither vmx nor svm");
	fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, errno, "/dev/kvm cannot be opened");
	return kvm_probe(machine, kernel, initrd, err);
}

static int machine_probe(const char *want, const char *kernel, const char *initrd,
			 struct vm_machine *ret_machine, char *ret_why, size_t why_size,
			 struct err *err)
{
	struct vm_machine machine = {.accel = "tcg", .cpu = "max"};
	struct err no_kvm = ERR_INIT;
	bool want_tcg = !strcmp(want, "tcg"), want_kvm = !strcmp(want, "kvm");
	int rc;

	if (!want_tcg && !want_kvm && strcmp(want, "auto") != 0)
		return err_set(err, EINVAL,
			       "the accelerator must be auto, kvm or tcg, not \"%s\"", want);
	rc = version_read(machine.qemu_version, sizeof(machine.qemu_version), err);
	if (rc == 0)
		rc = machine_read(machine.machine, sizeof(machine.machine), err);
	if (rc < 0)
		return rc;
	if (want_tcg) {
		snprintf(ret_why, why_size, "accelerator TCG, as asked for");
	} else if (kvm_check(machine.machine, kernel, initrd, &no_kvm) == 0) {
		snprintf(machine.accel, sizeof(machine.accel), "kvm");
		snprintf(machine.cpu, sizeof(machine.cpu), "host");
		snprintf(ret_why, why_size, "accelerator KVM: a probe guest came up in it");
	} else if (want_kvm) {
		return err_set(err, ENOTSUP, "KVM cannot be used: %s", no_kvm.msg);
	} else {
		snprintf(ret_why, why_size, "accelerator TCG, which is slower than KVM: %s",
			 no_kvm.msg);
	}
	*ret_machine = machine;
	return 0;
}

/* What was found before: it holds as long as the program that was asked is the same file. */
static struct memory {
	pthread_mutex_t lock;
	bool valid;
	char want[8];
	struct stat program;
	struct vm_machine machine;
	char why[2048];
} memory = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* The file that QEMU's name stands for; false if it cannot be found in the path. */
static bool program_stat(struct stat *ret_stat)
{
	const char *program = qemu_program(), *path = getenv("PATH");

	if (strchr(program, '/'))
		return stat(program, ret_stat) == 0;
	while (path && *path) {
		size_t len = strcspn(path, ":");
		char file[IO_PATH_MAX];

		snprintf(file, sizeof(file), "%.*s/%s", (int)len, path, program);
		if (stat(file, ret_stat) == 0)
			return true;
		path += len + (path[len] == ':');
	}
	return false;
}

static bool memory_holds(const char *want, const struct stat *program)
{
	return memory.valid && !strcmp(memory.want, want) &&
	       memory.program.st_dev == program->st_dev &&
	       memory.program.st_ino == program->st_ino &&
	       memory.program.st_ctim.tv_sec == program->st_ctim.tv_sec &&
	       memory.program.st_ctim.tv_nsec == program->st_ctim.tv_nsec;
}

int vm_machine_probe(const char *want, const char *kernel, const char *initrd,
		     struct vm_machine *ret_machine, char *ret_why, size_t why_size,
		     struct err *err)
{
	struct stat program = {0};
	bool known = program_stat(&program);
	int rc = 0;

	pthread_mutex_lock(&memory.lock);
	if (!known || !memory_holds(want, &program)) {
		memory.valid = false;
		rc = machine_probe(want, kernel, initrd, &memory.machine, memory.why,
				   sizeof(memory.why), err);
		memory.valid = rc == 0 && known;
		memory.program = program;
		snprintf(memory.want, sizeof(memory.want), "%s", want);
	}
	if (rc == 0) {
		*ret_machine = memory.machine;
		snprintf(ret_why, why_size, "%s", memory.why);
	}
	pthread_mutex_unlock(&memory.lock);
	return rc;
}
