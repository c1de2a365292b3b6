/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks of stasis doctor: accelerator, kernel features, clock, programs. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <linux/userfaultfd.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "cli/doctor.h"

enum { QEMU_MAJOR_MIN = 7, QEMU_MINOR_MIN = 2, CLOCK_YEAR_MIN = 2024 };

void doctor_say(struct doctor_result *ret_result, enum doctor_grade grade, const char *found,
		const char *remedy)
{
	ret_result->grade = grade;
	snprintf(ret_result->found, sizeof(ret_result->found), "%.250s", found);
	snprintf(ret_result->remedy, sizeof(ret_result->remedy), "%.250s", remedy);
}

bool doctor_find_program(const char *name, char ret_path[IO_PATH_MAX])
{
	const char *at = getenv("PATH");

	while (at && *at) {
		size_t len = strcspn(at, ":");

		if (io_path(ret_path, IO_PATH_MAX, NULL, "%.*s/%s", (int)len, at, name) == 0 &&
		    access(ret_path, X_OK) == 0)
			return true;
		at += len + (at[len] == ':');
	}
	return false;
}

/* The first line that `PROGRAM --version` prints. */
static bool program_version(const char *path, char *ret_line, size_t size)
{
	int fds[2];
	pid_t pid;
	ssize_t n;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return false;
	pid = fork();
	if (pid == 0) {
		dup2(fds[1], STDOUT_FILENO);
		execl(path, path, "--version", (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	n = pid < 0 ? -1 : read(fds[0], ret_line, size - 1);
	close(fds[0]);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	if (n <= 0)
		return false;
	ret_line[n] = '\0';
	ret_line[strcspn(ret_line, "\n")] = '\0';
	return true;
}

static void check_qemu(struct doctor_result *ret_result)
{
	static const char remedy[] = "apt-get install qemu-system-x86 (7.2 or newer)";
	char path[IO_PATH_MAX], line[200];
	int major = 0, minor = 0;
	const char *version;

	if (!doctor_find_program("qemu-system-x86_64", path)) {
		doctor_say(ret_result, DOCTOR_FAIL, "qemu-system-x86_64 is not in PATH",
			   remedy);
		return;
	}
	if (!program_version(path, line, sizeof(line))) {
		doctor_say(ret_result, DOCTOR_FAIL, "qemu-system-x86_64 does not start",
			   remedy);
		return;
	}
	version = strstr(line, "version ");
	if (!version || sscanf(version, "version %d.%d", &major, &minor) != 2 ||
	    major < QEMU_MAJOR_MIN || (major == QEMU_MAJOR_MIN && minor < QEMU_MINOR_MIN))
		doctor_say(ret_result, DOCTOR_FAIL, line, remedy);
	else
		doctor_say(ret_result, DOCTOR_OK, line, "");
}

static void check_qemu_img(struct doctor_result *ret_result)
{
	char path[IO_PATH_MAX];

	if (doctor_find_program("qemu-img", path))
		doctor_say(ret_result, DOCTOR_OK, path, "");
	else
		doctor_say(ret_result, DOCTOR_FAIL, "qemu-img is not in PATH",
			   "apt-get install qemu-utils");
}

static bool cpu_has_virtualization(void)
{
	CLEANUP_FCLOSE FILE *file = fopen("/proc/cpuinfo", "re");
	char line[8192];

	while (file && fgets(line, sizeof(line), file)) {
		if (strncmp(line, "flags", 5) == 0)
			return strstr(line, " vmx") || strstr(line, " svm");
	}
	return false;
}

static void check_kvm(struct doctor_result *ret_result)
{
	static const char slow[] =
		"nothing must be done: VMs run under TCG, several times slower";
	CLEANUP_CLOSE int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd >= 0 && cpu_has_virtualization())
		doctor_say(
			ret_result, DOCTOR_OK,
			"/dev/kvm opens and the processor has vmx or svm; a guest decides at stasis up",
			"");
	else if (fd >= 0)
		doctor_say(ret_result, DOCTOR_WARN,
			   "/dev/kvm opens, but the processor shows neither vmx nor svm", slow);
	else if (errno == EACCES)
		doctor_say(ret_result, DOCTOR_WARN, "/dev/kvm is not open to this user",
			   "add the user to group kvm; until then VMs run under TCG, slower");
	else
		doctor_say(ret_result, DOCTOR_WARN, "there is no /dev/kvm", slow);
}

/* In a child with namespaces of its own: 0, or the number of the step that failed. */
static int try_network(void)
{
	int flags = CLONE_NEWNET | (geteuid() == 0 ? 0 : CLONE_NEWUSER);
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	int tun, sock;

	if (unshare(flags) < 0)
		return 1;
	tun = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	strcpy(request.ifr_name, "tap%d");
	if (tun < 0 || ioctl(tun, TUNSETIFF, &request) < 0)
		return 2;
	sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sock < 0 || ioctl(sock, SIOCBRADDBR, "stasisdoctor") < 0)
		return 3;
	return 0;
}

static void check_network(struct doctor_result *ret_result)
{
	static const struct {
		const char *found, *remedy;
	} steps[] = {
		{"network namespace, tap device and bridge work", ""},
		{"this user may not make a network namespace",
		 "as root, or: sysctl kernel.unprivileged_userns_clone=1 and user.max_user_namespaces above 0"},
		{"/dev/net/tun makes no tap device",
		 "modprobe tun; the user must be able to open /dev/net/tun"},
		{"no bridge can be made", "modprobe bridge"},
	};
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(try_network());
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFEXITED(status) ||
	    WEXITSTATUS(status) > 3)
		doctor_say(ret_result, DOCTOR_FAIL, "the trial of the network failed", "");
	else
		doctor_say(ret_result, WEXITSTATUS(status) ? DOCTOR_FAIL : DOCTOR_OK,
			   steps[WEXITSTATUS(status)].found, steps[WEXITSTATUS(status)].remedy);
}

