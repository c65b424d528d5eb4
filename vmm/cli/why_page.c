/* SPDX-License-Identifier: MIT */
/*
 * One page's story: where it is, which depends on its state, what became of it, why it is not
 * merged and does not leave, and what it takes to use it.
 */
#include <inttypes.h>
#include "vmm/print/json.h"
#include "mmu/base/clock.h"
#include "mmu/memory/note.h"
#include "why_page.h"

/* Why a private page is not merged, by enum note_reason. */
static const char *const reasons[NOTE_NR_REASONS] = {
	[NOTE_NEW] = "nobody has looked at it yet, or not since it was written",
	[NOTE_UNIQUE] = "no other page of the domain has the same bytes",
	[NOTE_VOLATILE] = "it was written while it was watched",
	[NOTE_BACKING_OFF] = "it was merged before, and written soon after",
	[NOTE_PAGE_TABLE] = "it is a page table of the guest",
	[NOTE_KEPT_HUGE] = "its 2 MiB leaf is worth more whole",
	[NOTE_BUDGET] = "no mapping (vm.max_map_count) or no frame was left for it",
};

static const char *const watchers[GMEM_NR_WATCHERS] = {
	[GMEM_BY_HAND] = "quire reclaim",
	[GMEM_RECLAIMER] = "the reclaimer",
	[GMEM_TRACER] = "quire trace",
	[GMEM_WORKING_SET] = "the sample of the working set",
};
static const char *const watcher_keys[GMEM_NR_WATCHERS] = {
	[GMEM_BY_HAND] = "touched_since_reclaim",
	[GMEM_RECLAIMER] = "touched_since_reclaimer",
	[GMEM_TRACER] = "touched_since_trace",
	[GMEM_WORKING_SET] = "touched_since_sample",
};

static const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

/* ---- where it is ---- */

static void tell_private(FILE *f, const struct gmem_story *s)
{
	fprintf(f, "  It has a frame of its own, at machine address 0x%" PRIx64 "%s.\n", s->maddr,
		s->level == 2 ? ", in a leaf of 2 MiB" : "");
}

static void tell_shared(FILE *f, const struct gmem_story *s)
{
	fprintf(f,
		"  It shares frame %" PRIu64 " of segment 0x%" PRIx64 " of the store, at machine "
		"address 0x%" PRIx64 ".\n"
		"  quire merge --who lists the others.\n",
		s->frame.index, s->frame.segment, s->maddr);
}

static void tell_zero(FILE *f, const struct gmem_story *s)
{
	fprintf(f, "  It is all zeroes and has no frame; %s.\n",
		s->mapped ? "the guest has read it" : "the guest has not read it yet");
}

static void tell_compressed(FILE *f, const struct gmem_story *s)
{
	const struct pool_place *p = &s->place;

	if (p->filled) {
		fprintf(f,
			"  It repeats the word 0x%08" PRIx32 ", so it takes nothing in the pool.\n",
			p->word);
		return;
	}
	fprintf(f,
		"  It was compressed to %u bytes.  They are in the pool, in a place of %u: one of "
		"%u in "
		"use\n"
		"  in a span of %u page%s at 0x%" PRIx64 ", which has %u.\n",
		p->bytes, p->room, p->in_span, p->span_pages, plural(p->span_pages), p->offset,
		p->objects);
}

static void tell_swapped(FILE *f, const struct gmem_story *s)
{
	fprintf(f, "  It is in the swap file: %" PRIu32 " bytes at offset 0x%" PRIx64 ".\n",
		s->copy.bytes, s->copy.offset);
}

static void tell_archived(FILE *f, const struct gmem_story *s)
{
	fprintf(f,
		"  It was shared, and nobody used it: the machine packed it to %u bytes, once for "
		"all\n"
		"  who had it.  They are in frame %" PRIu64 " of segment 0x%" PRIx64
		" of the store.\n",
		s->place.bytes, s->frame.index, s->frame.segment);
}

static void tell_absent(FILE *f, const struct gmem_story *s)
{
	(void)s;
	fputs("  Nothing is there: it was never used, or given back.\n", f);
}

static void tell_ballooned(FILE *f, const struct gmem_story *s)
{
	(void)s;
	fputs("  The guest gave it to its balloon.\n", f);
}

/* ---- the table ---- */

#define TIME_NONE "none"
#define TIME_US	  "microseconds"
#define TIME_10US "tens of microseconds"
#define TIME_DISK "disk"

