/* SPDX-License-Identifier: BSD-3-Clause */
/* Restarts on a served disk layer, on real QEMUs: they run at once and are filled meanwhile.
 * nbdkit's file plugin stands in for the store. */
#include "vm_guest.h"

#include <errno.h>
#include <sys/wait.h>

#include "vm/disk/nbd.h"
#include "vm/proc/proc.h"
#include "vm/qmp/qmp.h"

enum {
	DEADLINE_MS = 60000,
	DATA_BYTES = 6 << 20, /* besides the guest's own */
	SLOW = 2 << 20,       /* bytes a second */
	WAIT_S = 3,
};

static char root_dir[64], layers_dir[128], socket_path[128];
static const char export_name[] = "vm0.disk";

/* A guest and what a checkpoint has of it. */
struct fixture {
	struct guest guest;
	struct ram_capture *ram;
	int state_fd;
	uint32_t count;
	pid_t server;
};

static void run(const char *const argv[])
{
	char output[512];

	ASSERT_OK(proc_run((char *const *)(uintptr_t)argv, deadline_in_ms(DEADLINE_MS), output,
			   sizeof(output), &err));
}

static void server_begin(struct fixture *f)
{
	char dir[160], first[512];
	const char *const argv[] = {"nbdkit", "-f", "-r", "-U", socket_path, "file", dir, NULL};
	int64_t deadline_ns = deadline_in_ms(DEADLINE_MS);

	snprintf(dir, sizeof(dir), "dir=%s", layers_dir);
	unlink(socket_path);
	ASSERT_OK(proc_spawn((char *const *)(uintptr_t)argv, NULL, 0, &f->server, &err));
	while (nbd_read_start(socket_path, export_name, deadline_ns, first, sizeof(first),
			      NULL) < 0) {
		if (deadline_left_ms(deadline_ns) == 0)
			fail_msg("nbdkit does not answer");
		guest_sleep_ms(2);
	}
}

static void server_end(struct fixture *f)
{
	kill(f->server, SIGKILL);
	waitpid(f->server, NULL, 0);
}

/* As the guest's device. */
static void device_io(struct fixture *f, const char *what)
{
	char path[IO_PATH_MAX + 16], line[256];
	struct qmp *debug;

	snprintf(path, sizeof(path), "%s/debug.sock", f->guest.config.run_dir);
	ASSERT_OK(qmp_connect(path, deadline_in_ms(DEADLINE_MS), &debug, &err));
	snprintf(line, sizeof(line),
		 "qemu-io -d /machine/peripheral/blk0/virtio-backend \"%s\"", what);
	ASSERT_OK(qmp_execute(debug, "human-monitor-command",
			      json_pack("{s:s}", "command-line", line),
			      deadline_in_ms(DEADLINE_MS), NULL, &err));
	qmp_close(debug);
}

/* A checkpoint, whose disk layer goes to where the server finds it. */
static void checkpoint(struct fixture *f)
{
	char from[IO_PATH_MAX], to[192];
	const char *const copy[] = {"cp", "--sparse=always", from, to, NULL};
	struct ram_pass pass;
	uint64_t bytes;
	int fd;

	f->state_fd = memfd_create("state", MFD_CLOEXEC);
	ASSERT_OK(ram_capture_create(vm_ram_fd(f->guest.vm), GUEST_RAM_BYTES, NULL, &f->ram,
				     &err));
	ASSERT_OK(vm_disk_prepare(f->guest.vm, &err));
	ASSERT_OK(vm_save_prepare(f->guest.vm, f->state_fd, &err));
	ASSERT_OK(vm_pause(f->guest.vm, &err));
	ASSERT_OK(vm_disk_switch_all(&f->guest.vm, 1, &err));
	ASSERT_OK(vm_save_all(&f->guest.vm, 1, &err));
	ASSERT_OK(ram_captures_pass(&f->ram, 1, 0, 0, &pass, &err));
	f->count = guest_counter(&f->guest);
	ASSERT_OK(vm_resume(f->guest.vm, &err));
	ASSERT_OK(vm_disk_frozen_path(f->guest.vm, from, sizeof(from), &err));
	ASSERT_OK(vm_disk_frozen_open(f->guest.vm, &fd, &bytes, &err));
	close(fd);
	snprintf(to, sizeof(to), "%s/%s", layers_dir, export_name);
	run(copy);
	assert_int_equal(truncate(to, (off_t)bytes), 0); /* as a store keeps it */
	ASSERT_OK(vm_disk_merge(f->guest.vm, deadline_in_ms(DEADLINE_MS), &err));
}

