/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest of 39 bytes for tests: counts in RAM and writes each count to its disk. */
#ifndef STASIS_TESTS_UNIT_VM_GUEST_H
#define STASIS_TESTS_UNIT_VM_GUEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "vm/ram/capture.h"
#include "vm/vm.h"

enum {
	GUEST_RAM_BYTES = 64 << 20,
	GUEST_DISK_BYTES = 16 << 20,
	GUEST_COUNTER =
		0x500, /* physical address of the counter; sector 1 of the disk has it, too */
};

/*
 * Loaded by the firmware at 0x7c00:
 *   xor ax,ax; mov ds,ax; mov es,ax
 *   again: inc dword [0x500]; mov si,packet; mov ax,0x4300; mov dl,0x80; int 0x13; jmp again
 *   packet: 16 bytes, 1 sector, from 0:0x500, to sector 1
 */
static const unsigned char guest_code[] = {
	0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x66, 0xff, 0x06, 0x00, 0x05, 0xbe, 0x17,
	0x7c, 0xb8, 0x00, 0x43, 0xb2, 0x80, 0xcd, 0x13, 0xeb, 0xef, 0x10, 0x00, 0x01,
	0x00, 0x00, 0x05, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
};

struct guest {
	struct vm_config config;
	int ram_fd;
	const volatile unsigned char *ram;
	struct vm *vm;
};

#define ASSERT_OK(call)                                              \
	do {                                                         \
		struct err err = ERR_INIT;                           \
		int rc_ = (call);                                    \
		if (rc_ < 0)                                         \
			fail_msg("%s: %d: %s", #call, rc_, err.msg); \
	} while (0)

static inline void guest_sleep_ms(int ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * NS_PER_MS};

	nanosleep(&ts, NULL);
}

/* The read-only disk below every guest's own. */
static inline void guest_base_disk(const char *path)
{
	unsigned char sector[512] = {0};
	int fd;

	if (access(path, R_OK) == 0)
		return; /* other guests may be using it */
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	memcpy(sector, guest_code, sizeof(guest_code));
	sector[510] = 0x55;
	sector[511] = 0xaa;
	ASSERT_OK(io_pwrite_all(fd, sector, sizeof(sector), 0, &err));
	assert_int_equal(ftruncate(fd, GUEST_DISK_BYTES), 0);
	close(fd);
}

static inline int guest_ram_create(void)
{
	int fd = memfd_create("stasis-ram", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, GUEST_RAM_BYTES), 0);
	return fd;
}

static inline void guest_map(struct guest *guest)
{
	guest->ram = mmap(NULL, GUEST_RAM_BYTES, PROT_READ, MAP_SHARED, guest->ram_fd, 0);
	assert_ptr_not_equal(guest->ram, MAP_FAILED);
}

/* A configuration in `dir`, which it makes, with a fresh disk. */
static inline void guest_config(struct guest *guest, const char *dir, const char *name)
{
	struct vm_config *config = &guest->config;
	char why[256];

	memset(guest, 0, sizeof(*guest));
	snprintf(config->name, sizeof(config->name), "%s", name);
	snprintf(config->dir, sizeof(config->dir), "%s/%s", dir, name);
	snprintf(config->run_dir, sizeof(config->run_dir), "%s/%s/run", dir, name);
	snprintf(config->base_disk, sizeof(config->base_disk), "%s/base.raw", dir);
	snprintf(config->base_format, sizeof(config->base_format), "raw");
	snprintf(config->genid, sizeof(config->genid), "324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87");
	config->memory_bytes = GUEST_RAM_BYTES;
	config->cpus = 1;
	ASSERT_OK(io_mkdir_all(config->run_dir, 0755, &err));
	guest_base_disk(config->base_disk);
	ASSERT_OK(vm_machine_probe("tcg", "", "", &config->machine, why, sizeof(why), &err));
	ASSERT_OK(vm_disk_create(config, &err));
	guest->ram_fd = guest_ram_create();
	guest_map(guest);
}

static inline void guest_launch(struct guest *guest, bool incoming)
{
	ASSERT_OK(vm_launch(&guest->config, guest->ram_fd, incoming, &guest->vm, &err));
}

static inline void guest_end(struct guest *guest)
{
	if (guest->vm)
		vm_kill(guest->vm);
	vm_release(guest->vm);
	munmap((void *)(uintptr_t)guest->ram, GUEST_RAM_BYTES);
	close(guest->ram_fd);
}

static inline uint32_t guest_counter(const struct guest *guest)
{
	return *(const volatile uint32_t *)(guest->ram + GUEST_COUNTER);
}

/* Wait until the guest has counted on from `from` by some. */
static inline void guest_await_progress(const struct guest *guest, uint32_t from)
{
	int64_t deadline_ns = deadline_in_ms(60000);

	while (guest_counter(guest) < from + 20) {
		if (deadline_left_ms(deadline_ns) == 0)
			fail_msg("the guest does not count: %u", guest_counter(guest));
		guest_sleep_ms(2);
	}
}

/* Processes whose command lines name the directory; with `end` they are killed on the way. */
static inline unsigned int guest_qemus(const char *dir, bool end)
{
	CLEANUP_CLOSEDIR DIR *proc = opendir("/proc");
	const struct dirent *entry;
	unsigned int count = 0;

	assert_non_null(proc);
	while ((entry = readdir(proc))) {
		CLEANUP_FREE char *text = NULL;
		char path[64 + sizeof(entry->d_name)];
		pid_t pid = atoi(entry->d_name);
		size_t len;

		snprintf(path, sizeof(path), "/proc/%s/cmdline", entry->d_name);
		if (pid <= 0 || pid == getpid() ||
		    io_read_file(path, 1 << 20, &text, &len, NULL) < 0 ||
		    !memmem(text, len, dir, strlen(dir)))
			continue;
		count++;
		if (end)
			kill(pid, SIGKILL);
	}
	return count;
}

#endif
