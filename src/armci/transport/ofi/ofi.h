/* SPDX-License-Identifier: BSD-3-Clause */
/* The libfabric transport: its two endpoints, items under way, links and peers. */
#ifndef STASIS_ARMCI_TRANSPORT_OFI_OFI_H
#define STASIS_ARMCI_TRANSPORT_OFI_OFI_H

#include <pthread.h>
#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "armci/transport/ofi/libfabric.h"
#include "armci/transport/ofi/wire.h"
#include "armci/transport/transport.h"

/*
 * Two sides, each a domain, address vector, completion queue and reliable-datagram endpoint of
 * its own, so that the client's thread and the service thread share nothing in the fabric:
 *  - a client's endpoint sends requests and receives answers, and starts writes and reads;
 *  - the server's endpoint receives requests and sends answers; memory is registered with its
 * domain, and the service thread makes the progress that reads and writes of others need. A
 * reliable datagram endpoint knows no connections. A link begins with a hello, which tells the
 * server where to answer, and its welcome; both carry a token by which requests and answers
 * find their link afterwards. Requests are numbered: the provider may complete two messages in
 * either order, the server hands them out in the right one.
 *
 * Every write asks for delivery: it completes when the data are in the target's memory. A flush
 * completes with the writes before it. Where the provider does not keep writes before later
 * writes, reads and messages (`ordered` is false), a post waits (-EAGAIN) until they are
 * complete.
 */

enum ofi_kind {
	OFI_RECEIVE, /* a message to come; at the user: an answer or request */
	OFI_SEND,
	OFI_WRITE,
	OFI_READ,
	OFI_FLUSH,
	OFI_LOSS, /* of a link: what poll() reports */
};

enum { OFI_QUEUE = 256 }; /* operations and messages under way on one endpoint */

struct ofi_peer;

/* What a completion of the fabric points to, and what the queues hold. */
struct ofi_item {
	struct fi_context2 fabric; /* the provider's while `busy` */
	TAILQ_ENTRY(ofi_item)
	queue; /* of the pool, or of what is to be reported, sent or handed out */
	TAILQ_ENTRY(ofi_item) owned; /* of its link or peer */
	enum ofi_kind kind;
	bool busy;                   /* with the provider, which will complete it */
	struct transport_link *link; /* client; NULL: the link is closed */
	struct ofi_peer *peer;       /* server */
	void *context;
	void *desc;   /* of its memory, for the provider */
	size_t bytes; /* of a message with its header */
};
TAILQ_HEAD(ofi_queue, ofi_item);

struct ofi_message {
	struct ofi_item item;
	_Alignas(64) struct ofi_wire wire;
	char data[];
};

/* Items of one size; grows by slabs, which go when it is closed. */
struct ofi_pool {
	struct fid_domain *domain; /* where slabs are registered; NULL: they need not be */
	size_t item_bytes;
	unsigned per_slab;
	struct ofi_queue free;
	struct ofi_slab *slabs;
};

struct ofi_side {
	struct fid_domain *domain;
	struct fid_av *av;
	struct fid_cq *cq;
	struct fid_ep *ep;
	int fd; /* of the completion queue; -1: the provider has none, sleep is in ticks */
	uint8_t name[OFI_NAME_MAX];
	size_t name_bytes;
	struct ofi_pool messages;
	unsigned posted; /* receives that are with the provider */
};

struct transport_region {
	struct transport *transport;
	LIST_ENTRY(transport_region) list;
	struct fid_mr *target; /* server's domain: for others to write and read */
	struct fid_mr *source; /* client's domain, where the provider asks for it: to write from
				  and read into */
	struct transport_key key;
};

