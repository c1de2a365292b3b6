/* SPDX-License-Identifier: BSD-3-Clause */
/* Client of QEMU's machine protocol (QMP): commands with deadlines, events, passing of
 * descriptors. */
#include "vm/qmp/qmp.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "vm/qmp/decode.h"

/* Objects to skip in front of the greeting. */
enum { QMP_STALE_MAX = 64 };

struct qmp {
	int fd;
	struct qmp_decoder *decoder;
	json_t *events; /* array, oldest first */
	json_int_t next_id;
};

static int socket_wait(const struct qmp *qmp, short what, const char *command,
		       int64_t deadline_ns, struct err *err)
{
	for (;;) {
		struct pollfd pfd = {.fd = qmp->fd, .events = what};
		int ready = poll(&pfd, 1, deadline_left_ms(deadline_ns));

		if (ready > 0)
			return 0;
		if (ready == 0)
			return err_set(err, ETIMEDOUT, "QEMU did not answer %s in time",
				       command);
		if (errno != EINTR)
			return err_sys(err, errno, "cannot wait for QEMU's monitor");
	}
}

/* Send the bytes; `pass_fd` (-1: none) goes with the first of them. */
static int socket_send(const struct qmp *qmp, const char *bytes, size_t len, int pass_fd,
		       const char *command, int64_t deadline_ns, struct err *err)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};

	while (len > 0) {
		struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
		struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
		ssize_t sent;

		if (pass_fd >= 0) {
			msg.msg_control = control.bytes;
			msg.msg_controllen = sizeof(control.bytes);
			control.header.cmsg_level = SOL_SOCKET;
			control.header.cmsg_type = SCM_RIGHTS;
			control.header.cmsg_len = CMSG_LEN(sizeof(int));
			memcpy(CMSG_DATA(&control.header), &pass_fd, sizeof(int));
		}
		sent = sendmsg(qmp->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent > 0) {
			bytes += sent;
			len -= (size_t)sent;
			pass_fd = -1;
		} else if (errno == EAGAIN) {
			int rc = socket_wait(qmp, POLLOUT, command, deadline_ns, err);

			if (rc < 0)
				return rc;
		} else if (errno != EINTR) {
			return err_sys(err, ECONNRESET,
				       "QEMU's monitor is gone, %s was not sent", command);
		}
	}
	return 0;
}

