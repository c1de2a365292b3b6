/* SPDX-License-Identifier: BSD-3-Clause */
/* A background snapshot as it arrives: RAM into its capture, the devices into a file. */
#include "vm/ram/receive.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "vm/ram/stream.h"

enum { BUFFER_BYTES = 1 << 20, NOTHING_BYTES = 32 << 10, SILENCE_MS = 60000 };

struct receiver {
	struct ram_capture *capture;
	int state_fd;
	off_t state_end;
	ram_receive_pace_fn pace;
	void *arg;
};

static void take_page(void *arg, uint64_t offset, const void *page)
{
	const struct receiver *receiver = arg;

	ram_capture_put(receiver->capture, offset, page);
}

static int take_devices(void *arg, const void *bytes, size_t len, struct err *err)
{
	struct receiver *receiver = arg;
	int rc = io_pwrite_all(receiver->state_fd, bytes, len, receiver->state_end, err);

	receiver->state_end += (off_t)len;
	return rc;
}

/* What there is, at most `size`; *ret_got 0: the end. */
static int receive_some(int fd, char *buffer, size_t size, size_t *ret_got, struct err *err)
{
	for (;;) {
		struct pollfd pfd = {.fd = fd, .events = POLLIN};
		int ready = poll(&pfd, 1, SILENCE_MS);
		ssize_t got = ready > 0 ? read(fd, buffer, size) : ready;

		if (ready == 0)
			return err_set(err, ETIMEDOUT,
				       "QEMU does not go on with a background snapshot");
		if (got >= 0) {
			*ret_got = (size_t)got;
			return 0;
		}
		if (errno != EINTR)
			return err_sys(err, errno, "cannot read a background snapshot");
	}
}

static int receive_all(const struct receiver *receiver, int fd, struct ram_stream *stream,
		       struct err *err)
{
	CLEANUP_FREE char *buffer = malloc(BUFFER_BYTES);
	size_t have = 0, got = 0, used = 0;

	if (!buffer)
		return err_sys(err, ENOMEM, "stream of a background snapshot");
	for (;;) {
		int rc = receive_some(fd, buffer + have, BUFFER_BYTES - have, &got, err);

		if (rc == 0 && got == 0)
			return ram_stream_end(stream, have, err);
		have += got;
		if (rc == 0)
			rc = ram_stream_feed(stream, buffer, have, &used, err);
		if (rc < 0)
			return rc;
		have -= used;
		memmove(buffer, buffer + used, have);
		if (receiver->pace)
			receiver->pace(receiver->arg);
	}
}

int ram_receive(int stream_fd, const char *block, struct ram_capture *capture, int state_fd,
		ram_receive_pace_fn pace, void *arg, struct err *err)
{
	struct receiver receiver = {
		.capture = capture, .state_fd = state_fd, .pace = pace, .arg = arg};
	const struct ram_stream_sink sink = {
		.block = block,
		.bytes = ram_capture_size(capture),
		.page = take_page,
		.devices = take_devices,
		.arg = &receiver,
	};
	struct ram_stream *stream;
	struct stat st;
	int rc;

	if (fstat(state_fd, &st) < 0)
		return err_sys(err, errno, "device state");
	receiver.state_end = st.st_size;
	stream = ram_stream_create(&sink, err);
	if (!stream)
		return -ENOMEM;
	rc = receive_all(&receiver, stream_fd, stream, err);
	ram_stream_destroy(stream);
	return rc;
}

void ram_receive_nothing(int stream_fd)
{
	char buffer[NOTHING_BYTES];
	size_t got;

	while (receive_some(stream_fd, buffer, sizeof(buffer), &got, NULL) == 0 && got > 0)
		;
}
