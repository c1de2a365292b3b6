/* SPDX-License-Identifier: BSD-3-Clause */
/* Making requests and taking them apart. Pure: no state, nothing touched but the message. */
#include "armci/remote/wire.h"

#include <errno.h>
#include <string.h>

size_t wire_encode(void *buffer, const struct wire_request *head, const struct xfer *shape)
{
	struct wire_request request = *head;
	request.levels = shape ? (uint8_t)shape->levels : 0;
	memcpy(buffer, &request, sizeof request);
	size_t at = sizeof request;
	for (int i = 0; i < request.levels; i++) {
		struct wire_level level = {.count = shape->count[i],
					   .far_stride = shape->far_stride[i]};
		memcpy((char *)buffer + at, &level, sizeof level);
		at += sizeof level;
	}
	return at;
}

/* The levels behind the head; every product and sum of them must fit, so that no later walk can
 * overflow. */
static int decode_shape(const uint8_t *at, size_t left, struct wire_view *view)
{
	const struct wire_request *head = &view->head;
	if (head->levels > XFER_LEVELS_MAX || left < head->levels * sizeof(struct wire_level))
		return -EINVAL;
	struct xfer *shape = &view->shape;
	*shape = (struct xfer){.row = head->row, .levels = head->levels};
	uint64_t rows = 1;
	int64_t reach = 0;
	for (int i = 0; i < head->levels; i++) {
		struct wire_level level;
		memcpy(&level, at + (size_t)i * sizeof level, sizeof level);
		int64_t span;
		if (level.count == 0 || level.count > INT64_MAX ||
		    __builtin_mul_overflow(rows, level.count, &rows) ||
		    level.far_stride == INT64_MIN ||
		    __builtin_mul_overflow((int64_t)level.count,
					   level.far_stride < 0 ? -level.far_stride
								: level.far_stride,
					   &span) ||
		    __builtin_add_overflow(reach, span, &reach) || reach > INT64_MAX / 4)
			return -EINVAL;
		shape->count[i] = level.count;
		shape->far_stride[i] = level.far_stride;
	}
	if (head->count == 0 || head->first > rows || head->count > rows - head->first)
		return -EINVAL;
	return 0;
}

/* The scale, if any, and then exactly `want` bytes. */
static int decode_data(const uint8_t *at, size_t left, size_t want, struct wire_view *view)
{
	if (view->head.scaled) {
		size_t size = acc_size((enum acc_type)view->head.type);
		if (left < size)
			return -EINVAL;
		view->scale = at;
		at += size;
		left -= size;
	}
	if (left != want)
		return -EINVAL;
	view->data = at;
	view->data_bytes = left;
	return 0;
}

static bool is_acc(const struct wire_request *head)
{
	return head->op == WIRE_ACC || head->op == WIRE_ACCV;
}

static int decode_transfer(const uint8_t *at, size_t left, size_t answer_bytes,
			   struct wire_view *view)
{
	struct wire_request *head = &view->head;
	bool vector = head->op == WIRE_PUTV || head->op == WIRE_ACCV || head->op == WIRE_GETV;
	uint64_t bytes;
	if (is_acc(head)) {
		if (head->type >= ACC_TYPES || head->row % acc_size((enum acc_type)head->type))
			return -EINVAL;
	} else if (head->scaled) {
		return -EINVAL;
	}
	if (head->row == 0 ||
	    __builtin_mul_overflow(head->row, (uint64_t)head->count, &bytes) ||
	    bytes > (uint64_t)INT32_MAX)
		return -EINVAL;
	if (vector) {
		if (head->levels != 0 || head->count == 0 || left / 8 < head->count)
			return -EINVAL;
		view->offsets = at;
		at += (size_t)head->count * 8;
		left -= (size_t)head->count * 8;
	} else {
		int rc = decode_shape(at, left, view);
		if (rc < 0)
			return rc;
		at += head->levels * sizeof(struct wire_level);
		left -= head->levels * sizeof(struct wire_level);
	}
	if (head->op == WIRE_GET || head->op == WIRE_GETV)
		return left == 0 && bytes <= answer_bytes ? 0 : -EINVAL;
	return decode_data(at, left, bytes, view);
}

int wire_decode(const void *message, size_t bytes, size_t answer_bytes,
		struct wire_view *ret_view)
{
	*ret_view = (struct wire_view){0};
	struct wire_request *head = &ret_view->head;
	if (bytes < sizeof *head)
		return -EINVAL;
	memcpy(head, message, sizeof *head);
	const uint8_t *at = (const uint8_t *)message + sizeof *head;
	size_t left = bytes - sizeof *head;
	switch (head->op) {
	case WIRE_PUT:
	case WIRE_ACC:
	case WIRE_GET:
	case WIRE_PUTV:
	case WIRE_ACCV:
	case WIRE_GETV: return decode_transfer(at, left, answer_bytes, ret_view);
	case WIRE_MESSAGE:
		ret_view->data = at;
		ret_view->data_bytes = left;
		return 0;
	case WIRE_KEYS:
		return left == 0 && head->count > 0 && head->count <= answer_bytes / 16
			       ? 0
			       : -EINVAL;
	case WIRE_RMW:
	case WIRE_LOCK:
	case WIRE_TRYLOCK:
	case WIRE_UNLOCK:
	case WIRE_CHECK:
	case WIRE_PING: return left == 0 ? 0 : -EINVAL;
	default: return -EINVAL;
	}
}

void wire_rows_begin(struct wire_rows *rows, const struct xfer *shape, uint64_t first,
		     uint64_t count)
{
	*rows = (struct wire_rows){.shape = shape, .left = count};
	for (int i = 0; i < shape->levels && first; i++) {
		rows->index[i] = first % shape->count[i];
		first /= shape->count[i];
		rows->near += (ptrdiff_t)rows->index[i] * shape->near_stride[i];
		rows->far += (ptrdiff_t)rows->index[i] * shape->far_stride[i];
	}
}

void wire_rows_next(struct wire_rows *rows)
{
	const struct xfer *shape = rows->shape;
	if (--rows->left == 0)
		return;
	for (int i = 0; i < shape->levels; i++) {
		rows->near += shape->near_stride[i];
		rows->far += shape->far_stride[i];
		if (++rows->index[i] < shape->count[i])
			return;
		rows->index[i] = 0;
		rows->near -= (ptrdiff_t)shape->count[i] * shape->near_stride[i];
		rows->far -= (ptrdiff_t)shape->count[i] * shape->far_stride[i];
	}
}
