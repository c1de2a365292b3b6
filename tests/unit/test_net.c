/* SPDX-License-Identifier: BSD-3-Clause */
/* Network holders and a VM's tap, as root and as an ordinary user; nothing may be left behind.
 */
#include "vm_guest.h"

#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/paths.h"
#include "vm/net/net.h"
#include "vm/net/netns.h"
#include "vm/proc/proc.h"

enum { NOBODY = 65534, SKIPPED = 77 };

static char root_dir[64];

/* Where the tests of an ordinary user stop being possible is only known in their own process.
 */
static const char *impossible(void)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return "/dev/net/tun cannot be opened";
	close(fd);
	return NULL;
}

static bool same_namespace(pid_t pid, const char *kind)
{
	char path[64], own[64];
	struct stat its, ours;

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, kind);
	snprintf(own, sizeof(own), "/proc/self/ns/%s", kind);
	assert_int_equal(stat(path, &its), 0);
	assert_int_equal(stat(own, &ours), 0);
	return its.st_ino == ours.st_ino;
}

/* A line of the interface table in the namespace of `pid`. */
static bool has_interface(pid_t pid, const char *name)
{
	CLEANUP_FREE char *text = NULL;
	char path[64], key[32];

	snprintf(path, sizeof(path), "/proc/%d/net/dev", (int)pid);
	snprintf(key, sizeof(key), "%s:", name);
	ASSERT_OK(io_read_file(path, 1 << 16, &text, NULL, &err));
	return strstr(text, key);
}

static unsigned int count_fds(pid_t pid)
{
	char path[64];
	CLEANUP_CLOSEDIR DIR *dir = NULL;
	unsigned int count = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	assert_non_null(dir);
	while (readdir(dir))
		count++;
	return count - 2;
}

static void check_holder(void)
{
	struct err refused = ERR_INIT;
	uint64_t start_time, other_start;
	pid_t pid, other;

	ASSERT_OK(net_create("alpha", 4500, &pid, &start_time, &err));
	ASSERT_OK(net_create("beta", 1500, &other, &other_start, &err));
	ASSERT_OK(net_check(pid, start_time, &err));
	assert_false(same_namespace(pid, "net"));
	assert_true(has_interface(pid, NETNS_BRIDGE));
	assert_false(has_interface(getpid(), NETNS_BRIDGE) && geteuid() != 0);
	assert_int_equal(count_fds(pid), 0);
	assert_int_equal(net_check(pid, start_time + 1, &refused), -ESRCH);
	net_destroy(pid, start_time + 1); /* another process: untouched */
	ASSERT_OK(net_check(pid, start_time, &err));
	net_destroy(pid, start_time);
	assert_int_equal(net_check(pid, start_time, &refused), -ESRCH);
	assert_int_equal(kill(pid, 0), -1);
	net_destroy(pid, start_time);
	kill(other, SIGTERM);
	while (net_check(other, other_start, &refused) == 0)
		guest_sleep_ms(1);
	assert_int_equal(net_create("alpha", 100, &pid, &start_time, &refused), -EINVAL);
}

/* Two VMs with a tap each; a holder that is gone is an error that says so. */
static void check_taps(void)
{
	struct guest guests[2];
	struct err refused = ERR_INIT;
	struct vm *vm;
	uint64_t start_time;
	pid_t pid;

	ASSERT_OK(net_create("gamma", 4500, &pid, &start_time, &err));
	for (int i = 0; i < 2; i++) {
		char name[16];

		snprintf(name, sizeof(name), "net%d-%u", i, (unsigned int)geteuid());
		guest_config(&guests[i], root_dir, name);
		guests[i].config.net_pid = pid;
		guests[i].config.host_mtu = 4500;
		snprintf(guests[i].config.tap, sizeof(guests[i].config.tap), "tap%d", i);
		guest_launch(&guests[i], false);
		ASSERT_OK(vm_resume(guests[i].vm, &err));
		assert_true(has_interface(pid, guests[i].config.tap));
	}
	for (int i = 0; i < 2; i++)
		guest_await_progress(&guests[i], 0);
	assert_true(vm_launch(&guests[0].config, guests[0].ram_fd, false, &vm, &refused) < 0);
	assert_non_null(strstr(refused.msg, "cannot make the tap tap0"));
	guest_end(&guests[0]);
	while (has_interface(pid, "tap0"))
		guest_sleep_ms(
			1); /* the kernel removes it a moment after its last descriptor */
	assert_true(has_interface(pid, "tap1"));
	net_destroy(pid, start_time);
	vm_kill(guests[1].vm);
	vm_release(guests[1].vm);
	guests[1].vm = NULL;
	assert_true(vm_launch(&guests[1].config, guests[1].ram_fd, false, &vm, &refused) < 0);
	assert_non_null(strstr(refused.msg, "namespace"));
	guest_end(&guests[1]);
}

