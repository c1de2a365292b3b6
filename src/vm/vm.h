/* SPDX-License-Identifier: BSD-3-Clause */
/* One virtual machine: launch, adopt, pause, capture, restore, end. The hypervisor behind these
 * calls is QEMU. */
#ifndef STASIS_VM_VM_H
#define STASIS_VM_VM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/io.h"

/* VM_CPU_NICE: by so many steps the threads that are a guest's processors stand below the rest
 * of QEMU, so that its monitor answers while guests compute on all processors of the host. */
enum { VM_NAME_MAX = 64, VM_CPU_NICE = 1, VM_EXPORT_MAX = 256, VM_SERVED_WAIT_S = 20 };

/* What is the same for every VM of a machine type: part of a checkpoint's identity, since a
 * restore needs it unchanged. */
struct vm_machine {
	char qemu_version[32]; /* "7.2.22", from query-version */
	char machine[32];      /* "pc-q35-7.2": versioned, never an alias */
	char accel[16];        /* "kvm" or "tcg" */
	char cpu[64];          /* -cpu argument */
};

/*
 * Choose machine and accelerator: KVM only if the processor says vmx or svm, /dev/kvm opens and
 * a probe guest (kernel and initrd with "stasis.probe") really comes up within its deadline;
 * else TCG. `ret_why` gets one sentence saying so, with the reason. `want` is "auto", "kvm" or
 * "tcg"; an impossible "kvm" is an error.
 */
int vm_machine_probe(const char *want, const char *kernel, const char *initrd,
		     struct vm_machine *ret_machine, char *ret_why, size_t why_size,
		     struct err *err);

/* A disk layer of a checkpoint that an NBD server holds ready: the file's bytes. */
struct vm_served {
	char socket[IO_PATH_MAX]; /* unix socket; empty: there is none */
	char export_name[VM_EXPORT_MAX];
	unsigned int wait_s; /* how long one that is away is waited for; 0: VM_SERVED_WAIT_S */
};

struct vm_config {
	char name[VM_NAME_MAX];
	char dir[IO_PATH_MAX];     /* disk layers, logs; on a real file system */
	char run_dir[IO_PATH_MAX]; /* sockets: qmp.sock debug.sock agent.sock console.sock;
				      short, for sun_path */
	uint64_t memory_bytes;
	unsigned int cpus;
	struct vm_machine machine;
	char kernel[IO_PATH_MAX], initrd[IO_PATH_MAX], cmdline[1024];
	char base_disk[IO_PATH_MAX], base_format[8]; /* "raw" or "qcow2"; never written */
	struct vm_served served; /* between the base and a fresh disk.qcow2, see below */
	char genid[37]; /* vmgenid GUID; another one at each start from a saved state */
	pid_t net_pid;  /* the cluster's network holder, see vm/net/net.h; 0: the card has no
			   cable */
	char tap[16];   /* name of the VM's tap in that namespace */
	unsigned int host_mtu;
};

struct vm;

/*
 * Start QEMU, stopped (-S), detached from the caller's life (own session; it outlives its
 * daemon), and connect QMP. `ram_fd` is a memfd of memory_bytes, RAM of the guest, shared
 * (memory-backend-file on /proc/self/fd, share=on); its contents count when `incoming`.
 * Monitors, both QMP: qmp.sock is ours, debug.sock is for people and benchmarks. The disk's
 * active layer `dir`/disk.qcow2 must exist (vm_disk_create or a restored one); a next.qcow2
 * left over is removed when `incoming`, else -EEXIST. With `incoming` the VM waits for
 * vm_load_state(). Boots nothing until vm_resume().
 */
int vm_launch(const struct vm_config *config, int ram_fd, bool incoming, struct vm **ret_vm,
	      struct err *err);

/* Take over a QEMU that another daemon started: pid and its start time (so that a reused pid is
 * not mistaken); opens its RAM through /proc. -ESRCH when it is gone. */
int vm_adopt(const struct vm_config *config, pid_t pid, uint64_t start_time, struct vm **ret_vm,
	     struct err *err);

/* End the process if it runs (SIGKILL, waited for), remove its sockets. The disk stays. */
void vm_kill(struct vm *vm);
/* Forget the VM without touching the process. NULL is allowed. */
void vm_release(struct vm *vm);

pid_t vm_pid(const struct vm *vm);
uint64_t vm_start_time(const struct vm *vm);
int vm_pidfd(const struct vm *vm);  /* becomes readable when the process ends */
int vm_ram_fd(const struct vm *vm); /* borrowed */
bool vm_alive(const struct vm *vm);
/* Resident bytes of the process and bytes populated in its RAM. */
int vm_usage(const struct vm *vm, uint64_t *ret_rss_bytes, uint64_t *ret_ram_bytes,
	     struct err *err);

