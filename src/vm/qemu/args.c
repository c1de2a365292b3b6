/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The command line of a VM's QEMU.
 *
 * Device state is only loaded into a QEMU with the same devices at the same places. So there
 * are no default devices, every PCI device has its address, and nothing here may depend on
 * anything but the configuration. Changing a line is changing the format of checkpoints.
 */
#include "vm/qemu/args.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "vm/net/netns.h"

_Static_assert((int)QEMU_FD_TAP == (int)NETNS_TAP_FD,
	       "stasis-netns opens the tap at this number");

/* A growing argv; once something failed, the rest is ignored and `rc` tells. */
struct args {
	char **words;
	size_t count;
	int rc;
};

/* The same for every VM. */
static const char *const args_fixed[] = {
	"-nodefaults", "-no-user-config",     "-display", "none", "-S",
	"-rtc",        "base=utc,clock=host",
};

/* Devices; the network card and the vmgenid depend on the configuration. On q35, 0x1f and up
 * are the chipset's. */
static const char *const args_devices[] = {
	"pcie-root-port,id=rp0,bus=pcie.0,addr=0x2,chassis=1,slot=1",
	"virtio-blk-pci,id=" QEMU_BLK_DEVICE ",drive=" QEMU_NODE_DISK
	",bus=pcie.0,addr=0x3,serial=stasis-root,write-cache=on,discard=on",
	"virtio-serial-pci,id=serial0,bus=pcie.0,addr=0x4,max_ports=4",
	"virtserialport,bus=serial0.0,nr=1,chardev=agent,name=stasis.agent.0",
	"virtio-rng-pci,id=rng0,rng=random0,bus=pcie.0,addr=0x5",
	"virtio-balloon-pci,id=balloon0,free-page-reporting=on,bus=pcie.0,addr=0x6",
	"pcie-root-port,id=" QEMU_PLUG_BUS ",bus=pcie.0,addr=0x7,chassis=2,slot=2",
};

const char *qemu_program(void)
{
	const char *program = getenv("STASIS_QEMU");

	return program && *program ? program : "qemu-system-x86_64";
}

const char *qemu_img_program(void)
{
	const char *program = getenv("STASIS_QEMU_IMG");

	return program && *program ? program : "qemu-img";
}

__attribute__((format(printf, 2, 3))) static void args_add(struct args *args, const char *fmt,
							   ...)
{
	char **grown;
	va_list ap;

	if (args->rc < 0)
		return;
	grown = realloc(args->words, (args->count + 2) * sizeof(*grown));
	if (!grown) {
		args->rc = -ENOMEM;
		return;
	}
	args->words = grown;
	va_start(ap, fmt);
	if (vasprintf(&grown[args->count], fmt, ap) < 0) {
		grown[args->count] = NULL;
		args->rc = -ENOMEM;
	} else {
		grown[++args->count] = NULL;
	}
	va_end(ap);
}

/* A value inside an option: a comma is doubled. */
static void option_escape(const char *value, char *ret_escaped, size_t size)
{
	size_t used = 0;

	for (; *value && used + 2 < size; value++) {
		if (*value == ',')
			ret_escaped[used++] = ',';
		ret_escaped[used++] = *value;
	}
	ret_escaped[used] = '\0';
}

static void args_add_json(struct args *args, const char *option, json_t *value)
{
	CLEANUP_FREE char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;

	json_decref(value);
	if (!text && args->rc == 0)
		args->rc = -EILSEQ;
	if (!text)
		return;
	args_add(args, "%s", option);
	args_add(args, "%s", text);
}

static void args_add_netns(struct args *args, const struct vm_config *config,
			   const char *netns_program)
{
	if (config->net_pid <= 0)
		return;
	args_add(args, "%s", netns_program);
	args_add(args, "exec");
	args_add(args, "%d", (int)config->net_pid);
	args_add(args, "%s", config->tap);
	args_add(args, "--");
}

static void args_add_machine(struct args *args, const struct vm_config *config)
{
	char name[2 * VM_NAME_MAX];

	option_escape(config->name, name, sizeof(name));
	args_add(args, "-name");
	args_add(args, "guest=%s,debug-threads=on", name);
	args_add(args, "-machine");
	args_add(args, "%s,memory-backend=" VM_RAM_BLOCK ",vmport=off",
		 config->machine.machine);
	args_add(args, "-accel");
	args_add(args, "%s%s", config->machine.accel,
		 strcmp(config->machine.accel, "tcg") ? "" : ",thread=multi,tb-size=64");
	args_add(args, "-cpu");
	args_add(args, "%s", config->machine.cpu);
	args_add(args, "-smp");
	args_add(args, "cpus=%u,sockets=1,cores=%u,threads=1", config->cpus, config->cpus);
	args_add(args, "-m");
	args_add(args, "%lluB", (unsigned long long)config->memory_bytes);
	args_add(args, "-object");
	args_add(args,
		 "memory-backend-file,id=" VM_RAM_BLOCK
		 ",mem-path=/proc/self/fd/%d,size=%lluB,share=on",
		 QEMU_FD_RAM, (unsigned long long)config->memory_bytes);
	args_add(args, "-object");
	args_add(args, "rng-random,id=random0,filename=/dev/urandom");
}

static void args_add_kernel(struct args *args, const struct vm_config *config)
{
	if (!config->kernel[0])
		return;
	args_add(args, "-kernel");
	args_add(args, "%s", config->kernel);
	if (config->initrd[0]) {
		args_add(args, "-initrd");
		args_add(args, "%s", config->initrd);
	}
	args_add(args, "-append");
	args_add(args, "%s", config->cmdline);
}

/* A server that is away is waited for, shorter than commands are (VM_COMMAND_MS), some of which
 * wait for the guest's reads. */
