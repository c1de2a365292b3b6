/* SPDX-License-Identifier: BSD-3-Clause */
/* The verbs transport's insides: device, client side with its links, server side with its
 * connections. */
#ifndef STASIS_ARMCI_TRANSPORT_VERBS_VERBS_H
#define STASIS_ARMCI_TRANSPORT_VERBS_VERBS_H

#include <infiniband/verbs.h>
#include <pthread.h>
#include <stdatomic.h>

#include "armci/transport/transport.h"
#include "armci/transport/verbs/handshake.h"

/*
 * A link is a pair of RC queue pairs, one at the client and one at the server, and goes in one
 * direction: requests, writes and reads from the client, answers back. All that the client
 * polls is in struct client, all that the service thread touches in struct server; they share
 * the device context, the protection domain and nothing that is locked.
 *
 * Queue pairs may be destroyed while work is under way, and some devices leave their
 * completions in the queue. So a completion is never found by a pointer: its wr_id is (enum
 * work, index, generation, number), and what does not fit any more is dropped.
 *
 * Registered memory and fork(): libibverbs is not asked to keep registered pages out of
 * children (ibv_fork_init), so that children may use all of their memory. Kernels from 5.12 on
 * copy pinned pages for the child at fork, and the parent keeps its own; on older ones a
 * process must not write to such memory between fork and exec.
 */
enum work {
	WORK_SEND = 1,
	WORK_RECV,
	WORK_ANSWER,
	WORK_REQUEST,
	WORK_DATAGRAM_SENT,
	WORK_DATAGRAM
};

static inline uint64_t work_id(enum work work, uint32_t index, uint32_t generation,
			       uint32_t number)
{
	return (uint64_t)work << 60 | (uint64_t)(index & 0xfffff) << 40 |
	       (uint64_t)(generation & 0xff) << 32 | number;
}

static inline enum work work_kind(uint64_t id)
{
	return (enum work)(id >> 60);
}

static inline uint32_t work_index(uint64_t id)
{
	return (uint32_t)(id >> 40) & 0xfffff;
}

static inline uint8_t work_generation(uint64_t id)
{
	return (uint8_t)(id >> 32);
}

enum {
	POLL_MAX = 16,        /* completions taken from a queue at a time */
	READS_MAX = 16,       /* RDMA reads in flight on one link */
	INLINE_MAX = 256,     /* asked of the device */
	DATAGRAM_RECVS = 128, /* the server's, for clients that all connect at once */
	DATAGRAM_SENDS = 16,
	REQUESTS_MAX = 512, /* receive buffers of the server at most; senders beyond wait */
	ANSWERS_MAX = 128,
	HANDSHAKES_MAX = 128, /* datagrams that wait to be looked at */
	SOFT_MAX = 64,
};

/* A device with an open port. */
struct device {
	struct ibv_context *context;
	struct ibv_pd *pd;
	struct ibv_device_attr attr;
	struct ibv_port_attr port_attr;
	char name[64];
	uint8_t port;
	int gid_index;
	union ibv_gid gid;
	const char *gid_type; /* in words */
	enum ibv_mtu mtu;
	bool soft;             /* Soft-RoCE */
	bool acks_visible;     /* an acknowledged write is in memory */
	bool atomics_coherent; /* to those of the CPU */
	uint32_t depth;        /* work requests of a link; a power of two */
	uint32_t inline_bytes;
	uint8_t reads;      /* in flight on a queue pair */
	size_t message_max; /* longest of the port */
	size_t part_bytes;  /* in which longer writes and reads go */
};

/* Buffers of one size in registered memory. */
struct pool {
	char *base;
	size_t bytes, size; /* of all; of one */
	uint32_t count, free_count;
	uint32_t *free;
	struct ibv_mr *mr;
};

/* A UD queue pair and its buffers: the first `sends` of the pool are to send, the others to
 * receive. */
struct datagrams {
	struct ibv_qp *qp;
	struct pool pool;
	uint32_t sends, recvs, qkey;
	struct ibv_ah **ahs; /* [sends] handle to destroy when it is sent */
	uint32_t sent_count; /* under way */
};

/* ---- client ---- */

/* One work request in a link's send queue. */
struct slot {
	void *context, *flush; /* to complete with it; a flush may join the write before it */
	uint32_t buffer;       /* 1 + request buffer to free with it */
};

struct transport_link {
	struct transport *transport;
	uint32_t index, generation;
	struct ibv_qp *qp;
	struct ibv_ah *ah; /* for the farewell */
	struct handshake server;
	uint64_t nonce;
	bool lost, told;
	char fault[768];

	uint64_t posted, completed;    /* work requests, counted for ever */
	uint32_t unsignalled;          /* posted since the last signalled one */
	uint32_t requests_unsignalled; /* likewise, those that hold a buffer */
	uint64_t signalled;            /* value of `posted` after the last signalled one */
	struct slot *slots;            /* [depth] */

