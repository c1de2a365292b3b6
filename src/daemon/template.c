/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Templates: a VM booted once, kept in the cache, of which clusters are made by cloning.
 *
 * A template is the state of a VM whose agent has just answered and whose network card has
 * never been up: RAM and device state as sparse images, the disk as a qcow2 layer over the
 * image's base disk. A clone's disk is a copy of that small layer (the base is shared); its RAM
 * is a copy of the populated pages, because a guest's RAM must be a shared mapping of its own
 * from the start, or its device state could not be saved without it later.
 */
#include "daemon/template.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/hex.h"
#include "base/log.h"
#include "base/parallel.h"
#include "daemon/cluster.h"
#include "daemon/digest.h"
#include "daemon/link.h"
#include "daemon/process.h"
#include "vm/net/net.h"
#include "vm/ram/capture.h"

enum { BOOT_MS = 180000, TEMPLATE_FORMAT = 2, TEMPLATE_JSON_MAX = 64 << 10 };

int template_ram_fd(uint64_t bytes, struct err *err)
{
	int fd = memfd_create("stasis-ram", MFD_CLOEXEC);

	if (fd < 0)
		return err_sys(err, errno, "cannot create memory for a VM");
	if (ftruncate(fd, (off_t)bytes) < 0) {
		int rc = err_sys(err, errno, "cannot size memory for a VM");

		close(fd);
		return rc;
	}
	return fd;
}

/* Which file this is, not only what it is called: an image that was built anew is another one
 * under its old name. */
