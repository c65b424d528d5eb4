/* SPDX-License-Identifier: MIT */
/* Frames, bars and sparklines: what gets into them, and how cells are shared out. */
#include <stdlib.h>
#include <string.h>
#include "tests/tap.h"
#include "vmm/top/bar.h"

#define COLUMNS 40

static struct frame frame;

static char *text_of(struct frame_look look)
{
	static char text[4096];
	FILE *f = fmemopen(text, sizeof(text), "w");

	frame_write(f, &frame, look);
	fclose(f);
	return text;
}

static const char *ascii(void)
{
	return text_of((struct frame_look){ 0 });
}

static void fresh(unsigned int rows, unsigned int columns)
{
	frame_finish(&frame);
	if (frame_init(&frame, rows, columns))
		tap_bail("no memory");
}

/* ---- frames ---- */

static void test_places(void)
{
	fresh(2, COLUMNS);
	ok(!strcmp(ascii(), "\n\n"), "a new frame is blank, and no row ends in blanks");
	is(frame_print(&frame, 0, 3, frame_plain, "%s-%d", "web", 7), 8, "text is put somewhere");
	ok(!strcmp(ascii(), "   web-7\n\n"), "... and is there");
	frame_print(&frame, 1, COLUMNS - 2, frame_plain, "abcdef");
	frame_print(&frame, 2, 0, frame_plain, "beyond the last row");
	ok(!strcmp(strchr(ascii(), '\n') + COLUMNS - 1, "ab\n"), "what is beyond an edge is cut");
	ok(!frame_at(&frame, 2, 0) && !frame_at(&frame, 0, COLUMNS), "there is no cell there");
	fresh(1, COLUMNS);
	frame_print_right(&frame, 0, 5, frame_plain, "123");
	ok(!strcmp(ascii(), "  123\n"), "text at the right ends where it is said");
	frame_print_right(&frame, 0, 5, frame_plain, "1234567");
	ok(!strcmp(ascii(), "34567\n"), "... and loses its beginning if it does not fit");
}

static void test_characters(void)
{
	char raw[256];

	for (int i = 0; i < 255; i++)
		raw[i] = (char)(i + 1);
	raw[255] = '\0';
	fresh(1, 300);
	frame_print(&frame, 0, 0, frame_plain, "%s", raw);
	ok(!strpbrk(ascii(), "\x1b\x07\x08\r\t\x7f\x9b\xff") && strlen(ascii()) == 256,
	   "whatever bytes text has, no control gets into a frame");
	ok(strstr(ascii(), "?@ABC") && strstr(ascii(), "xyz{|}~?"), "... but a question mark");
	fresh(1, COLUMNS);
	frame_put(&frame, 0, 0, frame_plain, FRAME_BLOCK + 1);
	frame_put(&frame, 0, 1, frame_plain, FRAME_BLOCK + 8);
	frame_put(&frame, 0, 2, frame_plain, FRAME_BLOCK + 9);
	ok(!strcmp(ascii(), ".@?\n"), "blocks have characters of growing weight in ASCII");
	ok(!strcmp(text_of((struct frame_look){ .blocks = true }), "\xe2\x96\x81\xe2\x96\x88?\n"),
	   "... or are blocks, in UTF-8");
	frame_put(&frame, 0, 0, frame_on(0xffffff), 'w');
	ok(!strncmp(text_of((struct frame_look){ .colour = true }),
		    "\x1b[38;5;16m\x1b[48;5;231mw\x1b[m", 24),
	   "a cell on white is black on white, where colours are wanted");
}

/* ---- bars ---- */

static unsigned int share_out(unsigned int *share, unsigned int cells, uint64_t a, uint64_t b,
			      uint64_t c)
{
	const struct bar_part part[] = { { a, 'a', 0 }, { b, 'b', 0 }, { c, 'c', 0 } };

	bar_share(part, 3, cells, share);
	return share[0] + share[1] + share[2];
}

static void test_shares(void)
{
	unsigned int share[3];

	is(share_out(share, 10, 5, 3, 2), 10, "all cells are shared out");
	ok(share[0] == 5 && share[1] == 3 && share[2] == 2, "... in proportion");
	share_out(share, 10, 1000000, 1, 0);
	ok(share[0] == 9 && share[1] == 1 && share[2] == 0,
	   "what is not 0 has a cell, and what is 0 has none");
	is(share_out(share, 10, 0, 0, 0), 0, "of nothing, nothing is shared out");
	is(share_out(share, 2, 5, 1, 9), 2, "there may be more parts than cells");
	ok(share[0] == 1 && share[1] == 0 && share[2] == 1, "... then the smallest goes without");
	is(share_out(share, 10, UINT64_MAX / 4, UINT64_MAX / 4, 1), 10, "amounts may be large");
	is(share_out(share, 0, 1, 2, 3), 0, "no cells, no shares");
}

