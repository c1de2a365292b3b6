/* SPDX-License-Identifier: BSD-3-Clause */
/* Progress on stderr: one redrawn line on a terminal, plain lines otherwise, or nothing. */
#include "cli/progress.h"

#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/human.h"

enum { BAR_COLUMNS = 24, LINE_EVERY_MS = 2000, BAR_EVERY_MS = 50, WIDTH_DEFAULT = 80 };

void progress_init(struct progress *progress, const struct cli *cli)
{
	*progress = (struct progress){.out = stderr};
	if (cli->quiet || cli->json)
		progress->mode = PROGRESS_NONE;
	else
		progress->mode = isatty(STDERR_FILENO) ? PROGRESS_BAR : PROGRESS_LINES;
}

/* "1.2 GiB/2.6 GiB" or "3/8 vms" */
static void render_amount(const struct progress_step *step, char *ret_text, size_t size)
{
	char done[HUMAN_TEXT_MAX], total[HUMAN_TEXT_MAX];

	if (strcmp(step->unit, "bytes") == 0 && step->total)
		snprintf(ret_text, size, "%s/%s", human_bytes(step->done, done),
			 human_bytes(step->total, total));
	else if (strcmp(step->unit, "bytes") == 0)
		snprintf(ret_text, size, "%s", human_bytes(step->done, done));
	else if (step->total)
		snprintf(ret_text, size, "%" PRIu64 "/%" PRIu64 " %s", step->done, step->total,
			 step->unit);
	else
		ret_text[0] = '\0';
}

void progress_render(const struct progress_step *step, uint64_t rate, size_t width,
		     char *ret_line, size_t size)
{
	char bar[3 * BAR_COLUMNS] = "", amount[80], speed[HUMAN_TEXT_MAX + 4] = "", text[512];
	size_t at = 0, columns = 0;

	if (step->total) {
		uint64_t done = step->done < step->total ? step->done : step->total;
		double part = (double)done / (double)step->total;
		int filled = (int)(part * BAR_COLUMNS);

		snprintf(bar, sizeof(bar), " [%.*s%.*s] %3d%%", filled,
			 "########################", BAR_COLUMNS - filled,
			 "------------------------", (int)(part * 100));
	}
	render_amount(step, amount, sizeof(amount));
	if (rate && strcmp(step->unit, "bytes") == 0) {
		human_bytes(rate, speed);
		strcat(speed, "/s");
	}
	snprintf(text, sizeof(text), "%-10s%s%s%s%s%s%s%s", step->phase, bar,
		 amount[0] ? "  " : "", amount, speed[0] ? "  " : "", speed,
		 step->message[0] ? "  " : "", step->message);
	human_clean(text, ret_line, size);
	/* cut at `width` characters */
	for (; ret_line[at]; at++) {
		if (((unsigned char)ret_line[at] & 0xC0) != 0x80 && columns++ == width)
			break;
	}
	while (at > 0 && ret_line[at - 1] == ' ')
		at--;
	ret_line[at] = '\0';
}

static size_t terminal_width(void)
{
	struct winsize size;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col < 20)
		return WIDTH_DEFAULT;
	return size.ws_col;
}

void progress_step(struct progress *progress, const struct progress_step *step)
{
	int64_t now_ns = clock_mono_ns(), wait_ms, elapsed_ns;
	bool new_phase = strcmp(progress->step.phase, step->phase) != 0;
	bool complete = step->total && step->done >= step->total &&
			progress->step.done < progress->step.total;
	uint64_t rate = 0;
	char line[512];

	if (progress->mode == PROGRESS_NONE)
		return;
	if (new_phase) {
		progress->phase_ns = now_ns;
		progress->phase_done = step->done;
	}
	progress->step = *step;
	wait_ms = progress->mode == PROGRESS_BAR ? BAR_EVERY_MS : LINE_EVERY_MS;
	if (!new_phase && !(complete && progress->mode == PROGRESS_BAR) &&
	    now_ns - progress->shown_ns < wait_ms * NS_PER_MS)
		return;
	progress->shown_ns = now_ns;
	elapsed_ns = now_ns - progress->phase_ns;
	if (elapsed_ns > 100 * NS_PER_MS && step->done > progress->phase_done)
		rate = (uint64_t)((double)(step->done - progress->phase_done) * NS_PER_S /
				  (double)elapsed_ns);
	if (progress->mode == PROGRESS_LINES) {
		progress_render(step, rate, sizeof(line) - 1, line, sizeof(line));
		fprintf(progress->out, "%s\n", line);
		return;
	}
	progress_render(step, rate, terminal_width() - 1, line, sizeof(line));
	fprintf(progress->out, "\r%s\033[K", line);
	fflush(progress->out);
	progress->drawn = human_width(line);
}

void progress_bytes(struct progress *progress, const char *phase, uint64_t done, uint64_t total,
		    const char *name)
{
	struct progress_step step = {.unit = "bytes", .done = done, .total = total};

	snprintf(step.phase, sizeof(step.phase), "%s", phase);
	snprintf(step.message, sizeof(step.message), "%.150s", name);
	progress_step(progress, &step);
}

void progress_event(struct progress *progress, const json_t *event)
{
	struct progress_step step = {0};
	const char *phase = json_string_value(json_object_get(event, "phase"));
	const char *unit = json_string_value(json_object_get(event, "unit"));
	const char *message = json_string_value(json_object_get(event, "message"));
	json_int_t done = json_integer_value(json_object_get(event, "done"));
	json_int_t total = json_integer_value(json_object_get(event, "total"));

	snprintf(step.phase, sizeof(step.phase), "%s", phase ? phase : "");
	snprintf(step.unit, sizeof(step.unit), "%s", unit ? unit : "steps");
	snprintf(step.message, sizeof(step.message), "%s", message ? message : "");
	step.done = done > 0 ? (uint64_t)done : 0;
	step.total = total > 0 ? (uint64_t)total : 0;
	progress_step(progress, &step);
}

void progress_end(struct progress *progress)
{
	if (progress->drawn) {
		fputs("\r\033[K", progress->out);
		fflush(progress->out);
	}
	progress->drawn = 0;
	progress->step = (struct progress_step){0};
}
