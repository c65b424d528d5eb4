/* SPDX-License-Identifier: MIT */
/*
 * Guest memory without a guest: threads touch the window as vCPUs would.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "blocks.h"
#include "guest.h"
#include "mmu/memory/ramfile.h"
#include "tests/tap.h"

#define NR_BLOCKS 12
#define NR_PAGES  (NR_BLOCKS * QUIRE_BLOCK_PAGES - 100) /* the last block is not whole */
#define THREADS	  4
#define STORM	  300
#define HEELS	  400

#ifdef __SANITIZE_THREAD__ /* which looks at each word of a page */
#define ROUNDS 5000
#else
#define ROUNDS 30000
#endif

static struct gmem *gm;

static void describe(void *ctx, const char *what)
{
	(void)ctx;
	tap_note("audit: %s", what);
}

static void create_with(enum gmem_hugepages hugepages, const struct gmem_credits *credits)
{
	static const struct gfn_range ram[] = { { 0, NR_PAGES } };
	struct gmem_config config = {
		.ram = ram, .nr_ram = 1, .hugepages = hugepages, .credits = credits
	};
	struct quire_error err;

	if (guest_create(&config, &gm, &err)) {
		if (geteuid() != 0)
			tap_skip_all("%s", err.text);
		tap_bail("%s", err.text);
	}
}

static void create(enum gmem_hugepages hugepages)
{
	create_with(hugepages, NULL);
}

static void destroy(const char *what)
{
	is(gmem_audit(gm, describe, NULL), 0, "audit is clean after %s%s", what, guest_kind());
	guest_destroy(gm);
}

static uint8_t *hva(gfn_t gfn)
{
	return guest_hva(gm, gfn_to_gpa(gfn));
}

static uint64_t private_pages(void)
{
	struct gmem_stats s;

	gmem_stats(gm, &s);
	return s.s2.pages[PG_PRIVATE];
}

/* --- one thread, exact ------------------------------------------------------------------- */

static void test_touch(enum gmem_hugepages hugepages)
{
	bool huge = hugepages == GMEM_HUGE_AUTO;
	const char *mode = huge ? "auto" : "never";
	uint64_t group = huge ? 512 : 16;
	struct gmem_stats s;

	create(hugepages);
	is(private_pages(), 0, "%s: nothing is there at first", mode);
	is_hex(*(volatile uint8_t *)hva(700), 0, "%s: a first read gives zero", mode);
	is(private_pages(), group, "%s: and brings %lu pages in", mode, (long)group);
	*(volatile uint8_t *)hva(701) = 7;
	is(private_pages(), group, "%s: its neighbour is there already", mode);
	*(volatile uint8_t *)hva(NR_PAGES - 1) = 9;
	is(private_pages(), group + (NR_PAGES % 16 ? NR_PAGES % 16 : 16),
	   "%s: in the last, incomplete block pages come singly", mode);
	gmem_stats(gm, &s);
	is(s.s2.large_leaves, huge, "%s: %d large leaf", mode, huge);
	tap_note("%s: %lu blocks are not huge pages of the host", mode, (long)s.huge_fallbacks);
	is(s.faults, 2, "%s: two events for it all", mode);
	destroy("touching");
}

static void test_accessors(void)
{
	uint8_t buf[3 * QUIRE_PAGE_SIZE], back[sizeof(buf)], zero[sizeof(buf)] = { 0 };
	gpa_t gpa = 700 * QUIRE_PAGE_SIZE + 1000, end = NR_PAGES * QUIRE_PAGE_SIZE;

	create(GMEM_HUGE_NEVER);
	memset(buf, 0x5a, sizeof(buf));
	memset(back, 1, sizeof(back));
	is_hex(guest_read(gm, gpa, back, sizeof(back)), 0, "absent memory can be read");
	ok(!memcmp(back, zero, sizeof(back)), "as zeroes");
	is(private_pages(), 0, "and stays absent");
	is_hex(guest_write(gm, gpa, buf, sizeof(buf)), 0, "a write brings pages in");
	ok(!memcmp(hva(0) + gpa, buf, sizeof(buf)), "and the guest sees it");
	hva(0)[gpa + 5] = 0x11;
	guest_read(gm, gpa, back, sizeof(back));
	is_hex(back[5], 0x11, "and we see what the guest writes");
	is(guest_read(gm, end - 10, back, 11), -EFAULT, "reads past RAM are refused");
	is(guest_write(gm, UINT64_MAX - 3, buf, 8), -EFAULT, "so are wrapping writes");
	is(guest_write(gm, end - 10, buf, 10), 0, "the last byte of RAM can be written");
	is(guest_read(gm, end - 1, back, 0), 0, "nothing can be read");
	is(gmem_hold(gm, gpa, 0), -EFAULT, "but nothing cannot be held");
	is_hex(gmem_hold(gm, gpa, 9000), 0, "a buffer can be held");
	is(gmem_drop(gm, 700, 1, NULL), -EAGAIN, "no page of it leaves while it is");
	gmem_release(gm, gpa, 9000);
	is(gmem_drop(gm, 700, 1, NULL), 0, "and may leave after");
	destroy("the accessors");
}

