/* SPDX-License-Identifier: BSD-3-Clause */
/* Extensions of ARMCI-MPI: groups, sets of mutexes, progress. armci.h's rules hold here too. */
#ifndef _ARMCIX_H_
#define _ARMCIX_H_

#include <stdint.h>

#include "armci.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Split a group, as MPI_Comm_split does: members that give the same color are in one new group,
 * ordered by key and then by their rank in the parent. color MPI_UNDEFINED: in none (comm
 * MPI_COMM_NULL, rank -1, size 0). Collective over the parent. [M]
 */
int ARMCIX_Group_split(ARMCI_Group *parent, int color, int key, ARMCI_Group *new_group);
/* A new group with the same members in the same order. Collective over the parent. [M] */
int ARMCIX_Group_dup(ARMCI_Group *parent, ARMCI_Group *new_group);

/* A set of mutexes. my_count (how many the caller asked for), max_count (the most that a member
 * asked for) and grp may be read; the rest is not used. [M] */
struct armcix_mutex_hdl_s {
	int my_count;
	int max_count;
	ARMCI_Group grp;
	MPI_Win *windows;
	uint8_t **bases;
};
typedef struct armcix_mutex_hdl_s *armcix_mutex_hdl_t;

/*
 * Make a set of mutexes, `count` of them on the calling member, numbered from 0; members may
 * ask for different counts. Collective over the group. Any number of sets may exist, beside the
 * one of ARMCI_Create_mutexes. The set is freed by ARMCIX_Destroy_mutexes_hdl; the group must
 * live longer than it. NULL on all members if one is out of memory. [M]
 */
armcix_mutex_hdl_t ARMCIX_Create_mutexes_hdl(int count, ARMCI_Group *pgroup);
/* Destroy the set; collective over its group. Nobody may hold one of its mutexes. [M] */
int ARMCIX_Destroy_mutexes_hdl(armcix_mutex_hdl_t hdl);
/* Wait for mutex number `mutex` of rank `proc` of the world and take it. First come, first
 * served; taking it twice is an error. [M] */
void ARMCIX_Lock_hdl(armcix_mutex_hdl_t hdl, int mutex, int proc);
/* Take it if it is free: returns 0. Returns 1, without waiting, if somebody has it. [M] */
int ARMCIX_Trylock_hdl(armcix_mutex_hdl_t hdl, int mutex, int proc);
/* Give it back, as ARMCI_Unlock does. [M] */
void ARMCIX_Unlock_hdl(armcix_mutex_hdl_t hdl, int mutex, int proc);

/* Advance the caller's own operations once, without waiting. Never needed: operations go on
 * without calls. [M] */
void ARMCIX_Progress(void);

#ifdef __cplusplus
}
#endif

#endif