	uint64_t written;       /* value of `posted` after the last write */
	uint64_t covered;       /* and after the last one whose completion tells that all writes
				   before are done */
	uint64_t flush_address; /* where it wrote last */
	uint32_t flush_rkey;

	uint32_t credits;           /* requests that may still be sent */
	uint32_t unanswered;        /* requests */
	uint64_t progress, watched; /* completions, now and at the last look */
	int64_t heard_ns;           /* last sign of life */
	struct pool requests, answers;
};

/* A completion that is delivered at the next poll. */
struct soft {
	struct transport_link *link;
	void *context;
};

struct client {
	struct ibv_comp_channel *channel, *setup_channel;
	struct ibv_cq *cq, *setup_cq;
	uint32_t cq_used; /* by links */
	bool armed;
	struct datagrams datagrams;
	struct transport_link **links; /* [link_count], holes are NULL */
	uint8_t *generations;          /* [link_count] */
	uint32_t link_count, untold;   /* links lost and not told of */
	bool fatal_told;
	struct soft soft[SOFT_MAX]; /* ring; a link that was closed is NULL */
	uint32_t soft_head, soft_tail;
	uint32_t idle_polls;
	int64_t watched_ns;
	struct ibv_wc stash[POLL_MAX]; /* taken from the queue by sleep() */
	int stash_head, stash_count;
	struct pool flush; /* where flushing reads go */
};

/* ---- server ---- */

struct connection {
	struct connection *next_by_qpn;
	struct ibv_qp *qp; /* NULL: gone, kept until its requests are done */
	uint32_t index;    /* in the server's table */
	uint32_t psn, client_id;
	uint64_t nonce;
	uint8_t mtu, reads;
	bool broken;           /* to be dropped */
	uint32_t posted, done; /* answers, counted for ever */
	uint32_t unsignalled;
	uint32_t unanswered; /* requests that have come and are not answered yet */
	uint32_t undone;     /* requests whose buffers are not given back yet */
};

struct answer {
	struct connection *connection; /* whose it is; NULL: free */
	uint8_t generation;
	bool posted;
};

struct ready {
	struct connection *connection;
	uint32_t buffer;
	uint32_t bytes;
};

struct server {
	struct ibv_comp_channel *channel;
	struct ibv_cq *cq;
	struct ibv_srq *srq;
	uint32_t cq_used;
	bool armed, armed_all, starved;
	int wake_fd;
	uint64_t token;
	struct datagrams datagrams;
	struct pool requests, answers;
	struct answer *answer; /* [answers.count] */
	uint32_t sends_max;    /* of one connection */
	struct ready *ready;   /* ring of [ready_mask + 1], enough for all requests */
	uint32_t ready_mask;
	uint32_t ready_head, ready_tail;
	struct handshake handshakes[HANDSHAKES_MAX];
	uint32_t handshake_count;
	struct connection **connections; /* [connection_room], those that are gone too */
	uint32_t connection_count, connection_room, broken_count;
	struct connection **by_qpn; /* [qpn_mask + 1] chains of those that are not gone */
	uint32_t qpn_mask;
};

struct transport_region {
	struct transport *transport;
	struct ibv_mr *mr;
	struct transport_region *next, **link;
};

struct transport {
	struct transport_config config;
	struct device device;
	struct client client;
	struct server server;
	pthread_mutex_t regions_lock;
	struct transport_region *regions;
	uint64_t nonce_base, nonce_count;
	_Atomic uint32_t
		events; /* bit (1 << enum ibv_event_type) of the grave ones that came */
};

/* device.c */
int device_open(struct device *device, struct err *err);
void device_close(struct device *device);
void device_describe(const struct device *device, char *ret_text, size_t size);
struct handshake_place device_place(const struct device *device);

/* region.c */
int pool_open(struct pool *pool, struct device *device, uint32_t count, size_t size,
	      struct err *err);
void pool_close(struct pool *pool);
int region_register(struct device *device, void *base, size_t bytes, int access,
		    struct ibv_mr **ret_mr, struct err *err);
int verbs_region_create(struct transport *transport, void *base, size_t bytes,
			struct transport_region **ret_region, struct err *err);
void verbs_region_destroy(struct transport_region *region);
struct transport_key verbs_region_key(const struct transport_region *region);

static inline char *pool_at(const struct pool *pool, uint32_t index)
{
	return pool->base + pool->size * index;
}

static inline uint32_t pool_index(const struct pool *pool, const void *address)
{
	return (uint32_t)((size_t)((const char *)address - pool->base) / pool->size);
}

/* datagram.c */
int datagrams_open(struct datagrams *datagrams, struct device *device, struct ibv_cq *cq,
		   uint32_t sends, uint32_t recvs, struct err *err);
void datagrams_close(struct datagrams *datagrams);
int datagram_ah(struct device *device, const struct handshake_place *to, struct ibv_ah **ret_ah,
		struct err *err);
/* Send; the handle is destroyed when it is sent if `owned`, and at once on failure. -EAGAIN:
 * all buffers are under way. */
