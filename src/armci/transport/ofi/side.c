/* SPDX-License-Identifier: BSD-3-Clause */
/* One side: domain, addresses, completion queue, endpoint, and the messages that it receives
 * and sends. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "armci/transport/ofi/ofi.h"

enum { READ_MAX = 16, POSTED_MOST = 64, POSTED_LEAST = 8, POSTED_BYTES = 1 << 20, TICK_MS = 1 };

static int fail_open(struct transport *transport, struct err *err, const char *what, int rc)
{
	return err_set(err, rc == -FI_ENOMEM ? ENOMEM : EIO,
		       "%s of libfabric's provider %s: %s", what,
		       transport->info->fabric_attr->prov_name, libfabric.strerror(-rc));
}

static int enable(struct transport *transport, struct ofi_side *side, struct err *err)
{
	int rc = fi_ep_bind(side->ep, &side->av->fid, 0);

	if (rc == 0)
		rc = fi_ep_bind(side->ep, &side->cq->fid, FI_TRANSMIT | FI_RECV);
	if (rc == 0)
		rc = fi_enable(side->ep);
	if (rc)
		return fail_open(transport, err, "enabling an endpoint", rc);
	if (fi_control(&side->cq->fid, FI_GETWAIT, &side->fd) != 0)
		side->fd = -1;
	side->name_bytes = sizeof(side->name);
	rc = fi_getname(&side->ep->fid, side->name, &side->name_bytes);
	if (rc)
		return fail_open(transport, err, "name of an endpoint", rc);
	return 0;
}

int ofi_side_open(struct transport *transport, struct ofi_side *side, struct err *err)
{
	struct fi_cq_attr cq_attr = {.format = FI_CQ_FORMAT_MSG, .wait_obj = FI_WAIT_FD};
	struct fi_av_attr av_attr = {.type = transport->info->domain_attr->av_type};
	bool local = transport->info->domain_attr->mr_mode & FI_MR_LOCAL;
	int rc = fi_domain(transport->fabric, transport->info, &side->domain, NULL);

	side->fd = -1;
	if (rc) {
		side->domain = NULL;
		return fail_open(transport, err, "a domain", rc);
	}
	ofi_pool_open(&side->messages, local ? side->domain : NULL,
		      sizeof(struct ofi_message) + transport->config.message_bytes);
	rc = fi_av_open(side->domain, &av_attr, &side->av, NULL);
	if (rc) {
		side->av = NULL;
		return fail_open(transport, err, "an address vector", rc);
	}
	rc = fi_cq_open(side->domain, &cq_attr, &side->cq, NULL);
	if (rc == -FI_ENOSYS) {
		cq_attr.wait_obj = FI_WAIT_NONE;
		rc = fi_cq_open(side->domain, &cq_attr, &side->cq, NULL);
	}
	if (rc) {
		side->cq = NULL;
		return fail_open(transport, err, "a completion queue", rc);
	}
	rc = fi_endpoint(side->domain, transport->info, &side->ep, NULL);
	if (rc) {
		side->ep = NULL;
		return fail_open(transport, err, "an endpoint", rc);
	}
	return enable(transport, side, err);
}

void ofi_side_close(struct ofi_side *side)
{
	if (side->ep)
		fi_close(&side->ep->fid);
	if (side->cq)
		fi_close(&side->cq->fid);
	if (side->av)
		fi_close(&side->av->fid);
	ofi_pool_close(&side->messages);
	if (side->domain)
		fi_close(&side->domain->fid);
	*side = (struct ofi_side){.fd = -1};
}

unsigned ofi_receives(const struct transport *transport, unsigned wanted)
{
	size_t fit = POSTED_BYTES / transport->config.message_bytes;
	unsigned most = fit > POSTED_MOST ? POSTED_MOST : (unsigned)fit;

	if (most < POSTED_LEAST)
		most = POSTED_LEAST;
	return wanted < most ? wanted : most;
}

void ofi_side_receive(struct ofi_side *side, unsigned target)
{
	while (side->posted < target) {
		struct ofi_item *item = ofi_pool_get(&side->messages);
		struct ofi_message *message = ofi_message(item);

		if (!item)
			return;
		item->kind = OFI_RECEIVE;
		if (fi_recv(side->ep, &message->wire,
			    side->messages.item_bytes - offsetof(struct ofi_message, wire),
			    item->desc, FI_ADDR_UNSPEC, item) != 0) {
			ofi_pool_put(&side->messages, item);
			return;
		}
		item->busy = true;
		side->posted++;
	}
}

int ofi_side_send(struct ofi_side *side, fi_addr_t to, struct ofi_message *message)
{
	message->item.kind = OFI_SEND;
	return (int)fi_send(side->ep, &message->wire, message->item.bytes, message->item.desc,
			    to, &message->item);
}

/* The first completion is an error. */
static void read_error(struct transport *transport, struct ofi_side *side, ofi_done_fn *done)
{
	struct fi_cq_err_entry entry = {0};

	if (fi_cq_readerr(side->cq, &entry, 0) < 1 || !entry.op_context)
		return;
	done(transport, entry.op_context, 0,
	     entry.err == FI_ECANCELED ? "the connection broke"
				       : libfabric.strerror(entry.err));
}

int ofi_side_read(struct transport *transport, struct ofi_side *side, ofi_done_fn *done)
{
	struct fi_cq_msg_entry entries[READ_MAX];
	ssize_t n = fi_cq_read(side->cq, entries, READ_MAX);

	if (n == -FI_EAVAIL) {
		read_error(transport, side, done);
		return 1;
	}
	for (ssize_t i = 0; i < n; i++)
		done(transport, entries[i].op_context, entries[i].len, NULL);
	return n > 0 ? (int)n : 0;
}

void ofi_side_sleep(struct transport *transport, struct ofi_side *side, int other_fd,
		    int timeout_ms)
{
	struct fid *wait = &side->cq->fid;
	struct pollfd fds[2] = {{.fd = side->fd, .events = POLLIN},
				{.fd = other_fd, .events = POLLIN}};

	if (side->fd < 0 && (timeout_ms < 0 || timeout_ms > TICK_MS))
		timeout_ms = TICK_MS;
	else if (side->fd >= 0 && fi_trywait(transport->fabric, &wait, 1) != 0)
		return;
	poll(fds, 2, timeout_ms);
}

void ofi_name_text(const struct ofi_side *side, const uint8_t *name, char *ret_text,
		   size_t size)
{
	char text[160] = "?";
	size_t bytes = sizeof(text);
	const char *plain;

	fi_av_straddr(side->av, name, text, &bytes);
	plain = strstr(text, "://");
	snprintf(ret_text, size, "%s", plain ? plain + 3 : text);
}
