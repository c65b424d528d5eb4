/* SPDX-License-Identifier: MIT */
/* What is a trace, and what is said of the rest. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "tests/tap.h"
#include "trace_lab.h"

/* Pages as they come out: their numbers by first access, and * behind a write. */
static const char *shown(const struct trace *t)
{
	static char text[256];
	size_t n = 0;

	text[0] = '\0';
	for (uint64_t i = 0; i < trace_length(t) && n < sizeof(text) - 16; i++)
		n += (size_t)sprintf(text + n, "%s%u%s", i ? " " : "", trace_page(t, i),
				     trace_writes(t, i) ? "*" : "");
	return text;
}

static const struct {
	const char *text, *want;
} good[] = {
	{ "7\n0\n1\n7\n", "0 1 2 0" },
	{ "7", "0" },
	{ "7\n", "0" },
	{ "0x1f w\n31 r\n31\n", "0* 0 0" },
	{ "0XaB\n0xAb w\n", "0 0*" },
	{ "# head\n\n  1\t w  # tail\r\n\t\n2#tail\n1 w#tail\n", "0* 1 0*" },
	{ "18446744073709551615\n0xffffffffffffffff\n0\n", "0 0 1" },
	{ "007\n7\n", "0 0" },
	{ "3 r\r\n3 w\r\n", "0 0*" },
};

static const struct {
	const char *text, *want;
} bad[] = {
	{ "", "lab: there are no accesses in it" },
	{ "# nothing\n\n", "lab: there are no accesses in it" },
	{ "1\n2\nbanana\n", "lab:3: 'banana' is no access" },
	{ "1 2\n", "lab:1: '1 2' is no access" },
	{ "1 x\n", "lab:1: '1 x' is no access" },
	{ "1 rw\n", "lab:1: '1 rw' is no access" },
	{ "1w\n", "lab:1: '1w' is no access" },
	{ "1 W\n", "lab:1: '1 W' is no access" },
	{ "-1\n", "lab:1: '-1' is no access" },
	{ "+1\n", "lab:1: '+1' is no access" },
	{ "1.5\n", "lab:1: '1.5' is no access" },
	{ "0x\n", "lab:1: '0x' is no access" },
	{ "0xg\n", "lab:1: '0xg' is no access" },
	{ "1f\n", "lab:1: '1f' is no access" },
	{ "w 1\n", "lab:1: 'w 1' is no access" },
	{ "1,2\n", "lab:1: '1,2' is no access" },
	{ "18446744073709551616\n", "lab:1: '18446744073709551616' is no access" },
	{ "0x10000000000000000\n", "lab:1: '0x10000000000000000' is no access" },
	{ "\n\n\n\n1 \033[2J\n", "lab:5: '1 ?[2J' is no access" },
};

static void good_ones(void)
{
	struct trace t;

	for (unsigned int i = 0; i < ARRAY_SIZE(good); i++) {
		lab_trace(&t, good[i].text);
		ok(!strcmp(shown(&t), good[i].want), "good text %u is %s, not %s", i, good[i].want,
		   shown(&t));
		trace_finish(&t);
	}
}

static bool is_refused(const char *text, size_t bytes, int want_code, const char *want)
{
	struct quire_error err = { "" };
	struct trace t;
	int code = lab_trace_read(&t, text, bytes, &err);

	if (!code)
		trace_finish(&t);
	if (code == want_code && !strncmp(err.text, want, strlen(want)))
		return true;
	tap_note("%d: %s", code, err.text);
	return false;
}

static void bad_ones(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++)
		ok(is_refused(bad[i].text, strlen(bad[i].text), -EINVAL, bad[i].want), "%s",
		   bad[i].want);
}

/* Bytes that no text has, and lines without an end. */
static void strange_ones(void)
{
	static char line[1 << 20];
	struct trace t;

	ok(is_refused("1\n2\0003\n", 6, -EINVAL, "lab:2: '2?3' is no access"),
	   "a NUL does not hide the rest of a line");
	memset(line, '1', sizeof(line));
	ok(is_refused(line, sizeof(line), -EINVAL, "lab:1: the line is longer than 1023 bytes"),
	   "a line of a megabyte is refused");
	memset(line, ' ', TRACE_MAX_LINE);
	line[500] = '7';
	ok(is_refused(line, TRACE_MAX_LINE, -EINVAL, "lab:1: the line is longer than 1023 bytes"),
	   "... and one of a byte too much");
	line[TRACE_MAX_LINE - 1] = '\0';
	lab_trace(&t, line);
	is(trace_length(&t), 1, "... but none of 1023 bytes");
	trace_finish(&t);
}

static void without_a_folder(void)
{
	char *old = getenv("TMPDIR") ? strdup(getenv("TMPDIR")) : NULL;

	setenv("TMPDIR", "/nowhere", 1);
	ok(is_refused("1\n", 2, -ENOENT,
		      "cannot keep the trace in /nowhere: No such file or directory; TMPDIR"),
	   "a folder that is not there is said");
	if (old)
		setenv("TMPDIR", old, 1);
	else
		unsetenv("TMPDIR");
	free(old);
}

/* More than what is buffered, and more pages than the table begins with. */
static void a_long_one(void)
{
	enum { LENGTH = 300000, PAGES = 5000 };
	char *text = malloc(LENGTH * 24 + 1), *p = text;
	uint64_t wrong = 0;
	struct trace t;

	if (!text)
		tap_bail("no memory");
	for (uint64_t i = 0; i < LENGTH; i++)
		p += sprintf(p, "%#llx%s\n", (i * i % PAGES) * 0x123456789abULL, i % 3 ? "" : " w");
	lab_trace(&t, text);
	free(text);
	is(trace_length(&t), LENGTH, "a long trace has all its accesses");
	is(t.nr_writes, LENGTH / 3, "... and its writes");
	for (uint64_t i = 0; i < LENGTH; i++)
		wrong += trace_writes(&t, i) != !(i % 3) ||
			 (i >= PAGES && trace_page(&t, i) != trace_page(&t, i - PAGES));
	is(wrong, 0, "... in their order, each page under one number");
	trace_finish(&t);
}

int main(void)
{
	tap_init();
	good_ones();
	bad_ones();
	strange_ones();
	without_a_folder();
	a_long_one();
	return tap_done();
}
