/* SPDX-License-Identifier: BSD-3-Clause */
/* What changes on a disk between checkpoints, asked of real QEMUs: the file of one checkpoint
 * and the pages told to have changed make the file of the next. */
#include "vm_guest.h"

#include <errno.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "vm/disk/nbd.h"
#include "vm/proc/proc.h"
#include "vm/qmp/qmp.h"

enum {
	DEADLINE_MS = 60000,
	BLOCK_BYTES = DISK_BLOCK_PAGES * DISK_PAGE_BYTES,
	BITMAP_BYTES = DISK_BLOCK_PAGES / 8,
	HEADER_BYTES = 65536,
	ROUNDS = 6,
};

static char root_dir[64];

/* A VM, its second monitor, and what the checkpoint that is tracked has of its disk's file. */
struct fixture {
	struct guest guest;
	struct qmp *debug;
	int saved_fd;
	uint64_t saved_bytes;
	unsigned int seed;
};

static void debug_open(struct fixture *f)
{
	char path[IO_PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/debug.sock", f->guest.config.run_dir);
	ASSERT_OK(qmp_connect(path, deadline_in_ms(DEADLINE_MS), &f->debug, &err));
}

static int debug_command(struct fixture *f, const char *command, json_t *args)
{
	return qmp_execute(f->debug, command, args, deadline_in_ms(DEADLINE_MS), NULL, NULL);
}

/* qemu-io as the guest's device. */
static void disk_io(struct fixture *f, const char *what)
{
	char line[256];
	json_t *said;

	snprintf(line, sizeof(line),
		 "qemu-io -d /machine/peripheral/blk0/virtio-backend \"%s\"", what);
	ASSERT_OK(qmp_execute(f->debug, "human-monitor-command",
			      json_pack("{s:s}", "command-line", line),
			      deadline_in_ms(DEADLINE_MS), &said, &err));
	if (strcmp(json_string_value(said), "") != 0)
		fail_msg("%s: %s", line, json_string_value(said));
	json_decref(said);
}

/* Some writes and discards, large and small, aligned and not. */
static void disk_churn(struct fixture *f)
{
	for (int i = 0; i < 12; i++) {
		unsigned int sectors = 1 + rand_r(&f->seed) % (i % 4 ? 64 : 2048);
		unsigned int at = 2048 + rand_r(&f->seed) % (GUEST_DISK_BYTES / 512 - 4096);
		char what[128];

		if (i % 5 == 4)
			snprintf(what, sizeof(what), "discard %uk %uk", at / 128 * 64, 192);
		else if (i % 5 == 3)
			snprintf(what, sizeof(what), "write -z -u %u %u", at * 512,
				 sectors * 512);
		else
			snprintf(what, sizeof(what), "write -P %d %u %u",
				 1 + rand_r(&f->seed) % 255, at * 512, sectors * 512);
		disk_io(f, what);
	}
	disk_io(f, "flush");
}

static void fixture_boot(struct fixture *f, const char *name)
{
	memset(f, 0, sizeof(*f));
	f->saved_fd = memfd_create("saved", MFD_CLOEXEC);
	f->seed = 7;
	guest_config(&f->guest, root_dir, name);
	guest_launch(&f->guest, false);
	ASSERT_OK(vm_resume(f->guest.vm, &err));
	guest_await_progress(&f->guest, 0);
	debug_open(f);
}

static void fixture_end(struct fixture *f)
{
	qmp_close(f->debug);
	close(f->saved_fd);
	guest_end(&f->guest);
}

static void freeze(struct fixture *f)
{
	ASSERT_OK(vm_disk_prepare(f->guest.vm, &err));
	ASSERT_OK(vm_pause(f->guest.vm, &err));
	ASSERT_OK(vm_disk_switch_all(&f->guest.vm, 1, &err));
	ASSERT_OK(vm_resume(f->guest.vm, &err));
}

static void merge(struct fixture *f)
{
	ASSERT_OK(vm_disk_merge(f->guest.vm, deadline_in_ms(DEADLINE_MS), &err));
}

static uint32_t read_at(int fd, uint8_t *buf, uint64_t offset, uint32_t len)
{
	ssize_t got;

	memset(buf, 0, len);
	got = pread(fd, buf, len, (off_t)offset);
	assert_true(got >= 0);
	return (uint32_t)got;
}

/* Keep the frozen file as the saved one. */
static void save(struct fixture *f)
{
	CLEANUP_FREE uint8_t *block = malloc(BLOCK_BYTES);
	CLEANUP_CLOSE int fd = -1;

	ASSERT_OK(vm_disk_frozen_open(f->guest.vm, &fd, &f->saved_bytes, &err));
	assert_int_equal(ftruncate(f->saved_fd, 0), 0);
	assert_int_equal(ftruncate(f->saved_fd, (off_t)f->saved_bytes), 0);
	for (uint64_t at = 0; at < f->saved_bytes; at += BLOCK_BYTES) {
		uint32_t got = read_at(fd, block, at, BLOCK_BYTES);

		if (at + got > f->saved_bytes)
			got = (uint32_t)(f->saved_bytes - at);
		ASSERT_OK(io_pwrite_all(f->saved_fd, block, got, (off_t)at, &err));
	}
}

/* Pages that are not told to have changed are those of the saved file. */
static void assert_told(struct fixture *f, const struct disk_changes *changes)
{
	CLEANUP_FREE uint8_t *now = malloc(BLOCK_BYTES), *was = malloc(BLOCK_BYTES);
	CLEANUP_CLOSE int fd = -1;
	uint64_t bytes;

	ASSERT_OK(vm_disk_frozen_open(f->guest.vm, &fd, &bytes, &err));
	assert_true(bytes > HEADER_BYTES);
	for (uint64_t at = 0; at < bytes || at < f->saved_bytes; at += BLOCK_BYTES) {
		uint8_t bitmap[BITMAP_BYTES];

		read_at(fd, now, at, BLOCK_BYTES);
		read_at(f->saved_fd, was, at, BLOCK_BYTES);
		disk_changes_any(changes, at, BLOCK_BYTES, bitmap);
		for (unsigned int p = 0; p < DISK_BLOCK_PAGES; p++) {
			size_t page = (size_t)p * DISK_PAGE_BYTES;

			if (!(bitmap[p / 8] & 1 << p % 8) &&
			    memcmp(now + page, was + page, DISK_PAGE_BYTES) != 0)
				fail_msg("page %u of block %llu has changed untold", p,
					 (unsigned long long)at);
		}
	}
}

/* Frozen: ask, and look whether it is true. Returns the bytes told. */
static uint64_t check(struct fixture *f, const char *checkpoint)
{
	struct disk_changes *changes;
	uint64_t told;

	ASSERT_OK(vm_disk_changes(f->guest.vm, checkpoint, &changes, &err));
	assert_told(f, changes);
	told = disk_changes_bytes(changes);
	disk_changes_free(changes);
	return told;
}

static void assert_tracked(struct fixture *f, const char *checkpoint)
{
	char tracked[64];

	ASSERT_OK(vm_disk_tracked(f->guest.vm, tracked, sizeof(tracked), &err));
	assert_string_equal(tracked, checkpoint);
}

static void first_checkpoint(struct fixture *f, const char *name)
{
	struct disk_changes *changes;
	char tracked[64];

	assert_int_equal(vm_disk_tracked(f->guest.vm, tracked, sizeof(tracked), NULL), -ENOENT);
	freeze(f);
	assert_int_equal(vm_disk_changes(f->guest.vm, name, &changes, NULL), -ENOENT);
	save(f);
	ASSERT_OK(vm_disk_track(f->guest.vm, name, &err));
	merge(f);
	assert_tracked(f, name);
}

static void adopt(struct fixture *f)
{
	pid_t pid = vm_pid(f->guest.vm);
	uint64_t start_time = vm_start_time(f->guest.vm);

	vm_release(f->guest.vm);
	f->guest.vm = NULL;
	ASSERT_OK(vm_adopt(&f->guest.config, pid, start_time, &f->guest.vm, &err));
	ASSERT_OK(vm_disk_heal(f->guest.vm, deadline_in_ms(DEADLINE_MS), &err));
}

/* Checkpoints one after the other, some of which fail, some under another daemon. */
static void test_rounds(void **state)
{
	struct fixture f;
	char name[32], newest[32] = "rounds-0";

	(void)state;
	fixture_boot(&f, "rounds");
	disk_churn(&f);
	first_checkpoint(&f, newest);
	for (int round = 1; round <= ROUNDS; round++) {
		snprintf(name, sizeof(name), "rounds-%d", round);
		if (round % 2)
			disk_churn(&f);
		freeze(&f);
		disk_churn(&f); /* the frozen file does not change by it, nor by this: */
		guest_await_progress(&f.guest, guest_counter(&f.guest));
		check(&f, newest);
		if (round % 3 == 0) { /* it fails */
			ASSERT_OK(vm_disk_heal(f.guest.vm, deadline_in_ms(DEADLINE_MS), &err));
			assert_tracked(&f, newest);
			continue;
		}
		if (round % 3 == 1)
			save(&f);
		if (round == 2)
			adopt(&f); /* a daemon died before it was committed */
		else
			ASSERT_OK(vm_disk_track(f.guest.vm, name, &err));
		if (round != 2) {
			if (round % 3 != 1)
				save(&f);
			snprintf(newest, sizeof(newest), "%s", name);
			merge(&f);
		}
		assert_tracked(&f, newest);
	}
	fixture_end(&f);
}

/* Nothing but the header is read where nothing was written; and little for a little. */
static void test_little(void **state)
{
	struct fixture f;
	struct disk_changes *changes;
	uint8_t bitmap[BITMAP_BYTES];

	(void)state;
	fixture_boot(&f, "little");
	ASSERT_OK(vm_pause(f.guest.vm, &err));
	disk_io(&f, "write -P 3 4M 4M");
	disk_io(&f, "flush");
	ASSERT_OK(vm_disk_prepare(f.guest.vm, &err));
	assert_int_equal(vm_disk_changes(f.guest.vm, "little", &changes, NULL), -EBUSY);
	ASSERT_OK(vm_disk_switch_all(&f.guest.vm, 1, &err));
	save(&f);
	ASSERT_OK(vm_disk_track(f.guest.vm, "little", &err));
	ASSERT_OK(vm_disk_track(f.guest.vm, "little", &err));
	merge(&f);
	ASSERT_OK(vm_disk_prepare(f.guest.vm, &err));
	ASSERT_OK(vm_disk_switch_all(&f.guest.vm, 1, &err));
	assert_int_equal(check(&f, "little"), HEADER_BYTES);
	merge(&f);

	disk_io(&f, "write -P 4 5M 4k"); /* where there is a cluster already */
	disk_io(&f, "flush");
	ASSERT_OK(vm_disk_prepare(f.guest.vm, &err));
	ASSERT_OK(vm_disk_switch_all(&f.guest.vm, 1, &err));
	assert_int_equal(check(&f, "little"), HEADER_BYTES + DISK_PAGE_BYTES);

	ASSERT_OK(vm_disk_changes(f.guest.vm, "little", &changes, &err));
	assert_true(disk_changes_any(changes, 0, BLOCK_BYTES, bitmap));
	assert_int_equal(bitmap[0], 0xff);
	assert_int_equal(bitmap[2], 0);
	assert_true(disk_changes_any(changes, 0, 5 * DISK_PAGE_BYTES, bitmap));
	assert_int_equal(bitmap[0], 0x1f);
	assert_int_equal(bitmap[1], 0);
	assert_false(disk_changes_any(changes, 16 * BLOCK_BYTES, BLOCK_BYTES, bitmap));
	assert_true(disk_changes_any(changes, 4096ULL * BLOCK_BYTES, 4097, bitmap));
	assert_int_equal(bitmap[0], 0x03);
	disk_changes_free(changes);
	disk_changes_free(NULL);
	merge(&f);
	fixture_end(&f);
}

/* A daemon was killed while it read: its server still exports the bitmap. */
static void test_leftover_server(void **state)
{
	struct fixture f;

	(void)state;
	fixture_boot(&f, "leftover");
	first_checkpoint(&f, "left-0");
	for (int way = 0; way < 3; way++) {
		char path[IO_PATH_MAX + 16];

		disk_churn(&f);
		freeze(&f);
		snprintf(path, sizeof(path), "%s/nbd.sock", f.guest.config.run_dir);
		assert_int_equal(debug_command(&f, "nbd-server-start",
					       json_pack("{s:{s:s, s:{s:s}}}", "addr", "type",
							 "unix", "data", "path", path)),
				 0);
		assert_int_equal(
			debug_command(&f, "block-export-add",
				      json_pack("{s:s, s:s, s:s, s:s, s:[s]}", "id", "changes",
						"type", "nbd", "node-name", "disk-file", "name",
						"changes", "bitmaps", "ckpt-left-0")),
			0);
		if (way == 0) {
			check(&f, "left-0");
			merge(&f);
		} else if (way == 1) {
			adopt(&f);
			assert_tracked(&f, "left-0");
		} else {
			save(&f);
			ASSERT_OK(vm_disk_track(f.guest.vm, "left-1", &err));
			merge(&f);
			assert_tracked(&f, "left-1");
		}
	}
	fixture_end(&f);
}

/* A layer that comes from a checkpoint, with its base somewhere else. */
static void test_restored(void **state)
{
	struct fixture f;
	char path[IO_PATH_MAX + 16], longer[IO_PATH_MAX], size[32];

	(void)state;
	fixture_boot(&f, "restored");
	disk_churn(&f);
	first_checkpoint(&f, "one");
	qmp_close(f.debug);
	guest_end(&f.guest);

	snprintf(path, sizeof(path), "%s/disk.qcow2", f.guest.config.dir);
	snprintf(size, sizeof(size), "/proc/self/fd/%d", f.saved_fd);
	ASSERT_OK(vm_disk_copy(size, &f.guest.config, &err));
	snprintf(longer, sizeof(longer), "%s/a-base-with-quite-another-name.raw", root_dir);
	unlink(longer);
	assert_int_equal(link(f.guest.config.base_disk, longer), 0);
	snprintf(f.guest.config.base_disk, sizeof(f.guest.config.base_disk), "%s", longer);
	ASSERT_OK(vm_disk_rebase(&f.guest.config, &err));
	f.guest.ram_fd = guest_ram_create();
	guest_map(&f.guest);
	guest_launch(&f.guest, true);
	ASSERT_OK(vm_disk_track(f.guest.vm, "one", &err));
	assert_tracked(&f, "one");
	guest_end(&f.guest);

	/* The guest has no state to load here: it boots. */
	f.guest.ram_fd = guest_ram_create();
	guest_map(&f.guest);
	guest_launch(&f.guest, false);
	ASSERT_OK(vm_disk_track(f.guest.vm, "one", &err));
	debug_open(&f);
	ASSERT_OK(vm_resume(f.guest.vm, &err));
	guest_await_progress(&f.guest, 0);
	disk_churn(&f);
	freeze(&f);
	check(&f, "one");
	merge(&f);
	fixture_end(&f);
}

/* Where the file might be extended by a write there is no bitmap, with which QEMU would not
 * survive the failure of such a write. */
static void test_no_room(void **state)
{
	struct fixture f;
	char path[IO_PATH_MAX + 16], tracked[64];

	(void)state;
	memset(&f, 0, sizeof(f));
	guest_config(&f.guest, root_dir, "noroom");
	snprintf(path, sizeof(path), "%s/disk.qcow2", f.guest.config.dir);
	assert_int_equal(truncate(path, 1 << 20), 0);
	guest_launch(&f.guest, false);
	ASSERT_OK(vm_disk_track(f.guest.vm, "one", &err));
	assert_int_equal(vm_disk_tracked(f.guest.vm, tracked, sizeof(tracked), NULL), -ENOENT);
	guest_end(&f.guest);
}

/* A full file system stops the VM's writes, not its QEMU. */
static void test_full_file_system(void **state)
{
	struct fixture f = {.saved_fd = -1};
	char small[128], name[] = "full";

	(void)state;
	snprintf(small, sizeof(small), "%s/small", root_dir);
	ASSERT_OK(io_mkdir_all(small, 0755, &err));
	if (mount("none", small, "tmpfs", 0, "size=2m") < 0) {
		fprintf(stderr, "skipped: no file system can be mounted here\n");
		skip();
	}
	guest_config(&f.guest, root_dir, name);
	snprintf(f.guest.config.dir, sizeof(f.guest.config.dir), "%s", small);
	ASSERT_OK(vm_disk_create(&f.guest.config, &err));
	guest_launch(&f.guest, false);
	debug_open(&f);
	ASSERT_OK(vm_disk_track(f.guest.vm, name, &err));
	assert_tracked(&f, name);
	for (int i = 0; i < 8; i++) {
		char what[64];

		snprintf(what, sizeof(what), "write -P 5 %dM 1M", i);
		disk_io(&f, what);
	}
	assert_true(vm_alive(f.guest.vm));
	assert_tracked(&f, name);
	qmp_close(f.debug);
	guest_end(&f.guest);
	assert_int_equal(umount2(small, MNT_DETACH), 0);
}

static void ignore_extent(void *arg, uint64_t offset, uint64_t len, uint32_t flags)
{
	(void)arg;
	(void)offset;
	(void)len;
	(void)flags;
}

/* Servers that are silent, hang up, or talk nonsense. */
static void test_bad_servers(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	CLEANUP_CLOSE int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct err refused = ERR_INIT;
	int64_t begin_ns = clock_mono_ns();
	uint64_t bytes;

	(void)state;
	assert_int_equal(nbd_extents("/nonexistent/socket", "e", "c", deadline_in_ms(1000),
				     ignore_extent, NULL, &bytes, &refused),
			 -ENOENT);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/silent", root_dir);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 4), 0);
	assert_int_equal(nbd_extents(address.sun_path, "e", "c", deadline_in_ms(300),
				     ignore_extent, NULL, &bytes, &refused),
			 -ETIMEDOUT);
	assert_true(clock_mono_ns() - begin_ns < 20 * NS_PER_S);
	close(listener);
	listener = -1;
	assert_true(nbd_extents(address.sun_path, "e", "c", deadline_in_ms(300), ignore_extent,
				NULL, &bytes, &refused) < 0);
}

static int setup(void **state)
{
	(void)state;
	snprintf(root_dir, sizeof(root_dir), "/tmp/stasis-disk-XXXXXX");
	return mkdtemp(root_dir) ? 0 : -1;
}

static int teardown(void **state)
{
	char small[128];

	(void)state;
	guest_qemus(root_dir, true); /* what a test that failed half-way has left */
	snprintf(small, sizeof(small), "%s/small", root_dir);
	umount2(small, MNT_DETACH);
	return io_remove_all(root_dir, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rounds),          cmocka_unit_test(test_little),
		cmocka_unit_test(test_leftover_server), cmocka_unit_test(test_restored),
		cmocka_unit_test(test_no_room),         cmocka_unit_test(test_full_file_system),
		cmocka_unit_test(test_bad_servers),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
