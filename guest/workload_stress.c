/* SPDX-License-Identifier: MIT */
/*
 * stress: does memory keep what is written to it, whatever the host does with it?
 *
 *	stress SECONDS|rounds=N [pattern=random|zipf|scan|phases] [seed=N] [pages=N]
 *		[writes=PERCENT] [packs=PERCENT] [alike=N] [fill=1] [balloon=1] [every=SECONDS]
 *		[spoil=N]
 *
 * An operation draws a page (of 7/8 of the free memory unless told), checks every byte of what it
 * last wrote there and, in PERCENT of all cases (100), writes something new.  At the end it checks
 * all.  It goes on for so long, or for N operations a page, or, at a wait port, until there is
 * input.
 *
 * The seed, the page and its version determine what a page holds; the versions are kept apart, a
 * number a page.  One page in eight is zeroes, and two in eight have one of sixteen common
 * contents.  So a host that merges has something to merge and to break.  With packs=PERCENT (0) so
 * many of all others can be compressed.
 *
 *	alike=N		guests of the same N have the same common contents (the seed, unless told)
 *	fill=1		first all pages are written, in order
 *	balloon=1	the balloon's driver has a turn after each operation; an eighth of the free
 *			memory that is left is used once, so that it is worth something
 *	every=SECONDS	say how far it has come
 *	spoil=N		before operation N a word of its page is changed: an error to be found
 */
#include "balloon.h"
#include "memory.h"
#include "paging.h"
#include "pattern.h"
#include "workload.h"

#define COMMON_CONTENTS 16
#define POLL_MS		10 /* how often it looks for input */

struct stress {
	uint64_t seed, alike, pages, percent, packs, spoil;
	uint64_t most;	   /* operations; 0: no matter */
	uint64_t deadline; /* TSC */
	uint64_t every;	   /* TSC ticks; 0: never */
	bool fill;
	struct balloon *balloon; /* or NULL */
	struct pattern pattern;
	uint32_t *version; /* 0: not written yet */
	uint64_t (*page)[PAGE_WORDS];

	uint64_t state; /* of the dice that choose between reading and writing */
	uint64_t filled, operations, writes, verified;
	uint64_t last, longest, pause; /* TSC: of an operation; in all, and since it last said so */
	uint64_t next_look, next_tell;
	bool stopped; /* there was input */
};

struct content {
	uint64_t seed, index;
};

/* Unique contents are numbered from COMMON_CONTENTS up: 32 bits of page, 28 of version. */
static struct content content_of(const struct stress *s, uint64_t page)
{
	uint64_t unique = page << 28 | s->version[page], die = mix(s->seed ^ unique);
	uint64_t common = die / 8 % COMMON_CONTENTS;

	if (die % 8 == 0)
		return (struct content){ 0, CONTENT_ZERO };
	if (die % 8 < 3)
		return (struct content){
			s->alike, common | (common * 100 < s->packs * 16 ? CONTENT_PACKS : 0)
		};
	return (struct content){ s->seed, (COMMON_CONTENTS + unique) |
						  (die / 8 % 100 < s->packs ? CONTENT_PACKS : 0) };
}

static bool check(struct stress *s, uint64_t page)
{
	struct content c;

	if (!s->version[page])
		return true;
	c = content_of(s, page);
	if (content_check("stress", s->page[page], c.seed, c.index)) {
		s->verified++;
		return true;
	}
	print("stress: wrong page=%lu version=%u seed=%lu operation=%lu\n", page, s->version[page],
	      s->seed, s->operations);
	return false;
}

static void rewrite(struct stress *s, uint64_t page)
{
	struct content c;

	s->version[page]++;
	c = content_of(s, page);
	content_write(s->page[page], c.seed, c.index);
	s->writes++;
}

static bool one_operation(struct stress *s)
{
	uint64_t page = pattern_next(&s->pattern);

	if (s->spoil && s->operations + 1 == s->spoil)
		s->page[page][PAGE_WORDS / 2] ^= 1;
	if (!check(s, page))
		return false;
	if (!s->version[page] || random_below(&s->state, 100) < s->percent)
		rewrite(s, page);
	s->operations++;
	return true;
}

static void tell(struct stress *s)
{
	print("stress: filled=%lu operations=%lu pause_us=%lu\n", s->filled, s->operations,
	      clock_ns(s->pause) / 1000);
	console_flush();
	s->pause = 0;
	s->next_tell = s->last + s->every;
}

/* After each operation.  What is said here takes its time, which is no pause. */
static void look_around(struct stress *s)
{
	uint64_t now = rdtsc(), took = now - s->last;

	s->last = now;
	if (took > s->longest)
		s->longest = took;
	if (took > s->pause)
		s->pause = took;
	if (s->balloon)
		balloon_poll(s->balloon);
	if (s->every && now >= s->next_tell)
		tell(s);
	if (boot.wait_port && now >= s->next_look) {
		s->stopped |= console_has_input();
		s->next_look = now + clock_khz() * POLL_MS;
	}
	s->last = rdtsc();
}