/* Of each state: where such a page is, and what the next read and write of the guest take. */
static const struct row {
	void (*tell)(FILE *f, const struct gmem_story *s);
	unsigned int read_credits, write_credits; /* pages of the machine's memory */
	const char *read_time, *write_time;
	const char *price; /* all that, as a sentence */
} rows[PG_NR_STATES] = {
	[PG_ABSENT] = { tell_absent, 1, 1, TIME_US, TIME_US,
			"A touch brings zeroes: that takes a credit, and some microseconds." },
	[PG_PRIVATE] = { tell_private, 0, 0, TIME_NONE, TIME_NONE, "To use it takes nothing." },
	[PG_SHARED] = { tell_shared, 0, 1, TIME_NONE, TIME_US,
			"To read it takes nothing.  To write it takes a copy: a credit, and some "
			"microseconds." },
	[PG_ZERO] = { tell_zero, 0, 1, TIME_US, TIME_US,
		      "To read it takes no credit.  To write it takes one, and some "
		      "microseconds." },
	[PG_BALLOONED] = { tell_ballooned, 1, 1, TIME_US, TIME_US,
			   "The guest is to take it back before it uses it.  If it does not, it "
			   "finds zeroes, for a credit." },
	[PG_COMPRESSED] = { tell_compressed, 1, 1, TIME_10US, TIME_10US,
			    "A touch brings it home: that takes a credit, and tens of "
			    "microseconds." },
	[PG_SWAPPED] = { tell_swapped, 1, 1, TIME_DISK, TIME_DISK,
			 "A touch brings it home: that takes a credit, and a read of the disk." },
	[PG_ARCHIVED] = { tell_archived, 1, 1, TIME_10US, TIME_10US,
			  "A touch brings it home: that takes a credit, and tens of "
			  "microseconds." },
};

/* ---- what became of it ---- */

static bool is_gone(const struct gmem_story *s)
{
	return page_states[s->state].payload != NUMBER_NONE;
}

static void tell_journeys(FILE *f, const struct gmem_story *s)
{
	if (is_gone(s))
		fprintf(f, "  It left memory %" PRIu64 " second%s ago.\n", s->gone_s,
			plural(s->gone_s));
	if (s->returns)
		fprintf(f, "  It came back to memory %s%u time%s before",
			s->returns == UINT8_MAX ? "at least " : "", s->returns, plural(s->returns));
	if (s->returns && s->back_s)
		fprintf(f, ", last %" PRIu64 " second%s ago", s->back_s, plural(s->back_s));
	fputs(s->returns ? ".\n" : "", f);
}

/* What the reclaimer knows of a page that it could choose, or chose. */
static void tell_age(FILE *f, const struct gmem_story *s, const struct reclaimer_page *r)
{
	if (is_gone(s) && r->chosen_since != RECLAIM_NEW)
		fprintf(f, "  The policy chose it, and %" PRIu64 " page%s since.\n",
			r->chosen_since, plural(r->chosen_since));
	if (s->state != PG_PRIVATE || !r->passes)
		return;
	fprintf(f, "  A sample found it used %" PRIu64 " second%s ago", r->unused_s,
		plural(r->unused_s));
	if (r->idle_passes)
		fprintf(f, ", and %s%" PRIu64 " since then did not",
			r->idle_passes == UINT8_MAX ? "at least " : "", r->idle_passes);
	fputs(".\n", f);
}

static void tell_touches(FILE *f, const struct gmem_story *s)
{
	for (unsigned int w = 0; w < GMEM_NR_WATCHERS; w++)
		if (s->watched >> w & 1)
			fprintf(f, "  The guest has %stouched it since %s last looked.\n",
				s->touched >> w & 1 ? "" : "not ", watchers[w]);
}

static void tell_merging(FILE *f, const struct vm_info *vm, const struct gmem_story *s)
{
	if (vm->merge.mode == KEEPER_OFF) {
		fputs("  It is not merged: merging is off.\n", f);
		return;
	}
	fprintf(f, "  It is not merged: %s.\n", reasons[note_reason(s->note)]);
}

static void tell_stay(FILE *f, const struct gmem_story *s)
{
	if (s->copy.bytes)
		fputs("  The swap file still has a copy: if it leaves unchanged, nothing is "
		      "written.\n",
		      f);
	if (s->refusals)
		fprintf(f, "  It did not compress when that was tried%s.\n",
			s->refusals > 1 ? ", again and again" : "");
	if (s->held)
		fputs("  A device holds it: it stays until that lets it go.\n", f);
}

