/* SPDX-License-Identifier: BSD-3-Clause */
/* Decoding of the host's requests: every member is checked here, nothing is done here. */
#include "agent/request.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/hex.h"
#include "base/io.h"

enum { ID_MAX = 63, HOST_MAX = 63, NONCE_LEN = 16, MTU_MIN = 576, SLOTS_MAX = 4096 };

typedef int (*decode_fn)(const json_t *json, struct request *request, struct err *err);

static bool text_is_made_of(const char *text, size_t max, const char *set)
{
	size_t len = strlen(text);

	return len > 0 && len <= max && strspn(text, set) == len;
}

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS  "0123456789"

bool request_id_valid(const char *id)
{
	return id[0] != '.' && text_is_made_of(id, ID_MAX, LETTERS DIGITS "._-");
}

bool request_host_valid(const char *name)
{
	return name[0] != '-' && text_is_made_of(name, HOST_MAX, LETTERS DIGITS "-");
}

static int get_id(const json_t *json, const char *key, const char **ret_id, struct err *err)
{
	int rc = rpc_get_str(json, key, ret_id, err);

	if (rc == 0 && !request_id_valid(*ret_id))
		rc = err_set(err, EINVAL,
			     "\"%s\" must be 1 to %d letters, digits, dots, hyphens or "
			     "underscores, and not begin with a dot",
			     key, ID_MAX);
	return rc;
}

static int get_path(const json_t *json, const char *key, const char **ret_path, struct err *err)
{
	int rc = rpc_opt_str(json, key, ret_path, err);

	if (rc < 0)
		return rc;
	if (!*ret_path)
		return rpc_get_str(json, key, ret_path, err);
	if ((*ret_path)[0] != '/')
		return err_set(err, EINVAL, "\"%s\" must be an absolute path", key);
	if (strlen(*ret_path) >= IO_PATH_MAX)
		return err_set(err, ENAMETOOLONG, "\"%s\" is longer than a path may be", key);
	return 0;
}

static int get_mode(const json_t *json, struct request *request, struct err *err)
{
	int64_t mode = 0;
	int rc = rpc_get_int(json, "mode", 0, 07777, &mode, err);

	request->mode = (mode_t)mode;
	return rc;
}

static int get_offset(const json_t *json, struct request *request, struct err *err)
{
	return rpc_get_int(json, "offset", 0, INT64_MAX / 2, &request->offset, err);
}

static int get_max(const json_t *json, struct request *request, struct err *err)
{
	int64_t max = RPC_AGENT_BLOB_MAX;
	int rc = rpc_opt_int(json, "max", 0, RPC_AGENT_BLOB_MAX, &max, err);

	request->max_bytes = (size_t)max;
	return rc;
}

static int decode_hello(const json_t *json, struct request *request, struct err *err)
{
	int64_t version = 0;
	int rc = rpc_get_int(json, "version", 0, INT32_MAX, &version, err);

	if (rc == 0)
		rc = rpc_get_str(json, "nonce", &request->nonce, err);
	if (rc < 0)
		return rc;
	if (version != RPC_VERSION)
		return err_set(err, EPROTONOSUPPORT,
			       "this agent speaks version %d, the host %d", RPC_VERSION,
			       (int)version);
	if (strlen(request->nonce) != NONCE_LEN ||
	    !text_is_made_of(request->nonce, NONCE_LEN, DIGITS "abcdefABCDEF"))
		return err_set(err, EINVAL, "\"nonce\" must be %d hexadecimal digits",
			       NONCE_LEN);
	return 0;
}

static int decode_nothing(const json_t *json, struct request *request, struct err *err)
{
	(void)json;
	(void)request;
	(void)err;
	return 0;
}

/* At most `max` bytes in hexadecimal. */
static int get_hex(const json_t *json, const char *key, unsigned char *ret_bytes, size_t max,
		   size_t *ret_len, struct err *err)
{
	const char *hex = "";
	int rc = rpc_get_str(json, key, &hex, err);
	size_t digits;

	if (rc < 0)
		return rc;
	digits = strlen(hex);
	if (digits % 2 || digits / 2 > max)
		return err_set(err, EINVAL, "\"%s\" must be at most %zu bytes in hexadecimal",
			       key, max);
	if (!hex_decode(hex, ret_bytes, digits / 2))
		return err_set(err, EINVAL, "\"%s\" is not hexadecimal", key);
	*ret_len = digits / 2;
	return 0;
}

