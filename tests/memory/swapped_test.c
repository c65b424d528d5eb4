/* SPDX-License-Identifier: MIT */
/*
 * Swapped pages: exactly, with a disk that fails, and in a storm against threads that write in the
 * window.
 *
 * The storm's model: each writer owns a word of each page, and nobody else writes it.  So it finds
 * what it wrote last, whatever becomes of the page.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>
#include "pages.h"
#include "storm.h"

#define SPAN ((uint64_t)NR_BLOCKS * QUIRE_BLOCK_PAGES)

static struct gmem_stats stats(void)
{
	struct gmem_stats s;

	gmem_stats(gm, &s);
	return s;
}

static uint64_t pages_in(enum page_state state)
{
	return stats().s2.pages[state];
}

/* ---- the file ---- */

static int file;
static atomic_long quota; /* pages at hand */
static atomic_int failure;

static bool take_quota(void *ctx, uint64_t pages)
{
	(void)ctx;
	if (atomic_fetch_sub(&quota, (long)pages) >= (long)pages)
		return true;
	atomic_fetch_add(&quota, (long)pages);
	return false;
}

static void put_quota(void *ctx, uint64_t pages)
{
	(void)ctx;
	atomic_fetch_add(&quota, (long)pages);
}

static const struct swap_quota hooks = { .take = take_quota, .put = put_quota };

static void on_failure(void *ctx, gpa_t gpa, int err)
{
	(void)ctx, (void)gpa;
	atomic_store(&failure, err);
}

static atomic_uint peeks;

static void on_peek(void *ctx)
{
	(void)ctx;
	atomic_fetch_add(&peeks, 1);
}

/* Guest memory with a swap file whose disk has these faults. */
static void create_on(uint32_t unit, enum gmem_hugepages hugepages, const char *faults)
{
	char name[] = "/var/tmp/quire-swapped-test.XXXXXX";
	struct gmem_swap swap = { .unit = unit, .quota = &hooks };

	file = mkostemp(name, O_DIRECT);
	if (file < 0) /* a file system without direct input and output */
		file = mkstemp(name);
	if (file < 0 || unlink(name) || ftruncate(file, (off_t)SWAP_FILE_BYTES(SPAN)) ||
	    swap_faults_parse(faults, &swap.faults, NULL))
		tap_bail("no swap file");
	swap.fd = file;
	atomic_store(&failure, 0);
	create_with((struct gmem_config){ .hugepages = hugepages,
					  .credits = &counted_credits,
					  .swap = &swap,
					  .on_host_failure = on_failure,
					  .on_peek = on_peek });
	atomic_store(&taken, 0);
	atomic_store(&peeks, 0);
}

static void create_plain(void)
{
	atomic_store(&quota, LONG_MAX / 2);
	create_on(512, GMEM_HUGE_NEVER, "");
}

static void finish(void)
{
	long before = atomic_load(&quota), held = (long)stats().swap.file_pages;

	destroy();
	close(file);
	is(atomic_load(&quota) - before, held, "all quota was put back%s", guest_kind());
}

static int out_err;

static struct gmem_swapped swap_out(gfn_t gfn, uint64_t nr)
{
	struct gmem_swapped out = { 0 };

	out_err = gmem_swap_out(gm, gfn, nr, GMEM_NR_WATCHERS, &out);
	return out;
}

/* ---- exactly ---- */

static void test_exact(void)
{
	uint64_t before;
	struct gmem_swapped out;

	create_plain();
	fill(512, 256, fill_text);
	before = ramfile_pages(gm->window.ram_fd);
	out = swap_out(512, 256);
	is(out.swapped, 256, "256 pages are swapped out%s", guest_kind());
	is(out.kept + out.clean + out.touched, 0, "... all of them are written");
	is(out_err, 0, "... without an error");
	is(pages_in(PG_SWAPPED), 256, "... that is their state");
	is(stats().swap.needed_pages, 256, "... and the area has them");
	ok(stats().swap.copy_bytes < 256 * QUIRE_PAGE_SIZE / 3, "... in less than a third (%lu)",
	   (long)stats().swap.copy_bytes);
	is(ramfile_pages(gm->window.ram_fd), before - 256, "the RAM file has none of them");
	is_sound("then");
	is(wrong(512, 256, fill_text, false), 0, "the VMM reads what was written");
	is(pages_in(PG_SWAPPED), 256, "... and they stay swapped");
	is(wrong(512, 256, fill_text, true), 0, "the guest reads what was written");
	is(pages_in(PG_SWAPPED), 0, "... and they are home");
	is(stats().swapped_in_pages, 256, "... which is counted");
	ok(stats().swap_ahead_pages > 200, "... most came ahead of the guest (%lu)",
	   (long)stats().swap_ahead_pages);
	is(stats().swap.spare_pages, 256, "... and have spares");
	is(ramfile_pages(gm->window.ram_fd), before, "the RAM file is as before");
	is(stats().unshared_pages, 0, "no page was un-shared");
	is_sound("in the end");
	finish();
}

