/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LAUNCH_LAUNCH_CONSOLE_H
#define QUIRE_VMM_LAUNCH_LAUNCH_CONSOLE_H

/*
 * The output of several guests on one standard output, line by line.
 *
 *   guest --pipe--> struct lines (one a guest) --whole lines--> struct outbuf --> stdout
 *
 * Each line becomes "NAME| LINE".  Lines are never mixed, because only whole ones move on.  No
 * byte is lost or invented but for this: a line longer than LINES_BYTES is folded, and each
 * further piece of it is a line "NAME+ PIECE"; what follows the last newline gets one at the
 * end.
 *
 * All buffers are bounded.  If the reader of our output is slow, the outbuf fills, then the
 * lines, then the pipes, and then the guests wait.  Nothing here blocks.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINES_BYTES  4096u
#define OUTBUF_BYTES 65536u

struct outbuf {
	uint64_t written; /* bytes, so far */
	size_t fill;
	char data[OUTBUF_BYTES];
};

struct lines {
	const char *name; /* the caller's; short against OUTBUF_BYTES */
	char *data;	  /* LINES_BYTES, while there is something in it */
	size_t fill;
	bool folded; /* the line began in an earlier piece */
	bool ended;  /* nothing will come any more: what is there is a line */
};

/*
 * Fill from fd as much as there is room for.  Returns 1; 0: nothing now, or no room; -1: the
 * end of the stream, *lines is ended.
 */
int lines_read(struct lines *lines, int fd);

/* Move whole lines into out as far as they fit.  True: one is left that did not. */
bool lines_move(struct lines *lines, struct outbuf *out);

/* Is everything that came in moved on? */
bool lines_empty(const struct lines *lines);

void lines_finish(struct lines *lines);

/*
 * Write a piece that a descriptor takes without blocking once poll() has said that it is
 * writable.  0 or errno.
 */
int outbuf_write(struct outbuf *out, int fd);

#endif
