/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Capture in the background: while all VMs are stopped, QEMU saves device states and protects
 * RAM, then the VMs run, and QEMU sends RAM as it was, each VM's into a pipe that a thread of
 * its own empties into staging.
 *
 * Design notes
 *
 * A VM that writes to a page which has not been sent waits for it. So the threads that read
 * wait for nothing but the pipes, and they end by themselves: at the end of a stream, at an
 * error (which ends QEMU's side, too, with the pipe's closing), or when QEMU is silent for
 * long.
 *
 * QEMU plugs and unplugs nothing while such a snapshot is under way, or waits at its gate. So
 * where the VMs have devices of the host, the gate is only approached when these are unplugged,
 * and they are plugged again when RAM is complete. Elsewhere QEMU prepares while the fabric is
 * drained, and processes communicate again while RAM still arrives.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/parallel.h"
#include "daemon/ckpt.h"
#include "daemon/staging.h"
#include "vm/ram/receive.h"

enum { POPULATE_NICE = 4, PACE_NS = 1000000, STREAM_BYTES = 1 << 20 };

/* The stream of one VM, and who reads it. */
struct ckpt_stream {
	int fd;
	const atomic_bool *all_run;
	struct ram_capture *capture;
	int state_fd;
	bool reading; /* there is a thread */
	pthread_t thread;
	int rc;
	struct err err;
};

static bool host_devices(const struct ckpt *ckpt)
{
	return ckpt->cluster->spec.device[0] != '\0';
}

/* prepare: holes of RAM are filled by it, so what a VM has of RAM, and what is staged of it,
 * come to all of its RAM at most. */

static int check_one(size_t index, void *arg, struct err *err)
{
	return vm_background_check(ckpt_node(arg, index)->vm, err);
}

int background_reserve(struct ckpt *ckpt, uint64_t populated_bytes, struct err *err)
{
	uint64_t bytes = ckpt->cluster->spec.vms * ckpt->cluster->spec.memory_bytes;
	int rc = ckpt_each(ckpt, check_one, err);

	(void)populated_bytes;
	if (rc == 0)
		rc = staging_reserve(ckpt->id, bytes, &ckpt->staging_bytes, &ckpt->direct, err);
	if (rc < 0 || !ckpt->direct)
		return rc;
	return err_set(
		err, ENOMEM,
		"a capture in the background needs %llu MiB of memory for staging, which are not left; "
		"end other clusters, raise stasisd --staging, or set [cluster] capture = compare",
		(unsigned long long)(bytes >> 20));
}

/* precopy: RAM gets all its pages, then QEMU goes to its gate. */

static int populate_one(size_t index, void *arg, struct err *err)
{
	const struct ckpt *ckpt = arg;

	return ram_populate(vm_ram_fd(ckpt_node(ckpt, index)->vm),
			    ckpt->cluster->spec.memory_bytes, err);
}

static int begin_one(size_t index, void *arg, struct err *err)
{
	struct ckpt *ckpt = arg;
	struct ckpt_vm *vm = &ckpt->vms[index];
	struct ckpt_stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return err_sys(err, ENOMEM, "stream of a background snapshot");
	stream->fd = -1;
	stream->all_run = &ckpt->all_run;
	stream->capture = vm->capture;
	stream->state_fd = vm->state_fd;
	vm->stream = stream;
	return vm_background_begin(ckpt_node(ckpt, index)->vm, vm->state_fd, &stream->fd, err);
}

int background_precopy(struct ckpt *ckpt, struct err *err)
{
	int rc = ckpt_captures_create(ckpt, err);

	if (rc == 0)
		rc = parallel_for_nice(ckpt->cluster->spec.vms, ckpt->idle_cpus, POPULATE_NICE,
				       populate_one, ckpt, err);
	return rc < 0 || host_devices(ckpt) ? rc : ckpt_each(ckpt, begin_one, err);
}

int background_release(struct ckpt *ckpt, struct err *err)
{
	int rc = ckpt_release(ckpt, err);

	return rc < 0 || !host_devices(ckpt) ? rc : ckpt_each(ckpt, begin_one, err);
}

/* state: the gates open. */

/* Until the last VM runs, QEMUs whose VMs run already are to leave it the processors: they send
 * no faster than this reads. */