#define EXCHANGES 20000u

/* A guest that adds 1 to a word. */
static void *add_ones(void *word)
{
	for (unsigned int i = 0; i < EXCHANGES; i++)
		__atomic_fetch_add((uint64_t *)word, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

/* ... while we add 1 to it and to its neighbour. */
static void test_exchange(void)
{
	gpa_t gpa = 800 * QUIRE_PAGE_SIZE, end = NR_PAGES * QUIRE_PAGE_SIZE;
	uint64_t old[2] = { 1, 0 }, new[2] = { 7, 8 };
	unsigned int done = 0;
	pthread_t guest;

	create(GMEM_HUGE_NEVER);
	is(guest_exchange(gm, end, old, new), -EFAULT, "beyond RAM nothing is exchanged");
	is(guest_exchange(gm, gpa, old, new), 0, "an absent page is brought in");
	ok(old[0] == 0 && old[1] == 0, "says what is in it");
	is(*(uint64_t *)(hva(0) + gpa), 0, "and keeps that, if it is not what was expected");
	pthread_create(&guest, NULL, add_ones, hva(0) + gpa);
	while (done < EXCHANGES) {
		uint64_t was[2] = { old[0], old[1] };

		new[0] = old[0] + 1;
		new[1] = old[1] + 1;
		guest_exchange(gm, gpa, old, new);
		if (old[0] == was[0] && old[1] == was[1]) {
			memcpy(old, new, sizeof(old));
			done++;
		}
	}
	pthread_join(guest, NULL);
	guest_read(gm, gpa, old, sizeof(old));
	is(old[0], 2 * EXCHANGES, "no exchange and no write of the guest is lost");
	is(old[1], EXCHANGES, "in both halves");
	destroy("exchanges");
}

static void test_split_and_drop(void)
{
	uint8_t pattern[QUIRE_PAGE_SIZE];
	struct gmem_stats s;
	bool intact = true;

	create(GMEM_HUGE_AUTO);
	for (gfn_t g = 0; g < 512; g++)
		memset(hva(g), 1 + g % 251, QUIRE_PAGE_SIZE);
	is(block_split(gm, 0), 0, "a large leaf can be split");
	is(block_split(gm, 0), -ENOENT, "once");
	is(block_collapse(gm, 0), 0, "and put together again");
	is(block_collapse(gm, 0), -EEXIST, "once");
	is(gmem_drop(gm, 100, 3, NULL), 0, "dropping part of it splits it");
	is(private_pages(), 509, "and frees exactly the part");
	is(ramfile_pages(gm->window.ram_fd), 509, "in the host's count too");
	is(block_collapse(gm, 0), -EBUSY, "with a hole it is no block");
	for (gfn_t g = 0; g < 512; g++) {
		memset(pattern, g >= 100 && g < 103 ? 0 : 1 + g % 251, sizeof(pattern));
		intact &= !memcmp(hva(g), pattern, sizeof(pattern));
	}
	ok(intact, "the rest is untouched, the hole reads as zeroes");
	is(block_collapse(gm, 0), 0, "touched again, it is a block again");
	is(gmem_drop(gm, 0, 512, NULL), 0, "a whole leaf drops");
	is(private_pages(), 0, "as one");
	gmem_stats(gm, &s);
	is(s.dropped_pages, 515, "and all of it is counted");
	is(s.most_resident_pages, 512, "and how much was there at most");
	is(gmem_drop(gm, 5, NR_PAGES, NULL), -EFAULT, "what is not RAM cannot be dropped");
	is(range_bring_in(gm, 0, NR_PAGES), 0, "all of RAM can be brought in");
	is(private_pages(), NR_PAGES, "page by page");
	gmem_stats(gm, &s);
	is(s.s2.large_leaves, NR_BLOCKS - 1, "and by blocks where they are whole");
	destroy("splitting and dropping");
}

static void test_bad_ranges(void)
{
	static const struct gfn_range bad[][2] = {
		{ { 1, 512 }, { 1024, 2048 } },
		{ { 0, 511 }, { 1024, 2048 } },
		{ { 512, 1024 }, { 0, 512 } },
	};
	struct quire_error err;

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		struct gmem_config config = { .ram = bad[i], .nr_ram = 2 };

		is(gmem_create(&config, &gm, &err), -EINVAL, "bad ranges are refused");
	}
	gmem_destroy(NULL);
}

/* --- credits ----------------------------------------------------------------------------- */

/* A purse that is handed `grant` credits at each wait, until `left` is used up. */
struct purse {
	pthread_mutex_t lock;
	uint64_t credits, grant, left, waits;
};

static bool purse_take(void *ctx, uint64_t pages)
{
	struct purse *p = ctx;
	bool enough;

	pthread_mutex_lock(&p->lock);
	enough = p->credits >= pages;
	p->credits -= enough ? pages : 0;
	pthread_mutex_unlock(&p->lock);
	return enough;
}

static int purse_wait(void *ctx, uint64_t need, uint64_t want)
{
	struct purse *p = ctx;
	uint64_t granted;

	(void)want;
	pthread_mutex_lock(&p->lock);
	p->waits++;
	granted = min_u64(max_u64(need, p->grant), p->left);
	p->credits += granted;
	p->left -= granted;
	pthread_mutex_unlock(&p->lock);
	return granted ? 0 : -ENOMEM;
}

static int purse_seek(void *ctx, uint64_t need, uint64_t want, void (*news)(void *arg), void *arg)
{
	(void)news, (void)arg;
	return purse_wait(ctx, need, want);
}

static void purse_stop_seeking(void *ctx)
{
	(void)ctx;
}

static void purse_put(void *ctx, uint64_t pages)
{
	struct purse *p = ctx;

	pthread_mutex_lock(&p->lock);
	p->credits += pages;
	pthread_mutex_unlock(&p->lock);
}

/* Every page that is private is one credit fewer, at every size of purse. */
static void test_credits(enum gmem_hugepages hugepages, uint64_t grant)
{
	struct purse purse = { .lock = PTHREAD_MUTEX_INITIALIZER, .grant = grant, .left = 2000 };
	const struct gmem_credits credits = {
		.take = purse_take,
		.wait = purse_wait,
		.seek = purse_seek,
		.stop_seeking = purse_stop_seeking,
		.put = purse_put,
		.ctx = &purse,
	};
	uint8_t byte = 1;

	create_with(hugepages, &credits);
	for (gfn_t g = 0; g < 600; g += 3)
		hva(g)[g % 4096] = g;
	guest_write(gm, gfn_to_gpa(1200) + 5, &byte, 1);
	is(range_bring_in(gm, 700, 100), 0, "grants of %lu: a guest runs on them", (long)grant);
	ok(private_pages() >= 302, "and has what it touched");
	is(purse.credits + private_pages(), 2000 - purse.left, "each page costs one credit");
	gmem_drop(gm, 100, 500, NULL);
	is(purse.credits + private_pages(), 2000 - purse.left, "and gives it back when it goes");
	purse.left = 0;
	is(range_bring_in(gm, 0, NR_PAGES), -EDQUOT, "when there are no more it says so");
	is(purse.credits, 0, "having used the last");
	is(guest_write(gm, gfn_to_gpa(NR_PAGES - 1), &byte, 1), -EDQUOT, "and a write is refused");
	destroy("running out of credits");
}

/* --- a guest on the heels of the pager --------------------------------------------------- */

/*
 * Two vCPUs that write to one block after the other, each to a page of its own: one of them touches
 * the block first, the other meets it as it is being filled.  It waits inside the kernel for the
 * page that is being zeroed, and its write is done while the pager returns.  Nothing of it may be
 * lost.
 */
static pthread_barrier_t heels;

static uint64_t write_blocks(gfn_t page)
{
	uint64_t lost = 0;

	for (unsigned int round = 0; round < HEELS; round++) {
		pthread_barrier_wait(&heels);
		for (unsigned int b = 0; b < NR_BLOCKS - 1; b++)
			*(volatile uint8_t *)hva(b * QUIRE_BLOCK_PAGES + page) = 0xa5;
		for (unsigned int b = 0; b < NR_BLOCKS - 1; b++)
			lost += *(volatile uint8_t *)hva(b * QUIRE_BLOCK_PAGES + page) != 0xa5;
		pthread_barrier_wait(&heels);
		if (!page)
			gmem_drop(gm, 0, NR_PAGES, NULL);
	}
	return lost;
}

static void *second_vcpu(void *arg)
{
	*(uint64_t *)arg = write_blocks(1);
	return NULL;
}

static void test_heels(void)
{
	uint64_t lost, lost_too;
	pthread_t t;

	create(GMEM_HUGE_AUTO);
	pthread_barrier_init(&heels, NULL, 2);
	pthread_create(&t, NULL, second_vcpu, &lost_too);
	lost = write_blocks(0);
	pthread_join(t, NULL);
	pthread_barrier_destroy(&heels);
	is(lost + lost_too, 0, "no write is lost to a block that is being filled");
	destroy("a guest on the heels of the pager");
}

/* --- late and duplicate events ----------------------------------------------------------- */

static pthread_barrier_t barrier;

static void *touch_same(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; i < STORM; i++) {
		pthread_barrier_wait(&barrier);
		(void)*(volatile uint8_t *)hva(i * 7 % NR_PAGES);
		pthread_barrier_wait(&barrier);
		if (i % 8 == 7)
			pthread_barrier_wait(&barrier);
	}
	return NULL;
}

