/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <quire/types.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "vmm/print/table.h"
#include "result.h"

const char *const result_verdicts[RESULT_NR_VERDICTS] = { "pass", "fail", "error", "interrupted" };

/* ---- building ---- */

static const char *const machine_members[] = {
	"memory_bytes",	    "free_bytes",      "credit_bytes",
	"store_bytes",	    "overhead_bytes",  "excess_bytes",
	"resident_bytes",   "committed_bytes", "commit_limit_bytes",
	"min_bytes",	    "low_bytes",       "high_bytes",
	"swap_bytes",	    "swap_held_bytes", "vms",
	"admissions",	    "refusals",	       "oom_kills",
	"reclaimed_bytes",  "suspensions",     "suspended",
	"store_references",
};

static const char *const vm_members[] = {
	"name",
	"state",
	"ram_bytes",
	"ram_pages",
	"resident_bytes",
	"commit_bytes",
	"credit_bytes",
	"state_absent_pages",
	"state_private_pages",
	"state_shared_pages",
	"state_zero_pages",
	"state_ballooned_pages",
	"state_compressed_pages",
	"state_swapped_pages",
	"state_archived_pages",
	"zswap_bytes",
	"zswpin_pages",
	"zswpout_pages",
	"swapped_in_pages",
	"swapped_out_pages",
	"faults",
	"merged_pages",
	"zeroed_pages",
	"cow_breaks",
	"full_scans",
	"balloon_target_pages",
	"balloon_actual_pages",
	"reclaim_requests",
	"working_set_bytes",
	"stall_some_ns",
	"stall_full_ns",
	"waiting_pages",
	"vcpu_cpu_ns",
};

/* Whole milliseconds are enough, and shorter to read. */
static json_t *seconds(double s)
{
	return json_real((double)(int64_t)(s * 1000 + 0.5) / 1000);
}

/* Does a terminal obey it?  c is in UTF-8, in which U+0080 to U+009F have two bytes. */
static bool is_control(const char *c)
{
	return (unsigned char)*c < ' ' || *c == '\x7f' ||
	       (*c == '\xc2' && (unsigned char)c[1] < 0xa0);
}

json_t *result_text(const char *text)
{
	json_t *clean = json_string(text);
	char *to;

	for (const char *c = text; clean && *c; c++)
		if (is_control(c)) {
			json_decref(clean);
			clean = NULL;
		}
	if (clean)
		return clean;
	to = strdup(text);
	for (char *c = to; c && *c; c++)
		if (*c < ' ' || *c > '~')
			*c = *c == '\n' || *c == '\t' ? ' ' : '?';
	clean = to ? json_string(to) : NULL;
	free(to);
	return clean;
}