static void test_holder(void **state)
{
	(void)state;
	if (impossible()) {
		print_message("skipped: %s\n", impossible());
		skip();
	}
	check_holder();
}

static void test_taps(void **state)
{
	(void)state;
	if (impossible()) {
		print_message("skipped: %s\n", impossible());
		skip();
	}
	check_taps();
}

/* A /dev/net/tun that anybody may open, as distributions ship it, in a mount namespace of our
 * own. */
static bool private_tun(void)
{
	return unshare(CLONE_NEWNS) == 0 &&
	       mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("tmpfs", "/dev/net", "tmpfs", 0, NULL) == 0 &&
	       mknod("/dev/net/tun", S_IFCHR | 0666, makedev(10, 200)) == 0 &&
	       chmod("/dev/net/tun", 0666) == 0 && chmod("/dev/net", 0755) == 0;
}

static bool become_nobody(void)
{
	return setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
	       setresuid(NOBODY, NOBODY, NOBODY) == 0;
}

static int run_tests_again(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_holder),
		cmocka_unit_test(test_taps),
	};

	return cmocka_run_group_tests_name("as an ordinary user", tests, NULL, NULL);
}

static int as_nobody(bool open_tun)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		struct err refused = ERR_INIT;
		uint64_t start_time;
		pid_t pid;

		if ((open_tun && !private_tun()) || !become_nobody() ||
		    unshare(CLONE_NEWUTS) == 0)
			_exit(SKIPPED);
		if (open_tun)
			exit(run_tests_again());
		if (!impossible())
			_exit(SKIPPED);
		_exit(net_create("delta", 1500, &pid, &start_time, &refused) < 0 &&
				      strstr(refused.msg, "chmod 666 /dev/net/tun")
			      ? 0
			      : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void expect_as_nobody(bool open_tun, const char *why_not)
{
	int status;

	if (geteuid() != 0) {
		print_message("skipped: only root can become another user\n");
		skip();
	}
	status = as_nobody(open_tun);
	if (status == SKIPPED) {
		print_message("skipped: %s\n", why_not);
		skip();
	}
	assert_int_equal(status, 0);
}

static void test_ordinary_user(void **state)
{
	(void)state;
	expect_as_nobody(true, "no mount namespace of our own here");
}

static void test_closed_tun_has_a_remedy(void **state)
{
	(void)state;
	expect_as_nobody(false, "everybody may open /dev/net/tun here");
}

/* Helper and directory where an ordinary user reaches them. */
static int setup(void **state)
{
	CLEANUP_FREE char *program = NULL;
	char path[IO_PATH_MAX], copy[128];
	size_t len;

	(void)state;
	snprintf(root_dir, sizeof(root_dir), "/tmp/stasis-net-XXXXXX");
	if (!mkdtemp(root_dir) || chmod(root_dir, 0777) < 0)
		return -1;
	ASSERT_OK(paths_program(NETNS_PROGRAM, path, sizeof(path), &err));
	ASSERT_OK(io_read_file(path, 64 << 20, &program, &len, &err));
	snprintf(copy, sizeof(copy), "%s/" NETNS_PROGRAM, root_dir);
	ASSERT_OK(io_replace_file(copy, program, len, 0755, &err));
	setenv("STASIS_LIBEXEC_DIR", root_dir, 1);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return io_remove_all(root_dir, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_holder),
		cmocka_unit_test(test_taps),
		cmocka_unit_test(test_ordinary_user),
		cmocka_unit_test(test_closed_tun_has_a_remedy),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
