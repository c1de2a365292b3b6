/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest images: built by guest/build-image, or given back by a store. */
#include "daemon/image.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/paths.h"
#include "daemon/cluster.h"
#include "daemon/digest.h"

extern char **environ;

enum { IMAGE_JSON_MAX_BYTES = 1 << 20 };

/* Start the builder with its standard output and error on pipes. */
static int builder_start(char *const argv[], pid_t *ret_pid, int *ret_out, int *ret_err,
			 struct err *err)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none;
	int out[2], errs[2], rc;

	if (pipe2(out, O_CLOEXEC) < 0)
		return err_sys(err, errno, "pipe");
	if (pipe2(errs, O_CLOEXEC) < 0) {
		rc = err_sys(err, errno, "pipe");
		close(out[0]);
		close(out[1]);
		return rc;
	}
	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, out[1], 1);
	posix_spawn_file_actions_adddup2(&actions, errs[1], 2);
	rc = posix_spawn(ret_pid, argv[0], &actions, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	close(out[1]);
	close(errs[1]);
	if (rc != 0) {
		close(out[0]);
		close(errs[0]);
		return err_sys(err, rc, "cannot start %s", argv[0]);
	}
	*ret_out = out[0];
	*ret_err = errs[0];
	return 0;
}

/* Pass the builder's lines on as progress; keep the last one for an error's sentence. */
static void builder_follow(FILE *lines, struct progress *progress, char *ret_last, size_t size)
{
	CLEANUP_FREE char *line = NULL;
	size_t room = 0;
	ssize_t len;

	snprintf(ret_last, size, "it said nothing");
	while ((len = getline(&line, &room, lines)) > 0) {
		line[strcspn(line, "\n")] = '\0';
		if (!line[0])
			continue;
		snprintf(ret_last, size, "%s", line);
		progress_send(progress, "image", 0, 0, "steps", line);
		log_debug("build-image: %s", line);
	}
}

static int builder_run(char *const argv[], struct progress *progress, char *ret_dir,
		       size_t size, struct err *err)
{
	CLEANUP_FCLOSE FILE *out = NULL;
	CLEANUP_FCLOSE FILE *errs = NULL;
	char last[512];
	int out_fd = -1, err_fd = -1, status;
	pid_t pid;
	int rc = builder_start(argv, &pid, &out_fd, &err_fd, err);

	if (rc < 0)
		return rc;
	out = fdopen(out_fd, "r");
	errs = fdopen(err_fd, "r");
	if (!out || !errs)
		abort();
	builder_follow(errs, progress, last, sizeof(last));
	if (!fgets(ret_dir, (int)size, out))
		ret_dir[0] = '\0';
	ret_dir[strcspn(ret_dir, "\n")] = '\0';
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || ret_dir[0] != '/')
		return err_set(err, EIO, "the guest image could not be built: %s", last);
	return 0;
}

int image_build(const struct spec *spec, struct progress *progress, char *ret_dir, size_t size,
		struct err *err)
{
	char builder[IO_PATH_MAX], agent[IO_PATH_MAX], init[IO_PATH_MAX], packages[1024];
	char *argv[12];
	int argc = 0;
	int rc = paths_program("build-image", builder, sizeof(builder), err);

	if (rc == 0)
		rc = paths_program("stasis-agent", agent, sizeof(agent), err);
	if (rc == 0)
		rc = paths_program("stasis-init", init, sizeof(init), err);
	if (rc < 0)
		return rc;
	snprintf(packages, sizeof(packages), "%s", spec->packages);
	argv[argc++] = builder;
	argv[argc++] = (char *)"--agent";
	argv[argc++] = agent;
	argv[argc++] = (char *)"--init";
	argv[argc++] = init;
	if (packages[0]) {
		argv[argc++] = (char *)"--packages";
		argv[argc++] = packages;
	}
	if (spec->image[0]) {
		argv[argc++] = (char *)"--base";
		argv[argc++] = (char *)spec->image;
	}
	argv[argc] = NULL;
	progress_send(progress, "image", 0, 0, "steps", "looking for the guest image");
	return builder_run(argv, progress, ret_dir, size, err);
}

