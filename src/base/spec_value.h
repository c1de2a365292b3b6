/* SPDX-License-Identifier: BSD-3-Clause */
/* From text to the values of a cluster's description: one function per key, used by spec.c
 * only. */
#ifndef STASIS_BASE_SPEC_VALUE_H
#define STASIS_BASE_SPEC_VALUE_H

#include <stddef.h>

#include "base/spec.h"

enum { SPEC_QUOTE_SIZE = 72 };

/* A value, and where relative host paths begin (NULL: they are refused). */
struct spec_text {
	const char *base_dir;
	const char *value;
};

/* Check the value and put it into its field; on failure the field keeps what it had. */
typedef int (*spec_value_fn)(struct spec *spec, const struct spec_text *text, struct err *err);

int spec_value_name(struct spec *spec, const struct spec_text *text, struct err *err);
int spec_value_vms(struct spec *spec, const struct spec_text *text, struct err *err);
int spec_value_memory(struct spec *spec, const struct spec_text *text, struct err *err);
int spec_value_cpus(struct spec *spec, const struct spec_text *text, struct err *err);
int spec_value_slots(struct spec *spec, const struct spec_text *text, struct err *err);
int spec_value_accel(struct spec *spec, const struct spec_text *text, struct err *err);
int spec_value_capture(struct spec *spec, const struct spec_text *text, struct err *err);
int spec_value_image(struct spec *spec, const struct spec_text *text, struct err *err);
int spec_value_packages(struct spec *spec, const struct spec_text *text, struct err *err);
int spec_value_subnet(struct spec *spec, const struct spec_text *text, struct err *err);
int spec_value_mtu(struct spec *spec, const struct spec_text *text, struct err *err);
int spec_value_rdma(struct spec *spec, const struct spec_text *text, struct err *err);
int spec_value_device(struct spec *spec, const struct spec_text *text, struct err *err);
int spec_value_every(struct spec *spec, const struct spec_text *text, struct err *err);
int spec_value_keep(struct spec *spec, const struct spec_text *text, struct err *err);
/* A line of [files]. */
int spec_value_file(struct spec *spec, const char *guest_path, const struct spec_text *text,
		    struct err *err);

/* The text in quotes for a message, cut between characters when it is long. */
const char *spec_quote(const char *text, char ret_quoted[SPEC_QUOTE_SIZE]);

/* UTF-8 without control characters other than tab. */
int spec_check_text(const char *text, size_t len, struct err *err);

/* Network and prefix length of "a.b.c.d/n"; false when it has another form. */
bool spec_subnet_split(const char *text, uint32_t *ret_network, unsigned int *ret_prefix);

#endif
