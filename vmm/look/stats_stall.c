/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include "vmm/print/json.h"
#include "report.h"
#include "stats.h"
#include "stats_stall.h"

static const char *const kind_name[STALL_NR_KINDS] = { "some", "full" };
static const unsigned int span_s[STALL_NR_SPANS] = { 10, 60, 300 };

void stats_stall(struct json *json, const struct gmem_stats *gs)
{
	const struct stall_record *stall = &gs->stall;
	char key[64];

	for (unsigned int k = 0; k < STALL_NR_KINDS; k++) {
		snprintf(key, sizeof(key), "stall_%s_ns", kind_name[k]);
		json_number(json, key, stall->total_ns[k]);
		for (unsigned int i = 0; i < STALL_NR_SPANS; i++) {
			snprintf(key, sizeof(key), "stall_%s_%us_percent", kind_name[k], span_s[i]);
			json_hundredths(json, key, stall->average[k][i]);
		}
	}
	for (unsigned int i = 0; i < PG_NR_STATES; i++) {
		snprintf(key, sizeof(key), "%s_loads", page_states[i].name);
		if (page_states[i].loads)
			stats_times(json, key, &gs->loads[i]);
	}
}

static void put_kind(FILE *f, const char *name, const struct stall_record *stall, unsigned int kind)
{
	fprintf(f, "  %-22s %10.3f s ", name, (double)stall->total_ns[kind] / 1e9);
	for (unsigned int i = 0; i < STALL_NR_SPANS; i++)
		fprintf(f, "%s %" PRIu32 ".%02" PRIu32 " %% of %u s", i ? "," : "",
			stall->average[kind][i] / 100, stall->average[kind][i] % 100, span_s[i]);
	fputc('\n', f);
}

void report_stall(FILE *f, const struct gmem_stats *gs)
{
	char name[64];

	report_group(f, "stalls: vCPUs wait for pages to be loaded, and for memory");
	put_kind(f, "some wait", &gs->stall, STALL_SOME);
	put_kind(f, "  and none runs", &gs->stall, STALL_FULL);
	for (unsigned int i = 0; i < PG_NR_STATES; i++) {
		snprintf(name, sizeof(name), "loads, %s", page_states[i].name);
		if (page_states[i].loads)
			report_times(f, name, &gs->loads[i]);
	}
}
