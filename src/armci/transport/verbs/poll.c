/* SPDX-License-Identifier: BSD-3-Clause */
/* The client's completions, and sleeping until there are some. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "armci/transport/verbs/verbs.h"
#include "base/clock.h"

/* Idle polls between looks at the clock; and how long to sleep at most. */
enum { POLLS_A_CLOCK = 1024, SLEEP_MAX_MS = 1000 };

struct delivery {
	struct transport_completion *ret;
	int count, max;
};

bool soft_push(struct client *client, struct transport_link *link, void *context)
{
	/* A poll takes POLL_MAX completions, each of which may push one. */
	if (client->soft_tail - client->soft_head >= SOFT_MAX - POLL_MAX)
		return false;
	client->soft[client->soft_tail++ % SOFT_MAX] = (struct soft){link, context};
	return true;
}

static void deliver(struct client *client, struct delivery *to, struct transport_link *link,
		    void *context)
{
	if (to->count < to->max)
		to->ret[to->count++] = (struct transport_completion){
			.event = TRANSPORT_DONE, .link = link, .context = context};
	else
		client->soft[client->soft_tail++ % SOFT_MAX] = (struct soft){link, context};
}

/* All work up to this one is done. */
static void sends_done(struct client *client, struct transport_link *link, uint32_t number,
		       struct delivery *to)
{
	uint32_t mask = link->transport->device.depth - 1;
	uint64_t until = link->completed + (uint32_t)(number + 1 - (uint32_t)link->completed);

	for (; link->completed < until; link->completed++) {
		struct slot *slot = &link->slots[link->completed & mask];

		if (slot->buffer)
			link->requests.free[link->requests.free_count++] = slot->buffer - 1;
		if (slot->context)
			deliver(client, to, link, slot->context);
		if (slot->flush)
			deliver(client, to, link, slot->flush);
	}
}

static void take(struct client *client, const struct ibv_wc *wc, struct delivery *to)
{
	uint32_t index = work_index(wc->wr_id), number = (uint32_t)wc->wr_id;
	struct transport_link *link = index < client->link_count ? client->links[index] : NULL;

	if (!link || (uint8_t)link->generation != work_generation(wc->wr_id) || link->told)
		return;
	if (wc->status != IBV_WC_SUCCESS) {
		link_lose_by(link, wc->status);
		return;
	}
	if (link->lost)
		return;
	link->progress++;
	if (work_kind(wc->wr_id) == WORK_SEND) {
		sends_done(client, link, number, to);
		return;
	}
	link->unanswered--;
	to->ret[to->count++] =
		(struct transport_completion){.event = TRANSPORT_ANSWER,
					      .link = link,
					      .data = pool_at(&link->answers, number),
					      .bytes = wc->byte_len};
}

/* Links that broke since the last time. */
static void tell_lost(struct transport *transport, struct delivery *to)
{
	struct client *client = &transport->client;

	for (uint32_t i = 0; i < client->link_count && client->untold > 0; i++) {
		struct transport_link *link = client->links[i];

		if (!link || !link->lost || link->told)
			continue;
		if (to->count == to->max)
			return;
		link->told = true;
		client->untold--;
		to->ret[to->count++] =
			(struct transport_completion){.event = TRANSPORT_LOST, .link = link};
	}
}

static void lose_all(struct transport *transport)
{
	struct client *client = &transport->client;

	client->fatal_told = true;
	for (uint32_t i = 0; i < client->link_count; i++)
		if (client->links[i] && !client->links[i]->lost)
			link_lose(client->links[i], "nothing goes through any more");
}

int verbs_poll(struct transport *transport, struct transport_completion *ret, int max)
{
	struct client *client = &transport->client;
	struct delivery to = {.ret = ret, .max = max};
	struct ibv_wc wc[POLL_MAX];
	int n, room;

	while (client->soft_head != client->soft_tail && to.count < max) {
		struct soft *soft = &client->soft[client->soft_head++ % SOFT_MAX];

		if (soft->link && !soft->link->lost)
			deliver(client, &to, soft->link, soft->context);
	}
	while (client->stash_count > 0 && to.count < max) {
		take(client, &client->stash[client->stash_head++], &to);
		client->stash_count--;
	}
	room = (max - to.count + 1) / 2; /* a work request completes at most two contexts */
	if (room > 0 && client->stash_count == 0) {
		n = ibv_poll_cq(client->cq, room < POLL_MAX ? room : POLL_MAX, wc);
		for (int i = 0; i < n; i++)
			take(client, &wc[i], &to);
	}
	if (!client->fatal_told && events_fatal(atomic_load(&transport->events)))
		lose_all(transport);
	if (client->untold > 0)
		tell_lost(transport, &to);
	if (to.count == 0 && ++client->idle_polls >= POLLS_A_CLOCK)
		links_watch(transport);
	return to.count;
}

void channel_take(struct ibv_comp_channel *channel)
{
	struct ibv_cq *cq;
	void *context;

	if (ibv_get_cq_event(channel, &cq, &context) == 0)
		ibv_ack_cq_events(cq, 1);
}

void verbs_sleep(struct transport *transport, int timeout_ms)
{
	struct client *client = &transport->client;
	struct pollfd wait = {.fd = client->channel->fd, .events = POLLIN};
	int n;

	if (client->stash_count > 0 || client->soft_head != client->soft_tail ||
	    client->untold > 0)
		return;
	if (!client->armed) {
		ibv_req_notify_cq(client->cq, 0);
		client->armed = true;
	}
	n = ibv_poll_cq(client->cq, POLL_MAX, client->stash);
	if (n > 0) {
		client->stash_head = 0;
		client->stash_count = n;
		return;
	}
	n = poll(&wait, 1,
		 timeout_ms < 0 || timeout_ms > SLEEP_MAX_MS ? SLEEP_MAX_MS : timeout_ms);
	if (n > 0) {
		channel_take(client->channel);
		client->armed = false;
	} else {
		links_watch(transport);
	}
}
