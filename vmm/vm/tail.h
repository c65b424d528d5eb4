/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_TAIL_H
#define QUIRE_VMM_VM_TAIL_H

/*
 * The last lines of a stream of text, as a terminal would show them: a carriage return begins a
 * line anew, and lines with nothing in them do not count.  What is kept is bounded, whatever the
 * stream is.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TAIL_LINES 3
#define TAIL_BYTES 200 /* of a line */

struct tail_line {
	uint32_t bytes;
	uint32_t cut; /* 1: it has more bytes than are here */
	char text[TAIL_BYTES];
};

/* All zeroes is the tail of an empty stream.  It has no pointers, and goes over a socket. */
struct tail {
	uint32_t last;	   /* the index of the newest line; that after it, modulo, is the oldest */
	uint32_t ended;	   /* 1: the newest line is complete */
	uint32_t returned; /* 1: the next byte begins the newest line anew */
	uint32_t zero;
	struct tail_line line[TAIL_LINES]; /* a ring */
};

/* The next piece of the stream. */
void tail_add(struct tail *t, const char *data, size_t bytes);

/* Is it one that tail_add() can have made? */
bool tail_is_good(const struct tail *t);

/* Print them, with a line in front, and what is no printable ASCII as \xNN. */
void tail_print(FILE *f, const struct tail *t);

#endif