static void test_duplicates(void)
{
	pthread_t t[THREADS];

	create(GMEM_HUGE_NEVER);
	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, touch_same, NULL);
	for (unsigned int i = 0; i < STORM; i++) {
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
		if (i % 8 == 7) {
			gmem_drop(gm, 0, NR_PAGES, NULL);
			pthread_barrier_wait(&barrier);
		}
	}
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	pthread_barrier_destroy(&barrier);
	ok(true, "%u threads faulting on the same page %u times all went on", THREADS, STORM);
	destroy("duplicate events");
}

static atomic_bool reader_done;

/* A fault taken in the kernel, as KVM's are: interrupted by signals, it queues anew. */
static void *kernel_touch(void *arg)
{
	int fd = open("/dev/zero", O_RDONLY);

	if (read(fd, arg, QUIRE_PAGE_SIZE) != QUIRE_PAGE_SIZE)
		tap_note("short read");
	close(fd);
	atomic_store(&reader_done, true);
	return NULL;
}

static void nothing(int sig)
{
	(void)sig;
}

static void test_late(void)
{
	struct gfn_range in;
	struct gmem_stats s;
	pthread_t t;

	create(GMEM_HUGE_NEVER);
	signal(SIGUSR1, nothing);
	/* The pager cannot act while we hold the lock; let it find the work done. */
	gmem_lock(gm, GMEM_LOOK);
	pthread_create(&t, NULL, kernel_touch, hva(40));
	/* On a busy host it takes a while until the pager has the event. */
	while (!lock_is_wanted(&gm->lock))
		usleep(1000);
	for (unsigned int i = 0; i < 50; i++) {
		usleep(1000);
		pthread_kill(t, SIGUSR1);
	}
	is(atomic_load(&reader_done), false, "an access waits while the pager is held up");
	gmem_bring_in(gm, 40, true, &in);
	gmem_unlock(gm);
	pthread_join(t, NULL);
	/* All events queued before the page came in are late; the pager drains them now. */
	for (unsigned int i = 0; i < 1000; i++) {
		gmem_stats(gm, &s);
		if (s.faults_spurious)
			break;
		usleep(1000);
	}
	ok(s.faults_spurious > 0 && s.faulted_in_pages == 0,
	   "%lu late events, interrupted by signals, changed nothing", (long)s.faults_spurious);
	destroy("late events");
}