/* The saved VM comes back on the served layer, under another name of its base. */
static void restart_paused(struct fixture *f)
{
	struct vm_config *config = &f->guest.config;
	uint64_t offset = 0;
	char base[192];

	snprintf(base, sizeof(base), "%s/another-base.raw", root_dir);
	if (access(base, F_OK) < 0)
		assert_int_equal(link(config->base_disk, base), 0);
	snprintf(config->base_disk, sizeof(config->base_disk), "%s", base);
	snprintf(config->served.socket, sizeof(config->served.socket), "%s", socket_path);
	snprintf(config->served.export_name, sizeof(config->served.export_name), "%s",
		 export_name);
	config->served.wait_s = WAIT_S;
	ASSERT_OK(vm_disk_create(config, &err));
	f->guest.ram_fd = guest_ram_create();
	guest_map(&f->guest);
	while ((offset = ram_capture_next_data(f->ram, offset)) != UINT64_MAX) {
		ASSERT_OK(io_pwrite_all(f->guest.ram_fd, ram_capture_bytes(f->ram, offset),
					RAM_PAGE_BYTES, (off_t)offset, &err));
		offset += RAM_PAGE_BYTES;
	}
	guest_launch(&f->guest, true);
	assert_int_equal(vm_disk_fill_begin(f->guest.vm, 0, NULL), -EBUSY);
	ASSERT_OK(vm_load_state(f->guest.vm, f->state_fd, &err));
	assert_int_equal(guest_counter(&f->guest), f->count);
}

static void restart(struct fixture *f)
{
	restart_paused(f);
	ASSERT_OK(vm_resume(f->guest.vm, &err));
	guest_await_progress(&f->guest, f->count);
}

/* A guest with some data on its disk, checkpointed and ended. */
static void fixture_saved(struct fixture *f, const char *name)
{
	memset(f, 0, sizeof(*f));
	guest_config(&f->guest, root_dir, name);
	guest_launch(&f->guest, false);
	ASSERT_OK(vm_resume(f->guest.vm, &err));
	guest_await_progress(&f->guest, 0);
	device_io(f, "write -P 7 4M 6M");
	device_io(f, "write -P 8 12345k 5k");
	checkpoint(f);
	guest_end(&f->guest);
	server_begin(f);
}

static void fixture_restarted(struct fixture *f, const char *name)
{
	fixture_saved(f, name);
	restart(f);
}

static void fixture_end(struct fixture *f)
{
	guest_end(&f->guest);
	close(f->state_fd);
	ram_capture_destroy(f->ram);
}

static unsigned int layers(struct fixture *f)
{
	unsigned int count;

	ASSERT_OK(vm_disk_chain_length(f->guest.vm, &count, &err));
	return count;
}

static void await_done(struct fixture *f, uint64_t bytes)
{
	struct disk_fill fill;

	do {
		guest_sleep_ms(5);
		ASSERT_OK(vm_disk_fill_state(f->guest.vm, &fill, &err));
		assert_false(fill.ended);
		assert_true(fill.going_on);
	} while (fill.done_bytes < bytes);
	assert_int_equal(fill.total_bytes, GUEST_DISK_BYTES);
}

static void assert_filled(const unsigned char *bytes, size_t len, unsigned char with)
{
	assert_int_equal(bytes[0], with);
	assert_int_equal(memcmp(bytes, bytes + 1, len - 1), 0);
}

/* The disk, by itself, is what it was, and has what the guest did since. */
static void assert_whole(struct fixture *f)
{
	char disk[IO_PATH_MAX + 16], raw[160];
	const char *const convert[] = {"qemu-img", "convert", "-f", "qcow2", "-O",
				       "raw",      disk,      raw,  NULL};
	static unsigned char bytes[GUEST_DISK_BYTES];
	uint32_t count = guest_counter(&f->guest), on_disk;
	int fd;

	vm_kill(f->guest.vm);
	snprintf(disk, sizeof(disk), "%s/disk.qcow2", f->guest.config.dir);
	snprintf(raw, sizeof(raw), "%s/raw", root_dir);
	run(convert);
	fd = open(raw, O_RDONLY | O_CLOEXEC);
	ASSERT_OK(io_pread_all(fd, bytes, sizeof(bytes), 0, &err));
	close(fd);
	memcpy(&on_disk, bytes + 512, sizeof(on_disk));
	/* The guest never flushes: what it wrote since the end of the fill may be lost. */
	assert_true(on_disk >= f->count - 1 && on_disk <= count + 100);
	assert_memory_equal(bytes, guest_code, sizeof(guest_code));
	assert_filled(bytes + (4 << 20), DATA_BYTES, 7);
	assert_filled(bytes + 12345 * 1024, 5120, 8);
	assert_int_equal(bytes[12350 * 1024], 0);
}

