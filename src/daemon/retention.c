/* SPDX-License-Identifier: BSD-3-Clause */
/* Which checkpoints stay by themselves, and the collection of what others leave. */
#include "daemon/retention.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/loop.h"

/* One collection at a time; what is removed meanwhile asks for another one. */
static pthread_mutex_t collecting = PTHREAD_MUTEX_INITIALIZER;
static bool collect_running, collect_again;

/* Whether the collection that has ended is to be followed by another one. */
static bool collect_more(void)
{
	bool more;

	pthread_mutex_lock(&collecting);
	more = collect_again;
	collect_again = false;
	collect_running = more;
	pthread_mutex_unlock(&collecting);
	return more;
}

static void collect(void *arg)
{
	const struct store_work work = {.threads = 1, .background = true};

	(void)arg;
	do {
		struct store_gc_report report;
		struct err err = ERR_INIT;

		if (store_gc(the_daemon.store, &work, &report, &err) < 0)
			log_warn("garbage in the store is left: %s", err.msg);
		else
			log_info("store: %llu MiB freed, %llu packs deleted, %llu rewritten, "
				 "%llu wait",
				 (unsigned long long)(report.freed_bytes >> 20),
				 (unsigned long long)report.deleted,
				 (unsigned long long)report.rewritten,
				 (unsigned long long)report.waiting);
	} while (collect_more());
}

void retention_collect(void)
{
	struct err err = ERR_INIT;
	bool start;

	pthread_mutex_lock(&collecting);
	start = !collect_running;
	collect_running = true;
	collect_again = !start;
	pthread_mutex_unlock(&collecting);
	if (start && loop_thread(collect, NULL, &err) < 0) {
		log_warn("garbage in the store is left: %s", err.msg);
		pthread_mutex_lock(&collecting);
		collect_running = false;
		pthread_mutex_unlock(&collecting);
	}
}

void retention_apply(struct cluster *cluster)
{
	CLEANUP_FREE store_id *removed = NULL;
	char name[SPEC_NAME_MAX];
	struct store_retention retention = {.cluster = name};
	struct err err = ERR_INIT;
	size_t count = 0;

	pthread_mutex_lock(&the_daemon.lock);
	snprintf(name, sizeof(name), "%s", cluster->spec.name);
	retention.keep = cluster->spec.checkpoint_keep;
	pthread_mutex_unlock(&the_daemon.lock);
	if (retention.keep == 0)
		return;
	if (store_prune(the_daemon.store, &retention, &removed, &count, &err) < 0)
		log_warn("cluster=%s old checkpoints stay: %s", name, err.msg);
	for (size_t i = 0; i < count; i++)
		log_info("cluster=%s ckpt=%s removed: %u are kept", name, removed[i],
			 retention.keep);
	if (count > 0)
		retention_collect();
}
