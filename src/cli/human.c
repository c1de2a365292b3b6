/* SPDX-License-Identifier: BSD-3-Clause */
/* Sizes, durations and times for people; tables with aligned columns. */
#include "cli/human.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

enum { CELL_BYTES_MAX = 512 };

struct table {
	size_t columns, rows, room;
	bool failed;  /* memory ran out: rows are missing */
	char **cells; /* rows * columns, the first row is the titles */
	bool right[TABLE_COLUMNS_MAX];
};

const char *human_bytes(uint64_t bytes, char ret_text[HUMAN_TEXT_MAX])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1023.95 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		value /= 1024;
		unit++;
	}
	if (unit == 0 || value >= 99.95 || value == (double)(uint64_t)value)
		snprintf(ret_text, HUMAN_TEXT_MAX, "%.0f %s", value, units[unit]);
	else
		snprintf(ret_text, HUMAN_TEXT_MAX, "%.1f %s", value, units[unit]);
	return ret_text;
}

const char *human_duration(int64_t ns, char ret_text[HUMAN_TEXT_MAX])
{
	int64_t s = ns / NS_PER_S;

	if (ns < 0)
		snprintf(ret_text, HUMAN_TEXT_MAX, "-");
	else if (ns < NS_PER_MS)
		snprintf(ret_text, HUMAN_TEXT_MAX, "%" PRId64 " us", (int64_t)(ns / 1000));
	else if (ns < NS_PER_S)
		snprintf(ret_text, HUMAN_TEXT_MAX, "%" PRId64 " ms", (int64_t)(ns / NS_PER_MS));
	else if (s < 60)
		snprintf(ret_text, HUMAN_TEXT_MAX, "%.1f s", (double)ns / NS_PER_S);
	else if (s < 3600)
		snprintf(ret_text, HUMAN_TEXT_MAX, "%" PRId64 " m %02d s", s / 60,
			 (int)(s % 60));
	else
		snprintf(ret_text, HUMAN_TEXT_MAX, "%" PRId64 " h %02d m", s / 3600,
			 (int)(s % 3600 / 60));
	return ret_text;
}

const char *human_ratio(uint64_t whole, uint64_t part, char ret_text[HUMAN_TEXT_MAX])
{
	double ratio = part ? (double)whole / (double)part : 0;

	if (part)
		snprintf(ret_text, HUMAN_TEXT_MAX, ratio < 99.95 ? "%.1fx" : "%.0fx", ratio);
	else
		snprintf(ret_text, HUMAN_TEXT_MAX, "-");
	return ret_text;
}

const char *human_time(int64_t realtime_ns, char ret_text[HUMAN_TEXT_MAX])
{
	time_t s = realtime_ns / NS_PER_S;
	struct tm tm;

	if (realtime_ns <= 0 || !localtime_r(&s, &tm) ||
	    strftime(ret_text, HUMAN_TEXT_MAX, "%Y-%m-%d %H:%M:%S", &tm) == 0)
		snprintf(ret_text, HUMAN_TEXT_MAX, "-");
	return ret_text;
}

size_t human_width(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xC0) != 0x80;
	return width;
}

void human_clean(const char *text, char *ret_clean, size_t size)
{
	size_t i;

	for (i = 0; i + 1 < size && text[i]; i++) {
		unsigned char c = (unsigned char)text[i];

		ret_clean[i] = c < 0x20 || c == 0x7F ? '?' : text[i];
		/* U+0080 … U+009F are control characters too */
		if (c == 0xC2 && (unsigned char)text[i + 1] < 0xA0 && i + 2 < size) {
			ret_clean[i++] = '?';
			ret_clean[i] = '?';
		}
	}
	while (i > 0 && text[i] && ((unsigned char)text[i] & 0xC0) == 0x80)
		i--;
	ret_clean[i] = '\0';
}

struct table *table_create(const char *const *titles, size_t columns)
{
	struct table *table = calloc(1, sizeof(*table));
	const char *cells[TABLE_COLUMNS_MAX];
	size_t i;

	if (!table || columns > TABLE_COLUMNS_MAX) {
		free(table);
		return NULL;
	}
	table->columns = columns;
	for (i = 0; i < columns; i++) {
		table->right[i] = titles[i][0] == '>';
		cells[i] = titles[i] + table->right[i];
	}
	table_add(table, cells);
	return table;
}

void table_add(struct table *table, const char *const *cells)
{
	size_t i;

	if (table->rows == table->room) {
		size_t room = table->room ? 2 * table->room : 16;
		char **more = reallocarray(table->cells, room * table->columns, sizeof(*more));

		if (!more) {
			table->failed = true;
			return;
		}
		table->cells = more;
		table->room = room;
	}
	for (i = 0; i < table->columns; i++) {
		char clean[CELL_BYTES_MAX];

		human_clean(cells[i] ? cells[i] : "-", clean, sizeof(clean));
		table->cells[table->rows * table->columns + i] = strdup(clean);
	}
	table->rows++;
}

void table_print(const struct table *table, FILE *out)
{
	size_t width[TABLE_COLUMNS_MAX] = {0};
	size_t row, i;

	for (i = 0; i < table->rows * table->columns; i++) {
		size_t cell = table->cells[i] ? human_width(table->cells[i]) : 0;

		if (cell > width[i % table->columns])
			width[i % table->columns] = cell;
	}
	for (row = 0; row < table->rows; row++) {
		for (i = 0; i < table->columns; i++) {
			const char *cell = table->cells[row * table->columns + i];
			int pad = (int)(width[i] - (cell ? human_width(cell) : 0));
			bool last = i + 1 == table->columns;

			fprintf(out, "%*s%s%*s", table->right[i] ? pad : 0, "",
				cell ? cell : "", table->right[i] || last ? 0 : pad, "");
			fputs(last ? "\n" : "  ", out);
		}
	}
	if (table->failed)
		fputs("(rows are missing: out of memory)\n", out);
}

void table_destroy(struct table *table)
{
	size_t i;

	if (!table)
		return;
	for (i = 0; i < table->rows * table->columns; i++)
		free(table->cells[i]);
	free(table->cells);
	free(table);
}