static void test_fill(void **state)
{
	struct fixture f;
	struct disk_fill fill;
	struct err refused = ERR_INIT;

	(void)state;
	fixture_restarted(&f, "fill");
	assert_int_equal(layers(&f), 3);
	ASSERT_OK(vm_disk_fill_begin(f.guest.vm, SLOW, &err));
	ASSERT_OK(vm_disk_fill_begin(f.guest.vm, SLOW, &err));
	await_done(&f, 5 << 20);
	assert_int_equal(vm_disk_prepare(f.guest.vm, &refused), -EBUSY);
	assert_non_null(strstr(refused.msg, "filled"));
	assert_int_equal(vm_disk_track(f.guest.vm, "x", &refused), -EBUSY);
	assert_int_equal(vm_disk_fill_wait(f.guest.vm, deadline_in_ms(100), &refused),
			 -ETIMEDOUT);
	assert_non_null(strstr(refused.msg, "of 16 MiB are done"));
	ASSERT_OK(vm_disk_fill_wait(f.guest.vm, deadline_in_ms(DEADLINE_MS), &err));
	ASSERT_OK(vm_disk_fill_state(f.guest.vm, &fill, &err));
	assert_true(fill.ended && !fill.going_on && fill.done_bytes == GUEST_DISK_BYTES);
	ASSERT_OK(vm_disk_fill_begin(f.guest.vm, SLOW, &err));
	assert_int_equal(layers(&f), 2);
	server_end(&f); /* nobody needs it any more */
	guest_await_progress(&f.guest, guest_counter(&f.guest));

	/* The next checkpoint, on the disk that it has become. */
	close(f.state_fd);
	ram_capture_destroy(f.ram);
	checkpoint(&f);
	ASSERT_OK(vm_disk_track(f.guest.vm, "x", &err));
	guest_await_progress(&f.guest, f.count);
	assert_whole(&f);
	fixture_end(&f);
}

/* Daemons die, and the fill goes on, or is begun by the next one. */
static void test_adopted(void **state)
{
	struct fixture f;

	(void)state;
	fixture_restarted(&f, "adopted");
	for (int round = 0; round < 2; round++) {
		pid_t pid = vm_pid(f.guest.vm);
		uint64_t start_time = vm_start_time(f.guest.vm);
		struct disk_fill fill;

		if (round == 1) {
			await_done(&f, 1);
		} else {
			ASSERT_OK(vm_disk_fill_state(f.guest.vm, &fill, &err));
			assert_true(!fill.ended && !fill.going_on);
			ASSERT_OK(vm_disk_fill_begin(f.guest.vm, SLOW, &err));
		}
		vm_release(f.guest.vm);
		f.guest.vm = NULL;
		ASSERT_OK(vm_adopt(&f.guest.config, pid, start_time, &f.guest.vm, &err));
		ASSERT_OK(vm_disk_heal(f.guest.vm, deadline_in_ms(DEADLINE_MS), &err));
	}
	ASSERT_OK(vm_disk_fill_wait(f.guest.vm, deadline_in_ms(DEADLINE_MS), &err));
	ASSERT_OK(vm_disk_heal(f.guest.vm, deadline_in_ms(DEADLINE_MS), &err));
	assert_int_equal(layers(&f), 2);
	server_end(&f);
	guest_await_progress(&f.guest, f.count);
	assert_whole(&f);
	fixture_end(&f);
}

/* The server dies; another one takes its place, at once or too late for the job. */
static void test_server_dies(void **state)
{
	struct fixture f;
	struct disk_fill fill;

	(void)state;
	fixture_restarted(&f, "dies");
	ASSERT_OK(vm_disk_fill_begin(f.guest.vm, SLOW, &err));
	await_done(&f, 5 << 20);
	server_end(&f);
	guest_sleep_ms(100);
	server_begin(&f);
	await_done(&f, 7 << 20);

	server_end(&f);
	do {
		guest_sleep_ms(100);
		ASSERT_OK(vm_disk_fill_state(f.guest.vm, &fill, &err));
	} while (fill.going_on);
	assert_false(fill.ended);
	server_begin(&f);
	ASSERT_OK(vm_disk_fill_wait(f.guest.vm, deadline_in_ms(DEADLINE_MS), &err));
	server_end(&f);
	guest_await_progress(&f.guest, f.count);
	assert_whole(&f);
	fixture_end(&f);
}