/* A page that has not changed is not written again. */
static void test_clean(void)
{
	struct gmem_swapped out;

	create_plain();
	fill(0, 64, fill_text);
	swap_out(0, 64);
	is(wrong(0, 64, fill_text, true), 0, "pages come home%s", guest_kind());
	hva(9)[77] ^= 1;
	out = swap_out(0, 64);
	is(out.swapped, 64, "and leave again");
	is(out.clean, 63, "... only the one that changed is written");
	is(stats().swap.spare_pages, 0, "... no spare is left");
	is_sound("then");
	hva(9)[77] ^= 1;
	is(wrong(0, 64, fill_text, true), 0, "all have their bytes");
	is(gmem_drop(gm, 0, 64, NULL), 0, "the guest gives them up");
	fill(0, 64, fill_random);
	out = swap_out(0, 64);
	is(out.clean, 0, "... other bytes are written");
	is(wrong(0, 64, fill_random, true), 0, "... and come home");
	is_sound("in the end");
	finish();
}

/* What is not private, or is in the pool. */
static void test_kinds(void)
{
	struct gmem_packed packed = { 0 };
	struct gmem_swapped out;

	create_plain();
	fill(0, 100, fill_text);
	for (gfn_t g = 100; g < 110; g++)
		memset(hva(g), (int)g, QUIRE_PAGE_SIZE);
	gmem_hold(gm, gfn_to_gpa(50), 2 * QUIRE_PAGE_SIZE);
	gmem_drop(gm, 112, NR_PAGES - 112, NULL);
	gmem_compress(gm, 0, 40, GMEM_NR_WATCHERS, &packed);
	gmem_compress(gm, 100, 10, GMEM_NR_WATCHERS, &packed);
	is(packed.compressed, 50, "some pages are compressed%s", guest_kind());
	out = swap_out(0, 512);
	is(out.swapped, 100, "compressed and private ones are swapped out");
	is(out.kept, 2, "... held ones stay");
	is(pages_in(PG_COMPRESSED), 10, "... and what takes no memory in the pool");
	is(stats().pool.pool_pages, 0, "... of which nothing is left");
	is_sound("after all kinds");
	is(wrong(0, 100, fill_text, false), 0, "all have their bytes");
	is(gmem_balloon(gm, 0, 20, NULL) ?: gmem_drop(gm, 20, 20, NULL), 0,
	   "swapped pages can be given up");
	is(stats().swap.needed_pages, 60, "... and leave the area");
	gmem_release(gm, gfn_to_gpa(50), 2 * QUIRE_PAGE_SIZE);
	is(wrong(40, 60, fill_text, true), 0, "the others come home");
	is(gmem_swap_out(gm, NR_PAGES - 1, 2, GMEM_NR_WATCHERS, &out), -EFAULT,
	   "what is not RAM is not swapped out");
	is_sound("in the end");
	finish();
}

/* The VMM writes swapped pages and holds them, and a leaf is split to be swapped out. */
static void test_access(void)
{
	uint64_t word = 99;

	atomic_store(&quota, LONG_MAX / 2);
	create_on(4096, GMEM_HUGE_AUTO, "");
	fill(0, 1024, fill_text);
	is(swap_out(512, 512).swapped, 512, "a 2 MiB leaf is swapped out%s", guest_kind());
	is(stats().s2.large_leaves, 1, "... and the other stays whole");
	guest_write(gm, gfn_to_gpa(600) + 64, &word, sizeof(word));
	is(pages_in(PG_SWAPPED), 511, "a page that the VMM writes comes home");
	is(*(uint64_t *)(hva(600) + 64), 99, "... with what was written");
	is(((uint64_t *)hva(600))[9], 600, "... and what was in it");
	is(gmem_hold(gm, gfn_to_gpa(700), 3 * QUIRE_PAGE_SIZE), 0, "swapped pages can be held");
	is(swap_out(700, 3).kept, 3, "... and stay then");
	gmem_release(gm, gfn_to_gpa(700), 3 * QUIRE_PAGE_SIZE);
	is(wrong(700, 3, fill_text, true), 0, "... with their bytes");
	is_sound("in the end");
	finish();
}

