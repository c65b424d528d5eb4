/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_CONSOLE_H
#define QUIRE_VMM_VM_CONSOLE_H

/*
 * The guest's serial console on our standard input and output.
 *
 * Output is buffered, and none is lost.  The buffer is written when a line ends, when it is full,
 * when the guest has been quiet for CONSOLE_IDLE_NS, and at the end.  If the reader is slow, the
 * vCPU that writes waits.  The main loop never waits: it writes only what poll() says will fit.
 *
 * Input comes from a terminal, whose mode is the launcher's business (vmm/launch/terminal.h), or
 * from a file or pipe.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "mmu/base/locks.h"
#include "phrase.h"
#include "tail.h"

#define CONSOLE_BUFFER	16384
#define CONSOLE_IDLE_NS 3000000

struct console {
	int in_fd, out_fd;
	/* A vCPU's thread calls this when console_waiting() became true or error was set. */
	void (*wake)(void *ctx);
	void *ctx;
	atomic_bool abandoned; /* no vCPU waits for the reader any longer */
	atomic_int error;      /* errno of the write that failed; all output is dropped since */
	atomic_bool waiting;   /* fill was not 0 when the lock was last released */
	bool in_open;	       /* there may be more input; main loop only */
	bool has_keys;	       /* input is a terminal's keys, some of which are ours (escape.h) */
	struct lock lock;      /* protects fill, buffer and phrase */
	struct phrase phrase;
	void (*on_phrase)(void *ctx);
	void *phrase_ctx;
	struct lock tail_lock; /* protects tail; held for no longer than that takes */
	struct tail tail;      /* of all that the guest printed, written or not */
	unsigned int fill;
	char buffer[CONSOLE_BUFFER];
};

/* Use standard input and output. */
void console_init(struct console *con, void (*wake)(void *ctx), void *ctx);

void console_finish(struct console *con);

/*
 * Look for a text in what the guest prints.  Call it before any vCPU runs.  A vCPU's thread calls
 * on_phrase(ctx) once, when the guest has printed the text and all output up to it is written.
 */
void console_look_for(struct console *con, const char *text, void (*on_phrase)(void *ctx),
		      void *ctx);

/*
 * Write output of the guest.  Called by vCPUs.  May wait for the reader of the output, until
 * console_abandon() is called.
 */
void console_write(struct console *con, const void *data, size_t bytes);

/*
 * Add output to what waits, without waiting for the reader.  Main loop only.  False: there is no
 * room for it, or a vCPU is writing just now, and nothing was added.
 */
bool console_offer(struct console *con, const void *data, size_t bytes);

/* Copy the last lines that the guest printed, also those that wait.  From any thread. */
void console_tail(struct console *con, struct tail *out);

/* No vCPU waits for the reader any longer.  From any thread. */
void console_abandon(struct console *con);

/* Is there output that has not been written?  Main loop only. */
bool console_waiting(const struct console *con);

/*
 * Write some of what waits, if that does not block.  Main loop only.  False: a vCPU is writing just
 * now, and may leave some output behind without waking the main loop again.
 */
bool console_write_idle(struct console *con);

/*
 * Write all that waits.  Gives up at deadline_ns, or when abort_fd (-1: none) becomes readable.
 * False: some of it was not written.
 */
bool console_drain(struct console *con, int abort_fd, uint64_t deadline_ns);

/* Read up to `bytes` of input.  0: there is none now, or in_open became false: there is no more. */
size_t console_read(struct console *con, void *data, size_t bytes);

#endif