/* --- four threads against one that splits, collapses, drops and brings in ---------------- */

/* Model: what page g holds, changed only by the holder of its lock. */
static struct {
	atomic_flag busy;
	uint64_t stamp; /* 0: zeroes */
} model[NR_PAGES];

static atomic_uint wrong, running;
static uint64_t seed;

static void hold(gfn_t g)
{
	while (atomic_flag_test_and_set_explicit(&model[g].busy, memory_order_acquire))
		sched_yield();
}

static void release(gfn_t g)
{
	atomic_flag_clear_explicit(&model[g].busy, memory_order_release);
}

static void make_page(uint64_t *page, uint64_t stamp)
{
	for (unsigned int i = 0; i < 512; i++)
		page[i] = stamp ? stamp * (i + 1) : 0;
}

static void check_page(gfn_t g, const void *page, const char *how)
{
	uint64_t want[512];

	make_page(want, model[g].stamp);
	if (memcmp(page, want, sizeof(want)) && atomic_fetch_add(&wrong, 1) == 0)
		tap_note("gfn %#lx (%s): not stamp %#lx", (long)g, how, (long)model[g].stamp);
}

static void *guest_thread(void *arg)
{
	uint64_t rng = seed + (uintptr_t)arg, buf[512];

	for (unsigned int i = 0; i < ROUNDS; i++) {
		gfn_t g = tap_random(&rng) % NR_PAGES;

		hold(g);
		switch (tap_random(&rng) % 4) {
		case 0: check_page(g, hva(g), "window"); break;
		case 1:
			guest_read(gm, gfn_to_gpa(g), buf, sizeof(buf));
			check_page(g, buf, "accessor");
			break;
		case 2:
			model[g].stamp = tap_random(&rng) | 1;
			make_page((uint64_t *)hva(g), model[g].stamp);
			break;
		case 3:
			model[g].stamp = tap_random(&rng) | 1;
			make_page(buf, model[g].stamp);
			guest_write(gm, gfn_to_gpa(g), buf, sizeof(buf));
			break;
		}
		release(g);
	}
	atomic_fetch_sub(&running, 1);
	return NULL;
}