static void test_idle(void)
{
	struct gmem_swapped out = { 0 };

	create_plain();
	fill(0, 256, fill_text);
	gmem_forget_touches(gm, GMEM_BY_HAND, 0, 256);
	look_at((uint64_t *)hva(64));
	gmem_swap_out(gm, 0, 256, GMEM_BY_HAND, &out);
	ok(out.touched >= 1 && out.touched <= 16, "what is touched is not idle (%lu pages)%s",
	   (long)out.touched, guest_kind());
	is(out.swapped + out.touched, 256, "... all others are swapped out");
	is(wrong(0, 256, fill_text, true), 0, "all pages have their bytes");
	finish();
}

/* All of RAM leaves and comes home, and there is not one credit to spare. */
static void test_tight(void)
{
	uint64_t bad = 0;

	create_plain();
	fill(0, NR_PAGES, fill_text);
	is(swap_out(0, NR_PAGES).swapped, NR_PAGES, "all of RAM is swapped out%s", guest_kind());
	is(atomic_load(&taken), (long)gm->share.reserve, "... and all credits are free");
	atomic_store(&most_taken, 200);
	for (gfn_t g = 0; g < NR_PAGES; g++) {
		gfn_t at = g * 5 % NR_PAGES;

		if (pages_in(PG_PRIVATE) > 190)
			swap_out(0, NR_PAGES);
		bad += wrong(at, 1, fill_text, true);
	}
	is(bad, 0, "with a tenth of the memory the guest finds all its bytes");
	ok(stats().swap_clean_pages > NR_PAGES / 2, "... most of it is not written again (%lu)",
	   (long)stats().swap_clean_pages);
	is_sound("then");
	atomic_store(&most_taken, LONG_MAX);
	finish();
}

/* ---- a disk that fails ---- */

static void test_full(void)
{
	struct gmem_swapped out;

	atomic_store(&quota, SPACE_CHUNK_PAGES);
	create_on(4096, GMEM_HUGE_NEVER, "");
	fill(0, 512, fill_random);
	out = swap_out(0, 512);
	is(out_err, -ENOSPC, "without quota the area is full%s", guest_kind());
	is(out.swapped, SPACE_CHUNK_PAGES, "... when it is used up");
	is_sound("when it is full");
	is(wrong(0, 512, fill_random, true), 0, "all pages have their bytes");
	finish();

	atomic_store(&quota, LONG_MAX / 2);
	create_on(512, GMEM_HUGE_NEVER, "full=4");
	fill(0, 512, fill_text);
	out = swap_out(0, 512);
	is(out_err, -ENOSPC, "a full disk%s", guest_kind());
	ok(out.kept >= 16 && out.swapped >= 16, "... keeps pages (%lu, %lu left)", (long)out.kept,
	   (long)out.swapped);
	is_sound("when the disk is full");
	is(wrong(0, 512, fill_text, true), 0, "all pages have their bytes");
	finish();
}

static void test_write_error(void)
{
	struct gmem_swapped out;

	atomic_store(&quota, LONG_MAX / 2);
	create_on(512, GMEM_HUGE_NEVER, "write-error=2");
	fill(0, 128, fill_text);
	out = swap_out(0, 128);
	is(out_err, -EIO, "a write fails%s", guest_kind());
	is(out.swapped, 32, "... one batch had left");
	is(out.kept, 32, "... and the other stays");
	is(stats().swap_write_errors, 32, "... which is counted");
	is(stats().swap.needed_pages, 32, "... and takes no space");
	is_sound("after that");
	is(wrong(0, 128, fill_text, true), 0, "all pages have their bytes");
	is(atomic_load(&failure), 0, "nobody has to end");
	finish();
}

static void test_short_and_stalled(void)
{
	atomic_store(&quota, LONG_MAX / 2);
	create_on(512, GMEM_HUGE_NEVER, "write-short=2,read-short=3,stall=40");
	fill(0, 200, fill_text);
	is(swap_out(0, 200).swapped, 200, "a disk that does things in parts and stalls%s",
	   guest_kind());
	is(wrong(0, 200, fill_text, true), 0, "... gives all pages back");
	is_sound("after that");
	finish();
}