static void check_user_namespaces(struct doctor_result *ret_result)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(unshare(CLONE_NEWUSER) < 0);
	if (pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
	    WEXITSTATUS(status) == 0)
		doctor_say(ret_result, DOCTOR_OK,
			   "user namespaces work: Stasis needs no root here", "");
	else
		doctor_say(
			ret_result, DOCTOR_WARN,
			"user namespaces are not allowed: only root can use Stasis",
			"sysctl kernel.unprivileged_userns_clone=1 and user.max_user_namespaces above 0");
}

static void check_userfaultfd(struct doctor_result *ret_result)
{
	long fd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	if (fd >= 0)
		close((int)fd);
	doctor_say(
		ret_result, fd >= 0 ? DOCTOR_OK : DOCTOR_WARN,
		fd >= 0 ? "userfaultfd is available" : "userfaultfd is not available",
		fd >= 0 ? ""
			: "nothing must be done: capture compares memory and does not use it");
}

static void check_clock(struct doctor_result *ret_result)
{
	time_t now = time(NULL);
	struct tm tm;
	char text[64] = "";

	gmtime_r(&now, &tm);
	strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &tm);
	if (tm.tm_year + 1900 < CLOCK_YEAR_MIN)
		doctor_say(
			ret_result, DOCTOR_WARN, text,
			"set the clock: guests take the host's time, and checkpoints are named after it");
	else
		doctor_say(ret_result, DOCTOR_OK, text, "");
}

const struct doctor_check doctor_machine_checks[] = {
	{"qemu", check_qemu},
	{"qemu-img", check_qemu_img},
	{"kvm", check_kvm},
	{"network", check_network},
	{"user namespaces", check_user_namespaces},
	{"userfaultfd", check_userfaultfd},
	{"clock", check_clock},
	{0},
};