static void fill_all(struct stress *s)
{
	while (s->filled < s->pages && !s->stopped) {
		rewrite(s, s->filled++);
		look_around(s);
	}
	print("stress: ready\n");
	console_flush();
}

static bool is_over(const struct stress *s)
{
	if (s->stopped || s->most)
		return s->stopped || s->operations == s->most;
	return s->operations % 64 == 0 && rdtsc() >= s->deadline;
}

static bool run_all(struct stress *s, uint64_t seconds)
{
	s->last = s->next_look = rdtsc();
	s->next_tell = s->last + s->every;
	if (s->fill)
		fill_all(s);
	s->deadline = clock_deadline(seconds);
	while (!is_over(s)) {
		if (!one_operation(s))
			return false;
		look_around(s);
	}
	return true;
}

static bool check_all(struct stress *s)
{
	for (uint64_t page = 0; page < s->pages; page++) {
		if (!check(s, page))
			return false;
		look_around(s);
	}
	return true;
}

/* Of all versions: equal after equal operations. */
static uint64_t digest(const struct stress *s)
{
	uint64_t sum = s->seed;

	for (uint64_t page = 0; page < s->pages; page++)
		sum = mix(sum + s->version[page]);
	return sum;
}

/* Use memory and free it, so that a balloon has something to give back. */
static void soil(void)
{
	struct frames used = { 0 };
	uint64_t blocks = frames_alloc(&used, HALF_ORDER, free_blocks(HALF_ORDER) / 8);

	for (; blocks; blocks--) {
		uint64_t gpa = frames_pop(&used);

		for (uint64_t page = 0; page < BLOCK_PAGES; page++)
			*(volatile uint64_t *)direct(gpa + page * PAGE_SIZE) = gpa;
		free_pages(gpa, HALF_ORDER);
	}
	frames_free(&used, HALF_ORDER);
}

static bool start_balloon(struct stress *s, bool wanted)
{
	static struct balloon balloon;
	const struct balloon_wish wish = { .features = BALLOON_F_STATS_VQ |
						       BALLOON_F_DEFLATE_ON_OOM };

	if (!wanted)
		return true;
	soil();
	s->balloon = &balloon;
	return balloon_start(&balloon, &wish);
}

/* 7/8 of what is free; in a small guest less, because each table takes a block of 2 MiB. */
static uint64_t default_pages(void)
{
	uint64_t blocks = free_blocks(HALF_ORDER), most = blocks > 5 ? blocks - 5 : 0;

	return (blocks * 7 / 8 < most ? blocks * 7 / 8 : most) * BLOCK_PAGES;
}

static uint64_t parse(struct stress *s, enum pattern_kind *kind, bool *balloon, struct args *a)
{
	const char *pattern = args_text(a, "pattern", "random");
	uint64_t rounds = args_key(a, "rounds", 0), seconds = rounds ? 0 : args_number(a);

	while (*kind < NR_PATTERNS && strcmp(pattern, pattern_names[*kind]))
		++*kind;
	s->seed = args_key(a, "seed", 1);
	s->alike = args_key(a, "alike", s->seed);
	s->pages = args_key(a, "pages", default_pages());
	s->percent = args_key(a, "writes", 100);
	s->packs = args_key(a, "packs", 0);
	s->fill = args_key(a, "fill", 0);
	*balloon = args_key(a, "balloon", 0);
	s->every = args_key(a, "every", 0);
	s->spoil = args_key(a, "spoil", 0);
	s->most = rounds * s->pages;
	a->bad |= *kind == NR_PATTERNS || s->percent > 100 || s->packs > 100;
	return seconds;
}

int stress_run(struct args *a)
{
	enum pattern_kind kind = 0;
	static struct stress s;
	bool balloon;
	uint64_t seconds = parse(&s, &kind, &balloon, a);

	if (!args_done(a))
		return STATUS_USAGE;
	s.state = ~s.seed;
	s.every *= clock_khz() * 1000UL;
	s.page = window_create(s.pages);
	s.version = window_create((s.pages + 1023) / 1024);
	if (!s.pages || !s.page || !s.version || !pattern_init(&s.pattern, kind, s.pages, s.seed))
		return no_room(s.pages);
	memset(s.version, 0, s.pages * sizeof(*s.version));
	if (!start_balloon(&s, balloon))
		return STATUS_NO_DEVICE;
	print("stress: seed=%lu pages=%lu seconds=%lu\n", s.seed, s.pages, seconds);
	console_flush();
	if (!run_all(&s, seconds) || !check_all(&s))
		return STATUS_WRONG;
	print("stress: operations=%lu longest_us=%lu digest=%016lx\n", s.operations,
	      clock_ns(s.longest) / 1000, digest(&s));
	print("stress: writes=%lu verified=%lu\n", s.writes, s.verified);
	return STATUS_OK;
}
