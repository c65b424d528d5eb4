/* SPDX-License-Identifier: MIT */
#include <quire/types.h>
#include "chart.h"
#include "table.h"

/* The plot, in user units; around it are labels. */
#define LEFT   84.0
#define TOP    40.0
#define WIDTH  640.0
#define HEIGHT 320.0

#define LEGEND_X (LEFT + WIDTH + 20)
#define ALL_X	 (LEGEND_X + 160) /* room for "some, worst guest" */
#define ALL_Y	 (TOP + HEIGHT + 60)

#define MAX_POINTS 1000u /* more than the plot has units show nothing more */

/* The colours are those of page_states[], but darker where white is behind them. */
const struct chart_series chart_states[PG_NR_STATES] = {
	{ "private", "#3b82f6", NULL },	  { "shared", "#16a34a", NULL },
	{ "zero", "#94a3b8", NULL },	  { "compressed", "#a855f7", NULL },
	{ "archived", "#0d9488", NULL },  { "swapped", "#ef4444", NULL },
	{ "ballooned", "#f97316", NULL }, { "never used", "#c3c7cd", NULL },
};

const enum page_state chart_state[PG_NR_STATES] = {
	PG_PRIVATE,  PG_SHARED,	 PG_ZERO,      PG_COMPRESSED,
	PG_ARCHIVED, PG_SWAPPED, PG_BALLOONED, PG_ABSENT,
};

struct plot {
	const struct chart *chart;
	double first_s, seconds, top;
	unsigned int step; /* each step-th point is drawn, and the last */
};

static double value(const struct chart *c, unsigned int point, unsigned int series)
{
	double v = c->value(c->data, point, series);

	return v > 0 ? v : 0;
}

/* What is at the top of the first nr series: their sum, or the last of them. */
static double height(const struct chart *c, unsigned int point, unsigned int nr)
{
	double sum = 0;

	if (!c->stacked)
		return nr ? value(c, point, nr - 1) : 0;
	for (unsigned int i = 0; i < nr; i++)
		sum += value(c, point, i);
	return sum;
}

static double highest(const struct chart *c)
{
	double top = 0;

	for (unsigned int p = 0; p < c->nr_points; p++)
		for (unsigned int s = 1; s <= c->nr_series; s++)
			top = height(c, p, s) > top ? height(c, p, s) : top;
	for (unsigned int i = 0; i < c->nr_levels; i++)
		top = c->level[i].at > top ? c->level[i].at : top;
	return top;
}

/* Percents end at a round number; where there is nothing, labels are to differ all the same. */
static double rounded(const struct chart *c, double top)
{
	if (c->unit == CHART_PERCENT)
		return top <= 10 ? 10 : top <= 50 ? 50 : 100;
	return top > 0 ? top : MiB;
}

static struct plot plot_of(const struct chart *c)
{
	struct plot p = { .chart = c, .seconds = 1, .step = c->nr_points / MAX_POINTS + 1 };

	if (c->nr_points)
		p.first_s = c->time(c->data, 0);
	if (c->nr_points && c->time(c->data, c->nr_points - 1) > p.first_s)
		p.seconds = c->time(c->data, c->nr_points - 1) - p.first_s;
	p.top = rounded(c, highest(c));
	return p;
}

static double x_of(const struct plot *p, double seconds)
{
	double part = (seconds - p->first_s) / p->seconds;

	return LEFT + WIDTH * (part < 0 ? 0 : part > 1 ? 1 : part);
}

static double y_of(const struct plot *p, double v)
{
	return TOP + HEIGHT * (1 - (v < p->top ? v / p->top : 1));
}

static void put_point(FILE *f, const struct plot *p, unsigned int point, unsigned int nr)
{
	const struct chart *c = p->chart;

	fprintf(f, "%.1f,%.1f ", x_of(p, c->time(c->data, point)), y_of(p, height(c, point, nr)));
}

/* The points at the top of the first nr series, from left to right or back. */
static void put_points(FILE *f, const struct plot *p, unsigned int nr, bool back)
{
	const unsigned int last = p->chart->nr_points - 1, whole = last / p->step * p->step;

	if (back && whole != last)
		put_point(f, p, last, nr);
	for (unsigned int i = 0; i <= whole; i += p->step)
		put_point(f, p, back ? whole - i : i, nr);
	if (!back && whole != last)
		put_point(f, p, last, nr);
}