static void digest_add_file(struct digest *digest, const char *path)
{
	struct stat st = {0};
	char text[128];

	if (stat(path, &st) < 0)
		log_debug("%s cannot be looked at; QEMU will say so", path);
	snprintf(text, sizeof(text), "%llu %llu %llu %lld.%09ld", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino, (unsigned long long)st.st_size,
		 (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	digest_add(digest, path, strlen(path) + 1);
	digest_add(digest, text, strlen(text) + 1);
}

static void template_key(const struct vm_config *like, char ret_key[DIGEST_HEX_BYTES])
{
	struct digest *digest = digest_new();
	char numbers[128];

	snprintf(numbers, sizeof(numbers), "%d %llu %u %u", TEMPLATE_FORMAT,
		 (unsigned long long)like->memory_bytes, like->cpus, like->host_mtu);
	digest_add_file(digest, like->kernel);
	digest_add_file(digest, like->initrd);
	digest_add_file(digest, like->base_disk);
	digest_add(digest, like->cmdline, strlen(like->cmdline) + 1);
	digest_add(digest, like->machine.qemu_version, strlen(like->machine.qemu_version) + 1);
	digest_add(digest, like->machine.machine, strlen(like->machine.machine) + 1);
	digest_add(digest, like->machine.accel, strlen(like->machine.accel) + 1);
	digest_add(digest, like->machine.cpu, strlen(like->machine.cpu) + 1);
	digest_add(digest, numbers, strlen(numbers));
	digest_end(digest, ret_key);
}

static json_t *image_ref_to_json(const struct simg_ref *ref)
{
	char hex[2 * SIMG_HASH_BYTES + 1];

	hex_encode(ref->root, sizeof(ref->root), hex);
	return json_pack("{s:s, s:I, s:I}", "root", hex, "logical_bytes",
			 (json_int_t)ref->logical_bytes, "file_bytes",
			 (json_int_t)ref->file_bytes);
}

static int image_ref_from_json(const json_t *json, struct simg_ref *ret_ref, struct err *err)
{
	int64_t logical_bytes, file_bytes;
	const char *root;
	int rc = rpc_get_str(json, "root", &root, err);

	if (rc == 0)
		rc = rpc_get_int(json, "logical_bytes", 0, SIMG_LOGICAL_MAX, &logical_bytes,
				 err);
	if (rc == 0)
		rc = rpc_get_int(json, "file_bytes", 0, INT64_MAX, &file_bytes, err);
	if (rc == 0 && (strlen(root) != 2 * sizeof(ret_ref->root) ||
			!hex_decode(root, ret_ref->root, sizeof(ret_ref->root))))
		rc = err_set(err, EPROTO, "member \"root\" is no hash");
	if (rc < 0)
		return rc;
	ret_ref->logical_bytes = (uint64_t)logical_bytes;
	ret_ref->file_bytes = (uint64_t)file_bytes;
	return 0;
}

static int template_load(struct template *template, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	char path[IO_PATH_MAX];
	int64_t format;
	json_t *json;
	size_t len;
	int rc = io_path(path, sizeof(path), err, "%s/template.json", template->dir);

	if (rc == 0)
		rc = io_read_file(path, TEMPLATE_JSON_MAX, &text, &len, err);
	if (rc < 0)
		return rc;
	json = json_loadb(text, len, 0, NULL);
	rc = rpc_get_int(json, "format", TEMPLATE_FORMAT, TEMPLATE_FORMAT, &format, err);
	if (rc == 0)
		rc = image_ref_from_json(json_object_get(json, "ram"), &template->ram, err);
	if (rc == 0)
		rc = image_ref_from_json(json_object_get(json, "state"), &template->state, err);
	json_decref(json);
	return rc;
}

static int image_of_fd(const char *dir, const char *name, int fd, struct simg_ref *ret_ref,
		       struct err *err)
{
	char path[IO_PATH_MAX];
	struct simg_source source;
	int rc = io_path(path, sizeof(path), err, "%s/%s", dir, name);

	if (rc == 0)
		rc = simg_source_fd(fd, &source, err);
	if (rc < 0)
		return rc;
	rc = simg_write(path, &source, 0, NULL, NULL, ret_ref, err);
	free(source.arg);
	return rc;
}

/* Pause the booted VM and write down what it is. */
static int template_capture(const struct vm_config *config, struct vm *vm, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	CLEANUP_CLOSE int state = memfd_create("stasis-state", MFD_CLOEXEC);
	char path[IO_PATH_MAX];
	struct simg_ref ram_ref, state_ref;
	json_t *json;
	int rc;

	if (state < 0)
		return err_sys(err, errno, "cannot create memory for device state");
	rc = vm_save_prepare(vm, state, err);
	if (rc == 0)
		rc = vm_pause(vm, err);
	if (rc == 0)
		rc = vm_save_all(&vm, 1, err);
	if (rc == 0)
		rc = image_of_fd(config->dir, "ram.simg", vm_ram_fd(vm), &ram_ref, err);
	if (rc == 0)
		rc = image_of_fd(config->dir, "state.simg", state, &state_ref, err);
	if (rc == 0)
		rc = io_path(path, sizeof(path), err, "%s/template.json", config->dir);
	if (rc < 0)
		return rc;
	json = json_pack("{s:i,s:o,s:o}", "format", TEMPLATE_FORMAT, "ram",
			 image_ref_to_json(&ram_ref), "state", image_ref_to_json(&state_ref));
	text = json_dumps(json, JSON_INDENT(1));
	json_decref(json);
	return io_replace_file(path, text, strlen(text), 0600, err);
}

/* An agent in a template has nobody to relay to. */
static int no_requests(const json_t *request, json_t *reply, char **ret_blob,
		       size_t *ret_blob_len, void *arg, struct err *err)
{
	(void)request;
	(void)reply;
	(void)ret_blob;
	(void)ret_blob_len;
	(void)arg;
	return err_set(err, EOPNOTSUPP, "this VM is a template");
}

static void no_owner(void *arg)
{
	(void)arg;
}

static int template_await_agent(const struct vm_config *config, struct err *err)
{
	json_t *ping = json_pack("{s:s}", "op", "ping");
	char path[IO_PATH_MAX + 16];
	struct rpc_msg reply;
	struct link *link;
	int rc;

	snprintf(path, sizeof(path), "%s/agent.sock", config->run_dir);
	link = link_open(path, "template", no_requests, no_owner, NULL);
	rc = link_call(link, ping, NULL, 0, deadline_in_ms(BOOT_MS), &reply, err);
	rpc_msg_clear(&reply);
	json_decref(ping);
	link_close(link);
	if (rc < 0)
		err_prefix(err, "the template VM did not boot (see %s/console.log)",
			   config->dir);
	return rc;
}

static int template_boot_in(struct vm_config *config, struct err *err)
{
	CLEANUP_CLOSE int ram = template_ram_fd(config->memory_bytes, err);
	struct vm *vm = NULL;
	int rc = ram < 0 ? ram : vm_disk_create(config, err);

	if (rc == 0)
		rc = vm_launch(config, ram, false, &vm, err);
	if (rc < 0)
		return rc;
	rc = vm_resume(vm, err);
	if (rc == 0)
		rc = template_await_agent(config, err);
	if (rc == 0)
		rc = template_capture(config, vm, err);
	vm_kill(vm);
	vm_release(vm);
	return rc;
}

/* Boot a template in `dir`.part and rename it into place. */
static int template_boot(const struct vm_config *like, const char *dir, const char *key,
			 struct err *err)
{
	struct vm_config *config = malloc(sizeof(*config));
	uint64_t net_start = 0;
	pid_t net_pid = 0;
	int rc;

	if (!config)
		return err_sys(err, ENOMEM, "template");
	*config = *like;
	snprintf(config->name, sizeof(config->name), "template");
	snprintf(config->tap, sizeof(config->tap), "tap0");
	snprintf(config->genid, sizeof(config->genid), "00000000-0000-4000-8000-000000000001");
	rc = io_path(config->dir, sizeof(config->dir), err, "%s.part", dir);
	if (rc == 0)
		rc = io_path(config->run_dir, sizeof(config->run_dir), err, "%s/t/%.12s",
			     the_daemon.run_dir, key);
	if (rc == 0)
		rc = io_remove_all(config->dir, err);
	if (rc == 0)
		rc = io_mkdir_all(config->dir, 0700, err);
	if (rc == 0)
		rc = io_mkdir_all(config->run_dir, 0700, err);
	if (rc == 0)
		rc = net_create(config->run_dir, config->host_mtu, &net_pid, &net_start, err);
	if (rc == 0) {
		config->net_pid = net_pid;
		rc = template_boot_in(config, err);
		net_destroy(net_pid, net_start);
	}
	if (rc == 0 && rename(config->dir, dir) < 0)
		rc = err_sys(err, errno, "cannot rename %s", config->dir);
	if (rc == 0)
		rc = io_sync_parent(dir, err);
	io_remove_all(config->run_dir, NULL);
	free(config);
	return rc;
}

int template_get(const struct vm_config *like, struct progress *progress,
		 struct template *ret_template, struct err *err)
{
	char key[DIGEST_HEX_BYTES], lock_path[IO_PATH_MAX];
	CLEANUP_CLOSE int lock = -1;
	struct err missing = ERR_INIT;
	int rc;

	template_key(like, key);
	rc = io_path(lock_path, sizeof(lock_path), err, "%s/templates", the_daemon.cache_dir);
	if (rc == 0)
		rc = io_mkdir_all(lock_path, 0700, err);
	if (rc == 0)
		rc = io_path(lock_path, sizeof(lock_path), err, "%s/templates/lock",
			     the_daemon.cache_dir);
	if (rc == 0)
		rc = io_path(ret_template->dir, sizeof(ret_template->dir), err,
			     "%s/templates/%s", the_daemon.cache_dir, key);
	if (rc < 0)
		return rc;
	lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (lock < 0 || flock(lock, LOCK_EX) < 0)
		return err_sys(err, errno, "cannot lock %s", lock_path);
	if (template_load(ret_template, &missing) == 0)
		return 0;
	progress_send(progress, "template", 0, 1, "steps",
		      "booting a template VM (once for each kind of VM)");
	rc = io_remove_all(ret_template->dir, err);
	if (rc == 0)
		rc = template_boot(like, ret_template->dir, key, err);
	return rc < 0 ? rc : template_load(ret_template, err);
}

struct clone_work {
	const struct template *template;
	const struct vm_config **configs;
	int *rams;
};

static int clone_disk(size_t index, void *arg, struct err *err)
{
	const struct clone_work *work = arg;
	const struct vm_config *config = work->configs[index];
	char from[IO_PATH_MAX];
	int rc = io_mkdir_all(config->dir, 0700, err);

	if (rc == 0)
		rc = io_mkdir_all(config->run_dir, 0700, err);
	if (rc == 0)
		rc = io_path(from, sizeof(from), err, "%s/disk.qcow2", work->template->dir);
	return rc < 0 ? rc : vm_disk_copy(from, config, err);
}

static int clone_read(const struct template *template, const char *name,
		      const struct simg_ref *ref, int fd, struct err *err)
{
	char path[IO_PATH_MAX];
	int rc = io_path(path, sizeof(path), err, "%s/%s", template->dir, name);

	return rc < 0 ? rc : simg_read(path, ref, fd, 0, NULL, NULL, err);
}

/* The first clone's RAM is read and checked, the others are copied from it. */
static int clone_rams(const struct clone_work *work, unsigned int count, struct err *err)
{
	uint64_t bytes = work->configs[0]->memory_bytes;
	int rc = 0;

	for (unsigned int i = 0; i < count && rc == 0; i++) {
		work->rams[i] = template_ram_fd(bytes, err);
		if (work->rams[i] < 0)
			rc = work->rams[i];
		else if (i == 0)
			rc = clone_read(work->template, "ram.simg", &work->template->ram,
					work->rams[0], err);
		else
			rc = ram_clone(work->rams[0], work->rams[i], bytes, 0, err);
	}
	return rc;
}

int template_clone(const struct template *template, const struct vm_config *configs[],
		   unsigned int count, int *ret_rams, int *ret_state, struct err *err)
{
	struct clone_work work = {.template = template, .configs = configs, .rams = ret_rams};
	int rc;

	for (unsigned int i = 0; i < count; i++)
		ret_rams[i] = -1;
	*ret_state = memfd_create("stasis-state", MFD_CLOEXEC);
	if (*ret_state < 0)
		return err_sys(err, errno, "cannot create memory for device state");
	rc = parallel_for(count, 0, clone_disk, &work, err);
	if (rc == 0)
		rc = clone_rams(&work, count, err);
	if (rc == 0)
		rc = clone_read(template, "state.simg", &template->state, *ret_state, err);
	if (rc == 0)
		return 0;
	for (unsigned int i = 0; i < count; i++)
		if (ret_rams[i] >= 0)
			close(ret_rams[i]);
	close(*ret_state);
	return rc;
}
