/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_WEB_LIVE_H
#define QUIRE_VMM_WEB_LIVE_H

/*
 * What goes to the page as it happens: server-sent events.
 *
 *   event: hello	once: the palette, the states, what can be done, and the points of the past
 *   event: look	each look: the machine, and every VM with its counts and rates
 *   event: map		each VM of which pages have changed: see maps.h
 *
 * The data of each is one line of JSON, with the names of `quire stat --json` where that has them.
 *
 * Looks are taken while somebody looks, at most one in LIVE_LEAST_MS.  A look that takes
 * processor time is followed by LIVE_REST times as much of rest, so that looking costs a bounded
 * part of a processor however many guests there are.
 */
#include <stddef.h>
#include <stdint.h>

#define LIVE_LEAST_MS 1000
#define LIVE_REST     100

/* Prepare to look at this machine. */
void live_init(const char *machine);

/* Look.  The asker's thread.  Returns in how many ms the next look is due. */
unsigned int live_look(void);

/* The newest look; 0: there was none. */
uint64_t live_generation(void);

/*
 * The events that are younger than a generation; 0: all.  Returns malloc()ed text, and
 * *generation becomes that of the newest; NULL: there is none, or no memory.
 */
char *live_events(uint64_t *generation, size_t *bytes);

#endif