static int decode_clock(const json_t *json, struct request *request, struct err *err)
{
	int rc;

	/* Up to the year 2200: a clock further off would only break programs. */
	rc = rpc_get_int(json, "realtime_ns", 0, INT64_C(7258118400) * 1000000000,
			 &request->realtime_ns, err);
	return rc < 0 ? rc
		      : get_hex(json, "entropy", request->entropy.bytes, REQUEST_ENTROPY_MAX,
				&request->entropy.len, err);
}

static int parse_mac(const char *text, unsigned char ret_mac[ETH_ALEN], struct err *err)
{
	bool good = strlen(text) == 3 * ETH_ALEN - 1;

	for (size_t i = 0; good && i < ETH_ALEN; i++)
		good = hex_decode(text + 3 * i, &ret_mac[i], 1) &&
		       (i == ETH_ALEN - 1 || text[3 * i + 2] == ':');
	if (!good || (ret_mac[0] & 1))
		return err_set(err, EINVAL,
			       "\"mac\" must be a unicast address like "
			       "52:54:00:00:00:02");
	return 0;
}

static int get_address(const json_t *json, struct in_addr *ret_address, struct err *err)
{
	const char *text;
	int rc = rpc_get_str(json, "address", &text, err);

	if (rc == 0 && inet_pton(AF_INET, text, ret_address) != 1)
		rc = err_set(err, EINVAL, "\"address\" must be an IPv4 address");
	return rc;
}

static int get_host(const json_t *json, const char **ret_name, struct err *err)
{
	int rc = rpc_get_str(json, "name", ret_name, err);

	if (rc == 0 && !request_host_valid(*ret_name))
		rc = err_set(err, EINVAL,
			     "\"name\" must be a host name of at most %d letters, digits and "
			     "hyphens",
			     HOST_MAX);
	return rc;
}

static int check_peers(const json_t *peers, struct err *err)
{
	const json_t *peer;
	size_t i;

	if (!json_is_array(peers) || json_array_size(peers) > REQUEST_PEERS_MAX)
		return err_set(err, EINVAL, "\"peers\" must be an array of at most %d members",
			       REQUEST_PEERS_MAX);
	json_array_foreach(peers, i, peer)
	{
		struct in_addr address;
		const char *name;
		int64_t slots = 0;
		int rc = get_host(peer, &name, err);

		if (rc == 0)
			rc = get_address(peer, &address, err);
		if (rc == 0)
			rc = rpc_get_int(peer, "slots", 1, SLOTS_MAX, &slots, err);
		if (rc < 0)
			return err_prefix(err, "peer %zu", i);
	}
	return 0;
}

static int decode_configure(const json_t *json, struct request *request, struct err *err)
{
	struct request_configure *configure = &request->configure;
	int64_t index = 0;
	int64_t prefix = 0;
	int64_t mtu = 0;
	const char *mac = "";
	int rc;

	rc = decode_clock(json, request, err);
	if (rc == 0)
		rc = get_host(json, &configure->name, err);
	if (rc == 0)
		rc = rpc_get_int(json, "index", 0, REQUEST_PEERS_MAX, &index, err);
	if (rc == 0)
		rc = rpc_get_str(json, "mac", &mac, err);
	if (rc == 0)
		rc = parse_mac(mac, configure->mac, err);
	if (rc == 0)
		rc = get_address(json, &configure->address, err);
	if (rc == 0)
		rc = rpc_get_int(json, "prefix", 1, 32, &prefix, err);
	if (rc == 0)
		rc = rpc_get_int(json, "mtu", MTU_MIN, UINT16_MAX, &mtu, err);
	if (rc == 0)
		rc = rpc_opt_bool(json, "rdma", &configure->rdma, err);
	if (rc < 0)
		return rc;
	configure->prefix = (int)prefix;
	configure->mtu = (int)mtu;
	configure->peers = json_object_get(json, "peers");
	return check_peers(configure->peers, err);
}

static int check_env(const json_t *env, struct err *err)
{
	const char *key;
	json_t *value;

	if (!env)
		return 0;
	if (!json_is_object(env))
		return err_set(err, EINVAL, "\"env\" must be an object");
	json_object_foreach((json_t *)env, key, value)
	{
		if (key[0] == '\0' || strchr(key, '=') || !json_is_string(value))
			return err_set(err, EINVAL,
				       "\"env\" must map names without \"=\" to texts");
	}
	return 0;
}

