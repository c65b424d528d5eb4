/* SPDX-License-Identifier: MIT */
/* What two runs of one image printed: whether it differs, where, and whether in numbers only. */
#include <string.h>
#include <quire/types.h>
#include "vmm/cli/both_output.h"
#include "tests/tap.h"

static struct both_difference compare(const char *a, const char *b)
{
	const struct both_text text[] = { { a, strlen(a) }, { b, strlen(b) } };
	struct both_difference d;

	both_compare(text, &d);
	return d;
}

static bool is_text(const struct both_text *t, const char *want)
{
	return want ? t->bytes && t->nr == strlen(want) && !memcmp(t->bytes, want, t->nr) :
		      !t->bytes;
}

int main(void)
{
	static const struct {
		const char *what, *a, *b;
		bool numbers;
		uint64_t line;
		const char *at[2];
	} cases[] = {
		{ "another word", "x\nfoo 1\n", "x\nbar 1\n", false, 2, { "foo 1", "bar 1" } },
		{ "another number", "t 9 us\n", "t 123 us\n", true, 1, { "t 9 us", "t 123 us" } },
		{ "a number in a column", "n    9\n", "n 1234\n", true, 1, { "n    9", "n 1234" } },
		{ "a number and a word", "a 1\nb\n", "a 2\nc\n", false, 1, { "a 1", "a 2" } },
		{ "a word now a number", "a b\n", "a 1\n", false, 1, { "a b", "a 1" } },
		{ "a line more", "a\n", "a\nb\n", false, 2, { NULL, "b" } },
		{ "a line less", "a\nb\n", "a\n", false, 2, { "b", NULL } },
		{ "nothing at all", "", "a\n", false, 1, { NULL, "a" } },
		{ "no end of the last line", "a\nb", "a\nb\n", true, 2, { "b", "b" } },
		{ "an empty line", "a\n\nb\n", "a\nb\n", false, 2, { "", "b" } },
	};

	tap_init();
	ok(!compare("", "").differs && !compare("a\nb", "a\nb").differs, "the same is equal");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct both_difference d = compare(cases[i].a, cases[i].b);

		ok(d.differs && d.numbers == cases[i].numbers, "%s: %s", cases[i].what,
		   cases[i].numbers ? "numbers only" : "not only numbers");
		is(d.line, cases[i].line, "... in line");
		ok(is_text(&d.at[0], cases[i].at[0]) && is_text(&d.at[1], cases[i].at[1]),
		   "... which is given");
	}
	return tap_done();
}
