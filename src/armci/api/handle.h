/* SPDX-License-Identifier: BSD-3-Clause */
/* Users' handles: eight bytes that name a slot in which the operations under way are counted.
 */
#ifndef STASIS_ARMCI_API_HANDLE_H
#define STASIS_ARMCI_API_HANDLE_H

#include <armci.h>

#include "armci/remote/remote.h"

/*
 * The slot of a handle, a new one if it has none. NULL handle: the slot that all such
 * operations share. A slot whose operations are complete may be taken for another handle; the
 * old handle then counts as complete.
 */
struct remote_handle *handle_slot(armci_hdl_t *handle);

/* The slot if the handle has one, else NULL: complete. */
struct remote_handle *handle_find(const armci_hdl_t *handle);

/* After a wait: give the slot back. */
void handle_end(armci_hdl_t *handle);

void handles_close(void);

#endif