int request_check_command(const json_t *argv, const json_t *env, struct err *err)
{
	size_t count = json_array_size(argv);

	if (count < 1 || count > REQUEST_ARGS_MAX)
		return err_set(err, EINVAL, "\"argv\" must be an array of 1 to %d texts",
			       REQUEST_ARGS_MAX);
	for (size_t i = 0; i < count; i++)
		if (!json_is_string(json_array_get(argv, i)))
			return err_set(err, EINVAL, "\"argv\" must hold nothing but texts");
	if (json_string_length(json_array_get(argv, 0)) == 0)
		return err_set(err, EINVAL, "\"argv\" names no command");
	return check_env(env, err);
}

static int decode_job(const json_t *json, struct request *request, struct err *err)
{
	return get_id(json, "job", &request->job, err);
}

static int decode_job_start(const json_t *json, struct request *request, struct err *err)
{
	int rc = decode_job(json, request, err);

	request->argv = json_object_get(json, "argv");
	request->env = json_object_get(json, "env");
	if (rc == 0)
		rc = request_check_command(request->argv, request->env, err);
	request->cwd = "/";
	if (rc == 0 && json_object_get(json, "cwd"))
		rc = get_path(json, "cwd", &request->cwd, err);
	if (rc == 0)
		rc = rpc_opt_bool(json, "stdin", &request->with_stdin, err);
	return rc;
}

static int decode_job_poll(const json_t *json, struct request *request, struct err *err)
{
	int64_t wait_ms = 0;
	int rc = decode_job(json, request, err);

	if (rc == 0)
		rc = rpc_get_int(json, "out", 0, INT64_MAX / 2, &request->out_offset, err);
	if (rc == 0)
		rc = rpc_get_int(json, "err", 0, INT64_MAX / 2, &request->err_offset, err);
	if (rc == 0)
		rc = get_max(json, request, err);
	if (rc == 0)
		rc = rpc_opt_int(json, "wait_ms", 0, REQUEST_WAIT_MAX_MS, &wait_ms, err);
	request->wait_ms = (int)wait_ms;
	return rc;
}

static int decode_job_stdin(const json_t *json, struct request *request, struct err *err)
{
	int rc = decode_job(json, request, err);

	if (rc == 0)
		rc = get_offset(json, request, err);
	if (rc == 0)
		rc = rpc_opt_bool(json, "eof", &request->eof, err);
	return rc;
}

static int decode_job_signal(const json_t *json, struct request *request, struct err *err)
{
	int64_t number = 0;
	int rc = decode_job(json, request, err);

	if (rc == 0)
		rc = rpc_get_int(json, "signal", 1, SIGRTMAX, &number, err);
	request->signal = (int)number;
	return rc;
}

static int decode_job_list(const json_t *json, struct request *request, struct err *err)
{
	request->after = "";
	return rpc_opt_str(json, "after", &request->after, err);
}

static int decode_fs_path(const json_t *json, struct request *request, struct err *err)
{
	return get_path(json, "path", &request->path, err);
}

static int decode_fs_list(const json_t *json, struct request *request, struct err *err)
{
	int rc = decode_fs_path(json, request, err);

	request->after = "";
	if (rc == 0)
		rc = rpc_opt_str(json, "after", &request->after, err);
	return rc;
}

static int decode_fs_read(const json_t *json, struct request *request, struct err *err)
{
	int rc = decode_fs_path(json, request, err);

	if (rc == 0)
		rc = get_offset(json, request, err);
	if (rc == 0)
		rc = get_max(json, request, err);
	return rc;
}

static int decode_fs_write(const json_t *json, struct request *request, struct err *err)
{
	int rc = decode_fs_path(json, request, err);

	if (rc == 0)
		rc = get_offset(json, request, err);
	if (rc == 0)
		rc = get_mode(json, request, err);
	if (rc == 0)
		rc = rpc_opt_bool(json, "last", &request->last, err);
	return rc;
}

static int decode_fs_mkdir(const json_t *json, struct request *request, struct err *err)
{
	int rc = decode_fs_path(json, request, err);

	return rc < 0 ? rc : get_mode(json, request, err);
}

static int decode_fs_symlink(const json_t *json, struct request *request, struct err *err)
{
	int rc = decode_fs_path(json, request, err);

	if (rc == 0)
		rc = rpc_get_str(json, "target", &request->target, err);
	if (rc == 0 && (request->target[0] == '\0' || strlen(request->target) >= IO_PATH_MAX))
		rc = err_set(err, EINVAL, "\"target\" must be a path");
	return rc;
}

