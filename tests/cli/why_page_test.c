/* SPDX-License-Identifier: MIT */
/* quire why of a page: each sentence, and each member of quire.why/1. */
#include <stdlib.h>
#include <string.h>
#include "mmu/memory/note.h"
#include "tests/tap.h"
#include "vmm/cli/why_page.h"

static struct vm_info vm = { .name = "web", .pid = 7, .merge.mode = KEEPER_ON };

static struct reclaimer_page reclaim = { .chosen_since = RECLAIM_NEW };

static char *printed(void (*print)(FILE *f, const struct vm_info *vm, const struct ctl_story *s),
		     const struct gmem_story *s)
{
	const struct ctl_story story = { *s, reclaim };
	char *text = NULL;
	size_t bytes;
	FILE *f = open_memstream(&text, &bytes);

	if (!f)
		tap_bail("open_memstream");
	print(f, &vm, &story);
	fclose(f);
	return text;
}

static void tells(const struct gmem_story *s, const char *want, const char *what)
{
	char *text = printed(why_page_text, s);

	ok(!strcmp(text, want), "%s", what);
	if (strcmp(text, want))
		tap_note("it says:\n%s", text);
	free(text);
}

static void has(const struct gmem_story *s, const char *member, const char *what)
{
	char *text = printed(why_page_json, s);

	ok(strstr(text, member), "JSON: %s", what);
	if (!strstr(text, member))
		tap_note("no %s in:\n%s", member, text);
	free(text);
}

#define HEAD(state) "page 0x10 (gpa 0x10000) of VM web: " state "\n"
#define FRAME	    "  It has a frame of its own, at machine address 0x10000.\n"
#define FREE	    "  To use it takes nothing.\n"

static void test_states(void)
{
	struct gmem_story s = { .gfn = 16, .state = PG_ABSENT, .level = 1 };

	tells(&s,
	      HEAD("absent") "  Nothing is there: it was never used, or given back.\n"
			     "  A touch brings zeroes: that takes a credit, and some "
			     "microseconds.\n",
	      "an absent page");
	s.state = PG_BALLOONED;
	tells(&s,
	      HEAD("ballooned") "  The guest gave it to its balloon.\n"
				"  The guest is to take it back before it uses it.  If it does "
				"not, it finds zeroes, for a credit.\n",
	      "a page in the balloon");
	s.state = PG_ZERO;
	tells(&s,
	      HEAD("zero") "  It is all zeroes and has no frame; the guest has not read it yet.\n"
			   "  To read it takes no credit.  To write it takes one, and some "
			   "microseconds.\n",
	      "a page of zeroes");
	s.mapped = 1;
	s.maddr = gfn_to_gpa(STAGE2_ZERO_PFN);
	tells(&s,
	      HEAD("zero") "  It is all zeroes and has no frame; the guest has read it.\n"
			   "  To read it takes no credit.  To write it takes one, and some "
			   "microseconds.\n",
	      "... that was read");
	s.state = PG_SHARED;
	s.maddr = gfn_to_gpa(STAGE2_STORE_PFN + 9);
	s.frame = (struct gmem_frame){ .segment = 0xab, .index = 9 };
	tells(&s,
	      HEAD("shared") "  It shares frame 9 of segment 0xab of the store, at machine "
			     "address 0x1000000009000.\n"
			     "  quire merge --who lists the others.\n"
			     "  To read it takes nothing.  To write it takes a copy: a credit, and "
			     "some microseconds.\n",
	      "a shared page");
}

