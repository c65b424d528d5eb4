/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <string.h>
#include "both_output.h"

/* Take the next line from *text; its bytes are NULL at the end. */
static struct both_text next_line(struct both_text *text)
{
	struct both_text line = { 0 };
	const char *end;

	if (!text->nr)
		return line;
	end = memchr(text->bytes, '\n', text->nr);
	line.bytes = text->bytes;
	line.nr = end ? (size_t)(end - text->bytes) : text->nr;
	text->bytes += line.nr + (end != NULL);
	text->nr -= line.nr + (end != NULL);
	return line;
}

/* A number, however long, is one '0' here, and blanks are one blank.  -1: the end. */
static int next_char(struct both_text *line)
{
	unsigned char c;
	bool digit, blank;

	if (!line->nr)
		return -1;
	c = (unsigned char)*line->bytes;
	digit = isdigit(c);
	blank = c == ' ' || c == '\t';
	do {
		line->bytes++;
		line->nr--;
	} while (line->nr && ((digit && isdigit((unsigned char)*line->bytes)) ||
			      (blank && (*line->bytes == ' ' || *line->bytes == '\t'))));
	return digit ? '0' : blank ? ' ' : c;
}

static bool same_but_numbers(struct both_text a, struct both_text b)
{
	int x, y;

	if (!a.bytes || !b.bytes)
		return false;
	do {
		x = next_char(&a);
		y = next_char(&b);
	} while (x == y && x >= 0);
	return x == y;
}

void both_compare(const struct both_text text[2], struct both_difference *out)
{
	struct both_text rest[2] = { text[0], text[1] };

	*out = (struct both_difference){
		.differs = text[0].nr != text[1].nr ||
			   (text[0].nr && memcmp(text[0].bytes, text[1].bytes, text[0].nr) != 0),
		.numbers = true,
	};
	for (uint64_t n = 1; out->differs && (rest[0].nr || rest[1].nr); n++) {
		struct both_text a = next_line(&rest[0]), b = next_line(&rest[1]);
		/* At the end there may be one newline too few. */
		bool last = !rest[0].nr && !rest[1].nr && !out->line;

		if (!last && a.bytes && b.bytes && a.nr == b.nr && !memcmp(a.bytes, b.bytes, a.nr))
			continue;
		out->numbers &= same_but_numbers(a, b);
		if (out->line)
			continue;
		out->line = n;
		out->at[0] = a;
		out->at[1] = b;
	}
}
