/* SPDX-License-Identifier: BSD-3-Clause */
/* Between a cluster and the manifest of its checkpoint (docs/formats/manifest.md). */
#ifndef STASIS_DAEMON_MANIFEST_H
#define STASIS_DAEMON_MANIFEST_H

#include <jansson.h>

#include "base/err.h"
#include "daemon/cluster.h"
#include "daemon/image.h"

enum { MANIFEST_PHASES = 32 };

struct manifest_vm {
	struct stream_ref ram, state, disk;
};

struct manifest_phase {
	const char *name;
	int64_t start_ns, duration_ns; /* since the checkpoint's begin */
};

/* What a manifest says beyond what the cluster itself knows. */
struct manifest_doc {
	const char *tag; /* or NULL */
	int64_t created_ns, pause_ns, total_ns;
	bool pause_includes_write;
	struct image_refs image;
	struct manifest_vm *vms;
	struct manifest_phase phases[MANIFEST_PHASES];
	size_t phase_count;
	struct store_cost cost;
	json_t *fabric; /* report of the release, owned, or NULL */
};

json_t *manifest_make(struct cluster *cluster, const struct manifest_doc *doc);

/* What a restart needs of a manifest that the store has checked. */
struct manifest_restore {
	struct spec spec;
	struct vm_machine machine;
	struct image_refs image;
	char image_dir[IO_PATH_MAX]; /* where the image was; perhaps it still is */
	json_t *run;                 /* new reference or NULL */
	struct manifest_vm vms[SPEC_VMS_MAX];
};

int manifest_restore(const json_t *manifest, struct manifest_restore *ret_restore,
		     struct err *err);

#endif
