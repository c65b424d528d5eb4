/* SPDX-License-Identifier: MIT */
/*
 * balloon and report: the memory balloon as a well-behaved guest uses it.
 *
 *	balloon [seconds=N] [steps=N] [touch=PAGES] [dirty=PAGES] [zero=PAGES] [oom=PAGES]
 *		[reuse=1] [delay=MS] [features=MASK] [poison=N]
 *
 * First it writes and frees dirty=PAGES pages, rounded up to blocks of 2 MiB, so that there is
 * something to give away; the first zero=PAGES of them with zeroes.  Then it follows the host's
 * target for N seconds (10), or until steps=N targets have been reached.  All the time it verifies
 * and rewrites a working set of touch=PAGES pages, one after the other.
 *
 *	reuse=1		every page that comes back is written and verified
 *	oom=PAGES	when the first target has been reached, so many pages are allocated one by
 *			one, from the balloon if there are no others, and verified at the end
 *	delay=MS	how often to look for free blocks to report (2000)
 *
 *	report PAGES [features=MASK] [poison=N]
 *
 * It writes PAGES pages, rounded up to blocks of 2 MiB, and frees and reports them.  Then it
 * allocates as many again, says what they hold, and writes and verifies them again.
 *
 * features=MASK restricts the features to negotiate.  PAGE_POISON is wanted only with poison=N.
 */
#include "balloon.h"
#include "memory.h"
#include "paging.h"
#include "workload.h"

#define ALL_FEATURES \
	(BALLOON_F_MUST_TELL_HOST | BALLOON_F_STATS_VQ | BALLOON_F_DEFLATE_ON_OOM | \
	 BALLOON_F_FREE_PAGE_HINT | BALLOON_F_REPORTING | VIRTIO_F_INDIRECT_DESC | \
	 VIRTIO_F_EVENT_IDX)

#define SEED_TOUCH  1
#define SEED_DIRTY  2
#define SEED_OOM    3
#define SEED_REPORT 4

struct set {
	uint64_t touch, dirty, zero, oom, seconds;
	uint64_t steps, done; /* targets to reach, and reached; 0 steps: no matter */
	uint64_t (*page)[PAGE_WORDS];
	uint64_t at, pass; /* pages before at were written in this pass */
	struct frames oom_pages;
	uint64_t last, longest_stall; /* TSC: between two pages of the working set */
};

static struct balloon_wish parse_wish(struct args *a)
{
	uint64_t mask = args_key(a, "features", UINT64_MAX);
	const char *poison = args_text(a, "poison", NULL);
	struct balloon_wish wish = { .features = ALL_FEATURES & mask };

	if (poison) {
		wish.features |= BALLOON_F_PAGE_POISON;
		wish.poison = (uint32_t)args_key(a, "poison", 0);
	}
	return wish;
}

static int no_device(const char *name, const char *what)
{
	print("%s: no virtio device that is a balloon%s\n", name, what);
	return STATUS_NO_DEVICE;
}

/* The page holds what was written in the last pass, or in this one. */
static bool next_page(struct set *s)
{
	uint64_t now;

	if (!s->touch)
		return true;
	if (!content_check("balloon", s->page[s->at], SEED_TOUCH, s->pass * s->touch + s->at))
		return false;
	content_write(s->page[s->at], SEED_TOUCH, (s->pass + 1) * s->touch + s->at);
	if (++s->at == s->touch) {
		s->at = 0;
		s->pass++;
	}
	now = rdtsc();
	if (now - s->last > s->longest_stall)
		s->longest_stall = now - s->last;
	s->last = now;
	return true;
}

/* Page n of those that are written and freed. */
static void soil(const struct set *s, uint64_t *page, uint64_t n)
{
	for (unsigned int i = 0; n < s->zero && i < PAGE_WORDS; i++)
		page[i] = 0;
	if (n >= s->zero)
		content_write(page, SEED_DIRTY, n);
}

static bool set_create(struct set *s)
{
	struct frames dirty = { 0 };
	uint64_t blocks = (s->dirty + BLOCK_PAGES - 1) / BLOCK_PAGES;
	bool room;

	if (s->touch) {
		s->page = window_create(s->touch);
		if (!s->page)
			return false;
	}
	for (uint64_t i = 0; i < s->touch; i++)
		content_write(s->page[i], SEED_TOUCH, i);
	room = frames_alloc(&dirty, HALF_ORDER, blocks) == blocks;
	for (uint64_t i = 0; room && dirty.nr; i++) {
		uint64_t gpa = frames_pop(&dirty);

		for (uint64_t page = 0; page < BLOCK_PAGES; page++)
			soil(s, direct(gpa + page * PAGE_SIZE), i * BLOCK_PAGES + page);
		free_pages(gpa, HALF_ORDER);
	}
	frames_free(&dirty, HALF_ORDER);
	return room;
}