struct transport_link {
	struct transport *transport;
	uint64_t token;  /* by which answers find us */
	uint64_t server; /* by which the server knows us */
	fi_addr_t address;
	uint8_t name[OFI_NAME_MAX];
	bool greeted, welcome; /* a hello was sent, a welcome came */
	bool lost;
	int credits;
	uint32_t sequence;  /* of the next request */
	unsigned flying;    /* items with the provider */
	int64_t stalled_ns; /* since when nothing can be posted though nothing flies; 0: not so
			     */
	int64_t pinged_ns;
	struct ofi_queue order; /* writes and flushes, as posted */
	struct ofi_queue owned; /* reads and messages, at the provider or the user */
	struct ofi_item loss;
	char fault[384];
};

/* One client of this server. */
struct ofi_peer {
	uint64_t token;
	uint64_t reply; /* the client's own token, in every answer */
	uint32_t client_id;
	uint32_t index; /* in the table while it is not gone */
	fi_addr_t address;
	bool gone;
	bool waiting;      /* the provider has not taken all of `unsent` */
	int references;    /* the table, answers that are due, messages under way */
	uint32_t sequence; /* of the request that is due */
	unsigned flying;
	int64_t stalled_ns;
	struct ofi_queue early;     /* requests that came before those before them */
	struct ofi_queue unsent;    /* answers that the provider did not take yet */
	TAILQ_ENTRY(ofi_peer) list; /* of those that wait */
	LIST_ENTRY(ofi_peer) every;
};

struct transport {
	struct transport_config config;
	struct fi_info *info;
	struct fid_fabric *fabric;
	bool ordered; /* the provider keeps writes before what follows them */
	struct ofi_side client, server;

	pthread_mutex_t regions_lock;
	LIST_HEAD(, transport_region) regions;
	uint64_t next_key;

	/* client */
	struct transport_link **links; /* [link_slots] */
	uint32_t link_slots, link_count;
	uint32_t generation; /* of tokens */
	unsigned flying;
	struct ofi_pool items; /* writes, reads, flushes */
	struct ofi_queue done; /* to be reported by poll() */
	int64_t watched_ns;
	unsigned idle_polls;

	/* server */
	struct ofi_peer **peers;          /* [config.clients] */
	LIST_HEAD(, ofi_peer) every_peer; /* also those that are gone but referred to */
	uint32_t peer_generation;
	unsigned answers;       /* buffers given out or under way */
	struct ofi_queue ready; /* requests to hand out */
	TAILQ_HEAD(, ofi_peer) waiting;
	int wake_fd;
};

/* fabric.c: which provider and interface. */
int ofi_fabric_open(struct transport *transport, struct err *err);
void ofi_fabric_close(struct transport *transport);

/* side.c */
int ofi_side_open(struct transport *transport, struct ofi_side *side, struct err *err);
void ofi_side_close(struct ofi_side *side);
/* Keep `target` receives posted, as far as memory and provider allow. */
void ofi_side_receive(struct ofi_side *side, unsigned target);
/* Hand up to some completions to `done` (fault: NULL, or why it failed); how many there were.
 */
typedef void ofi_done_fn(struct transport *transport, struct ofi_item *item, size_t bytes,
			 const char *fault);
int ofi_side_read(struct transport *transport, struct ofi_side *side, ofi_done_fn *done);
/* Sleep until the side's queue or `other_fd` (-1: none) has something, or the time is over. */
void ofi_side_sleep(struct transport *transport, struct ofi_side *side, int other_fd,
		    int timeout_ms);
/* Post a message: 0, -FI_EAGAIN, or another of libfabric's errors. */
int ofi_side_send(struct ofi_side *side, fi_addr_t to, struct ofi_message *message);
/* Name of an endpoint for messages, as host and port where it has such. */
void ofi_name_text(const struct ofi_side *side, const uint8_t *name, char *ret_text,
		   size_t size);
/* As many messages as are worth being posted for `wanted` that may come. */
unsigned ofi_receives(const struct transport *transport, unsigned wanted);

