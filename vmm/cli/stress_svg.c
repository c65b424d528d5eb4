/* SPDX-License-Identifier: MIT */
/*
 * Where the guests' memory was, over time, as SVG: an area for each kind of page, on top of each
 * other.  Those that take memory are at the bottom, so that the line of the machine's memory shows
 * how much of it they fill.  Compressed pages are drawn by what they were before.
 */
#include <inttypes.h>
#include <quire/abi.h>
#include "stress.h"
#include "vmm/print/svg.h"
#include "vmm/print/table.h"

/* The plot, in user units; around it are labels. */
#define LEFT   84.0
#define TOP    40.0
#define WIDTH  640.0
#define HEIGHT 320.0

#define LEGEND_X (LEFT + WIDTH + 20)
#define ALL_X	 (LEGEND_X + 120)
#define ALL_Y	 (TOP + HEIGHT + 60)

#define MAX_POINTS 1000u /* more samples than the plot has units show nothing more */

/* From the bottom upwards. */
static const struct {
	enum stress_number number;
	const char *name, *colour;
} band[] = {
	{ STRESS_PRIVATE, "private", "#2a78d6" },   { STRESS_SHARED, "shared", "#148a55" },
	{ STRESS_ZERO, "zero", "#8fb8a3" },	    { STRESS_COMPRESSED, "compressed", "#d0a12a" },
	{ STRESS_SWAPPED, "swapped", "#d0561d" },   { STRESS_BALLOONED, "ballooned", "#8a6fd1" },
	{ STRESS_ABSENT, "never used", "#b4b8bd" },
};

struct plot {
	const struct stress *s;
	uint64_t end_ns, top_pages;
	unsigned int step; /* each step-th sample is drawn */
};

static double x_of(const struct plot *p, uint64_t ns)
{
	return LEFT + WIDTH * (double)ns / (double)p->end_ns;
}

static double y_of(const struct plot *p, uint64_t pages)
{
	return TOP + HEIGHT * (1 - (double)pages / (double)p->top_pages);
}

static uint64_t sum_below(const struct stress_sample *at, unsigned int nr)
{
	uint64_t pages = 0;

	for (unsigned int i = 0; i < nr; i++)
		pages += at->sum.of[band[i].number];
	return pages;
}

static struct plot plot_of(const struct stress *s)
{
	struct plot p = { .s = s, .end_ns = 1, .top_pages = s->opt.memory_bytes / QUIRE_PAGE_SIZE };

	for (unsigned int i = 0; i < s->nr_samples; i++) {
		p.end_ns = max_u64(p.end_ns, s->sample[i].ns);
		p.top_pages = max_u64(p.top_pages, sum_below(&s->sample[i], ARRAY_SIZE(band)));
	}
	p.step = s->nr_samples / MAX_POINTS + 1;
	return p;
}

static void point(FILE *f, const struct plot *p, unsigned int i, unsigned int nr)
{
	const struct stress_sample *at = &p->s->sample[i];

	fprintf(f, "%.1f,%.1f ", x_of(p, at->ns), y_of(p, sum_below(at, nr)));
}

static void put_band(FILE *f, const struct plot *p, unsigned int b)
{
	const unsigned int nr = p->s->nr_samples;
	const double y = TOP + 10 + 22 * (double)(ARRAY_SIZE(band) - 1 - b);

	fprintf(f, "<g fill=\"%s\"><polygon points=\"", band[b].colour);
	for (unsigned int i = 0; i < nr; i += p->step)
		point(f, p, i, b + 1);
	for (unsigned int i = 0; i < nr; i += p->step)
		point(f, p, (nr - 1) / p->step * p->step - i, b);
	fprintf(f, "\"/><rect x=\"%.1f\" y=\"%.1f\" width=\"14\" height=\"14\"/></g>\n", LEGEND_X,
		y - 11);
	svg_text(f, LEGEND_X + 22, y, "start", "%s", band[b].name);
}

static void y_axis(FILE *f, const struct plot *p)
{
	for (unsigned int tick = 0; tick <= 4; tick++) {
		uint64_t pages = p->top_pages * tick / 4;

		svg_line(f, tick ? "grid" : "axis", LEFT, y_of(p, pages), LEFT + WIDTH,
			 y_of(p, pages));
		svg_text(f, LEFT - 8, y_of(p, pages) + 4, "end", "%s",
			 size_text(pages * QUIRE_PAGE_SIZE));
	}
	svg_line(f, "axis", LEFT, TOP, LEFT, TOP + HEIGHT);
}

static void x_axis(FILE *f, const struct plot *p)
{
	for (unsigned int tick = 0; tick <= 5; tick++) {
		uint64_t ns = p->end_ns * tick / 5;

		svg_text(f, x_of(p, ns), TOP + HEIGHT + 18, "middle", "%.1f", (double)ns / 1e9);
	}
	svg_text(f, LEFT + WIDTH / 2, TOP + HEIGHT + 42, "middle", "seconds");
}

/* Levels and moments that matter: the machine's memory, and when the guests were asked to end. */
static void put_marks(FILE *f, const struct plot *p)
{
	const double y = y_of(p, p->s->opt.memory_bytes / QUIRE_PAGE_SIZE);
	const double x = x_of(p, min_u64(p->s->end_ns - p->s->start_ns, p->end_ns));

	svg_line(f, "axis", LEFT, y, LEFT + WIDTH, y);
	svg_text(f, LEFT + 6, y - 5, "start", "memory of the machine");
	svg_line(f, "axis", x, TOP, x, TOP + HEIGHT);
	svg_text(f, x, TOP - 4, "end", "then all is verified");
}

void stress_svg(FILE *f, const struct stress *s)
{
	struct plot p = plot_of(s);

	svg_begin(f, ALL_X, ALL_Y, "Where the guests' memory was");
	svg_text(f, LEFT, 20, "start",
		 "%" PRIu64 " guests of %s on a machine of %s: %s, seed %" PRIu64, s->opt.guests,
		 size_text(s->opt.guest_bytes), size_text(s->opt.memory_bytes),
		 stress_patterns[s->opt.pattern], s->opt.seed);
	for (unsigned int b = 0; b < ARRAY_SIZE(band); b++)
		put_band(f, &p, b);
	y_axis(f, &p);
	x_axis(f, &p);
	put_marks(f, &p);
	svg_end(f);
}
