/* SPDX-License-Identifier: BSD-3-Clause */
/* Sizes, durations and times for people; tables with aligned columns. JSON keeps the exact
 * numbers. */
#ifndef STASIS_CLI_HUMAN_H
#define STASIS_CLI_HUMAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { HUMAN_TEXT_MAX = 32, TABLE_COLUMNS_MAX = 12 };

/* "512 MiB", "1.5 GiB", "17 B" */
const char *human_bytes(uint64_t bytes, char ret_text[HUMAN_TEXT_MAX]);
/* "850 us", "12 ms", "3.4 s", "2 m 05 s", "1 h 02 m" */
const char *human_duration(int64_t ns, char ret_text[HUMAN_TEXT_MAX]);
/* "3.2x", how many times `part` fits into `whole`; "-" for a part of 0 */
const char *human_ratio(uint64_t whole, uint64_t part, char ret_text[HUMAN_TEXT_MAX]);
/* Local time "2026-03-01 12:00:05"; "-" for 0 */
const char *human_time(int64_t realtime_ns, char ret_text[HUMAN_TEXT_MAX]);
/* Columns that a UTF-8 text takes, one per character. */
size_t human_width(const char *text);
/* Copy with control characters as '?': what guests and files say never steers the terminal. */
void human_clean(const char *text, char *ret_clean, size_t size);

/* A table of texts. Columns whose title begins with '>' are aligned to the right. */
struct table;
struct table *table_create(const char *const *titles, size_t columns); /* NULL: no memory */
/* Add a row of as many cells as there are columns; they are copied. */
void table_add(struct table *table, const char *const *cells);
void table_print(const struct table *table, FILE *out);
void table_destroy(struct table *table);

#endif
