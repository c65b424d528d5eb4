/* SPDX-License-Identifier: MIT */
/*
 * Miss-ratio curves as SVG.
 *
 * Frames are at the x axis, each doubling as far as the last, because small memories differ most.
 * The miss ratio is at the y axis, from 0 to 100 %.  A policy has a colour, a pattern of dashes and
 * a row in the legend, so that nobody has to tell colours apart.  The colours have a contrast of
 * more than three to one on white and on the dark background.
 */
#include <inttypes.h>
#include <string.h>
#include "sim_report.h"
#include "vmm/print/svg.h"

/* The plot, in user units; around it are labels. */
#define LEFT   64.0
#define TOP    40.0
#define WIDTH  560.0
#define HEIGHT 320.0

#define LEGEND_X (LEFT + WIDTH + 20)
#define ALL_X	 (LEGEND_X + 96)
#define ALL_Y	 (TOP + HEIGHT + 60)

static const struct {
	const char *colour, *dashes;
} line_style[SIM_NR_POLICIES] = {
	{ "#2a78d6", "16 3" },	       /* clock */
	{ "#d0561d", "6 3" },	       /* lru */
	{ "#148a55", "9 3 2 3" },      /* lfu */
	{ "#8a6fd1", "3 3" },	       /* fifo */
	{ "#8c7a10", "1 3" },	       /* random */
	{ "#d14b8f", "none" },	       /* gen */
	{ "#7f7f7f", "10 3 2 3 2 3" }, /* opt */
};

/* log2, which needs no library: exact at powers of two, and straight lines between. */
static double log2_of(uint32_t n)
{
	unsigned int whole = 31 - (unsigned int)__builtin_clz(n);

	return whole + (double)(n - (1u << whole)) / (double)(1u << whole);
}

static double x_of(const struct sim_report *r, uint32_t frames)
{
	double last = log2_of(r->frames[r->nr_points - 1]);

	return LEFT + (last > 0 ? WIDTH * log2_of(frames) / last : 0);
}

static double y_of(double ratio)
{
	return TOP + HEIGHT * (1 - ratio);
}

/* What of a path fits above the plot. */
static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

static void head(FILE *f, const struct sim_report *r)
{
	char title[512];

	snprintf(title, sizeof(title), "Miss ratio by frames: %s", r->name);
	svg_begin(f, ALL_X, ALL_Y, title);
	svg_text(f, LEFT, 24, "start", "%.160s: %" PRIu64 " accesses to %" PRIu32 " pages",
		 last_part(r->name), trace_length(r->trace), r->trace->nr_pages);
}

static void y_axis(FILE *f)
{
	for (int tick = 0; tick <= 100; tick += 20) {
		double y = y_of(tick / 100.0);

		svg_line(f, tick ? "grid" : "axis", LEFT, y, LEFT + WIDTH, y);
		svg_text(f, LEFT - 8, y + 4, "end", "%d %%", tick);
	}
	svg_line(f, "axis", LEFT, TOP, LEFT, TOP + HEIGHT);
	svg_upright(f, 16, TOP + HEIGHT / 2, "miss ratio");
}

/* A tick for each power of two, or for each second one or fourth one if they are many. */
static void x_axis(FILE *f, const struct sim_report *r)
{
	uint32_t last = r->frames[r->nr_points - 1];
	unsigned int step = last < 1u << 10 ? 1 : last < 1u << 20 ? 2 : 4;

	for (unsigned int power = 0; power < 32 && last >> power; power += step) {
		double x = x_of(r, 1u << power);

		svg_line(f, power ? "grid" : "axis", x, TOP, x, TOP + HEIGHT);
		svg_text(f, x, TOP + HEIGHT + 18, "middle", "%u", 1u << power);
	}
	svg_text(f, LEFT + WIDTH / 2, TOP + HEIGHT + 42, "middle", "frames (pages of memory)");
}

static void curve(FILE *f, const struct sim_report *r, unsigned int p, unsigned int row)
{
	const double y = TOP + 10 + 22 * row;

	fprintf(f, "<g stroke=\"%s\" stroke-dasharray=\"%s\">\n<polyline class=\"line\" points=\"",
		line_style[p].colour, line_style[p].dashes);
	for (unsigned int i = 0; i < r->nr_points; i++)
		fprintf(f, "%s%.1f,%.1f", i ? " " : "", x_of(r, r->frames[i]),
			y_of((double)r->faults[p][i] / (double)trace_length(r->trace)));
	fputs("\"/>\n", f);
	svg_line(f, "line", LEGEND_X, y, LEGEND_X + 30, y);
	fputs("</g>\n", f);
	svg_text(f, LEGEND_X + 38, y + 4, "start", "%s", sim_name(p));
}

void sim_report_svg(FILE *f, const struct sim_report *r)
{
	unsigned int row = 0;

	head(f, r);
	y_axis(f);
	x_axis(f, r);
	for (unsigned int p = 0; p < SIM_NR_POLICIES; p++)
		if (r->asked[p])
			curve(f, r, p, row++);
	svg_end(f);
}
