/* SPDX-License-Identifier: BSD-3-Clause */
/* The connection to the agent, and the thread that waits for its orders. */
#include "armci/suspend/suspend.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "armci/core/fail.h"
#include "armci/core/gate.h"
#include "armci/core/job.h"
#include "armci/core/settings.h"
#include "armci/suspend/orders.h"

enum { AGAIN_MS = 200 };

static struct {
	bool running;
	pthread_t thread;
	int fd;      /* to the agent; -1: it has gone */
	int stop_fd; /* an eventfd: the application wants to end */
	uint8_t job[CONTROL_JOB_BYTES];
} control = {.fd = -1, .stop_fd = -1};

static int agent_connect(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t len = strlen(settings.control);
	int fd;

	if (len == 0 || len >= sizeof(address.sun_path))
		return -1;
	memcpy(address.sun_path, settings.control, len + 1);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* Connect, and say who this is. */
static void agent_find(void)
{
	struct control_hello hello = {.magic = CONTROL_MAGIC,
				      .version = CONTROL_VERSION,
				      .rank = job.rank,
				      .ranks = job.size,
				      .state = orders_state()};

	control.fd = agent_connect();
	memcpy(hello.job, control.job, sizeof(hello.job));
	if (control.fd >= 0 &&
	    send(control.fd, &hello, sizeof(hello), MSG_NOSIGNAL) != sizeof(hello)) {
		close(control.fd);
		control.fd = -1;
	}
}

static void agent_lose(void)
{
	close(control.fd);
	control.fd = -1;
}

/* One order, and the descriptor that may come with it. False: the agent has gone, or is none.
 */
static bool order_take(struct control_order *ret_order, int *ret_fd)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} extra;
	struct iovec iov = {.iov_base = ret_order, .iov_len = sizeof(*ret_order)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &extra,
			     .msg_controllen = sizeof(extra)};
	ssize_t n = recvmsg(control.fd, &msg, MSG_CMSG_CLOEXEC);
	struct cmsghdr *head = n >= 0 ? CMSG_FIRSTHDR(&msg) : NULL;

	*ret_fd = -1;
	if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS &&
	    head->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(ret_fd, CMSG_DATA(head), sizeof(int));
	return n == (ssize_t)sizeof(*ret_order);
}

static bool report(const struct orders_call *call)
{
	struct iovec iov[2] = {
		{.iov_base = (void *)&call->report, .iov_len = sizeof(call->report)},
		{.iov_base = (void *)call->card, .iov_len = call->report.card_bytes},
	};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
	ssize_t n = sendmsg(control.fd, &msg, MSG_NOSIGNAL);

	return n == (ssize_t)(iov[0].iov_len + iov[1].iov_len);
}

static void serve_agent(void)
{
	struct orders_call call;
	bool good = order_take(&call.order, &call.table_fd);

	if (good) {
		orders_carry_out(&call);
		good = report(&call);
	}
	if (call.table_fd >= 0)
		close(call.table_fd);
	if (!good)
		agent_lose();
}

/* Ends when the application wants to, but not while the process is suspended. */
static void *control_main(void *arg)
{
	bool stop = false;

	(void)arg;
	fail_in_service_thread();
	while (!stop || orders_state() != CONTROL_OPEN) {
		struct pollfd fds[] = {{.fd = control.fd, .events = POLLIN},
				       {.fd = stop ? -1 : control.stop_fd, .events = POLLIN}};

		if (poll(fds, 2, control.fd < 0 ? AGAIN_MS : -1) < 0 && errno != EINTR)
			fail("cannot wait for the agent's orders: %s", strerror(errno));
		if (fds[1].revents)
			stop = true;
		if (control.fd < 0)
			agent_find();
		else if (fds[0].revents)
			serve_agent();
	}
	return NULL;
}

static int thread_start(struct err *err)
{
	sigset_t all, old;
	int code;

	control.stop_fd = eventfd(0, EFD_CLOEXEC);
	if (control.stop_fd < 0)
		return err_sys(err, errno, "cannot make an eventfd");
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	code = pthread_create(&control.thread, NULL, control_main, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (code)
		return err_sys(err, code, "cannot start the control thread");
	pthread_setname_np(control.thread, "armci-control");
	control.running = true;
	return 0;
}

int suspend_open(struct err *err)
{
	if (job.rank == 0 &&
	    getrandom(control.job, sizeof(control.job), 0) != (ssize_t)sizeof(control.job))
		return err_sys(err, errno, "cannot draw a number for the job");
	MPI_Bcast(control.job, sizeof(control.job), MPI_BYTE, 0, job.comm);
	agent_find();
	if (control.fd < 0)
		return 0;
	if (gate_prepare() < 0) {
		agent_lose();
		return err_set(
			err, ENOSYS,
			"this kernel has no membarrier(2), without which the agent at %s "
			"cannot suspend this process; set STASIS_ARMCI_CONTROL to nothing "
			"to run all the same",
			settings.control);
	}
	return thread_start(err);
}

void suspend_close(void)
{
	uint64_t one = 1;

	if (control.running) {
		while (write(control.stop_fd, &one, sizeof(one)) < 0 && errno == EINTR)
			;
		pthread_join(control.thread, NULL);
	}
	if (control.stop_fd >= 0)
		close(control.stop_fd);
	if (control.fd >= 0)
		agent_lose();
	control.stop_fd = -1;
	control.running = false;
}
