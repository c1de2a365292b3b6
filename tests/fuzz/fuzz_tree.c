/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzz target: nodes of trees. The first byte says how many children there may be. */
#include <stdlib.h>
#include <string.h>

#include "store/tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t again[CHUNK_BYTES_MAX], *raw;
	struct node_ids node;
	uint64_t children;
	bool listed_zero = false;

	if (size == 0 || size - 1 > CHUNK_BYTES_MAX)
		return 0;
	/* In memory of its own, so that a read behind it is seen. */
	raw = malloc(size - 1);
	if (size > 1 && !raw)
		abort();
	if (raw)
		memcpy(raw, data + 1, size - 1);
	children = data[0] == 0 ? NODE_FANOUT : data[0];
	if (node_decode(raw, size - 1, children, &node, NULL) == 0) {
		unsigned int listed = 0;

		for (uint64_t i = children; i < NODE_FANOUT; i++)
			if (!chunk_id_is_zero(&node.ids[i]))
				abort();
		for (unsigned int i = 0; i < NODE_FANOUT; i++)
			listed += !chunk_id_is_zero(&node.ids[i]);
		/* A child that is listed with an id of zeros is one that is not listed. */
		listed_zero = 32 + (size_t)listed * CHUNK_ID_BYTES != size - 1;
		if (!listed_zero &&
		    (node_encode(&node, again) != size - 1 || memcmp(again, raw, size - 1)))
			abort();
	}
	free(raw);
	return 0;
}
