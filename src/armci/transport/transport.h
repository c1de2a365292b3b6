/* SPDX-License-Identifier: BSD-3-Clause */
/* Between nodes: connections, messages with credits, RDMA, registration. One ops table; verbs
 * and ofi implement it. */
#ifndef STASIS_ARMCI_TRANSPORT_TRANSPORT_H
#define STASIS_ARMCI_TRANSPORT_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * A process has one transport with two independent sides:
 *  - the *client* side starts operations: it opens links to servers (one per partner node, on
 * demand), posts, and polls completions. One thread at a time calls it (the library's lock).
 *  - the *server* side answers requests that arrive over other processes' links. Only the
 * service thread calls it. Registration may be called from either. The sides share no lock on
 * their fast paths: link's requests and their answers travel on a connection whose receiving
 * end at the client is the client side's own.
 *
 * Order on one link, which every transport guarantees: operations take effect at the target in
 * the order they were posted for write → write, write → read, write → request and request →
 * request (a request that the server sees finds all earlier writes of its link in memory).
 * Reads complete in any order to each other. A request → write or request → read order is NOT
 * given: the caller waits for the answer.
 *
 * Nothing of this is visible above remote/: no key, number or address of the fabric leaves the
 * blobs below. close() may be called at any time; it frees everything of the device, and a new
 * open() starts from nothing.
 */
struct transport;
struct transport_link;
struct transport_region;

enum { TRANSPORT_ADDRESS_MAX = 256 };

/* What a remote process needs to read and write a region: `address` and `key` as the fabric has
 * them. */
struct transport_key {
	uint64_t address; /* of the region's first byte */
	uint64_t key;
};

enum transport_event {
	TRANSPORT_DONE,   /* a write, read, atomic or flush that was posted with a context */
	TRANSPORT_ANSWER, /* an answer to a request: data, bytes; give it back by answer_done()
			   */
	TRANSPORT_LOST,   /* the link is broken; err says why. All its operations are void. */
};

struct transport_completion {
	enum transport_event event;
	struct transport_link *link;
	void *context; /* as posted; DONE only */
	void *data;    /* ANSWER only */
	size_t bytes;
};

/* A request at the server: `data` stays valid until request_done(). `from` tells the server its
 * sender's connection. */
struct transport_request {
	const void *data;
	size_t bytes;
	void *from; /* connection to answer over */
	void *slot; /* of the transport */
};

struct transport_config {
	int clients;          /* most processes that may connect to this server */
	size_t message_bytes; /* largest request and answer */
	int credits;          /* requests a client may have unanswered on one link */
	uint32_t client_id;   /* this process's world rank, told to servers */
};

struct transport_ops {
	const char *name; /* "verbs", "ofi" */

	/* Open the device and make the server side ready to be connected to. -ENODEV: no such
	 * device here. */
	int (*open)(const struct transport_config *config, struct transport **ret_transport,
		    struct err *err);
	void (*close)(struct transport *transport);

	/* How others reach this server: at most TRANSPORT_ADDRESS_MAX bytes. */
	size_t (*address)(struct transport *transport, void *ret_address);

	/* One sentence: device, port, addressing, MTU; for armci_info and statistics. */
	void (*describe)(struct transport *transport, char *ret_text, size_t size);

	/* Are a remote atomic and a CPU atomic to the same word atomic to each other? Then
	 * post_fetch_add may be used. */
	bool (*atomics_coherent)(struct transport *transport);

	int (*region_create)(struct transport *transport, void *base, size_t bytes,
			     struct transport_region **ret_region, struct err *err);
	void (*region_destroy)(struct transport_region *region);
	struct transport_key (*region_key)(const struct transport_region *region);

	/*
	 * Client: connect to the server that has this address. Blocks, at most `timeout_ms`;
	 * -ETIMEDOUT or -ECONNREFUSED with a sentence if it cannot. `bytes` is checked: the
	 * address comes from a peer.
	 */
	int (*link_open)(struct transport *transport, const void *address, size_t bytes,
			 int timeout_ms, struct transport_link **ret_link, struct err *err);
	void (*link_close)(struct transport_link *link);

	/*
	 * Client, non-blocking posts. 0, -EAGAIN (queue full: poll, then again), or another
	 * error with the link lost. context NULL: no completion is delivered for it (the
	 * transport may leave it unsignalled); for a write the local buffer may then be reused
	 * only after a later flush or completed operation of this link. local_region NULL is
	 * allowed for writes of up to inline_bytes(): the data are taken before the call
	 * returns.
	 */
	int (*post_write)(struct transport_link *link, const void *local,
			  struct transport_region *local_region,
			  struct transport_key remote_key, uint64_t remote_offset, size_t bytes,
			  void *context);
	int (*post_read)(struct transport_link *link, void *local,
			 struct transport_region *local_region, struct transport_key remote_key,
			 uint64_t remote_offset, size_t bytes, void *context);
	/* Fetch and add of a 64-bit word; the old value goes to *local. -EOPNOTSUPP unless
	 * atomics_coherent(). */
	int (*post_fetch_add)(struct transport_link *link, uint64_t *local,
			      struct transport_region *local_region,
			      struct transport_key remote_key, uint64_t remote_offset,
			      uint64_t value, void *context);
	/* Completes when every write posted before on this link is in the target's memory,
	 * visible to its CPUs. */
	int (*post_flush)(struct transport_link *link, void *context);
	size_t (*inline_bytes)(struct transport *transport);

	/* A buffer of message_bytes to build a request in, NULL when credits or buffers are out
	 * (poll, then again). Each request gets exactly one answer; its credit comes back when
	 * the answer has been given to answer_done(). */
	void *(*request_buffer)(struct transport_link *link);
	int (*post_request)(struct transport_link *link, void *buffer, size_t bytes);
	void (*answer_done)(struct transport_link *link, void *data);

	/* Send what posts have batched, if the transport batches doorbells. Called before every
	 * poll that waits. */
	void (*kick)(struct transport_link *link);

	/* Client: up to `max` completions, 0 if none. Never blocks. */
	int (*poll)(struct transport *transport, struct transport_completion *ret, int max);
	/* Client: sleep until poll() may have something, at most timeout_ms (no spinning). May
	 * return early. */
	void (*sleep)(struct transport *transport, int timeout_ms);
	/* The sentence that belongs to a TRANSPORT_LOST. */
	const char *(*link_fault)(const struct transport_link *link);

	/* Server: take up to `max` requests, also serving connection set-up; 0 if none. Never
	 * blocks. */
	int (*serve_poll)(struct transport *transport, struct transport_request *ret, int max);
	/* A buffer of message_bytes for an answer, NULL when none is free now (call serve_poll,
	 * then again). */
	void *(*answer_buffer)(struct transport *transport, void *from);
	/* Send it; a vanished client is not an error. Give the request's buffer back by
	 * request_done(), before or after. */
	void (*post_answer)(struct transport *transport, void *from, void *buffer,
			    size_t bytes);
	void (*request_done)(struct transport *transport, struct transport_request *request);
	/* Sleep until serve_poll() may have something, serve_wake() is called, or timeout_ms
	 * (-1: for ever) is over. */
	void (*serve_sleep)(struct transport *transport, int timeout_ms);
	/* From any thread. */
	void (*serve_wake)(struct transport *transport);
};

extern const struct transport_ops transport_verbs;
extern const struct transport_ops transport_ofi;

#endif