json_t *result_new(const char *name, const char *file, uint64_t seed)
{
	char host[65] = "", began[32];
	time_t now = time(NULL);
	struct tm tm;

	gethostname(host, sizeof(host) - 1);
	strftime(began, sizeof(began), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
	return json_pack("{s:s, s:o, s:o, s:I, s:o, s:s, s:[], s:[], s:[], s:[], s:[]}", "schema",
			 "quire.play/1", "name", result_text(name), "file", result_text(file),
			 "seed", (json_int_t)seed, "host", result_text(host), "began", began,
			 "checks", "events", "guests", "samples", "maps");
}

static void append(json_t *result, const char *list, json_t *item)
{
	json_array_append_new(json_object_get(result, list), item);
}

void result_event(json_t *result, double t_s, unsigned int line, const char *text)
{
	append(result, "events",
	       json_pack("{s:o, s:i, s:o}", "t_s", seconds(t_s), "line", (int)line, "text",
			 result_text(text)));
}

void result_check(json_t *result, const struct result_check *check)
{
	append(result, "checks",
	       json_pack("{s:s, s:o, s:i, s:o, s:b, s:o}", "kind", check->kind, "text",
			 result_text(check->text), "line", (int)check->line, "at_s",
			 seconds(check->at_s), "ok", (int)check->ok, "value",
			 result_text(check->value)));
}

/* Those members of an object that are in the list, as far as it has them. */
static json_t *selection(const json_t *of, const char *const *members, size_t nr)
{
	json_t *chosen = json_object();

	for (size_t i = 0; i < nr; i++) {
		json_t *value = json_object_get(of, members[i]);

		if (value)
			json_object_set(chosen, members[i], value);
	}
	return chosen;
}

void result_sample(json_t *result, double t_s, const json_t *machine, const json_t *vms)
{
	json_t *sample = json_pack("{s:o}", "t_s", seconds(t_s)), *list = json_array();

	if (machine)
		json_object_set_new(sample, "machine",
				    selection(machine, machine_members,
					      ARRAY_SIZE(machine_members)));
	for (size_t i = 0; i < json_array_size(vms); i++)
		json_array_append_new(list, selection(json_array_get(vms, i), vm_members,
						      ARRAY_SIZE(vm_members)));
	json_object_set_new(sample, "vms", list);
	append(result, "samples", sample);
}

void result_map(json_t *result, double t_s, const char *vm, json_t *map)
{
	append(result, "maps",
	       json_pack("{s:o, s:s, s:o}", "t_s", seconds(t_s), "vm", vm, "map", map));
}

void result_guest(json_t *result, const char *name, const char *group, double start_s, double end_s,
		  int status)
{
	json_t *guest = json_pack("{s:s, s:s, s:o}", "name", name, "group", group, "start_s",
				  seconds(start_s));

	if (end_s >= 0) {
		json_object_set_new(guest, "end_s", seconds(end_s));
		json_object_set_new(guest, "exit_status", json_integer(status));
	}
	append(result, "guests", guest);
}

void result_end(json_t *result, enum result_verdict verdict, const char *reason, double took_s)
{
	json_object_set_new(result, "seconds", seconds(took_s));
	json_object_set_new(result, "verdict", json_string(result_verdicts[verdict]));
	if (*reason)
		json_object_set_new(result, "reason", result_text(reason));
}

unsigned int result_failures(const json_t *result)
{
	const json_t *checks = json_object_get(result, "checks");
	unsigned int nr = 0;

	for (size_t i = 0; i < json_array_size(checks); i++)
		nr += !json_is_true(json_object_get(json_array_get(checks, i), "ok"));
	return nr;
}

/* ---- showing ---- */

static const char *word(const json_t *of, const char *member)
{
	const char *text = json_string_value(json_object_get(of, member));

	return text ? text : "";
}

static double number(const json_t *of, const char *member)
{
	return json_number_value(json_object_get(of, member));
}

static bool is_ok(const json_t *check)
{
	return json_is_true(json_object_get(check, "ok"));
}

static int written(FILE *f)
{
	return fflush(f) || ferror(f) ? -EIO : 0;
}

static void fill_table(struct table *t, const json_t *result)
{
	const json_t *checks = json_object_get(result, "checks");

	table_column(t, "LINE", true);
	table_column(t, "AT", true);
	table_column(t, "KIND", false);
	table_column(t, "", false);
	table_column(t, "CHECK", false);
	for (size_t i = 0; i < json_array_size(checks); i++) {
		const json_t *check = json_array_get(checks, i);

		table_cell(t, "%.0f", number(check, "line"));
		table_cell(t, "%.1f s", number(check, "at_s"));
		table_cell(t, "%s", word(check, "kind"));
		table_cell(t, "%s", is_ok(check) ? "ok" : "FAILED");
		table_cell(t, "%s", word(check, "text"));
	}
}

static void show_failures(FILE *f, const json_t *checks)
{
	for (size_t i = 0; i < json_array_size(checks); i++) {
		const json_t *check = json_array_get(checks, i);

		if (!is_ok(check))
			fprintf(f, "line %.0f: %s: %s\n", number(check, "line"),
				word(check, "text"), word(check, "value"));
	}
}

int result_show(FILE *f, const json_t *result)
{
	struct table t = { 0 };
	int code;

	fill_table(&t, result);
	code = table_print(&t, f);
	table_finish(&t);
	if (code)
		return code;
	show_failures(f, json_object_get(result, "checks"));
	fprintf(f, "%s: %s in %.1f s%s%s\n", word(result, "name"), word(result, "verdict"),
		number(result, "seconds"), *word(result, "reason") ? ": " : "",
		word(result, "reason"));
	return written(f);
}

/* What would be a directive, or would end the line. */
static void tap_text(FILE *f, const char *text)
{
	for (; *text; text++)
		if (*text == '#')
			fputs("\\#", f);
		else
			putc(*text == '\n' ? ' ' : *text, f);
}

static void tap_line(FILE *f, bool ok, unsigned int nr, const json_t *check)
{
	fprintf(f, "%s %u - line %.0f: %s: ", ok ? "ok" : "not ok", nr, number(check, "line"),
		word(check, "kind"));
	tap_text(f, word(check, "text"));
	putc('\n', f);
	if (ok)
		return;
	fprintf(f, "# at %.1f s: ", number(check, "at_s"));
	tap_text(f, word(check, "value"));
	putc('\n', f);
}

/* The last line is the scenario's own: that it was played to its end. */
int result_tap(FILE *f, const json_t *result)
{
	const json_t *checks = json_object_get(result, "checks");
	bool whole = !strcmp(word(result, "verdict"), result_verdicts[RESULT_PASS]) ||
		     !strcmp(word(result, "verdict"), result_verdicts[RESULT_FAIL]);
	unsigned int nr = 0;

	for (size_t i = 0; i < json_array_size(checks); i++)
		tap_line(f, is_ok(json_array_get(checks, i)), ++nr, json_array_get(checks, i));
	fprintf(f, "%s %u - %s was played to its end\n", whole ? "ok" : "not ok", ++nr,
		word(result, "name"));
	if (!whole)
		fprintf(f, "# %s\n", word(result, "reason"));
	fprintf(f, "1..%u\n", nr);
	return written(f);
}

int result_json(FILE *f, const json_t *result)
{
	if (json_dumpf(result, f, JSON_INDENT(1)) || putc('\n', f) == EOF)
		return -EIO;
	return written(f);
}
