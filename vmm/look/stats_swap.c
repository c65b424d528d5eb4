/* SPDX-License-Identifier: MIT */
#include "vmm/print/json.h"
#include "report.h"
#include "stats.h"
#include "stats_swap.h"

void stats_swap(struct json *json, const struct gmem_stats *gs)
{
	const struct swap_stats *s = &gs->swap;

	json_pages(json, "swap_most_bytes", s->most_pages);
	json_pages(json, "swap_file_bytes", s->file_pages);
	json_number(json, "swap_copy_bytes", s->copy_bytes);
	json_pages(json, "swap_cached_bytes", s->spare_pages);
	json_number(json, "swapped_out_pages", gs->swapped_out_pages);
	json_number(json, "swap_clean_pages", gs->swap_clean_pages);
	json_number(json, "swapped_in_pages", gs->swapped_in_pages);
	json_number(json, "swap_ahead_pages", gs->swap_ahead_pages);
	json_number(json, "swap_read_errors", gs->swap_read_errors);
	json_number(json, "swap_write_errors", gs->swap_write_errors);
	json_number(json, "swap_full_pages", gs->swap_full_pages);
	stats_times(json, "swap_reads", &gs->swap_reads);
}

void report_swap(FILE *f, const struct gmem_stats *gs)
{
	const struct swap_stats *s = &gs->swap;

	if (!s->most_pages)
		return;
	report_group(f, "swap file");
	report_pages(f, "at most", s->most_pages);
	report_pages(f, "disk space", s->file_pages);
	report_pages(f, "copies", s->copy_bytes / QUIRE_PAGE_SIZE);
	report_pages(f, "  of pages at home", s->spare_pages);
	report_pages(f, "swapped out", gs->swapped_out_pages);
	report_pages(f, "  nothing to write", gs->swap_clean_pages);
	report_pages(f, "swapped in", gs->swapped_in_pages);
	report_pages(f, "  ahead of a touch", gs->swap_ahead_pages);
	report_pages(f, "stayed, file full", gs->swap_full_pages);
	report_count(f, "write errors", gs->swap_write_errors);
	report_count(f, "read errors", gs->swap_read_errors);
	report_times(f, "reads", &gs->swap_reads);
}
