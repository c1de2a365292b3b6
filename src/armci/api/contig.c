/* SPDX-License-Identifier: BSD-3-Clause */
/* Contiguous put, get and accumulate. On the caller's node: find the address, copy, return. */
#include <armci.h>

#include "armci/api/contig.h"
#include "armci/api/entry.h"
#include "armci/api/handle.h"
#include "armci/api/near.h"
#include "armci/api/profile.h"
#include "armci/api/transfer.h"
#include "armci/shm/local.h"

/* The far address for the fast path; a negative size never is one. */
static inline char *fast(int rank, const void *address, int size)
{
	return near_address(rank, address, (size_t)(unsigned)size);
}

NEAR_SLOW static int put_slow(const char *name, void *src, void *dst, int size, int rank,
			      struct remote_handle *handle)
{
	struct call call = {name, STAT_PUT, src, dst, size, rank};
	struct xfer xfer = xfer_block(size > 0 ? (size_t)size : 0);
	return transfer_put(&call, &xfer, handle);
}

NEAR_SLOW static int get_slow(const char *name, void *src, void *dst, int size, int rank,
			      struct remote_handle *handle)
{
	struct call call = {name, STAT_GET, src, dst, size, rank};
	struct xfer xfer = xfer_block(size > 0 ? (size_t)size : 0);
	return transfer_get(&call, &xfer, handle);
}

NEAR_SLOW static int acc_slow(const char *name, int datatype, void *scale, void *src, void *dst,
			      int bytes, int rank)
{
	struct call call = {name, STAT_ACC, src, dst, bytes, rank};
	struct xfer xfer = xfer_block(bytes > 0 ? (size_t)bytes : 0);
	return transfer_acc(&call, datatype, scale, &xfer);
}

static inline int acc(const char *name, int datatype, void *scale, void *src, void *dst,
		      int bytes, int rank)
{
	char *far = fast(rank, dst, bytes);
	enum acc_type type;
	if (far && acc_type_parse(datatype, &type) == 0 &&
	    ((size_t)bytes & (acc_size(type) - 1)) == 0) {
		lock_acc(type, scale, far, src, (size_t)bytes);
		return 0;
	}
	return acc_slow(name, datatype, scale, src, dst, bytes, rank);
}

static __attribute__((noinline)) int acc_any(int datatype, void *scale, void *src, void *dst,
					     int bytes, int rank)
{
	return acc("ARMCI_Acc", datatype, scale, src, dst, bytes, rank);
}

static __attribute__((noinline)) int nb_acc_any(int datatype, void *scale, void *src, void *dst,
						int bytes, int rank)
{
	return acc("ARMCI_NbAcc", datatype, scale, src, dst, bytes, rank);
}

/*
 * One double without a frame: the locked exchange would wait for the stores of it. The
 * constants handed on leave their registers free.
 */
#define ACC_NEAR_DOUBLE(any)                                                              \
	do {                                                                              \
		uint64_t offset = near_number(proc, dst, sizeof(double));                 \
		if (!offset)                                                              \
			return any(ARMCI_ACC_DBL, scale, src, dst, sizeof(double), proc); \
		return lock_acc_double(scale, offset, src);                               \
	} while (0)

NEAR_SLOW static int nb_put(const char *name, void *src, void *dst, int size, int rank,
			    armci_hdl_t *hdl)
{
	entry_begin("%s(src %p, dst %p, %d bytes, rank %d)", name, src, dst, size, rank);
	int rc = put_slow(name, src, dst, size, rank, handle_slot(hdl));
	entry_end();
	return rc;
}

NEAR_SLOW static int nb_get(const char *name, void *src, void *dst, int size, int rank,
			    armci_hdl_t *hdl)
{
	entry_begin("%s(src %p, dst %p, %d bytes, rank %d)", name, src, dst, size, rank);
	int rc = get_slow(name, src, dst, size, rank, handle_slot(hdl));
	entry_end();
	return rc;
}

int contig_put(const char *name, void *src, void *dst, int size, int rank)
{
	char *far = fast(rank, dst, size);
	if (!far)
		return put_slow(name, src, dst, size, rank, NULL);
	copy_block(far, src, (size_t)size);
	return 0;
}

int contig_get(const char *name, void *src, void *dst, int size, int rank)
{
	const char *far = fast(rank, src, size);
	if (!far)
		return get_slow(name, src, dst, size, rank, NULL);
	copy_block(dst, far, (size_t)size);
	return 0;
}

int PARMCI_Put(void *src, void *dst, int size, int target)
{
	return contig_put("ARMCI_Put", src, dst, size, target);
}

int PARMCI_Get(void *src, void *dst, int size, int target)
{
	return contig_get("ARMCI_Get", src, dst, size, target);
}

int PARMCI_Acc(int datatype, void *scale, void *src, void *dst, int bytes, int proc)
{
	if (datatype == ARMCI_ACC_DBL && bytes == sizeof(double))
		ACC_NEAR_DOUBLE(acc_any);
	return acc_any(datatype, scale, src, dst, bytes, proc);
}

int PARMCI_NbPut(void *src, void *dst, int bytes, int proc, armci_hdl_t *hdl)
{
	char *far = fast(proc, dst, bytes);
	if (!far)
		return nb_put("ARMCI_NbPut", src, dst, bytes, proc, hdl);
	copy_block(far, src, (size_t)bytes);
	return 0;
}

int PARMCI_NbGet(void *src, void *dst, int bytes, int proc, armci_hdl_t *hdl)
{
	const char *far = fast(proc, src, bytes);
	if (!far)
		return nb_get("ARMCI_NbGet", src, dst, bytes, proc, hdl);
	copy_block(dst, far, (size_t)bytes);
	return 0;
}

int PARMCI_NbAcc(int datatype, void *scale, void *src, void *dst, int bytes, int proc,
		 armci_hdl_t *hdl)
{
	(void)hdl; /* the source is reusable when it returns */
	if (datatype == ARMCI_ACC_DBL && bytes == sizeof(double))
		ACC_NEAR_DOUBLE(nb_acc_any);
	return nb_acc_any(datatype, scale, src, dst, bytes, proc);
}

ARMCI_ALIAS(int, Put, (void *src, void *dst, int size, int target));
ARMCI_ALIAS(int, Get, (void *src, void *dst, int size, int target));
ARMCI_ALIAS(int, Acc, (int datatype, void *scale, void *src, void *dst, int bytes, int proc));
ARMCI_ALIAS(int, NbPut, (void *src, void *dst, int bytes, int proc, armci_hdl_t *hdl));
ARMCI_ALIAS(int, NbGet, (void *src, void *dst, int bytes, int proc, armci_hdl_t *hdl));
ARMCI_ALIAS(int, NbAcc,
	    (int datatype, void *scale, void *src, void *dst, int bytes, int proc,
	     armci_hdl_t *hdl));
