/* SPDX-License-Identifier: MIT */
/*
 * Walks as text.  The 2D walk of a 4-level guest has 24 references, and each has a line.  Entries
 * of the guest are at the margin; the stage-2 entries that led to them are indented.  So the eye
 * can go down the margin:
 *
 *    1    EPT PML4E  gpa 0000000000101000  at 00007f2c3c0010 = 00007f2c3c002007  r w x
 *    ...
 *    5  PML4E        gva ffff800000000123  at 00000000101800 = 0000000000102023  P W A
 */
#include <inttypes.h>
#include <string.h>
#include "render.h"

static const struct bit_name stage1_bits[] = {
	{ 1u << 0, "P" },   { 1u << 1, "W" },	  { 1u << 2, "U" }, { 1u << 3, "PWT" },
	{ 1u << 4, "PCD" }, { 1u << 5, "A" },	  { 1u << 6, "D" }, { 1u << 7, "PS/PAT" },
	{ 1u << 8, "G" },   { 1ULL << 63, "NX" },
};

static const struct bit_name stage2_bits[] = {
	{ 1u << 0, "r" },     { 1u << 1, "w" }, { 1u << 2, "x" }, { 1u << 6, "ipat" },
	{ 1u << 7, "large" }, { 1u << 8, "A" }, { 1u << 9, "D" },
};

static const struct bit_name fault_bits[] = {
	{ PF_W, "write" },
	{ PF_U, "user" },
	{ PF_RSVD, "reserved bit set" },
	{ PF_I, "fetch" },
};

static const struct bit_name violation_bits[] = {
	{ 1u << 0, "read" },
	{ 1u << 1, "write" },
	{ 1u << 2, "fetch" },
};

void render_bits(char *buf, size_t size, uint64_t value, const struct bit_name *names,
		 unsigned int nr)
{
	size_t used = 0;

	buf[0] = '\0';
	for (unsigned int i = 0; i < nr; i++) {
		size_t room = size - used;
		int n;

		if (!(value & names[i].bit))
			continue;
		n = snprintf(buf + used, room, "%s%s", used ? " " : "", names[i].name);
		if (n < 0 || (size_t)n >= room)
			return;
		used += (size_t)n;
	}
}

#define BITS(buf, value, names) render_bits(buf, sizeof(buf), value, names, ARRAY_SIZE(names))

void render_entry_bits(char *buf, size_t size, const struct walk_ref *ref)
{
	if (ref->stage == 1)
		render_bits(buf, size, ref->entry, stage1_bits, ARRAY_SIZE(stage1_bits));
	else
		render_bits(buf, size, ref->entry, stage2_bits, ARRAY_SIZE(stage2_bits));
}

/* mark: what to say of the reference that ended the walk; "" for the others. */
static void render_ref(FILE *f, unsigned int number, const struct walk_ref *ref, const char *mark)
{
	char bits[80];

	render_entry_bits(bits, sizeof(bits), ref);
	fprintf(f, "  %2u  %s%-9s%s  %s %016" PRIx64 "  at %014" PRIx64 " = %016" PRIx64 "  %s%s\n",
		number, ref->stage == 1 ? "" : "  ", ref->name, ref->stage == 1 ? "  " : "",
		ref->stage == 1 ? "gva" : "gpa", ref->input, ref->addr, ref->entry,
		bits[0] ? bits : "empty", mark);
}

static const char *page_size_name(unsigned int level)
{
	switch (level) {
	case 0: return "off";
	case 1: return "4 KiB page";
	case 2: return "2 MiB page";
	case 3: return "1 GiB page";
	}
	return "large page";
}

static void render_ok(FILE *f, gva_t gva, const struct walk_result *res)
{
	bool mb4 = res->format1 == &x86_32_format && res->level1 == 2;

	fprintf(f,
		"  gva %#" PRIx64 " -> gpa %#" PRIx64 " -> machine %#" PRIx64
		" (guest paging: %s; stage 2: %s)\n",
		gva, res->gpa, res->maddr, mb4 ? "4 MiB page" : page_size_name(res->level1),
		page_size_name(res->level2));
}

static void render_fault(FILE *f, const struct walk_result *res)
{
	char why[64];

	BITS(why, res->error_code, fault_bits);
	fprintf(f, "  #PF with error code %#x: %s%s%s\n", res->error_code,
		res->error_code & PF_P ? "permission refused" : "page not present",
		why[0] ? ", " : "", why);
}

static void render_violation(FILE *f, const struct walk_result *res)
{
	char access[32];

	BITS(access, res->qualification, violation_bits);
	fprintf(f,
		"  EPT violation at gpa %#" PRIx64 ", qualification %#" PRIx64 ": %s of %s; "
		"the entry allows %s%s%s\n",
		res->gpa, res->qualification, access,
		res->qualification & 0x100 ? "the page itself" : "a guest table",
		res->qualification & 8 ? "r" : "-", res->qualification & 16 ? "w" : "-",
		res->qualification & 32 ? "x" : "-");
}

