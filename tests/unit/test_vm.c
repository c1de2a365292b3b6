/* SPDX-License-Identifier: BSD-3-Clause */
/* Real QEMUs with a tiny guest: life, state, disk layers, adoption, and controllers that are
 * killed on the way. */
#include "vm_guest.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "vm/proc/proc.h"

enum { DEADLINE_MS = 30000 };

static char root_dir[64];

static bool file_exists(const struct vm_config *config, const char *name)
{
	char path[IO_PATH_MAX + 32];

	snprintf(path, sizeof(path), "%s/%s", config->dir, name);
	return access(path, F_OK) == 0;
}

static bool is_running(struct guest *guest)
{
	bool running;

	ASSERT_OK(vm_running(guest->vm, &running, &err));
	return running;
}

static unsigned int chain_length(struct guest *guest)
{
	unsigned int layers;

	ASSERT_OK(vm_disk_chain_length(guest->vm, &layers, &err));
	return layers;
}

static void guest_boot(struct guest *guest, const char *name)
{
	guest_config(guest, root_dir, name);
	guest_launch(guest, false);
	ASSERT_OK(vm_resume(guest->vm, &err));
	guest_await_progress(guest, 0);
}

/* The counter as the image has it. */
static uint32_t disk_counter(const char *path)
{
	char command[2 * IO_PATH_MAX], raw[128];
	uint32_t counter;
	int fd;

	snprintf(raw, sizeof(raw), "%s/converted.raw", root_dir);
	snprintf(command, sizeof(command), "qemu-img convert -U -O raw '%s' '%s'", path, raw);
	assert_int_equal(system(command), 0);
	fd = open(raw, O_RDONLY | O_CLOEXEC);
	ASSERT_OK(io_pread_all(fd, &counter, sizeof(counter), 512, &err));
	close(fd);
	unlink(raw);
	return counter;
}

static void copy_file(const char *from, const char *to)
{
	const char *const argv[] = {"cp", "--sparse=always", from, to, NULL};
	char output[256];

	ASSERT_OK(proc_run((char *const *)(uintptr_t)argv, deadline_in_ms(DEADLINE_MS), output,
			   sizeof(output), &err));
}

static void test_life(void **state)
{
	struct guest guest;
	uint64_t rss, ram;
	uint32_t count;
	char path[IO_PATH_MAX];
	pid_t pid;

	(void)state;
	guest_config(&guest, root_dir, "life");
	guest_launch(&guest, false);
	assert_false(is_running(&guest));
	assert_true(vm_alive(guest.vm));
	assert_int_equal(chain_length(&guest), 2);
	ASSERT_OK(vm_resume(guest.vm, &err));
	assert_true(is_running(&guest));
	guest_await_progress(&guest, 0);
	ASSERT_OK(vm_pause(guest.vm, &err));
	assert_false(is_running(&guest));
	count = guest_counter(&guest);
	guest_sleep_ms(50);
	assert_int_equal(guest_counter(&guest), count);
	ASSERT_OK(vm_usage(guest.vm, &rss, &ram, &err));
	assert_true(rss > 1 << 20 && ram > 4096 && ram <= GUEST_RAM_BYTES);
	ASSERT_OK(vm_resume(guest.vm, &err));
	guest_await_progress(&guest, count);
	pid = vm_pid(guest.vm);
	vm_kill(guest.vm);
	assert_false(vm_alive(guest.vm));
	assert_int_equal(kill(pid, 0), -1);
	snprintf(path, sizeof(path), "%.4000s/qmp.sock", guest.config.run_dir);
	assert_int_equal(access(path, F_OK), -1);
	guest_end(&guest);

	guest_config(&guest, root_dir, "life");
	guest_launch(&guest, false);
	ASSERT_OK(vm_powerdown(guest.vm, deadline_in_ms(DEADLINE_MS), &err));
	assert_false(vm_alive(guest.vm));
	guest_end(&guest);
}

struct saved {
	int state_fd;
	struct ram_capture *ram;
	uint32_t count;
	char disk[128];
};

