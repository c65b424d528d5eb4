/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LOOK_NEAR_H
#define QUIRE_VMM_LOOK_NEAR_H

/* What somebody who mistyped a name may have meant. */
#include <stdbool.h>
#include <stddef.h>

#define NEAR_MAX   3
#define NEAR_BYTES 256

/*
 * Write the names nearest to the word into text, "a", "a or b" or "a, b or c": at most NEAR_MAX,
 * the nearest first.  A name is near if a third of its characters, and at least one, would have to
 * change.  A copy's name, NAME-1, is also as near as NAME is.  False: no name is near.
 */
bool near_names(const char *word, char **names, unsigned int nr, char text[NEAR_BYTES]);

#endif
