/* SPDX-License-Identifier: MIT */
/*
 * Pages away from home, against a naive model in lockstep: a flat array says for each page which
 * content it has and in which state it is; seeded random operations share runs (with frames that
 * have the same bytes, or other bytes), archive what is shared, make zero pages, write through the
 * window and through the accessors, read both ways, drop, split, bring in, collapse; audited as it
 * goes.  The machine is played by the test: it owns a segment and counts the references that come
 * back.
 */
#include <errno.h>
#include <unistd.h>
#include "storm.h"
#include "tests/memory/files.h"

#define OPS (6000 * tap_storm())

/* ---- the model ---- */

static uint32_t content[NR_PAGES];
static uint8_t state[NR_PAGES];
static bool large[NR_BLOCKS];

static bool is_page(const void *page, uint32_t c)
{
	uint64_t want[QUIRE_PAGE_SIZE / sizeof(uint64_t)];

	fill_page(want, c);
	return !memcmp(page, want, QUIRE_PAGE_SIZE);
}

/* The states are what stage 2 says: which pages come in with a touch is other tests' business. */
static void learn_states(void)
{
	for (gfn_t g = 0; g < NR_PAGES; g++) {
		struct stage2_page page;

		gmem_lookup(gm, g, &page);
		state[g] = page.state;
		large[g / QUIRE_BLOCK_PAGES] = page.level == 2;
	}
}

static bool reads_right(gfn_t gfn, bool through_window)
{
	uint8_t page[QUIRE_PAGE_SIZE];

	if (through_window)
		memcpy(page, hva(gfn), sizeof(page));
	else if (guest_read(gm, gfn_to_gpa(gfn), page, sizeof(page)))
		return false;
	return is_page(page, content[gfn]);
}

static void write_page(gfn_t gfn, uint32_t c, bool through_window)
{
	uint64_t page[QUIRE_PAGE_SIZE / sizeof(uint64_t)];

	fill_page(page, c);
	if (through_window)
		memcpy(hva(gfn), page, sizeof(page));
	else
		guest_write(gm, gfn_to_gpa(gfn), page, sizeof(page));
	content[gfn] = c;
}

/* ---- operations ---- */

static uint64_t differ, merged, archived;

/* Each page of the run must end as the rules say. */
static bool share(gfn_t gfn, uint64_t nr, enum page_state to, uint32_t first)
{
	struct share_run run = { gfn, nr, to, frame_of(first) };
	struct share_result res = { 0 };
	uint64_t want = 0, other = 0;
	bool fine = true;

	for (uint64_t i = 0; i < nr; i++) {
		bool private = state[gfn + i] == PG_PRIVATE &&
			       !large[(gfn + i) / QUIRE_BLOCK_PAGES];
		bool same = content[gfn + i] == (to == PG_ZERO ? 0 : first + i);

		want += private && same;
		other += private && !same;
		references[first + i] += to == PG_SHARED;
	}
	gmem_lock(gm, GMEM_LOOK);
	if (to == PG_ZERO)
		zero_commit(gm, &run, 1, &res);
	else if (share_commit(gm, &run, &res))
		fine = false;
	gmem_unlock(gm);
	take_back();
	if (res.merged != want || res.differ != other) {
		tap_note("gfn %#lx nr %lu to %s: merged %lu of %lu, differ %lu of %lu", (long)gfn,
			 (long)nr, page_states[to].name, (long)res.merged, (long)want,
			 (long)res.differ, (long)other);
		fine = false;
	}
	merged += res.merged;
	differ += res.differ;
	return fine;
}

/* Contents that follow each other, so that a run of frames matches a run of pages. */
static bool op_fill_run(gfn_t gfn)
{
	uint64_t nr = min_u64(1 + tap_random(&rng) % 40, NR_PAGES - gfn);
	uint32_t first = 1 + (uint32_t)(tap_random(&rng) % (CONTENTS - 50));

	for (uint64_t i = 0; i < nr; i++)
		write_page(gfn + i, first + (uint32_t)i, tap_random(&rng) % 2);
	learn_states();
	return share(gfn, nr, PG_SHARED, first + !(tap_random(&rng) % 10));
}

static bool op_zero_run(gfn_t gfn)
{
	uint64_t nr = min_u64(1 + tap_random(&rng) % 40, NR_PAGES - gfn);

	for (uint64_t i = 0; i < nr; i++)
		if (tap_random(&rng) % 16)
			write_page(gfn + i, 0, tap_random(&rng) % 2);
	learn_states();
	return share(gfn, nr, PG_ZERO, 0);
}

