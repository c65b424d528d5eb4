/* SPDX-License-Identifier: MIT */
/*
 * Back ends against a naive model in lockstep.  The model says for each page where it is mapped
 * from, what is in it, whether it is protected, and so what a touch of it does.  Seeded random
 * operations of the table (backend.h), as guest memory would do them, and touches by a thread that
 * plays the guest: an event comes if and only if the model says so.  The mappings are the kernel's.
 *
 * A new back end is a new row of rows[].
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/userfaultfd.h>
#include "mmu/memory/ramfile.h"
#include "mmu/memory/window.h"
#include "tests/tap.h"

#define OPS	  (6000 * tap_storm())
#define NR_BLOCKS 8u
#define NR_PAGES  (NR_BLOCKS * QUIRE_BLOCK_PAGES) /* the gap included */
#define MOST	  100u				  /* pages that one operation changes */

/* Two ranges with a gap; the last block is not whole. */
static const struct gfn_range ram[] = { { 0, 3 * QUIRE_BLOCK_PAGES },
					{ 4 * QUIRE_BLOCK_PAGES, NR_PAGES - 100 } };

static uint64_t rng;

/* ---- back ends ---- */

struct row {
	const char *name;
	struct backend *(*create)(bool huge);
	void (*destroy)(void);
	int (*event_fd)(void);
	bool (*next_event)(gfn_t *gfn); /* the page of an event that has come */
	uint8_t *(*hva)(gfn_t gfn);	/* where the guest's accesses go */
	int (*ram_fd)(void);
	int (*write)(gfn_t gfn, uint64_t nr, const void *bytes); /* into holes of the RAM file */
	uint64_t (*mappings)(void);				 /* that the kernel has */
};

static struct window window;

static struct backend *create_window(bool huge)
{
	struct quire_error err;

	if (!window_create(&window, ram, ARRAY_SIZE(ram), huge, true, 0, &err))
		return &window.backend;
	if (geteuid() != 0)
		tap_skip_all("%s", err.text);
	tap_bail("%s", err.text);
}

static void destroy_window(void)
{
	window_destroy(&window);
}

static int window_event_fd(void)
{
	return window.uffd;
}

static bool window_event(gfn_t *gfn)
{
	struct uffd_msg msg;

	if (read(window.uffd, &msg, sizeof(msg)) != sizeof(msg))
		return false;
	*gfn = gpa_to_gfn(msg.arg.pagefault.address - (uintptr_t)window.base);
	return true;
}

static uint8_t *window_hva(gfn_t gfn)
{
	return window.base + gfn_to_gpa(gfn);
}

static int window_ram_fd(void)
{
	return window.ram_fd;
}

static int write_window(gfn_t gfn, uint64_t nr, const void *bytes)
{
	return window_write(&window, gfn, nr, bytes);
}

/* What lies between the ranges cannot be accessed, and does not count. */
static uint64_t window_mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	uintptr_t start, end;
	uint64_t nr = 0;
	char right;

	while (f && fscanf(f, "%lx-%lx %c%*[^\n]", &start, &end, &right) == 3)
		nr += right == 'r' && start >= (uintptr_t)window.base &&
		      end <= (uintptr_t)window.base + window.span;
	if (f)
		fclose(f);
	return nr;
}

static const struct row rows[] = {
	{ "window", create_window, destroy_window, window_event_fd, window_event, window_hva,
	  window_ram_fd, write_window, window_mappings },
};

/* ---- the model ---- */

enum where { HOLE, HOME, STORE, ZEROES };

struct page {
	enum where where;
	uint32_t content;
	bool is_protected;
};

static const struct row *row;
static struct backend *b;
static struct page page[NR_PAGES];
static bool whole[NR_BLOCKS];
static int store;	      /* page n of it has content n */
static uint64_t done[2];      /* touches, and those with an event */
static unsigned int tried[8]; /* operations that did something, by kind */

static void fill_bytes(uint64_t *bytes, uint32_t content)
{
	for (unsigned int i = 0; i < QUIRE_PAGE_SIZE / 8; i++)
		bytes[i] = content ? content * 0x9e3779b97f4a7c15ULL + i : 0;
}

