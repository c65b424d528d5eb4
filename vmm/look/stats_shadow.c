/* SPDX-License-Identifier: MIT */
#include <string.h>
#include "vmm/print/json.h"
#include "report.h"
#include "stats_shadow.h"

const char *const paging_name[VM_NR_PAGINGS] = {
	[VM_PAGING_EPT] = "ept",
	[VM_PAGING_SHADOW] = "shadow",
};

/* Intel SDM Vol. 3A, "Exception and Interrupt Vectors". */
static const char *exception_name(unsigned int vector)
{
	static const char *const name[VM_NR_EXCEPTIONS] = {
		"#DE", "#DB", "NMI", "#BP", "#OF",	  "#BR", "#UD", "#NM", "#DF", [10] = "#TS",
		"#NP", "#SS", "#GP", "#PF", [16] = "#MF", "#AC", "#MC", "#XM", "#VE", "#CP",
	};
	static char other[16];

	if (name[vector])
		return name[vector];
	snprintf(other, sizeof(other), "vector_%u", vector);
	return other;
}

uint64_t stats_shadow_exceptions(const struct vm_info *info)
{
	uint64_t sum = 0;

	for (unsigned int v = 0; v < VM_NR_EXCEPTIONS; v++)
		sum += info->shadow.exceptions[v];
	return sum;
}

static bool is_named_like(unsigned int row, unsigned int other)
{
	return !strcmp(monitor_name(row), monitor_name(other));
}

uint64_t stats_shadow_emulated_by_name(const struct vm_info *info, unsigned int row)
{
	uint64_t sum = 0;

	if (row && is_named_like(row, row - 1))
		return 0;
	for (unsigned int i = row; i < MONITOR_NR_ROWS && is_named_like(row, i); i++)
		sum += info->shadow.emulated[i];
	return sum;
}

uint64_t stats_shadow_emulated(const struct vm_info *info)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < MONITOR_NR_ROWS; i++)
		sum += info->shadow.emulated[i];
	return sum;
}

static void tables(struct json *json, const struct shadow_stats *s)
{
	json_number(json, "table_pages", s->pages);
	json_number(json, "most_table_pages", s->most_pages);
	json_number(json, "free_table_pages", s->free_pages);
	json_number(json, "roots", s->roots);
	json_number(json, "unsync_pages", s->unsync);
	json_number(json, "leaves", s->leaves);
	json_number(json, "large_leaves", s->large);
	json_number(json, "fills", s->fills);
	json_number(json, "fills_ahead", s->ahead);
	json_number(json, "zaps", s->zaps);
	json_number(json, "unsyncs", s->unsyncs);
	json_number(json, "resyncs", s->resyncs);
	json_number(json, "evictions", s->evictions);
	json_number(json, "stale_lists", s->flushes);
	json_number(json, "stale_overflows", s->full);
}

void stats_shadow(struct json *json, const struct vm_info *info)
{
	bool is_shadow = info->paging == VM_PAGING_SHADOW;

	json_text(json, "paging", is_shadow ? paging_name[VM_PAGING_SHADOW] : paging_name[0]);
	if (!is_shadow)
		return;
	json_begin_object(json, "shadow");
	json_number(json, "exceptions", stats_shadow_exceptions(info));
	json_begin_object(json, "exceptions_by_name");
	for (unsigned int v = 0; v < VM_NR_EXCEPTIONS; v++)
		if (info->shadow.exceptions[v])
			json_number(json, exception_name(v), info->shadow.exceptions[v]);
	json_end_object(json);
	json_number(json, "hidden_faults", info->shadow.hidden_faults);
	json_number(json, "true_faults", info->shadow.true_faults);
	json_number(json, "interrupts", info->shadow.interrupts);
	json_number(json, "emulated_instructions", stats_shadow_emulated(info));
	json_begin_object(json, "emulated_by_name");
	for (unsigned int i = 0; i < MONITOR_NR_ROWS; i++)
		if (stats_shadow_emulated_by_name(info, i))
			json_number(json, monitor_name(i), stats_shadow_emulated_by_name(info, i));
	json_end_object(json);
	json_number(json, "flushes", info->shadow.flushes);
	tables(json, &info->shadow_mmu);
	json_end_object(json);
}

static void put_exceptions(FILE *f, const struct vm_info *info)
{
	report_count(f, "exceptions", stats_shadow_exceptions(info));
	for (unsigned int v = 0; v < VM_NR_EXCEPTIONS; v++) {
		char name[80];

		if (!info->shadow.exceptions[v])
			continue;
		snprintf(name, sizeof(name), "  %s", exception_name(v));
		report_count(f, name, info->shadow.exceptions[v]);
	}
}

static void put_emulated(FILE *f, const struct vm_info *info)
{
	report_count(f, "instructions emulated", stats_shadow_emulated(info));
	for (unsigned int i = 0; i < MONITOR_NR_ROWS; i++) {
		char name[80];

		if (!stats_shadow_emulated_by_name(info, i))
			continue;
		snprintf(name, sizeof(name), "  %s", monitor_name(i));
		report_count(f, name, stats_shadow_emulated_by_name(info, i));
	}
}

void report_shadow(FILE *f, const struct vm_info *info)
{
	const struct shadow_stats *s = &info->shadow_mmu;

	if (info->paging != VM_PAGING_SHADOW)
		return;
	report_group(f, "shadow tables");
	put_exceptions(f, info);
	report_count(f, "hidden faults", info->shadow.hidden_faults);
	report_count(f, "true faults", info->shadow.true_faults);
	report_count(f, "interrupts", info->shadow.interrupts);
	put_emulated(f, info);
	report_count(f, "flushes", info->shadow.flushes);
	report_pages(f, "tables", s->pages);
	report_pages(f, "  at most", s->most_pages);
	report_count(f, "  of which roots", s->roots);
	report_count(f, "  not in step", s->unsync);
	report_count(f, "leaves", s->leaves);
	report_count(f, "  of 2 MiB", s->large);
	report_count(f, "leaves made", s->fills);
	report_count(f, "  ahead of a fault", s->ahead);
	report_count(f, "entries dropped", s->zaps);
	report_count(f, "tables written to", s->unsyncs);
	report_count(f, "tables compared again", s->resyncs);
	report_count(f, "tables evicted", s->evictions);
}
