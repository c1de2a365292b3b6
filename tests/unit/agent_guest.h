/* SPDX-License-Identifier: BSD-3-Clause */
/* For the agent's tests: the real program, run natively over a unix socket. */
#ifndef STASIS_TESTS_AGENT_GUEST_H
#define STASIS_TESTS_AGENT_GUEST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/rpc.h"

enum { KEPT_MAX = 16 };

/* One agent and the host's end of its port. */
struct guest {
	char dir[64];
	char port[96];
	int listener;
	int fd;
	pid_t pid;
	int64_t last_id;
	struct rpc_decoder *decoder;
	struct rpc_msg kept[KEPT_MAX]; /* messages that came while another was awaited */
	int kept_count;
};

/* What a job has written and how it ended. */
struct job_end {
	char *out, *err;
	size_t out_len, err_len;
	int code, signal;
};

pid_t process_spawn(char *const argv[]);

/* Start an agent on the guest's port and take its connection; kill it with a signal. */
void agent_start(struct guest *guest);
void agent_kill(struct guest *guest, int number);
/* Close the host's end of the port; take the agent's next connection. */
void agent_disconnect(struct guest *guest);
void agent_accept(struct guest *guest);

void guest_send_bytes(struct guest *guest, const void *bytes, size_t len);
/* Send a message, taking over the reference. */
void guest_send_json(struct guest *guest, json_t *json, const void *blob, size_t blob_len);
/* The next message with the member `key`, and this id if not 0; others are kept for later. */
struct rpc_msg guest_await(struct guest *guest, const char *key, int64_t id);
/* Send a request, taking over the reference; its id. */
int64_t guest_request(struct guest *guest, json_t *json, const void *blob, size_t blob_len);
/* Ask and wait: 0 or the agent's -errno. ret_reply may be NULL. */
int guest_ask_blob(struct guest *guest, json_t *json, const void *blob, size_t blob_len,
		   struct rpc_msg *ret_reply);
int guest_ask(struct guest *guest, json_t *json, struct rpc_msg *ret_reply);
int guest_ask_text(struct guest *guest, const char *text);
/* Begin a session. */
void guest_hello(struct guest *guest);

/* Members that a message must have. */
int64_t member_int(const struct rpc_msg *msg, const char *key);
const char *member_text(const struct rpc_msg *msg, const char *key);

/* Start a shell command as a job in the guest's directory. */
int job_begin(struct guest *guest, const char *job, const char *command, bool with_stdin);
json_t *job_poll_request(const char *job, int64_t out, int64_t err, int wait_ms);
/* Poll a job to its end; `kill_agent_once` starts another agent after the first poll. */
struct job_end job_run_out(struct guest *guest, const char *job, bool kill_agent_once);
/* Run it out and compare; `err` NULL: anything but nothing. */
void job_expect_end(struct guest *guest, const char *job, const char *out, const char *err,
		    int code, int number_of_signal);

/* A test with a running agent and a session, as *state. */
int guest_setup(void **state);
int guest_teardown(void **state);
#define GUEST_TEST(test) cmocka_unit_test_setup_teardown(test, guest_setup, guest_teardown)

#endif
