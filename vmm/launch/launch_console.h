/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LAUNCH_LAUNCH_CONSOLE_H
#define QUIRE_VMM_LAUNCH_LAUNCH_CONSOLE_H

/*
 * The output of several guests goes to one standard output, line by line:
 *
 *   guest --pipe--> struct lines (one a guest) --whole lines--> struct outbuf --> stdout
 *
 * Each line becomes "NAME| LINE".  Lines are never mixed, because only whole lines move on.  No
 * byte is lost.  A line longer than LINES_BYTES is folded: each further piece of it is a line
 * "NAME+ PIECE".  What follows the last newline gets a newline.
 *
 * All buffers are bounded.  If the reader of our output is slow, the outbuf fills first, then the
 * lines, then the pipes.  Then the guests wait.  Nothing here blocks.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINES_BYTES  4096u
#define OUTBUF_BYTES 65536u

struct outbuf {
	uint64_t written; /* bytes that were written so far */
	size_t fill;	  /* bytes in data */
	char data[OUTBUF_BYTES];
};

struct lines {
	const char *name; /* the caller's; much shorter than OUTBUF_BYTES */
	char *data;	  /* LINES_BYTES, while there is something in it */
	size_t fill;	  /* bytes in data */
	bool folded;	  /* the line at the front began in an earlier piece */
	bool ended;	  /* nothing comes any more: what is there is a line */
};

/*
 * Read as much from fd as there is room for.  Returns 1; 0: there is nothing now, or no room; -1:
 * the stream is at its end, and *lines is ended.
 */
int lines_read(struct lines *lines, int fd);

/* Move whole lines into out as far as they fit.  True: a line is left that did not fit. */
bool lines_move(struct lines *lines, struct outbuf *out);

/* Has everything that came in moved on? */
bool lines_empty(const struct lines *lines);

/* Drop what is there, and free the memory. */
void lines_finish(struct lines *lines);

/*
 * Write a piece of *out to fd, so small that it does not block once poll() has said that fd is
 * writable.  Returns 0 or errno.
 */
int outbuf_write(struct outbuf *out, int fd);

#endif
