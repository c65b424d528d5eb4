/* SPDX-License-Identifier: MIT */
/*
 * Shadow references as text.  Each of ours has a line, and below it is what it stands for, with
 * addresses below addresses and values below values:
 *
 *    4  shadow PTE    at 00004000004000 = 0000000000200065  P U A D
 *       guest  PTE    at 0000000010d000 = 0000000000200067  P W U A D
 *       EPT    PTE    of 00000000200000 = 0010000000200077  r w x ipat
 */
#include <inttypes.h>
#include "vmm/print/json.h"
#include "vmm/vm/render.h"
#include "walk_shadow.h"

#define BITS 80

static const struct bit_name rule_names[] = {
	{ 1, "WP" }, { 2, "NX" }, { 4, "SMEP" }, { 8, "SMAP" }
};

static const struct bit_name right_names[] = {
	{ PT_PERM_R, "r" }, { PT_PERM_W, "w" }, { PT_PERM_X, "x" }, { PT_PERM_U, "u" }
};

/* In the order of enum sp_kind. */
static const char *const kind_name[] = { "frames", "nothing", "guest table", "monitor" };

static const char *level_name(const struct pt_format *format, unsigned int level)
{
	for (unsigned int i = 0; format && i < format->nr_levels; i++)
		if (format->level[i].level == level)
			return format->level[i].name;
	return "?";
}

/* Of our own tables. */
static const struct pt_format *const shadow_format = &x86_4level_format;

static const struct pt_level *level_of(const struct shadow_ref *ref)
{
	return &shadow_format->level[shadow_format->nr_levels - ref->level];
}

static const char *bits_of(unsigned int stage, uint64_t entry)
{
	static char text[3][BITS];
	static unsigned int turn;
	char *out = text[turn++ % ARRAY_SIZE(text)];

	render_entry_bits(out, BITS, &(struct walk_ref){ .stage = (uint8_t)stage, .entry = entry });
	return out;
}

static const char *or_empty(const char *bits)
{
	return bits[0] ? bits : "empty";
}

static void rules_of(const struct shadow_look *look, char text[BITS])
{
	uint64_t rules = (look->wp ? 1 : 0) | (look->nxe ? 2 : 0) | (look->smep ? 4 : 0) |
			 (look->smap ? 8 : 0);

	render_bits(text, BITS, rules, rule_names, ARRAY_SIZE(rule_names));
}

/* ---- what it comes to ---- */

static const struct shadow_ref *last_of(const struct shadow_look *look)
{
	return look->nr_refs ? &look->ref[look->nr_refs - 1] : NULL;
}

/* Does the entry allow the access? */
static bool allows(const struct shadow_look *look, struct walk_access access)
{
	const struct shadow_ref *leaf = last_of(look);
	unsigned int perm;

	if (look->found != SHADOW_MAPS)
		return false;
	perm = shadow_format->perm(leaf->entry, level_of(leaf));
	return (!access.write || (perm & PT_PERM_W)) && (!access.fetch || (perm & PT_PERM_X));
}

/* Is a fault of this access hidden from the guest?  Where there is no RAM may be a device. */
static bool is_hidden(const struct ctl_walked *w)
{
	const struct walk_result *res = &w->res;

	return render_succeeds(res, w->state) ||
	       (res->outcome == WALK_VIOLATION && (res->qualification & WALK_FINAL));
}

/* A leaf is there, and does not allow the access, which the guest may make. */
static const char *why_weaker(const struct ctl_walked *w, struct walk_access access)
{
	const struct shadow_look *look = &w->shadow;
	const struct shadow_ref *leaf = last_of(look);

	if (look->stale)
		return "it is older than the guest's tables (a hidden fault would mend it)";
	if (w->res.outcome == WALK_VIOLATION)
		return "stage 2 does not allow it yet (a hidden fault would change that)";
	if (access.write && leaf->kind == SP_GUEST && w->res.format1 &&
	    !(leaf->then & w->res.format1->dirty))
		return "the guest's D is not set yet (a hidden fault would set it)";
	return "it is a guest's table, in sync (a hidden fault would let it go)";
}

static const char *conclusion(const struct ctl_walked *w, struct walk_access access)
{
	const struct shadow_look *look = &w->shadow;
	const struct shadow_ref *last = last_of(look);

	if (last && last->kind == SP_MONITOR)
		return "the monitor's addresses: the guest gets #PF";
	if (w->res.outcome == WALK_AGAIN)
		return "the guest keeps changing its tables";
	if (look->found == SHADOW_MAPS && allows(look, access))
		return look->stale ? "older than the guest's tables, and used until INVLPG or a "
				     "load of CR3" :
				     "the access needs no exit";
	if (!is_hidden(w))
		return look->found == SHADOW_MAPS ? "the fault is the guest's" :
						    "no shadow entry: the fault is the guest's";
	if (look->found == SHADOW_MAPS)
		return why_weaker(w, access);
	return look->found == SHADOW_NO_ROOT ?
		       "no shadow root yet (the next entry of the guest would make it)" :
		       "no shadow entry yet (a hidden fault would make it)";
}

/* ---- text ---- */

static void put(FILE *f, const char *what, const char *level, const char *where, uint64_t address,
		uint64_t entry, const char *bits)
{
	fprintf(f, "%-6s %-5s  %s %014" PRIx64 " = %016" PRIx64 "  %s\n", what, level, where,
		address, entry, bits);
}

