/* SPDX-License-Identifier: BSD-3-Clause */
/* RC queue pairs: making them, and bringing them to life once the far end is known. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "armci/core/settings.h"
#include "armci/transport/verbs/verbs.h"

enum {
	HOPS = 64,
	RNR_TIMER = 12, /* a receiver without buffers asks for 0.64 ms */
	RNR_FOR_EVER = 7,
	SOFT_TIMEOUT = 15, /* 134 ms: it loses packets often, and tries again for ever if told 7
			      times */
};

uint64_t random_number(void)
{
	uint64_t number = 0;

	while (getrandom(&number, sizeof(number), 0) != sizeof(number))
		;
	return number;
}

int cq_grow(struct device *device, struct ibv_cq *cq, uint32_t *used, uint32_t more,
	    struct err *err)
{
	uint32_t most = (uint32_t)device->attr.max_cqe, need = *used + more;
	uint32_t size = need * 2 < most ? need * 2 : most;
	int rc;

	if (need > most)
		return err_set(err, ENOSPC,
			       "%s has completion queues of %u entries, too few for one more "
			       "connection: lower STASIS_ARMCI_VERBS_DEPTH or _CREDITS",
			       device->name, most);
	if (need > (uint32_t)cq->cqe) {
		rc = ibv_resize_cq(cq, (int)size);
		if (rc != 0)
			return err_sys(err, rc, "%s does not enlarge a completion queue to %u",
				       device->name, size);
	}
	*used = need;
	return 0;
}

void path_attr(const struct device *device, const struct handshake_place *to,
	       struct ibv_ah_attr *ret_attr)
{
	bool ib = device->port_attr.link_layer != IBV_LINK_LAYER_ETHERNET;
	bool far = memcmp(to->gid, device->gid.raw, 8) != 0; /* another subnet */

	*ret_attr = (struct ibv_ah_attr){.port_num = device->port};
	if (ib)
		ret_attr->dlid = to->lid;
	if (ib && to->lid && !far)
		return;
	ret_attr->is_global = 1;
	memcpy(ret_attr->grh.dgid.raw, to->gid, sizeof(to->gid));
	ret_attr->grh.sgid_index = (uint8_t)device->gid_index;
	ret_attr->grh.hop_limit = HOPS;
}

int qp_create(struct device *device, struct ibv_cq *cq, struct ibv_srq *srq, uint32_t sends,
	      uint32_t recvs, struct ibv_qp **ret_qp, struct err *err)
{
	struct ibv_qp_init_attr init = {
		.send_cq = cq,
		.recv_cq = cq,
		.srq = srq,
		.qp_type = IBV_QPT_RC,
		.cap = {.max_send_wr = sends,
			.max_recv_wr = recvs,
			.max_send_sge = 1,
			.max_recv_sge = recvs ? 1 : 0,
			.max_inline_data = device->inline_bytes},
	};
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = device->port,
		.qp_access_flags = IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ |
				   (device->atomics_coherent ? IBV_ACCESS_REMOTE_ATOMIC : 0),
	};
	int rc;

	*ret_qp = ibv_create_qp(device->pd, &init);
	if (!*ret_qp)
		return err_sys(err, errno, "%s gives no queue pair", device->name);
	rc = ibv_modify_qp(*ret_qp, &attr,
			   IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
				   IBV_QP_ACCESS_FLAGS);
	if (rc == 0)
		return 0;
	ibv_destroy_qp(*ret_qp);
	*ret_qp = NULL;
	return err_sys(err, rc, "%s does not initialise a queue pair", device->name);
}

int qp_connect(struct device *device, struct ibv_qp *qp, const struct handshake_place *place,
	       uint32_t qpn, uint32_t psn, uint32_t own_psn, uint8_t mtu, uint8_t reads,
	       struct err *err)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = (enum ibv_mtu)mtu,
		.dest_qp_num = qpn,
		.rq_psn = psn,
		.max_dest_rd_atomic = reads,
		.min_rnr_timer = RNR_TIMER,
	};
	int rc;

	path_attr(device, place, &attr.ah_attr);
	rc = ibv_modify_qp(qp, &attr,
			   IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
				   IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
				   IBV_QP_MIN_RNR_TIMER);
	if (rc != 0)
		return err_sys(err, rc,
			       "%s finds no way there: is the node up, and in this network",
			       device->name);
	attr.qp_state = IBV_QPS_RTS;
	attr.timeout = (uint8_t)settings.verbs_timeout;
	if (device->soft && attr.timeout > SOFT_TIMEOUT)
		attr.timeout = SOFT_TIMEOUT;
	attr.retry_cnt = (uint8_t)settings.verbs_retry;
	attr.rnr_retry = RNR_FOR_EVER;
	attr.sq_psn = own_psn;
	attr.max_rd_atomic = reads;
	rc = ibv_modify_qp(qp, &attr,
			   IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
				   IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
	if (rc != 0)
		return err_sys(err, rc, "%s does not start a queue pair", device->name);
	return 0;
}
