/* SPDX-License-Identifier: MIT */
/*
 * disk: a virtio disk, page by page.  Page n has the content of (SEED, n).
 *
 *	disk fill SEED [pages=N] [from=N] [safe=N]
 *
 * writes N pages (all that there are) from page `from` (0) on, and flushes at the end; with safe=N
 * also after each N pages, and then says how many are safe.
 *
 *	disk check SEED [pages=N] [from=N]
 *
 * reads and verifies them.
 *
 *	disk reset SEED [pages=N] [from=N]
 *
 * fills them and resets the machine.  When it finds the first of them filled, because it was
 * started again, it verifies them instead.
 *
 *	disk storm SEED ROUNDS [pages=N]
 *
 * fills N pages (256), and then writes, reads, zeroes, discards and flushes at random, some
 * requests at a time, and verifies everything all the time and in the end.
 *
 *	disk fail SECTOR
 *
 * writes and reads a page there, and says how many of the two failed.
 *
 *	disk wild ADDRESS
 *
 * reads a page to that gpa.  If it is not RAM the device stops, and so does the guest.
 *
 * features=MASK restricts the features to negotiate.
 */
#include "blk.h"
#include "memory.h"
#include "paging.h"
#include "workload.h"

#define BATCH 16u /* pages on their way */
#define ALL_FEATURES \
	(BLK_F_RO | BLK_F_FLUSH | BLK_F_DISCARD | BLK_F_WRITE_ZEROES | VIRTIO_F_INDIRECT_DESC | \
	 VIRTIO_F_EVENT_IDX)
#define STORM_PAGES_MAX 4096u

/* The keyboard controller of a PC pulls the processor's reset line. */
#define KEYBOARD_COMMAND 0x64
#define KEYBOARD_RESET	 0xfe

static struct blk blk;
static uint64_t *page[BATCH];
static uint32_t version[STORM_PAGES_MAX]; /* what a page has; 0: zeroes */

static bool start(struct args *a)
{
	for (unsigned int i = 0; i < BATCH; i++)
		page[i] = direct(alloc_pages(0));
	if (blk_start(&blk, ALL_FEATURES & args_key(a, "features", UINT64_MAX)))
		return true;
	print("disk: no virtio device that is a disk\n");
	return false;
}

static void ask(uint32_t type, uint64_t n, unsigned int i)
{
	blk_ask(&blk, type, n * PAGE_SECTORS, direct_gpa(page[i]), PAGE_SIZE);
}

static bool flush(void)
{
	blk_ask(&blk, BLK_FLUSH, 0, 0, 0);
	return !blk_wait(&blk);
}