static void test_compressed(void)
{
	struct gmem_story s = {
		.gfn = 16,
		.state = PG_COMPRESSED,
		.level = 1,
		.gone_s = 1,
		.place = { .filled = 1, .word = 0xbeef },
	};

	tells(&s,
	      HEAD("compressed") "  It repeats the word 0x0000beef, so it takes nothing in the "
				 "pool.\n"
				 "  It left memory 1 second ago.\n"
				 "  A touch brings it home: that takes a credit, and tens of "
				 "microseconds.\n",
	      "a compressed page of one word");
	s.gone_s = 75;
	s.returns = 2;
	s.waits = 1;
	s.place = (struct pool_place){ .bytes = 1541,
				       .room = 1600,
				       .in_span = 4,
				       .objects = 5,
				       .span_pages = 2,
				       .offset = 0x34000 };
	tells(&s,
	      HEAD("compressed") "  It was compressed to 1541 bytes.  They are in the pool, in a "
				 "place of 1600: one of 4 in use\n"
				 "  in a span of 2 pages at 0x34000, which has 5.\n"
				 "  It left memory 75 seconds ago.\n"
				 "  It came back to memory 2 times before.\n"
				 "  A touch brings it home: that takes a credit, and tens of "
				 "microseconds.\n"
				 "  An access to it waits now.\n",
	      "... of others, for which somebody waits");
}

static void test_swapped(void)
{
	struct gmem_story s = {
		.gfn = 16,
		.state = PG_SWAPPED,
		.level = 1,
		.gone_s = 3,
		.copy = { .offset = 0x200, .bytes = 1536 },
	};

	tells(&s,
	      HEAD("swapped") "  It is in the swap file: 1536 bytes at offset 0x200.\n"
			      "  It left memory 3 seconds ago.\n"
			      "  A touch brings it home: that takes a credit, and a read of the "
			      "disk.\n",
	      "a swapped page");
	reclaim.chosen_since = 1;
	tells(&s,
	      HEAD("swapped") "  It is in the swap file: 1536 bytes at offset 0x200.\n"
			      "  It left memory 3 seconds ago.\n"
			      "  The policy chose it, and 1 page since.\n"
			      "  A touch brings it home: that takes a credit, and a read of the "
			      "disk.\n",
	      "... that a policy chose");
	has(&s, "\"chosen_since_pages\": 1", "how many pages were chosen since");
	reclaim.chosen_since = RECLAIM_NEW;
}

static void test_age(void)
{
	struct gmem_story s = { .gfn = 16, .state = PG_PRIVATE, .level = 1, .returns = 1 };

	vm.merge.mode = KEEPER_OFF;
	s.maddr = 0x10000;
	s.back_s = 7;
	reclaim.passes = 3;
	reclaim.unused_s = 1;
	tells(&s,
	      HEAD("private") FRAME "  It came back to memory 1 time before, last 7 seconds ago.\n"
				    "  A sample found it used 1 second ago.\n"
				    "  It is not merged: merging is off.\n" FREE,
	      "a page that came back");
	reclaim.unused_s = 20;
	reclaim.idle_passes = 2;
	tells(&s,
	      HEAD("private") FRAME
	      "  It came back to memory 1 time before, last 7 seconds ago.\n"
	      "  A sample found it used 20 seconds ago, and 2 since then did not.\n"
	      "  It is not merged: merging is off.\n" FREE,
	      "... and was not used any more");
	has(&s, "\"back_ns\": 7000000000", "since when it is back");
	has(&s, "\"unused_ns\": 20000000000", "its age");
	has(&s, "\"idle_samples\": 2", "... and how often nobody had used it");
	reclaim = (struct reclaimer_page){ .chosen_since = RECLAIM_NEW };
	vm.merge.mode = KEEPER_ON;
}

