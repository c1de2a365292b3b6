/* SPDX-License-Identifier: BSD-3-Clause */
/* Contiguous put and get under the name of the call that asks for them. */
#ifndef STASIS_ARMCI_API_CONTIG_H
#define STASIS_ARMCI_API_CONTIG_H

/* As ARMCI_Put and ARMCI_Get; `name` is what a sentence begins with. */
int contig_put(const char *name, void *src, void *dst, int size, int rank);
int contig_get(const char *name, void *src, void *dst, int size, int rank);

#endif
