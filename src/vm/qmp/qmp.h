/* SPDX-License-Identifier: BSD-3-Clause */
/* Client of QEMU's machine protocol (QMP): commands with deadlines, events, passing of
 * descriptors. */
#ifndef STASIS_VM_QMP_QMP_H
#define STASIS_VM_QMP_QMP_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct qmp;

/*
 * Take over a connected stream socket (closed on failure, too): wait for the greeting and
 * negotiate. Not thread-safe, as everything here. Deadlines are instants of the monotonic
 * clock; -ETIMEDOUT leaves the connection usable.
 */
int qmp_open(int fd, int64_t deadline_ns, struct qmp **ret_qmp, struct err *err);
/* Connect to the socket `path` and open. */
int qmp_connect(const char *path, int64_t deadline_ns, struct qmp **ret_qmp, struct err *err);
void qmp_close(struct qmp *qmp); /* NULL is allowed */

/*
 * Execute a command. `args` is consumed and must be an object: NULL, as a failed json_pack()
 * returns it, is -EINVAL. The value of "return" goes to *ret_value (new reference) unless that
 * is NULL. An error of QEMU's becomes -ENODEV, -ENOSYS or -EIO and "QEMU refused COMMAND: …"; a
 * connection that ends is -ECONNRESET.
 */
int qmp_execute(struct qmp *qmp, const char *command, json_t *args, int64_t deadline_ns,
		json_t **ret_value, struct err *err);

/*
 * The two halves of qmp_execute(), so that commands can be under way to several QEMUs, or in
 * one behind each other: replies come in the order of the commands and are collected in it. One
 * that is never collected is dropped.
 */
int qmp_send(struct qmp *qmp, const char *command, json_t *args, int64_t deadline_ns,
	     int64_t *ret_id, struct err *err);
int qmp_collect(struct qmp *qmp, int64_t id, const char *command, int64_t deadline_ns,
		json_t **ret_value, struct err *err);

/* Execute a command that takes a descriptor along. */
int qmp_execute_fd(struct qmp *qmp, const char *command, json_t *args, int fd,
		   int64_t deadline_ns, json_t **ret_value, struct err *err);

/* Give QEMU a copy of a descriptor under a name, for URIs such as fd:NAME. */
int qmp_pass_fd(struct qmp *qmp, const char *name, int fd, int64_t deadline_ns,
		struct err *err);

/*
 * Events since the last qmp_drop_events(), oldest first; the newest QMP_EVENTS_MAX are kept.
 * qmp_wait_event() takes the first that `match` accepts, waiting for it; others stay. The event
 * is a new reference.
 */
enum { QMP_EVENTS_MAX = 256 };
typedef bool (*qmp_match_fn)(const char *name, const json_t *data, void *arg);
int qmp_wait_event(struct qmp *qmp, qmp_match_fn match, void *arg, int64_t deadline_ns,
		   json_t **ret_event, struct err *err);
void qmp_drop_events(struct qmp *qmp);

#endif