int vm_pause(struct vm *vm, struct err *err); /* QMP stop */
int vm_resume(struct vm *vm,
	      struct err *err); /* QMP cont, from paused, postmigrate or prelaunch */
/* Several at once: all are told before the first is waited for. */
int vm_pause_all(struct vm *const *vms, size_t count, struct err *err);
int vm_resume_all(struct vm *const *vms, size_t count, struct err *err);
int vm_running(struct vm *vm, bool *ret_running, struct err *err);
int vm_powerdown(struct vm *vm, int64_t deadline_ns,
		 struct err *err); /* quit QEMU in an orderly way (QMP quit) */

/*
 * Hot-plug: one device, behind a root port that is kept free for it. `device` is a device and
 * its properties as for QEMU's -device, and for an emulated network card "@" and what its
 * -netdev is to be; neither has an id or a bus. A device is plugged into a running VM, and
 * unplugged before its state is saved. -ETIMEDOUT: the guest keeps it. Nothing happens if it is
 * there, or gone, already.
 */
int vm_plug(struct vm *vm, const char *device, struct err *err);
int vm_unplug(struct vm *vm, int64_t deadline_ns, struct err *err);

/*
 * Device state without RAM of paused VMs into a memfd each, and back into an `incoming` one.
 * Saving is in two steps: the first while the VM runs, so that the second is short (270 KB, 2
 * ms). After saving, the VMs are paused as before. vm_save_forget() lets go of the file, in
 * QEMU, too, and of one that an earlier daemon has left there.
 */
int vm_save_prepare(struct vm *vm, int state_fd, struct err *err);
int vm_save_all(struct vm *const *vms, size_t count, struct err *err);
int vm_save_forget(struct vm *vm, struct err *err);
int vm_load_state(struct vm *vm, int state_fd, struct err *err);

/*
 * The other way: a snapshot in the background. QEMU itself writes the RAM and the device state
 * of one instant into a pipe while the VM runs; what the VM writes meanwhile waits until the
 * page that it is in has been written.
 *
 * vm_background_check(): whether kernel and QEMU can; what refuses, and the remedy, is in the
 * sentence. vm_background_begin(): while the VM runs, all that takes long; QEMU then waits at a
 * gate. `state_fd` becomes a device state to which the devices' sections are still to be added,
 * *ret_stream is the reading end of the pipe, the caller's. RAM should have no holes
 * (ram_populate()): QEMU would fill them now. Until the end no device can be plugged or
 * unplugged. vm_background_open(): for a paused VM, the gate opens: its state is saved, and it
 * runs on; the stream must be read from now on (ram_receive()). vm_background_wait_running():
 * until it runs. vm_background_finish(): when the stream has ended, whether it is whole.
 *
 * vm_background_settle(): until whatever was going on has ended, well or not; the VM runs, or
 * is paused. Nothing happens if there was nothing. Once begun, a stream must be read to its
 * end, and so its gate be opened, even if nobody wants it any more: QEMU might hang otherwise.
 * That of a daemon that was killed is vm_adopt()'s affair.
 */
#define VM_RAM_BLOCK "ram0" /* the guest's RAM in that stream */
int vm_background_check(struct vm *vm, struct err *err);
int vm_background_begin(struct vm *vm, int state_fd, int *ret_stream, struct err *err);
int vm_background_open(const struct vm *vm, int stream, struct err *err);
int vm_background_wait_running(struct vm *vm, struct err *err);
int vm_background_finish(struct vm *vm, struct err *err);
int vm_background_settle(struct vm *vm, struct err *err);

/*
 * Disk. Normally the chain is base ← disk.qcow2 (active). A checkpoint does: vm_disk_prepare()
 * while running: makes next.qcow2 and adds it as a node; vm_disk_switch_all() while paused:
 * disk.qcow2 is frozen and readable by anyone, next.qcow2 active; later, running,
 * vm_disk_merge(): commits next.qcow2 back into disk.qcow2, makes disk.qcow2 active and removes
 * next.qcow2; -ETIMEDOUT leaves it going on. vm_disk_heal() brings the chain back from any
 * instant of that, whoever began it (used on abort and on adoption); it is idempotent. -EBUSY
 * before vm_load_state().
 */
