/* SPDX-License-Identifier: BSD-3-Clause */
/* The job: who is on which node, from what every rank tells about the machine it runs on. */
#include "armci/core/job.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "armci/core/settings.h"
#include "base/cleanup.h"

struct job job;

enum { NAME_LEN = 96, BOOT_LEN = 40 };

/*
 * What a rank tells about its machine. The boot id alone would not do: virtual machines that
 * were cloned share it. The namespaces decide whether the ranks can open each other's shared
 * memory.
 */
struct identity {
	char host[NAME_LEN];
	char boot[BOOT_LEN];
	uint64_t ipc, pid; /* namespaces */
	cpu_set_t cores;   /* that the rank may use */
};

static uint64_t namespace_of(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? st.st_ino : 0;
}

static void identity_fill(struct identity *ret_identity)
{
	CLEANUP_CLOSE int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	memset(ret_identity, 0, sizeof(*ret_identity));
	gethostname(ret_identity->host, sizeof(ret_identity->host) - 1);
	if (fd >= 0 && read(fd, ret_identity->boot, sizeof(ret_identity->boot) - 1) < 0)
		ret_identity->boot[0] = '\0';
	ret_identity->ipc = namespace_of("/proc/self/ns/ipc");
	ret_identity->pid = namespace_of("/proc/self/ns/pid");
	if (sched_getaffinity(0, sizeof(ret_identity->cores), &ret_identity->cores) < 0)
		for (int i = 0; i < CPU_SETSIZE && i < sysconf(_SC_NPROCESSORS_ONLN); i++)
			CPU_SET(i, &ret_identity->cores);
}

static int machine_compare(const struct identity *a, const struct identity *b)
{
	int ret = strcmp(a->host, b->host);

	return ret ? ret : strcmp(a->boot, b->boot);
}

static int node_compare(const struct identity *a, const struct identity *b)
{
	int ret = machine_compare(a, b);

	if (ret == 0)
		ret = (a->ipc > b->ipc) - (a->ipc < b->ipc);
	if (ret == 0)
		ret = (a->pid > b->pid) - (a->pid < b->pid);
	return ret;
}

/* Ranks of one node are adjacent after sorting by this, and ascending. */
static int order_compare(const void *a, const void *b, void *identities)
{
	int rank_a = *(const int *)a, rank_b = *(const int *)b;
	const struct identity *all = identities;
	int ret = node_compare(&all[rank_a], &all[rank_b]);

	return ret ? ret : (rank_a > rank_b) - (rank_a < rank_b);
}

/* leader[rank] = lowest rank of its real node. `order` is room for job.size ranks. */
static void leaders_find(struct identity *all, int *order, int *ret_leader)
{
	for (int i = 0; i < job.size; i++)
		order[i] = i;
	qsort_r(order, (size_t)job.size, sizeof(*order), order_compare, all);
	for (int i = 0; i < job.size; i++) {
		bool same = i > 0 && node_compare(&all[order[i - 1]], &all[order[i]]) == 0;

		ret_leader[order[i]] = same ? ret_leader[order[i - 1]] : order[i];
	}
}

/* The lowest rank of the node that the settings put a rank on. */
static int leader_set(int rank)
{
	return settings.nodes > 0 ? rank % (int)settings.nodes
				  : rank - rank % (int)settings.node_ranks;
}

/* Nodes as the settings say instead: finer, never across real nodes. */
static int leaders_cut(int *leader, struct err *err)
{
	if (settings.nodes > 0 && settings.node_ranks > 0)
		return err_set(err, EINVAL,
			       SETTINGS_PREFIX "NODES and " SETTINGS_PREFIX
					       "NODE_RANKS exclude each other");
	for (int i = 0; i < job.size; i++)
		if (leader[i] != leader[leader_set(i)])
			return err_set(err, EINVAL,
				       SETTINGS_PREFIX
				       "%s would put ranks %d and %d into one node, but they "
				       "are not on one machine",
				       settings.nodes > 0 ? "NODES" : "NODE_RANKS",
				       leader_set(i), i);
	for (int i = 0; i < job.size; i++)
		leader[i] = leader_set(i);
	return 0;
}