static bool op_drop(gfn_t gfn)
{
	uint64_t nr = min_u64(1 + tap_random(&rng) % 100, NR_PAGES - gfn);
	int err = tap_random(&rng) % 2 ? gmem_drop(gm, gfn, nr, NULL) :
					 gmem_balloon(gm, gfn, nr, NULL);

	if (tap_random(&rng) % 2)
		gmem_unballoon(gm, gfn, min_u64(nr / 2 + 1, nr), NULL);

	for (uint64_t i = 0; i < nr; i++)
		content[gfn + i] = 0;
	take_back();
	return !err || err == -EAGAIN;
}

static bool op_block(gfn_t gfn)
{
	gfn_t block = align_down(gfn, QUIRE_BLOCK_PAGES);
	int err;

	switch (tap_random(&rng) % 3) {
	case 0: err = block_split(gm, block); return !err || err == -ENOENT || err == -EFAULT;
	case 1:
		err = range_bring_in(gm, gfn, min_u64(tap_random(&rng) % 600 + 1, NR_PAGES - gfn));
		take_back();
		return !err;
	default:
		err = block_collapse(gm, block);
		return !err || err == -EBUSY || err == -EEXIST || err == -EFAULT ||
		       err == -EAGAIN || err == -EOPNOTSUPP;
	}
}

/* Shared pages become archived just where the places that are named have their bytes. */
static bool op_archive(gfn_t gfn)
{
	struct archived_place place[ARCHIVED_BATCH];
	uint64_t nr, gone, want = 0;
	struct stage2_page page;

	gmem_lock(gm, GMEM_LOOK);
	nr = stage2_linear_run(gm->s2, gfn, min_u64(gfn + ARCHIVED_BATCH, NR_PAGES), &page);
	for (uint64_t i = 0; i < nr && page.state == PG_SHARED; i++) {
		bool right = tap_random(&rng) % 16;

		place[i] = archive_of((content[gfn + i] + !right) % CONTENTS);
		want |= (uint64_t)right << i;
		references[place[i].frame - STAGE2_STORE_PFN] += right;
	}
	gone = page.state == PG_SHARED ? archived_commit(gm, gfn, nr, place) : 0;
	gmem_unlock(gm);
	take_back();
	archived += (uint64_t)__builtin_popcountll(gone);
	if (gone != want)
		tap_note("gfn %#lx nr %lu: archived %#lx, not %#lx", (long)gfn, (long)nr,
			 (long)gone, (long)want);
	return gone == want;
}

static bool step(void)
{
	gfn_t gfn = tap_random(&rng) % NR_PAGES;

	switch (tap_random(&rng) % 9) {
	case 0:
	case 1: return op_fill_run(gfn);
	case 8: return op_archive(gfn);
	case 2: return op_zero_run(gfn);
	case 3: return tap_random(&rng) % 8 || op_drop(gfn);
	case 4: return tap_random(&rng) % 16 || op_block(gfn);
	case 5:
		write_page(gfn, (uint32_t)(tap_random(&rng) % CONTENTS), tap_random(&rng) % 2);
		take_back();
		return true;
	default: return reads_right(gfn, tap_random(&rng) % 2);
	}
}

static bool all_right(void)
{
	for (gfn_t g = 0; g < NR_PAGES; g++)
		if (!reads_right(g, false)) {
			tap_note("gfn %#lx is wrong", (long)g);
			return false;
		}
	return true;
}

/* ---- tests ---- */

static void test_lockstep(enum gmem_hugepages hugepages)
{
	const char *mode = hugepages == GMEM_HUGE_AUTO ? "auto" : "never";
	unsigned int wrong = 0, audits = 0, i;
	struct gmem_stats s;

	create(hugepages);
	memset(content, 0, sizeof(content));
	merged = differ = archived = 0;
	gm->share.zero_reads = true;
	for (i = 0; i < OPS && !wrong && !audits; i++) {
		wrong += !step();
		if (i % 64 == 0)
			audits += gmem_audit(gm, describe, NULL) + !references_agree() +
				  !mappings_agree();
		if (i % 512 == 0)
			wrong += !all_right();
	}
	is(wrong, 0, "%s: %u random operations do what the model says", mode, i);
	is(audits, 0, "%s: and the audit, and every reference, agree", mode);
	ok(all_right(), "%s: every byte is right at the end", mode);
	gmem_stats(gm, &s);
	ok(archived > 1000 && s.archived_pages == archived && s.unarchived_pages > 100,
	   "%s: %lu pages were archived, and %lu came home", mode, (long)archived,
	   (long)s.unarchived_pages);
	ok(merged > 5000 && differ > 100 && s.unshared_pages > 500 && s.zero_read_pages > 0,
	   "%s: %lu pages left, %lu were different, %lu were broken, %lu were zero when first read",
	   mode, (long)merged, (long)differ, (long)s.unshared_pages, (long)s.zero_read_pages);
	destroy();
}

