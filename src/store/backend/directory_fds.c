/* SPDX-License-Identifier: BSD-3-Clause */
/* Open descriptors of objects in a directory, kept for the next read of a range. */
#include "store/backend/directory_fds.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void directory_fds_init(struct directory_fds *fds)
{
	*fds = (struct directory_fds){.lock = PTHREAD_MUTEX_INITIALIZER};
	for (int i = 0; i < DIRECTORY_FDS; i++)
		fds->slots[i].fd = -1;
}

void directory_fds_destroy(struct directory_fds *fds)
{
	for (int i = 0; i < DIRECTORY_FDS; i++)
		if (fds->slots[i].fd >= 0)
			close(fds->slots[i].fd);
	pthread_mutex_destroy(&fds->lock);
}

static struct directory_fd *slot_find(struct directory_fds *fds, const char *name)
{
	for (int i = 0; i < DIRECTORY_FDS; i++)
		if (fds->slots[i].fd >= 0 && !strcmp(fds->slots[i].name, name))
			return &fds->slots[i];
	return NULL;
}

static void slot_close(struct directory_fd *slot)
{
	close(slot->fd);
	slot->fd = -1;
}

static void slot_forget(struct directory_fds *fds, const char *name)
{
	struct directory_fd *slot = slot_find(fds, name);

	if (!slot)
		return;
	slot->name[0] = '\0';
	if (slot->users == 0)
		slot_close(slot);
}

/* A free slot, else the one that was used longest ago, closed; NULL: all are in use. */
static struct directory_fd *slot_free(struct directory_fds *fds)
{
	struct directory_fd *best = NULL;

	for (int i = 0; i < DIRECTORY_FDS; i++) {
		struct directory_fd *slot = &fds->slots[i];

		if (slot->fd < 0)
			return slot;
		if (slot->users == 0 && (!best || slot->used_tick < best->used_tick))
			best = slot;
	}
	if (best)
		slot_close(best);
	return best;
}

struct directory_fd *directory_fds_get(struct directory_fds *fds, const char *name)
{
	struct directory_fd *slot;

	pthread_mutex_lock(&fds->lock);
	slot = slot_find(fds, name);
	if (slot) {
		slot->users++;
		slot->used_tick = ++fds->ticks;
	}
	pthread_mutex_unlock(&fds->lock);
	return slot;
}

struct directory_fd *directory_fds_add(struct directory_fds *fds, const char *name, int fd)
{
	struct directory_fd *slot;

	pthread_mutex_lock(&fds->lock);
	slot_forget(fds, name);
	slot = slot_free(fds);
	if (slot) {
		snprintf(slot->name, sizeof(slot->name), "%s", name);
		slot->fd = fd;
		slot->users = 1;
		slot->used_tick = ++fds->ticks;
	}
	pthread_mutex_unlock(&fds->lock);
	return slot;
}

void directory_fds_put(struct directory_fds *fds, struct directory_fd *slot)
{
	pthread_mutex_lock(&fds->lock);
	slot->users--;
	if (slot->users == 0 && slot->name[0] == '\0')
		slot_close(slot);
	pthread_mutex_unlock(&fds->lock);
}

void directory_fds_drop(struct directory_fds *fds, const char *name)
{
	pthread_mutex_lock(&fds->lock);
	slot_forget(fds, name);
	pthread_mutex_unlock(&fds->lock);
}

void directory_fds_sweep(struct directory_fds *fds)
{
	pthread_mutex_lock(&fds->lock);
	for (int i = 0; i < DIRECTORY_FDS; i++) {
		struct directory_fd *slot = &fds->slots[i];
		struct stat st;

		if (slot->fd >= 0 && slot->users == 0 &&
		    (fstat(slot->fd, &st) < 0 || st.st_nlink == 0))
			slot_close(slot);
	}
	pthread_mutex_unlock(&fds->lock);
}