/* Allocate pages for the guest, from the balloon if there are no others. */
static void out_of_memory(struct set *s, struct balloon *b)
{
	uint64_t taken = 0;

	while (s->oom_pages.nr < s->oom) {
		if (frames_alloc(&s->oom_pages, 0, 1)) {
			content_write(direct(frames_peek(&s->oom_pages)), SEED_OOM,
				      s->oom_pages.nr);
			continue;
		}
		if (!balloon_oom(b))
			break;
		taken = b->deflated;
	}
	print("balloon: oom=%lu allocated=%lu deflated=%lu actual=%u\n", s->oom, s->oom_pages.nr,
	      taken, b->actual);
	s->oom = 0;
}

static bool oom_check(struct set *s)
{
	bool good = true;

	for (uint64_t n = s->oom_pages.nr; good && n; n--)
		good = content_check("balloon", direct(frames_pop(&s->oom_pages)), SEED_OOM, n);
	return good;
}

static void say(struct set *s, struct balloon *b, enum balloon_event event)
{
	if (event == BALLOON_REACHED)
		print("balloon: target=%u actual=%u took_us=%lu\n", b->target, b->actual,
		      clock_ns(b->took) / 1000);
	else
		print("balloon: target=%u actual=%u: no more pages to give\n", b->target,
		      b->actual);
	s->done += event == BALLOON_REACHED;
	if (event == BALLOON_REACHED && s->oom)
		out_of_memory(s, b);
	console_flush();
	s->last = rdtsc();
}

static bool follow(struct set *s, struct balloon *b)
{
	uint64_t deadline = clock_deadline(s->seconds);

	s->last = rdtsc();
	while (rdtsc() < deadline && (!s->steps || s->done < s->steps)) {
		enum balloon_event event = balloon_poll(b);

		if (event != BALLOON_QUIET)
			say(s, b, event);
		if (!next_page(s) || b->wrong)
			return false;
		if (!s->touch)
			balloon_wait(b, deadline);
	}
	balloon_finish_all(b);
	return true;
}

static bool check_set(struct set *s)
{
	uint64_t at = s->at;

	do
		if (!next_page(s))
			return false;
	while (s->at != at);
	return oom_check(s);
}

static bool balloon_parse(struct set *s, struct balloon_wish *wish, struct args *a)
{
	*wish = parse_wish(a);
	wish->delay_ms = args_key(a, "delay", 2000);
	wish->reuse = args_key(a, "reuse", 0);
	s->seconds = args_key(a, "seconds", 10);
	s->steps = args_key(a, "steps", 0);
	s->touch = args_key(a, "touch", 0);
	s->dirty = args_key(a, "dirty", 0);
	s->zero = args_key(a, "zero", 0);
	s->oom = args_key(a, "oom", 0);
	return args_done(a);
}

static void say_ready(const struct set *s, const struct balloon *b)
{
	print("balloon: features=0x%lx queues=%u target=%u free=%lu touch=%lu\n", b->dev.features,
	      b->nr_queues, b->target, free_page_count(), s->touch);
	print("balloon: ready\n");
	console_flush();
}

int balloon_run(struct args *a)
{
	static struct balloon b;
	struct balloon_wish wish;
	struct set s = { 0 };

	if (!balloon_parse(&s, &wish, a))
		return STATUS_USAGE;
	if (!set_create(&s))
		return no_room(s.touch + s.dirty);
	if (!balloon_start(&b, &wish))
		return no_device("balloon", "");
	say_ready(&s, &b);
	if (!follow(&s, &b))
		return STATUS_WRONG;
	print("balloon: actual=%u target=%u inflated=%lu deflated=%lu reported=%lu hinted=%lu "
	      "stats=%lu free=%lu longest_stall_us=%lu longest_wait_us=%lu zeroed=%lu\n",
	      b.actual, b.target, b.inflated, b.deflated, b.reported, b.hinted, b.stats,
	      free_page_count(), clock_ns(s.longest_stall) / 1000, clock_ns(b.longest_wait) / 1000,
	      b.zeroed);
	if (!check_set(&s))
		return STATUS_WRONG;
	print("balloon: verified=%lu passes=%lu\n", s.touch, s.pass);
	return STATUS_OK;
}