/* A whole checkpoint of one VM, as a daemon makes it. */
static void guest_checkpoint(struct guest *guest, struct saved *saved)
{
	struct ram_pass pass;
	char path[IO_PATH_MAX];

	saved->state_fd = memfd_create("state", MFD_CLOEXEC);
	snprintf(saved->disk, sizeof(saved->disk), "%s/saved.qcow2", root_dir);
	ASSERT_OK(ram_capture_create(vm_ram_fd(guest->vm), GUEST_RAM_BYTES, NULL, &saved->ram,
				     &err));
	ASSERT_OK(ram_captures_pass(&saved->ram, 1, 0, 0, &pass, &err));
	ASSERT_OK(vm_disk_prepare(guest->vm, &err));
	ASSERT_OK(vm_save_prepare(guest->vm, saved->state_fd, &err));
	ASSERT_OK(vm_pause(guest->vm, &err));
	ASSERT_OK(vm_disk_switch_all(&guest->vm, 1, &err));
	ASSERT_OK(vm_save_all(&guest->vm, 1, &err));
	ASSERT_OK(ram_captures_pass(&saved->ram, 1, 0, 0, &pass, &err));
	saved->count = guest_counter(guest);
	ASSERT_OK(vm_resume(guest->vm, &err));
	guest_await_progress(guest, saved->count);
	ASSERT_OK(vm_disk_frozen_path(guest->vm, path, sizeof(path), &err));
	copy_file(path, saved->disk);
	ASSERT_OK(vm_disk_merge(guest->vm, deadline_in_ms(DEADLINE_MS), &err));
}

static void saved_clear(struct saved *saved)
{
	close(saved->state_fd);
	ram_capture_destroy(saved->ram);
	unlink(saved->disk);
}

/* Kill what runs and bring the saved VM back. */
static void guest_restore(struct guest *guest, const struct saved *saved)
{
	char path[IO_PATH_MAX + 32];
	uint64_t offset = 0;

	guest_end(guest);
	snprintf(path, sizeof(path), "%s/disk.qcow2", guest->config.dir);
	copy_file(saved->disk, path);
	ASSERT_OK(vm_disk_rebase(&guest->config, &err));
	guest->ram_fd = guest_ram_create();
	guest_map(guest);
	while ((offset = ram_capture_next_data(saved->ram, offset)) != UINT64_MAX) {
		ASSERT_OK(io_pwrite_all(guest->ram_fd, ram_capture_bytes(saved->ram, offset),
					RAM_PAGE_BYTES, (off_t)offset, &err));
		offset += RAM_PAGE_BYTES;
	}
	guest->config.genid[0] = '4';
	guest_launch(guest, true);
	ASSERT_OK(vm_load_state(guest->vm, saved->state_fd, &err));
	assert_false(is_running(guest));
	assert_int_equal(guest_counter(guest), saved->count);
	ASSERT_OK(vm_resume(guest->vm, &err));
	guest_await_progress(guest, saved->count);
}

/* The disk has the last or the last but one count of RAM: they are of one instant. */
static void test_checkpoint_and_restore(void **state)
{
	struct guest guest;
	struct saved saved;

	(void)state;
	guest_boot(&guest, "ckpt");
	for (int round = 0; round < 3; round++) {
		guest_checkpoint(&guest, &saved);
		assert_int_equal(chain_length(&guest), 2);
		assert_false(file_exists(&guest.config, "next.qcow2"));
		assert_in_range(disk_counter(saved.disk), saved.count - 1, saved.count);
		guest_restore(&guest, &saved);
		assert_int_equal(chain_length(&guest), 2);
		saved_clear(&saved);
	}
	guest_end(&guest);
}

static void test_state_errors(void **state)
{
	struct guest guest, other;
	struct err refused = ERR_INIT;
	int state_fd = memfd_create("state", MFD_CLOEXEC);

	(void)state;
	guest_boot(&guest, "states");
	ASSERT_OK(vm_save_prepare(guest.vm, state_fd, &err));
	assert_int_equal(vm_save_all(&guest.vm, 1, &refused), -EBUSY);
	assert_int_equal(vm_disk_switch_all(&guest.vm, 1, &refused), -EIO);
	assert_int_equal(vm_disk_merge(guest.vm, deadline_in_ms(1000), &refused), -EINVAL);
	guest_end(&guest);

	/* QEMU exits on a state that is not one, and its log is cited. */
	guest_config(&other, root_dir, "garbage");
	guest_launch(&other, true);
	assert_int_equal(ftruncate(state_fd, 0), 0);
	assert_int_equal(pwrite(state_fd, "garbage", 7, 0), 7);
	assert_true(vm_load_state(other.vm, state_fd, &refused) < 0);
	assert_non_null(strstr(refused.msg, "garbage has ended"));
	assert_non_null(strstr(refused.msg, "stream"));
	guest_end(&other);
	close(state_fd);
}

