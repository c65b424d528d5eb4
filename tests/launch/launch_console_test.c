/* SPDX-License-Identifier: MIT */
/* Prefixing the output of guests: exact cases, and many guests against a naive model. */
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include "vmm/launch/launch_console.h"
#include "tests/tap.h"

static struct outbuf out;

/* What `name` makes of text, fed in steps of `step` bytes through a pipe. */
static const char *prefixed(const char *text, size_t bytes, size_t step)
{
	struct lines l = { .name = "vm" };
	int fd[2];

	out.fill = 0;
	if (pipe2(fd, O_NONBLOCK))
		tap_bail("no pipe");
	for (size_t at = 0; at < bytes; at += step) {
		size_t n = bytes - at < step ? bytes - at : step;

		if (write(fd[1], text + at, n) != (ssize_t)n)
			tap_bail("pipe too small");
		while (lines_read(&l, fd[0]) > 0)
			lines_move(&l, &out);
	}
	close(fd[1]);
	while (lines_read(&l, fd[0]) > 0)
		lines_move(&l, &out);
	lines_move(&l, &out);
	close(fd[0]);
	ok(lines_empty(&l) && l.ended, "nothing is kept at the end");
	lines_finish(&l);
	out.data[out.fill] = '\0';
	return out.data;
}

static void is_prefixed(const char *text, const char *want, const char *what)
{
	for (size_t step = 1; step <= 8; step += 7) {
		const char *got = prefixed(text, strlen(text), step);

		if (!ok(!strcmp(got, want), "%s, %zu bytes at a time", what, step))
			tap_note("got: %s", got);
	}
}

static void test_exact(void)
{
	is_prefixed("", "", "nothing");
	is_prefixed("a\n", "vm| a\n", "a line");
	is_prefixed("a\nbc\n\nd\n", "vm| a\nvm| bc\nvm| \nvm| d\n", "lines, an empty one");
	is_prefixed("a\nb", "vm| a\nvm| b\n", "a last line without newline");
	is_prefixed("\n", "vm| \n", "an empty line alone");
	is_prefixed("a\r\n", "vm| a\r\n", "other control characters stay");
}

/* A line of n bytes: pieces of LINES_BYTES, nothing lost. */
static void test_fold(size_t n, bool newline)
{
	char *text = malloc(n + 1), *want = malloc(n + 64), *w = want;
	const char *got;

	memset(text, 'x', n);
	text[n] = '\n';
	for (size_t at = 0; at < n || !at; at += LINES_BYTES) {
		size_t piece = n - at < LINES_BYTES ? n - at : LINES_BYTES;

		w += sprintf(w, "vm%c ", at ? '+' : '|');
		memset(w, 'x', piece);
		w += piece;
		*w++ = '\n';
	}
	*w = '\0';
	got = prefixed(text, n + newline, 1000);
	ok(!strcmp(got, want), "a line of %zu bytes %s newline", n, newline ? "with" : "without");
	free(text);
	free(want);
}

/* ---- many guests, a reader who is slow at times ---- */

#define GUESTS 7
#define BYTES  60000

struct guest {
	char name[8];
	struct lines lines;
	int fd[2];
	char sent[BYTES + 1]; /* and a newline at the very end */
	size_t written;
	char got[BYTES + 1]; /* put together again */
	size_t nr_got;
};

static void make_text(struct guest *g, uint64_t *seed)
{
	for (size_t i = 0; i < BYTES; i++) {
		uint64_t r = tap_random(seed);

		g->sent[i] = r % 50 ? (char)('a' + r / 50 % 26) : '\n';
	}
	memset(g->sent + BYTES / 2, 'L', 10000); /* and one long line */
	g->sent[BYTES] = '\n';
}

static void push(struct guest *g, uint64_t *seed)
{
	size_t n = tap_random(seed) % 3000 + 1, left = BYTES + 1 - g->written;
	ssize_t done;

	if (g->fd[1] < 0)
		return;
	done = write(g->fd[1], g->sent + g->written, n < left ? n : left);
	if (done > 0)
		g->written += (size_t)done;
	if (g->written == BYTES + 1) {
		close(g->fd[1]);
		g->fd[1] = -1;
	}
}

/* Undo the prefixes: every line must begin with a guest's name. */
static bool take_apart(struct guest *guests, char *text)
{
	for (char *line = text, *end; *line; line = end + 1) {
		struct guest *g = guests;

		end = strchr(line, '\n');
		while (g < guests + GUESTS && strncmp(line, g->name, strlen(g->name)))
			g++;
		if (!end || g == guests + GUESTS)
			return false;
		line += strlen(g->name);
		if (line[0] == '+')
			g->nr_got--; /* that newline was the fold's */
		else if (line[0] != '|')
			return false;
		if (line[1] != ' ' || g->nr_got + (size_t)(end - line) - 1 > BYTES + 1)
			return false;
		memcpy(g->got + g->nr_got, line + 2, (size_t)(end - line) - 1);
		g->nr_got += (size_t)(end - line) - 1;
	}
	return true;
}

static bool step(struct guest *guests, uint64_t *seed, int to)
{
	size_t most = tap_random(seed) % 4 ? 8 : 1;
	bool more = false;

	for (struct guest *g = guests; g < guests + GUESTS; g++) {
		push(g, seed);
		if (!g->lines.ended)
			lines_read(&g->lines, g->fd[0]);
		lines_move(&g->lines, &out);
		more |= !g->lines.ended || !lines_empty(&g->lines);
	}
	while (out.fill && most--)
		outbuf_write(&out, to);
	return more || out.fill;
}

static void test_many(uint64_t seed)
{
	struct guest *guests = calloc(GUESTS, sizeof(*guests));
	char *text = calloc(GUESTS, BYTES + BYTES / 4);
	FILE *file = tmpfile();
	size_t bytes;

	out.fill = 0;
	for (unsigned int i = 0; i < GUESTS; i++) {
		sprintf(guests[i].name, "g%u", i);
		guests[i].lines.name = guests[i].name;
		make_text(&guests[i], &seed);
		if (pipe2(guests[i].fd, O_NONBLOCK))
			tap_bail("no pipe");
	}
	while (step(guests, &seed, fileno(file)))
		;
	rewind(file);
	bytes = fread(text, 1, GUESTS * (BYTES + BYTES / 4) - 1, file);
	ok(take_apart(guests, text), "%zu bytes of %d guests are lines with names", bytes, GUESTS);
	for (struct guest *g = guests; g < guests + GUESTS; g++) {
		ok(g->nr_got == BYTES + 1 && !memcmp(g->got, g->sent, BYTES + 1),
		   "%s: every byte came, in order", g->name);
		close(g->fd[0]);
		lines_finish(&g->lines);
	}
	fclose(file);
	free(text);
	free(guests);
}

int main(int argc, char **argv)
{
	tap_init();
	test_exact();
	for (size_t n = LINES_BYTES - 2; n <= LINES_BYTES + 2; n++) {
		test_fold(n, true);
		test_fold(n, false);
	}
	test_fold(3 * LINES_BYTES, true);
	test_fold(3 * LINES_BYTES, false);
	test_many(tap_seed(argc, argv));
	return tap_done();
}