/* All of it, exactly. */
static void test_exact(void)
{
	struct share_run run = { 512, 100, PG_SHARED, frame_of(7) };
	struct share_result res = { 0 };
	struct gmem_stats s;

	create(GMEM_HUGE_NEVER);
	for (gfn_t g = 0; g < 100; g++)
		write_page(512 + g, 7 + (uint32_t)g, true);
	gmem_drop(gm, 612, 28, NULL);
	is(ramfile_pages(gm->window.ram_fd), 100, "100 pages");
	gmem_lock(gm, GMEM_LOOK);
	share_commit(gm, &run, &res);
	gmem_unlock(gm);
	is(res.merged, 100, "all become shared");
	is(ramfile_pages(gm->window.ram_fd), 0, "and the host has their frames back");
	is(gm->backend->mappings, mappings_of(3), "in three mappings");
	is(gm->share.reserve, 64, "the reserve is filled from what they freed");
	ok(reads_right(555, true), "the guest reads the same bytes");
	gmem_stats(gm, &s);
	is(s.s2.pages[PG_SHARED], 100, "and reading changes nothing");
	hva(530)[5] = 1;
	gmem_stats(gm, &s);
	is(s.s2.pages[PG_SHARED], 99, "a write brings one page home");
	is_hex(hva(530)[5], 1, "with what was written");
	is_hex(hva(530)[4096 - 8], frames[(7 + 18) * 4096 + 4096 - 8], "and what was there");
	is(gm->backend->mappings, mappings_of(5), "it splits the run");
	for (gfn_t g = 531; g < 612; g++)
		hva(g)[0] = 1;
	gmem_stats(gm, &s);
	is(s.s2.pages[PG_SHARED], 18, "a sequential writer brings the rest home");
	ok(s.faults < 102 + 20, "in fewer and fewer events (%lu)", (long)s.faults);
	is(gm->backend->mappings, mappings_of(3), "and what came home joins its neighbours");
	is(gmem_audit(gm, describe, NULL), 0, "audit");
	is(frames[25 * 4096 + 5], (uint8_t)(((uint64_t *)(frames + 25 * 4096))[0] >> 40),
	   "the frame is as it was");
	destroy();
}

/* A zero page that was read is mapped, and its neighbour that was not is not. */
static void test_zero(void)
{
	struct stage2_page page;

	create(GMEM_HUGE_NEVER);
	for (gfn_t g = 512; g < 576; g++)
		write_page(g, 0, true);
	learn_states();
	share(512, 32, PG_ZERO, 0);
	gmem_lookup(gm, 520, &page);
	ok(page.state == PG_ZERO && !page.mapped, "nothing is mapped for zero pages");
	is(kernel_mappings(), mappings_of(1), "so they cost no mapping");
	ok(reads_right(520, true), "a read finds zeroes");
	gmem_lookup(gm, 543, &page);
	ok(page.state == PG_ZERO && page.mapped, "and maps the page of zeroes, around it too");
	share(544, 32, PG_ZERO, 0);
	gmem_lookup(gm, 544, &page);
	ok(page.state == PG_ZERO && !page.mapped, "those that become zero now are not mapped");
	is(kernel_mappings(), mappings_of(3), "the kernel has three mappings");
	is(gm->backend->mappings, mappings_of(3), "and so we count");
	is(gmem_audit(gm, describe, NULL), 0, "audit");
	destroy();
}

/* ---- blocks with zeroes in them, on a host that is short of something ---- */

static const struct backend_ops *real;

/* Memory for the first 400 pages only. */
static int fill_part(struct backend *b, gfn_t gfn)
{
	int err = real->fill_block(b, gfn);

	return err ? err :
	       ramfile_punch(gm->window.ram_fd, gfn_to_gpa(gfn + 400), 112 * QUIRE_PAGE_SIZE) ?
		     -EIO :
		     -ENOMEM;
}

static int no_mapping(struct backend *b, gfn_t gfn)
{
	(void)b, (void)gfn;
	return -ENOMEM;
}

/* A sequential writer meets a block: 300 zero pages that were read, and 212 that are absent. */
static void test_block(const char *name, const struct backend_ops *ops, uint64_t kept)
{
	struct gmem_stats s;

	create(GMEM_HUGE_AUTO);
	gm->share.zero_reads = true;
	is(hva(512)[0], 0, "%s: a block reads as zeroes", name);
	gmem_drop(gm, 812, 212, NULL);
	lock(&gm->lock);
	gm->share.streak = AWAY_BREAK_MOST;
	gm->share.streak_next = 600;
	real = gm->backend->ops;
	gm->backend->ops = ops;
	unlock(&gm->lock);
	hva(600)[0] = 1;
	lock(&gm->lock);
	gm->backend->ops = real;
	unlock(&gm->lock);
	gmem_stats(gm, &s);
	is(s.s2.pages[PG_ZERO], 300 - 64, "%s: only the pages that are written come home", name);
	is(s.s2.pages[PG_PRIVATE], kept + 64, "%s: and those that the guest may have seen", name);
	is(hva(600)[0] + 256 * hva(599)[0] + 256 * hva(1000)[0], 1, "%s: with their bytes", name);
	ok(mappings_agree(), "%s: mappings agree", name);
	is(gmem_audit(gm, describe, NULL), 0, "%s: audit", name);
	destroy();
}