static bool is_ram(gfn_t gfn)
{
	return gfn < ram[0].end || (gfn >= ram[1].start && gfn < ram[1].end);
}

static bool raises_event(gfn_t gfn, bool write)
{
	return page[gfn].where == HOLE || (write && page[gfn].is_protected);
}

/* So many pages from gfn on are RAM, managed singly, and like the first. */
static uint64_t run_at(gfn_t gfn, uint64_t max)
{
	uint64_t nr = 0;

	while (nr < max && gfn + nr < NR_PAGES && is_ram(gfn + nr) &&
	       !whole[(gfn + nr) / QUIRE_BLOCK_PAGES] && page[gfn + nr].where == page[gfn].where &&
	       page[gfn + nr].is_protected == page[gfn].is_protected)
		nr++;
	return nr;
}

static void set(gfn_t gfn, uint64_t nr, enum where where, uint32_t content, bool is_protected)
{
	for (uint64_t i = 0; i < nr; i++)
		page[gfn + i] = (struct page){ where, content, is_protected };
}

/* ---- the guest: a thread that touches ---- */

enum touch { NOTHING, READ, WRITE, CHECK_ALL, LEAVE };

static struct guest {
	pthread_t thread;
	int ask, answer; /* eventfds */
	enum touch touch;
	gfn_t gfn;
	uint32_t content; /* to write */
	uint64_t wrong;
} guest;

static bool has_content(gfn_t gfn)
{
	uint64_t want[QUIRE_PAGE_SIZE / 8];

	fill_bytes(want, page[gfn].content);
	return !memcmp(row->hva(gfn), want, sizeof(want));
}

static void *run_guest(void *arg)
{
	uint64_t bytes[QUIRE_PAGE_SIZE / 8];
	eventfd_t n;

	(void)arg;
	while (!eventfd_read(guest.ask, &n) && guest.touch != LEAVE) {
		if (guest.touch == WRITE) {
			fill_bytes(bytes, guest.content);
			memcpy(row->hva(guest.gfn), bytes, sizeof(bytes));
		} else if (guest.touch == READ) {
			guest.wrong += !has_content(guest.gfn);
		}
		for (gfn_t g = 0; guest.touch == CHECK_ALL && g < NR_PAGES; g++)
			guest.wrong += is_ram(g) && page[g].where != HOLE && !has_content(g);
		eventfd_write(guest.answer, 1);
	}
	return NULL;
}

/* Let the guest go on, until it is done (false) or an event comes, with its page. */
static bool event_comes(gfn_t *gfn)
{
	struct pollfd p[] = {
		{ .fd = guest.answer, .events = POLLIN },
		{ .fd = row->event_fd(), .events = POLLIN },
	};
	eventfd_t n;

	for (;;) {
		poll(p, 2, -1);
		if (p[1].revents && row->next_event(gfn))
			return true;
		if (p[0].revents) {
			eventfd_read(guest.answer, &n);
			return false;
		}
	}
}

/* As the pager: the page becomes one that can be written. */
static void answer(gfn_t gfn)
{
	uint64_t bytes[QUIRE_PAGE_SIZE / 8], nr;

	switch (page[gfn].where) {
	case HOLE: backend_fill(b, gfn, 1, &nr); break;
	case HOME: backend_protect(b, gfn, 1, false); break;
	case STORE:
		fill_bytes(bytes, page[gfn].content);
		row->write(gfn, 1, bytes);
		backend_home(b, gfn, 1);
		break;
	case ZEROES: backend_home(b, gfn, 1); backend_fill(b, gfn, 1, &nr);
	}
	page[gfn].where = HOME;
	page[gfn].is_protected = false;
}

