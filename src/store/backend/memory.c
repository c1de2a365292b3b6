/* SPDX-License-Identifier: BSD-3-Clause */
/* Objects in this process's memory, for tests. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "store/backend/backend_priv.h"

struct object {
	struct object *next;
	char name[BACKEND_OBJECT_MAX];
	char *data;
	size_t len, size;
	int64_t modified_ns;
};

/* Lives as long as it is known by name or open. */
struct pool {
	struct pool *next;
	char name[NAME_LEN_MAX + 1];
	bool known;
	unsigned int opens;
	struct object *objects;
};

struct memory {
	struct backend base;
	struct pool *pool;
};

struct backend_writer {
	struct pool *pool;
	struct object *object;
};

/* One lock for all: this is for tests. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct pool *pools;

static void object_free(struct object *object)
{
	if (object)
		free(object->data);
	free(object);
}

/* The link that holds the object, or the one at the end. */
static struct object **object_find(struct pool *pool, const char *name)
{
	struct object **at = &pool->objects;

	while (*at && strcmp((*at)->name, name))
		at = &(*at)->next;
	return at;
}

static void object_unlink(struct object **at)
{
	struct object *object = *at;

	if (object) {
		*at = object->next;
		object_free(object);
	}
}

static void pool_free_unused(struct pool *pool)
{
	struct pool **at = &pools;

	if (pool->known || pool->opens > 0)
		return;
	while (*at != pool)
		at = &(*at)->next;
	*at = pool->next;
	while (pool->objects)
		object_unlink(&pool->objects);
	free(pool);
}

static int memory_begin(struct backend *backend, const char *name,
			struct backend_writer **ret_writer, struct err *err)
{
	struct memory *memory = (struct memory *)backend;
	struct backend_writer *writer;
	int rc = backend_check_object(name, err);

	if (rc < 0)
		return rc;
	writer = calloc(1, sizeof(*writer));
	if (writer)
		writer->object = calloc(1, sizeof(*writer->object));
	if (!writer || !writer->object) {
		free(writer);
		return err_sys(err, ENOMEM, "object %s", name);
	}
	writer->pool = memory->pool;
	snprintf(writer->object->name, sizeof(writer->object->name), "%s", name);
	*ret_writer = writer;
	return 0;
}

static int memory_append(struct backend_writer *writer, const void *data, size_t len,
			 struct err *err)
{
	struct object *object = writer->object;

	if (len > object->size - object->len) {
		size_t size = object->len + len + object->size;
		char *more = realloc(object->data, size);

		if (!more)
			return err_sys(err, ENOMEM, "object %s", object->name);
		object->data = more;
		object->size = size;
	}
	if (len > 0)
		memcpy(object->data + object->len, data, len);
	object->len += len;
	return 0;
}

static void memory_abort(struct backend_writer *writer)
{
	object_free(writer->object);
	free(writer);
}

static int memory_commit(struct backend_writer *writer, struct err *err)
{
	struct object *object = writer->object, **at;

	(void)err;
	object->modified_ns = clock_real_ns();
	pthread_mutex_lock(&lock);
	at = object_find(writer->pool, object->name);
	object_unlink(at);
	object->next = *at;
	*at = object;
	pthread_mutex_unlock(&lock);
	free(writer);
	return 0;
}

static int memory_read(struct backend *backend, const char *name, uint64_t offset, void *buf,
		       size_t len, struct err *err)
{
	struct memory *memory = (struct memory *)backend;
	const struct object *object;
	int rc = backend_check_object(name, err);

	if (rc < 0)
		return rc;
	pthread_mutex_lock(&lock);
	object = *object_find(memory->pool, name);
	if (!object)
		rc = backend_missing(backend, name, err);
	else if (offset > object->len || len > object->len - offset)
		rc = backend_short(backend, name, object->len, offset, len, err);
	else if (len > 0)
		memcpy(buf, object->data + offset, len);
	pthread_mutex_unlock(&lock);
	return rc;
}

static int memory_stat(struct backend *backend, const char *name, struct backend_stat *ret_stat,
		       struct err *err)
{
	struct memory *memory = (struct memory *)backend;
	const struct object *object;
	int rc = backend_check_object(name, err);

	if (rc < 0)
		return rc;
	pthread_mutex_lock(&lock);
	object = *object_find(memory->pool, name);
	if (object)
		*ret_stat = (struct backend_stat){object->len, object->modified_ns};
	else
		rc = backend_missing(backend, name, err);
	pthread_mutex_unlock(&lock);
	return rc;
}

struct listed {
	char name[BACKEND_NAME_LEN_MAX + 1];
	struct backend_stat stat;
};

