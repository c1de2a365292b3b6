/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests are served in the order of their arrival, one thread, no lock: what is under way on
 * the node's memory is kept apart by the memory's own locks. A request that cannot be answered
 * yet (a mutex held by another, a full mailbox) is parked and tried again.
 */
#include "armci/remote/serve.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "armci/coll/mbox.h"
#include "armci/core/fail.h"
#include "armci/core/job.h"
#include "armci/core/settings.h"
#include "armci/core/wait.h"
#include "armci/remote/client.h"
#include "armci/remote/keys.h"
#include "armci/shm/arena.h"
#include "armci/shm/local.h"
#include "armci/shm/lock.h"
#include "armci/shm/mutex.h"

enum { BATCH = 32, PARKED_SLEEP_MS = 1 };

/*
 * A request that waits: for its mutex or for room in a mailbox, then for a buffer to answer in.
 * A part that has been taken over (`adopted`) needs no answer any more.
 */
struct parked {
	struct parked *next;
	struct wire_request head;
	void *from;
	uint32_t ticket;                  /* of a lock */
	int status;                       /* -EAGAIN: still waits */
	struct transport_request request; /* of a message */
	char *adopted;                    /* the message, or NULL */
	size_t bytes;
};

/* Arrived and not yet looked at, because answers were short of buffers. */
struct backlog {
	struct transport_request *ring;
	size_t size, first, count;
};

static pthread_t thread;
static atomic_bool stop, draining;
static struct parked *parked_first, **parked_last = &parked_first;
static struct backlog backlog;

/* A view's memory is in one global block of this node. */
static bool rows_are_global(const struct wire_view *view)
{
	ptrdiff_t low, high;
	xfer_far_extent(&view->shape, &low, &high);
	uint64_t from = view->head.far + (uint64_t)(int64_t)low;
	return (low <= 0 && (uint64_t)-low <= view->head.far) && from < arena.bytes &&
	       (uint64_t)(high - low) <= arena.bytes - from &&
	       arena_is_global(from, (size_t)(high - low));
}

static bool is_global(uint64_t far, uint64_t bytes)
{
	return far < arena.bytes && bytes <= arena.bytes - far && arena_is_global(far, bytes);
}

static uint64_t offset_at(const struct wire_view *view, uint32_t i)
{
	uint64_t offset;
	memcpy(&offset, view->offsets + (size_t)i * 8, 8);
	return offset;
}

static int serve_rows(const struct wire_view *view, char *out)
{
	const struct wire_request *head = &view->head;
	const char *data = view->data;
	if (!rows_are_global(view))
		return -EFAULT;
	struct wire_rows rows;
	for (wire_rows_begin(&rows, &view->shape, head->first, head->count); rows.left;
	     wire_rows_next(&rows)) {
		char *far = arena_at(head->far) + rows.far;
		if (head->op == WIRE_GET) {
			memcpy(out, far, head->row);
			out += head->row;
			continue;
		}
		if (head->op == WIRE_PUT)
			memcpy(far, data, head->row);
		else
			lock_acc((enum acc_type)head->type, view->scale, far, data, head->row);
		data += head->row;
	}
	return 0;
}

static int serve_vector(const struct wire_view *view, char *out)
{
	const struct wire_request *head = &view->head;
	const char *data = view->data;
	for (uint32_t i = 0; i < head->count; i++)
		if (!is_global(offset_at(view, i), head->row))
			return -EFAULT;
	for (uint32_t i = 0; i < head->count; i++) {
		char *far = arena_at(offset_at(view, i));
		size_t at = (size_t)i * head->row;
		if (head->op == WIRE_GETV)
			memcpy(out + at, far, head->row);
		else if (head->op == WIRE_PUTV)
			memcpy(far, data + at, head->row);
		else
			lock_acc((enum acc_type)head->type, view->scale, far, data + at,
				 head->row);
	}
	return 0;
}

static int serve_rmw(const struct wire_request *head, int64_t *ret_old)
{
	bool is_long = head->type == REMOTE_ADD_LONG || head->type == REMOTE_SWAP_LONG;
	if (!is_global(head->far, is_long ? 8 : 4))
		return -EFAULT;
	void *far = arena_at(head->far);
	switch (head->type) {
	case REMOTE_ADD_INT:
		*ret_old = local_fetch_add_int(far, (int32_t)head->value);
		return 0;
	case REMOTE_ADD_LONG: *ret_old = local_fetch_add_long(far, head->value); return 0;
	case REMOTE_SWAP_INT: *ret_old = local_swap_int(far, (int32_t)head->value); return 0;
	case REMOTE_SWAP_LONG: *ret_old = local_swap_long(far, head->value); return 0;
	default: return -EINVAL;
	}
}