static void test_private(void)
{
	static const char *const because[NOTE_NR_REASONS] = {
		[NOTE_NEW] = "nobody has looked at it yet, or not since it was written",
		[NOTE_UNIQUE] = "no other page of the domain has the same bytes",
		[NOTE_VOLATILE] = "it was written while it was watched",
		[NOTE_BACKING_OFF] = "it was merged before, and written soon after",
		[NOTE_PAGE_TABLE] = "it is a page table of the guest",
		[NOTE_KEPT_HUGE] = "its 2 MiB leaf is worth more whole",
		[NOTE_BUDGET] = "no mapping (vm.max_map_count) or no frame was left for it",
	};
	struct gmem_story s = {
		.gfn = 16, .state = PG_PRIVATE, .level = 1, .mapped = 1, .maddr = 0x10000
	};
	char want[512];

	for (unsigned int i = 0; i < NOTE_NR_REASONS; i++) {
		s.note = (uint8_t)i;
		snprintf(want, sizeof(want), HEAD("private") FRAME "  It is not merged: %s.\n" FREE,
			 because[i]);
		tells(&s, want, note_reason_name[i]);
	}
	vm.merge.mode = KEEPER_OFF;
	s.level = 2;
	tells(&s,
	      HEAD("private") "  It has a frame of its own, at machine address 0x10000, in a leaf "
			      "of 2 MiB.\n"
			      "  It is not merged: merging is off.\n" FREE,
	      "without merging, in a leaf");
	s.level = 1;
	s.held = 1;
	s.refusals = 1;
	s.returns = 255;
	s.copy.bytes = 512;
	s.watched = (1 << GMEM_NR_WATCHERS) - 1;
	s.touched = 1 << GMEM_TRACER;
	tells(&s,
	      HEAD("private") FRAME "  It came back to memory at least 255 times before.\n"
				    "  The guest has not touched it since quire reclaim last "
				    "looked.\n"
				    "  The guest has not touched it since the reclaimer last "
				    "looked.\n"
				    "  The guest has touched it since quire trace last looked.\n"
				    "  The guest has not touched it since the sample of the "
				    "working set last looked.\n"
				    "  It is not merged: merging is off.\n"
				    "  The swap file still has a copy: if it leaves unchanged, "
				    "nothing is written.\n"
				    "  It did not compress when that was tried.\n"
				    "  A device holds it: it stays until that lets it go.\n" FREE,
	      "all that can be said of a private page");
	vm.merge.mode = KEEPER_ON;
}

/* ---- quire.why/1 ---- */

static void test_json(void)
{
	struct gmem_story s = { .gfn = 16, .state = PG_COMPRESSED, .level = 1, .gone_s = 75 };

	s.place = (struct pool_place){ .bytes = 1541, .room = 1600, .in_span = 4, .objects = 5 };
	has(&s, "\"schema\": \"quire.why/1\"", "it says what it is");
	has(&s, "\"gpa\": \"0x10000\"", "the address");
	has(&s, "\"compressed_bytes\": 1541", "how small the page is");
	has(&s, "\"gone_ns\": 75000000000", "since when");
	has(&s, "\"read_time\": \"tens of microseconds\"", "what a touch takes");
	s.place = (struct pool_place){ .filled = 1, .word = 3 };
	has(&s, "\"filled_word\": \"0x3\"", "the word that it repeats");
	s.state = PG_SWAPPED;
	s.copy = (struct gmem_copy){ .offset = 0x200, .bytes = 1536 };
	has(&s, "\"swap_bytes\": 1536", "how large its copy is");
	has(&s, "\"swap_offset\": \"0x200\"", "... and where");
	s.state = PG_SHARED;
	s.mapped = 1;
	s.frame = (struct gmem_frame){ .segment = 0xab, .index = 9 };
	has(&s, "\"frame_segment\": \"0xab\"", "the segment");
	has(&s, "\"write_credits\": 1", "a write takes a credit");
	s.state = PG_PRIVATE;
	s.note = NOTE_VOLATILE;
	s.watched = 1 << GMEM_RECLAIMER;
	has(&s, "\"merge_reason\": \"volatile\"", "why it is not merged");
	has(&s, "\"touched_since_reclaimer\": 0", "whether it was touched");
	has(&s, "\"read_credits\": 0", "it is there");
}

int main(void)
{
	tap_init();
	test_states();
	test_compressed();
	test_swapped();
	test_private();
	test_age();
	test_json();
	return tap_done();
}