static void test_launch_errors(void **state)
{
	struct guest guest;
	struct err refused = ERR_INIT;
	struct vm *vm = NULL;
	char path[IO_PATH_MAX + 32];

	(void)state;
	guest_config(&guest, root_dir, "wrong");
	snprintf(guest.config.machine.cpu, sizeof(guest.config.machine.cpu), "abacus");
	assert_int_equal(vm_launch(&guest.config, guest.ram_fd, false, &vm, &refused),
			 -ECONNRESET);
	assert_non_null(strstr(refused.msg, "abacus"));
	snprintf(guest.config.machine.cpu, sizeof(guest.config.machine.cpu), "max");

	memset(guest.config.run_dir, 'x', 120);
	guest.config.run_dir[120] = '\0';
	assert_int_equal(vm_launch(&guest.config, guest.ram_fd, false, &vm, &refused),
			 -ENAMETOOLONG);
	snprintf(guest.config.run_dir, sizeof(guest.config.run_dir), "%s/wrong/run", root_dir);

	snprintf(path, sizeof(path), "%s/next.qcow2", guest.config.dir);
	copy_file(guest.config.base_disk, path);
	assert_int_equal(vm_launch(&guest.config, guest.ram_fd, false, &vm, &refused), -EEXIST);
	unlink(path);
	snprintf(path, sizeof(path), "%s/disk.qcow2", guest.config.dir);
	unlink(path);
	assert_int_equal(vm_launch(&guest.config, guest.ram_fd, false, &vm, &refused), -ENOENT);

	setenv("STASIS_QEMU", "/nonexistent/qemu", 1);
	ASSERT_OK(vm_disk_create(&guest.config, &err));
	assert_int_equal(vm_launch(&guest.config, guest.ram_fd, false, &vm, &refused), -ENOENT);
	unsetenv("STASIS_QEMU");
	assert_null(vm);
	guest_end(&guest);
}

static void test_probe(void **state)
{
	struct vm_machine machine;
	struct err refused = ERR_INIT;
	char why[256];

	(void)state;
	assert_int_equal(vm_machine_probe("xen", "", "", &machine, why, sizeof(why), &refused),
			 -EINVAL);
	assert_int_equal(vm_machine_probe("kvm", "/nonexistent", "/nonexistent", &machine, why,
					  sizeof(why), &refused),
			 -ENOTSUP);
	ASSERT_OK(vm_machine_probe("auto", "/nonexistent", "/nonexistent", &machine, why,
				   sizeof(why), &err));
	assert_string_equal(machine.accel, "tcg");
	assert_int_equal(strncmp(machine.machine, "pc-q35-", 7), 0);
	assert_non_null(strstr(why, "TCG"));
}

static void guest_adopt(struct guest *guest, pid_t pid, uint64_t start_time)
{
	ASSERT_OK(vm_adopt(&guest->config, pid, start_time, &guest->vm, &err));
}

static void test_adopt(void **state)
{
	struct guest guest;
	struct err refused = ERR_INIT;
	struct vm *vm;
	struct stat its, ours;
	uint64_t start_time;
	uint32_t count;
	pid_t pid;

	(void)state;
	guest_boot(&guest, "adopt");
	pid = vm_pid(guest.vm);
	start_time = vm_start_time(guest.vm);
	vm_release(guest.vm);
	assert_int_equal(vm_adopt(&guest.config, pid, start_time + 1, &vm, &refused), -ESRCH);
	assert_int_equal(vm_adopt(&guest.config, 0, start_time, &vm, &refused), -ESRCH);
	guest.config.memory_bytes *= 2;
	assert_int_equal(vm_adopt(&guest.config, pid, start_time, &vm, &refused), -EINVAL);
	guest.config.memory_bytes /= 2;
	guest_adopt(&guest, pid, start_time);
	assert_int_equal(fstat(vm_ram_fd(guest.vm), &its), 0);
	assert_int_equal(fstat(guest.ram_fd, &ours), 0);
	assert_int_equal(its.st_ino, ours.st_ino);
	count = guest_counter(&guest);
	guest_await_progress(&guest, count);
	vm_kill(guest.vm);
	vm_release(guest.vm);
	assert_int_equal(vm_adopt(&guest.config, pid, start_time, &guest.vm, &refused), -ESRCH);
	guest.vm = NULL;
	guest_end(&guest);
}

/* The steps of a checkpoint; a controller is killed after each of them. */
enum instant {
	AT_FILE,
	AT_PREPARE,
	AT_PAUSE,
	AT_SWITCH,
	AT_SAVE,
	AT_RESUME,
	AT_MERGE,
	INSTANTS
};

static void *killer(void *arg)
{
	guest_sleep_ms(*(int *)arg);
	kill(getpid(), SIGKILL);
	return NULL;
}

