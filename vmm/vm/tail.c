/* SPDX-License-Identifier: MIT */
#include "tail.h"

static void put(struct tail_line *line, char byte)
{
	if (line->bytes < TAIL_BYTES)
		line->text[line->bytes++] = byte;
	else
		line->cut = 1;
}

static void begin_line(struct tail *t)
{
	t->last = (t->last + 1) % TAIL_LINES;
	t->line[t->last] = (struct tail_line){ .bytes = 0 };
	t->ended = 0;
}

static void add_byte(struct tail *t, char byte)
{
	struct tail_line *line = &t->line[t->last];

	if (byte == '\r' || byte == '\n') {
		t->returned = byte == '\r';
		t->ended |= byte == '\n' && line->bytes;
		return;
	}
	if (t->ended)
		begin_line(t);
	else if (t->returned)
		*line = (struct tail_line){ .bytes = 0 };
	t->returned = 0;
	put(&t->line[t->last], byte);
}

void tail_add(struct tail *t, const char *data, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		add_byte(t, data[i]);
}

bool tail_is_good(const struct tail *t)
{
	for (unsigned int i = 0; i < TAIL_LINES; i++)
		if (t->line[i].bytes > TAIL_BYTES)
			return false;
	return t->last < TAIL_LINES;
}

static void print_line(FILE *f, const struct tail_line *line)
{
	fputs("  | ", f);
	for (unsigned int i = 0; i < line->bytes; i++)
		if (line->text[i] >= ' ' && line->text[i] <= '~')
			putc(line->text[i], f);
		else
			fprintf(f, "\\x%02x", (unsigned char)line->text[i]);
	fputs(line->cut ? "...\n" : "\n", f);
}

void tail_print(FILE *f, const struct tail *t)
{
	if (!t->line[t->last].bytes) {
		fputs("the guest has printed nothing\n", f);
		return;
	}
	fputs("the guest's last lines:\n", f);
	for (unsigned int i = 1; i <= TAIL_LINES; i++) {
		const struct tail_line *line = &t->line[(t->last + i) % TAIL_LINES];

		if (line->bytes)
			print_line(f, line);
	}
}
