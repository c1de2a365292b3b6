/* SPDX-License-Identifier: BSD-3-Clause */
/* The description of a cluster: an INI file for people, a JSON object on the wire and in
 * manifests. */
#ifndef STASIS_BASE_SPEC_H
#define STASIS_BASE_SPEC_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/io.h"

enum { SPEC_NAME_MAX = 32, SPEC_VMS_MAX = 250, SPEC_CPUS_MAX = 64, SPEC_FILES_MAX = 64 };

struct spec_file {
	char guest_path[IO_PATH_MAX]; /* absolute */
	char host_path[IO_PATH_MAX];  /* absolute (relative ones are taken from the INI file's
					 directory) */
};

struct spec {
	char name[SPEC_NAME_MAX]; /* [a-z][a-z0-9-]*, default: the file's name without .ini */
	unsigned int vms;         /* 1 … SPEC_VMS_MAX, default 2 */
	uint64_t memory_bytes;    /* of each VM, 128M … 1T, whole MiB, default 512M */
	unsigned int cpus;        /* of each VM, default 1 */
	unsigned int slots;       /* MPI slots of each VM, default cpus */
	char accel[8];            /* "auto", "kvm", "tcg" */
	char capture[16];         /* of RAM: "compare", "background" */
	char image[IO_PATH_MAX];  /* the user's own base disk, or empty for the built one */
	char packages[1024]; /* more Debian packages for the built image, separated by spaces */
	char subnet[20]; /* private IPv4 network of the VMs, default 10.77.0.0/24; VM i has host
			    number i+1 */
	unsigned int mtu;  /* 1280 … 9000, default 4500 */
	bool rdma;         /* a Soft-RoCE device in each VM, default no */
	char device[1024]; /* hot-plugged devices: one for all VMs, or one for each, separated
			      by spaces; empty: none. See spec_device(). */
	struct spec_file
		files[SPEC_FILES_MAX]; /* [files] guest path = host path, put in at the start */
	unsigned int file_count;
	uint64_t checkpoint_every_ms; /* [checkpoint] every = 30s; 0: only on request */
	unsigned int checkpoint_keep; /* [checkpoint] keep = N: the newest that stay; 0: all */
};

/* A key of the INI file, for --help and the man page. */
struct spec_key {
	const char *section, *key, *default_text, *doc;
};
/* All keys, ended by a NULL section. */
const struct spec_key *spec_keys(void);

/* Defaults under a name (checked). */
int spec_init(struct spec *ret_spec, const char *name, struct err *err);

/* Read an INI file over defaults. Errors name the file, the line, the key, what is wrong and
 * what is allowed. Unknown sections and keys, repeated keys, bytes that are not UTF-8, NULs and
 * lines over 4096 bytes are errors. */
int spec_read_ini(const char *path, struct spec *ret_spec, struct err *err);

/* Set one key from text, as a line "key = value" in [section] would. */
int spec_set(struct spec *spec, const char *section, const char *key, const char *value,
	     struct err *err);

/* Both ways, all fields; from_json checks everything that the INI reader checks. */
json_t *spec_to_json(const struct spec *spec);
int spec_from_json(const json_t *json, struct spec *ret_spec, struct err *err);

/* IPv4 address of VM `index` as text, and the prefix length. */
int spec_address(const struct spec *spec, unsigned int index, char ret_text[16],
		 unsigned int *ret_prefix, struct err *err);

/* The device of VM `index` as QEMU is told it, "{i}" replaced by its number; "" if there is
 * none.
 */
void spec_device(const struct spec *spec, unsigned int index, char *ret_text, size_t size);

/* Parse "512M", "1G" (powers of 1024; plain number: bytes), and "30s", "5m", "1h", "250ms"
 * (plain number: seconds). */
int spec_parse_size(const char *text, uint64_t *ret_bytes, struct err *err);
int spec_parse_duration(const char *text, uint64_t *ret_ms, struct err *err);

/* Cluster, checkpoint and VM names: [A-Za-z0-9][A-Za-z0-9._-]*, at most 63 bytes. */
bool spec_name_valid(const char *name);

#endif