static int image_read(const char *image_dir, json_t **ret_image, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	char path[IO_PATH_MAX];
	json_error_t problem;
	size_t len;
	int rc = io_path(path, sizeof(path), err, "%s/image.json", image_dir);

	if (rc == 0)
		rc = io_read_file(path, IMAGE_JSON_MAX_BYTES, &text, &len, err);
	if (rc < 0)
		return rc;
	*ret_image = json_loadb(text, len, 0, &problem);
	if (!json_is_object(*ret_image)) {
		json_decref(*ret_image);
		return err_set(err, EPROTO, "%s: %s at line %d", path, problem.text,
			       problem.line);
	}
	return 0;
}

/* The path of one of the image's files, named by a member of image.json; its text members. */
static int image_file(const json_t *image, const char *image_dir, const char *key,
		      char *ret_path, size_t size, struct err *err)
{
	const char *name;
	int rc = rpc_get_str(image, key, &name, err);

	return rc < 0 ? rc : io_path(ret_path, size, err, "%s/%s", image_dir, name);
}

static int image_text(const json_t *image, const char *key, char *ret_text, size_t size,
		      struct err *err)
{
	const char *text;
	int rc = rpc_get_str(image, key, &text, err);

	return rc < 0 ? rc : io_path(ret_text, size, err, "%s", text);
}

int cluster_set_image(struct cluster *cluster, const char *image_dir, struct err *err)
{
	struct vm_config image = {0};
	json_t *json;
	int rc = image_read(image_dir, &json, err);

	if (rc < 0)
		return rc;
	rc = image_file(json, image_dir, "kernel", image.kernel, sizeof(image.kernel), err);
	if (rc == 0)
		rc = image_file(json, image_dir, "initrd", image.initrd, sizeof(image.initrd),
				err);
	if (rc == 0)
		rc = image_file(json, image_dir, "disk", image.base_disk,
				sizeof(image.base_disk), err);
	if (rc == 0)
		rc = image_text(json, "disk_format", image.base_format,
				sizeof(image.base_format), err);
	if (rc == 0)
		rc = image_text(json, "cmdline", image.cmdline, sizeof(image.cmdline), err);
	json_decref(json);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&the_daemon.lock);
	if (image_dir != cluster->image_dir)
		snprintf(cluster->image_dir, sizeof(cluster->image_dir), "%s", image_dir);
	for (unsigned int i = 0; i < cluster->spec.vms; i++) {
		struct vm_config *config = &cluster->nodes[i].config;

		memcpy(config->kernel, image.kernel, sizeof(image.kernel));
		memcpy(config->initrd, image.initrd, sizeof(image.initrd));
		memcpy(config->base_disk, image.base_disk, sizeof(image.base_disk));
		memcpy(config->base_format, image.base_format, sizeof(image.base_format));
		memcpy(config->cmdline, image.cmdline, sizeof(image.cmdline));
	}
	pthread_mutex_unlock(&the_daemon.lock);
	return 0;
}

/* The image's files, with the member of `refs` that is theirs. */
#define IMAGE_FILES(refs)                                                 \
	{                                                                 \
		{"kernel", &(refs)->kernel}, {"initrd", &(refs)->initrd}, \
			{"disk", &(refs)->disk},                          \
	}

int image_put(const char *image_dir, struct store_txn *txn, struct image_refs *ret_refs,
	      struct err *err)
{
	const struct {
		const char *key;
		struct stream_ref *ref;
	} files[] = IMAGE_FILES(ret_refs);
	char path[IO_PATH_MAX];
	json_t *image;
	int rc = image_read(image_dir, &image, err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]) && rc == 0; i++) {
		rc = image_file(image, image_dir, files[i].key, path, sizeof(path), err);
		if (rc == 0)
			rc = store_txn_put_file(txn, path, files[i].ref, NULL, err);
	}
	if (rc == 0)
		rc = image_text(image, "disk_format", ret_refs->disk_format,
				sizeof(ret_refs->disk_format), err);
	if (rc == 0)
		rc = image_text(image, "cmdline", ret_refs->cmdline, sizeof(ret_refs->cmdline),
				err);
	json_decref(image);
	return rc;
}

bool image_is(const char *image_dir, const struct image_refs *refs)
{
	const struct {
		const char *key;
		const struct stream_ref *ref;
	} files[] = IMAGE_FILES(refs);
	struct image_refs here = {0};
	char path[IO_PATH_MAX];
	json_t *image;
	bool same;

	if (image_read(image_dir, &image, NULL) < 0)
		return false;
	same = image_text(image, "disk_format", here.disk_format, sizeof(here.disk_format),
			  NULL) == 0 &&
	       image_text(image, "cmdline", here.cmdline, sizeof(here.cmdline), NULL) == 0 &&
	       !strcmp(here.disk_format, refs->disk_format) &&
	       !strcmp(here.cmdline, refs->cmdline);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]) && same; i++)
		same = image_file(image, image_dir, files[i].key, path, sizeof(path), NULL) ==
			       0 &&
		       store_file_is(the_daemon.store, path, files[i].ref);
	json_decref(image);
	return same;
}

