/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include "svg.h"

void svg_escaped(FILE *f, const char *text)
{
	for (; *text; text++) {
		if (*text == '&' || *text == '<' || *text == '>')
			fprintf(f, "&#%d;", *text);
		else
			fputc(*text >= ' ' && *text <= '~' ? *text : '?', f);
	}
}

void svg_begin(FILE *f, double width, double height, const char *title)
{
	fprintf(f,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" width=\"%g\" "
		"height=\"%g\" role=\"img\">\n"
		"<title>",
		width, height, width, height);
	svg_escaped(f, title);
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
	fprintf(f, "<rect class=\"back\" width=\"%g\" height=\"%g\"/>\n", width, height);
}

void svg_end(FILE *f)
{
	fputs("</svg>\n", f);
}

void svg_text(FILE *f, double x, double y, const char *anchor, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
	svg_escaped(f, text);
	fputs("</text>\n", f);
}

void svg_upright(FILE *f, double x, double y, const char *text)
{
	fprintf(f, "<text transform=\"translate(%g %.1f) rotate(-90)\" text-anchor=\"middle\">", x,
		y);
	svg_escaped(f, text);
	fputs("</text>\n", f);
}

void svg_line(FILE *f, const char *class, double x1, double y1, double x2, double y2)
{
	fprintf(f, "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", class,
		x1, y1, x2, y2);
}
