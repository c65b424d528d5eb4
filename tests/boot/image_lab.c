/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include "image_lab.h"
#include "tests/tap.h"

bool planned(const struct image_config *config, struct image_plan *plan, const char *what)
{
	struct quire_error error;
	int err = plan_file(config, plan, &error);
	const char *bad;

	if (!ok(!err, "%s is accepted", what)) {
		tap_note("%s", error.text);
		return false;
	}
	bad = check_plan(config, plan);
	if (!ok(!bad, "%s: the plan keeps its promises", what))
		tap_note("%s", bad);
	return true;
}

void is_segment(const struct image_plan *plan, unsigned int i, gpa_t gpa, const void *data,
		uint64_t file_bytes, uint64_t mem_bytes)
{
	const struct image_segment *s = &plan->segment[i];

	is_hex(s->gpa, gpa, "segment %u is at %#" PRIx64, i, gpa);
	ok(s->data == data, "segment %u has its bytes", i);
	is_hex(s->file_bytes, file_bytes, "segment %u has %#" PRIx64 " bytes of data", i,
	       file_bytes);
	is_hex(s->mem_bytes, mem_bytes, "segment %u has %#" PRIx64 " bytes", i, mem_bytes);
}

void is_memory(const struct image_plan *plan, gpa_t at, uint64_t start, uint64_t end,
	       unsigned int type)
{
	is_hex(plan_word(plan, at, 8), start, "memory map: %#" PRIx64, start);
	is_hex(plan_word(plan, at + 8, 8), end - start, "... to %#" PRIx64, end);
	is(plan_word(plan, at + 16, 4), type, "... is of type %u", type);
}
