/* SPDX-License-Identifier: BSD-3-Clause */
/* The event loop and the way other threads hand work to it. */
#include "daemon/loop.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { LOOP_THREADS_MAX = 512 };

struct loop_item {
	loop_fn fn;
	void *arg;
	struct loop_item *next;
};

static uv_loop_t loop;
static uv_async_t loop_async;
static pthread_mutex_t loop_lock = PTHREAD_MUTEX_INITIALIZER;
static struct loop_item *loop_first, **loop_last = &loop_first;
static atomic_int loop_threads;

static void loop_drain(uv_async_t *async)
{
	struct loop_item *item;

	(void)async;
	pthread_mutex_lock(&loop_lock);
	item = loop_first;
	loop_first = NULL;
	loop_last = &loop_first;
	pthread_mutex_unlock(&loop_lock);
	while (item) {
		struct loop_item *next = item->next;

		item->fn(item->arg);
		free(item);
		item = next;
	}
}

int loop_init(struct err *err)
{
	int rc = uv_loop_init(&loop);

	if (rc == 0)
		rc = uv_async_init(&loop, &loop_async, loop_drain);
	return rc < 0 ? err_sys(err, -rc, "cannot make an event loop") : 0;
}

uv_loop_t *loop_uv(void)
{
	return &loop;
}

void loop_run(void)
{
	uv_run(&loop, UV_RUN_DEFAULT);
}

static void loop_stop_now(void *arg)
{
	(void)arg;
	uv_stop(&loop);
}

void loop_stop(void)
{
	loop_post(loop_stop_now, NULL);
}

void loop_post(loop_fn fn, void *arg)
{
	struct loop_item *item = malloc(sizeof(*item));

	if (!item)
		abort();
	*item = (struct loop_item){.fn = fn, .arg = arg};
	pthread_mutex_lock(&loop_lock);
	*loop_last = item;
	loop_last = &item->next;
	pthread_mutex_unlock(&loop_lock);
	uv_async_send(&loop_async);
}

static void *loop_thread_main(void *arg)
{
	struct loop_item item = *(struct loop_item *)arg;

	free(arg);
	item.fn(item.arg);
	atomic_fetch_sub(&loop_threads, 1);
	return NULL;
}

int loop_thread(loop_fn fn, void *arg, struct err *err)
{
	struct loop_item *item;
	pthread_attr_t attr;
	pthread_t thread;
	int rc;

	if (atomic_fetch_add(&loop_threads, 1) >= LOOP_THREADS_MAX) {
		atomic_fetch_sub(&loop_threads, 1);
		return err_set(err, EAGAIN, "the daemon has %d requests under way; try again",
			       LOOP_THREADS_MAX);
	}
	item = malloc(sizeof(*item));
	if (!item)
		abort();
	*item = (struct loop_item){.fn = fn, .arg = arg};
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	rc = pthread_create(&thread, &attr, loop_thread_main, item);
	pthread_attr_destroy(&attr);
	if (rc != 0) {
		free(item);
		atomic_fetch_sub(&loop_threads, 1);
		return err_sys(err, rc, "cannot start a thread");
	}
	return 0;
}
