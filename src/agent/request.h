/* SPDX-License-Identifier: BSD-3-Clause */
/* The host's requests, decoded and checked before anything acts on them. */
#ifndef STASIS_AGENT_REQUEST_H
#define STASIS_AGENT_REQUEST_H

#include <net/ethernet.h>
#include <netinet/in.h>
#include <stdbool.h>

#include "agent/phase.h"
#include "base/rpc.h"

enum request_op {
	REQUEST_HELLO,
	REQUEST_PING,
	REQUEST_CONFIGURE,
	REQUEST_CLOCK_SET,
	REQUEST_JOB_START,
	REQUEST_JOB_POLL,
	REQUEST_JOB_STDIN,
	REQUEST_JOB_SIGNAL,
	REQUEST_JOB_LIST,
	REQUEST_JOB_REMOVE,
	REQUEST_FS_STAT,
	REQUEST_FS_LIST,
	REQUEST_FS_READ,
	REQUEST_FS_WRITE,
	REQUEST_FS_MKDIR,
	REQUEST_FS_SYMLINK,
	REQUEST_FS_REMOVE,
	REQUEST_PHASE,
	REQUEST_CARDS,
	REQUEST_POWER,
	REQUEST_OP_COUNT
};

enum {
	REQUEST_ENTROPY_MAX = 256,
	REQUEST_PEERS_MAX = 1024,
	REQUEST_ARGS_MAX = 4096,
	REQUEST_WAIT_MAX_MS = 60000,
};

struct request_entropy {
	unsigned char bytes[REQUEST_ENTROPY_MAX];
	size_t len;
};

struct request_configure {
	const char *name;
	unsigned char mac[ETH_ALEN];
	struct in_addr address;
	int prefix;
	int mtu;
	const json_t *peers; /* array of {name, address, slots}, each checked */
	bool rdma;
};

/* What any operation may carry; texts and arrays belong to the message that was decoded. */
struct request {
	enum request_op op;
	const json_t *json;
	const char *blob;
	size_t blob_len;

	const char *nonce;                  /* hello */
	struct request_configure configure; /* configure */
	struct request_entropy entropy;     /* configure, clock.set */
	int64_t realtime_ns;                /* configure, clock.set */

	const char *job;                /* job.* but job.list */
	const json_t *argv;             /* job.start: array of 1 … REQUEST_ARGS_MAX texts */
	const json_t *env;              /* job.start: object of texts, or NULL */
	const char *cwd;                /* job.start */
	bool with_stdin;                /* job.start */
	int64_t out_offset, err_offset; /* job.poll */
	int wait_ms;                    /* job.poll */
	bool eof;                       /* job.stdin */
	int signal;                     /* job.signal */

	const char *path;   /* fs.* */
	const char *after;  /* fs.list, job.list */
	const char *target; /* fs.symlink */
	mode_t mode;        /* fs.write, fs.mkdir */
	bool last;          /* fs.write */
	int64_t offset;     /* job.stdin, fs.read, fs.write */
	size_t max_bytes;   /* job.poll, fs.read: at most RPC_AGENT_BLOB_MAX */

	enum phase_event phase;              /* phase */
	const char *ckpt;                    /* phase */
	int64_t deadline_ms;                 /* phase */
	uint8_t card_job[CONTROL_JOB_BYTES]; /* cards */
	int64_t ranks, first_rank;           /* cards */
	bool reboot;                         /* power */
};

/*
 * Decode and check every member of the message's operation, touching nothing outside
 * *ret_request. -ENOSYS: no such operation; -EINVAL or -EPROTO: a member is wrong.
 */
int request_decode(const struct rpc_msg *msg, struct request *ret_request, struct err *err);

/* Is it a job's, relay's or checkpoint's id: [A-Za-z0-9._-]{1,63}, no leading dot? */
bool request_id_valid(const char *id);

/* Is `name` a host name of letters, digits and hyphens, of at most 63? */
bool request_host_valid(const char *name);

/* Check a command: `argv` an array of 1 … REQUEST_ARGS_MAX texts, `env` NULL or an object of
 * texts. */
int request_check_command(const json_t *argv, const json_t *env, struct err *err);

#endif