static void args_add_served(struct args *args, const struct vm_config *config)
{
	json_t *server = json_pack("{s:s, s:s}", "type", "unix", "path", config->served.socket);
	int wait_s = (int)config->served.wait_s;

	if (wait_s == 0)
		wait_s = VM_SERVED_WAIT_S;
	args_add_json(args, "-blockdev",
		      json_pack("{s:s, s:s, s:b, s:s, s:{s:s, s:s, s:b, s:s, s:o, s:i, s:i}}",
				"driver", "qcow2", "node-name", QEMU_NODE_SERVED, "read-only",
				1, "backing", QEMU_NODE_BASE, "file", "driver", "nbd",
				"node-name", "served-file", "read-only", 1, "export",
				config->served.export_name, "server", server, "reconnect-delay",
				wait_s, "open-timeout", wait_s));
}

/* The host's page cache is used, and a guest's flush is the host's fsync. */
static void args_add_disk(struct args *args, const struct vm_config *config)
{
	bool served = config->served.socket[0] != '\0';
	char path[IO_PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/disk.qcow2", config->dir);
	args_add_json(args, "-blockdev",
		      json_pack("{s:s, s:s, s:b, s:{s:s, s:s, s:s}}", "driver",
				config->base_format, "node-name", QEMU_NODE_BASE, "read-only",
				1, "file", "driver", "file", "node-name", "base-file",
				"filename", config->base_disk));
	if (served)
		args_add_served(args, config);
	args_add_json(args, "-blockdev",
		      json_pack("{s:s, s:s, s:s, s:s, s:{s:s, s:s, s:s, s:s}}", "driver",
				"qcow2", "node-name", QEMU_NODE_DISK, "discard", "unmap",
				"backing", served ? QEMU_NODE_SERVED : QEMU_NODE_BASE, "file",
				"driver", "file", "node-name", QEMU_NODE_FILE, "discard",
				"unmap", "filename", path));
}

static void args_add_sockets(struct args *args, const struct vm_config *config)
{
	char run_dir[2 * IO_PATH_MAX], dir[2 * IO_PATH_MAX];

	option_escape(config->run_dir, run_dir, sizeof(run_dir));
	option_escape(config->dir, dir, sizeof(dir));
	args_add(args, "-chardev");
	args_add(args, "socket,id=qmp,server=on,wait=off,fd=%d", QEMU_FD_QMP);
	args_add(args, "-mon");
	args_add(args, "chardev=qmp,mode=control");
	args_add(args, "-chardev");
	args_add(args, "socket,id=debug,server=on,wait=off,path=%s/" QEMU_SOCK_DEBUG, run_dir);
	args_add(args, "-mon");
	args_add(args, "chardev=debug,mode=control");
	args_add(args, "-chardev");
	args_add(args, "socket,id=agent,server=on,wait=off,path=%s/" QEMU_SOCK_AGENT, run_dir);
	args_add(args, "-chardev");
	args_add(args,
		 "socket,id=console,server=on,wait=off,path=%s/" QEMU_SOCK_CONSOLE
		 ",logfile=%s/console.log,logappend=on",
		 run_dir, dir);
	args_add(args, "-serial");
	args_add(args, "chardev:console");
}

static void args_add_devices(struct args *args, const struct vm_config *config)
{
	char host_mtu[32] = "", netdev[32] = "";

	for (size_t i = 0; i < sizeof(args_devices) / sizeof(args_devices[0]); i++) {
		bool stops =
			config->served.socket[0] && strstr(args_devices[i], QEMU_BLK_DEVICE);

		args_add(args, "-device");
		args_add(args, "%s%s", args_devices[i],
			 stops ? ",rerror=stop,werror=stop" : "");
	}
	if (config->net_pid > 0) {
		args_add(args, "-netdev");
		args_add(args, "tap,id=net0,fd=%d", QEMU_FD_TAP);
		snprintf(netdev, sizeof(netdev), ",netdev=net0");
	}
	if (config->host_mtu > 0)
		snprintf(host_mtu, sizeof(host_mtu), ",host_mtu=%u", config->host_mtu);
	args_add(args, "-device");
	args_add(args,
		 "virtio-net-pci,id=nic0,bus=rp0,addr=0x0,mac=52:54:00:00:00:01,romfile=%s%s",
		 netdev, host_mtu);
	if (config->genid[0]) {
		args_add(args, "-device");
		args_add(args, "vmgenid,id=genid0,guid=%s", config->genid);
	}
}

int qemu_args_build(const struct vm_config *config, bool incoming, const char *netns_program,
		    char ***ret_argv, struct err *err)
{
	struct args args = {0};

	args_add_netns(&args, config, netns_program);
	args_add(&args, "%s", qemu_program());
	for (size_t i = 0; i < sizeof(args_fixed) / sizeof(args_fixed[0]); i++)
		args_add(&args, "%s", args_fixed[i]);
	args_add_machine(&args, config);
	args_add_kernel(&args, config);
	args_add_disk(&args, config);
	args_add_sockets(&args, config);
	args_add_devices(&args, config);
	if (incoming) {
		args_add(&args, "-incoming");
		args_add(&args, "defer");
	}
	if (args.rc == -EILSEQ)
		err_set(err, EILSEQ, "a path of VM %s is not UTF-8", config->name);
	else if (args.rc < 0)
		err_sys(err, -args.rc, "command line of VM %s", config->name);
	if (args.rc < 0) {
		qemu_args_free(args.words);
		return args.rc;
	}
	*ret_argv = args.words;
	return 0;
}

void qemu_args_free(char **argv)
{
	if (!argv)
		return;
	for (char **word = argv; *word; word++)
		free(*word);
	free(argv);
}
