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

/* Text in XML.  A name may hold any bytes; what is not printable ASCII becomes a question mark. */
static void put_escaped(FILE *f, const char *s)
{
	for (; *s; s++) {
		if (*s == '&' || *s == '<' || *s == '>')
			fprintf(f, "&#%d;", *s);
		else
			fputc(*s >= ' ' && *s <= '~' ? *s : '?', f);
	}
}

static void head(FILE *f, const struct sim_report *r)
{
	fprintf(f,
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" width=\"%g\" "
		"height=\"%g\" role=\"img\" aria-labelledby=\"title\">\n"
		"<title id=\"title\">Miss ratio by frames: ",
		ALL_X, ALL_Y, ALL_X, ALL_Y);
	put_escaped(f, r->name);
	fputs("</title>\n"
	      "<style>\n"
	      ".back { fill: #ffffff }\n"
	      "text { fill: #202124; font: 13px sans-serif }\n"
	      ".grid { stroke: #d8dadd }\n"
	      ".axis { stroke: #202124 }\n"
	      ".line { fill: none; stroke-width: 2 }\n"
	      "@media (prefers-color-scheme: dark) {\n"
	      ".back { fill: #16181b }\n"
	      "text { fill: #e8eaed }\n"
	      ".grid { stroke: #3a3d42 }\n"
	      ".axis { stroke: #e8eaed }\n"
	      "}\n"
	      "</style>\n",
	      f);
	fprintf(f, "<rect class=\"back\" width=\"%g\" height=\"%g\"/>\n", ALL_X, ALL_Y);
	fprintf(f, "<text x=\"%g\" y=\"24\">", LEFT);
	put_escaped(f, last_part(r->name));
	fprintf(f, ": %" PRIu64 " accesses to %" PRIu32 " pages</text>\n", trace_length(r->trace),
		r->trace->nr_pages);
}

static void line(FILE *f, const char *class, double x1, double y1, double x2, double y2)
{
	fprintf(f, "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", class,
		x1, y1, x2, y2);
}

static void y_axis(FILE *f)
{
	for (int tick = 0; tick <= 100; tick += 20) {
		double y = y_of(tick / 100.0);

		line(f, tick ? "grid" : "axis", LEFT, y, LEFT + WIDTH, y);
		fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%d %%</text>\n",
			LEFT - 8, y + 4, tick);
	}
	line(f, "axis", LEFT, TOP, LEFT, TOP + HEIGHT);
	fprintf(f,
		"<text transform=\"translate(16 %.1f) rotate(-90)\" text-anchor=\"middle\">"
		"miss ratio</text>\n",
		TOP + HEIGHT / 2);
}

/* A tick for each power of two, or for each second one or fourth one if they are many. */
static void x_axis(FILE *f, const struct sim_report *r)
{
	uint32_t last = r->frames[r->nr_points - 1];
	unsigned int step = last < 1u << 10 ? 1 : last < 1u << 20 ? 2 : 4;

	for (unsigned int power = 0; power < 32 && last >> power; power += step) {
		double x = x_of(r, 1u << power);

		line(f, power ? "grid" : "axis", x, TOP, x, TOP + HEIGHT);
		fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%u</text>\n", x,
			TOP + HEIGHT + 18, 1u << power);
	}
	fprintf(f,
		"<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">"
		"frames (pages of memory)</text>\n",
		LEFT + WIDTH / 2, TOP + HEIGHT + 42);
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
	line(f, "line", LEGEND_X, y, LEGEND_X + 30, y);
	fprintf(f, "</g>\n<text x=\"%.1f\" y=\"%.1f\">%s</text>\n", LEGEND_X + 38, y + 4,
		sim_name(p));
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
	fputs("</svg>\n", f);
}