/* Read what there is into the decoder. */
static int socket_receive(const struct qmp *qmp, const char *command, struct err *err)
{
	char bytes[16384];
	ssize_t got = recv(qmp->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	if (got > 0)
		return qmp_decoder_feed(qmp->decoder, bytes, (size_t)got, err);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	return err_set(err, ECONNRESET, "QEMU closed its monitor during %s", command);
}

static int event_keep(struct qmp *qmp, json_t *event, struct err *err)
{
	if (json_array_size(qmp->events) >= QMP_EVENTS_MAX)
		json_array_remove(qmp->events, 0);
	if (json_array_append_new(qmp->events, event) < 0)
		return err_sys(err, ENOMEM, "event of QEMU's monitor");
	return 0;
}

/* The next object of any kind; `command` only serves the sentences. */
static int object_next(struct qmp *qmp, const char *command, int64_t deadline_ns,
		       json_t **ret_object, struct err *err)
{
	for (;;) {
		int rc = qmp_decoder_next(qmp->decoder, ret_object, err);

		if (rc != 0)
			return rc < 0 ? rc : 0;
		rc = socket_wait(qmp, POLLIN, command, deadline_ns, err);
		if (rc == 0)
			rc = socket_receive(qmp, command, err);
		if (rc < 0)
			return rc;
	}
}

static int refusal(const json_t *error, const char *command, struct err *err)
{
	static const struct {
		const char *class;
		int code;
	} classes[] = {
		{"CommandNotFound", ENOSYS},
		{"DeviceNotFound", ENODEV},
		{"DeviceNotActive", ENODEV},
	};
	const char *class = json_string_value(json_object_get(error, "class"));
	const char *desc = json_string_value(json_object_get(error, "desc"));
	int code = EIO;

	for (size_t i = 0; class && i < sizeof(classes) / sizeof(classes[0]); i++)
		if (!strcmp(class, classes[i].class))
			code = classes[i].code;
	return err_set(err, code, "QEMU refused %s: %s", command,
		       desc ? desc : "no reason given");
}

/* Wait for the reply with this id; events on the way are kept, replies to commands given up
 * earlier are dropped. */
static int reply_wait(struct qmp *qmp, json_int_t id, const char *command, int64_t deadline_ns,
		      json_t **ret_value, struct err *err)
{
	for (;;) {
		json_t *object, *error, *value;
		int rc = object_next(qmp, command, deadline_ns, &object, err);

		if (rc < 0)
			return rc;
		if (json_object_get(object, "event")) {
			rc = event_keep(qmp, object, err);
			if (rc < 0)
				return rc;
			continue;
		}
		error = json_object_get(object, "error");
		value = json_object_get(object, "return");
		if (json_integer_value(json_object_get(object, "id")) == id &&
		    (error || value)) {
			if (error)
				rc = refusal(error, command, err);
			else if (ret_value)
				*ret_value = json_incref(value);
			json_decref(object);
			return rc;
		}
		json_decref(object);
	}
}

static int command_send(struct qmp *qmp, const char *command, json_t *args, int pass_fd,
			json_int_t id, int64_t deadline_ns, struct err *err)
{
	json_t *request;
	CLEANUP_FREE char *text = NULL;
	size_t len;

	if (!args)
		return err_set(
			err, EINVAL,
			"the arguments of %s cannot be written as JSON (a name that is not UTF-8?)",
			command);
	request = json_pack("{s:s, s:o, s:I}", "execute", command, "arguments", args, "id", id);
	text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	json_decref(request);
	if (!text)
		return err_sys(err, ENOMEM, "command %s", command);
	len = strlen(text);
	text[len] = '\n'; /* in place of the NUL: the length is known */
	return socket_send(qmp, text, len + 1, pass_fd, command, deadline_ns, err);
}

int qmp_send(struct qmp *qmp, const char *command, json_t *args, int64_t deadline_ns,
	     int64_t *ret_id, struct err *err)
{
	*ret_id = ++qmp->next_id;
	return command_send(qmp, command, args, -1, *ret_id, deadline_ns, err);
}

int qmp_collect(struct qmp *qmp, int64_t id, const char *command, int64_t deadline_ns,
		json_t **ret_value, struct err *err)
{
	return reply_wait(qmp, id, command, deadline_ns, ret_value, err);
}

int qmp_execute(struct qmp *qmp, const char *command, json_t *args, int64_t deadline_ns,
		json_t **ret_value, struct err *err)
{
	return qmp_execute_fd(qmp, command, args, -1, deadline_ns, ret_value, err);
}

int qmp_execute_fd(struct qmp *qmp, const char *command, json_t *args, int fd,
		   int64_t deadline_ns, json_t **ret_value, struct err *err)
{
	json_int_t id = ++qmp->next_id;
	int rc = command_send(qmp, command, args, fd, id, deadline_ns, err);

	return rc < 0 ? rc : reply_wait(qmp, id, command, deadline_ns, ret_value, err);
}

int qmp_pass_fd(struct qmp *qmp, const char *name, int fd, int64_t deadline_ns, struct err *err)
{
	return qmp_execute_fd(qmp, "getfd", json_pack("{s:s}", "fdname", name), fd, deadline_ns,
			      NULL, err);
}

int qmp_wait_event(struct qmp *qmp, qmp_match_fn match, void *arg, int64_t deadline_ns,
		   json_t **ret_event, struct err *err)
{
	size_t seen = 0;

	for (;;) {
		json_t *object;
		int rc;

		for (; seen < json_array_size(qmp->events); seen++) {
			json_t *event = json_array_get(qmp->events, seen);
			const char *name = json_string_value(json_object_get(event, "event"));

			if (!name || !match(name, json_object_get(event, "data"), arg))
				continue;
			*ret_event = json_incref(event);
			json_array_remove(qmp->events, seen);
			return 0;
		}
		rc = object_next(qmp, "a wait for an event", deadline_ns, &object, err);
		if (rc < 0)
			return rc;
		if (!json_object_get(object, "event")) {
			json_decref(object);
			continue;
		}
		if (seen == QMP_EVENTS_MAX)
			seen--; /* the oldest gives way */
		rc = event_keep(qmp, object, err);
		if (rc < 0)
			return rc;
	}
}

void qmp_drop_events(struct qmp *qmp)
{
	json_array_clear(qmp->events);
}

/*
 * Wait for the greeting. What QEMU still had to say to a client that was killed comes first:
 * its last line may be cut, and ids of its own commands are in it.
 */
static int greeting_wait(struct qmp *qmp, int64_t deadline_ns, struct err *err)
{
	for (int skipped = 0; skipped < QMP_STALE_MAX; skipped++) {
		json_t *object = NULL;
		int rc = object_next(qmp, "the greeting", deadline_ns, &object, err);
		bool found = rc == 0 && json_is_object(json_object_get(object, "QMP"));

		json_decref(object);
		if (found || (rc < 0 && rc != -EPROTO))
			return rc;
	}
	return err_set(err, EPROTO, "the monitor socket did not greet as QEMU does");
}

static int negotiate(struct qmp *qmp, int64_t deadline_ns, struct err *err)
{
	int rc = greeting_wait(qmp, deadline_ns, err);

	return rc < 0 ? rc
		      : qmp_execute(qmp, "qmp_capabilities", json_object(), deadline_ns, NULL,
				    err);
}

int qmp_open(int fd, int64_t deadline_ns, struct qmp **ret_qmp, struct err *err)
{
	struct qmp *qmp = calloc(1, sizeof(*qmp));
	int rc;

	if (!qmp) {
		close(fd);
		return err_sys(err, ENOMEM, "monitor connection");
	}
	qmp->fd = fd;
	qmp->decoder = qmp_decoder_create();
	qmp->events = json_array();
	if (qmp->decoder && qmp->events)
		rc = negotiate(qmp, deadline_ns, err);
	else
		rc = err_sys(err, ENOMEM, "monitor connection");
	if (rc < 0) {
		qmp_close(qmp);
		return rc;
	}
	*ret_qmp = qmp;
	return 0;
}

int qmp_connect(const char *path, int64_t deadline_ns, struct qmp **ret_qmp, struct err *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	CLEANUP_CLOSE int fd = -1;
	size_t len = strlen(path);

	if (len >= sizeof(address.sun_path))
		return err_set(err, ENAMETOOLONG, "the socket path %s has more than %zu bytes",
			       path, sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, len);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(err, errno, "cannot make a socket");
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return err_sys(err, errno, "cannot connect to QEMU's monitor at %s", path);
	return qmp_open(TAKE_FD(fd), deadline_ns, ret_qmp, err);
}

void qmp_close(struct qmp *qmp)
{
	if (!qmp)
		return;
	json_decref(qmp->events);
	qmp_decoder_destroy(qmp->decoder);
	close(qmp->fd);
	free(qmp);
}
