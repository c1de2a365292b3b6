/* SPDX-License-Identifier: BSD-3-Clause */
/* A checkpoint under way: what its phases share. */
#ifndef STASIS_DAEMON_CKPT_H
#define STASIS_DAEMON_CKPT_H

#include <stdatomic.h>

#include "daemon/cluster.h"
#include "daemon/manifest.h"
#include "vm/ram/capture.h"

struct ckpt_vm {
	struct ram_capture *capture;
	int state_fd;
};

struct ckpt {
	struct cluster *cluster;
	struct progress *progress;
	const char *tag;
	char id[STORE_ID_MAX];
	struct store_txn *txn;
	struct ckpt_vm *vms;
	struct manifest_doc doc;
	struct store_cost image_cost; /* of the guest image, if the store did not have it */
	uint64_t staging_bytes;       /* taken of the budget */
	size_t idle_cpus;             /* what the guests leave to the work beside them */
	bool direct;    /* staging does not fit: RAM is written to the store while the VMs are
			   stopped */
	bool suspended; /* agents have been asked to drain, and not all are open again */
	bool committed;
	int64_t begin_ns;
	atomic_uint_fast64_t stored_bytes;
	uint64_t to_store_bytes;
};

static inline struct node *ckpt_node(const struct ckpt *ckpt, size_t index)
{
	return &ckpt->cluster->nodes[index];
}

/* The RAM of stopped VMs straight into the store, where staging does not fit. */
int ckpt_put_ram(struct ckpt *ckpt, struct err *err);

/* Everything else of the VMs that is captured: staged RAM, device states, frozen disk layers.
 * What did not change since an earlier checkpoint is not looked at. */
int ckpt_put_all(struct ckpt *ckpt, struct err *err);

/* After the commit: later checkpoints are compared with this one. */
void ckpt_keep_traces(struct ckpt *ckpt);

#endif
