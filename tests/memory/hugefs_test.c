/* SPDX-License-Identifier: MIT */
/*
 * RAM on file systems that allocate huge pages by themselves, or do not: a tmpfs with each of the
 * four policies.  Exactly the pages that guest memory wants are there, whoever brings them in; the
 * kernel's count is the judge (gmem_audit).
 */
#include <fcntl.h>
#include <linux/mount.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "mmu/base/compat.h"
#include "mmu/machine/store/shelf.h"
#include "share_lab.h"
#include "tests/memory/files.h"

#define RUN	  512 /* 100 pages from here on are shared ... */
#define RUN_NR	  100
#define IN_RUN	  530
#define BESIDE	  900 /* ... and this one is of their block, and absent */
#define ELSEWHERE 1300

static const char *policy;

static void create_in(enum gmem_hugepages hugepages)
{
	ram_file = tmpfs_file(policy, 0, NR_BLOCKS * QUIRE_BLOCK_SIZE);
	if (ram_file < 0)
		tap_skip_all("no privilege to mount a tmpfs of its own");
	create(hugepages);
	close(ram_file);
}

static void audit(const char *when)
{
	is(gmem_audit(gm, describe, NULL), 0, "huge=%s: %s: audit", policy, when);
}

static const char *state_of(gfn_t gfn)
{
	struct stage2_page page;

	gmem_lookup(gm, gfn, &page);
	return page_states[page.state].name;
}

static bool is_state(gfn_t gfn, enum page_state state)
{
	return !strcmp(state_of(gfn), page_states[state].name);
}

static uint64_t read_word(gfn_t gfn)
{
	uint64_t word = 1;

	guest_read(gm, gfn_to_gpa(gfn), &word, sizeof(word));
	return word;
}

static uint64_t *word_at(gfn_t gfn)
{
	return (uint64_t *)hva(gfn);
}

/* Pages RUN.. have the bytes of frames 7.., and become shared. */
static void share_run(void)
{
	struct share_run run = { RUN, RUN_NR, PG_SHARED, frame_of(7) };
	struct share_result res = { 0 };

	for (gfn_t g = 0; g < RUN_NR; g++) {
		fill_page(word_at(RUN + g), 7 + g);
		references[7 + g]++;
	}
	gmem_drop(gm, RUN + RUN_NR, 28, NULL); /* what came in around */
	audit("100 private pages");
	lock(&gm->lock);
	share_commit(gm, &run, &res);
	unlock(&gm->lock);
	is(res.merged, RUN_NR, "huge=%s: 100 pages become shared", policy);
	audit("all of them shared");
}

/* A page that comes home brings no other with it. */
static void test_unshare(void)
{
	share_run();
	word_at(IN_RUN)[5] = 1;
	is(ramfile_pages(gm->window.ram_fd), 1, "huge=%s: one page comes home", policy);
	audit("one is home");
	guest_write(gm, gfn_to_gpa(IN_RUN + 9), &(uint64_t){ 3 }, 8);
	is(read_word(IN_RUN + 9), 3, "huge=%s: another by the accessor", policy);
	audit("two are home");
	for (gfn_t g = IN_RUN + 20; g < RUN + RUN_NR; g++)
		word_at(g)[0] = g;
	audit("a sequential writer brought the rest home");
	ok(references_agree(), "huge=%s: no reference is lost", policy);
}

/* A page beside them is nobody's until it is touched, and then it is like any other. */
static void test_beside(void)
{
	ok(is_state(BESIDE, PG_ABSENT), "huge=%s: a page beside them is absent", policy);
	*word_at(BESIDE) = 0x1234567890;
	ok(is_state(BESIDE, PG_PRIVATE), "huge=%s: it is private once it is written", policy);
	is_hex(read_word(BESIDE), 0x1234567890, "huge=%s: with what the guest wrote", policy);
	gmem_balloon(gm, BESIDE, 1, NULL);
	audit("it is ballooned");
	is_hex(*word_at(BESIDE), 0, "huge=%s: and zero when it is touched again", policy);
	audit("and touched");
}

static void test_accessors(void)
{
	uint64_t word = 42;

	guest_write(gm, gfn_to_gpa(ELSEWHERE), &word, sizeof(word));
	is(*word_at(ELSEWHERE), 42, "huge=%s: the guest finds what the accessor wrote", policy);
	audit("written by the accessor");
}

