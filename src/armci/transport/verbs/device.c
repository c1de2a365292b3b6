/* SPDX-License-Identifier: BSD-3-Clause */
/* Choosing and opening a device: port, GID, MTU, and what it can do. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "armci/core/settings.h"
#include "armci/transport/verbs/verbs.h"

enum { MTU_LEAST = 256, SOFT_VENDOR = 0xffffff, SOFT_PART = 128 << 10, SOFT_READS = 4 };

static bool gid_is_ipv4(const union ibv_gid *gid)
{
	static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};

	return memcmp(gid->raw, prefix, sizeof(prefix)) == 0;
}

/* RoCE v2 with an IPv4 address is routable and made with every address; v1 and IPv6 only where
 * that is missing. */
static int gid_worth(const struct ibv_gid_entry *entry)
{
	if (entry->gid_type == IBV_GID_TYPE_ROCE_V2)
		return gid_is_ipv4(&entry->gid) ? 3 : 2;
	return 1;
}

static void gid_take(struct device *device, const struct ibv_gid_entry *entry)
{
	device->gid = entry->gid;
	device->gid_index = (int)entry->gid_index;
	device->gid_type = entry->gid_type == IBV_GID_TYPE_ROCE_V2   ? "RoCE v2"
			   : entry->gid_type == IBV_GID_TYPE_ROCE_V1 ? "RoCE v1"
								     : "InfiniBand";
}

/* -ENODEV: the port has no GID, and needs one. */
static int gid_choose(struct device *device)
{
	struct ibv_gid_entry entry;
	int64_t wanted = settings.verbs_gid_index;
	int best = 0, worth;

	if (wanted < 0 && device->port_attr.link_layer != IBV_LINK_LAYER_ETHERNET)
		wanted = 0;
	if (wanted >= 0) {
		if (wanted >= device->port_attr.gid_tbl_len ||
		    ibv_query_gid_ex(device->context, device->port, (uint32_t)wanted, &entry,
				     0) != 0)
			return -ENODEV;
		gid_take(device, &entry);
		return 0;
	}
	for (int i = 0; i < device->port_attr.gid_tbl_len; i++) {
		if (ibv_query_gid_ex(device->context, device->port, (uint32_t)i, &entry, 0) !=
		    0)
			continue;
		worth = gid_worth(&entry);
		if (worth > best)
			gid_take(device, &entry);
		if (worth > best)
			best = worth;
		if (best == 3)
			break;
	}
	return best ? 0 : -ENODEV;
}

/* Take the port if it is active and has an address; what is missing goes to `why`. */
static bool port_usable(struct device *device, uint8_t port, char *why, size_t size)
{
	if (ibv_query_port(device->context, port, &device->port_attr) != 0) {
		snprintf(why, size, "%s has no port %u", device->name, port);
		return false;
	}
	device->port = port;
	if (device->port_attr.state != IBV_PORT_ACTIVE) {
		snprintf(why, size, "port %u of %s is %s, not active", port, device->name,
			 ibv_port_state_str(device->port_attr.state));
		return false;
	}
	if (gid_choose(device) == 0)
		return true;
	if (settings.verbs_gid_index >= 0)
		snprintf(why, size, "port %u of %s has no GID of index %d", port, device->name,
			 (int)settings.verbs_gid_index);
	else
		snprintf(why, size,
			 "port %u of %s has no GID: give its network interface an address",
			 port, device->name);
	return false;
}

/* Open the device if it has a port that we can use. */
static bool device_try(struct device *device, struct ibv_device *candidate, char *why,
		       size_t size)
{
	uint8_t first = (uint8_t)settings.verbs_port, last = first;

	snprintf(device->name, sizeof(device->name), "%s", ibv_get_device_name(candidate));
	device->context = ibv_open_device(candidate);
	if (!device->context) {
		snprintf(why, size, "%s cannot be opened: %s", device->name, strerror(errno));
		return false;
	}
	if (ibv_query_device(device->context, &device->attr) == 0) {
		if (first == 0) {
			first = 1;
			last = device->attr.phys_port_cnt;
		}
		for (uint8_t port = first; port <= last; port++)
			if (port_usable(device, port, why, size))
				return true;
	} else {
		snprintf(why, size, "%s cannot be queried", device->name);
	}
	ibv_close_device(device->context);
	device->context = NULL;
	return false;
}

static int device_find(struct device *device, struct err *err)
{
	const char *wanted = settings.verbs_device;
	char why[256] = "";
	int count = 0;
	struct ibv_device **list = ibv_get_device_list(&count);

	for (int i = 0; list && i < count && !device->context; i++) {
		if (*wanted && strcmp(wanted, ibv_get_device_name(list[i])) != 0)
			continue;
		if (list[i]->transport_type == IBV_TRANSPORT_IB)
			device_try(device, list[i], why, sizeof(why));
		else
			snprintf(why, sizeof(why), "%s is neither InfiniBand nor RoCE",
				 ibv_get_device_name(list[i]));
	}
	if (list)
		ibv_free_device_list(list);
	if (device->context)
		return 0;
	if (*why)
		return err_set(err, ENODEV, "no InfiniBand device can be used: %s", why);
	if (*wanted)
		return err_set(err, ENODEV,
			       "there is no InfiniBand device '%s': ibv_devices lists them",
			       wanted);
	return err_set(err, ENODEV, "there is no InfiniBand device");
}