static int file_create(const char *dir, const char *name, int *ret_fd, struct err *err)
{
	char path[IO_PATH_MAX];
	int rc = io_path(path, sizeof(path), err, "%s/%s", dir, name);

	if (rc < 0)
		return rc;
	*ret_fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	return *ret_fd < 0 ? err_sys(err, errno, "cannot create %s", path) : 0;
}

/* Fill the image's files in `dir` from the store, durably. */
static int image_fill(const char *dir, const struct image_refs *refs, struct err *err)
{
	static const char *const names[] = {"vmlinux", "initrd.img", "disk.img"};
	struct store_target targets[] = {
		{"kernel", refs->kernel, -1},
		{"initrd", refs->initrd, -1},
		{"disk", refs->disk, -1},
	};
	int rc = 0;

	for (size_t i = 0; i < 3 && rc == 0; i++)
		rc = file_create(dir, names[i], &targets[i].fd, err);
	if (rc == 0)
		rc = store_fill(the_daemon.store, targets, 3, NULL, err);
	for (size_t i = 0; i < 3; i++) {
		if (rc == 0 && fsync(targets[i].fd) < 0)
			rc = err_sys(err, errno, "cannot fsync %s/%s", dir, names[i]);
		if (targets[i].fd >= 0)
			close(targets[i].fd);
	}
	return rc;
}

static int image_write_json(const char *dir, const struct image_refs *refs, struct err *err)
{
	char path[IO_PATH_MAX];
	CLEANUP_FREE char *text = NULL;
	json_t *json = json_pack("{s:i,s:s,s:s,s:s,s:s,s:s}", "version", 1, "kernel", "vmlinux",
				 "initrd", "initrd.img", "disk", "disk.img", "disk_format",
				 refs->disk_format, "cmdline", refs->cmdline);
	int rc = io_path(path, sizeof(path), err, "%s/image.json", dir);

	text = json ? json_dumps(json, JSON_INDENT(1)) : NULL;
	json_decref(json);
	if (rc < 0)
		return rc;
	return text ? io_replace_file(path, text, strlen(text), 0600, err)
		    : err_sys(err, ENOMEM, "cannot write %s", path);
}

int image_get(const struct image_refs *refs, struct progress *progress, char *ret_dir,
	      size_t size, struct err *err)
{
	static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
	char tmp[IO_PATH_MAX], key[DIGEST_HEX_BYTES], path[IO_PATH_MAX];
	struct digest *digest = digest_new();
	int rc;

	digest_add(digest, refs->kernel.root.bytes, CHUNK_ID_BYTES);
	digest_add(digest, refs->initrd.root.bytes, CHUNK_ID_BYTES);
	digest_add(digest, refs->disk.root.bytes, CHUNK_ID_BYTES);
	digest_add(digest, refs->disk_format, strlen(refs->disk_format) + 1);
	digest_add(digest, refs->cmdline, strlen(refs->cmdline) + 1);
	digest_end(digest, key);
	rc = io_path(ret_dir, size, err, "%s/restored/%s", the_daemon.cache_dir, key);
	if (rc == 0)
		rc = io_path(path, sizeof(path), err, "%s/image.json", ret_dir);
	if (rc == 0)
		rc = io_path(tmp, sizeof(tmp), err, "%s.part", ret_dir);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&one_at_a_time);
	if (access(path, F_OK) == 0)
		goto out;
	progress_send(progress, "image", 0, 0, "steps",
		      "taking the guest image out of the store");
	rc = io_remove_all(tmp, err);
	if (rc == 0)
		rc = io_mkdir_all(tmp, 0700, err);
	if (rc == 0)
		rc = image_fill(tmp, refs, err);
	if (rc == 0)
		rc = image_write_json(tmp, refs, err);
	if (rc == 0 && rename(tmp, ret_dir) < 0)
		rc = err_sys(err, errno, "cannot rename %s", tmp);
	if (rc == 0)
		rc = io_sync_parent(ret_dir, err);
	if (rc < 0)
		io_remove_all(tmp, NULL);
out:
	pthread_mutex_unlock(&one_at_a_time);
	return rc;
}