static void render_outcome(FILE *f, gva_t gva, const struct walk_result *res)
{
	switch (res->outcome) {
	case WALK_OK: render_ok(f, gva, res); return;
	case WALK_PAGE_FAULT: render_fault(f, res); return;
	case WALK_VIOLATION: render_violation(f, res); return;
	case WALK_MISCONFIG:
	case WALK_NO_MEMORY:
		fprintf(f, "  %s at gpa %#" PRIx64 "\n", walk_outcome_name(res->outcome), res->gpa);
		return;
	case WALK_AGAIN:
		fprintf(f,
			"  %s: the entry at gpa %#" PRIx64
			" was another one each time; try again\n",
			walk_outcome_name(res->outcome), res->gpa);
		return;
	default: fprintf(f, "  %s\n", walk_outcome_name(res->outcome));
	}
}

/* ---- states of pages, and what quire does about them ---- */

uint8_t render_state(struct gmem *gm, gpa_t gpa)
{
	struct stage2_page page;

	if (gmem_lookup(gm, gpa_to_gfn(gpa), &page))
		return PG_NR_STATES;
	return (uint8_t)(page.state | (page.level == 2 ? GMEM_STATE_LARGE : 0));
}

static unsigned int state_of(uint8_t byte)
{
	return min_u64(byte & ~GMEM_STATE_LARGE, PG_NR_STATES);
}

const char *render_state_text(uint8_t byte)
{
	static char text[48];
	unsigned int state = state_of(byte);

	if (state == PG_NR_STATES)
		return "not RAM";
	snprintf(text, sizeof(text), "%s%s", page_states[state].name,
		 byte & GMEM_STATE_LARGE ? ", in a 2 MiB leaf" : "");
	return text;
}

/* What quire does to a page in this state for a read (or a fetch), and for a write. */
static const struct {
	const char *read, *write;
} answers[PG_NR_STATES] = {
	[PG_ABSENT] = { "brings in a page of zeroes",
			"brings in a page of its own, of zeroes at first" },
	/* The page came in after the walk and before its state was read. */
	[PG_PRIVATE] = { "finds it, it came in meanwhile", "finds it, it came in meanwhile" },
	[PG_SHARED] = { "finds it, it came in meanwhile", "copies the frame to one of its own" },
	[PG_COMPRESSED] = { "brings it home from the pool", "brings it home from the pool" },
	[PG_SWAPPED] = { "reads it from the swap file", "reads it from the swap file" },
	[PG_ARCHIVED] = { "unpacks it from the store", "unpacks it from the store" },
	[PG_ZERO] = { "maps the page of zeroes", "gives it a frame of its own" },
	[PG_BALLOONED] = { "takes it out of the balloon, as a page of zeroes",
			   "takes it out of the balloon, as a page of its own" },
};

const char *render_answer(const struct walk_result *res, uint8_t byte)
{
	static char text[80];
	unsigned int state = state_of(byte);
	bool write = res->qualification & 2, fetch = res->qualification & 4;

	if (res->outcome != WALK_VIOLATION || state == PG_NR_STATES)
		return NULL;
	snprintf(text, sizeof(text), "a %s %s",
		 write ? "write" :
		 fetch ? "fetch" :
			 "read",
		 write ? answers[state].write : answers[state].read);
	return text;
}

bool render_succeeds(const struct walk_result *res, uint8_t state)
{
	return res->outcome == WALK_OK || render_answer(res, state);
}

static void render_page(FILE *f, const struct walk_result *res, uint8_t byte)
{
	const char *answer = render_answer(res, byte);
	unsigned int state = state_of(byte);

	if (res->gpa == GPA_INVALID || res->outcome == WALK_AGAIN)
		return;
	fprintf(f, "  page: %s", render_state_text(byte));
	if (res->outcome == WALK_OK && state != PG_NR_STATES && !page_states[state].writable)
		fprintf(f, "; a write %s", answers[state].write);
	fputc('\n', f);
	if (answer)
		fprintf(f, "  stage 2: %s (%s): %s\n",
			res->qualification & 0x38 ? "read-only" : "not present",
			page_states[state].name, answer);
}

static const char *mark(const struct walk_result *res, uint8_t state)
{
	if (res->outcome == WALK_OK || res->outcome == WALK_AGAIN)
		return "";
	return render_answer(res, state) ? "  <-- quire is asked here" : "  <-- refused here";
}

void render_walk(FILE *f, gva_t gva, const struct walk_result *res, uint8_t state)
{
	unsigned int nr = res->nr_refs < WALK_MAX_REFS ? res->nr_refs : WALK_MAX_REFS;

	fprintf(f, "walk of gva %#" PRIx64 " (%s): %s, %u reference%s\n", gva,
		res->format1 ? res->format1->name : "paging off", walk_outcome_name(res->outcome),
		nr, nr == 1 ? "" : "s");
	for (unsigned int i = 0; i < nr; i++)
		render_ref(f, i + 1, &res->ref[i], i + 1 == nr ? mark(res, state) : "");
	render_outcome(f, gva, res);
	render_page(f, res, state);
}
