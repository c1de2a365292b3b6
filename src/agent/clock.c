/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest's clock and random pool after a start or a restore. */
#include "agent/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

/* Guests that come from one template or one checkpoint hold the same pool: make it another at
 * once. */
static int entropy_add(const struct request_entropy *entropy, struct err *err)
{
	CLEANUP_FREE struct rand_pool_info *pool = NULL;
	CLEANUP_CLOSE int fd = -1;

	if (entropy->len == 0)
		return 0;
	fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, errno, "cannot open the random pool");
	pool = malloc(sizeof(*pool) + entropy->len);
	if (!pool)
		return err_set(err, ENOMEM, "no memory for entropy");
	pool->entropy_count = (int)entropy->len * 8;
	pool->buf_size = (int)entropy->len;
	memcpy(pool->buf, entropy->bytes, entropy->len);
	if (ioctl(fd, RNDADDENTROPY, pool) < 0 || ioctl(fd, RNDRESEEDCRNG) < 0)
		return err_sys(err, errno, "cannot reseed the random pool");
	return 0;
}

int clock_set(int64_t realtime_ns, const struct request_entropy *entropy,
	      int64_t *ret_before_ns, struct err *err)
{
	struct timespec now = {
		.tv_sec = realtime_ns / NS_PER_S,
		.tv_nsec = realtime_ns % NS_PER_S,
	};
	int rc = entropy_add(entropy, err);

	if (rc < 0)
		return rc;
	if (ret_before_ns)
		*ret_before_ns = clock_real_ns();
	if (clock_settime(CLOCK_REALTIME, &now) < 0)
		return err_sys(err, errno, "cannot set the clock");
	return 0;
}
