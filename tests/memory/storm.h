/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_MEMORY_STORM_H
#define QUIRE_TESTS_MEMORY_STORM_H

/*
 * A storm: WRITERS threads use guest memory, and know what must be in it, while the test does all
 * kinds of things to it.
 *
 *	storm_begin(1500, storm_words);
 *	while (storm_goes_on())
 *		disturb();
 *	is(storm_end(), 0, "no wrong word");
 *
 * A storm lasts a time, and until each writer has made STORM_STEPS.  On a busy machine the test
 * waits for writers that fall behind.
 */
#include "tests/memory/share_lab.h"

#define STORM_STEPS 2000 /* of each writer, at least */
#define STORM_LEAD  16	 /* rounds of the test to a step of the slowest writer, at most */

/*
 * Starts a storm of so many milliseconds, times tap_storm(): each writer runs writer(its number),
 * whose result is how much it found wrong, as a pointer.
 */
void storm_begin(unsigned int ms, void *(*writer)(void *));

/* One more thread takes part, whose steps do not count. */
void storm_join(void *(*thread)(void *));

/* Is this writer to go on?  Each call is a step of it. */
bool storm_step(uint64_t writer);

/* Is it over?  For the thread that joined. */
bool storm_is_over(void);

/* Is the test to go on?  Each call is a round. */
bool storm_goes_on(void);

/* Ends it: the threads are gone.  The sum of what they found wrong. */
uint64_t storm_end(void);

/* How many rounds it had so far. */
unsigned int storm_rounds(void);

/*
 * A writer: it reads and writes a word of each page that is its own, and asserts that it holds what
 * was written last.
 */
void *storm_words(void *writer);

#endif
