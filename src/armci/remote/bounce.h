/* SPDX-License-Identifier: BSD-3-Clause */
/* Bounce memory: slots in the arena, so registered, for transfers from and to memory that is
 * not. */
#ifndef STASIS_ARMCI_REMOTE_BOUNCE_H
#define STASIS_ARMCI_REMOTE_BOUNCE_H

#include <stddef.h>

#include "base/err.h"

enum { BOUNCE_SMALL = 4096, BOUNCE_LARGE = 65536 };

/* A quarter of settings.bounce_bytes in small slots, the rest in large ones. */
int bounce_open(struct err *err);
void bounce_close(void);

/* A slot of at least `bytes` (at most BOUNCE_LARGE), or NULL when all are in use: wait for
 * completions. */
void *bounce_get(size_t bytes);
void bounce_put(void *slot);

#endif
