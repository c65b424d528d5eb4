/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "launch_console.h"

/* ---- lines ---- */

int lines_read(struct lines *lines, int fd)
{
	ssize_t n;

	if (!lines->data)
		lines->data = malloc(LINES_BYTES);
	if (!lines->data || lines->fill == LINES_BYTES)
		return 0; /* later: the guest waits meanwhile */
	n = read(fd, lines->data + lines->fill, LINES_BYTES - lines->fill);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) {
		lines->ended = true;
		return -1;
	}
	lines->fill += (size_t)n;
	return 1;
}

/* How many bytes from `from` on may go now as a line, without their newline; -1: none. */
static ssize_t whole_line(const struct lines *lines, size_t from)
{
	size_t bytes = lines->fill - from;
	const char *end = bytes ? memchr(lines->data + from, '\n', bytes) : NULL;

	if (end)
		return end - (lines->data + from);
	if (!from && bytes == LINES_BYTES)
		return (ssize_t)bytes;
	return lines->ended && bytes ? (ssize_t)bytes : -1;
}

static bool put_line(struct outbuf *out, const struct lines *lines, size_t from, size_t bytes)
{
	size_t need = strlen(lines->name) + 2 + bytes + 1;

	if (need > OUTBUF_BYTES - out->fill)
		return false;
	out->fill += (size_t)sprintf(out->data + out->fill, "%s%c ", lines->name,
				     lines->folded ? '+' : '|');
	memcpy(out->data + out->fill, lines->data + from, bytes);
	out->fill += bytes;
	out->data[out->fill++] = '\n';
	return true;
}

static void discard(struct lines *lines, size_t bytes)
{
	lines->fill -= bytes;
	if (lines->fill)
		memmove(lines->data, lines->data + bytes, lines->fill);
	else
		lines_finish(lines);
}

bool lines_move(struct lines *lines, struct outbuf *out)
{
	bool blocked = false;
	size_t from = 0;
	ssize_t bytes;

	while ((bytes = whole_line(lines, from)) >= 0) {
		size_t end = from + (size_t)bytes;
		bool newline = end < lines->fill;

		/* The rest of a folded line may be just its newline: that is not a line. */
		if (bytes || !lines->folded)
			blocked = !put_line(out, lines, from, (size_t)bytes);
		if (blocked)
			break;
		lines->folded = !newline;
		from = end + newline;
	}
	if (from)
		discard(lines, from);
	return blocked;
}

bool lines_empty(const struct lines *lines)
{
	return !lines->fill;
}

void lines_finish(struct lines *lines)
{
	free(lines->data);
	lines->data = NULL;
	lines->fill = 0;
}

/* ---- standard output ---- */

int outbuf_write(struct outbuf *out, int fd)
{
	size_t bytes = out->fill < PIPE_BUF ? out->fill : PIPE_BUF;
	ssize_t done = write(fd, out->data, bytes);

	if (done < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : errno;
	out->written += (uint64_t)done;
	out->fill -= (size_t)done;
	memmove(out->data, out->data + done, out->fill);
	return 0;
}
