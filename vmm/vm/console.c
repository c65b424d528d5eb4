/* SPDX-License-Identifier: MIT */
/*
 * The console; console.h says what it promises.
 *
 * Who may block.  A vCPU that writes to a full pipe should wait, as a guest expects of a serial
 * line.  It waits in poll() with a bounded timeout and looks at `abandoned` in between, so that a
 * VM can always be stopped.  It holds the lock while it waits, so the main loop only ever tries to
 * take the lock.  `waiting` tells the main loop, without the lock, whether there is output: whoever
 * releases the lock sets it, and wakes the main loop if it became true.
 *
 * When poll() says that a pipe is writable, PIPE_BUF bytes fit into it.  So no write is larger.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "console.h"

#define WAIT_MS 100 /* a waiting vCPU looks at `abandoned` so often */

/* The kernel stops a background job that reads its terminal. */
static bool may_read(int fd)
{
	return !isatty(fd) || tcgetpgrp(fd) == getpgrp();
}

void console_init(struct console *con, void (*wake)(void *ctx), void *ctx)
{
	*con = (struct console){
		.in_fd = STDIN_FILENO,
		.out_fd = STDOUT_FILENO,
		.wake = wake,
		.ctx = ctx,
	};
	lock_init(&con->lock, LOCK_CONSOLE);
	lock_init(&con->tail_lock, LOCK_TAIL);
	con->in_open = may_read(con->in_fd);
	con->has_keys = isatty(con->in_fd);
}

void console_look_for(struct console *con, const char *text, void (*on_phrase)(void *ctx),
		      void *ctx)
{
	phrase_init(&con->phrase, text);
	con->on_phrase = on_phrase;
	con->phrase_ctx = ctx;
}

void console_finish(struct console *con)
{
	lock_finish(&con->tail_lock);
	lock_finish(&con->lock);
}

/* ---- output ---- */

/* Write a piece of the buffer.  Lock held.  0, EAGAIN, EINTR, or the errno of a real failure. */
static int write_piece(struct console *con)
{
	size_t bytes = con->fill < PIPE_BUF ? con->fill : PIPE_BUF;
	ssize_t done = write(con->out_fd, con->buffer, bytes);

	if (done >= 0) {
		con->fill -= (unsigned int)done;
		memmove(con->buffer, con->buffer + done, con->fill);
		return 0;
	}
	if (errno != EAGAIN && errno != EINTR) {
		atomic_store(&con->error, errno);
		con->fill = 0;
		con->wake(con->ctx);
	}
	return errno;
}

/* Wait at most timeout_ms for the reader.  False: it is not ready. */
static bool writable(const struct console *con, int timeout_ms)
{
	struct pollfd fd = { .fd = con->out_fd, .events = POLLOUT };

	return poll(&fd, 1, timeout_ms) > 0;
}

/* Write until at most `keep` bytes wait, or nobody wants them any more.  Lock held. */
static bool write_down_to(struct console *con, size_t keep)
{
	while (con->fill > keep && !atomic_load(&con->error)) {
		if (atomic_load(&con->abandoned))
			return false;
		if (writable(con, WAIT_MS))
			(void)write_piece(con);
	}
	return true;
}

/* Add a piece that fits into the buffer.  Lock held. */
static void put(struct console *con, const char *data, size_t bytes)
{
	if (!write_down_to(con, CONSOLE_BUFFER - bytes) || atomic_load(&con->error))
		return;
	memcpy(con->buffer + con->fill, data, bytes);
	con->fill += (unsigned int)bytes;
}

/* Release the lock.  True: output waits now, and did not before. */
static bool release(struct console *con)
{
	bool waits = con->fill > 0, waited = atomic_exchange(&con->waiting, waits);

	unlock(&con->lock);
	return waits && !waited;
}

static void note(struct console *con, const void *data, size_t bytes)
{
	lock(&con->tail_lock);
	tail_add(&con->tail, data, bytes);
	unlock(&con->tail_lock);
}

void console_tail(struct console *con, struct tail *out)
{
	lock(&con->tail_lock);
	*out = con->tail;
	unlock(&con->tail_lock);
}

void console_write(struct console *con, const void *data, size_t bytes)
{
	const char *p = data;
	bool line_end = bytes && p[bytes - 1] == '\n', found;

	lock(&con->lock);
	note(con, data, bytes);
	found = phrase_completes(&con->phrase, data, bytes);
	while (bytes) {
		size_t n = bytes < CONSOLE_BUFFER / 2 ? bytes : CONSOLE_BUFFER / 2;

		put(con, p, n);
		p += n;
		bytes -= n;
	}
	if (line_end || found || con->fill >= CONSOLE_BUFFER / 2)
		write_down_to(con, 0);
	if (release(con))
		con->wake(con->ctx);
	if (found)
		con->on_phrase(con->phrase_ctx);
}

bool console_offer(struct console *con, const void *data, size_t bytes)
{
	bool found = false, room;

	if (!lock_try(&con->lock))
		return false;
	room = bytes <= CONSOLE_BUFFER - con->fill;
	if (room && !atomic_load(&con->error)) {
		memcpy(con->buffer + con->fill, data, bytes);
		con->fill += (unsigned int)bytes;
		note(con, data, bytes);
		found = phrase_completes(&con->phrase, data, bytes);
	}
	while (found && con->fill && writable(con, 0) && !write_piece(con))
		;
	release(con);
	if (found)
		con->on_phrase(con->phrase_ctx);
	return room;
}

void console_abandon(struct console *con)
{
	atomic_store(&con->abandoned, true);
}

bool console_waiting(const struct console *con)
{
	return atomic_load(&con->waiting);
}

bool console_write_idle(struct console *con)
{
	if (!lock_try(&con->lock))
		return false;
	if (con->fill && writable(con, 0))
		(void)write_piece(con);
	release(con);
	return true;
}

/* Wait for the reader.  False: the deadline has passed, or abort_fd is readable. */
static bool wait_drain(const struct console *con, int abort_fd, uint64_t deadline_ns)
{
	struct pollfd fds[2] = {
		{ .fd = con->out_fd, .events = POLLOUT },
		{ .fd = abort_fd, .events = POLLIN },
	};

	(void)poll(fds, 2, WAIT_MS);
	return !(fds[1].revents & POLLIN) && monotonic_ns() < deadline_ns;
}

bool console_drain(struct console *con, int abort_fd, uint64_t deadline_ns)
{
	bool all;

	console_abandon(con); /* so whoever has the lock releases it soon */
	lock(&con->lock);
	while (con->fill && !atomic_load(&con->error)) {
		if (writable(con, 0))
			(void)write_piece(con);
		else if (!wait_drain(con, abort_fd, deadline_ns))
			break;
	}
	all = !con->fill;
	release(con);
	return all;
}

/* ---- input ---- */

size_t console_read(struct console *con, void *data, size_t bytes)
{
	ssize_t done = read(con->in_fd, data, bytes);

	if (done > 0)
		return (size_t)done;
	if (!done || (errno != EAGAIN && errno != EINTR))
		con->in_open = false;
	return 0;
}
