/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <string.h>
#include <quire/types.h>
#include "page.h"
#include "picture.h"
#include "vmm/play/result.h"
#include "vmm/print/table.h"

#define MAX_MAPS 200u /* more on a page nobody looks at, and a browser labours */

static const char style[] =
	":root { color-scheme: light dark }\n"
	"body { font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem auto; max-width: 72rem;\n"
	"  padding: 0 1rem; background: #ffffff; color: #202124 }\n"
	"h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }\n"
	"table { border-collapse: collapse; width: 100% }\n"
	"th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid #d8dadd;\n"
	"  vertical-align: top }\n"
	"th { white-space: nowrap } td.n, th.n { text-align: right; white-space: nowrap }\n"
	"code { font: 13px ui-monospace, monospace; overflow-wrap: anywhere }\n"
	".pass, .fail, .error, .interrupted { font-weight: 600; padding: 0 .4rem;\n"
	"  white-space: nowrap;\n"
	"  border-radius: .25rem; color: #ffffff }\n"
	".pass { background: #15803d } .fail, .error { background: #b91c1c }\n"
	".interrupted { background: #92400e }\n"
	".wide { overflow-x: auto } svg { max-width: 100%; height: auto }\n"
	".maps { display: grid; gap: 1rem;\n"
	"  grid-template-columns: repeat(auto-fill, minmax(22rem, 1fr)) }\n"
	"summary { cursor: pointer; font-weight: 600; margin: .6rem 0 }\n"
	"@media (prefers-color-scheme: dark) {\n"
	"body { background: #16181b; color: #e8eaed }\n"
	"th, td { border-color: #3a3d42 } a { color: #8ab4f8 }\n"
	"}\n";

/* Text in HTML; it is UTF-8 if it was in JSON. */
static void put(FILE *f, const char *text)
{
	for (; *text; text++) {
		if (strchr("&<>\"'", *text))
			fprintf(f, "&#%d;", *text);
		else if ((unsigned char)*text >= ' ')
			putc(*text, f);
		else
			putc(' ', f);
	}
}

static void begin(FILE *f, const char *title)
{
	fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
	      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
	      "style-src 'unsafe-inline'\">\n"
	      "<meta name=\"viewport\" content=\"width=device-width\">\n<title>",
	      f);
	put(f, title);
	fprintf(f, "</title>\n<style>\n%s</style>\n</head>\n<body>\n", style);
}

static void end(FILE *f)
{
	fputs("</body>\n</html>\n", f);
}

/* A word that is its own class; of words that we do not know, none. */
static void put_verdict(FILE *f, const char *verdict)
{
	for (unsigned int i = 0; i < RESULT_NR_VERDICTS; i++)
		if (!strcmp(verdict, result_verdicts[i]))
			fprintf(f, "<span class=\"%s\">%s</span>", verdict, verdict);
}

__attribute__((format(printf, 3, 4))) static void cell(FILE *f, const char *kind, const char *fmt,
						       ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(f, "<td%s>", kind);
	put(f, text);
	fputs("</td>", f);
}

/* ---- a result ---- */

static void put_facts(FILE *f, const json_t *result)
{
	struct gathered_summary s = gather_summary(result);

	fputs("<p>", f);
	put_verdict(f, picture_text(result, "verdict"));
	fprintf(f, " %zu of %zu checks, %.1f s, seed %.0f, %zu guests", s.checks - s.failed,
		s.checks, s.seconds, picture_number(result, "seed"), s.guests);
	if (s.memory > 0)
		fprintf(f, ", machine of %s", size_text((uint64_t)s.memory));
	fputs("<br>", f);
	put(f, picture_text(result, "file"));
	fputs(" on ", f);
	put(f, picture_text(result, "host"));
	fputs(", ", f);
	put(f, picture_text(result, "began"));
	fputs("</p>\n", f);
	if (*picture_text(result, "reason")) {
		fputs("<p><strong>", f);
		put(f, picture_text(result, "reason"));
		fputs("</strong></p>\n", f);
	}
}

static void put_check(FILE *f, const json_t *check)
{
	bool ok = json_is_true(json_object_get(check, "ok"));

	fputs("<tr>", f);
	fprintf(f, "<td><span class=\"%s\">%s</span></td>", ok ? "pass" : "fail",
		ok ? "ok" : "failed");
	cell(f, " class=\"n\"", "%.0f", picture_number(check, "line"));
	cell(f, " class=\"n\"", "%.1f s", picture_number(check, "at_s"));
	cell(f, "", "%s", picture_text(check, "kind"));
	fputs("<td><code>", f);
	put(f, picture_text(check, "text"));
	fputs("</code></td>", f);
	cell(f, "", "%s", picture_text(check, "value"));
	fputs("</tr>\n", f);
}

static void put_checks(FILE *f, const json_t *result)
{
	const json_t *checks = json_object_get(result, "checks");

	fputs("<div class=\"wide\"><table class=\"checks\">\n<tr><th></th><th class=\"n\">line</th>"
	      "<th class=\"n\">at</th><th>kind</th><th>check</th><th>what was there</th></tr>\n",
	      f);
	for (size_t i = 0; i < json_array_size(checks); i++)
		put_check(f, json_array_get(checks, i));
	fputs("</table></div>\n", f);
}

