/* SPDX-License-Identifier: BSD-3-Clause */
/* What the daemon asks of the agents of a whole cluster: identity, clock, files, phases. */
#include "daemon/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parallel.h"

enum { ENTROPY_BYTES = 32, FILE_MS = 30000 };

struct guest_work {
	struct cluster *cluster;
	int timeout_ms;
	const char *phase, *ckpt;
};

static void entropy_hex(char ret_hex[2 * ENTROPY_BYTES + 1])
{
	unsigned char bytes[ENTROPY_BYTES];

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		abort();
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(ret_hex + 2 * i, 3, "%02x", bytes[i]);
}

static json_t *peers_json(const struct cluster *cluster)
{
	json_t *peers = json_array();

	for (unsigned int i = 0; i < cluster->spec.vms; i++)
		json_array_append_new(peers, json_pack("{s:s,s:s,s:i}", "name",
						       cluster->nodes[i].config.name, "address",
						       cluster->nodes[i].address, "slots",
						       (int)cluster->spec.slots));
	return peers;
}

static int configure_one(size_t index, void *arg, struct err *err)
{
	const struct guest_work *work = arg;
	struct cluster *cluster = work->cluster;
	struct node *node = &cluster->nodes[index];
	char entropy[2 * ENTROPY_BYTES + 1], mac[18], address[16];
	unsigned int prefix;
	int rc = spec_address(&cluster->spec, (unsigned int)index, address, &prefix, err);

	if (rc < 0)
		return rc;
	entropy_hex(entropy);
	snprintf(mac, sizeof(mac), "52:54:00:77:%02x:%02x", (unsigned int)(index >> 8) & 0xff,
		 (unsigned int)index & 0xff);
	return node_ask(node,
			json_pack("{s:s,s:s,s:i,s:s,s:s,s:i,s:i,s:s,s:I,s:o,s:b}", "op",
				  "configure", "name", node->config.name, "index", (int)index,
				  "mac", mac, "address", address, "prefix", (int)prefix, "mtu",
				  (int)cluster->spec.mtu, "entropy", entropy, "realtime_ns",
				  (json_int_t)clock_real_ns(), "peers", peers_json(cluster),
				  "rdma", (int)cluster->spec.rdma),
			work->timeout_ms, NULL, err);
}

int guest_configure_all(struct cluster *cluster, int timeout_ms, struct err *err)
{
	struct guest_work work = {.cluster = cluster, .timeout_ms = timeout_ms};

	return parallel_each(cluster->spec.vms, configure_one, &work, err);
}

static int clock_one(size_t index, void *arg, struct err *err)
{
	const struct guest_work *work = arg;
	char entropy[2 * ENTROPY_BYTES + 1];

	entropy_hex(entropy);
	return node_ask(&work->cluster->nodes[index],
			json_pack("{s:s,s:I,s:s}", "op", "clock.set", "realtime_ns",
				  (json_int_t)clock_real_ns(), "entropy", entropy),
			work->timeout_ms, NULL, err);
}

int guest_set_clocks(struct cluster *cluster, int timeout_ms, struct err *err)
{
	struct guest_work work = {.cluster = cluster, .timeout_ms = timeout_ms};

	return parallel_each(cluster->spec.vms, clock_one, &work, err);
}

static int ping_one(size_t index, void *arg, struct err *err)
{
	const struct guest_work *work = arg;

	return node_ask(&work->cluster->nodes[index], json_pack("{s:s}", "op", "ping"),
			work->timeout_ms, NULL, err);
}

int guest_ping(struct cluster *cluster, int timeout_ms, struct err *err)
{
	struct guest_work work = {.cluster = cluster, .timeout_ms = timeout_ms};

	return parallel_each(cluster->spec.vms, ping_one, &work, err);
}

static int phase_one(size_t index, void *arg, struct err *err)
{
	const struct guest_work *work = arg;

	return node_ask(&work->cluster->nodes[index],
			json_pack("{s:s,s:s,s:s,s:i}", "op", "phase", "phase", work->phase,
				  "ckpt", work->ckpt, "deadline_ms", work->timeout_ms),
			work->timeout_ms, NULL, err);
}

int guest_phase(struct cluster *cluster, const char *phase, const char *ckpt, int deadline_ms,
		struct err *err)
{
	struct guest_work work = {
		.cluster = cluster, .timeout_ms = deadline_ms, .phase = phase, .ckpt = ckpt};

	return parallel_each(cluster->spec.vms, phase_one, &work, err);
}

static int put_block(struct node *node, const char *guest_path, off_t offset, mode_t mode,
		     bool last, const void *bytes, size_t len, struct err *err)
{
	json_t *write =
		json_pack("{s:s,s:s,s:I,s:i,s:b}", "op", "fs.write", "path", guest_path,
			  "offset", (json_int_t)offset, "mode", (int)mode, "last", (int)last);
	struct rpc_msg reply;
	int rc = node_call(node, write, bytes, len, FILE_MS, &reply, err);

	json_decref(write);
	rpc_msg_clear(&reply);
	return rc;
}

static int put_file(struct node *node, const struct spec_file *file, struct err *err)
{
	CLEANUP_CLOSE int fd = open(file->host_path, O_RDONLY | O_CLOEXEC);
	CLEANUP_FREE char *buf = malloc(RPC_AGENT_BLOB_MAX);
	struct stat st;
	off_t offset = 0;
	bool last;
	int rc;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(err, errno, "[files] cannot open %s", file->host_path);
	if (!buf)
		return err_sys(err, ENOMEM, "[files] %s", file->host_path);
	do {
		ssize_t n = pread(fd, buf, RPC_AGENT_BLOB_MAX, offset);

		if (n < 0)
			return err_sys(err, errno, "[files] cannot read %s", file->host_path);
		last = offset + n >= st.st_size || n == 0;
		rc = put_block(node, file->guest_path, offset, st.st_mode & 07777, last, buf,
			       (size_t)n, err);
		offset += n;
	} while (rc == 0 && !last);
	return rc;
}

static int put_files_one(size_t index, void *arg, struct err *err)
{
	struct cluster *cluster = ((const struct guest_work *)arg)->cluster;
	int rc = 0;

	for (unsigned int i = 0; i < cluster->spec.file_count && rc == 0; i++)
		rc = put_file(&cluster->nodes[index], &cluster->spec.files[i], err);
	return rc;
}

int guest_put_files(struct cluster *cluster, struct err *err)
{
	struct guest_work work = {.cluster = cluster};

	return parallel_each(cluster->spec.vms, put_files_one, &work, err);
}