int datagram_send(struct datagrams *datagrams, const struct handshake *shake,
		  const struct handshake_place *to, struct ibv_ah *ah, bool owned);
/* Take a completion of a datagram; true if one came that can be decoded. */
bool datagram_taken(struct datagrams *datagrams, const struct ibv_wc *wc,
		    struct handshake *ret_shake);

/* connect.c: states of RC queue pairs */
int cq_grow(struct device *device, struct ibv_cq *cq, uint32_t *used, uint32_t more,
	    struct err *err);
void path_attr(const struct device *device, const struct handshake_place *to,
	       struct ibv_ah_attr *ret_attr);
int qp_create(struct device *device, struct ibv_cq *cq, struct ibv_srq *srq, uint32_t sends,
	      uint32_t recvs, struct ibv_qp **ret_qp, struct err *err);
/* Ready to receive and to send; the far end is `qpn` with first packet `psn` at `place`. */
int qp_connect(struct device *device, struct ibv_qp *qp, const struct handshake_place *place,
	       uint32_t qpn, uint32_t psn, uint32_t own_psn, uint8_t mtu, uint8_t reads,
	       struct err *err);
uint64_t random_number(void);

/* link.c */
int client_open(struct transport *transport, struct err *err);
void client_close(struct transport *transport);
/* Take the datagrams that came; true if an answer to this link, which is being opened, was
 * among them. */
bool setup_take(struct client *client, const struct transport_link *link,
		struct handshake *ret_shake);
int verbs_link_open(struct transport *transport, const void *address, size_t bytes,
		    int timeout_ms, struct transport_link **ret_link, struct err *err);
void verbs_link_close(struct transport_link *link);

/* post.c */
int verbs_post_write(struct transport_link *link, const void *local,
		     struct transport_region *local_region, struct transport_key remote_key,
		     uint64_t remote_offset, size_t bytes, void *context);
int verbs_post_read(struct transport_link *link, void *local,
		    struct transport_region *local_region, struct transport_key remote_key,
		    uint64_t remote_offset, size_t bytes, void *context);
int verbs_post_fetch_add(struct transport_link *link, uint64_t *local,
			 struct transport_region *local_region, struct transport_key remote_key,
			 uint64_t remote_offset, uint64_t value, void *context);
int verbs_post_flush(struct transport_link *link, void *context);
void *verbs_request_buffer(struct transport_link *link);
int verbs_post_request(struct transport_link *link, void *buffer, size_t bytes);
void verbs_answer_done(struct transport_link *link, void *data);
/* A write of no bytes, which a server that is there acknowledges. */
void link_probe(struct transport_link *link);
int link_post_recv(struct transport_link *link, uint32_t buffer);

/* alive.c */
/* Look after links that have work under way and are silent. Called when there is nothing else
 * to do. */
void links_watch(struct transport *transport);
/* A datagram that came and belongs to no link that is being opened. */
void links_hear(struct client *client, const struct handshake *shake);

/* poll.c */
int verbs_poll(struct transport *transport, struct transport_completion *ret, int max);
void verbs_sleep(struct transport *transport, int timeout_ms);
/* Have the context completed by the next poll. False: no room before it. */
bool soft_push(struct client *client, struct transport_link *link, void *context);
/* Take an event out of a channel. There is seldom more than one; a second ends the next sleep
 * early. */
void channel_take(struct ibv_comp_channel *channel);

/* server.c */
int server_open(struct transport *transport, struct err *err);
void server_close(struct transport *transport);
struct connection *server_find(struct server *server, uint32_t qpn);
void server_handshake(struct transport *transport, const struct handshake *shake);
/* Destroy its queue pair; what is left goes with the last of its requests. */
void server_drop(struct transport *transport, struct connection *connection);
/* Free it if it is gone and nobody needs it. */
void connection_release(struct transport *transport, struct connection *connection);

/* serve.c */
int verbs_serve_poll(struct transport *transport, struct transport_request *ret, int max);
void *verbs_answer_buffer(struct transport *transport, void *from);
void verbs_post_answer(struct transport *transport, void *from, void *buffer, size_t bytes);
void verbs_request_done(struct transport *transport, struct transport_request *request);
void verbs_serve_sleep(struct transport *transport, int timeout_ms);
void verbs_serve_wake(struct transport *transport);
/* Take all completions that are there. */
void server_drain(struct transport *transport);
void server_post_recv(struct server *server, uint32_t buffer);
/* Drop broken connections and look at datagrams. */
void server_tend(struct transport *transport);

/* fault.c */
void link_lose(struct transport_link *link, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void link_lose_by(struct transport_link *link, enum ibv_wc_status status);
const char *verbs_link_fault(const struct transport_link *link);
const char *reason_words(enum handshake_reason reason);
/* Read the device's asynchronous events (the service thread). */
void events_take(struct transport *transport);
/* What the device has reported, or NULL. */
const char *events_words(uint32_t events);
bool events_fatal(uint32_t events);

#endif