static void put_guest(FILE *f, const struct ctl_walked *w, const struct shadow_ref *ref)
{
	const char *level = level_name(w->res.format1, ref->level);

	fputs("      ", f);
	put(f, "guest", level, "at", ref->guest, ref->now, or_empty(bits_of(1, ref->now)));
	if (w->shadow.stale >> (ref - w->shadow.ref) & 1) {
		fputs("      ", f);
		put(f, "before", level, "at", ref->guest, ref->then, bits_of(1, ref->then));
	}
}

static void put_stands_for(FILE *f, const struct ctl_walked *w, const struct shadow_ref *ref)
{
	switch (ref->kind) {
	case SP_GUEST: put_guest(f, w, ref); return;
	case SP_PAD: fputs("      nothing: the guest's tables have fewer levels\n", f); return;
	case SP_MONITOR: fputs("      the monitor, which only CPL 0 may use\n", f); return;
	default:
		fprintf(f, "      guest  gpa    %#" PRIx64 " (the guest has no table here)\n",
			ref->guest);
	}
}

static void put_stage2(FILE *f, const struct ctl_walked *w)
{
	const struct shadow_look *look = &w->shadow;

	if (look->found != SHADOW_MAPS)
		return;
	fputs("      ", f);
	if (look->stage2_level)
		put(f, "EPT", level_name(&ept4_format, look->stage2_level) + 4, "of", look->gpa,
		    look->stage2_entry, bits_of(2, look->stage2_entry));
	else
		fprintf(f, "no RAM at gpa %#" PRIx64 ": the access is a device's\n", look->gpa);
}

void walk_shadow_text(FILE *f, const struct ctl_walked *w, struct walk_access access)
{
	const struct shadow_look *look = &w->shadow;
	char rules[BITS];

	if (look->found == SHADOW_NO_TABLES)
		return;
	rules_of(look, rules);
	fprintf(f, "on shadow tables: the %s's view%s%s, ", look->user ? "user" : "supervisor",
		rules[0] ? " with " : "", rules);
	if (look->found == SHADOW_NO_ROOT)
		fputs("no root\n", f);
	else
		fprintf(f, "%u reference%s from CR3 %#" PRIx64 "\n", look->nr_refs,
			look->nr_refs == 1 ? "" : "s", look->root);
	for (unsigned int i = 0; i < look->nr_refs; i++) {
		const struct shadow_ref *ref = &look->ref[i];

		fprintf(f, "  %2u  ", i + 1);
		put(f, "shadow", level_of(ref)->name, "at", ref->address, ref->entry,
		    or_empty(bits_of(1, ref->entry)));
		put_stands_for(f, w, ref);
	}
	put_stage2(f, w);
	fprintf(f, "  %s\n", conclusion(w, access));
}

/* ---- JSON ---- */

static void json_guest(struct json *json, const struct ctl_walked *w, const struct shadow_ref *ref)
{
	json_text(json, "guest_name", level_name(w->res.format1, ref->level));
	json_hex(json, "guest_address", ref->guest);
	json_hex(json, "guest_entry", ref->now);
	json_text(json, "guest_bits", bits_of(1, ref->now));
	if (ref->entry)
		json_hex(json, "made_of", ref->then);
	json_number(json, "stale", w->shadow.stale >> (ref - w->shadow.ref) & 1);
	json_number(json, "in_sync", ref->in_sync);
}

static void json_reference(struct json *json, const struct ctl_walked *w,
			   const struct shadow_ref *ref)
{
	char rights[BITS];

	render_bits(rights, BITS, ref->access, right_names, ARRAY_SIZE(right_names));
	json_begin_object(json, NULL);
	json_number(json, "level", ref->level);
	json_text(json, "name", level_of(ref)->name);
	json_hex(json, "address", ref->address);
	json_hex(json, "entry", ref->entry);
	json_text(json, "bits", bits_of(1, ref->entry));
	json_text(json, "stands_for", kind_name[ref->kind]);
	json_text(json, "rights", rights);
	if (ref->kind == SP_GUEST)
		json_guest(json, w, ref);
	if (ref->kind == SP_DIRECT)
		json_hex(json, "gpa", ref->guest);
	json_end_object(json);
}

static void json_leaf(struct json *json, const struct shadow_look *look)
{
	const struct shadow_ref *leaf = last_of(look);

	json_hex(json, "gpa", look->gpa);
	json_hex(json, "machine_address",
		 shadow_format->address(leaf->entry, level_of(leaf), true));
	json_number(json, "page_bytes", leaf->level == 2 ? 2 * MiB : QUIRE_PAGE_SIZE);
	if (look->stage2_level)
		json_hex(json, "stage2_entry", look->stage2_entry);
}

void walk_shadow_json(struct json *json, const struct ctl_walked *w, struct walk_access access)
{
	static const char *const found[] = { "", "no root", "no entry", "page" };
	const struct shadow_look *look = &w->shadow;
	char rules[BITS];

	if (look->found == SHADOW_NO_TABLES)
		return;
	rules_of(look, rules);
	json_begin_object(json, "shadow");
	json_text(json, "view", look->user ? "user" : "supervisor");
	json_text(json, "rules", rules);
	if (look->root)
		json_hex(json, "root", look->root);
	json_text(json, "found", found[look->found]);
	json_number(json, "needs_exit", !allows(look, access));
	json_number(json, "stale", look->stale != 0);
	json_text(json, "text", conclusion(w, access));
	if (look->found == SHADOW_MAPS)
		json_leaf(json, look);
	json_begin_array(json, "references");
	for (unsigned int i = 0; i < look->nr_refs; i++)
		json_reference(json, w, &look->ref[i]);
	json_end_array(json);
	json_end_object(json);
}