#define PARTS 6

/* How many rules the shares of a random bar break. */
static unsigned int broken_rules(uint64_t *seed)
{
	struct bar_part part[PARTS] = { 0 };
	unsigned int share[PARTS], cells = (unsigned int)(tap_random(seed) % 100), sum = 0;
	unsigned int present = 0, bad = 0;
	uint64_t all = 0;

	for (unsigned int i = 0; i < PARTS; i++) {
		part[i].amount = tap_random(seed) >> (tap_random(seed) % 52 + 8);
		part[i].amount *= tap_random(seed) % 3 != 0;
		all += part[i].amount;
		present += part[i].amount != 0;
	}
	bar_share(part, PARTS, cells, share);
	for (unsigned int i = 0; i < PARTS; i++) {
		double fair = all ? (double)part[i].amount * cells / (double)all : 0;

		sum += share[i];
		bad += !part[i].amount && share[i];
		bad += part[i].amount && !share[i] && present <= cells;
		bad += share[i] > fair + 1 && share[i] > 1;
		bad += share[i] < fair - PARTS;
	}
	return bad + (sum != (all ? cells : 0));
}

static void test_random_shares(uint64_t seed)
{
	unsigned int bad = 0;

	for (unsigned int round = 0; round < 20000; round++)
		bad += broken_rules(&seed);
	is(bad, 0, "20000 random bars keep the rules");
}

static void test_bars(void)
{
	uint64_t pages[PG_NR_STATES] = { 0 };

	fresh(1, COLUMNS);
	pages[PG_ABSENT] = 50;
	pages[PG_PRIVATE] = 25;
	pages[PG_SHARED] = 25;
	bar_draw_states(&frame, 0, 1, 8, pages);
	ok(!strcmp(ascii(), " ppss....\n"), "a bar of states has their letters, absent last");
	is_hex(frame_at(&frame, 0, 1)->style.paper, page_states[PG_PRIVATE].rgb,
	       "... on their colours");
	for (unsigned int i = 0; i < PG_NR_STATES; i++)
		pages[i] = 1;
	fresh(1, COLUMNS);
	bar_draw_states(&frame, 0, 0, PG_NR_STATES, pages);
	for (unsigned int i = 0; i < PG_NR_STATES; i++)
		ok(strchr(ascii(), page_states[i].glyph), "%s pages have a letter",
		   page_states[i].name);
}

/* ---- sparklines ---- */

static uint64_t faults(const struct watch_point *point, unsigned int arg)
{
	return point->per_second[arg];
}

static struct watch_ring ring;

static void push(uint64_t value)
{
	ring.point[ring.nr++ % WATCH_POINTS].per_second[WATCH_FAULTS] = value;
}

static const char *spark(unsigned int width, uint64_t whole)
{
	fresh(1, COLUMNS);
	bar_draw_spark(&frame, 0, 0, width, &ring, faults, WATCH_FAULTS, whole);
	return ascii();
}

static void test_sparks(void)
{
	ok(!strcmp(spark(8, 0), "\n"), "there is nothing before the first point");
	for (uint64_t i = 0; i <= 8; i++)
		push(i);
	ok(!strcmp(spark(9, 0), " .:-=+*#@\n"), "a sparkline rises as its values do");
	ok(!strcmp(spark(9, 16), " ..::--==\n"), "... in proportion to the whole");
	ok(!strcmp(spark(9, 4), " :=*@@@@@\n"), "... and no higher than it");
	ok(!strcmp(spark(12, 0), "    .:-=+*#@\n"), "the newest value is at the right");
	ok(strchr(spark(3, 0), '@') == ascii() + 2, "what does not fit is taken together");
	fresh(1, COLUMNS);
	bar_draw_spark(&frame, 0, 0, 5, NULL, faults, 0, 0);
	ok(!strcmp(ascii(), "\n"), "no ring, no line");
}

/* A ring that is full many times over, with a peak of one point. */
static void test_long_sparks(void)
{
	unsigned int moves = 0;
	long before;

	memset(&ring, 0, sizeof(ring));
	for (unsigned int i = 0; i < 1000; i++)
		push(i == 900 ? 100 : 1);
	ok(strchr(spark(24, 0), '@'), "a peak of one point is seen among 240 in 24 cells");
	for (unsigned int i = 0; i < 20; i++) {
		before = strchr(ascii(), '@') - ascii();
		push(1);
		moves += strchr(spark(24, 0), '@') - ascii() != before;
	}
	is(moves, 2, "... and moves a cell to the left with every tenth point");
}

int main(int argc, char **argv)
{
	tap_init();
	test_places();
	test_characters();
	test_shares();
	test_random_shares(tap_seed(argc, argv));
	test_bars();
	test_sparks();
	test_long_sparks();
	frame_finish(&frame);
	return tap_done();
}