/* The objects of a kind as they are now: whoever is told of them may change them. */
static int list_take(struct pool *pool, const char *kind, struct listed **ret_list,
		     size_t *ret_count, struct err *err)
{
	size_t count = 0, len = strlen(kind), all = 0;
	struct listed *list;

	pthread_mutex_lock(&lock);
	for (const struct object *at = pool->objects; at; at = at->next)
		all++;
	list = calloc(all + 1, sizeof(*list));
	for (const struct object *at = pool->objects; list && at; at = at->next) {
		if (strncmp(at->name, kind, len) || at->name[len] != '/')
			continue;
		list[count].stat = (struct backend_stat){at->len, at->modified_ns};
		snprintf(list[count].name, sizeof(list[count].name), "%s", at->name + len + 1);
		count++;
	}
	pthread_mutex_unlock(&lock);
	if (!list)
		return err_sys(err, ENOMEM, "list of %s", kind);
	*ret_list = list;
	*ret_count = count;
	return 0;
}

static int memory_list(struct backend *backend, const char *kind, backend_list_fn fn, void *arg,
		       struct err *err)
{
	struct memory *memory = (struct memory *)backend;
	CLEANUP_FREE struct listed *list = NULL;
	size_t count = 0;
	int rc = backend_check_kind(kind, err);

	if (rc == 0)
		rc = list_take(memory->pool, kind, &list, &count, err);
	for (size_t i = 0; rc >= 0 && i < count; i++)
		rc = fn(list[i].name, &list[i].stat, arg, err);
	return rc < 0 ? rc : 0;
}

static int memory_remove(struct backend *backend, const char *name, struct err *err)
{
	struct memory *memory = (struct memory *)backend;
	int rc = backend_check_object(name, err);

	if (rc < 0)
		return rc;
	pthread_mutex_lock(&lock);
	object_unlink(object_find(memory->pool, name));
	pthread_mutex_unlock(&lock);
	return 0;
}

static int memory_now(struct backend *backend, int64_t *ret_now_ns, struct err *err)
{
	(void)backend;
	(void)err;
	*ret_now_ns = clock_real_ns();
	return 0;
}

static int memory_free_bytes(struct backend *backend, uint64_t *ret_bytes, struct err *err)
{
	(void)backend;
	(void)err;
	*ret_bytes = UINT64_MAX;
	return 0;
}

/* A killed writer leaves nothing: its memory went with it. */
static int memory_tidy(struct backend *backend, int64_t age_ns, struct err *err)
{
	(void)backend;
	(void)age_ns;
	(void)err;
	return 0;
}

static void memory_close(struct backend *backend)
{
	struct memory *memory = (struct memory *)backend;

	pthread_mutex_lock(&lock);
	memory->pool->opens--;
	pool_free_unused(memory->pool);
	pthread_mutex_unlock(&lock);
	free(memory->base.where);
	free(memory);
}

static const struct backend_ops memory_ops = {
	.kind = "memory",
	.begin = memory_begin,
	.append = memory_append,
	.commit = memory_commit,
	.abort = memory_abort,
	.read = memory_read,
	.stat = memory_stat,
	.list = memory_list,
	.remove = memory_remove,
	.now = memory_now,
	.free_bytes = memory_free_bytes,
	.tidy = memory_tidy,
	.close = memory_close,
};

static struct pool *pool_find(const char *name)
{
	for (struct pool *at = pools; at; at = at->next)
		if (at->known && !strcmp(at->name, name))
			return at;
	return NULL;
}

/* The pool of that name, made if it is missing, opened once more; NULL: no memory. */
static struct pool *pool_open(const char *name)
{
	struct pool *pool;

	pthread_mutex_lock(&lock);
	pool = pool_find(name);
	if (!pool) {
		pool = calloc(1, sizeof(*pool));
		if (pool) {
			snprintf(pool->name, sizeof(pool->name), "%s", name);
			pool->known = true;
			pool->next = pools;
			pools = pool;
		}
	}
	if (pool)
		pool->opens++;
	pthread_mutex_unlock(&lock);
	return pool;
}

int backend_open_memory(const char *name, struct backend **ret_backend, struct err *err)
{
	CLEANUP_FREE struct memory *memory = calloc(1, sizeof(*memory));
	CLEANUP_FREE char *where = NULL;

	if (strlen(name) > NAME_LEN_MAX)
		return err_set(err, EINVAL, "\"%.80s\" is longer than %d characters", name,
			       NAME_LEN_MAX);
	if (!memory || asprintf(&where, "memory:%s", name) < 0)
		return err_sys(err, ENOMEM, "store in memory");
	memory->pool = pool_open(name);
	if (!memory->pool)
		return err_sys(err, ENOMEM, "store in memory");
	memory->base.ops = &memory_ops;
	memory->base.where = TAKE_PTR(where);
	*ret_backend = &TAKE_PTR(memory)->base;
	return 0;
}

void backend_memory_forget(const char *name)
{
	struct pool *pool;

	pthread_mutex_lock(&lock);
	pool = pool_find(name);
	if (pool) {
		pool->known = false;
		pool_free_unused(pool);
	}
	pthread_mutex_unlock(&lock);
}
