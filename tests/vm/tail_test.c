/* SPDX-License-Identifier: MIT */
/* The last lines of what a guest printed: which they are, and that they are bounded and escaped. */
#include <stdlib.h>
#include <string.h>
#include "vmm/vm/tail.h"
#include "tests/tap.h"

#define NOTHING "the guest has printed nothing\n"
#define HEAD	"the guest's last lines:\n"

/* What is printed after this output, which came in pieces of this size. */
static char *tail_of(const char *output, size_t bytes, size_t piece)
{
	struct tail tail = { .last = 0 };
	static char *text;
	size_t size = 0;
	FILE *f;

	free(text);
	f = open_memstream(&text, &size);
	for (size_t at = 0; at < bytes; at += piece)
		tail_add(&tail, output + at, bytes - at < piece ? bytes - at : piece);
	ok(tail_is_good(&tail), "it is a good tail");
	tail_print(f, &tail);
	fclose(f);
	return text;
}

static void check(const char *output, const char *want, const char *what)
{
	for (size_t piece = 1; piece < 8; piece += 3) {
		const char *got = tail_of(output, strlen(output), piece);

		ok(!strcmp(got, want), "%s, in pieces of %zu: %s", what, piece, got);
	}
}

static void test_lines(void)
{
	check("", NOTHING, "no output");
	check("\r\n\n\r\n", NOTHING, "nothing but line ends");
	check("one\n", HEAD "  | one\n", "a line");
	check("one", HEAD "  | one\n", "a line without its end");
	check("1\r\n2\r\n3\r\n4\r\n5", HEAD "  | 3\n  | 4\n  | 5\n", "the last three lines");
	check("1\n\n2\n\r\n3\n\n\n", HEAD "  | 1\n  | 2\n  | 3\n", "blank lines do not count");
	check("1\n 10%\r 20%\r 3%", HEAD "  | 1\n  |  3%\n", "a line that is begun anew");
	check("a\x1b[0m\tb\x7f\xe4\\", HEAD "  | a\\x1b[0m\\x09b\\x7f\\xe4\\\n", "other bytes");
}

static void test_bounds(void)
{
	static char output[100000];
	char *got;

	memset(output, 'x', sizeof(output));
	got = tail_of(output, sizeof(output), 977);
	ok(strlen(got) == strlen(HEAD) + 4 + TAIL_BYTES + 4 &&
		   !strcmp(got + strlen(got) - 5, "x...\n"),
	   "a line without an end is cut");
	for (size_t i = 0; i < sizeof(output); i += 300)
		output[i] = '\n';
	got = tail_of(output, sizeof(output), 4096);
	ok(strlen(got) == strlen(HEAD) + TAIL_LINES * (4 + TAIL_BYTES + 4) - 3 - TAIL_BYTES +
				  (sizeof(output) - 1) % 300,
	   "long lines are cut each: %zu", strlen(got));
	memset(output, 0, sizeof(output));
	got = tail_of(output, sizeof(output), sizeof(output));
	ok(strlen(got) == strlen(HEAD) + 4 + 4 * TAIL_BYTES + 4, "and so are zeroes");
}

static void test_strangers(void)
{
	struct tail tail = { .last = TAIL_LINES };

	ok(!tail_is_good(&tail), "one whose newest line is not there is none");
	tail.last = 0;
	tail.line[2].bytes = TAIL_BYTES;
	ok(tail_is_good(&tail), "a full line is fine");
	tail.line[2].bytes++;
	ok(!tail_is_good(&tail), "but not a fuller one");
}

int main(void)
{
	test_lines();
	test_bounds();
	test_strangers();
	return tap_done();
}
