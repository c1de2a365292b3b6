/* SPDX-License-Identifier: BSD-3-Clause */
/* QEMU's command line: every device pinned, no secrets of quoting, the same words for the same
 * configuration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>

#include "vm/qemu/args.h"

static struct vm_config config_make(void)
{
	struct vm_config config = {
		.name = "vm0",
		.dir = "/d",
		.run_dir = "/r",
		.memory_bytes = 256 << 20,
		.cpus = 2,
		.machine = {.machine = "pc-q35-7.2", .accel = "tcg", .cpu = "max"},
		.kernel = "/k",
		.initrd = "/i",
		.cmdline = "console=ttyS0 quiet",
		.base_disk = "/b",
		.base_format = "raw",
		.genid = "324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87",
		.net_pid = 42,
		.tap = "tap7",
		.host_mtu = 4500,
	};

	return config;
}

static char **build(const struct vm_config *config, bool incoming)
{
	struct err err = ERR_INIT;
	char **argv;

	assert_int_equal(qemu_args_build(config, incoming, "/x/stasis-netns", &argv, &err), 0);
	return argv;
}

/* The word after `option`, the n-th such pair whose value begins with `start`. */
static const char *value_of(char **argv, const char *option, const char *start)
{
	for (char **word = argv; word[0] && word[1]; word++)
		if (!strcmp(word[0], option) && !strncmp(word[1], start, strlen(start)))
			return word[1];
	return NULL;
}

static bool has_word(char **argv, const char *wanted)
{
	for (char **word = argv; *word; word++)
		if (!strcmp(*word, wanted))
			return true;
	return false;
}

static void test_through_netns(void **state)
{
	static const char *const front[] = {"/x/stasis-netns",   "exec", "42", "tap7", "--",
					    "qemu-system-x86_64"};
	struct vm_config config = config_make();
	char **argv = build(&config, false);

	(void)state;
	for (size_t i = 0; i < sizeof(front) / sizeof(front[0]); i++)
		assert_string_equal(argv[i], front[i]);
	assert_string_equal(value_of(argv, "-netdev", "tap"), "tap,id=net0,fd=4");
	assert_non_null(strstr(value_of(argv, "-device", "virtio-net-pci"), ",host_mtu=4500"));
	qemu_args_free(argv);

	config.net_pid = 0;
	config.host_mtu = 0;
	argv = build(&config, false);
	assert_string_equal(argv[0], "qemu-system-x86_64");
	assert_null(value_of(argv, "-netdev", ""));
	assert_null(strstr(value_of(argv, "-device", "virtio-net-pci"), "host_mtu"));
	qemu_args_free(argv);
}

/* No two PCI devices at one place, none without a place. */
static void test_every_pci_address_is_pinned(void **state)
{
	struct vm_config config = config_make();
	char **argv = build(&config, false);
	char places[16][64];
	size_t count = 0;

	(void)state;
	for (char **word = argv; word[0] && word[1]; word++) {
		const char *bus, *addr;

		if (strcmp(word[0], "-device") != 0 || !strncmp(word[1], "vmgenid", 7) ||
		    !strncmp(word[1], "virtserialport", 14))
			continue;
		bus = strstr(word[1], "bus=");
		addr = strstr(word[1], "addr=");
		assert_non_null(bus);
		assert_non_null(addr);
		snprintf(places[count], sizeof(places[count]), "%.*s %.*s",
			 (int)strcspn(bus, ","), bus, (int)strcspn(addr, ","), addr);
		for (size_t i = 0; i < count; i++)
			assert_string_not_equal(places[i], places[count]);
		count++;
	}
	assert_int_equal(count, 7);
	assert_true(has_word(argv, "-nodefaults"));
	assert_true(has_word(argv, "-S"));
	qemu_args_free(argv);
}

/* A restored VM differs from the saved one only where it must. */
static void test_incoming_differs_by_nothing_else(void **state)
{
	struct vm_config config = config_make();
	char **argv = build(&config, false), **incoming = build(&config, true);
	size_t i;

	(void)state;
	for (i = 0; argv[i]; i++)
		assert_string_equal(argv[i], incoming[i]);
	assert_string_equal(incoming[i], "-incoming");
	assert_string_equal(incoming[i + 1], "defer");
	assert_null(incoming[i + 2]);
	qemu_args_free(argv);
	qemu_args_free(incoming);
}