/* The mutex at an offset, which a peer names: it must lie in the arena. */
static struct shm_mutex *mutex_at(uint64_t far)
{
	if (far % _Alignof(struct shm_mutex) || far >= arena.bytes ||
	    arena.bytes - far < sizeof(struct shm_mutex))
		return NULL;
	return (struct shm_mutex *)(void *)arena_at(far);
}

static void answer(void *from, void *buffer, const struct wire_request *head, int status,
		   int64_t value, size_t bytes)
{
	struct wire_answer out = {.id = head->id, .status = status, .value = value};
	memcpy(buffer, &out, sizeof out);
	client.ops->post_answer(client.transport, from, buffer,
				sizeof out + (status == 0 ? bytes : 0));
}

static int deliver(const struct wire_request *head, const void *part, size_t bytes)
{
	if (head->value < 0 || head->value >= job.size || !job_is_near((int)head->value))
		return -EINVAL;
	return mbox_deliver((int)head->value, part, bytes);
}

/* Take what may have to wait: a lock (its place in the queue is taken here), a mailbox part
 * (its buffer is kept). */
static void park(struct transport_request *request, const struct wire_view *view)
{
	const struct wire_request *head = &view->head;
	struct parked *entry = malloc(sizeof *entry);
	if (!entry)
		fail("out of memory for requests of other nodes");
	*entry = (struct parked){.head = *head, .from = request->from, .status = -EAGAIN};
	if (head->op == WIRE_LOCK) {
		struct shm_mutex *mutex = mutex_at(head->far);
		if (!mutex)
			entry->status = -EFAULT;
		else if (atomic_load(&mutex->owner) == (int)head->from + 1)
			entry->status = -EDEADLK;
		else if (head->value > 0) /* it has been here before */
			entry->ticket = (uint32_t)(head->value - 1);
		else
			entry->ticket = shm_mutex_ticket(mutex);
		client.ops->request_done(client.transport, request);
	} else {
		entry->request = *request;
	}
	*parked_last = entry;
	parked_last = &entry->next;
}

/* An earlier part for the same mailbox still waits: parts stay in order. */
static bool is_behind(const struct parked *entry)
{
	for (const struct parked *at = parked_first; at != entry; at = at->next)
		if (at->head.op == WIRE_MESSAGE && at->head.value == entry->head.value &&
		    at->status == -EAGAIN)
			return true;
	return false;
}

/* Keep the message itself: its buffer belongs to a transport that is about to close. */
static void adopt(struct parked *entry)
{
	entry->bytes = entry->request.bytes;
	entry->adopted = malloc(entry->bytes);
	if (!entry->adopted)
		fail("out of memory for messages of other nodes");
	memcpy(entry->adopted, entry->request.data, entry->bytes);
	client.ops->request_done(client.transport, &entry->request);
}

static int try_parked(const struct parked *entry)
{
	const char *message = entry->adopted ? entry->adopted : entry->request.data;
	size_t bytes = entry->adopted ? entry->bytes : entry->request.bytes;
	size_t skip = sizeof entry->head;
	if (entry->head.op == WIRE_LOCK)
		return shm_mutex_try(mutex_at(entry->head.far), entry->ticket,
				     (int)entry->head.from)
			       ? 0
			       : -EAGAIN;
	if (is_behind(entry))
		return -EAGAIN;
	return deliver(&entry->head, message + skip, bytes - skip);
}

/* True if the entry is done with. */
static bool serve_entry(struct parked *entry)
{
	bool is_lock = entry->head.op == WIRE_LOCK;
	if (entry->status == -EAGAIN)
		entry->status = try_parked(entry);
	if (entry->adopted)
		return entry->status != -EAGAIN;
	if (entry->status == -EAGAIN && !atomic_load_explicit(&draining, memory_order_relaxed))
		return false;
	void *buffer = client.ops->answer_buffer(client.transport, entry->from);
	if (!buffer)
		return false;
	if (is_lock || entry->status != -EAGAIN) {
		answer(entry->from, buffer, &entry->head, entry->status, entry->ticket, 0);
		if (!is_lock)
			client.ops->request_done(client.transport, &entry->request);
		return true;
	}
	answer(entry->from, buffer, &entry->head, 0, 0, 0);
	adopt(entry);
	return false;
}

/* Try what is parked, oldest first. What is done needs a buffer for its answer, too. */
static void serve_parked(void)
{
	struct parked **at = &parked_first;
	while (*at) {
		struct parked *entry = *at;
		if (!serve_entry(entry)) {
			at = &entry->next;
			continue;
		}
		*at = entry->next;
		if (!*at)
			parked_last = at;
		free(entry->adopted);
		free(entry);
	}
}

