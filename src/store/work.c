/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads for work on the store, at the priority that it was given.
 *
 * Background work runs on threads of its own, never on the caller's: a thread that has lowered
 * its priority may not raise it again.
 */
#include "store/work.h"

#include <errno.h>
#include <linux/ioprio.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A tenth of the weight of a guest's processor: the work yields, but still ends on a host whose
 * guests compute on all cores. */
enum { BACKGROUND_NICE = 10, BACKGROUND_IO_LEVEL = 7 };

struct job {
	parallel_fn fn;
	void *arg;
	size_t index;
	int rc;
	struct err err;
};

unsigned int work_threads(const struct store_work *work)
{
	return work && work->threads ? work->threads : (unsigned int)parallel_cpus();
}

static void *job_run(void *arg)
{
	struct job *job = arg;

	setpriority(PRIO_PROCESS, (id_t)gettid(), BACKGROUND_NICE);
	syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
		IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, BACKGROUND_IO_LEVEL));
	job->rc = job->fn(job->index, job->arg, &job->err);
	return NULL;
}

static int run_background(unsigned int workers, parallel_fn fn, void *arg, struct err *err)
{
	struct job *jobs = calloc(workers, sizeof(*jobs));
	pthread_t *threads = calloc(workers, sizeof(*threads));
	unsigned int started = 0;
	int rc = 0, failure = 0;

	if (!jobs || !threads)
		failure = ENOMEM;
	for (; !failure && started < workers; started++) {
		jobs[started] = (struct job){.fn = fn, .arg = arg, .index = started};
		failure = pthread_create(&threads[started], NULL, job_run, &jobs[started]);
		if (failure)
			break;
	}
	for (unsigned int i = 0; i < started; i++) {
		pthread_join(threads[i], NULL);
		if (jobs[i].rc < 0 && rc == 0) {
			rc = jobs[i].rc;
			if (err)
				*err = jobs[i].err;
		}
	}
	/* Fewer threads than wanted do the work, too: they share it out. */
	if (rc == 0 && started == 0)
		rc = err_sys(err, failure, "cannot start a thread");
	free(jobs);
	free(threads);
	return rc;
}

int work_run(const struct store_work *work, unsigned int workers, parallel_fn fn, void *arg,
	     struct err *err)
{
	if (work && work->background)
		return run_background(workers, fn, arg, err);
	return parallel_for(workers, workers, fn, arg, err);
}