static void test_odd_names(void **state)
{
	struct vm_config config = config_make();
	struct err err = ERR_INIT;
	char **argv;

	(void)state;
	snprintf(config.name, sizeof(config.name), "a,process=b");
	snprintf(config.dir, sizeof(config.dir), "/d,x \"y\"\\z");
	snprintf(config.run_dir, sizeof(config.run_dir), "/r,s");
	argv = build(&config, false);
	assert_string_equal(value_of(argv, "-name", ""), "guest=a,,process=b,debug-threads=on");
	assert_non_null(value_of(argv, "-chardev",
				 "socket,id=agent,server=on,wait=off,path=/r,,s/agent.sock"));
	assert_non_null(strstr(value_of(argv, "-chardev", "socket,id=console"),
			       "logfile=/d,,x \"y\"\\z/console.log,"));
	assert_non_null(strstr(value_of(argv, "-blockdev", "{\"driver\":\"qcow2\""),
			       "\"filename\":\"/d,x \\\"y\\\"\\\\z/disk.qcow2\""));
	qemu_args_free(argv);

	snprintf(config.dir, sizeof(config.dir), "/d\xff");
	assert_int_equal(qemu_args_build(&config, false, "", &argv, &err), -EILSEQ);
	assert_string_equal(err.msg, "a path of VM a,process=b is not UTF-8");
}

static void test_accelerators_and_kernel(void **state)
{
	struct vm_config config = config_make();
	char **argv = build(&config, false);

	(void)state;
	assert_string_equal(value_of(argv, "-accel", ""), "tcg,thread=multi,tb-size=64");
	assert_string_equal(value_of(argv, "-append", ""), "console=ttyS0 quiet");
	assert_string_equal(value_of(argv, "-m", ""), "268435456B");
	assert_string_equal(value_of(argv, "-smp", ""), "cpus=2,sockets=1,cores=2,threads=1");
	qemu_args_free(argv);
	snprintf(config.machine.accel, sizeof(config.machine.accel), "kvm");
	config.kernel[0] = config.genid[0] = '\0';
	setenv("STASIS_QEMU", "/opt/qemu", 1);
	argv = build(&config, false);
	unsetenv("STASIS_QEMU");
	assert_true(has_word(argv, "/opt/qemu"));
	assert_string_equal(value_of(argv, "-accel", ""), "kvm");
	assert_false(has_word(argv, "-append"));
	assert_null(value_of(argv, "-device", "vmgenid"));
	qemu_args_free(argv);
	qemu_args_free(NULL);
}

/* A served layer lies between the base and the disk; without one, nothing of it is seen. */
static void test_served(void **state)
{
	struct vm_config config = config_make();
	char **argv = build(&config, true);

	(void)state;
	assert_null(
		value_of(argv, "-blockdev", "{\"driver\":\"qcow2\",\"node-name\":\"served\""));
	assert_null(strstr(value_of(argv, "-device", "virtio-blk-pci"), "rerror"));
	qemu_args_free(argv);

	snprintf(config.served.socket, sizeof(config.served.socket), "/r/a,b\"c.sock");
	snprintf(config.served.export_name, sizeof(config.served.export_name), "e");
	argv = build(&config, true);
	assert_string_equal(
		value_of(argv, "-blockdev", "{\"driver\":\"qcow2\",\"node-name\":\"served\""),
		"{\"driver\":\"qcow2\",\"node-name\":\"served\",\"read-only\":true,"
		"\"backing\":\"base\",\"file\":{\"driver\":\"nbd\",\"node-name\":"
		"\"served-file\",\"read-only\":true,\"export\":\"e\",\"server\":{\"type\":"
		"\"unix\",\"path\":\"/r/a,b\\\"c.sock\"},\"reconnect-delay\":20,"
		"\"open-timeout\":20}}");
	assert_non_null(strstr(
		value_of(argv, "-blockdev", "{\"driver\":\"qcow2\",\"node-name\":\"disk\""),
		"\"backing\":\"served\""));
	assert_non_null(strstr(value_of(argv, "-device", "virtio-blk-pci"),
			       ",rerror=stop,werror=stop"));
	qemu_args_free(argv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_through_netns),
		cmocka_unit_test(test_every_pci_address_is_pinned),
		cmocka_unit_test(test_incoming_differs_by_nothing_else),
		cmocka_unit_test(test_odd_names),
		cmocka_unit_test(test_accelerators_and_kernel),
		cmocka_unit_test(test_served),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
