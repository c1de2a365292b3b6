/* SPDX-License-Identifier: BSD-3-Clause */
/* The job: who the ranks are and on which nodes they run. Constant between job_open() and
 * job_close(). */
#ifndef STASIS_ARMCI_CORE_JOB_H
#define STASIS_ARMCI_CORE_JOB_H

#include <mpi.h>
#include <stdbool.h>

#include "armci/core/cpu.h"
#include "base/err.h"

struct job {
	MPI_Comm comm; /* our own duplicate; ARMCI's world, errors return */
	int rank, size;
	int node, node_count;     /* nodes are numbered in the order of their lowest ranks */
	int node_rank, node_size; /* mine within my node */
	int *node_of;             /* [size] node of each rank */
	int *node_rank_of;        /* [size] place of each rank within its node, by rank */
	int *node_start;          /* [node_count + 1] where each node begins in members */
	int *members;             /* [size] ranks, node after node, ascending within a node */
	int domain_count;         /* runs of consecutive ranks that are on one node */
	int *domain_of;           /* [size] run of each rank */
	int *domain_start;        /* [domain_count + 1] first rank of each run */
	bool oversubscribed; /* the ranks of this machine outnumber the cores they may use */
	bool threaded;       /* MPI_THREAD_MULTIPLE: calls may come from several threads */
};

extern CPU_NEAR_DATA struct job job;

/*
 * Collective over `comm`, after settings_read(). Two ranks are on one node if host name, boot
 * id, IPC and PID namespace are the same; with settings.node_ranks the ranks are cut into runs
 * of that many instead, with settings.nodes dealt out to that many nodes in turn.
 */
int job_open(MPI_Comm comm, struct err *err);
void job_close(void);

static inline int job_node_size(int node)
{
	return job.node_start[node + 1] - job.node_start[node];
}

/* The rank that is at `place` on `node`. */
static inline int job_member(int node, int place)
{
	return job.members[job.node_start[node] + place];
}

static inline bool job_is_near(int rank)
{
	return job.node_of[rank] == job.node;
}

#endif