static bool touch(enum touch how, gfn_t gfn, uint32_t content)
{
	bool want = how != CHECK_ALL && raises_event(gfn, how == WRITE), came = false;
	gfn_t at = gfn;

	guest.touch = how;
	guest.gfn = gfn;
	guest.content = content;
	eventfd_write(guest.ask, 1);
	while (event_comes(&at)) {
		came = true;
		if (at != gfn || !want)
			break;
		answer(gfn);
	}
	if (how == WRITE)
		page[gfn].content = content;
	done[0]++;
	done[1] += came;
	if (came == want && at == gfn)
		return true;
	tap_note("gfn %#lx: an event %s", (long)at, came ? "comes" : "does not come");
	return false;
}

/* ---- operations ---- */

/* Contents that follow each other, as frames of the store do. */
static bool op_write(gfn_t gfn)
{
	uint64_t nr = 1 + tap_random(&rng) % 16;
	uint32_t content = (uint32_t)(tap_random(&rng) % 900);
	bool fine = true;

	for (uint64_t i = 0; i < nr && fine && gfn + i < NR_PAGES && is_ram(gfn + i); i++)
		fine = touch(WRITE, gfn + i, content + (uint32_t)i);
	return fine;
}

static bool op_fill(gfn_t gfn)
{
	uint64_t nr = run_at(gfn, 1 + tap_random(&rng) % MOST), n = 0;
	int err = backend_fill(b, gfn, nr, &n);

	set(gfn, nr, HOME, 0, false);
	return !err && n == nr;
}

/* Content for content, pages go to frames that follow each other. */
static bool op_send_to_store(gfn_t gfn)
{
	uint64_t nr = run_at(gfn, 1 + tap_random(&rng) % MOST), i;
	bool fine;

	if (page[gfn].content == 0 && tap_random(&rng) % 4)
		return true;
	for (i = 1; i < nr && page[gfn + i].content == page[gfn].content + i;)
		i++;
	fine = !backend_protect(b, gfn, i, true) &&
	       !backend_send_to_file(b, gfn, i, store,
				     (uint64_t)page[gfn].content << QUIRE_PAGE_SHIFT) &&
	       !ramfile_punch(row->ram_fd(), gfn_to_gpa(gfn), gfn_to_gpa(i));
	for (uint64_t n = 0; n < i; n++)
		page[gfn + n] = (struct page){ STORE, page[gfn + n].content, true };
	return fine;
}

static bool op_send_to_zero(gfn_t gfn)
{
	uint64_t nr = run_at(gfn, 1 + tap_random(&rng) % MOST);
	int err = backend_send_to_zero(b, gfn, nr);

	set(gfn, nr, ZEROES, 0, true);
	return !err;
}

/* What is away comes home, with its bytes or given up, for as many mappings as was said. */
static bool op_home(gfn_t gfn)
{
	static uint64_t bytes[MOST][QUIRE_PAGE_SIZE / 8];
	uint64_t nr = run_at(gfn, 1 + tap_random(&rng) % MOST);
	struct gfn_range mapping = backend_mapping_at(b, gfn);
	int64_t cost = backend_home_costs(b, gfn, nr), before = (int64_t)b->mappings;
	bool keep = tap_random(&rng) % 2, is_told = mapping.start <= gfn && gfn < mapping.end;
	int err = 0;

	for (uint64_t i = 0; i < nr; i++)
		fill_bytes(bytes[i], page[gfn + i].content);
	if (keep)
		err = row->write(gfn, nr, bytes);
	err = err ? err : backend_home(b, gfn, nr);
	if (!keep)
		set(gfn, nr, HOLE, 0, false);
	for (uint64_t i = 0; i < nr && keep; i++)
		page[gfn + i] = (struct page){ HOME, page[gfn + i].content, false };
	return !err && is_told && (int64_t)b->mappings == before + cost;
}

static bool op_protect(gfn_t gfn)
{
	uint64_t nr = run_at(gfn, 1 + tap_random(&rng) % MOST);
	bool on = !page[gfn].is_protected;
	int err = backend_protect(b, gfn, nr, on);

	for (uint64_t i = 0; i < nr; i++)
		page[gfn + i].is_protected = on;
	if (tap_random(&rng) % 2)
		backend_populate(b, gfn, on ? 0 : nr);
	return !err;
}

