/* SPDX-License-Identifier: BSD-3-Clause */
/* ARMCI: one-sided communication between the ranks of a job. See libarmci(7). */

/* ARMCI-MPI's guard, so that a program that finds both headers reads only one of them. */
#ifndef _ARMCI_H_
#define _ARMCI_H_

#include <mpi.h>
#include <stddef.h>

/*
 * What holds for every function below; where one differs, its own comment says so.
 *
 * - Ranks: `proc` is a rank of the world: of the communicator that the library was initialised
 *   with.
 * - Sizes are in bytes, counts in pieces. Zero bytes, counts or segments: nothing is done, and
 *   that is no error.
 * - Addresses of remote memory are those that ARMCI_Malloc and its relatives gave out for that
 *   rank, or lie within such a segment. They name memory of that rank alone: only one's own
 *   may be dereferenced, also on the same node. Local memory may be any memory of the caller.
 * - Ownership: the library keeps no pointer to an argument beyond the call, except source and
 *   destination of a non-blocking operation until it is complete. Arrays of strides, counts
 *   and descriptors may be reused at once.
 * - Completion: blocking put and accumulate return when the source may be reused, get when the
 *   data are there. They are complete at the target after a fence. Blocking operations of one
 *   rank on one place keep their order; non-blocking ones need not. The target need not call
 *   the library for that.
 * - Results: functions that return int return 0 for success, unless they say otherwise.
 * - Errors: bad use (an address outside every segment, a rank out of range, an overflow, a
 *   call before initialisation …) and lost partners end the job: one line `armci: rank R:
 *   ARMCI_Put(arguments): what is wrong` on the standard error, then MPI_Abort. Only what is
 *   said to be returned is returned.
 * - Threads: with MPI_THREAD_MULTIPLE any thread may call at any time; calls of one process
 *   run one after another, their waits included. Otherwise calls come one at a time.
 * - Collective functions are called by all members of the group (the world, if none is named)
 *   in the same order.
 *
 * Functions come from the original ARMCI (its manual and headers) unless marked: [M]
 * ARMCI-MPI, [C] ComEx. Layouts and constants are ARMCI-MPI's, so that objects compiled with
 * its headers link. The others' constants are understood, too:
 *
 *                              here and ARMCI-MPI   original and ComEx
 *   ARMCI_ACC_INT LNG FLT      0 1 2                37 42 39
 *   ARMCI_ACC_DBL CPL DCP      3 4 5                38 40 41
 *   ARMCI_FETCH_AND_ADD _LONG  0 1                  12 13
 *   ARMCI_SWAP _LONG           2 3                  10 11
 *   SCOPE_ALL NODE MASTERS     0 1 2                333 337 339
 *   ARMCI_INT LONG LONG_LONG   0 1 2                -99 -101 -102
 *   ARMCI_FLOAT DOUBLE         3 4                  -306 -307
 */

/* Version of this library: text, and major * 10000 + minor * 100 + patch. */
#define STASIS_ARMCI_VERSION        "0.1.0"
#define STASIS_ARMCI_VERSION_NUMBER 100

/* Programs that ask which header they have get ARMCI-MPI's answer: layouts are as in its
 * version 3. */
#define ARMCI_MPI 3