/* The controller: adopts the VM, walks to the instant, and dies there. */
static void controller(struct guest *guest, pid_t pid, uint64_t start_time, enum instant last,
		       int kill_ms)
{
	struct err err = ERR_INIT;
	int state_fd = memfd_create("state", MFD_CLOEXEC), rc = 0;
	pthread_t thread;

	if (last == AT_FILE) {
		char path[IO_PATH_MAX + 32];

		snprintf(path, sizeof(path), "%s/next.qcow2", guest->config.dir);
		close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
		kill(getpid(), SIGKILL);
	}
	rc = vm_adopt(&guest->config, pid, start_time, &guest->vm, &err);
	for (enum instant at = AT_PREPARE; at <= last && rc == 0; at++) {
		switch (at) {
		case AT_PREPARE:
			rc = vm_disk_prepare(guest->vm, &err);
			if (rc == 0)
				rc = vm_save_prepare(guest->vm, state_fd, &err);
			break;
		case AT_PAUSE: rc = vm_pause(guest->vm, &err); break;
		case AT_SWITCH: rc = vm_disk_switch_all(&guest->vm, 1, &err); break;
		case AT_SAVE: rc = vm_save_all(&guest->vm, 1, &err); break;
		case AT_RESUME:
			rc = vm_resume(guest->vm, &err);
			guest_sleep_ms(20);
			break;
		default:
			pthread_create(&thread, NULL, killer, &kill_ms);
			rc = vm_disk_merge(guest->vm, deadline_in_ms(DEADLINE_MS), &err);
		}
	}
	if (rc < 0)
		fprintf(stderr, "controller: %s\n", err.msg);
	kill(getpid(), rc < 0 ? SIGABRT : SIGKILL);
}

static void interrupt_and_heal(struct guest *guest, enum instant last, int kill_ms)
{
	pid_t pid = vm_pid(guest->vm), child;
	uint64_t start_time = vm_start_time(guest->vm);
	uint32_t count;
	int status;

	vm_release(guest->vm);
	guest->vm = NULL;
	child = fork();
	if (child == 0)
		controller(guest, pid, start_time, last, kill_ms);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	guest_adopt(guest, pid, start_time);
	for (int twice = 0; twice < 2; twice++) {
		ASSERT_OK(vm_disk_heal(guest->vm, deadline_in_ms(DEADLINE_MS), &err));
		assert_int_equal(chain_length(guest), 2);
		assert_false(file_exists(&guest->config, "next.qcow2"));
	}
	ASSERT_OK(vm_resume(guest->vm, &err));
	count = guest_counter(guest);
	guest_await_progress(guest, count);
}

/* After all interruptions the disk still follows RAM. */
static void test_heal_from_every_instant(void **state)
{
	struct guest guest;
	struct saved saved;

	(void)state;
	guest_boot(&guest, "heal");
	for (enum instant last = AT_FILE; last < AT_MERGE; last++)
		interrupt_and_heal(&guest, last, 0);
	for (int kill_ms = 0; kill_ms < 24; kill_ms++)
		interrupt_and_heal(&guest, AT_MERGE, kill_ms);
	guest_checkpoint(&guest, &saved);
	assert_in_range(disk_counter(saved.disk), saved.count - 1, saved.count);
	saved_clear(&saved);
	guest_end(&guest);
}

static unsigned int count_dir(const char *path)
{
	CLEANUP_CLOSEDIR DIR *dir = opendir(path);
	unsigned int count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	return count;
}

static void test_nothing_leaks(void **state)
{
	unsigned int fds = count_dir("/proc/self/fd"), tasks = count_dir("/proc/self/task");
	struct guest guest;
	struct saved saved;

	(void)state;
	guest_boot(&guest, "leak");
	assert_int_equal(guest_qemus(root_dir, false), 1);
	guest_checkpoint(&guest, &saved);
	guest_restore(&guest, &saved);
	saved_clear(&saved);
	assert_int_equal(guest_qemus(root_dir, false), 1);
	guest_end(&guest);
	test_launch_errors(state);
	assert_int_equal(guest_qemus(root_dir, false), 0);
	assert_int_equal(count_dir("/proc/self/fd"), fds);
	assert_int_equal(count_dir("/proc/self/task"), tasks);
}

static int setup(void **state)
{
	(void)state;
	snprintf(root_dir, sizeof(root_dir), "/tmp/stasis-vm-XXXXXX");
	return mkdtemp(root_dir) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	guest_qemus(root_dir, true); /* what a test that failed half-way has left */
	return io_remove_all(root_dir, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_probe),
		cmocka_unit_test(test_life),
		cmocka_unit_test(test_checkpoint_and_restore),
		cmocka_unit_test(test_state_errors),
		cmocka_unit_test(test_launch_errors),
		cmocka_unit_test(test_adopt),
		cmocka_unit_test(test_heal_from_every_instant),
		cmocka_unit_test(test_nothing_leaks),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
