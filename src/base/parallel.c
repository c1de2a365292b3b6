/* SPDX-License-Identifier: BSD-3-Clause */
/* Run a function over indices on several threads and collect the first error. */
#include "base/parallel.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

struct parallel_run {
	pthread_mutex_t lock;
	size_t next, count;
	bool stop_on_error;
	int nice; /* 0: the caller's thread works, too */
	parallel_fn fn;
	void *arg;
	int rc;
	struct err err;
};

size_t parallel_cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return 1;
	return (size_t)CPU_COUNT(&set);
}

static void parallel_work(struct parallel_run *run)
{
	pthread_mutex_lock(&run->lock);
	while (run->next < run->count && !(run->stop_on_error && run->rc < 0)) {
		size_t index = run->next++;
		struct err err = ERR_INIT;
		int rc;

		pthread_mutex_unlock(&run->lock);
		rc = run->fn(index, run->arg, &err);
		pthread_mutex_lock(&run->lock);
		if (rc < 0 && run->rc == 0) {
			run->rc = rc;
			run->err = err;
		}
	}
	pthread_mutex_unlock(&run->lock);
}

static void *parallel_worker(void *arg)
{
	struct parallel_run *run = arg;

	if (run->nice > 0) { /* a thread's priority is its own on Linux */
		int priority = getpriority(PRIO_PROCESS, (id_t)gettid()) + run->nice;

		setpriority(PRIO_PROCESS, (id_t)gettid(), priority);
	}
	parallel_work(run);
	return NULL;
}

static int parallel_run(struct parallel_run *run, size_t threads, struct err *err)
{
	pthread_t *ids = NULL;
	size_t started = 0, wanted;

	if (threads > run->count)
		threads = run->count;
	wanted = run->nice > 0 || threads == 0 ? threads : threads - 1;
	if (wanted > 0)
		ids = calloc(wanted, sizeof(*ids));
	if (ids)
		while (started < wanted &&
		       pthread_create(&ids[started], NULL, parallel_worker, run) == 0)
			started++;
	if (run->nice == 0 || started == 0)
		parallel_work(run);
	for (size_t i = 0; i < started; i++)
		pthread_join(ids[i], NULL);
	free(ids);
	pthread_mutex_destroy(&run->lock);
	if (run->rc < 0 && err)
		*err = run->err;
	return run->rc;
}

int parallel_for(size_t count, size_t threads, parallel_fn fn, void *arg, struct err *err)
{
	struct parallel_run run = {
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.count = count,
		.stop_on_error = true,
		.fn = fn,
		.arg = arg,
	};

	return parallel_run(&run, threads ? threads : parallel_cpus(), err);
}

int parallel_for_nice(size_t count, size_t threads, int nice, parallel_fn fn, void *arg,
		      struct err *err)
{
	struct parallel_run run = {
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.count = count,
		.stop_on_error = true,
		.nice = nice,
		.fn = fn,
		.arg = arg,
	};

	return parallel_run(&run, threads ? threads : parallel_cpus(), err);
}

int parallel_each(size_t count, parallel_fn fn, void *arg, struct err *err)
{
	struct parallel_run run = {
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.count = count,
		.fn = fn,
		.arg = arg,
	};

	return parallel_run(&run, count, err);
}
