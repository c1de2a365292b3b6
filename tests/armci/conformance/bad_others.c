/* SPDX-License-Identifier: BSD-3-Clause */
/* Wrong use of mutexes, memory and messages, and calls at the wrong time (bad_use.h). */
#include <stddef.h>

#include <armcix.h>

#include "bad_use.h"
#include "conf.h"

static int one = 1;

/* ---- Mutexes ---- */

static void unlock_free(void)
{
	ARMCI_Unlock(0, bad_other());
}

static void unlock_of_other(void)
{
	if (conf_rank == bad_other())
		ARMCI_Lock(0, bad_other());
	ARMCI_Barrier();
	if (conf_rank == 0)
		ARMCI_Unlock(0, bad_other());
	ARMCI_Barrier();
}

static void lock_twice(void)
{
	ARMCI_Lock(0, bad_other());
	ARMCI_Lock(0, bad_other());
}

static void lock_number(void)
{
	ARMCI_Lock(1, bad_other());
}

static void lock_negative(void)
{
	ARMCI_Lock(-1, bad_other());
}

static void lock_rank(void)
{
	ARMCI_Lock(0, conf_size);
}

static void lock_none(void)
{
	ARMCI_Destroy_mutexes();
	ARMCI_Lock(0, conf_rank);
}

static void destroy_twice(void)
{
	ARMCI_Destroy_mutexes();
	ARMCI_Destroy_mutexes();
}

static void create_twice(void)
{
	ARMCI_Create_mutexes(1);
}

static void create_negative(void)
{
	ARMCI_Destroy_mutexes();
	ARMCI_Create_mutexes(-1);
}

static void set_unlock_free(void)
{
	ARMCI_Group world;
	armcix_mutex_hdl_t set;

	ARMCI_Group_get_world(&world);
	set = ARMCIX_Create_mutexes_hdl(1, &world);
	ARMCIX_Unlock_hdl(set, 0, bad_other());
}

/* ---- Memory ---- */

static void free_nonsense(void)
{
	ARMCI_Free(bad_outside);
}

static void free_inside(void)
{
	ARMCI_Free((char *)bad_bases[conf_rank] + 8);
}

static void free_twice(void)
{
	ARMCI_Free(bad_bases[conf_rank]);
	ARMCI_Free(bad_bases[conf_rank]);
}

static void free_local_nonsense(void)
{
	ARMCI_Free_local(bad_outside);
}

static void memget_nothing(void)
{
	armci_meminfo_t info;

	ARMCI_Memget(0, &info, 0);
}

/* ---- Messages ---- */

static void gop_op(void)
{
	armci_msg_igop(&one, 1, "plus");
}

static void gop_type(void)
{
	armci_msg_gop_scope(SCOPE_ALL, bad_local, 1, "+", 77);
}

static void gop_scope(void)
{
	armci_msg_gop_scope(9, bad_local, 1, "+", ARMCI_INT);
}

static void gop_negative(void)
{
	armci_msg_igop(&one, -1, "+");
}

static void send_negative(void)
{
	armci_msg_snd(1, bad_local, -4, bad_other());
}

static void message_too_long(void)
{
	armci_msg_snd(1, bad_local, 100, 0);
	armci_msg_rcv(1, bad_local, 50, NULL, 0);
}

/* ---- Outside of ARMCI_Init and ARMCI_Finalize ---- */

static void use_put(void)
{
	ARMCI_Put(bad_local, bad_outside, 8, 0);
}

static void use_malloc(void)
{
	void *pointers[64];

	ARMCI_Malloc(pointers, 8);
}

static void use_barrier(void)
{
	ARMCI_Barrier();
}

static void use_rmw(void)
{
	ARMCI_Rmw(ARMCI_FETCH_AND_ADD, bad_local, bad_outside, 1, 0);
}

static void use_gop(void)
{
	armci_msg_igop(&one, 1, "+");
}

static void use_finalize(void)
{
	ARMCI_Finalize();
}

/* ---- The ends that programs ask for ---- */

static void error(void)
{
	ARMCI_Error("words of the program", 7);
}

static void abort_job(void)
{
	armci_msg_abort(3);
}

const struct bad_mode bad_others[] = {
	{"unlock_free", "ARMCI_Unlock", ALONE, unlock_free},
	{"unlock_of_other", "ARMCI_Unlock", ALL, unlock_of_other},
	{"lock_twice", "ARMCI_Lock", ALONE, lock_twice},
	{"lock_number", "ARMCI_Lock", ALONE, lock_number},
	{"lock_negative", "ARMCI_Lock", ALONE, lock_negative},
	{"lock_rank", "ARMCI_Lock", ALONE, lock_rank},
	{"lock_none", "ARMCI_Lock", ALL, lock_none},
	{"destroy_twice", "ARMCI_Destroy_mutexes", ALL, destroy_twice},
	{"create_twice", "ARMCI_Create_mutexes", ALL, create_twice},
	{"create_negative", "ARMCI_Create_mutexes", ALL, create_negative},
	{"set_unlock_free", "ARMCIX_Unlock_hdl", ALL, set_unlock_free},
	{"free_nonsense", "ARMCI_Free", ALL, free_nonsense},
	{"free_inside", "ARMCI_Free", ALL, free_inside},
	{"free_twice", "ARMCI_Free", ALL, free_twice},
	{"free_local_nonsense", "ARMCI_Free_local", ALONE, free_local_nonsense},
	{"memget_nothing", "ARMCI_Memget", ALONE, memget_nothing},
	{"gop_op", "armci_msg_igop", ALL, gop_op},
	{"gop_type", "armci_msg_gop_scope", ALL, gop_type},
	{"gop_scope", "armci_msg_gop_scope", ALL, gop_scope},
	{"gop_negative", "armci_msg_igop", ALL, gop_negative},
	{"send_negative", "armci_msg_snd", ALONE, send_negative},
	{"message_too_long", "armci_msg_rcv", ALONE, message_too_long},
	{"put_before", "ARMCI_Put", BEFORE, use_put},
	{"malloc_before", "ARMCI_Malloc", BEFORE, use_malloc},
	{"barrier_before", "ARMCI_Barrier", BEFORE, use_barrier},
	{"rmw_before", "ARMCI_Rmw", BEFORE, use_rmw},
	{"gop_before", "armci_msg_igop", BEFORE, use_gop},
	{"finalize_before", "ARMCI_Finalize", BEFORE, use_finalize},
	{"put_after", "ARMCI_Put", AFTER, use_put},
	{"malloc_after", "ARMCI_Malloc", AFTER, use_malloc},
	{"barrier_after", "ARMCI_Barrier", AFTER, use_barrier},
	{"gop_after", "armci_msg_igop", AFTER, use_gop},
	{"finalize_after", "ARMCI_Finalize", AFTER, use_finalize},
	{"error", "ARMCI_Error", ALONE, error},
	{"abort", "armci_msg_abort", SILENT, abort_job},
	{NULL, NULL, ALONE, NULL},
};