static int failed(const char *what, uint64_t n)
{
	print("disk: %s failed at page %lu\n", what, n);
	return STATUS_WRONG;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* ---- fill and check ---- */

static void done(const char *what, uint64_t pages, uint64_t begin)
{
	uint64_t us = clock_ns(rdtsc() - begin) / 1000;

	print("disk: %s pages=%lu us=%lu\n", what, pages, us);
}

static int fill(uint64_t seed, uint64_t from, uint64_t pages, uint64_t safe)
{
	uint64_t begin = rdtsc(), told = 0;

	for (uint64_t n = 0; n < pages; n += BATCH) {
		uint64_t nr = least(BATCH, pages - n);

		for (unsigned int i = 0; i < nr; i++) {
			content_write(page[i], seed, from + n + i);
			ask(BLK_OUT, from + n + i, i);
		}
		if (blk_wait(&blk))
			return failed("a write", from + n);
		if (!safe || n + nr - told < safe)
			continue;
		if (!flush())
			return failed("a flush", from + n);
		told = n + nr;
		print("disk: safe=%lu\n", told);
		console_flush();
	}
	if (blk.dev.features & BLK_F_FLUSH && !flush())
		return failed("a flush", from + pages);
	done("filled", pages, begin);
	return STATUS_OK;
}

static int check(uint64_t seed, uint64_t from, uint64_t pages)
{
	uint64_t begin = rdtsc();

	for (uint64_t n = 0; n < pages; n += BATCH) {
		uint64_t nr = least(BATCH, pages - n);

		for (unsigned int i = 0; i < nr; i++)
			ask(BLK_IN, from + n + i, i);
		if (blk_wait(&blk))
			return failed("a read", from + n);
		for (unsigned int i = 0; i < nr; i++)
			if (!content_check("disk", page[i], seed, from + n + i))
				return STATUS_WRONG;
	}
	done("checked", pages, begin);
	return STATUS_OK;
}

/* ---- reset ---- */

static int reset(uint64_t seed, uint64_t from, uint64_t pages)
{
	int status;

	ask(BLK_IN, from, 0);
	if (blk_wait(&blk))
		return failed("a read", from);
	content_write(page[1], seed, from);
	if (!memcmp(page[0], page[1], PAGE_SIZE))
		return check(seed, from, pages);
	status = fill(seed, from, pages, 0);
	if (status != STATUS_OK)
		return status;
	console_flush();
	outb(KEYBOARD_COMMAND, KEYBOARD_RESET);
	print("disk: the machine does not reset\n");
	return STATUS_WRONG;
}

/* ---- storm ---- */

static bool holds(uint64_t *data, uint64_t seed, uint64_t n)
{
	return content_check("disk", data, seed,
			     version[n] ? n + (uint64_t)version[n] * STORM_PAGES_MAX :
					  CONTENT_ZERO);
}

/* Some requests to pages that are all different: a run of them from a random one on. */
static bool storm_round(uint64_t seed, uint64_t *random, uint64_t pages)
{
	uint64_t nr = 1 + random_below(random, BATCH), first = random_below(random, pages - nr);
	bool reads[BATCH];

	for (unsigned int i = 0; i < nr; i++) {
		uint64_t n = first + i, dice = random_below(random, 8);

		reads[i] = dice < 3;
		if (dice < 3) {
			ask(BLK_IN, n, i);
		} else if (dice < 6) {
			version[n]++;
			content_write(page[i], seed, n + (uint64_t)version[n] * STORM_PAGES_MAX);
			ask(BLK_OUT, n, i);
		} else {
			version[n] = 0;
			blk_ask_range(&blk, dice == 6 ? BLK_ZEROES : BLK_DISCARD, n * PAGE_SECTORS,
				      PAGE_SECTORS, dice == 6 && random_below(random, 2));
		}
	}
	if (blk_wait(&blk))
		return false;
	for (unsigned int i = 0; i < nr; i++)
		if (reads[i] && !holds(page[i], seed, first + i))
			return false;
	return random_below(random, 8) || flush();
}

static int storm(uint64_t seed, uint64_t rounds, uint64_t pages)
{
	uint64_t random = seed, begin = rdtsc();

	for (uint64_t n = 0; n < pages; n++) {
		version[n] = 1;
		content_write(page[0], seed, n + STORM_PAGES_MAX);
		ask(BLK_OUT, n, 0);
		if (blk_wait(&blk))
			return failed("a write", n);
	}
	for (uint64_t i = 0; i < rounds; i++)
		if (!storm_round(seed, &random, pages))
			return failed("the storm", i);
	for (uint64_t n = 0; n < pages; n++) {
		ask(BLK_IN, n, 0);
		if (blk_wait(&blk) || !holds(page[0], seed, n))
			return failed("the last look", n);
	}
	done("stormed", pages, begin);
	return STATUS_OK;
}

/* ---- what a disk refuses ---- */

static int fail(uint64_t sector)
{
	uint64_t writes, reads;

	blk_ask(&blk, BLK_OUT, sector, direct_gpa(page[0]), PAGE_SIZE);
	writes = blk_wait(&blk);
	blk_ask(&blk, BLK_IN, sector, direct_gpa(page[0]), PAGE_SIZE);
	reads = blk_wait(&blk);
	print("disk: failed writes=%lu reads=%lu\n", writes, reads);
	return STATUS_OK;
}

static int wild(uint64_t gpa)
{
	blk_ask(&blk, BLK_IN, 0, gpa, PAGE_SIZE);
	return blk_wait(&blk) ? failed("a read", 0) : STATUS_OK;
}

int disk_run(struct args *a)
{
	const char *what = args_word(a);
	uint64_t seed = args_number(a), more = 0, from, pages, safe;
	bool is_storm = what && !strcmp(what, "storm"), is_check = what && !strcmp(what, "check");
	bool is_fill = what && !strcmp(what, "fill"), is_fail = what && !strcmp(what, "fail");
	bool is_reset = what && !strcmp(what, "reset"), is_wild = what && !strcmp(what, "wild");

	if (!is_storm && !is_check && !is_fill && !is_fail && !is_reset && !is_wild)
		a->bad = true;
	if (is_storm)
		more = args_number(a);
	from = args_key(a, "from", 0);
	pages = args_key(a, "pages", is_storm ? 256 : UINT64_MAX);
	safe = args_key(a, "safe", 0);
	args_key(a, "features", 0);
	if (!args_done(a))
		return STATUS_USAGE;
	if (!start(a))
		return STATUS_NO_DEVICE;
	pages = least(pages, blk.sectors / PAGE_SECTORS - least(from, blk.sectors / PAGE_SECTORS));
	if (is_storm && (pages <= BATCH || pages > STORM_PAGES_MAX))
		return no_room(BATCH);
	if (is_fail)
		return fail(seed);
	if (is_wild)
		return wild(seed);
	return is_storm ? storm(seed, more, pages) :
	       is_check ? check(seed, from, pages) :
	       is_reset ? reset(seed, from, pages) :
			  fill(seed, from, pages, safe);
}
