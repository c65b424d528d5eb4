/* SPDX-License-Identifier: MIT */
/* Walks as text: an outcome of each kind in words, and where a walk was refused. */
#include <stdlib.h>
#include <string.h>
#include "vmm/vm/render.h"
#include "tests/tap.h"

static char *rendered(enum walk_outcome outcome, gpa_t gpa, uint64_t qualification, uint8_t state)
{
	struct walk_result res = {
		.outcome = outcome, .gpa = gpa, .maddr = 0x5678, .error_code = PF_P | PF_W,
		.qualification = qualification, .level1 = 1, .level2 = 2,
		.format1 = &x86_4level_format, .nr_refs = 2,
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
	render_walk(f, 0x1234, &res, state);
	fclose(f);
	return text;
}

/* An access that stage 2 does not allow yet is no refusal: quire answers, and the guest goes on. */
static void test_answers(void)
{
	enum { READ = 0x181, WRITE = 0x182, FETCH = 0x184, READ_ONLY = 0x28 };
	static const struct {
		uint64_t qualification;
		uint8_t state;
		const char *says;
	} cases[] = {
		{ READ, PG_ABSENT, "not present (absent): a read brings in a page of zeroes\n" },
		{ FETCH, PG_ABSENT, "not present (absent): a fetch brings in a page of zeroes\n" },
		{ WRITE, PG_ABSENT, "not present (absent): a write brings in a page of its own" },
		{ READ, PG_ZERO, "not present (zero): a read maps the page of zeroes\n" },
		{ WRITE, PG_ZERO, "not present (zero): a write gives it a frame of its own\n" },
		{ WRITE | READ_ONLY, PG_ZERO, "read-only (zero): a write gives it a frame" },
		{ WRITE | READ_ONLY, PG_SHARED,
		  "read-only (shared): a write copies the frame to one of its own\n" },
		{ READ, PG_BALLOONED,
		  "not present (ballooned): a read takes it out of the balloon" },
		{ WRITE, PG_BALLOONED,
		  "not present (ballooned): a write takes it out of the balloon" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *text =
			rendered(WALK_VIOLATION, 0x4234, cases[i].qualification, cases[i].state);

		if (!ok(strstr(text, cases[i].says) && !strstr(text, "refused") &&
				strstr(text, "<-- quire is asked here"),
			"%.*s", (int)strcspn(cases[i].says, "\n"), cases[i].says))
			tap_note("%s", text);
		free(text);
	}
}

/* What a write does to a page that a walk for reading has reached. */
static void test_read_only(void)
{
	static const struct {
		uint8_t state;
		const char *says;
	} cases[] = {
		{ PG_SHARED, "  page: shared; a write copies the frame to one of its own\n" },
		{ PG_ZERO, "  page: zero; a write gives it a frame of its own\n" },
		{ PG_PRIVATE, "  page: private\n" },
		{ PG_PRIVATE | GMEM_STATE_LARGE, "  page: private, in a 2 MiB leaf\n" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *text = rendered(WALK_OK, 0x4234, 0, cases[i].state);

		if (!ok(strstr(text, cases[i].says) != NULL, "%.*s",
			(int)strcspn(cases[i].says, "\n"), cases[i].says))
			tap_note("%s", text);
		free(text);
	}
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
		char *text = rendered(cases[i].outcome, cases[i].gpa, 0x182, PG_NR_STATES);
		const char *name = walk_outcome_name(cases[i].outcome);

		if (!ok(strstr(name, cases[i].headline) && strstr(text, name) &&
				strstr(text, cases[i].says),
			"%s is said in words", name) ||
		    !ok(!strstr(text, "refused here") == !cases[i].refused, "%s: %s", name,
			cases[i].refused ? "the refusing entry is marked" : "nothing was refused"))
			tap_note("%s", text);
		free(text);
	}
	test_answers();
	test_read_only();
	return tap_done();
}
