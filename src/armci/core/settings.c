/* SPDX-License-Identifier: BSD-3-Clause */
/* Settings: reading the table of settings.def from the environment. */
#include "armci/core/settings.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum kind { BYTES, INT, TEXT };

struct setting {
	enum kind kind;
	const char *name;   /* without the prefix */
	const char *def;    /* of a TEXT */
	int64_t def_number; /* of the others */
	int64_t least, most;
	const char *doc;
	void *value; /* in `settings` */
};

#define DEFAULT_BYTES(value_) .def_number = (value_)
#define DEFAULT_INT(value_)   .def_number = (value_)
#define DEFAULT_TEXT(value_)  .def = (value_)

struct settings settings = {
#define SETTING(kind_, member, name_, def_, least_, most_, doc_) .member = (def_),
#include "armci/core/settings.def"
#undef SETTING
};

static const struct setting table[] = {
#define SETTING(kind_, member, name_, def_, least_, most_, doc_) \
	{.kind = kind_,                                          \
	 .name = name_,                                          \
	 DEFAULT_##kind_(def_),                                  \
	 .least = least_,                                        \
	 .most = most_,                                          \
	 .doc = doc_,                                            \
	 .value = &settings.member},
#include "armci/core/settings.def"
#undef SETTING
};

enum { TABLE_LEN = sizeof(table) / sizeof(table[0]), NAME_MAX_LEN = 64 };

static char *owned[TABLE_LEN]; /* text from the environment */

static const char suffixes[] = "KMGT";

/* 0, or -EINVAL for what is no number (with a suffix, if `bytes`) or does not fit. */
static int number_parse(const char *text, bool bytes, int64_t *ret_number)
{
	char *end;
	long long number;
	const char *suffix;

	errno = 0;
	number = strtoll(text, &end, 10);
	if (end == text || errno)
		return -EINVAL;
	if (bytes && *end) {
		char upper = *end >= 'a' && *end <= 'z' ? (char)(*end - 'a' + 'A') : *end;

		suffix = strchr(suffixes, upper);
		if (!suffix || __builtin_mul_overflow(
				       number, 1LL << (10 * (suffix - suffixes + 1)), &number))
			return -EINVAL;
		end++;
	}
	if (*end)
		return -EINVAL;
	*ret_number = number;
	return 0;
}

/* Bytes with the largest suffix that leaves no remainder. */
static void number_format(const struct setting *setting, int64_t number, char *ret_text,
			  size_t size)
{
	int power = 0;

	if (setting->kind == BYTES)
		while (power < 4 && number != 0 && number % 1024 == 0) {
			number /= 1024;
			power++;
		}
	snprintf(ret_text, size, "%" PRId64 "%.*s", number, power > 0,
		 power ? suffixes + power - 1 : "");
}

static int setting_read(size_t i, const char *text, struct err *err)
{
	const struct setting *setting = &table[i];
	int64_t number;
	char least[32], most[32];

	if (setting->kind == TEXT) {
		free(owned[i]);
		owned[i] = text ? strdup(text) : NULL;
		if (text && !owned[i])
			return err_set(err, ENOMEM, "no memory for the settings");
		*(const char **)setting->value = text ? owned[i] : setting->def;
		return 0;
	}
	number = setting->def_number;
	if (text && (number_parse(text, setting->kind == BYTES, &number) < 0 ||
		     number < setting->least || number > setting->most)) {
		number_format(setting, setting->least, least, sizeof(least));
		number_format(setting, setting->most, most, sizeof(most));
		return err_set(err, EINVAL,
			       SETTINGS_PREFIX
			       "%s is \"%s\"; it must be a number from %s to %s%s",
			       setting->name, text, least, most,
			       setting->kind == BYTES ? ", in bytes or with K, M, G or T" : "");
	}
	*(int64_t *)setting->value = number;
	return 0;
}

static size_t min3(size_t a, size_t b, size_t c)
{
	size_t least = a < b ? a : b;

	return least < c ? least : c;
}

/* Single-character edits from one name to the other. */
static size_t edit_distance(const char *a, size_t a_len, const char *b)
{
	size_t row[NAME_MAX_LEN + 1];
	size_t b_len = strlen(b);

	for (size_t j = 0; j <= b_len; j++)
		row[j] = j;
	for (size_t i = 0; i < a_len; i++) {
		size_t diagonal = row[0];

		row[0] = i + 1;
		for (size_t j = 0; j < b_len; j++) {
			size_t above = row[j + 1];

			row[j + 1] = min3(above + 1, row[j] + 1, diagonal + (a[i] != b[j]));
			diagonal = above;
		}
	}
	return row[b_len];
}

static int unknown(const char *name, size_t len, struct err *err)
{
	size_t best = SIZE_MAX;
	const char *nearest = "";

	for (size_t i = 0; i < TABLE_LEN; i++) {
		size_t distance = edit_distance(name, len, table[i].name);

		if (distance < best) {
			best = distance;
			nearest = table[i].name;
		}
	}
	return err_set(err, EINVAL,
		       SETTINGS_PREFIX "%.*s is no setting; the nearest is " SETTINGS_PREFIX
				       "%s (armci_info lists all)",
		       (int)(len < 256 ? len : 256), name, nearest);
}

/* Every variable of ours in the environment is in the table. */
static int names_check(struct err *err)
{
	for (char **variable = environ; variable && *variable; variable++) {
		const char *name = *variable + strlen(SETTINGS_PREFIX);
		size_t len;
		bool found = false;

		if (strncmp(*variable, SETTINGS_PREFIX, strlen(SETTINGS_PREFIX)))
			continue;
		len = strcspn(name, "=");
		for (size_t i = 0; i < TABLE_LEN && !found; i++)
			found = strlen(table[i].name) == len &&
				!memcmp(table[i].name, name, len);
		if (!found)
			return unknown(name, len, err);
	}
	return 0;
}

int settings_read(struct err *err)
{
	int ret = names_check(err);

	for (size_t i = 0; i < TABLE_LEN && ret == 0; i++) {
		char variable[sizeof(SETTINGS_PREFIX) + NAME_MAX_LEN];

		snprintf(variable, sizeof(variable), SETTINGS_PREFIX "%s", table[i].name);
		ret = setting_read(i, getenv(variable), err);
	}
	if (ret == 0 && (settings.region_bytes & (settings.region_bytes - 1)))
		ret = err_set(err, EINVAL,
			      SETTINGS_PREFIX "REGION is %" PRId64
					      " bytes; it must be a power of two",
			      settings.region_bytes);
	return ret;
}

int settings_view(size_t i, struct setting_view *ret_view)
{
	const struct setting *setting;

	if (i >= TABLE_LEN)
		return 0;
	setting = &table[i];
	snprintf(ret_view->name, sizeof(ret_view->name), SETTINGS_PREFIX "%s", setting->name);
	if (setting->kind == TEXT) {
		snprintf(ret_view->value, sizeof(ret_view->value), "%s",
			 *(const char **)setting->value);
		snprintf(ret_view->def, sizeof(ret_view->def), "%s", setting->def);
	} else {
		number_format(setting, *(int64_t *)setting->value, ret_view->value,
			      sizeof(ret_view->value));
		number_format(setting, setting->def_number, ret_view->def,
			      sizeof(ret_view->def));
	}
	ret_view->doc = setting->doc;
	return 1;
}