/* The legend has the order of a stack, from the top down. */
static double legend_y(const struct chart *c, unsigned int series)
{
	return TOP + 10 + 22.0 * (c->stacked ? c->nr_series - 1 - series : series);
}

static void put_area(FILE *f, const struct plot *p, unsigned int series)
{
	const double y = legend_y(p->chart, series);

	fprintf(f, "<g fill=\"%s\"><polygon points=\"", p->chart->series[series].colour);
	put_points(f, p, series + 1, false);
	put_points(f, p, series, true);
	fprintf(f, "\"/><rect x=\"%.1f\" y=\"%.1f\" width=\"14\" height=\"14\"/></g>\n", LEGEND_X,
		y - 11);
	svg_text(f, LEGEND_X + 22, y, "start", "%s", p->chart->series[series].name);
}

static void put_line(FILE *f, const struct plot *p, unsigned int series)
{
	const struct chart_series *s = &p->chart->series[series];
	const double y = legend_y(p->chart, series);

	fprintf(f, "<g stroke=\"%s\" stroke-dasharray=\"%s\">\n<polyline class=\"line\" points=\"",
		s->colour, s->dashes ? s->dashes : "none");
	put_points(f, p, series + 1, false);
	fputs("\"/>\n", f);
	svg_line(f, "line", LEGEND_X, y - 4, LEGEND_X + 26, y - 4);
	fputs("</g>\n", f);
	svg_text(f, LEGEND_X + 34, y, "start", "%s", s->name);
}

static void y_axis(FILE *f, const struct plot *p)
{
	for (unsigned int tick = 0; tick <= 4; tick++) {
		double v = p->top * tick / 4, y = y_of(p, v);

		svg_line(f, tick ? "grid" : "axis", LEFT, y, LEFT + WIDTH, y);
		if (p->chart->unit == CHART_PERCENT)
			svg_text(f, LEFT - 8, y + 4, "end", "%g %%", v);
		else
			svg_text(f, LEFT - 8, y + 4, "end", "%s", size_text((uint64_t)v));
	}
	svg_line(f, "axis", LEFT, TOP, LEFT, TOP + HEIGHT);
}

static void x_axis(FILE *f, const struct plot *p)
{
	for (unsigned int tick = 0; tick <= 5; tick++) {
		double s = p->first_s + p->seconds * tick / 5;

		svg_text(f, x_of(p, s), TOP + HEIGHT + 18, "middle", "%.1f", s);
	}
	svg_text(f, LEFT + WIDTH / 2, TOP + HEIGHT + 42, "middle", "seconds");
}

static void put_marks(FILE *f, const struct plot *p)
{
	const struct chart *c = p->chart;

	for (unsigned int i = 0; i < c->nr_levels; i++) {
		double y = y_of(p, c->level[i].at);

		svg_line(f, "axis", LEFT, y, LEFT + WIDTH, y);
		svg_text(f, LEFT + 6, y - 5, "start", "%s", c->level[i].text);
	}
	for (unsigned int i = 0; i < c->nr_moments; i++) {
		double x = x_of(p, c->moment[i].at);

		svg_line(f, "axis", x, TOP, x, TOP + HEIGHT);
		svg_text(f, x, TOP - 4, x > LEFT + WIDTH / 2 ? "end" : "start", "%s",
			 c->moment[i].text);
	}
}

void chart_svg(FILE *f, const struct chart *c)
{
	struct plot p = plot_of(c);

	svg_begin(f, ALL_X, ALL_Y, c->title);
	svg_text(f, LEFT, 20, "start", "%s", c->head);
	for (unsigned int s = 0; c->stacked && c->nr_points && s < c->nr_series; s++)
		put_area(f, &p, s);
	y_axis(f, &p);
	x_axis(f, &p);
	for (unsigned int s = 0; !c->stacked && c->nr_points && s < c->nr_series; s++)
		put_line(f, &p, s);
	put_marks(f, &p);
	svg_end(f);
}