/* Do what can be done at once. `out` takes what the answer carries, *ret_bytes of it. */
static int serve_now(const struct wire_view *view, char *out, int64_t *ret_value,
		     size_t *ret_bytes)
{
	const struct wire_request *head = &view->head;
	struct shm_mutex *mutex;
	switch (head->op) {
	case WIRE_GET: *ret_bytes = head->count * head->row; /* fall through */
	case WIRE_PUT:
	case WIRE_ACC: return serve_rows(view, out);
	case WIRE_GETV: *ret_bytes = head->count * head->row; /* fall through */
	case WIRE_PUTV:
	case WIRE_ACCV: return serve_vector(view, out);
	case WIRE_RMW: return serve_rmw(head, ret_value);
	case WIRE_CHECK:
		return head->value >= 0 && is_global(head->far, (uint64_t)head->value)
			       ? 0
			       : -EFAULT;
	case WIRE_KEYS:
		*ret_bytes = head->count * sizeof(struct transport_key);
		return keys_answer(head->far, head->count, (struct transport_key *)(void *)out);
	case WIRE_TRYLOCK:
		mutex = mutex_at(head->far);
		if (!mutex)
			return -EFAULT;
		return shm_mutex_trylock(mutex, (int)head->from) ? 0 : -EBUSY;
	case WIRE_UNLOCK:
		mutex = mutex_at(head->far);
		return mutex ? shm_mutex_unlock(mutex, (int)head->from) : -EFAULT;
	default: return 0; /* ping */
	}
}

/* Serve the oldest request; false if that has to wait for a buffer. */
static bool serve_one(struct transport_request *request)
{
	struct wire_view view;
	const struct wire_request *head = &view.head;
	int status = wire_decode(request->data, request->bytes,
				 client.message_bytes - sizeof(struct wire_answer), &view);
	if (status == 0 && (head->op == WIRE_LOCK || head->op == WIRE_MESSAGE)) {
		park(request, &view);
		return true;
	}
	char *buffer = client.ops->answer_buffer(client.transport, request->from);
	if (!buffer)
		return false;
	char *out = buffer + sizeof(struct wire_answer);
	int64_t value = 0;
	size_t bytes = 0;
	if (status == 0)
		status = serve_now(&view, out, &value, &bytes);
	answer(request->from, buffer, head, status, value, bytes);
	client.ops->request_done(client.transport, request);
	return true;
}

static void backlog_fill(void)
{
	struct transport_request arrived[BATCH];
	int count = client.ops->serve_poll(client.transport, arrived, BATCH);
	if (backlog.count + (size_t)count > backlog.size) {
		size_t size = (backlog.size + BATCH) * 2;
		struct transport_request *ring = malloc(size * sizeof *ring);
		if (!ring)
			fail("out of memory for requests of other nodes");
		for (size_t i = 0; i < backlog.count; i++)
			ring[i] = backlog.ring[(backlog.first + i) % backlog.size];
		free(backlog.ring);
		backlog = (struct backlog){.ring = ring, .size = size, .count = backlog.count};
	}
	for (int i = 0; i < count; i++)
		backlog.ring[(backlog.first + backlog.count++) % backlog.size] = arrived[i];
}

/* Serve what is there; true if there was anything. */
static bool serve_round(void)
{
	backlog_fill();
	bool any = backlog.count > 0;
	while (backlog.count) {
		struct transport_request *request = &backlog.ring[backlog.first];
		if (!serve_one(request))
			break;
		backlog.first = (backlog.first + 1) % backlog.size;
		backlog.count--;
	}
	if (parked_first)
		serve_parked();
	return any;
}

static void *serve_main(void *arg)
{
	(void)arg;
	fail_in_service_thread();
	int64_t last_ns = 0;
	while (!atomic_load_explicit(&stop, memory_order_acquire)) {
		if (serve_round()) {
			last_ns = settings.serve_poll_us ? wait_now_ns() : 0;
			continue;
		}
		if (last_ns && wait_now_ns() - last_ns < settings.serve_poll_us * 1000)
			continue;
		client.ops->serve_sleep(client.transport,
					parked_first || backlog.count ? PARKED_SLEEP_MS : -1);
	}
	return NULL;
}

int serve_start(struct err *err)
{
	sigset_t all, old;
	atomic_store(&stop, false);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int code = pthread_create(&thread, NULL, serve_main, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (code)
		return err_sys(err, code, "cannot start the service thread");
	pthread_setname_np(thread, "armci-serve");
	return 0;
}

void serve_stop(void)
{
	atomic_store_explicit(&stop, true, memory_order_release);
	client.ops->serve_wake(client.transport);
	pthread_join(thread, NULL);
}

void serve_close(void)
{
	while (parked_first) {
		struct parked *next = parked_first->next;
		free(parked_first->adopted);
		free(parked_first);
		parked_first = next;
	}
	parked_last = &parked_first;
	free(backlog.ring);
	backlog = (struct backlog){0};
}

void serve_drain(bool on)
{
	atomic_store_explicit(&draining, on, memory_order_relaxed);
}