/* What cannot be read once is read again; what never can ends the VM, and nobody sees it. */
static void test_read_error(const char *faults, int err)
{
	char all[20];
	uint8_t byte = 0;

	atomic_store(&quota, LONG_MAX / 2);
	snprintf(all, sizeof(all), "%s=2", faults);
	create_on(512, GMEM_HUGE_NEVER, all);
	fill(0, 32, fill_text);
	swap_out(0, 32);
	is(wrong(0, 32, fill_text, true), 0, "every second %s is no harm%s", faults, guest_kind());
	is(atomic_load(&failure), 0, "... nobody has to end");
	is_sound("after that");
	finish();

	snprintf(all, sizeof(all), "%s=1", faults);
	create_on(512, GMEM_HUGE_NEVER, all);
	fill(0, 32, fill_text);
	swap_out(0, 32);
	is(guest_read(gm, gfn_to_gpa(3), &byte, 1), err, "%s: the page is not read", faults);
	is(atomic_load(&failure), err, "... and the VM has to end");
	is(guest_write(gm, gfn_to_gpa(7), &byte, 1), err, "... it is not written");
	is(stats().swap_read_errors, 2, "... which is counted");
	is(pages_in(PG_SWAPPED), 32, "... and stays swapped");
	is(gmem_drop(gm, 0, 8, NULL), 0, "such pages can be given up");
	is_sound("in the end");
	finish();
}

/* ---- looking without waiting ---- */

/* Peek until there is something, as a main loop does that is told when. */
static ssize_t peek(gpa_t gpa, void *buf, size_t len)
{
	ssize_t bytes;

	for (;;) {
		unsigned int before = atomic_load(&peeks);

		bytes = guest_peek(gm, gpa, buf, len, 0);
		if (bytes != -EINPROGRESS)
			return bytes;
		for (unsigned int i = 0; i < 10000 && atomic_load(&peeks) == before; i++)
			usleep(1000);
		if (atomic_load(&peeks) == before)
			return -EINPROGRESS;
	}
}

static void test_peek(void)
{
	const size_t len = 40 * QUIRE_PAGE_SIZE;
	uint8_t *got = malloc(len), *want = malloc(len);
	size_t done = 0;
	ssize_t bytes = 1;

	create_plain();
	fill(0, 64, fill_text);
	guest_read(gm, 777, want, len);
	is(guest_peek(gm, 777, got, len, 0), (long)len, "a look at what is here%s", guest_kind());
	swap_out(0, 64);
	is(guest_peek(gm, 777, got, 100, 0), -EINPROGRESS, "... does not wait for what is swapped");
	for (; done < len && bytes > 0; done += (size_t)bytes)
		bytes = peek(777 + done, got + done, len - done);
	ok(done == len && !memcmp(got, want, len), "... and is told when to come again");
	is(pages_in(PG_SWAPPED), 64, "... pages stay swapped");
	is(guest_peek(gm, gfn_to_gpa(63), got, 8, UINT64_MAX), 8, "a look may wait");
	is(guest_peek(gm, gfn_to_gpa(NR_PAGES), got, 8, UINT64_MAX), -EFAULT,
	   "what is not RAM cannot be looked at");
	is(guest_peek(gm, 0, got, 0, 0), 0, "nothing is always there");
	is_sound("after that");
	finish();
	free(got);
	free(want);
}

/* What cannot be read is an answer, and a disk that does not answer holds nobody up. */
static void test_peek_in_vain(void)
{
	unsigned int waiting = 0;
	uint8_t byte;

	atomic_store(&quota, LONG_MAX / 2);
	create_on(512, GMEM_HUGE_NEVER, "corrupt=1");
	fill(0, 4, fill_text);
	swap_out(0, 4);
	is(peek(0, &byte, 1), -EBADMSG, "a look at what cannot be read back%s", guest_kind());
	is(atomic_load(&failure), 0, "... is nobody's end");
	finish();

	create_on(512, GMEM_HUGE_NEVER, "dead=1");
	fill(0, 32, fill_text);
	swap_out(0, 32);
	for (gfn_t g = 0; g < 32; g++)
		waiting += guest_peek(gm, gfn_to_gpa(g), &byte, 1, 0) == -EINPROGRESS;
	is(waiting, 32, "a dead disk%s: each look is told to come again", guest_kind());
	is(guest_peek(gm, 0, &byte, 1, monotonic_ns() + NS_PER_S / 50), -EINPROGRESS,
	   "... also for who waits a while");
	is(atomic_load(&peeks), 0, "... nothing is read");
	is_sound("meanwhile");
	finish();
}

