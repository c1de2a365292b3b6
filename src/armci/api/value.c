/* SPDX-License-Identifier: BSD-3-Clause */
/* Put and get of single values: four types, one pattern each. */
#include <armci.h>

#include "armci/api/contig.h"
#include "armci/api/profile.h"

/* Inside, a value is a contiguous transfer of its size. */
#define VALUE(type, name)                                                                      \
	int PARMCI_PutValue##name(type src, void *dst, int proc)                               \
	{                                                                                      \
		return contig_put("ARMCI_PutValue" #name, &src, dst, (int)sizeof src, proc);   \
	}                                                                                      \
	int PARMCI_NbPutValue##name(type src, void *dst, int proc, armci_hdl_t *hdl)           \
	{                                                                                      \
		(void)hdl; /* src is on our stack: it must be taken before we return */        \
		return contig_put("ARMCI_NbPutValue" #name, &src, dst, (int)sizeof src, proc); \
	}                                                                                      \
	type PARMCI_GetValue##name(void *src, int proc)                                        \
	{                                                                                      \
		type value;                                                                    \
		contig_get("ARMCI_GetValue" #name, src, &value, (int)sizeof value, proc);      \
		return value;                                                                  \
	}                                                                                      \
	ARMCI_ALIAS(int, PutValue##name, (type src, void *dst, int proc));                     \
	ARMCI_ALIAS(int, NbPutValue##name, (type src, void *dst, int proc, armci_hdl_t *hdl)); \
	ARMCI_ALIAS(type, GetValue##name, (void *src, int proc))

VALUE(int, Int);
VALUE(long, Long);
VALUE(float, Float);
VALUE(double, Double);