static void test_blocks(void)
{
	struct backend_ops ops;

	create(GMEM_HUGE_AUTO);
	ops = *gm->backend->ops;
	destroy();
	ops.fill_block = fill_part;
	test_block("half a block", &ops, 100);
	ops.fill_block = real->fill_block;
	ops.make_whole = no_mapping;
	test_block("no mapping", &ops, 212);
}

/* ---- races: writers against sharing ---- */

#define RACE_MS 1200 /* times tap_storm() */

static uint32_t counter[WRITERS][NR_PAGES];

/* Each writer owns one 64-bit word of each page, and knows what must be in it. */
static void *writer(void *arg)
{
	uint64_t me = (uintptr_t)arg, seed = writer_seed + me, bad = 0;

	while (storm_step(me)) {
		gfn_t gfn = tap_random(&seed) % 600;
		volatile uint64_t *word = (uint64_t *)hva(gfn) + me;
		uint64_t n = counter[me][gfn];

		bad += look_at(word) != n;
		if (tap_random(&seed) % 4 == 0) {
			n = n ? 0 : 1 + tap_random(&seed) % 2;
			put_into(word, n);
			counter[me][gfn] = (uint32_t)n;
		}
		if (tap_random(&seed) % 64 == 0)
			usleep(100);
	}
	return (void *)bad;
}

/* With `zero`, pages also become zero. */
static void test_race(bool zero)
{
	uint64_t page[QUIRE_PAGE_SIZE / 8], shared = 0;

	create(GMEM_HUGE_AUTO);
	memset(counter, 0, sizeof(counter));
	count_refusals();
	make_race_frames();
	storm_begin(RACE_MS, writer);
	while (storm_goes_on()) {
		gfn_t gfn = tap_random(&rng) % 600;
		struct share_result res = { 0 };
		struct share_run run;

		guest_read(gm, gfn_to_gpa(gfn), page, sizeof(page));
		run = (struct share_run){ gfn, 1 + tap_random(&rng) % 3, PG_SHARED, 0 };
		run.pfn = frame_of(min_u64(frame_for(page), 24));
		if (zero && frame_for(page) == 0 && tap_random(&rng) % 2)
			run.to = PG_ZERO;
		if (tap_random(&rng) % 64 == 0)
			block_collapse(gm, 0);
		block_split(gm, align_down(gfn, QUIRE_BLOCK_PAGES));
		for (uint64_t i = 0; i < run.nr && run.to == PG_SHARED; i++)
			references[run.pfn - STAGE2_STORE_PFN + i]++;
		gmem_lock(gm, GMEM_LOOK);
		if (run.to == PG_ZERO)
			zero_commit(gm, &run, 1, &res);
		else
			share_commit(gm, &run, &res);
		gmem_unlock(gm);
		take_back();
		shared += res.merged;
	}
	is(storm_end(), 0, "no writer ever found a wrong word while %lu pages were shared under it",
	   (long)shared);
	ok(shared > 100, "and many were");
	is(atomic_load(&refused), 0, "no access failed while pages were shared");
	ok(references_agree(), "no reference is lost");
	is(gmem_audit(gm, describe, NULL), 0, "audit");
	destroy();
}

/* The file system allocates huge pages by itself, and so does a memfd on some hosts. */
static void test_lockstep_on_huge(void)
{
	ram_file = tmpfs_file("always", 0, NR_BLOCKS * QUIRE_BLOCK_SIZE);
	if (ram_file < 0) {
		tap_skip("no privilege to mount a tmpfs of its own");
		ram_file = 0;
		return;
	}
	test_lockstep(GMEM_HUGE_AUTO);
	close(ram_file);
	ram_file = 0;
}

static void test_all(bool on_shadow)
{
	guest_on_shadow = on_shadow;
	fill_frames();
	test_exact();
	test_zero();
	test_blocks();
	test_lockstep(GMEM_HUGE_NEVER);
	test_lockstep(GMEM_HUGE_AUTO);
	test_lockstep_on_huge();
	test_race(false);
	test_race(true);
}

int main(int argc, char **argv)
{
	tap_init();
	rng = tap_seed(argc, argv);
	make_segment();
	test_all(false);
	test_all(true);
	return tap_done();
}
