/* SPDX-License-Identifier: MIT */
/*
 * No access of a guest ever fails, whatever becomes of its pages at that moment: KVM's instruction
 * emulator and its walk of page tables do not try again.  Threads read, write, and do locked
 * additions on a few pages all the time, as vCPUs would.  Meanwhile the pages are merged, become
 * zero, are mapped as zeroes, lose their mapping to others, come home as when merging is switched
 * off, are dropped and ballooned, and come in as a block.  A signal is a failure.  So is a word
 * that is not what its owner left there; but a page that is given up may have lost it.
 */
#include <pthread.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/userfaultfd.h>
#include "share_lab.h"
#include "mmu/memory/away.h"
#include "mmu/memory/zero.h"
#include "tests/memory/files.h"

#define ROUND_MS   (500 * tap_storm()) /* a round takes so long ... */
#define MOST_TURNS 20000u	       /* ... and on a busy host so many turns more, with pauses */

/* What the test does to the pages. */
enum {
	MERGE = 1,
	ZERO = 2,
	SQUEEZE = 4, /* mappings are won: what is mapped as zeroes goes home for that */
	GIVE_UP = 8,
	BLOCK = 16,
	UNDO = 32, /* the keeper undoes what a mode does not allow */
};

static gfn_t first, nr_pages;
static bool may_lose;
static atomic_bool stop;
static atomic_ulong came_in, undone;

/* A new mapping is not registered yet: that moment is made so long that others run in it. */
int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (request == UFFDIO_REGISTER)
		usleep(20);
	return (int)syscall(SYS_ioctl, fd, request, arg);
}

/* As a locked instruction. */
static GUEST uint64_t add_to(volatile uint64_t *word, uint64_t value)
{
	return __atomic_fetch_add(word, value, __ATOMIC_SEQ_CST);
}

/*
 * Each has its own word in each page, and leaves 0 there most of the time.  Who writes often mostly
 * waits for the pager; who writes seldom is there to write in the middle of a change.  Some look at
 * what they wrote when the change is over.
 */
static void *vcpu(void *arg)
{
	uint64_t me = (uintptr_t)arg, seed = writer_seed + me, bad = 0;
	uint64_t seldom = 4u << 4 * me;

	while (!atomic_load(&stop)) {
		gfn_t gfn = first + tap_random(&seed) % nr_pages;
		volatile uint64_t *word = (uint64_t *)hva(gfn) + me;
		uint64_t found = look_at(word), old;

		bad += found != 0;
		if (tap_random(&seed) % seldom)
			continue;
		if (tap_random(&seed) % 2) {
			put_into(word, 1);
			if (tap_random(&seed) % 4 == 0)
				usleep(100);
			old = look_at(word);
		} else {
			old = add_to(word, 1) + 1;
		}
		bad += !(old == 1 || (old == 0 && may_lose));
		put_into(word, 0);
		if (tap_random(&seed) % 8 == 0)
			usleep(50);
	}
	return (void *)bad;
}

/* The accessors, as devices and walks use them: what they read is what somebody left there. */
static void *device(void *arg)
{
	uint64_t seed = writer_seed + 100, page[QUIRE_PAGE_SIZE / 8], bad = 0;

	(void)arg;
	while (!atomic_load(&stop)) {
		gpa_t gpa = gfn_to_gpa(first + tap_random(&seed) % nr_pages);

		bad += guest_read(gm, gpa, page, sizeof(page)) != 0;
		for (unsigned int i = 0; i < 512; i++)
			bad += page[i] > (i < WRITERS ? 1 : 0);
		usleep(20);
	}
	return (void *)bad;
}

static void make_zero(gfn_t gfn, uint64_t nr)
{
	struct share_run run = { gfn, nr, PG_ZERO, 0 };
	struct share_result res = { 0 };

	lock(&gm->lock);
	zero_commit(gm, &run, 1, &res);
	unlock(&gm->lock);
	atomic_fetch_add(&came_in, res.merged);
}

static void merge(gfn_t gfn, uint64_t nr)
{
	struct share_run run = { gfn, nr, PG_SHARED, frame_of(0) };
	struct share_result res = { 0 };

	for (uint64_t i = 0; i < nr; i++)
		references[i]++;
	lock(&gm->lock);
	share_commit(gm, &run, &res);
	unlock(&gm->lock);
	take_back();
	atomic_fetch_add(&came_in, res.merged);
}

/* What the keeper gives back goes to the machine, which is the other end of its connection. */
static void take_back_from(int machine)
{
	struct merge_msg msg;

	while (recv(machine, &msg, sizeof(msg), MSG_DONTWAIT) > 0)
		for (unsigned int i = 0; msg.type == MERGE_DROP && i < msg.nr; i++)
			references[msg.drop[i]]--;
}

static void undo(enum keeper_mode mode)
{
	static struct keeper keeper;
	static int ends[2] = { -1, -1 };
	bool some;

	/* Readers have the zeroes mapped meanwhile. */
	usleep((useconds_t)(tap_random(&rng) % 256));
	if (ends[0] < 0 && socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends))
		tap_bail("no socketpair");
	keeper.gm = gm;
	keeper.link = ends[0];
	keeper.obeyed = mode;
	while (!scan_unmerge(&keeper, &some))
		take_back_from(ends[1]);
	take_back_from(ends[1]);
	atomic_fetch_add(&undone, some);
}

