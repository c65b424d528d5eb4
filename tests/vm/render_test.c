/* SPDX-License-Identifier: MIT */
/* Walks as text: an outcome of each kind in words, and where a walk was refused. */
#include <stdlib.h>
#include <string.h>
#include "vmm/vm/render.h"
#include "tests/tap.h"

static char *rendered(enum walk_outcome outcome, gpa_t gpa)
{
	struct walk_result res = {
		.outcome = outcome, .gpa = gpa, .maddr = 0x5678, .error_code = PF_P | PF_W,
		.qualification = 0x182, .level1 = 1, .level2 = 2, .format1 = &x86_4level_format,
		.nr_refs = 2,
		.ref = {
			{ .stage = 1, .level = 2, .name = "PDE", .addr = 0x2008, .entry = 0x3007 },
			{ .stage = 1, .level = 1, .name = "PTE", .addr = 0x3010, .entry = 0x4007 },
		},
	};
	char *text = NULL;
	size_t bytes;
	FILE *f = open_memstream(&text, &bytes);

	if (!f)
		tap_bail("no memory");
	render_walk(f, 0x1234, &res, NULL);
	fclose(f);
	return text;
}

int main(void)
{
	static const struct {
		enum walk_outcome outcome;
		gpa_t gpa;
		const char *headline, *says;
		bool refused;
	} cases[] = {
		{ WALK_OK, 0x4234, "ok", "gva 0x1234 -> gpa 0x4234 -> machine 0x5678", false },
		{ WALK_PAGE_FAULT, GPA_INVALID, "page fault",
		  "#PF with error code 0x3: permission refused", true },
		{ WALK_VIOLATION, 0x4234, "violation", "EPT violation at gpa 0x4234", true },
		{ WALK_NO_MEMORY, 0x4234, "memory", "at gpa 0x4234", true },
		{ WALK_BAD_MODE, GPA_INVALID, "mode", "mode", true },
		{ WALK_AGAIN, 0x3010, "tables keep changing",
		  "entry at gpa 0x3010 was another one each time; try again", false },
	};

	tap_init();
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *text = rendered(cases[i].outcome, cases[i].gpa);
		const char *name = walk_outcome_name(cases[i].outcome);

		if (!ok(strstr(name, cases[i].headline) && strstr(text, name) &&
				strstr(text, cases[i].says),
			"%s is said in words", name) ||
		    !ok(!strstr(text, "refused here") == !cases[i].refused, "%s: %s", name,
			cases[i].refused ? "the refusing entry is marked" : "nothing was refused"))
			tap_note("%s", text);
		free(text);
	}
	return tap_done();
}