static int decode_phase(const json_t *json, struct request *request, struct err *err)
{
	const char *name = "";
	int rc = rpc_get_str(json, "phase", &name, err);

	if (rc == 0)
		rc = phase_parse(name, &request->phase, err);
	if (rc == 0)
		rc = get_id(json, "ckpt", &request->ckpt, err);
	if (rc == 0)
		rc = rpc_opt_int(json, "deadline_ms", 0, INT32_MAX, &request->deadline_ms, err);
	return rc;
}

static int decode_cards(const json_t *json, struct request *request, struct err *err)
{
	size_t len = 0;
	int rc = get_hex(json, "job", request->card_job, sizeof(request->card_job), &len, err);

	if (rc == 0 && len != sizeof(request->card_job))
		rc = err_set(err, EINVAL, "\"job\" must be %zu bytes in hexadecimal",
			     sizeof(request->card_job));
	if (rc == 0)
		rc = rpc_get_int(json, "ranks", 1, CONTROL_RANKS_MAX, &request->ranks, err);
	if (rc == 0)
		rc = rpc_get_int(json, "first", 0, CONTROL_RANKS_MAX - 1, &request->first_rank,
				 err);
	return rc;
}

static int decode_power(const json_t *json, struct request *request, struct err *err)
{
	const char *action = "";
	int rc = rpc_get_str(json, "action", &action, err);

	request->reboot = strcmp(action, "reboot") == 0;
	if (rc == 0 && !request->reboot && strcmp(action, "off") != 0)
		rc = err_set(err, EINVAL, "\"action\" must be \"off\" or \"reboot\"");
	return rc;
}

static const struct {
	const char *name;
	decode_fn decode;
	bool takes_blob;
} operations[REQUEST_OP_COUNT] = {
	[REQUEST_HELLO] = {"hello", decode_hello, false},
	[REQUEST_PING] = {"ping", decode_nothing, false},
	[REQUEST_CONFIGURE] = {"configure", decode_configure, false},
	[REQUEST_CLOCK_SET] = {"clock.set", decode_clock, false},
	[REQUEST_JOB_START] = {"job.start", decode_job_start, false},
	[REQUEST_JOB_POLL] = {"job.poll", decode_job_poll, false},
	[REQUEST_JOB_STDIN] = {"job.stdin", decode_job_stdin, true},
	[REQUEST_JOB_SIGNAL] = {"job.signal", decode_job_signal, false},
	[REQUEST_JOB_LIST] = {"job.list", decode_job_list, false},
	[REQUEST_JOB_REMOVE] = {"job.remove", decode_job, false},
	[REQUEST_FS_STAT] = {"fs.stat", decode_fs_path, false},
	[REQUEST_FS_LIST] = {"fs.list", decode_fs_list, false},
	[REQUEST_FS_READ] = {"fs.read", decode_fs_read, false},
	[REQUEST_FS_WRITE] = {"fs.write", decode_fs_write, true},
	[REQUEST_FS_MKDIR] = {"fs.mkdir", decode_fs_mkdir, false},
	[REQUEST_FS_SYMLINK] = {"fs.symlink", decode_fs_symlink, false},
	[REQUEST_FS_REMOVE] = {"fs.remove", decode_fs_path, false},
	[REQUEST_PHASE] = {"phase", decode_phase, false},
	[REQUEST_CARDS] = {"cards", decode_cards, true},
	[REQUEST_POWER] = {"power", decode_power, false},
};

int request_decode(const struct rpc_msg *msg, struct request *ret_request, struct err *err)
{
	const char *name = "";
	int rc = rpc_get_str(msg->json, "op", &name, err);

	if (rc < 0)
		return rc;
	*ret_request = (struct request){
		.json = msg->json,
		.blob = msg->blob,
		.blob_len = msg->blob_len,
	};
	for (size_t i = 0; i < REQUEST_OP_COUNT; i++) {
		if (strcmp(name, operations[i].name) != 0)
			continue;
		ret_request->op = (enum request_op)i;
		if (msg->blob_len > (operations[i].takes_blob ? RPC_AGENT_BLOB_MAX : 0))
			return err_set(err, EMSGSIZE,
				       "%zu bytes of data are too many for \"%s\"",
				       msg->blob_len, name);
		rc = operations[i].decode(msg->json, ret_request, err);
		return rc < 0 ? err_prefix(err, "%s", name) : 0;
	}
	return err_set(err, ENOSYS, "this agent knows no operation \"%.64s\"", name);
}
