/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_CONSOLE_H
#define QUIRE_VMM_VM_CONSOLE_H

/*
 * The guest's serial console on our standard input and output.
 *
 * Output is buffered, and none is lost: it leaves when a line ends, when the buffer fills,
 * when the guest has been quiet for CONSOLE_IDLE_NS, and at the end.  If the reader is slow,
 * the writing vCPU waits.  The main loop never does: it only writes what poll() says will fit.
 *
 * Input: a terminal is switched to single characters without echo (signals stay on, so Ctrl-C
 * still works), and always switched back, whatever ends the process.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "mmu/base/locks.h"

#define CONSOLE_BUFFER	16384
#define CONSOLE_IDLE_NS 3000000

struct console {
	int in_fd, out_fd;
	/* Called from a vCPU's thread: console_waiting() became true, or error was set. */
	void (*wake)(void *ctx);
	void *ctx;
	atomic_bool abandoned; /* vCPUs: do not wait for the reader any longer */
	atomic_int error;      /* errno of the write that failed; all output is then dropped */
	atomic_bool waiting;   /* fill > 0 when the lock was last released */
	bool in_open;	       /* main loop only */
	struct lock lock;      /* covers the buffer */
	unsigned int fill;
	char buffer[CONSOLE_BUFFER];
};

/* Take over stdin and stdout; finish puts the terminal back. */
void console_init(struct console *con, void (*wake)(void *ctx), void *ctx);
void console_finish(struct console *con);

/*
 * For a process whose child will take over the terminal: remember how it is, and put it back if
 * this process crashes.  console_unguard() ends that, in the child before anything else, and puts
 * it back if `restore`: if the child could not.
 */
void console_guard(void);
void console_unguard(bool restore);

/* After SIGCONT: shells put the terminal back to their own mode when they stop a job. */
void console_resume(struct console *con);

/* From vCPU threads.  May wait for the reader of our output, until console_abandon(). */
void console_write(struct console *con, const void *data, size_t bytes);
void console_abandon(struct console *con);

/*
 * Main loop: is output waiting; write some of it if that does not block.  False: a vCPU is writing
 * just now, and may leave some behind without another wake.
 */
bool console_waiting(const struct console *con);
bool console_write_idle(struct console *con);

/*
 * Write out all that waits.  Gives up at deadline_ns (CLOCK_MONOTONIC, UINT64_MAX: never) or when
 * abort_fd (-1: none) becomes readable.  False: some of it was not written.
 */
bool console_drain(struct console *con, int abort_fd, uint64_t deadline_ns);

/* Up to bytes of input, 0 if there is none now.  At the end of input in_open becomes false. */
size_t console_read(struct console *con, void *data, size_t bytes);

#endif