/* A fresh disk.qcow2 over the base, or over the served layer, whose server must answer. */
int vm_disk_create(const struct vm_config *config, struct err *err);
/* A copy of another VM's disk.qcow2, as the VM's own. */
int vm_disk_copy(const char *from, const struct vm_config *config, struct err *err);
int vm_disk_prepare(struct vm *vm, struct err *err);
int vm_disk_switch_all(struct vm *const *vms, size_t count, struct err *err);
int vm_disk_merge(struct vm *vm, int64_t deadline_ns, struct err *err);
int vm_disk_heal(struct vm *vm, int64_t deadline_ns, struct err *err);
int vm_disk_frozen_path(const struct vm *vm, char *ret_path, size_t size, struct err *err);
/* Open the frozen layer for reading. Behind *ret_bytes its file is a hole, which need not be
 * kept (vm_disk_rebase() makes it anew). */
int vm_disk_frozen_open(const struct vm *vm, int *ret_fd, uint64_t *ret_bytes, struct err *err);
/* Point a restored disk.qcow2 at the base's present path (qemu-img rebase -u). */
int vm_disk_rebase(const struct vm_config *config, struct err *err);
/* Layers in use, the base included: 2 outside of a checkpoint, one more while filling. */
int vm_disk_chain_length(struct vm *vm, unsigned int *ret_layers, struct err *err);

/*
 * What changes in the file disk.qcow2 is tracked by QEMU, from one checkpoint to the next, in
 * pages. It is known as long as QEMU lives, whatever becomes of daemons.
 *
 * vm_disk_track(): from now on, relative to `checkpoint`, and no longer to another one. The
 * file must equal what that checkpoint has of it: when it is frozen and the checkpoint is
 * committed, before vm_disk_merge(); or after vm_disk_rebase(), between vm_launch() and
 * vm_load_state(). A checkpoint that fails leaves it alone: what is tracked is right all the
 * same. Where a file system cannot hold what tracking needs, nothing is tracked, and that is no
 * error.
 *
 * vm_disk_tracked(): the checkpoint, -ENOENT when there is none.
 *
 * vm_disk_changes(): the pages of the frozen layer that may differ from what `checkpoint` has
 * of it. -ENOENT: it is not tracked since then, everything may differ. -EBUSY: it is not
 * frozen.
 */
enum { DISK_PAGE_BYTES = 4096, DISK_BLOCK_PAGES = 256 };
struct disk_changes;
int vm_disk_track(struct vm *vm, const char *checkpoint, struct err *err);
int vm_disk_tracked(struct vm *vm, char *ret_checkpoint, size_t size, struct err *err);
int vm_disk_changes(struct vm *vm, const char *checkpoint, struct disk_changes **ret_changes,
		    struct err *err);
void disk_changes_free(struct disk_changes *changes); /* NULL is allowed */
/* How many bytes of the file those pages are. */
uint64_t disk_changes_bytes(const struct disk_changes *changes);
/* Those among the pages of a block, `len` bytes from `offset` (a multiple of a block's size):
 * bit p % 8 of byte p / 8 for page p. Whether there is one. Pages behind the end of the file
 * have changed. Any number of threads. */
bool disk_changes_any(const struct disk_changes *changes, uint64_t offset, uint32_t len,
		      uint8_t ret_bitmap[DISK_BLOCK_PAGES / 8]);

/*
 * A restart need not wait for a large disk: with `served` in the configuration the VM runs on a
 * fresh disk.qcow2 over the checkpoint's layer, which the server hands out, and the chain is
 * base <- served <- disk.qcow2 until the rest has been copied in the background. That is known
 * to QEMU; a daemon that adopts the VM has to know only that the server must be there, which
 * has to live until the fill has ended, and then may end.
 *
 * vm_disk_fill_begin(): begin, or begin again what failed, at so many bytes a second (0: no
 * limit); a VM that had to stop because the server was away goes on. Nothing happens if it goes
 * on already, or has ended. -EBUSY before vm_load_state().
 * vm_disk_fill_state(): how far it is; after its end nothing is left of the served layer.
 * vm_disk_fill_wait(): until it has ended, beginning again what failed; -ETIMEDOUT says how far
 * it is.
 *
 * Meanwhile vm_disk_prepare() and vm_disk_track() are -EBUSY, and vm_disk_heal() sees to it
 * that the fill goes on, without waiting for it. When the server is away the guest's reads wait
 * for some seconds (pausing the VM, too), then the VM stops (run state "io-error").
 */
struct disk_fill {
	bool ended;
	bool going_on;
	bool vm_stopped; /* by an error of its disk */
	uint64_t done_bytes, total_bytes;
};
int vm_disk_fill_begin(struct vm *vm, uint64_t bytes_per_s, struct err *err);
int vm_disk_fill_state(struct vm *vm, struct disk_fill *ret_fill, struct err *err);
int vm_disk_fill_wait(struct vm *vm, int64_t deadline_ns, struct err *err);

#endif
