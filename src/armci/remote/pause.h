/* SPDX-License-Identifier: BSD-3-Clause */
/* Between nodes, for suspension: drain, release, reopen, connect. */
#ifndef STASIS_ARMCI_REMOTE_PAUSE_H
#define STASIS_ARMCI_REMOTE_PAUSE_H

#include <stddef.h>
#include <stdint.h>

#include "armci/transport/transport.h"
#include "base/err.h"

/*
 * The caller has closed the gate and, for all but the first of these, found it empty, so that
 * it is the client side's one thread (client.h); it calls them in their order, remote_undrain()
 * when it is about to open the gate. Without other nodes all of them do nothing.
 */

/*
 * When the gate has been closed: the service thread goes on answering others, and sends back
 * what would make a client wait for the application, see serve_drain(). Without it two
 * processes might be inside their gates, each in a lock that only the other's end of it ends.
 */
void remote_drain_begin(void);

/* Complete what this process has under way, here and there. -ETIMEDOUT with a sentence when
 * that is not done at `deadline_ns`. */
int remote_drain(int64_t deadline_ns, struct err *err);
void remote_undrain(void);

/* When no process has anything under way: stop serving, and free everything of the device. */
void remote_release(void);

/* Open a device, perhaps another one, and serve; tries again until `deadline_ns`. */
int remote_reopen(int64_t deadline_ns, struct err *err);

/* The address at which others find this process goes to ret_card (TRANSPORT_ADDRESS_MAX bytes).
 * Its length; 0 without other nodes. */
size_t remote_card(void *ret_card);

/* Learn the new addresses: `card` gives that of a rank, NULL if it has none. Connections are
 * made when they are needed. */
typedef const void *remote_card_fn(void *arg, int rank, size_t *ret_bytes);
int remote_connect(remote_card_fn *card, void *arg, struct err *err);

#endif