/* A page of zeroes that is read, and then written. */
static void test_zero(void)
{
	struct share_run run = { ELSEWHERE + 1, 4, PG_ZERO, STAGE2_UNMAPPED };
	struct share_result res = { 0 };

	lock(&gm->lock);
	zero_commit(gm, &run, 1, &res);
	unlock(&gm->lock);
	is(res.merged, 4, "huge=%s: pages of zeroes lose their frames", policy);
	is(*word_at(ELSEWHERE + 2), 0, "huge=%s: and read as zeroes", policy);
	audit("zeroes are mapped");
	*word_at(ELSEWHERE + 3) = 5;
	is(read_word(ELSEWHERE + 3), 5, "huge=%s: one is written", policy);
	audit("and is home");
}

/* What khugepaged would do, if it came by. */
static void test_collapse(void)
{
	uint64_t pages = ramfile_pages(gm->window.ram_fd);
	uint8_t *places[] = { hva(RUN), gm->window.alias + gfn_to_gpa(RUN) };

	for (unsigned int i = 0; i < ARRAY_SIZE(places); i++)
		ok(madvise(places[i], QUIRE_BLOCK_SIZE, MADV_COLLAPSE) &&
			   ramfile_pages(gm->window.ram_fd) == pages,
		   "huge=%s: a block with holes is not made a huge page from the %s", policy,
		   i ? "alias" : "window");
	audit("not collapsed");
}

static void test_singly(void)
{
	create_in(GMEM_HUGE_NEVER);
	*word_at(3) = 1;
	is(ramfile_pages(gm->window.ram_fd), 16, "huge=%s: a touch brings its group in", policy);
	audit("first touch");
	gmem_drop(gm, 0, 16, NULL);
	test_unshare();
	test_beside();
	test_accessors();
	test_zero();
	test_collapse();
	destroy();
}

/* Blocks come in as one when they shall, and their parts go. */
static void test_blocks(void)
{
	create_in(GMEM_HUGE_AUTO);
	*word_at(3) = 1;
	is(ramfile_pages(gm->window.ram_fd), 512, "huge=%s: a touch brings its block in", policy);
	audit("a block");
	gmem_drop(gm, 10, 100, NULL);
	audit("without its middle");
	ok(is_state(50, PG_ABSENT), "huge=%s: what was dropped is absent", policy);
	is(*word_at(50), 0, "huge=%s: and zero when it is touched", policy);
	gmem_balloon(gm, 0, QUIRE_BLOCK_PAGES, NULL);
	is(ramfile_pages(gm->window.ram_fd), 0, "huge=%s: all of it goes to the balloon", policy);
	*word_at(BESIDE) = 9;
	share_run();
	word_at(IN_RUN)[5] = 1;
	audit("one home in a block that came in as one");
	destroy();
}

/* A VM sees all of a segment, but has no business in its holes: one that is read stays small. */
static void test_segment(void)
{
	const uint64_t bytes = (uint64_t)MERGE_SEGMENT_FRAMES << QUIRE_PAGE_SHIFT;
	struct store_view v;
	struct shelf shelf;
	unsigned int name;
	int fd;

	shelf_open(&shelf);
	if (shelf.ours < 0 ||
	    syscall(SYS_fsconfig, shelf.grow, FSCONFIG_SET_STRING, "huge", policy, 0))
		tap_bail("no shelf");
	shelf_take(&shelf, 1);
	syscall(SYS_fsconfig, shelf.grow, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0);
	fd = shelf_make(&shelf, bytes, &name);
	store_view_init(&v);
	is(store_view_add(&v, 0, shelf_read(&shelf, name, fd)), 0,
	   "huge=%s: a segment of the store", policy);
	is(*store_view_bytes(&v, store_view_pfn(&v, 5)), 0, "huge=%s: has holes", policy);
	is(ramfile_pages(fd), 1, "huge=%s: and to read one brings no others", policy);
	store_view_finish(&v);
	close(fd);
	shelf_close(&shelf);
}

int main(void)
{
	static const char *const policies[] = { "always", "within_size", "advise", "never" };

	tap_init();
	make_segment();
	for (unsigned int i = 0; i < ARRAY_SIZE(policies); i++) {
		policy = policies[i];
		test_singly();
		test_blocks();
		test_segment();
	}
	return tap_done();
}