static void drop_range(gfn_t g, uint64_t nr)
{
	int err;

	for (uint64_t i = 0; i < nr; i++)
		hold(g + i);
	err = gmem_drop(gm, g, nr, NULL);
	if (err && err != -EAGAIN)
		tap_note("drop: %s", strerror(-err));
	for (uint64_t i = 0; i < nr; i++) {
		model[g + i].stamp = err && err != -EAGAIN ? model[g + i].stamp : 0;
		release(g + i);
	}
}

static void disturb(uint64_t *rng)
{
	gfn_t g = tap_random(rng) % NR_PAGES, block = g & ~511UL;
	uint64_t nr = min_u64(1 + tap_random(rng) % 40, NR_PAGES - g);

	switch (tap_random(rng) % 8) {
	case 0: block_split(gm, block); break;
	case 1: block_collapse(gm, block); break;
	case 2: range_bring_in(gm, g, nr); break;
	case 3:
		if (range_bring_in(gm, block, min_u64(512, NR_PAGES - block)) == 0)
			block_collapse(gm, block);
		break;
	case 4: drop_range(block, min_u64(512, NR_PAGES - block)); break;
	default: drop_range(g, nr); break;
	}
}

static void test_storm(enum gmem_hugepages hugepages)
{
	const char *mode = hugepages == GMEM_HUGE_AUTO ? "auto" : "never";
	uint64_t rng = seed ^ hugepages, page[512];
	unsigned int audits = 0, steps = 0;
	pthread_t t[THREADS];
	struct gmem_stats s;

	create(hugepages);
	for (gfn_t g = 0; g < NR_PAGES; g++)
		model[g].stamp = 0;
	atomic_store(&wrong, 0);
	atomic_store(&running, THREADS);
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, guest_thread, (void *)(uintptr_t)(i + 1));
	while (atomic_load(&running)) {
		disturb(&rng);
		if (++steps % 16 == 0)
			audits += gmem_audit(gm, describe, NULL);
	}
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	for (gfn_t g = 0; g < NR_PAGES; g++) {
		guest_read(gm, gfn_to_gpa(g), page, sizeof(page));
		check_page(g, page, "at the end");
	}
	gmem_stats(gm, &s);
	tap_note("%s: %u disturbances, %lu faults (%lu spurious), %lu splits, %lu collapses, "
		 "%lu pages dropped",
		 mode, steps, (long)s.faults, (long)s.faults_spurious, (long)s.s2.splits,
		 (long)s.s2.collapses, (long)s.dropped_pages);
	is(atomic_load(&wrong), 0,
	   "%s: every byte is right while pages are split, collapsed, "
	   "dropped and brought in",
	   mode);
	is(audits, 0, "%s: and the audit is clean all along", mode);
	destroy("the storm");
}

/* The accesses are the threads' own: what the kernel does for them is for the window alone. */
static void test_all(bool on_shadow)
{
	guest_on_shadow = on_shadow;
	test_touch(GMEM_HUGE_AUTO);
	test_touch(GMEM_HUGE_NEVER);
	test_accessors();
	test_exchange();
	test_split_and_drop();
	test_credits(GMEM_HUGE_AUTO, 1);
	test_credits(GMEM_HUGE_AUTO, 600);
	test_credits(GMEM_HUGE_NEVER, 7);
	test_heels();
	test_duplicates();
	if (!on_shadow)
		test_late();
	test_storm(GMEM_HUGE_AUTO);
	test_storm(GMEM_HUGE_NEVER);
}

int main(int argc, char **argv)
{
	tap_init();
	seed = tap_seed(argc, argv);
	test_bad_ranges();
	test_all(false);
	test_all(true);
	return tap_done();
}