/* What the guest asks for while there is no server is not refused: the VM stops, and goes on
 * when there is one. */
static void test_guest_waits(void **state)
{
	struct fixture f;
	struct disk_fill fill;

	(void)state;
	fixture_saved(&f, "waits");
	restart_paused(&f);
	server_end(&f);
	ASSERT_OK(vm_resume(f.guest.vm, &err));
	do {
		guest_sleep_ms(100);
		ASSERT_OK(vm_disk_fill_state(f.guest.vm, &fill, &err));
	} while (!fill.vm_stopped);
	assert_in_range(guest_counter(&f.guest), f.count, f.count + 1);
	server_begin(&f);
	ASSERT_OK(vm_disk_fill_begin(f.guest.vm, 0, &err));
	ASSERT_OK(vm_disk_fill_wait(f.guest.vm, deadline_in_ms(DEADLINE_MS), &err));
	ASSERT_OK(vm_disk_fill_begin(f.guest.vm, 0, &err)); /* it may have stopped once more */
	server_end(&f);
	guest_await_progress(&f.guest, f.count);
	assert_whole(&f);
	fixture_end(&f);
}

/* Killed during the fill: what is there is not mistaken for a disk, and the checkpoint stands.
 */
static void test_killed(void **state)
{
	struct fixture f;
	char disk[IO_PATH_MAX + 16], raw[160], output[512];
	const char *const convert[] = {"qemu-img", "convert", "-O", "raw", disk, raw, NULL};
	struct err refused = ERR_INIT;

	(void)state;
	fixture_restarted(&f, "killed");
	ASSERT_OK(vm_disk_fill_begin(f.guest.vm, SLOW, &err));
	await_done(&f, 5 << 20);
	guest_end(&f.guest);
	snprintf(disk, sizeof(disk), "%s/disk.qcow2", f.guest.config.dir);
	snprintf(raw, sizeof(raw), "%s/raw", root_dir);
	run(convert); /* as long as the server is there */
	server_end(&f);
	assert_int_equal(proc_run((char *const *)(uintptr_t)convert,
				  deadline_in_ms(DEADLINE_MS), output, sizeof(output),
				  &refused),
			 -EIO);
	assert_non_null(strstr(refused.msg, "backing"));
	server_begin(&f);
	restart(&f);
	ASSERT_OK(vm_disk_fill_wait(f.guest.vm, deadline_in_ms(DEADLINE_MS), &err));
	server_end(&f);
	assert_whole(&f);
	fixture_end(&f);
}

static void test_no_server(void **state)
{
	struct fixture f = {0};
	struct err refused = ERR_INIT;

	(void)state;
	guest_config(&f.guest, root_dir, "none");
	snprintf(f.guest.config.served.socket, sizeof(f.guest.config.served.socket), "%s/none",
		 root_dir);
	snprintf(f.guest.config.served.export_name, sizeof(f.guest.config.served.export_name),
		 "x");
	assert_true(vm_disk_create(&f.guest.config, &refused) < 0);
	assert_non_null(strstr(refused.msg, "NBD"));
	munmap((void *)(uintptr_t)f.guest.ram, GUEST_RAM_BYTES);
	close(f.guest.ram_fd);
}

static int setup(void **state)
{
	struct err err = ERR_INIT;

	(void)state;
	snprintf(root_dir, sizeof(root_dir), "/tmp/stasis-served-XXXXXX");
	if (!mkdtemp(root_dir))
		return -1;
	snprintf(layers_dir, sizeof(layers_dir), "%s/layers", root_dir);
	snprintf(socket_path, sizeof(socket_path), "%s/served.sock", root_dir);
	return io_mkdir_all(layers_dir, 0755, &err);
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
		cmocka_unit_test(test_fill),        cmocka_unit_test(test_adopted),
		cmocka_unit_test(test_server_dies), cmocka_unit_test(test_guest_waits),
		cmocka_unit_test(test_killed),      cmocka_unit_test(test_no_server),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