/* ---- report ---- */

struct found {
	uint64_t zero, kept, other; /* pages */
};

static void write_blocks(struct frames *blocks, struct frames *written)
{
	for (uint64_t i = 0; blocks->nr; i++) {
		uint64_t gpa = frames_pop(blocks);

		for (uint64_t page = 0; page < BLOCK_PAGES; page++)
			content_write(direct(gpa + page * PAGE_SIZE), SEED_REPORT,
				      gpa / PAGE_SIZE + page);
		frames_push(written, gpa);
	}
}

/* The page's content as a whole: all zero, as written, or neither. */
static void look_at_page(const volatile uint64_t *word, uint64_t frame, struct found *found)
{
	static uint64_t want[PAGE_WORDS];
	bool zero = true, kept = true;

	content_write(want, SEED_REPORT, frame);
	for (unsigned int i = 0; i < PAGE_WORDS; i++) {
		zero &= !word[i];
		kept &= word[i] == want[i];
	}
	found->zero += zero;
	found->kept += kept;
	found->other += !zero && !kept;
}

static bool look_at_blocks(const struct balloon *b, struct frames *blocks, struct frames *seen,
			   struct found *found)
{
	while (blocks->nr) {
		uint64_t gpa = frames_pop(blocks);
		volatile uint64_t *word = direct(gpa);

		for (uint64_t i = 0; i < BLOCK_SIZE / sizeof(*word); i++)
			if (!balloon_poisoned(b, word[i])) {
				print("report: wrong: gpa=0x%lx is not the poison\n", gpa);
				return false;
			}
		for (uint64_t page = 0; page < BLOCK_PAGES; page++)
			look_at_page(word + page * PAGE_WORDS, gpa / PAGE_SIZE + page, found);
		frames_push(seen, gpa);
	}
	return true;
}

static bool check_blocks(struct frames *blocks)
{
	while (blocks->nr) {
		uint64_t gpa = frames_pop(blocks);

		for (uint64_t page = 0; page < BLOCK_PAGES; page++)
			if (!content_check("report", direct(gpa + page * PAGE_SIZE), SEED_REPORT,
					   gpa / PAGE_SIZE + page))
				return false;
	}
	return true;
}

static int report_blocks(struct balloon *b, uint64_t blocks)
{
	struct frames some = { 0 }, others = { 0 };
	struct found found = { 0 };
	uint64_t cycles;

	if (frames_alloc(&some, HALF_ORDER, blocks) < blocks)
		return no_room(blocks * BLOCK_PAGES);
	write_blocks(&some, &others);
	frames_free(&others, HALF_ORDER);
	print("report: written=%lu\n", blocks * BLOCK_PAGES);
	console_flush();
	cycles = rdtsc();
	balloon_report_all(b);
	cycles = rdtsc() - cycles;
	print("report: reported=%lu buffers=%lu took_us=%lu ns_per_page=%lu\n", b->reported,
	      b->report_buffers, clock_ns(cycles) / 1000,
	      b->reported ? clock_ns(cycles) / b->reported : 0);
	console_flush();
	if (frames_alloc(&some, HALF_ORDER, blocks) < blocks)
		return no_room(blocks * BLOCK_PAGES);
	if (!look_at_blocks(b, &some, &others, &found))
		return STATUS_WRONG;
	print("report: zero=%lu kept=%lu other=%lu\n", found.zero, found.kept, found.other);
	write_blocks(&others, &some);
	if (!check_blocks(&some))
		return STATUS_WRONG;
	print("report: verified=%lu\n", blocks * BLOCK_PAGES);
	return STATUS_OK;
}

int report_run(struct args *a)
{
	static struct balloon b;
	struct balloon_wish wish = parse_wish(a);
	uint64_t pages = args_number(a);

	a->bad |= !pages;
	if (!args_done(a))
		return STATUS_USAGE;
	if (!balloon_start(&b, &wish) || !(b.dev.features & BALLOON_F_REPORTING))
		return no_device("report", " and takes reports of free pages");
	return report_blocks(&b, (pages + BLOCK_PAGES - 1) / BLOCK_PAGES);
}
