/* SPDX-License-Identifier: MIT */
/* What people see of a stress: a line while it runs, the verdict, and the files of a report. */
#include <errno.h>
#include <inttypes.h>
#include <quire/abi.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "stress.h"
#include "vmm/print/table.h"

static const char *const check_text[STRESS_NR_CHECKS] = {
	[STRESS_VERIFIED] = "every guest found every byte of its memory",
	[STRESS_NO_OOM] = "nobody was killed for want of memory",
	[STRESS_BOOKS] = "the machine's books added up whenever they were looked at",
	[STRESS_KERNEL] = "what guests occupy is what the kernel counts",
	[STRESS_EMPTY] = "in the end the machine has everything back",
	[STRESS_ORDERLY] = "the machine ended as it should",
};

static double mib(uint64_t pages)
{
	return (double)pages * QUIRE_PAGE_SIZE / (double)MiB;
}

/* ---- while it runs ---- */

/* On a terminal only, and not among lines of TAP. */
static bool shows_progress(const struct stress *s)
{
	return !s->opt.tap && isatty(STDERR_FILENO);
}

static int columns(void)
{
	struct winsize size;

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) || !size.ws_col ? 80 : size.ws_col;
}

/* Loads since the sample before. */
static double loads_per_second(const struct stress *s)
{
	const struct stress_sample *now = &s->sample[s->nr_samples - 1], *before = now - 1;
	uint64_t loads = now->sum.of[STRESS_LOADS];

	if (s->nr_samples < 2 || loads < before->sum.of[STRESS_LOADS])
		return 0;
	return (double)(loads - before->sum.of[STRESS_LOADS]) * 1e9 /
	       (double)(now->ns - before->ns);
}

void stress_progress(const struct stress *s)
{
	const struct stress_sample *now = &s->sample[s->nr_samples - 1];
	static const char *const phase_name[] = { "filling", "running", "verifying" };
	const uint64_t *of = now->sum.of;
	char text[256];

	if (!s->nr_samples || !shows_progress(s))
		return;
	snprintf(text, sizeof(text),
		 "%3.0f s, %s: %u guests, %.0f of %.0f MiB in use; merged %.0f, balloons %.0f, "
		 "compressed %.0f, swapped %.0f; %.0f loads/s, worst pause %" PRIu64 " ms",
		 (double)now->ns / 1e9, phase_name[s->phase], now->running,
		 mib(now->machine.settings.memory_pages - now->machine.free_pages),
		 mib(now->machine.settings.memory_pages), mib(of[STRESS_SHARED] + of[STRESS_ZERO]),
		 mib(of[STRESS_BALLOONED]), mib(of[STRESS_COMPRESSED] + of[STRESS_ARCHIVED]),
		 mib(of[STRESS_SWAPPED]), loads_per_second(s), of[STRESS_PAUSE_US] / 1000);
	fprintf(stderr, "\r%.*s\033[K", columns() - 1, text);
	fflush(stderr);
}

void stress_progress_end(const struct stress *s)
{
	if (shows_progress(s))
		fputs("\r\033[K", stderr);
}

/* ---- the table ---- */

enum column_kind { COLUMN_PAGES, COLUMN_PER_SECOND, COLUMN_PERCENT, COLUMN_MS };

static const struct {
	const char *head, *csv;
	enum column_kind kind;
	enum stress_number number, and; /* their sum; STRESS_RAM: no other one */
} column[] = {
	{ "PROMISED", "promised_bytes", COLUMN_PAGES, STRESS_PROMISED, STRESS_RAM },
	{ "RESIDENT", "resident_bytes", COLUMN_PAGES, STRESS_RESIDENT, STRESS_RAM },
	{ "MERGED", "merged_bytes", COLUMN_PAGES, STRESS_SHARED, STRESS_ZERO },
	{ "BALLOON", "ballooned_bytes", COLUMN_PAGES, STRESS_BALLOONED, STRESS_RAM },
	{ "COMPRESSED", "compressed_bytes", COLUMN_PAGES, STRESS_COMPRESSED, STRESS_ARCHIVED },
	{ "SWAPPED", "swapped_bytes", COLUMN_PAGES, STRESS_SWAPPED, STRESS_RAM },
	{ "OPS/s", "operations_per_second", COLUMN_PER_SECOND, STRESS_OPERATIONS, STRESS_RAM },
	{ "LOADS/s", "loads_per_second", COLUMN_PER_SECOND, STRESS_LOADS, STRESS_RAM },
	{ "STALL", "stall_percent", COLUMN_PERCENT, STRESS_STALL_NS, STRESS_RAM },
	{ "PAUSE", "longest_pause_ms", COLUMN_MS, STRESS_PAUSE_US, STRESS_RAM },
};