static enum ibv_mtu mtu_choose(const struct ibv_port_attr *port)
{
	enum ibv_mtu mtu = port->active_mtu;

	if (settings.verbs_mtu > 0)
		while (mtu > IBV_MTU_256 && (MTU_LEAST << (mtu - 1)) > settings.verbs_mtu)
			mtu--;
	return mtu;
}

/* How many bytes can go with a work request: asked of a queue pair that is made for it. */
static int inline_probe(struct device *device, struct err *err)
{
	struct ibv_cq *cq = ibv_create_cq(device->context, 1, NULL, NULL, 0);
	struct ibv_qp *qp = NULL;
	int saved;

	if (!cq)
		return err_sys(err, errno, "%s gives no completion queue", device->name);
	for (uint32_t bytes = INLINE_MAX;; bytes /= 2) {
		struct ibv_qp_init_attr init = {
			.send_cq = cq,
			.recv_cq = cq,
			.qp_type = IBV_QPT_RC,
			.cap = {.max_send_wr = 1,
				.max_recv_wr = 1,
				.max_send_sge = 1,
				.max_recv_sge = 1,
				.max_inline_data = bytes},
		};

		qp = ibv_create_qp(device->pd, &init);
		saved = errno;
		device->inline_bytes = bytes;
		if (qp || bytes < 8)
			break;
	}
	if (qp)
		ibv_destroy_qp(qp);
	ibv_destroy_cq(cq);
	if (!qp)
		return err_sys(err, saved, "%s gives no queue pair", device->name);
	return 0;
}

static void limits_take(struct device *device)
{
	const struct ibv_device_attr *attr = &device->attr;
	uint32_t most = (uint32_t)settings.verbs_depth;

	if (attr->max_qp_wr > 0 && (uint32_t)attr->max_qp_wr < most)
		most = (uint32_t)attr->max_qp_wr;
	for (device->depth = 1; device->depth * 2 <= most;)
		device->depth *= 2;
	device->reads = READS_MAX;
	if (attr->max_qp_rd_atom < device->reads)
		device->reads = (uint8_t)attr->max_qp_rd_atom;
	if (attr->max_qp_init_rd_atom < device->reads)
		device->reads = (uint8_t)attr->max_qp_init_rd_atom;
	device->soft = attr->vendor_id == SOFT_VENDOR || strncmp(device->name, "rxe", 3) == 0;
	device->message_max =
		device->port_attr.max_msg_sz ? device->port_attr.max_msg_sz : 1 << 20;
	device->part_bytes = device->message_max;
	/* It answers a read by all packets at once, more than the receiving interface may hold.
	 */
	if (device->soft && device->part_bytes > SOFT_PART)
		device->part_bytes = SOFT_PART;
	if (device->soft && device->reads > SOFT_READS)
		device->reads = SOFT_READS;
	if (device->reads == 0)
		device->reads = 1;
	/* Its responder copies the data and then sends the acknowledgement, all by the CPU. */
	device->acks_visible = device->soft;
	device->atomics_coherent = attr->atomic_cap == IBV_ATOMIC_GLOB;
}

int device_open(struct device *device, struct err *err)
{
	int rc = device_find(device, err);

	if (rc < 0)
		return rc;
	device->mtu = mtu_choose(&device->port_attr);
	limits_take(device);
	device->pd = ibv_alloc_pd(device->context);
	if (!device->pd)
		rc = err_sys(err, errno, "%s gives no protection domain", device->name);
	else
		rc = inline_probe(device, err);
	if (rc < 0)
		device_close(device);
	return rc;
}

void device_close(struct device *device)
{
	if (device->pd)
		ibv_dealloc_pd(device->pd);
	if (device->context)
		ibv_close_device(device->context);
	device->pd = NULL;
	device->context = NULL;
}

void device_describe(const struct device *device, char *ret_text, size_t size)
{
	char gid[INET6_ADDRSTRLEN] = "", where[96];
	bool ib = device->port_attr.link_layer != IBV_LINK_LAYER_ETHERNET;

	inet_ntop(AF_INET6, device->gid.raw, gid, sizeof(gid));
	if (ib && device->port_attr.lid)
		snprintf(where, sizeof(where), "LID %u", device->port_attr.lid);
	else
		snprintf(where, sizeof(where), "GID %d %s", device->gid_index, gid);
	snprintf(ret_text, size, "verbs: %s port %u, %s%s, %s, MTU %d, %s", device->name,
		 device->port, device->gid_type, device->soft ? " in software" : "", where,
		 MTU_LEAST << (device->mtu - 1),
		 device->atomics_coherent ? "atomics by the device" : "atomics by the CPU");
}

struct handshake_place device_place(const struct device *device)
{
	bool ethernet = device->port_attr.link_layer == IBV_LINK_LAYER_ETHERNET;
	struct handshake_place place = {.lid = device->port_attr.lid,
					.mtu = (uint8_t)device->mtu,
					.link_layer = ethernet ? IBV_LINK_LAYER_ETHERNET
							       : IBV_LINK_LAYER_INFINIBAND};

	memcpy(place.gid, device->gid.raw, sizeof(place.gid));
	return place;
}
