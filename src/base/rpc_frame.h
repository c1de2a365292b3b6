/* SPDX-License-Identifier: BSD-3-Clause */
/* Decoding of one whole frame, shared by the files that implement base/rpc.h. */
#ifndef STASIS_BASE_RPC_FRAME_H
#define STASIS_BASE_RPC_FRAME_H

#include "base/rpc.h"

enum { RPC_MAGIC_BYTES = 8, RPC_HEADER_BYTES = 32 };

/* What a frame begins with. */
extern const char rpc_magic[RPC_MAGIC_BYTES];

struct rpc_header {
	uint32_t json_bytes;
	uint32_t blob_bytes;
};

/* Check the RPC_HEADER_BYTES at `frame` against the format and the limit `max` of a whole
 * frame. */
int rpc_header_parse(const char *frame, size_t max, struct rpc_header *ret_header,
		     struct err *err);

/* Decode the whole frame at `frame`, whose header is `header`: -EPROTO when it is damaged,
 * -ENOMEM. */
int rpc_frame_decode(const char *frame, struct rpc_header header, struct rpc_msg *ret_msg,
		     struct err *err);

#endif