static void put_events(FILE *f, const json_t *result)
{
	const json_t *events = json_object_get(result, "events");

	if (!json_array_size(events))
		return;
	fputs("<details><summary>What was done</summary>\n<table>\n", f);
	for (size_t i = 0; i < json_array_size(events); i++) {
		const json_t *event = json_array_get(events, i);

		fputs("<tr>", f);
		cell(f, " class=\"n\"", "%.1f s", picture_number(event, "t_s"));
		cell(f, "", "%s", picture_text(event, "text"));
		fputs("</tr>\n", f);
	}
	fputs("</table></details>\n", f);
}

static void put_pictures(FILE *f, const json_t *result, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++) {
		fputs("<div class=\"wide\">", f);
		pictures[i].draw(f, result);
		fputs("</div>\n", f);
	}
}

static void put_maps(FILE *f, const json_t *result)
{
	const json_t *maps = json_object_get(result, "maps");

	if (!json_array_size(maps))
		return;
	fputs("<h2>Memory of the guests, page by page</h2>\n<div class=\"maps\">\n", f);
	for (size_t i = 0; i < json_array_size(maps) && i < MAX_MAPS; i++) {
		fputs("<div>", f);
		picture_map(f, json_array_get(maps, i));
		fputs("</div>\n", f);
	}
	fputs("</div>\n", f);
	if (json_array_size(maps) > MAX_MAPS)
		fprintf(f, "<p>%zu more are not shown.</p>\n", json_array_size(maps) - MAX_MAPS);
}

void page_of_result(FILE *f, const json_t *result)
{
	begin(f, picture_text(result, "name"));
	fputs("<h1>", f);
	put(f, picture_text(result, "name"));
	fputs("</h1>\n<p>", f);
	put(f, picture_text(result, "about"));
	fputs("</p>\n", f);
	put_facts(f, result);
	put_checks(f, result);
	put_pictures(f, result, PICTURES);
	put_maps(f, result);
	put_events(f, result);
	end(f);
}

/* ---- all ---- */

static void put_row(FILE *f, const struct gathered_result *row, unsigned int nr)
{
	struct gathered_summary s = gather_summary(row->result);

	fprintf(f, "<tr><td><a href=\"#r%u\">", nr);
	put(f, picture_text(row->result, "name"));
	fputs("</a></td><td>", f);
	put_verdict(f, picture_text(row->result, "verdict"));
	fputs("</td>", f);
	cell(f, " class=\"n\"", "%zu/%zu", s.checks - s.failed, s.checks);
	cell(f, " class=\"n\"", "%.1f s", s.seconds);
	cell(f, " class=\"n\"", "%zu", s.guests);
	cell(f, " class=\"n\"", "%s", size_text((uint64_t)s.memory));
	cell(f, " class=\"n\"", "%s", size_text((uint64_t)s.most_used));
	cell(f, " class=\"n\"", "%s", size_text((uint64_t)s.most_saved));
	cell(f, "", "%s", picture_text(row->result, "host"));
	fputs("</tr>\n", f);
}

static void put_trouble(FILE *f, const struct gathered_result *row)
{
	fputs("<tr><td>", f);
	put(f, row->path);
	fputs("</td><td><span class=\"error\">no result</span></td>", f);
	cell(f, " colspan=\"7\"", "%s", row->why.text);
	fputs("</tr>\n", f);
}

static void put_table(FILE *f, const struct gathered *all)
{
	fputs("<div class=\"wide\"><table class=\"results\">\n<tr><th>scenario</th>"
	      "<th>verdict</th><th class=\"n\">checks</th><th class=\"n\">time</th>"
	      "<th class=\"n\">guests</th><th class=\"n\">memory</th><th class=\"n\">used</th>"
	      "<th class=\"n\">saved</th><th>host</th></tr>\n",
	      f);
	for (unsigned int i = 0; i < all->nr; i++)
		if (all->result[i].result)
			put_row(f, &all->result[i], i);
		else
			put_trouble(f, &all->result[i]);
	fputs("</table></div>\n", f);
}

/* Of many results only the memory is drawn; each has a page of its own for the rest. */
static void put_section(FILE *f, const struct gathered_result *row, unsigned int nr)
{
	const char *verdict = picture_text(row->result, "verdict");
	bool open = strcmp(verdict, result_verdicts[RESULT_PASS]) != 0;

	fprintf(f, "<details id=\"r%u\"%s><summary>", nr, open ? " open" : "");
	put(f, picture_text(row->result, "name"));
	fputs(" (", f);
	put(f, row->path);
	fputs(")</summary>\n", f);
	put_facts(f, row->result);
	put_checks(f, row->result);
	put_pictures(f, row->result, 1);
	fputs("</details>\n", f);
}

void page_of_all(FILE *f, const struct gathered *all)
{
	begin(f, "Results of scenarios");
	fputs("<h1>Results of scenarios</h1>\n<p>", f);
	put_verdict(f, result_verdicts[gather_passed(all) ? RESULT_PASS : RESULT_FAIL]);
	fputs("</p>\n", f);
	put_table(f, all);
	for (unsigned int i = 0; i < all->nr; i++)
		if (all->result[i].result)
			put_section(f, &all->result[i], i);
	end(f);
}
