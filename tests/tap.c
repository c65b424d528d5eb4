/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "tap.h"

static unsigned int run, failed;

void tap_init(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
}

static void result(bool pass, const char *fmt, va_list ap)
{
	run++;
	failed += !pass;
	printf("%sok %u - ", pass ? "" : "not ", run);
	vprintf(fmt, ap);
	putchar('\n');
}

bool tap_ok(bool pass, const char *expr, const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	result(pass, fmt, ap);
	va_end(ap);
	if (!pass)
		printf("# %s:%d: %s\n", file, line, expr);
	return pass;
}

bool tap_is(int64_t got, int64_t want, const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	result(got == want, fmt, ap);
	va_end(ap);
	if (got != want)
		printf("# %s:%d: got %" PRId64 ", want %" PRId64 "\n", file, line, got, want);
	return got == want;
}

bool tap_hex(uint64_t got, uint64_t want, const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	result(got == want, fmt, ap);
	va_end(ap);
	if (got != want)
		printf("# %s:%d: got %#" PRIx64 ", want %#" PRIx64 "\n", file, line, got, want);
	return got == want;
}

void tap_note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("# ");
	vprintf(fmt, ap);
	putchar('\n');
	va_end(ap);
}

void tap_skip(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("ok %u # SKIP ", ++run);
	vprintf(fmt, ap);
	putchar('\n');
	va_end(ap);
}

void tap_skip_all(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("1..0 # SKIP ");
	vprintf(fmt, ap);
	putchar('\n');
	va_end(ap);
	exit(0);
}

void tap_bail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("Bail out! ");
	vprintf(fmt, ap);
	putchar('\n');
	va_end(ap);
	exit(255);
}

int tap_done(void)
{
	printf("1..%u\n", run);
	return failed ? 1 : 0;
}

bool tap_deviates(const char *name)
{
	const char *at = getenv("QUIRE_DEVIATIONS");
	size_t bytes = strlen(name);

	while (at && *at) {
		size_t word = strcspn(at, " ");

		if (word == bytes && !memcmp(at, name, bytes))
			return true;
		at += word + strspn(at + word, " ");
	}
	return false;
}

uint64_t tap_seed(int argc, char **argv)
{
	const char *given = argc > 1 ? argv[1] : getenv("QUIRE_SEED");
	uint64_t seed;

	if (given) {
		seed = strtoull(given, NULL, 0);
	} else {
		struct timespec ts;

		clock_gettime(CLOCK_REALTIME, &ts);
		seed = (uint64_t)ts.tv_sec * 1000000007u ^ (uint64_t)ts.tv_nsec;
	}
	tap_note("seed %" PRIu64 " (repeat with QUIRE_SEED=%" PRIu64 ")", seed, seed);
	return seed;
}

unsigned int tap_storm(void)
{
	const char *times = getenv("QUIRE_STORM");

	return times && atoi(times) > 0 ? (unsigned int)atoi(times) : 1;
}