#ifdef __cplusplus
extern "C" {
#endif

/* Sizes of allocations, and the MPI datatype of that type. */
typedef long armci_size_t;
#define ARMCII_MPI_SIZE_T MPI_LONG

/* Most entries of `count` of a strided transfer: it has at most one stride level less. */
#define ARMCI_MAX_STRIDE_LEVEL 8

/* Element types of accumulate: int, long, float, double, complex of two floats, complex of two
 * doubles. */
enum ARMCI_Acc_e {
	ARMCI_ACC_INT = 0,
	ARMCI_ACC_LNG = 1,
	ARMCI_ACC_FLT = 2,
	ARMCI_ACC_DBL = 3,
	ARMCI_ACC_CPL = 4,
	ARMCI_ACC_DCP = 5
};

/* Operations of ARMCI_Rmw, on an int or a long. */
enum ARMCI_Rmw_e {
	ARMCI_FETCH_AND_ADD = 0,
	ARMCI_FETCH_AND_ADD_LONG = 1,
	ARMCI_SWAP = 2,
	ARMCI_SWAP_LONG = 3
};

/*
 * A non-blocking operation. Its members are the library's. Initialise it by ARMCI_INIT_HANDLE;
 * do not copy or move it before the operation is complete. [M]
 */
typedef struct armci_hdl_s {
	int target;
	int aggregate;
} armci_hdl_t;

/* Segments of one length for vector operations; "source" is where the operation reads. The
 * original and ComEx have the two ints the other way round. [M] */
typedef struct {
	void **src_ptr_array; /* [ptr_array_len] where each segment is read */
	void **dst_ptr_array; /* [ptr_array_len] where each segment is written or added to */
	int bytes;            /* length of every segment */
	int ptr_array_len;    /* number of segments */
} armci_giov_t;

/*
 * A group of ranks. `comm` is a valid communicator of its members in group order, MPI_COMM_NULL
 * for others; it is the library's: communicate over a duplicate. `rank` is the caller's (-1: no
 * member), `size` the number of members (0 for others). The rest is the library's and may be
 * NULL. May be copied; all copies end with ARMCI_Group_free. [M]
 */
typedef struct {
	MPI_Comm comm;
	MPI_Comm noncoll_pgroup_comm;
	int *grp_to_abs;
	int *abs_to_grp;
	int rank;
	int size;
} ARMCI_Group;

/* Description of memory made by ARMCI_Memget: plain data, which may be sent to other ranks. */
typedef struct armci_meminfo_ds {
	char *armci_addr; /* address for operations on rank `cpid` */
	char *addr;       /* address in the creator's process */
	size_t size;      /* bytes */
	int cpid;         /* rank of the creator */
	long idlist[128]; /* the library's */
} armci_meminfo_t;

/* ---- Begin and end ---- */

/*
 * Initialise the library over MPI_COMM_WORLD; collective. MPI is initialised first if nobody
 * has done so. Calls are counted: each but the first only adds one. A setting that cannot be
 * read (libarmci(7)) ends the job.
 */
int ARMCI_Init(void);
/* The same; argc and argv go to MPI_Init if MPI is not initialised yet, and may be NULL. */
int ARMCI_Init_args(int *argc, char ***argv);
/* As ARMCI_Init, and demand that MPI's thread level (MPI_THREAD_…) is at least armci_requested.
 * [M] */
int ARMCI_Init_thread(int armci_requested);
/* As ARMCI_Init_thread over the ranks of comm, which is duplicated. MPI must be initialised.
 * [M] */
int ARMCI_Init_thread_comm(int armci_requested, MPI_Comm comm);
/* As ARMCI_Init over the ranks of comm, with the thread level that MPI has. MPI must be
 * initialised. [C] */
int ARMCI_Init_mpi_comm(MPI_Comm comm);
/* 1 between the first initialisation and the last ARMCI_Finalize, else 0. May be called at any
 * time. [M] [C] */
int ARMCI_Initialized(void);

/*
 * Undo one initialisation; the last one, which is collective, completes all operations, frees
 * all memory, groups and mutexes, and prints statistics if asked to. MPI goes on: MPI_Finalize
 * comes after.
 */
int ARMCI_Finalize(void);
/* Give back what would outlive the process, before it ends after a fault. Not collective;
 * communicates with nobody. The library may not be used after it. */
void ARMCI_Cleanup(void);
/* Print `msg` and `code` with the caller's rank on the standard error and end the job by
 * MPI_Abort(code). Does not return. */
void ARMCI_Error(const char *msg, int code);

/* ---- Memory ---- */

/*
 * Allocate memory that all ranks can reach; collective over the world. base_ptrs[nproc], the
 * caller's array, gets every rank's address. Each rank asks for its own size; a rank that asks
 * for 0 has NULL. At least 64-byte aligned, not cleared. Returns 0, or another value on all
 * ranks, with nothing allocated, if one of them is out of memory.
 */
int ARMCI_Malloc(void **base_ptrs, armci_size_t size);
/* Free one's own part of a segment of ARMCI_Malloc (NULL if that has 0 bytes); collective, and
 * a barrier: operations on it that others began before are complete. */
int ARMCI_Free(void *ptr);
/* ARMCI_Malloc over a group: ptr_arr[size of the group] in group order. */
int ARMCI_Malloc_group(void **ptr_arr, armci_size_t bytes, ARMCI_Group *group);
/* ARMCI_Free for a segment of ARMCI_Malloc_group with the same group. */
int ARMCI_Free_group(void *ptr, ARMCI_Group *group);

/* Memory for the caller alone from which and to which transfers are fastest (no copy, no
 * registration). Not collective. NULL if there is none. */
void *ARMCI_Malloc_local(armci_size_t size);
/* Free memory of ARMCI_Malloc_local, or NULL. Operations that use it must be complete. */
int ARMCI_Free_local(void *ptr);

/* ARMCI_Malloc on a named kind of memory: a hint, any name or NULL gives ordinary memory.
 * [M] [C] */
int ARMCI_Malloc_memdev(void **ptr_arr, armci_size_t bytes, const char *device);
/* ARMCI_Malloc_group with such a hint. [M] [C] */
int ARMCI_Malloc_group_memdev(void **ptr_arr, armci_size_t bytes, ARMCI_Group *group,
			      const char *device);
/* ARMCI_Free for memory of ARMCI_Malloc_memdev. [M] [C] */
int ARMCI_Free_memdev(void *ptr);

/* Allocate memory that others can reach, without them: not collective. Fills *meminfo, which
 * the caller sends to whom it likes. memflg must be 0, bytes positive. No memory is an error
 * that ends the job. */
void ARMCI_Memget(size_t bytes, armci_meminfo_t *meminfo, int memflg);
/* The address `offset` bytes into such memory, for operations on rank meminfo->cpid. */
void *ARMCI_Memat(armci_meminfo_t *meminfo, long offset);
/* End the use that an ARMCI_Memat with the same arguments began. */
void ARMCI_Memdt(armci_meminfo_t *meminfo, long offset);
/* Called by the creator: free the memory; by others: forget it. Clears both addresses in
 * *meminfo. */
void ARMCI_Memctl(armci_meminfo_t *meminfo);
/* Does nothing but check that ptr is not NULL: there is no offset between mappings to set. */
void armci_set_mem_offset(void *ptr);

/* Copy `size` bytes within the caller's memory; they must not overlap. */
void ARMCI_Copy(void *src, void *dst, int size);

/* Put around loads and stores of one's own segment. Memory is coherent here, so that they only
 * order these against operations of others, and may be left out. ptr lies in a segment of the
 * caller. [M] */
void ARMCI_Access_begin(void *ptr);
void ARMCI_Access_end(void *ptr);

/* ---- Contiguous transfers ---- */

/* Copy `size` bytes from src on rank `target` to dst here. */
int ARMCI_Get(void *src, void *dst, int size, int target);
/* Copy `size` bytes from src here to dst on rank `target`. */
int ARMCI_Put(void *src, void *dst, int size, int target);
/* dst[i] += *scale * src[i] on rank `proc`, for elements of `datatype` (ARMCI_ACC_…), of which
 * *scale is one (NULL: one); `bytes` is a multiple of their size. Accumulates are atomic to
 * each other, element by element. */
int ARMCI_Acc(int datatype, void *scale, void *src, void *dst, int bytes, int proc);
/* ARMCI_Put, then *flag = value on the same rank, which is seen there only after the data. */
int ARMCI_Put_flag(void *src, void *dst, int size, int *flag, int value, int proc);
/* ARMCI_Put by another name, to any rank; elsewhere it serves one node only. */
#define ARMCI_Put1(src, dst, bytes, proc) ARMCI_Put((src), (dst), (bytes), (proc))

/* ---- Strided transfers ----
 * Rows of count[0] bytes; level i = 0 … stride_levels - 1 repeats all below it count[i + 1]
 * times, src_stride_ar[i] and dst_stride_ar[i] bytes apart. So count has stride_levels + 1
 * entries, the strides stride_levels. Strides may be negative. Where rows of the destination
 * overlap, which one is seen there last is open.
 */

/* Put, get and accumulate as above, of that shape. */
int ARMCI_PutS(void *src_ptr, int src_stride_ar[], void *dst_ptr, int dst_stride_ar[],
	       int count[], int stride_levels, int proc);
int ARMCI_GetS(void *src_ptr, int src_stride_ar[], void *dst_ptr, int dst_stride_ar[],
	       int count[], int stride_levels, int proc);
int ARMCI_AccS(int datatype, void *scale, void *src_ptr, int src_stride_ar[], void *dst_ptr,
	       int dst_stride_ar[], int count[], int stride_levels, int proc);
/* ARMCI_PutS, then *flag = value on the same rank, which is seen there only after the data. */
int ARMCI_PutS_flag(void *src_ptr, int src_stride_ar[], void *dst_ptr, int dst_stride_ar[],
		    int count[], int stride_levels, int *flag, int value, int proc);
/* The same: the original had two ways to do it. */
int ARMCI_PutS_flag_dir(void *src_ptr, int src_stride_ar[], void *dst_ptr, int dst_stride_ar[],
			int count[], int stride_levels, int *flag, int value, int proc);

/* Local: gather the strided memory at ptr into buf, row after row. */
void armci_write_strided(void *ptr, int stride_levels, int stride_arr[], int count[],
			 char *buf);
/* Local: scatter buf into the strided memory at ptr. */
void armci_read_strided(void *ptr, int stride_levels, int stride_arr[], int count[], char *buf);

/* ---- Vector transfers ----
 * iov[iov_len]: sets of segments, all of them on rank `proc`. Segments must not overlap, except
 * those of accumulate.
 */

/* Put, get and accumulate as above, of all segments of all sets. */
int ARMCI_PutV(armci_giov_t *iov, int iov_len, int proc);
int ARMCI_GetV(armci_giov_t *iov, int iov_len, int proc);
int ARMCI_AccV(int datatype, void *scale, armci_giov_t *iov, int iov_len, int proc);

/* ---- Single values ---- */

/* Store src at dst on rank `proc`. dst is aligned to its type. */
int ARMCI_PutValueInt(int src, void *dst, int proc);
int ARMCI_PutValueLong(long src, void *dst, int proc);
int ARMCI_PutValueFloat(float src, void *dst, int proc);
int ARMCI_PutValueDouble(double src, void *dst, int proc);

/* The value at src on rank `proc`. src is aligned to its type. */
int ARMCI_GetValueInt(void *src, int proc);
long ARMCI_GetValueLong(void *src, int proc);
float ARMCI_GetValueFloat(void *src, int proc);
double ARMCI_GetValueDouble(void *src, int proc);

/* ---- Non-blocking operations ----
 * As their blocking counterparts, but only begun. With a handle they are complete, in the sense
 * of a blocking operation, after ARMCI_Wait on it; with NULL after ARMCI_WaitProc or
 * ARMCI_WaitAll. A handle holds one operation at a time, unless it is an aggregate handle: that
 * holds any number, of one kind and to one rank, all complete after one ARMCI_Wait.
 */

/* Make *hdl ready for use: free of operations, not an aggregate. */
void ARMCI_INIT_HANDLE(armci_hdl_t *hdl);
/* Make a handle without pending operations an aggregate handle. */
void ARMCI_SET_AGGREGATE_HANDLE(armci_hdl_t *handle);
/* Make it an ordinary one again; its operations must have been waited for. */
void ARMCI_UNSET_AGGREGATE_HANDLE(armci_hdl_t *handle);

/* Contiguous. NbAcc is from [M]. */
int ARMCI_NbPut(void *src, void *dst, int bytes, int proc, armci_hdl_t *hdl);
int ARMCI_NbGet(void *src, void *dst, int bytes, int proc, armci_hdl_t *hdl);
int ARMCI_NbAcc(int datatype, void *scale, void *src, void *dst, int bytes, int proc,
		armci_hdl_t *hdl);
/* Strided. */
int ARMCI_NbPutS(void *src_ptr, int src_stride_ar[], void *dst_ptr, int dst_stride_ar[],
		 int count[], int stride_levels, int proc, armci_hdl_t *hdl);
int ARMCI_NbGetS(void *src_ptr, int src_stride_ar[], void *dst_ptr, int dst_stride_ar[],
		 int count[], int stride_levels, int proc, armci_hdl_t *hdl);
int ARMCI_NbAccS(int datatype, void *scale, void *src_ptr, int src_stride_ar[], void *dst_ptr,
		 int dst_stride_ar[], int count[], int stride_levels, int proc,
		 armci_hdl_t *hdl);
/* Vectors. */
int ARMCI_NbPutV(armci_giov_t *iov, int iov_len, int proc, armci_hdl_t *handle);
int ARMCI_NbGetV(armci_giov_t *iov, int iov_len, int proc, armci_hdl_t *handle);
int ARMCI_NbAccV(int datatype, void *scale, armci_giov_t *iov, int iov_len, int proc,
		 armci_hdl_t *handle);
/* Values. */
int ARMCI_NbPutValueInt(int src, void *dst, int proc, armci_hdl_t *hdl);
int ARMCI_NbPutValueLong(long src, void *dst, int proc, armci_hdl_t *hdl);
int ARMCI_NbPutValueFloat(float src, void *dst, int proc, armci_hdl_t *hdl);
int ARMCI_NbPutValueDouble(double src, void *dst, int proc, armci_hdl_t *hdl);

/* Wait until the handle's operations are complete here; then it may be used again. A handle
 * without any returns at once. */
int ARMCI_Wait(armci_hdl_t *hdl);
/* 0 if the handle's operations are complete (it needs no ARMCI_Wait then), 1 if not yet. Never
 * waits. */
int ARMCI_Test(armci_hdl_t *hdl);
/* Wait for all the caller's non-blocking operations on rank `proc`, with or without handle. */
int ARMCI_WaitProc(int proc);
/* Wait for all the caller's non-blocking operations. */
int ARMCI_WaitAll(void);

/* ---- Order and synchronisation ---- */

/* Return when everything that the caller did to rank `proc` is complete there, visible to all.
 * Not collective. */
void ARMCI_Fence(int proc);
/* A fence to all ranks of the world. Not collective. */
void ARMCI_AllFence(void);
/* A fence to all members of the group. Not collective. [C] */
void ARMCI_GroupFence(ARMCI_Group *group);
/* A fence to all ranks, then a barrier of the world: collective. After it all operations of all
 * are complete. */
void ARMCI_Barrier(void);

/* Notify rank `proc`: it learns of this only after all earlier operations of the caller on it
 * are complete there. Does not wait for it. Returns how many notifications the caller has sent
 * to that rank. */
int armci_notify(int proc);
/* Wait for the next notification by rank `proc`, one for each call. *pval gets how many the
 * caller has waited for from that rank. Returns how many have arrived from it. */
int armci_notify_wait(int proc, int *pval);

/*
 * Atomically read and change the int or long at prem on rank `proc`, which is aligned to its
 * type; atomic also to loads, stores and atomic instructions of its owner. The old value is
 * written to *ploc (int or long). FETCH_AND_ADD adds `value`; SWAP stores what *ploc held
 * before and takes no notice of `value`. Complete at the target when it returns.
 */
int ARMCI_Rmw(int op, void *ploc, void *prem, int value, int proc);

/* Make `count` mutexes, numbered from 0, on the calling rank; collective, each rank may ask for
 * another count. One set at a time exists. */
int ARMCI_Create_mutexes(int count);
/* Destroy the mutexes of all ranks; collective. Nobody may hold one. */
int ARMCI_Destroy_mutexes(void);
/* Wait for mutex number `mutex` of rank `proc` and take it. First come, first served; taking it
 * twice is an error. */
void ARMCI_Lock(int mutex, int proc);
/* Give back a mutex that the caller holds. Operations done while it was held are complete
 * before the next holder has it. */
void ARMCI_Unlock(int mutex, int proc);

/* ---- Groups ---- */

/* A new group of pid_list[grp_size], ranks of the default group, in this order. See
 * ARMCI_Group_create_child. */
void ARMCI_Group_create(int grp_size, int *pid_list, ARMCI_Group *group_out);
/*
 * A new group of pid_list[grp_size], ranks within group_parent, in this order and without
 * repetition. Collective over those listed; other members of the parent may call or not, and
 * get a group that they are not in.
 */
void ARMCI_Group_create_child(int grp_size, int *pid_list, ARMCI_Group *group_out,
			      ARMCI_Group *group_parent);
/* End a group; collective over its members, nothing for others. Not the world. Memory allocated
 * over it must have been freed. */
void ARMCI_Group_free(ARMCI_Group *group);
/* *rank gets the caller's rank in the group, -1 if it is no member. Returns 0 for members, 1
 * for others. */
int ARMCI_Group_rank(ARMCI_Group *group, int *rank);
/* *size gets the number of members. */
void ARMCI_Group_size(ARMCI_Group *group, int *size);
/* Make `group` the default group, in which ARMCI_Group_create looks up ranks; local. At first
 * it is the world. Nothing else depends on it. */
void ARMCI_Group_set_default(ARMCI_Group *group);
/* A copy of the default group. */
void ARMCI_Group_get_default(ARMCI_Group *group_out);
/* A copy of the world group. */
void ARMCI_Group_get_world(ARMCI_Group *group_out);
/* The world's rank of a rank of the group. */
int ARMCI_Absolute_id(ARMCI_Group *group, int group_rank);

/* ---- Where ranks run ----
 * There is one kind of domain: consecutive ranks that share a node's memory. Domains have
 * numbers from 0, in the order of their ranks. A node whose ranks are not all neighbours (as
 * when the launcher deals them out in turn) has several: Global Arrays takes it for granted
 * that the ranks of a domain are consecutive. Transfers between them go through shared memory
 * all the same, and ARMCI_Same_node and the scopes of the armci_msg functions go by nodes.
 */
enum armci_domain_e { ARMCI_DOMAIN_SMP = 0 };
typedef int armci_domain_t;

/* Number of ranks in domain `id`; negative: the caller's. */
int armci_domain_nprocs(armci_domain_t domain, int id);
/* The domain of rank glob_proc_id. */
int armci_domain_id(armci_domain_t domain, int glob_proc_id);
/* The rank that is number loc_proc_id, counted from 0, in domain `id` (negative: the
 * caller's). */
int armci_domain_glob_proc_id(armci_domain_t domain, int id, int loc_proc_id);
/* The caller's domain. */
int armci_domain_my_id(armci_domain_t domain);
/* Number of domains. */
int armci_domain_count(armci_domain_t domain);
/* 1 if rank `proc` is in the caller's domain, else 0. */
int armci_domain_same_id(armci_domain_t domain, int proc);
/* 1 if rank `proc` is on the caller's node, else 0. */
int ARMCI_Same_node(int proc);
/* The same. */
int armci_sameclusnode(int proc);

/* 1: data between ranks of one node go through shared memory. */
int ARMCI_Uses_shm(void);
/* 1 as ARMCI_Uses_shm if the caller is a member of the group, else 0. */
int ARMCI_Uses_shm_grp(ARMCI_Group *group);
/* Takes no notice of the limit, in bytes: how much there can be is the setting
 * STASIS_ARMCI_ARENA. */
void ARMCI_Set_shm_limit(unsigned long shmemlimit);

/* ---- Profiling ----
 * Each function here is its namesake ARMCI_…, armci_…, which is a weak symbol: a profiling
 * library defines that one and calls this one.
 */
int PARMCI_Init(void);
int PARMCI_Init_args(int *argc, char ***argv);
int PARMCI_Init_thread(int armci_requested);
int PARMCI_Init_thread_comm(int armci_requested, MPI_Comm comm);
int PARMCI_Init_mpi_comm(MPI_Comm comm);
int PARMCI_Initialized(void);
int PARMCI_Finalize(void);

int PARMCI_Malloc(void **base_ptrs, armci_size_t size);
int PARMCI_Free(void *ptr);
void *PARMCI_Malloc_local(armci_size_t size);
int PARMCI_Free_local(void *ptr);
int PARMCI_Malloc_memdev(void **ptr_arr, armci_size_t bytes, const char *device);
int PARMCI_Malloc_group_memdev(void **ptr_arr, armci_size_t bytes, ARMCI_Group *group,
			       const char *device);
int PARMCI_Free_memdev(void *ptr);
void PARMCI_Memget(size_t bytes, armci_meminfo_t *meminfo, int memflg);
void *PARMCI_Memat(armci_meminfo_t *meminfo, long offset);
void PARMCI_Memdt(armci_meminfo_t *meminfo, long offset);
void PARMCI_Memctl(armci_meminfo_t *meminfo);
void PARMCI_Access_begin(void *ptr);
void PARMCI_Access_end(void *ptr);

int PARMCI_Get(void *src, void *dst, int size, int target);
int PARMCI_Put(void *src, void *dst, int size, int target);
int PARMCI_Acc(int datatype, void *scale, void *src, void *dst, int bytes, int proc);
int PARMCI_Put_flag(void *src, void *dst, int size, int *flag, int value, int proc);
int PARMCI_PutS(void *src_ptr, int src_stride_ar[], void *dst_ptr, int dst_stride_ar[],
		int count[], int stride_levels, int proc);
int PARMCI_GetS(void *src_ptr, int src_stride_ar[], void *dst_ptr, int dst_stride_ar[],
		int count[], int stride_levels, int proc);
int PARMCI_AccS(int datatype, void *scale, void *src_ptr, int src_stride_ar[], void *dst_ptr,
		int dst_stride_ar[], int count[], int stride_levels, int proc);
int PARMCI_PutS_flag(void *src_ptr, int src_stride_ar[], void *dst_ptr, int dst_stride_ar[],
		     int count[], int stride_levels, int *flag, int value, int proc);
int PARMCI_PutS_flag_dir(void *src_ptr, int src_stride_ar[], void *dst_ptr, int dst_stride_ar[],
			 int count[], int stride_levels, int *flag, int value, int proc);
int PARMCI_PutV(armci_giov_t *iov, int iov_len, int proc);
int PARMCI_GetV(armci_giov_t *iov, int iov_len, int proc);
int PARMCI_AccV(int datatype, void *scale, armci_giov_t *iov, int iov_len, int proc);

int PARMCI_PutValueInt(int src, void *dst, int proc);
int PARMCI_PutValueLong(long src, void *dst, int proc);
int PARMCI_PutValueFloat(float src, void *dst, int proc);
int PARMCI_PutValueDouble(double src, void *dst, int proc);
int PARMCI_GetValueInt(void *src, int proc);
long PARMCI_GetValueLong(void *src, int proc);
float PARMCI_GetValueFloat(void *src, int proc);
double PARMCI_GetValueDouble(void *src, int proc);

int PARMCI_NbPut(void *src, void *dst, int bytes, int proc, armci_hdl_t *hdl);
int PARMCI_NbGet(void *src, void *dst, int bytes, int proc, armci_hdl_t *hdl);
int PARMCI_NbAcc(int datatype, void *scale, void *src, void *dst, int bytes, int proc,
		 armci_hdl_t *hdl);
int PARMCI_NbPutS(void *src_ptr, int src_stride_ar[], void *dst_ptr, int dst_stride_ar[],
		  int count[], int stride_levels, int proc, armci_hdl_t *hdl);
int PARMCI_NbGetS(void *src_ptr, int src_stride_ar[], void *dst_ptr, int dst_stride_ar[],
		  int count[], int stride_levels, int proc, armci_hdl_t *hdl);
int PARMCI_NbAccS(int datatype, void *scale, void *src_ptr, int src_stride_ar[], void *dst_ptr,
		  int dst_stride_ar[], int count[], int stride_levels, int proc,
		  armci_hdl_t *hdl);
int PARMCI_NbPutV(armci_giov_t *iov, int iov_len, int proc, armci_hdl_t *handle);
int PARMCI_NbGetV(armci_giov_t *iov, int iov_len, int proc, armci_hdl_t *handle);
int PARMCI_NbAccV(int datatype, void *scale, armci_giov_t *iov, int iov_len, int proc,
		  armci_hdl_t *handle);
int PARMCI_NbPutValueInt(int src, void *dst, int proc, armci_hdl_t *hdl);
int PARMCI_NbPutValueLong(long src, void *dst, int proc, armci_hdl_t *hdl);
int PARMCI_NbPutValueFloat(float src, void *dst, int proc, armci_hdl_t *hdl);
int PARMCI_NbPutValueDouble(double src, void *dst, int proc, armci_hdl_t *hdl);

int PARMCI_Wait(armci_hdl_t *hdl);
int PARMCI_Test(armci_hdl_t *hdl);
int PARMCI_WaitProc(int proc);
int PARMCI_WaitAll(void);

void PARMCI_Fence(int proc);
void PARMCI_AllFence(void);
void PARMCI_GroupFence(ARMCI_Group *group);
void PARMCI_Barrier(void);
int parmci_notify(int proc);
int parmci_notify_wait(int proc, int *pval);
void parmci_msg_barrier(void);
void parmci_msg_group_barrier(ARMCI_Group *group);

int PARMCI_Rmw(int op, void *ploc, void *prem, int value, int proc);
int PARMCI_Create_mutexes(int count);
int PARMCI_Destroy_mutexes(void);
void PARMCI_Lock(int mutex, int proc);
void PARMCI_Unlock(int mutex, int proc);

#ifdef __cplusplus
}
#endif

/* Messages and collectives (armci_msg_…) are part of this interface. */
#include "message.h"

#endif
