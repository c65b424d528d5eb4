/* SPDX-License-Identifier: MIT */
#include "balloon_record.h"
#include <quire/types.h>
#include <stddef.h>

const char *balloon_stat_name(uint16_t tag)
{
	static const char *const names[] = {
		"swap_in",	    "swap_out",	    "major_faults",
		"minor_faults",	    "free_memory",  "total_memory",
		"available_memory", "disk_caches",  "hugetlb_allocations",
		"hugetlb_failures", "oom_kills",    "alloc_stalls",
		"async_scans",	    "direct_scans", "async_reclaims",
		"direct_reclaims",
	};

	return tag < ARRAY_SIZE(names) ? names[tag] : NULL;
}