static void stream_pace(void *arg)
{
	const struct ckpt_stream *stream = arg;

	if (!atomic_load(stream->all_run))
		nanosleep(&(struct timespec){.tv_nsec = PACE_NS}, NULL);
}

static void *stream_read(void *arg)
{
	struct ckpt_stream *stream = arg;

	stream->rc = ram_receive(stream->fd, VM_RAM_BLOCK, stream->capture, stream->state_fd,
				 stream_pace, stream, &stream->err);
	if (stream->rc < 0)
		ram_receive_nothing(stream->fd);
	return NULL;
}

static int stream_start(struct ckpt_stream *stream, struct err *err)
{
	int rc = pthread_create(&stream->thread, NULL, stream_read, stream);

	stream->reading = rc == 0;
	return rc ? err_sys(err, rc, "cannot make a thread") : 0;
}

int background_state(struct ckpt *ckpt, struct err *err)
{
	int rc = 0;

	for (unsigned int i = 0; i < ckpt->cluster->spec.vms && rc == 0; i++) {
		struct ckpt_stream *stream = ckpt->vms[i].stream;

		rc = vm_background_open(ckpt_node(ckpt, i)->vm, stream->fd, err);
		if (rc == 0)
			rc = stream_start(stream, err);
	}
	return rc;
}

/* resume: QEMU lets the VMs run by itself. */

int background_resume(struct ckpt *ckpt, struct err *err)
{
	int rc = 0;

	for (unsigned int i = 0; i < ckpt->cluster->spec.vms && rc == 0; i++)
		rc = vm_background_wait_running(ckpt_node(ckpt, i)->vm, err);
	atomic_store(&ckpt->all_run, true);
	for (unsigned int i = 0; i < ckpt->cluster->spec.vms && rc == 0; i++)
		(void)fcntl(ckpt->vms[i].stream->fd, F_SETPIPE_SZ, STREAM_BYTES);
	return ckpt_pause_end(ckpt, rc);
}

/* ram: the rest of the streams. */

/* The stream is over; what became of it. */
static int stream_end(struct ckpt_vm *vm, struct err *err)
{
	struct ckpt_stream *stream = vm->stream;
	int rc;

	if (!stream)
		return 0;
	if (stream->reading)
		pthread_join(stream->thread, NULL);
	if (stream->fd >= 0)
		close(stream->fd);
	rc = stream->rc;
	if (rc < 0 && err)
		*err = stream->err;
	free(stream);
	vm->stream = NULL;
	return rc;
}

static int finish_one(size_t index, void *arg, struct err *err)
{
	struct ckpt *ckpt = arg;
	struct vm *vm = ckpt_node(ckpt, index)->vm;
	struct err stream_err = ERR_INIT;
	int rc_stream, rc;

	if (!ckpt->vms[index].stream)
		return 0;
	rc_stream = stream_end(&ckpt->vms[index], &stream_err);
	rc = vm_background_finish(vm, err);
	/* Of a stream that QEMU has broken off, QEMU knows best why. */
	if (rc == 0 && rc_stream < 0 && err)
		*err = stream_err;
	return rc < 0 ? rc : rc_stream;
}

int background_ram(struct ckpt *ckpt, struct err *err)
{
	return ckpt_each(ckpt, finish_one, err);
}

int background_reopen(struct ckpt *ckpt, struct err *err)
{
	int rc = host_devices(ckpt) ? background_ram(ckpt, err) : 0;

	return rc < 0 ? rc : ckpt_reopen(ckpt, err);
}

/* Failure: gates that are still closed open, and all streams come to their ends. */

static int settle_one(size_t index, void *arg, struct err *err)
{
	struct ckpt *ckpt = arg;
	struct ckpt_stream *stream = ckpt->vms[index].stream;
	struct vm *vm = ckpt_node(ckpt, index)->vm;

	if (stream && stream->fd >= 0 && !stream->reading) {
		vm_background_open(vm, stream->fd, NULL);
		ram_receive_nothing(stream->fd);
	}
	stream_end(&ckpt->vms[index], NULL);
	return vm && vm_alive(vm) ? vm_background_settle(vm, err) : 0;
}

void background_undo(struct ckpt *ckpt)
{
	struct err err = ERR_INIT;

	if (ckpt_each(ckpt, settle_one, &err) < 0)
		log_warn("ckpt=%s %s", ckpt->id, err.msg);
}