void why_page_text(FILE *f, const struct vm_info *vm, const struct ctl_story *story)
{
	const struct gmem_story *s = &story->page;
	const struct page_state_info *info = &page_states[s->state];

	fprintf(f, "page 0x%" PRIx64 " (gpa 0x%" PRIx64 ") of VM %s: %s\n", s->gfn,
		gfn_to_gpa(s->gfn), vm->name, info->name);
	rows[s->state].tell(f, s);
	tell_journeys(f, s);
	tell_age(f, s, &story->reclaim);
	tell_touches(f, s);
	if (s->state == PG_PRIVATE) {
		tell_merging(f, vm, s);
		tell_stay(f, s);
	}
	fprintf(f, "  %s\n", rows[s->state].price);
	if (s->waits)
		fputs("  An access to it waits now.\n", f);
}

/* ---- quire.why/1 ---- */

static void json_private(struct json *json, const struct vm_info *vm, const struct gmem_story *s)
{
	json_number(json, "held", s->held);
	json_number(json, "refusals", s->refusals);
	if (vm->merge.mode != KEEPER_OFF) {
		json_text(json, "merge_reason", note_reason_name[note_reason(s->note)]);
		json_number(json, "merge_backoff", note_backoff(s->note));
	}
	for (unsigned int w = 0; w < GMEM_NR_WATCHERS; w++)
		if (s->watched >> w & 1)
			json_number(json, watcher_keys[w], s->touched >> w & 1);
}

static void json_compressed(struct json *json, const struct pool_place *p)
{
	json_number(json, "compressed_bytes", p->bytes);
	if (p->filled) {
		json_hex(json, "filled_word", p->word);
		return;
	}
	json_number(json, "place_bytes", p->room);
	json_hex(json, "span_offset", p->offset);
	json_number(json, "span_pages", p->span_pages);
	json_number(json, "span_objects", p->in_span);
	json_number(json, "span_places", p->objects);
}

static void json_price(struct json *json, const struct row *p)
{
	json_number(json, "read_credits", p->read_credits);
	json_number(json, "write_credits", p->write_credits);
	json_text(json, "read_time", p->read_time);
	json_text(json, "write_time", p->write_time);
}

static void json_age(struct json *json, const struct gmem_story *s, const struct reclaimer_page *r)
{
	if (is_gone(s)) {
		json_number(json, "gone_ns", s->gone_s * NS_PER_S);
		if (r->chosen_since != RECLAIM_NEW)
			json_number(json, "chosen_since_pages", r->chosen_since);
	} else if (s->returns) {
		json_number(json, "back_ns", s->back_s * NS_PER_S);
	}
	if (s->state == PG_PRIVATE && r->passes) {
		json_number(json, "unused_ns", r->unused_s * NS_PER_S);
		json_number(json, "idle_samples", r->idle_passes);
	}
}

void why_page_json(FILE *f, const struct vm_info *vm, const struct ctl_story *story)
{
	const struct gmem_story *s = &story->page;
	struct json json;

	json_init(&json, f);
	json_begin_object(&json, NULL);
	json_text(&json, "schema", "quire.why/1");
	json_text(&json, "name", vm->name);
	json_number(&json, "pid", vm->pid);
	json_number(&json, "gfn", s->gfn);
	json_hex(&json, "gpa", gfn_to_gpa(s->gfn));
	json_text(&json, "state", page_states[s->state].name);
	json_number(&json, "large_leaf", s->level == 2);
	json_number(&json, "mapped", s->mapped);
	if (s->mapped)
		json_hex(&json, "machine_address", s->maddr);
	if (s->state == PG_SHARED || s->state == PG_ARCHIVED) {
		json_hex(&json, "frame_segment", s->frame.segment);
		json_number(&json, "frame_index", s->frame.index);
	}
	if (s->state == PG_ARCHIVED)
		json_number(&json, "compressed_bytes", s->place.bytes);
	if (s->state == PG_COMPRESSED)
		json_compressed(&json, &s->place);
	if (s->copy.bytes) {
		json_number(&json, "swap_bytes", s->copy.bytes);
		json_hex(&json, "swap_offset", s->copy.offset);
	}
	if (s->state == PG_PRIVATE)
		json_private(&json, vm, s);
	json_age(&json, s, &story->reclaim);
	json_number(&json, "returns", s->returns);
	json_number(&json, "waits", s->waits);
	json_price(&json, &rows[s->state]);
	json_end_object(&json);
}