/* Nodes in the order of their lowest ranks, and the members of each. */
static void nodes_number(const int *leader)
{
	job.node_count = 0;
	for (int i = 0; i < job.size; i++)
		job.node_of[i] = leader[i] == i ? job.node_count++ : job.node_of[leader[i]];
	memset(job.node_start, 0, ((size_t)job.size + 1) * sizeof(*job.node_start));
	for (int i = 0; i < job.size; i++)
		job.node_rank_of[i] = job.node_start[job.node_of[i] + 1]++;
	for (int node = 0; node < job.node_count; node++)
		job.node_start[node + 1] += job.node_start[node];
	for (int i = 0; i < job.size; i++)
		job.members[job.node_start[job.node_of[i]] + job.node_rank_of[i]] = i;
	job.node = job.node_of[job.rank];
	job.node_rank = job.node_rank_of[job.rank];
	job.node_size = job_node_size(job.node);
}

static void domains_number(void)
{
	job.domain_count = 0;
	for (int i = 0; i < job.size; i++) {
		if (i == 0 || job.node_of[i] != job.node_of[i - 1])
			job.domain_start[job.domain_count++] = i;
		job.domain_of[i] = job.domain_count - 1;
	}
	job.domain_start[job.domain_count] = job.size;
}

/* Launchers bind ranks to cores: what counts is all the cores that the ranks of the machine
 * have together. */
static bool machine_is_oversubscribed(const struct identity *all)
{
	cpu_set_t cores;
	int ranks = 0;

	CPU_ZERO(&cores);
	for (int i = 0; i < job.size; i++)
		if (machine_compare(&all[i], &all[job.rank]) == 0) {
			CPU_OR(&cores, &cores, &all[i].cores);
			ranks++;
		}
	return ranks > CPU_COUNT(&cores);
}

static int nodes_find(struct err *err)
{
	size_t size = (size_t)job.size;
	CLEANUP_FREE struct identity *all = calloc(size, sizeof(*all));
	CLEANUP_FREE int *leader = calloc(size, sizeof(*leader));
	struct identity mine;
	int ret;

	job.node_of = calloc(size, sizeof(*job.node_of));
	job.node_rank_of = calloc(size, sizeof(*job.node_rank_of));
	job.node_start = calloc(size + 1, sizeof(*job.node_start));
	job.members = calloc(size, sizeof(*job.members));
	job.domain_of = calloc(size, sizeof(*job.domain_of));
	job.domain_start = calloc(size + 1, sizeof(*job.domain_start));
	if (!all || !leader || !job.node_of || !job.node_rank_of || !job.node_start ||
	    !job.members || !job.domain_of || !job.domain_start)
		return err_set(err, ENOMEM, "no memory for the tables of %d ranks", job.size);
	identity_fill(&mine);
	if (MPI_Allgather(&mine, sizeof(mine), MPI_BYTE, all, sizeof(mine), MPI_BYTE, job.comm))
		return err_set(err, EIO, "MPI_Allgather of the ranks' machines failed");
	leaders_find(all, job.members, leader);
	if (settings.node_ranks > 0 || settings.nodes > 0) {
		ret = leaders_cut(leader, err);
		if (ret < 0)
			return ret;
	}
	nodes_number(leader);
	domains_number();
	job.oversubscribed = machine_is_oversubscribed(all);
	return 0;
}

int job_open(MPI_Comm comm, struct err *err)
{
	int provided = MPI_THREAD_SINGLE;
	int ret;

	if (MPI_Comm_dup(comm, &job.comm))
		return err_set(err, EIO, "MPI_Comm_dup of the communicator given failed");
	MPI_Comm_set_errhandler(job.comm, MPI_ERRORS_RETURN);
	MPI_Comm_rank(job.comm, &job.rank);
	MPI_Comm_size(job.comm, &job.size);
	MPI_Query_thread(&provided);
	job.threaded = provided == MPI_THREAD_MULTIPLE;
	ret = nodes_find(err);
	if (ret < 0)
		job_close();
	return ret;
}

void job_close(void)
{
	if (job.size == 0)
		return;
	MPI_Comm_free(&job.comm);
	free(job.node_of);
	free(job.node_rank_of);
	free(job.node_start);
	free(job.members);
	free(job.domain_of);
	free(job.domain_start);
	job = (struct job){0};
}