/* A row is one guest, or all. */
struct row {
	unsigned int index, guests, lives;
	struct stress_numbers n;
};

static struct row row_of(const struct stress *s, unsigned int i)
{
	struct row row = { .index = i };
	struct stress_numbers n;

	for (unsigned int g = 0; g < s->opt.guests; g++) {
		if (g != i && i != s->opt.guests)
			continue;
		row.guests++;
		row.lives += s->guest[g].lives;
		n = stress_between(&s->guest[g].first, &s->guest[g].last);
		stress_add(&row.n, &n);
	}
	return row;
}

/* In the unit that the column's name in CSV has. */
static double value_of(const struct stress *s, const struct row *row, unsigned int c)
{
	double seconds = (double)(s->end_ns - s->begin_ns) / 1e9,
	       value = (double)row->n.of[column[c].number];

	if (column[c].and != STRESS_RAM)
		value += (double)row->n.of[column[c].and ];
	switch (column[c].kind) {
	case COLUMN_PAGES: return value * QUIRE_PAGE_SIZE;
	case COLUMN_PER_SECOND: return value / seconds;
	case COLUMN_PERCENT: return value / 1e7 / seconds / row->guests;
	case COLUMN_MS: return value / 1000;
	}
	return 0;
}

static void put_row(struct table *t, const struct stress *s, const struct row *row)
{
	table_cell(t, row->index == s->opt.guests ? "all" : "%u", row->index + 1);
	table_cell(t, "%u", row->lives);
	for (unsigned int c = 0; c < ARRAY_SIZE(column); c++) {
		double value = value_of(s, row, c);

		switch (column[c].kind) {
		case COLUMN_PAGES: table_cell(t, "%s", size_text((uint64_t)value)); break;
		case COLUMN_PER_SECOND: table_cell(t, "%.0f", value); break;
		case COLUMN_PERCENT: table_cell(t, "%.1f %%", value); break;
		case COLUMN_MS: table_cell(t, "%.0f ms", value); break;
		}
	}
}

static int put_table(FILE *f, const struct stress *s)
{
	struct table t = { 0 };
	int code;

	table_column(&t, "GUEST", false);
	table_column(&t, "LIVES", true);
	for (unsigned int c = 0; c < ARRAY_SIZE(column); c++)
		table_column(&t, column[c].head, true);
	for (unsigned int i = 0; i <= s->opt.guests; i++) {
		struct row row = row_of(s, i);

		put_row(&t, s, &row);
	}
	code = table_print(&t, f);
	table_finish(&t);
	return code;
}

/* ---- the verdict ---- */

static void put_head(FILE *f, const struct stress *s)
{
	const struct stress_options *o = &s->opt;

	fprintf(f,
		"%" PRIu64 " guests of %s on a machine of %s with %s swap: %s, %s, seed %" PRIu64
		", %.1f s\n",
		o->guests, size_text(o->guest_bytes), size_text(o->memory_bytes),
		o->swap_bytes ? size_text(o->swap_bytes) : "no", stress_patterns[o->pattern],
		stress_pagings[o->paging], o->seed, (double)(s->end_ns - s->begin_ns) / 1e9);
}

static void print_checks(const struct stress *s)
{
	for (unsigned int i = 0; i < STRESS_NR_CHECKS; i++) {
		const char *why = s->failed[i];

		if (s->opt.tap)
			printf("%s %u - %s\n", *why ? "not ok" : "ok", i + 1, check_text[i]);
		else
			printf("%-6s  %s\n", *why ? "FAILED" : "ok", check_text[i]);
		if (*why)
			printf("%s%s\n", s->opt.tap ? "# " : "        ", why);
	}
	if (s->opt.tap)
		printf("1..%d\n", STRESS_NR_CHECKS);
}

/* Each line of a text; in TAP they are comments. */
static void print_lines(const struct stress *s, char *text)
{
	char *line;

	while (*text && (line = strsep(&text, "\n")) && text)
		printf("%s%s\n", s->opt.tap ? "# " : "", line);
}

