/* SPDX-License-Identifier: BSD-3-Clause */
/* A cluster: its VMs, its record on disk, and the right to work on it. */
#ifndef STASIS_DAEMON_CLUSTER_H
#define STASIS_DAEMON_CLUSTER_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/spec.h"
#include "daemon/daemon.h"
#include "daemon/link.h"
#include "vm/ram/capture.h"
#include "vm/vm.h"

/* The operation of a daemon that takes over what an earlier one left; cluster_begin() waits for
 * its end. */
#define CLUSTER_OP_ADOPT "adopt"
/* A short look at disks that are being filled; waited for, too. */
#define CLUSTER_OP_FILL "fill"

/* The operation of a cluster that is a checkpoint's proof (daemon/prove.h), as long as it
 * exists. It is not counted among the clusters of this host. */
#define CLUSTER_OP_VERIFY "verify"

enum { CLUSTER_OP_MAX = 16, CLUSTER_ADDRESS_MAX = 16 };

/* One VM of a cluster. `vm` and `link` are NULL when it does not run. */
struct node {
	struct cluster *cluster;
	unsigned int index;
	struct vm_config config;
	char address[CLUSTER_ADDRESS_MAX];
	struct vm *vm;
	struct link *link;
	pid_t pid; /* the process's, kept after its end for adoption's comparison; 0: never
		      started */
	uint64_t start_time; /* of that process */
	bool dead;           /* its process has ended unasked */
	bool paused;         /* stopped by the operation under way */
	/* What its RAM was at the checkpoint named, or NULL; the holder of the operation's. */
	struct ram_trace *trace;
	char trace_checkpoint[STORE_ID_MAX];
};

/*
 * Fields are written only by the holder of the operation (cluster_begin() … cluster_end())
 * under the daemon's lock, and read by others under that lock. A reference keeps the memory;
 * `removed` says that it is off the list.
 */
struct cluster {
	struct spec spec;
	char dir[IO_PATH_MAX], run_dir[IO_PATH_MAX], image_dir[IO_PATH_MAX];
	struct vm_machine machine;
	char why[512];      /* why this accelerator */
	struct node *nodes; /* SPEC_VMS_MAX of them, so that a node's address never changes;
			       spec.vms are in use */
	pid_t net_pid;
	uint64_t net_start_time;
	json_t *run;                /* the run's record, or NULL */
	int64_t next_checkpoint_ns; /* monotonic; 0: not set */
	bool unattended;            /* the checkpoint under way is the interval's */
	char last_checkpoint[STORE_ID_MAX];
	int64_t last_checkpoint_ns;

	char op[CLUSTER_OP_MAX]; /* "up", "checkpoint", "restart", "down", "adopt", "verify",
				    or empty: nobody works on it */
	char phase[32];          /* of the operation */
	char message[512];       /* what happened last, in one sentence */
	bool dir_exists; /* its record and disks exist: it was started, restarted or adopted */
	bool removed;
	bool forgotten; /* its record is written no more; under the lock of cluster_save() */
	unsigned int refs;
	struct cluster *next;
};

/* Whether it is one that a user knows of. Daemon lock held. */
bool cluster_is_users(const struct cluster *cluster);
/* Find by name, or (name NULL) the only one; takes a reference. -ENOENT. */
int cluster_get(const char *name, struct cluster **ret_cluster, struct err *err);
/* Find or make an empty record for a spec; takes a reference. */
int cluster_get_or_add(const struct spec *spec, struct cluster **ret_cluster, struct err *err);
void cluster_put(struct cluster *cluster);

/* Begin an operation; -EBUSY with the name of the one under way, unless that is one that nobody
 * asked for, which is waited for: an adoption, and but for a checkpoint the interval's. End it;
 * `message` (may be NULL) tells how. */
int cluster_begin(struct cluster *cluster, const char *op, struct err *err);
void cluster_end(struct cluster *cluster, const char *message);
/* The VMs in their order, borrowed; all run. Operation held. */
void cluster_vms(const struct cluster *cluster, struct vm *ret_vms[SPEC_VMS_MAX]);
bool cluster_any_busy(void);
void cluster_phase(struct cluster *cluster, const char *phase);

/* Give the cluster a spec and nodes with their paths, addresses and taps (no processes yet).
 * Operation held. */
int cluster_set_spec(struct cluster *cluster, const struct spec *spec, struct err *err);
/* Fill in each node's machine, image and network members of vm_config. */
void cluster_configure_nodes(struct cluster *cluster);
int cluster_set_image(struct cluster *cluster, const char *image_dir, struct err *err);

/* Write cluster.json durably; any thread may, whoever holds the operation. */
int cluster_save(struct cluster *cluster, struct err *err);
/* From now on saving does nothing: the directory is about to go and must not come back. */
void cluster_forget(struct cluster *cluster);
/* Fill a cluster from its cluster.json. `ret_op` gets the operation that was under way when it
 * was written. */
int cluster_load(struct cluster *cluster, char ret_op[CLUSTER_OP_MAX], struct err *err);

/* The node's VM has come to life: watch its process and open the link to its agent. */
void node_started(struct node *node, struct vm *vm);
/* Keep a trace of its RAM for the next checkpoint, instead of the one before; NULL: none. */
void node_set_trace(struct node *node, struct ram_trace *trace, const char *checkpoint);
/* Forget the VM; `end` ends its process as well. */
void node_drop(struct node *node, bool end);
/* End all processes of the cluster, also those that no record names (a daemon died in between).
 * Operation held. */
void cluster_end_processes(struct cluster *cluster);
/* End the processes, remove disks, record and sockets, take it off the list. Operation held. */
int cluster_remove(struct cluster *cluster, struct err *err);

unsigned int cluster_alive(struct cluster *cluster); /* VMs with a living process */
json_t *cluster_status(struct cluster *cluster);

/* Call an agent; "vm" names the node. */
int cluster_node(struct cluster *cluster, const char *vm, struct node **ret_node,
		 struct err *err);
int node_call(struct node *node, json_t *request, const void *blob, size_t blob_len,
	      int timeout_ms, struct rpc_msg *ret_reply, struct err *err);
/* The same for a reply without blob; takes over `request`; ret_reply (new reference) may be
 * NULL. */
int node_ask(struct node *node, json_t *request, int timeout_ms, json_t **ret_reply,
	     struct err *err);

/* Adopt or clean up what earlier daemons left; called once at start. */
int cluster_adopt_all(struct err *err);

/* Bring every living VM of the cluster back to running on its normal disk chain. Operation
 * held. */
int cluster_heal(struct cluster *cluster, struct err *err);

#endif
