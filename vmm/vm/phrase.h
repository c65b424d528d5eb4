/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_PHRASE_H
#define QUIRE_VMM_VM_PHRASE_H

/* A text that is looked for in a stream which comes in pieces (Knuth, Morris and Pratt). */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PHRASE_MAX 255

struct phrase {
	const char *text; /* borrowed; NULL: nothing is looked for */
	size_t length, matched;
	uint8_t again[PHRASE_MAX]; /* what still matches when byte i did and the next did not */
};

/* Look for this text of 1..PHRASE_MAX bytes. */
void phrase_init(struct phrase *p, const char *text);

/* The next piece of the stream.  True: the text is complete now.  That happens once. */
bool phrase_completes(struct phrase *p, const char *data, size_t bytes);

#endif
