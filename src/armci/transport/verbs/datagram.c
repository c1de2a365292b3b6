/* SPDX-License-Identifier: BSD-3-Clause */
/* Datagrams for connection set-up: a UD queue pair with a few buffers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "armci/transport/verbs/verbs.h"

enum { GRH_BYTES = 40 };

static int datagram_recv(struct datagrams *datagrams, uint32_t buffer)
{
	struct ibv_sge sge = {.addr = (uintptr_t)pool_at(&datagrams->pool, buffer),
			      .length = GRH_BYTES + HANDSHAKE_BYTES,
			      .lkey = datagrams->pool.mr->lkey};
	struct ibv_recv_wr wr = {
		.wr_id = work_id(WORK_DATAGRAM, 0, 0, buffer), .sg_list = &sge, .num_sge = 1};
	struct ibv_recv_wr *bad;

	return -ibv_post_recv(datagrams->qp, &wr, &bad);
}

static int datagrams_start(struct datagrams *datagrams, const struct device *device)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT, .port_num = device->port, .qkey = datagrams->qkey};
	int rc = ibv_modify_qp(datagrams->qp, &attr,
			       IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_QKEY);

	for (uint32_t i = 0; rc == 0 && i < datagrams->recvs; i++)
		rc = -datagram_recv(datagrams, datagrams->sends + i);
	attr.qp_state = IBV_QPS_RTR;
	if (rc == 0)
		rc = ibv_modify_qp(datagrams->qp, &attr, IBV_QP_STATE);
	attr.qp_state = IBV_QPS_RTS;
	if (rc == 0)
		rc = ibv_modify_qp(datagrams->qp, &attr, IBV_QP_STATE | IBV_QP_SQ_PSN);
	return -rc;
}

int datagrams_open(struct datagrams *datagrams, struct device *device, struct ibv_cq *cq,
		   uint32_t sends, uint32_t recvs, struct err *err)
{
	struct ibv_qp_init_attr init = {
		.send_cq = cq,
		.recv_cq = cq,
		.qp_type = IBV_QPT_UD,
		.cap = {.max_send_wr = sends,
			.max_recv_wr = recvs,
			.max_send_sge = 1,
			.max_recv_sge = 1},
	};
	int rc = pool_open(&datagrams->pool, device, sends + recvs, GRH_BYTES + HANDSHAKE_BYTES,
			   err);

	if (rc < 0)
		return rc;
	datagrams->sends = sends;
	datagrams->recvs = recvs;
	datagrams->qkey = (uint32_t)random_number() & INT32_MAX;
	for (uint32_t i = 0; i < sends; i++)
		datagrams->pool.free[i] = i;
	datagrams->pool.free_count = sends;
	datagrams->ahs = calloc(sends, sizeof(*datagrams->ahs));
	if (!datagrams->ahs)
		return err_sys(err, ENOMEM, "no memory for datagrams");
	datagrams->qp = ibv_create_qp(device->pd, &init);
	if (!datagrams->qp)
		return err_sys(err, errno, "%s gives no queue pair for datagrams",
			       device->name);
	rc = datagrams_start(datagrams, device);
	if (rc < 0)
		return err_sys(err, -rc, "%s does not start a queue pair for datagrams",
			       device->name);
	return 0;
}

void datagrams_close(struct datagrams *datagrams)
{
	if (datagrams->qp)
		ibv_destroy_qp(datagrams->qp);
	for (uint32_t i = 0; datagrams->ahs && i < datagrams->sends; i++)
		if (datagrams->ahs[i])
			ibv_destroy_ah(datagrams->ahs[i]);
	free(datagrams->ahs);
	pool_close(&datagrams->pool);
	*datagrams = (struct datagrams){0};
}

int datagram_ah(struct device *device, const struct handshake_place *to, struct ibv_ah **ret_ah,
		struct err *err)
{
	struct ibv_ah_attr attr;
	int code;

	path_attr(device, to, &attr);
	*ret_ah = ibv_create_ah(device->pd, &attr);
	if (*ret_ah)
		return 0;
	code = errno ? errno : EHOSTUNREACH;
	return err_sys(err, code, "%s finds no way there: is the node up, and in this network",
		       device->name);
}

int datagram_send(struct datagrams *datagrams, const struct handshake *shake,
		  const struct handshake_place *to, struct ibv_ah *ah, bool owned)
{
	struct pool *pool = &datagrams->pool;
	struct ibv_sge sge = {.lkey = pool->mr->lkey};
	struct ibv_send_wr wr = {.sg_list = &sge,
				 .num_sge = 1,
				 .opcode = IBV_WR_SEND,
				 .send_flags = IBV_SEND_SIGNALED | IBV_SEND_SOLICITED};
	struct ibv_send_wr *bad;
	uint32_t buffer;
	int rc = -EAGAIN;

	if (pool->free_count > 0) {
		buffer = pool->free[--pool->free_count];
		sge.addr = (uintptr_t)pool_at(pool, buffer);
		sge.length = (uint32_t)handshake_encode(shake, pool_at(pool, buffer));
		wr.wr_id = work_id(WORK_DATAGRAM_SENT, 0, 0, buffer);
		wr.wr.ud.ah = ah;
		wr.wr.ud.remote_qpn = to->qpn;
		wr.wr.ud.remote_qkey = to->qkey;
		datagrams->ahs[buffer] = owned ? ah : NULL;
		rc = -ibv_post_send(datagrams->qp, &wr, &bad);
		if (rc == 0) {
			datagrams->sent_count++;
			return 0;
		}
		datagrams->ahs[buffer] = NULL;
		pool->free[pool->free_count++] = buffer;
	}
	if (owned)
		ibv_destroy_ah(ah);
	return rc;
}

bool datagram_taken(struct datagrams *datagrams, const struct ibv_wc *wc,
		    struct handshake *ret_shake)
{
	uint32_t buffer = (uint32_t)wc->wr_id;
	struct pool *pool = &datagrams->pool;
	bool good = false;

	if (work_kind(wc->wr_id) == WORK_DATAGRAM_SENT) {
		if (datagrams->ahs[buffer])
			ibv_destroy_ah(datagrams->ahs[buffer]);
		datagrams->ahs[buffer] = NULL;
		pool->free[pool->free_count++] = buffer;
		datagrams->sent_count--;
		return false;
	}
	if (wc->status == IBV_WC_SUCCESS && wc->byte_len >= GRH_BYTES)
		good = handshake_decode(pool_at(pool, buffer) + GRH_BYTES,
					wc->byte_len - GRH_BYTES, ret_shake) == 0;
	if (wc->status == IBV_WC_SUCCESS)
		datagram_recv(datagrams, buffer);
	return good;
}
