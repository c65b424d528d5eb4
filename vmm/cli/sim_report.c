/* SPDX-License-Identifier: MIT */
/* What `quire sim replace` found out, as text and as JSON. */
#include <errno.h>
#include <inttypes.h>
#include "vmm/print/json.h"
#include "sim_report.h"
#include "vmm/print/table.h"

static double percent(const struct sim_report *r, uint64_t faults)
{
	return 100.0 * (double)faults / (double)trace_length(r->trace);
}

static int print_results(FILE *f, const struct sim_report *r)
{
	struct table t = { 0 };
	int code;

	table_column(&t, "POLICY", false);
	table_column(&t, "FAULTS", true);
	table_column(&t, "MISS RATIO", true);
	table_column(&t, "REFAULTS", true);
	table_column(&t, "EVICTIONS", true);
	table_column(&t, "WRITE-BACKS", true);
	for (unsigned int p = 0; p < SIM_NR_POLICIES; p++) {
		const struct sim_result *result = &r->result[p];

		if (!r->asked[p])
			continue;
		table_cell(&t, "%s", sim_name(p));
		table_cell(&t, "%" PRIu64, result->faults);
		table_cell(&t, "%.2f %%", percent(r, result->faults));
		table_cell(&t, "%" PRIu64, result->faults - r->trace->nr_pages);
		table_cell(&t, "%" PRIu64, result->evictions);
		table_cell(&t, "%" PRIu64, result->write_backs);
	}
	code = table_print(&t, f);
	table_finish(&t);
	return code;
}

static int print_curve(FILE *f, const struct sim_report *r)
{
	struct table t = { 0 };
	int code;

	table_column(&t, "FRAMES", true);
	for (unsigned int p = 0; p < SIM_NR_POLICIES; p++)
		if (r->asked[p])
			table_column(&t, sim_name(p), true);
	for (unsigned int i = 0; i < r->nr_points; i++) {
		table_cell(&t, "%" PRIu32, r->frames[i]);
		for (unsigned int p = 0; p < SIM_NR_POLICIES; p++)
			if (r->asked[p])
				table_cell(&t, "%.2f %%", percent(r, r->faults[p][i]));
	}
	code = table_print(&t, f);
	table_finish(&t);
	return code;
}

int sim_report_text(FILE *f, const struct sim_report *r)
{
	int code = 0;

	fprintf(f, "%s: %" PRIu64 " accesses, %" PRIu64 " of them writes, to %" PRIu32 " pages\n",
		r->name, trace_length(r->trace), r->trace->nr_writes, r->trace->nr_pages);
	if (r->sim.frames) {
		fprintf(f, "\nwith %" PRIu32 " frame%s\n", r->sim.frames,
			r->sim.frames == 1 ? "" : "s");
		code = print_results(f, r);
	}
	if (r->curve && !code) {
		fputs("\nmiss ratio by frames\n", f);
		code = print_curve(f, r);
	}
	return code;
}

static void write_policy(struct json *json, const struct sim_report *r, unsigned int p)
{
	json_begin_object(json, NULL);
	json_text(json, "name", sim_name(p));
	json_number(json, "bytes_per_page", sim_page_bytes(p));
	if (r->sim.frames) {
		json_number(json, "faults", r->result[p].faults);
		json_number(json, "evictions", r->result[p].evictions);
		json_number(json, "write_backs", r->result[p].write_backs);
	}
	if (r->curve) {
		json_begin_array(json, "curve_faults");
		for (unsigned int i = 0; i < r->nr_points; i++)
			json_number(json, NULL, r->faults[p][i]);
		json_end_array(json);
	}
	json_end_object(json);
}

void sim_report_json(FILE *f, const struct sim_report *r)
{
	struct json json;

	json_init(&json, f);
	json_begin_object(&json, NULL);
	json_text(&json, "schema", "quire.sim/1");
	json_text(&json, "trace", r->name);
	json_number(&json, "accesses", trace_length(r->trace));
	json_number(&json, "writes", r->trace->nr_writes);
	json_number(&json, "pages", r->trace->nr_pages);
	json_number(&json, "batch", r->sim.batch);
	json_number(&json, "seed", r->sim.seed);
	if (r->sim.frames)
		json_number(&json, "frames", r->sim.frames);
	if (r->curve) {
		json_begin_array(&json, "curve_frames");
		for (unsigned int i = 0; i < r->nr_points; i++)
			json_number(&json, NULL, r->frames[i]);
		json_end_array(&json);
	}
	json_begin_array(&json, "policies");
	for (unsigned int p = 0; p < SIM_NR_POLICIES; p++)
		if (r->asked[p])
			write_policy(&json, r, p);
	json_end_array(&json);
	json_end_object(&json);
}
