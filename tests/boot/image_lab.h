/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_BOOT_IMAGE_LAB_H
#define QUIRE_TESTS_BOOT_IMAGE_LAB_H

/* Assertions about plans. */
#include "image_samples.h"

/* Plan what must be good, and check every promise.  False: it is refused. */
bool planned(const struct image_config *config, struct image_plan *plan, const char *what);

/* Segment i of the plan is this. */
void is_segment(const struct image_plan *plan, unsigned int i, gpa_t gpa, const void *data,
		uint64_t file_bytes, uint64_t mem_bytes);

/* The entry at gpa `at` of a PVH memory map is this. */
void is_memory(const struct image_plan *plan, gpa_t at, uint64_t start, uint64_t end,
	       unsigned int type);

#endif
