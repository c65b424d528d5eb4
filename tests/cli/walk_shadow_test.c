/* SPDX-License-Identifier: MIT */
/* What quire walk says of shadow tables: each entry with what it stands for, and what follows. */
#include <stdlib.h>
#include <string.h>
#include "mmu/format/x86pt.h"
#include "vmm/print/json.h"
#include "vmm/cli/walk_shadow.h"
#include "tests/tap.h"

#define LINK (X86_P | X86_W | X86_U | X86_A)

static const struct walk_access READ = { 0 }, WRITE = { .write = true }, FETCH = { .fetch = true };

/* A page that is mapped read-only and may not be fetched from, because its D is clear. */
static struct ctl_walked example(void)
{
	struct ctl_walked w = {
		.res = { .outcome = WALK_OK,
			 .gpa = 0x5000,
			 .maddr = 0x5000,
			 .level1 = 1,
			 .level2 = 1,
			 .format1 = &x86_4level_format },
		.state = PG_PRIVATE,
		.shadow = { .found = SHADOW_MAPS,
			    .nr_refs = 4,
			    .wp = 1,
			    .root = 0x4000001000,
			    .gpa = 0x5000,
			    .stage2_level = 1,
			    .stage2_entry = 0x5077 },
	};

	for (unsigned int i = 0; i < 4; i++)
		w.shadow.ref[i] = (struct shadow_ref){
			.level = (uint8_t)(4 - i),
			.kind = SP_GUEST,
			.access = PT_PERM_ALL,
			.address = 0x4000001000 + i * 0x1000,
			.entry = 0x4000002000 + i * 0x1000 + LINK,
			.guest = 0x1000 * (i + 1),
			.then = 0x2000 + LINK,
			.now = 0x2000 + LINK,
		};
	w.shadow.ref[3].entry = 0x5000 | X86_P | X86_U | X86_A | X86_D | X86_NX;
	return w;
}

static char *said(const struct ctl_walked *w, struct walk_access access, bool json)
{
	char *text = NULL;
	size_t bytes;
	FILE *f = open_memstream(&text, &bytes);
	struct json j;

	if (!f)
		tap_bail("no memory");
	json_init(&j, f);
	if (json)
		json_begin_object(&j, NULL);
	if (json)
		walk_shadow_json(&j, w, access);
	else
		walk_shadow_text(f, w, access);
	if (json)
		json_end_object(&j);
	fclose(f);
	return text;
}

static void says(const char *what, const struct ctl_walked *w, struct walk_access access,
		 const char *want)
{
	char *text = said(w, access, false), *json = said(w, access, true);

	if (!ok(strstr(text, want) != NULL, "%s: %s", what, want))
		tap_note("%s", text);
	if (!ok(strstr(json, want) != NULL, "... in JSON too"))
		tap_note("%s", json);
	free(text);
	free(json);
}

static void shows(const char *what, const struct ctl_walked *w, const char *want)
{
	char *text = said(w, READ, false);

	if (!ok(strstr(text, want) != NULL, "%s", what))
		tap_note("%s", text);
	free(text);
}

static void test_entries(void)
{
	char *none;
	struct ctl_walked w = example();

	shows("the view and the root", &w,
	      "on shadow tables: the supervisor's view with WP, 4 references from CR3 "
	      "0x4000001000\n");
	shows("an entry, and the guest's below it", &w,
	      "   4  shadow PTE    at 00004000004000 = 8000000000005065  P U A D NX\n"
	      "      guest  PTE    at 00000000004000 = 0000000000002027  P W U A\n"
	      "      EPT    PTE    of 00000000005000 = 0000000000005077  r w x ");
	w.shadow.stale = 8;
	w.shadow.ref[3].now = 0;
	shows("what the guest's entry was", &w,
	      "      guest  PTE    at 00000000004000 = 0000000000000000  empty\n"
	      "      before PTE    at 00000000004000 = 0000000000002027  P W U A\n");
	w.shadow.ref[0].kind = SP_PAD;
	shows("a level that the guest has not", &w, "nothing: the guest's tables have fewer");
	w.shadow.ref[3].kind = SP_DIRECT;
	shows("a frame without a guest's entry", &w, "guest  gpa    0x4000 (");
	w.shadow.stage2_level = 0;
	shows("what is no RAM", &w, "no RAM at gpa 0x5000: the access is a device's\n");
	w.shadow.found = SHADOW_NO_TABLES;
	none = said(&w, READ, false);
	is(strlen(none), 0, "of others nothing");
	free(none);
}

static void test_conclusions(void)
{
	struct ctl_walked w = example();

	says("a page that may be read", &w, READ, "the access needs no exit");
	says("a first write", &w, WRITE, "the guest's D is not set yet");
	w.shadow.ref[3].then |= X86_D;
	says("a write to a table", &w, WRITE, "it is a guest's table, in sync");
	w.res.outcome = WALK_VIOLATION;
	says("a write to a shared page", &w, WRITE, "stage 2 does not allow it yet");
	w = example();
	w.res.outcome = WALK_PAGE_FAULT;
	says("a fetch that the guest forbids", &w, FETCH, "the fault is the guest's");
	w.shadow.stale = 8;
	says("a page that the guest took away", &w, READ,
	     "older than the guest's tables, and used");
	w = example();
	w.shadow.stale = 8;
	says("a page that the guest gave since", &w, FETCH,
	     "it is older than the guest's tables (");
	w = example();
	w.shadow.found = SHADOW_NO_ENTRY;
	says("no entry", &w, READ, "no shadow entry yet (a hidden fault would make it)");
	w.res.outcome = WALK_PAGE_FAULT;
	says("none, and there will be none", &w, READ, "no shadow entry: the fault is the guest's");
	w.res = (struct walk_result){ .outcome = WALK_VIOLATION, .qualification = WALK_FINAL };
	w.state = PG_NR_STATES;
	says("none for a device", &w, READ, "no shadow entry yet (a hidden fault would make it)");
	w.res.qualification = 0;
	says("none for a table out of RAM", &w, READ, "no shadow entry: the fault is the guest's");
	w.res.outcome = WALK_AGAIN;
	says("tables that change", &w, READ, "the guest keeps changing its tables");
	w.shadow = (struct shadow_look){ .found = SHADOW_NO_ROOT, .user = 1 };
	w.res.outcome = WALK_OK;
	says("no root", &w, READ, "no shadow root yet");
	w = example();
	w.shadow.nr_refs = 1;
	w.shadow.found = SHADOW_NO_ENTRY;
	w.shadow.ref[0].kind = SP_MONITOR;
	says("the monitor", &w, READ, "the monitor's addresses: the guest gets #PF");
}

int main(void)
{
	tap_init();
	test_entries();
	test_conclusions();
	return tap_done();
}