static bool op_punch(gfn_t gfn)
{
	uint64_t nr = run_at(gfn, 1 + tap_random(&rng) % MOST);
	int err = page[gfn].is_protected ? backend_protect(b, gfn, nr, false) : 0;

	err = err ? err : ramfile_punch(row->ram_fd(), gfn_to_gpa(gfn), gfn_to_gpa(nr));
	set(gfn, nr, HOLE, 0, false);
	return !err;
}

/* A block in which there are only holes and zeroes comes in as one, mapped as it is till then. */
static bool op_block(gfn_t gfn)
{
	gfn_t block = align_down(gfn, QUIRE_BLOCK_PAGES);
	int err;

	for (gfn_t g = block; g < block + QUIRE_BLOCK_PAGES; g++)
		if (!is_ram(g) || page[g].where == HOME || page[g].where == STORE)
			return true;
	err = backend_fill_block(b, block);
	err = err ? err : backend_make_whole(b, block);
	set(block, QUIRE_BLOCK_PAGES, HOME, 0, false);
	whole[block / QUIRE_BLOCK_PAGES] = true;
	tried[6]++;
	return !err;
}

static bool op_whole_block(gfn_t gfn)
{
	gfn_t block = gfn / QUIRE_BLOCK_PAGES;
	uint64_t nr = 1;
	int err;

	if (tap_random(&rng) % 4 == 0) {
		backend_collapse(b, block * QUIRE_BLOCK_PAGES);
		return true;
	}
	if (block + 1 < NR_BLOCKS && whole[block + 1] && tap_random(&rng) % 2)
		nr = 2;
	err = backend_make_single(b, block * QUIRE_BLOCK_PAGES, nr);
	for (uint64_t i = 0; i < nr; i++)
		whole[block + i] = false;
	tried[7]++;
	return !err;
}

/* Empty a block but for zeroes, so that it can come in as one. */
static bool op_empty_block(gfn_t gfn)
{
	gfn_t block = align_down(gfn, QUIRE_BLOCK_PAGES), end = block + QUIRE_BLOCK_PAGES;
	bool fine = true;

	for (gfn_t g = block; g < end && fine;) {
		uint64_t nr = min_u64(run_at(g, QUIRE_BLOCK_PAGES), end - g);
		enum where where = page[g].where;

		if (!nr)
			return fine;
		if (where == STORE)
			fine = !backend_home(b, g, nr);
		else if (where == HOME)
			fine = !backend_protect(b, g, nr, false) &&
			       !ramfile_punch(row->ram_fd(), gfn_to_gpa(g), gfn_to_gpa(nr));
		if (where == STORE || where == HOME)
			set(g, nr, HOLE, 0, false);
		g += nr;
	}
	return fine && op_block(gfn);
}

static bool step(void)
{
	gfn_t gfn = tap_random(&rng) % NR_PAGES;
	unsigned int kind = (unsigned int)(tap_random(&rng) % 16);

	if (!is_ram(gfn))
		return true;
	if (kind < 6)
		return kind ? touch(READ, gfn, 0) : op_write(gfn);
	if (whole[gfn / QUIRE_BLOCK_PAGES])
		return tap_random(&rng) % 8 || op_whole_block(gfn);
	if (tap_random(&rng) % 64 == 0)
		return op_empty_block(gfn);
	tried[page[gfn].where]++;
	switch (page[gfn].where) {
	case HOLE: return kind % 2 ? op_fill(gfn) : op_send_to_zero(gfn);
	case HOME:
		if (kind % 4 == 0)
			return op_protect(gfn);
		return kind % 4 == 1 ? op_punch(gfn) : op_send_to_store(gfn);
	default: return op_home(gfn);
	}
}

/* ---- checks ---- */

/* Every byte that the guest can read without an event, and no event comes. */
static bool all_right(void)
{
	bool fine = touch(CHECK_ALL, 0, 0);

	if (guest.wrong)
		tap_note("%lu pages are wrong", (unsigned long)guest.wrong);
	return fine && !guest.wrong;
}