/* Make the next write look like one of a sequential writer, so that a whole block comes in. */
static void bring_in_as_block(gfn_t gfn)
{
	block_split(gm, align_down(gfn, QUIRE_BLOCK_PAGES));
	make_zero(align_down(gfn, QUIRE_BLOCK_PAGES), QUIRE_BLOCK_PAGES);
	(void)look_at((uint64_t *)hva(gfn + 1));
	lock(&gm->lock);
	gm->share.streak = 64;
	gm->share.streak_next = gfn;
	unlock(&gm->lock);
	put_into((uint64_t *)hva(gfn) + WRITERS, 0);
}

static void disturb(unsigned int what)
{
	gfn_t gfn = first + tap_random(&rng) % nr_pages;
	uint64_t nr = 1 + tap_random(&rng) % (first + nr_pages - gfn);

	if (what & ZERO)
		make_zero(gfn, nr);
	if (what & MERGE && tap_random(&rng) % 2)
		merge(gfn, nr);
	if (what & GIVE_UP && tap_random(&rng) % 2)
		gmem_drop(gm, gfn, nr, NULL);
	else if (what & GIVE_UP && !gmem_balloon(gm, gfn, nr, NULL))
		gmem_unballoon(gm, gfn, nr, NULL);
	if (what & BLOCK)
		bring_in_as_block(gfn);
	if (what & UNDO)
		undo(tap_random(&rng) % 4 ? KEEPER_OFF : KEEPER_ZERO);
	if (what & SQUEEZE) {
		gmem_lock(gm, GMEM_LOOK);
		away_relieve(gm);
		gmem_unlock(gm);
	}
}

static uint64_t reliefs(void)
{
	struct gmem_stats s;

	gmem_stats(gm, &s);
	return s.mapping_reliefs;
}

/* Has what is tested happened often enough? */
static bool is_enough(unsigned int what)
{
	return (atomic_load(&came_in) > 100 || what == GIVE_UP) &&
	       (atomic_load(&undone) > 10 || !(what & UNDO)) &&
	       (!(what & SQUEEZE) || reliefs() > 10);
}

static uint64_t run_threads(unsigned int what)
{
	uint64_t bad = 0, deadline = monotonic_ns() + ROUND_MS * NS_PER_MS;
	pthread_t t[WRITERS + 1];
	void *wrong;

	writer_seed = tap_random(&rng);
	for (uintptr_t i = 0; i <= WRITERS; i++)
		pthread_create(&t[i], NULL, i < WRITERS ? vcpu : device, (void *)i);
	while (monotonic_ns() < deadline)
		disturb(what);
	for (unsigned int i = 0; i < MOST_TURNS && !is_enough(what); i++) {
		usleep(1000);
		disturb(what);
	}
	atomic_store(&stop, true);
	for (unsigned int i = 0; i <= WRITERS; i++) {
		pthread_join(t[i], &wrong);
		bad += (uintptr_t)wrong;
	}
	return bad;
}

static void test(const char *name, enum gmem_hugepages hugepages, uint64_t pages, unsigned int what)
{
	create(hugepages);
	count_refusals();
	gm->share.zero_reads = true;
	first = hugepages == GMEM_HUGE_NEVER && !ram_file ? 500 : 512;
	nr_pages = pages;
	may_lose = what & GIVE_UP;
	atomic_store(&stop, false);
	atomic_store(&came_in, 0);
	atomic_store(&undone, 0);
	is(run_threads(what), 0, "%s: every word is right", name);
	is(atomic_load(&refused), 0, "%s: no access failed", name);
	ok(is_enough(what), "%s: %lu pages went away, %lu runs lost mappings, %lu times undone",
	   name, (unsigned long)atomic_load(&came_in), (unsigned long)reliefs(),
	   (unsigned long)atomic_load(&undone));
	ok(references_agree(), "%s: no reference is lost", name);
	is(gmem_audit(gm, describe, NULL), 0, "%s: audit", name);
	destroy();
}

static void test_all(bool on_shadow)
{
	guest_on_shadow = on_shadow;
	test("zero", GMEM_HUGE_NEVER, 8, ZERO);
	test("zero and merged", GMEM_HUGE_NEVER, 24, ZERO | MERGE);
	if (!on_shadow)
		test("mappings are won", GMEM_HUGE_NEVER, 40, ZERO | SQUEEZE);
	test("zeroes are undone", GMEM_HUGE_NEVER, 8, ZERO | UNDO);
	test("undone", GMEM_HUGE_NEVER, 24, ZERO | MERGE | UNDO);
	test("given up", GMEM_HUGE_NEVER, 24, GIVE_UP);
	test("given up and zero", GMEM_HUGE_AUTO, 24, GIVE_UP | ZERO | MERGE);
	test("as a block", GMEM_HUGE_AUTO, 512, BLOCK);
	ram_file = tmpfs_file("always", 0, NR_BLOCKS * QUIRE_BLOCK_SIZE);
	if (ram_file > 0) {
		test("on huge=always", GMEM_HUGE_NEVER, 4, GIVE_UP | ZERO);
		close(ram_file);
	}
	ram_file = 0;
}

int main(int argc, char **argv)
{
	tap_init();
	rng = tap_seed(argc, argv);
	make_segment();
	memset(frames, 0, CONTENTS * QUIRE_PAGE_SIZE);
	test_all(false);
	test_all(true);
	return tap_done();
}
