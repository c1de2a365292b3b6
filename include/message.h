/* SPDX-License-Identifier: BSD-3-Clause */
/* ARMCI's messages and collectives: part of armci.h, whose rules hold here too. */
#ifndef HAVE_ARMCI_MSG_H
#define HAVE_ARMCI_MSG_H

#include "armci.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Who takes part in a collective with a scope: all ranks (of the group, if one is named); those
 * of the caller's node; or the lowest rank of each node, where others return at once with their
 * data unchanged. Values of other headers: see armci.h.
 */
enum armci_scope_e { SCOPE_ALL = 0, SCOPE_NODE = 1, SCOPE_MASTERS = 2 };

/* Element types of reductions. */
enum armci_type_e {
	ARMCI_INT = 0,
	ARMCI_LONG = 1,
	ARMCI_LONG_LONG = 2,
	ARMCI_FLOAT = 3,
	ARMCI_DOUBLE = 4
};

/*
 * Reductions take an `op`: "+", "*", "max", "min", "absmax" and "absmin" (of absolute values)
 * for all types; for integers also the bitwise "or", "|", "bor", "&", "band", and the logical
 * "||", "lor", "&&", "land". x[n] holds the caller's elements and gets the result, element by
 * element, with the same bits on all who take part. Collectives may be called with n or len 0.
 * None of them completes one-sided operations: that is what fences are for.
 */

/* ---- The job ---- */

/* Initialise MPI unless that has been done; argc and argv go to MPI_Init and may be NULL. */
void armci_msg_init(int *argc, char ***argv);
/* Finalise MPI unless that has been done. The library must have been finalised before. */
void armci_msg_finalize(void);
/* The caller's rank in the world. Before ARMCI_Init, its rank in MPI_COMM_WORLD. */
int armci_msg_me(void);
/* Number of ranks of the world. Before ARMCI_Init, of MPI_COMM_WORLD. */
int armci_msg_nproc(void);
/* End the job by MPI_Abort(code). Does not return. */
void armci_msg_abort(int code);
/* Seconds since some moment in the past, of this process alone. May be called at any time. */
double armci_timer(void);

/* ---- Messages from rank to rank ----
 * Messages with one tag from one rank to another arrive in the order they were sent. They are
 * apart from MPI's.
 */

/* Send len bytes with `tag` to rank `to`, also to oneself. Returns when buffer may be reused:
 * for long messages perhaps only when the receiver has begun to receive. */
void armci_msg_snd(int tag, void *buffer, int len, int to);
/* Wait for a message with `tag` from rank `from`. *msglen gets its length (msglen may be NULL);
 * one longer than buflen ends the job. */
void armci_msg_rcv(int tag, void *buffer, int buflen, int *msglen, int from);
/* The same from any rank, which is returned. */
int armci_msg_rcvany(int tag, void *buffer, int buflen, int *msglen);

/* ---- Barriers and broadcasts ---- */

/* Wait until all ranks of the world have called it. */
void armci_msg_barrier(void);
/* Wait until all members of the group have called it. */
void armci_msg_group_barrier(ARMCI_Group *group);
/* A binary tree over those in the scope: its root, and the caller's parent and children as
 * ranks of the world, -1 where there is none. Local. A caller that is not in the scope gets -1
 * for all but the root. */
void armci_msg_bintree(int scope, int *Root, int *Up, int *Left, int *Right);

/* Copy len bytes at buffer from rank `root` to all ranks. */
void armci_msg_bcast(void *buffer, int len, int root);
/* The same. */
void armci_msg_brdcst(void *buffer, int len, int root);
/* Broadcast within a scope; root is the rank in the world of one who takes part. */
void armci_msg_bcast_scope(int scope, void *buffer, int len, int root);
/* Broadcast among those members of the group that are in the scope; root is a rank of the
 * world, not of the group. */
void armci_msg_group_bcast_scope(int scope, void *buf, int len, int root, ARMCI_Group *group);
/* Broadcast to the ranks of the caller's node from the lowest of them. */
void armci_msg_clus_brdcst(void *buf, int len);
/* Broadcast among grp_clus_nproc successive ranks of the group from its rank grp_master, which
 * is the first of them. */
void armci_grp_clus_brdcst(void *buf, int len, int grp_master, int grp_clus_nproc,
			   ARMCI_Group *mastergroup);

/* ---- Reductions ---- */

/* Reduce to one: the lowest rank of the scope gets the result; x elsewhere is undefined. */
void armci_msg_reduce(void *x, int n, char *op, int type);
void armci_msg_reduce_scope(int scope, void *x, int n, char *op, int type);

/* Reduce elements of `type` within a scope. */
void armci_msg_gop_scope(int scope, void *x, int n, char *op, int type);
/* Reduce over the world. */
void armci_msg_igop(int *x, int n, char *op);
void armci_msg_lgop(long *x, int n, char *op);
void armci_msg_llgop(long long *x, int n, char *op);
void armci_msg_fgop(float *x, int n, char *op);
void armci_msg_dgop(double *x, int n, char *op);

/* Reduce over those members of the group that are in the scope. */
void armci_msg_group_gop_scope(int scope, void *x, int n, char *op, int type,
			       ARMCI_Group *group);
/* Reduce over the group. */
void armci_msg_group_igop(int *x, int n, char *op, ARMCI_Group *group);
void armci_msg_group_lgop(long *x, int n, char *op, ARMCI_Group *group);
void armci_msg_group_llgop(long long *x, int n, char *op, ARMCI_Group *group);
void armci_msg_group_fgop(float *x, int n, char *op, ARMCI_Group *group);
void armci_msg_group_dgop(double *x, int n, char *op, ARMCI_Group *group);

/* Reduce over the ranks of the caller's node. */
void armci_msg_clus_igop(int *x, int n, char *op);
void armci_msg_clus_fgop(float *x, int n, char *op);
void armci_msg_clus_lgop(long *x, int n, char *op);
void armci_msg_clus_llgop(long long *x, int n, char *op);
void armci_msg_clus_dgop(double *x, int n, char *op);

/*
 * Everybody gets the n bytes at x of the rank whose value is the least (op "min") or greatest
 * ("max"); of equal ones, the lowest rank. The value is the element of `type` at the beginning
 * of x, what follows goes along. A rank with contribute 0 offers none; if nobody does, x stays
 * as it is.
 */
void armci_msg_sel(void *x, int n, char *op, int type, int contribute);
/* The same within a scope. */
void armci_msg_sel_scope(int scope, void *x, int n, char *op, int type, int contribute);

/* Exchange pointers: ptr_ar[n] is added up over the world, so that a slot that one rank has
 * filled and the others hold as NULL is filled on all. */
void armci_exchange_address(void *ptr_ar[], int n);
/* The same over a group. */
void armci_exchange_address_grp(void *ptr_arr[], int n, ARMCI_Group *group);

#ifdef __cplusplus
}
#endif

#endif