/* pool.c */
void ofi_pool_open(struct ofi_pool *pool, struct fid_domain *domain, size_t item_bytes);
void ofi_pool_close(struct ofi_pool *pool);
struct ofi_item *ofi_pool_get(struct ofi_pool *pool); /* NULL: out of memory */
void ofi_pool_put(struct ofi_pool *pool, struct ofi_item *item);

static inline struct ofi_message *ofi_message_of(void *data)
{
	return (struct ofi_message *)((char *)data - offsetof(struct ofi_message, data));
}

/* An item of kind OFI_SEND or OFI_RECEIVE as the message that it begins. */
static inline struct ofi_message *ofi_message(struct ofi_item *item)
{
	return (struct ofi_message *)item;
}

/* region.c */
int ofi_region_create(struct transport *transport, void *base, size_t bytes,
		      struct transport_region **ret_region, struct err *err);
void ofi_region_destroy(struct transport_region *region);
struct transport_key ofi_region_key(const struct transport_region *region);

/* link.c: links begin, end and break. */
int ofi_link_open(struct transport *transport, const void *address, size_t bytes,
		  int timeout_ms, struct transport_link **ret_link, struct err *err);
void ofi_link_close(struct transport_link *link);
const char *ofi_link_fault(const struct transport_link *link);
struct transport_link *ofi_link_find(struct transport *transport, uint64_t token);
void ofi_link_lose(struct transport_link *link, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* What a post returns for the provider's rc: counts what flies, and sees links that have
 * stopped. */
int ofi_link_posted(struct transport_link *link, struct ofi_item *item, ssize_t rc);
/* Look after links that wait: a partner that is gone is found by sending to it. */
void ofi_links_watch(struct transport *transport);

/* client.c */
int ofi_post_write(struct transport_link *link, const void *local,
		   struct transport_region *local_region, struct transport_key remote_key,
		   uint64_t remote_offset, size_t bytes, void *context);
int ofi_post_read(struct transport_link *link, void *local,
		  struct transport_region *local_region, struct transport_key remote_key,
		  uint64_t remote_offset, size_t bytes, void *context);
int ofi_post_flush(struct transport_link *link, void *context);
size_t ofi_inline_bytes(struct transport *transport);
void *ofi_request_buffer(struct transport_link *link);
int ofi_post_request(struct transport_link *link, void *buffer, size_t bytes);
void ofi_answer_done(struct transport_link *link, void *data);
int ofi_client_progress(struct transport *transport);
int ofi_poll(struct transport *transport, struct transport_completion *ret, int max);
void ofi_sleep(struct transport *transport, int timeout_ms);

/* server.c */
int ofi_server_open(struct transport *transport, struct err *err);
void ofi_server_close(struct transport *transport);
void ofi_serve_receive(struct transport *transport);
int ofi_serve_poll(struct transport *transport, struct transport_request *ret, int max);
void *ofi_answer_buffer(struct transport *transport, void *from);
void ofi_post_answer(struct transport *transport, void *from, void *buffer, size_t bytes);
void ofi_request_done(struct transport *transport, struct transport_request *request);
void ofi_serve_sleep(struct transport *transport, int timeout_ms);
void ofi_serve_wake(struct transport *transport);

/* peer.c: the server's clients. */
struct ofi_peer *ofi_peer_find(struct transport *transport, uint64_t token);
/* A hello came: make its sender a peer and welcome it, or say why not. */
void ofi_peer_hello(struct transport *transport, const struct ofi_message *message,
		    size_t bytes);
void ofi_peer_send(struct transport *transport, struct ofi_peer *peer,
		   struct ofi_message *message);
/* A message of the peer has left, or could not. */
void ofi_peer_sent(struct transport *transport, struct ofi_item *item, const char *fault);
void ofi_peers_retry(struct transport *transport);
/* It says bye, has come anew, or does not listen any more. */
void ofi_peer_drop(struct transport *transport, struct ofi_peer *peer);
void ofi_peer_unref(struct transport *transport, struct ofi_peer *peer);

#endif
