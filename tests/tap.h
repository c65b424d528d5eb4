/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_TAP_H
#define QUIRE_TESTS_TAP_H

/*
 * TAP for C tests: each assertion is a sentence about behaviour.  A failed one prints file:line
 * and the expression, or what was got and wanted: is() as signed decimals, is_hex() for addresses,
 * bits and bytes.  The plan is printed by tap_done().
 */
#include <stdbool.h>
#include <stdint.h>

#define ok(cond, ...) tap_ok((cond), #cond, __FILE__, __LINE__, __VA_ARGS__)

#define is(got, want, ...) tap_is((int64_t)(got), (int64_t)(want), __FILE__, __LINE__, __VA_ARGS__)

#define is_hex(got, want, ...) tap_hex((got), (want), __FILE__, __LINE__, __VA_ARGS__)

void tap_init(void); /* first thing in main: line-buffers stdout */

__attribute__((format(printf, 5, 6))) bool tap_ok(bool pass, const char *expr, const char *file,
						  int line, const char *fmt, ...);
__attribute__((format(printf, 5, 6))) bool tap_is(int64_t got, int64_t want, const char *file,
						  int line, const char *fmt, ...);
__attribute__((format(printf, 5, 6))) bool tap_hex(uint64_t got, uint64_t want, const char *file,
						   int line, const char *fmt, ...);
__attribute__((format(printf, 1, 2))) void tap_note(const char *fmt, ...); /* "# ..." */
__attribute__((format(printf, 1, 2))) void
tap_skip(const char *fmt, ...); /* one skipped assertion, with the reason */
__attribute__((format(printf, 1, 2), noreturn)) void
tap_skip_all(const char *fmt, ...); /* prints 1..0 # SKIP why, exits 0 */
__attribute__((format(printf, 1, 2), noreturn)) void tap_bail(const char *fmt, ...); /* Bail out! */
int tap_done(void); /* prints the plan; returns exit status */

/* Seed of a random test: argv[1] or $QUIRE_SEED if given, else a fresh one; printed. */
uint64_t tap_seed(int argc, char **argv);

/* Does this processor deviate from the manuals so?  tests/bed/deviations.txt has the names. */
bool tap_deviates(const char *name);

/*
 * How many times as long as in `make check` a storm is to last: $QUIRE_STORM, which `make soak`
 * sets, or 1.
 */
unsigned int tap_storm(void);

/* A small reproducible generator (splitmix64): tests share it, nothing else does. */
static inline uint64_t tap_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

#endif
