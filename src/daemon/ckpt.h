/* SPDX-License-Identifier: BSD-3-Clause */
/* A checkpoint under way: what its phases share, and the two strategies of capture. */
#ifndef STASIS_DAEMON_CKPT_H
#define STASIS_DAEMON_CKPT_H

#include <stdatomic.h>

#include "base/fault.h"
#include "base/parallel.h"
#include "daemon/cluster.h"
#include "daemon/manifest.h"
#include "vm/ram/capture.h"

struct ckpt_vm {
	struct ram_capture *capture;
	int state_fd;
	struct ckpt_stream *stream; /* of a background snapshot, or NULL */
};

struct ckpt {
	const struct ckpt_strategy *strategy;
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
	atomic_bool all_run; /* of a background snapshot: the pause is over */
	int64_t begin_ns;
	atomic_uint_fast64_t stored_bytes;
	uint64_t to_store_bytes;
};

/* One phase, of all VMs; `after` is the fault point passed when all have done it. */
struct ckpt_phase {
	const char *name;
	int (*run)(struct ckpt *ckpt, struct err *err);
	enum fault_point after;
};

/*
 * How RAM and device states are captured: "compare" copies RAM itself, most of it before the
 * pause; "background" has QEMU send it, after the pause. Both leave the same: staged RAM with
 * its trace, and device states that a restart loads.
 */
struct ckpt_strategy {
	const char *name; /* as [cluster] capture has it */
	/* All phases in their order. */
	const struct ckpt_phase *phases;
	size_t phase_count;
	/* Of "prepare": whether it can be done, and memory for it, where the VMs have so many
	 * bytes of RAM populated; again when the room has changed. */
	int (*reserve)(struct ckpt *ckpt, uint64_t populated_bytes, struct err *err);
	/* After a failure, before the VMs are healed; NULL: there is nothing to end. */
	void (*undo)(struct ckpt *ckpt);
};

/* The strategies' own phases and parts, in ckpt_compare.c and ckpt_background.c. */
int compare_reserve(struct ckpt *ckpt, uint64_t populated_bytes, struct err *err);
int compare_precopy(struct ckpt *ckpt, struct err *err);
int compare_state(struct ckpt *ckpt, struct err *err);
int compare_ram(struct ckpt *ckpt, struct err *err);
int compare_resume(struct ckpt *ckpt, struct err *err);

int background_reserve(struct ckpt *ckpt, uint64_t populated_bytes, struct err *err);
int background_precopy(struct ckpt *ckpt, struct err *err);
int background_release(struct ckpt *ckpt, struct err *err);
int background_state(struct ckpt *ckpt, struct err *err);
int background_resume(struct ckpt *ckpt, struct err *err);
int background_reopen(struct ckpt *ckpt, struct err *err);
int background_ram(struct ckpt *ckpt, struct err *err);
void background_undo(struct ckpt *ckpt);

/* Phases that both have, where one adds something to them. */
int ckpt_release(struct ckpt *ckpt, struct err *err);
int ckpt_reopen(struct ckpt *ckpt, struct err *err);

/* parallel_each() over the VMs, with the checkpoint as the argument. */
int ckpt_each(struct ckpt *ckpt, parallel_fn fn, struct err *err);

/* Staging for all VMs' RAM, still empty. */
int ckpt_captures_create(struct ckpt *ckpt, struct err *err);

/* All VMs run again, or `rc` says why not: the end of the pause. Returns rc. */
int ckpt_pause_end(struct ckpt *ckpt, int rc);

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
