/* SPDX-License-Identifier: BSD-3-Clause */
/* Vector put, get and accumulate: sets of segments of one length. */
#include <armci.h>

#include "armci/api/entry.h"
#include "armci/api/near.h"
#include "armci/api/profile.h"
#include "armci/api/segments.h"
#include "armci/api/transfer.h"
#include "armci/shm/local.h"

/* Segments for the network are handed over in batches of this many. */
enum { BATCH = 256 };

/* A vector operation under way. */
struct vector {
	struct call call;
	enum { PUT, GET, ACC } kind;
	enum acc_type type;
	const void *scale;
};

static void check_set(const struct vector *vector, const armci_giov_t *set)
{
	if (set->bytes < 0 || set->ptr_array_len < 0)
		call_fail(&vector->call, "a set of %d segments of %d bytes", set->ptr_array_len,
			  set->bytes);
	if (vector->kind == ACC && (size_t)set->bytes % acc_size(vector->type))
		call_fail(&vector->call,
			  "segments of %d bytes are not whole elements of %zu bytes",
			  set->bytes, acc_size(vector->type));
}

static void go_near(const struct vector *vector, char *far, void *near, size_t bytes)
{
	switch (vector->kind) {
	case PUT: copy_block(far, near, bytes); break;
	case GET: copy_block(near, far, bytes); break;
	case ACC: lock_acc(vector->type, vector->scale, far, near, bytes); break;
	}
}

static void go_far(const struct vector *vector, int node, const struct remote_segment *segments,
		   size_t count, size_t bytes)
{
	switch (vector->kind) {
	case PUT: remote_put_vector(node, segments, count, bytes); break;
	case GET: remote_get_vector(node, segments, count, bytes); break;
	case ACC:
		remote_acc_vector(node, vector->type, vector->scale, segments, count, bytes);
		break;
	}
}

static void go_set(struct vector *vector, const armci_giov_t *set)
{
	struct remote_segment batch[BATCH];
	size_t held = 0, bytes = (size_t)set->bytes;
	int node = -1;
	if (bytes == 0)
		return;
	for (int i = 0; i < set->ptr_array_len; i++) {
		void *src = set->src_ptr_array[i], *dst = set->dst_ptr_array[i];
		void *far = vector->kind == GET ? src : dst;
		void *near = vector->kind == GET ? dst : src;
		char *mapped = near_address(vector->call.rank, far, bytes);
		if (mapped) {
			go_near(vector, mapped, near, bytes);
			continue;
		}
		vector->call.src = src;
		vector->call.dst = dst;
		vector->call.bytes = set->bytes;
		struct place place = segment_find(&vector->call, far, 0, (ptrdiff_t)bytes);
		stats_count(vector->call.stat, vector->call.rank, bytes);
		if (place.near) {
			go_near(vector, place.near, near, bytes);
			continue;
		}
		node = place.node;
		batch[held++] = (struct remote_segment){.far = place.far, .near = near};
		if (held == BATCH) {
			go_far(vector, node, batch, held, bytes);
			held = 0;
		}
	}
	if (held)
		go_far(vector, node, batch, held, bytes);
}

static int go(struct vector *vector, const armci_giov_t *iov, int iov_len)
{
	entry_begin("%s(%d sets of segments, rank %d)", vector->call.name, iov_len,
		    vector->call.rank);
	call_check_rank(&vector->call);
	if (iov_len < 0)
		call_fail(&vector->call, "%d sets of segments", iov_len);
	for (int i = 0; i < iov_len; i++) {
		check_set(vector, &iov[i]);
		go_set(vector, &iov[i]);
	}
	entry_end();
	return 0;
}

static int put(const char *name, const armci_giov_t *iov, int iov_len, int rank)
{
	struct vector vector = {.call = {.name = name, .stat = STAT_PUTV, .rank = rank},
				.kind = PUT};
	return go(&vector, iov, iov_len);
}

static int get(const char *name, const armci_giov_t *iov, int iov_len, int rank)
{
	struct vector vector = {.call = {.name = name, .stat = STAT_GETV, .rank = rank},
				.kind = GET};
	return go(&vector, iov, iov_len);
}

static int acc(const char *name, int datatype, const void *scale, const armci_giov_t *iov,
	       int iov_len, int rank)
{
	struct vector vector = {.call = {.name = name, .stat = STAT_ACCV, .rank = rank},
				.kind = ACC,
				.scale = scale};
	if (acc_type_parse(datatype, &vector.type) < 0)
		call_fail(&vector.call, "%d is no type of accumulate (ARMCI_ACC_…)", datatype);
	return go(&vector, iov, iov_len);
}

int PARMCI_PutV(armci_giov_t *iov, int iov_len, int proc)
{
	return put("ARMCI_PutV", iov, iov_len, proc);
}

int PARMCI_GetV(armci_giov_t *iov, int iov_len, int proc)
{
	return get("ARMCI_GetV", iov, iov_len, proc);
}

int PARMCI_AccV(int datatype, void *scale, armci_giov_t *iov, int iov_len, int proc)
{
	return acc("ARMCI_AccV", datatype, scale, iov, iov_len, proc);
}

/* Vector operations are complete here when they return, so their handles stay empty. */

int PARMCI_NbPutV(armci_giov_t *iov, int iov_len, int proc, armci_hdl_t *handle)
{
	(void)handle;
	return put("ARMCI_NbPutV", iov, iov_len, proc);
}

int PARMCI_NbGetV(armci_giov_t *iov, int iov_len, int proc, armci_hdl_t *handle)
{
	(void)handle;
	return get("ARMCI_NbGetV", iov, iov_len, proc);
}

int PARMCI_NbAccV(int datatype, void *scale, armci_giov_t *iov, int iov_len, int proc,
		  armci_hdl_t *handle)
{
	(void)handle;
	return acc("ARMCI_NbAccV", datatype, scale, iov, iov_len, proc);
}

ARMCI_ALIAS(int, PutV, (armci_giov_t * iov, int iov_len, int proc));
ARMCI_ALIAS(int, GetV, (armci_giov_t * iov, int iov_len, int proc));
ARMCI_ALIAS(int, AccV, (int datatype, void *scale, armci_giov_t *iov, int iov_len, int proc));
ARMCI_ALIAS(int, NbPutV, (armci_giov_t * iov, int iov_len, int proc, armci_hdl_t *handle));
ARMCI_ALIAS(int, NbGetV, (armci_giov_t * iov, int iov_len, int proc, armci_hdl_t *handle));
ARMCI_ALIAS(int, NbAccV,
	    (int datatype, void *scale, armci_giov_t *iov, int iov_len, int proc,
	     armci_hdl_t *handle));