int stress_verdict(const struct stress *s)
{
	char *text = NULL;
	size_t bytes;
	FILE *f = open_memstream(&text, &bytes);
	int code = -ENOMEM;

	if (f) {
		put_head(f, s);
		code = put_table(f, s);
		fputc('\n', f);
		if (fclose(f))
			code = -ENOMEM;
	}
	if (!code)
		print_lines(s, text);
	free(text);
	print_checks(s);
	return code;
}

/* ---- files ---- */

static void write_table(FILE *f, const struct stress *s)
{
	static const int decimals[] = {
		[COLUMN_PAGES] = 0, [COLUMN_PER_SECOND] = 1, [COLUMN_PERCENT] = 3, [COLUMN_MS] = 3
	};

	fputs("guest,lives", f);
	for (unsigned int c = 0; c < ARRAY_SIZE(column); c++)
		fprintf(f, ",%s", column[c].csv);
	for (unsigned int i = 0; i <= s->opt.guests; i++) {
		struct row row = row_of(s, i);

		fprintf(f, i == s->opt.guests ? "\nall" : "\n%u", i + 1);
		fprintf(f, ",%u", row.lives);
		for (unsigned int c = 0; c < ARRAY_SIZE(column); c++)
			fprintf(f, ",%.*f", decimals[column[c].kind], value_of(s, &row, c));
	}
	fputc('\n', f);
}

/* Sums over all guests, since the start where they count something. */
static const char *const sample_name[STRESS_NR_NUMBERS] = {
	[STRESS_RAM] = "ram_bytes",
	[STRESS_PROMISED] = "promised_bytes",
	[STRESS_RESIDENT] = "resident_bytes",
	[STRESS_ABSENT] = "absent_bytes",
	[STRESS_PRIVATE] = "private_bytes",
	[STRESS_SHARED] = "shared_bytes",
	[STRESS_ZERO] = "zero_bytes",
	[STRESS_BALLOONED] = "ballooned_bytes",
	[STRESS_COMPRESSED] = "compressed_bytes",
	[STRESS_ARCHIVED] = "archived_bytes",
	[STRESS_SWAPPED] = "swapped_bytes",
	[STRESS_POOL] = "pool_bytes",
	[STRESS_LOADS] = "loads",
	[STRESS_STALL_NS] = "stall_ns",
	[STRESS_OPERATIONS] = "operations",
	[STRESS_PAUSE_US] = "longest_pause_us",
};

static void write_samples(FILE *f, const struct stress *s)
{
	fputs("time_ms,guests,memory_bytes,free_bytes,credit_bytes,store_bytes,overhead_bytes,"
	      "swap_held_bytes",
	      f);
	for (unsigned int n = 0; n < STRESS_NR_NUMBERS; n++)
		fprintf(f, ",%s", sample_name[n]);
	fputc('\n', f);
	for (unsigned int i = 0; i < s->nr_samples; i++) {
		const struct stress_sample *at = &s->sample[i];
		const struct machine_state *m = &at->machine;
		const uint64_t machine[] = { m->settings.memory_pages, m->free_pages,
					     m->credit_pages,	       m->store_pages,
					     m->overhead_pages,	       m->swap_held_pages };

		fprintf(f, "%" PRIu64 ",%u", (uint64_t)(at->ns / NS_PER_MS), at->running);
		for (unsigned int n = 0; n < ARRAY_SIZE(machine); n++)
			fprintf(f, ",%" PRIu64, machine[n] * QUIRE_PAGE_SIZE);
		for (unsigned int n = 0; n < STRESS_NR_NUMBERS; n++)
			fprintf(f, ",%" PRIu64,
				at->sum.of[n] * (n <= STRESS_POOL ? QUIRE_PAGE_SIZE : 1));
		fputc('\n', f);
	}
}

int stress_report(const struct stress *s, struct quire_error *err)
{
	static const struct {
		const char *name;
		void (*write)(FILE *f, const struct stress *s);
	} files[] = {
		{ "table.csv", write_table },
		{ "samples.csv", write_samples },
		{ "memory.svg", stress_svg },
	};
	char path[4096];
	bool failed;
	FILE *f;

	for (unsigned int i = 0; i < ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), "%s/%s", s->opt.report, files[i].name);
		f = fopen(path, "we");
		if (!f)
			return quire_fail(err, -errno, "cannot write %.300s: %m", path);
		files[i].write(f, s);
		failed = ferror(f);
		if (fclose(f) || failed)
			return quire_fail(err, -EIO, "cannot write %.300s: %m", path);
	}
	return 0;
}