/* ---- the storm ---- */

#define STORM_MS 1500 /* times tap_storm() */

/* Reads and writes a word of its own, as a device does; and another thread that swaps out. */
static void *device(void *arg)
{
	static uint64_t mine[NR_PAGES];
	uint64_t seed = writer_seed + 99, bad = 0, is_now;

	(void)arg;
	memset(mine, 0, sizeof(mine));
	while (!storm_is_over()) {
		gfn_t gfn = tap_random(&seed) % NR_PAGES;
		gpa_t at = gfn_to_gpa(gfn) + 8 * 8 * WRITERS;

		bad += guest_read(gm, at, &is_now, sizeof(is_now)) || is_now != mine[gfn];
		bad += guest_peek(gm, at, &is_now, sizeof(is_now), 0) > 0 && is_now != mine[gfn];
		if (tap_random(&seed) % 2) {
			mine[gfn] = tap_random(&seed) % 3;
			bad += guest_write(gm, at, &mine[gfn], sizeof(mine[gfn])) != 0;
		}
		if (tap_random(&seed) % 16 == 0) {
			struct gmem_swapped out = { 0 };

			gmem_swap_out(gm, gfn, min_u64(20, NR_PAGES - gfn), GMEM_NR_WATCHERS, &out);
		}
	}
	return (void *)bad;
}

static void disturb(uint64_t *gone)
{
	gfn_t gfn = tap_random(&rng) % NR_PAGES;
	uint64_t nr = 1 + tap_random(&rng) % (tap_random(&rng) % 8 ? 40 : 700);
	struct gmem_packed packed = { 0 };

	nr = min_u64(nr, NR_PAGES - gfn);
	switch (tap_random(&rng) % 8) {
	case 0: zero_some(gm, gfn, nr); break;
	case 1: range_bring_in(gm, gfn, nr); break;
	case 2: block_collapse(gm, align_down(gfn, QUIRE_BLOCK_PAGES)); break;
	case 3:
	case 4: gmem_compress(gm, gfn, nr, GMEM_NR_WATCHERS, &packed); break;
	default: *gone += swap_out(gfn, nr).swapped;
	}
}

static void test_storm(enum gmem_hugepages hugepages, const char *faults, long pages)
{
	uint64_t audits = 0, gone = 0;

	atomic_store(&quota, pages);
	create_on(512, hugepages, faults);
	count_refusals();
	storm_begin(STORM_MS, storm_words);
	storm_join(device);
	while (storm_goes_on() && !audits) {
		disturb(&gone);
		if (storm_rounds() % 64 == 0)
			audits += gmem_audit(gm, describe, NULL);
	}
	is(storm_end(), 0, "%s: no wrong word in %u rounds%s", faults, storm_rounds(),
	   guest_kind());
	ok(gone > 500, "%lu pages left, %lu came home, %lu were clean", (long)gone,
	   (long)stats().swapped_in_pages, (long)stats().swap_clean_pages);
	audits += gmem_audit(gm, describe, NULL);
	is(audits, 0, "the audits agree");
	is(atomic_load(&failure), 0, "no page was lost");
	finish();
	is(end_refusals(), 0, "no access failed");
}

int main(int argc, char **argv)
{
	tap_init();
	rng = tap_seed(argc, argv);
	make_segment();
	for (unsigned int i = 0; i < 2; i++) {
		guest_on_shadow = i;
		test_exact();
		test_clean();
		test_kinds();
		test_access();
		test_idle();
		test_tight();
		test_full();
		test_write_error();
		test_short_and_stalled();
		test_read_error("read-error", -EIO);
		test_read_error("corrupt", -EBADMSG);
		test_peek();
		test_peek_in_vain();
		test_storm(GMEM_HUGE_NEVER, "", LONG_MAX / 2);
		test_storm(GMEM_HUGE_AUTO, "read-short=3,write-short=5,write-error=50,corrupt=20",
			   2 * SPACE_CHUNK_PAGES);
	}
	return tap_done();
}