static bool books_agree(void)
{
	uint64_t away, ours = 0, frames = 0, recount = backend_recount(b, &away),
		       kernel = row->mappings();

	for (gfn_t g = 0; g < NR_PAGES; g++) {
		ours += page[g].where == STORE || page[g].where == ZEROES;
		frames += page[g].where == HOME;
	}
	if (tap_deviates("joins") && kernel > recount && kernel - recount <= NR_BLOCKS)
		kernel = recount;
	if (b->mappings == kernel && recount == kernel && away == ours &&
	    ramfile_pages(row->ram_fd()) == frames)
		return true;
	tap_note("mappings: %lu, counted anew %lu, the kernel has %lu; away: %lu, %lu by the "
		 "model; frames: %lu, %lu by the model",
		 (long)b->mappings, (long)recount, (long)kernel, (long)away, (long)ours,
		 (long)ramfile_pages(row->ram_fd()), (long)frames);
	return false;
}

/* ---- tests ---- */

static void start_guest(void)
{
	guest = (struct guest){ .ask = eventfd(0, 0), .answer = eventfd(0, EFD_NONBLOCK) };
	if (guest.ask < 0 || guest.answer < 0 ||
	    pthread_create(&guest.thread, NULL, run_guest, NULL))
		tap_bail("no thread");
}

static void stop_guest(void)
{
	guest.touch = LEAVE;
	eventfd_write(guest.ask, 1);
	pthread_join(guest.thread, NULL);
	close(guest.ask);
	close(guest.answer);
}

static void test_lockstep(bool huge)
{
	const char *mode = huge ? "huge" : "small";
	unsigned int i, wrong = 0;

	b = row->create(huge);
	memset(page, 0, sizeof(page));
	memset(whole, 0, sizeof(whole));
	memset(done, 0, sizeof(done));
	memset(tried, 0, sizeof(tried));
	start_guest();
	for (i = 0; i < OPS && !wrong; i++) {
		wrong += !step();
		if (i % 64 == 0)
			wrong += !books_agree();
		if (i % 256 == 0)
			wrong += !all_right();
	}
	if (!ok(!wrong, "%s, %s: %u random operations do what the model says", row->name, mode, i))
		_exit(tap_done() + 1); /* the guest may wait for an event for ever */
	ok(all_right() && books_agree(), "%s, %s: every byte and every count is right", row->name,
	   mode);
	ok(done[1] > 100 && tried[STORE] > 20 && tried[ZEROES] > 20 && tried[6] > 2 && tried[7] > 2,
	   "%s, %s: %lu touches, %lu events; %u and %u times home; %u blocks came in, %u became "
	   "single",
	   row->name, mode, (long)done[0], (long)done[1], tried[STORE], tried[ZEROES], tried[6],
	   tried[7]);
	stop_guest();
	row->destroy();
}

/* As kernels before 6.4 may by themselves. */
static void test_apart(void)
{
	uint64_t n = 0;

	b = row->create(false);
	if (madvise(row->hva(5), 9 * QUIRE_PAGE_SIZE, MADV_DODUMP))
		tap_bail("madvise");
	ok(row->mappings() > b->mappings, "%s: the kernel has more mappings than are counted",
	   row->name);
	is(backend_fill(b, 2, 20, &n), 0, "... and pages of several are filled");
	is(n, 20, "... which are all");
	is(backend_protect(b, 2, 20, true), 0, "... they are protected");
	is(backend_protect(b, 2, 20, false), 0, "... and let be written");
	row->destroy();
}

static void make_store(void)
{
	uint64_t bytes[QUIRE_PAGE_SIZE / 8];

	store = memfd_create("test-store", MFD_CLOEXEC);
	for (uint32_t c = 0; c < 1000 + MOST; c++) {
		fill_bytes(bytes, c);
		if (store < 0 || write(store, bytes, sizeof(bytes)) != sizeof(bytes))
			tap_bail("no store");
	}
}

int main(int argc, char **argv)
{
	tap_init();
	rng = tap_seed(argc, argv);
	make_store();
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		row = &rows[i];
		test_apart();
		test_lockstep(false);
		test_lockstep(true);
	}
	return tap_done();
}
