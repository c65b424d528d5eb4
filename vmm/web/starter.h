/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_WEB_STARTER_H
#define QUIRE_VMM_WEB_STARTER_H

/*
 * The starter: a process that starts the observer, and starts it again whenever it has ended.
 *
 * It has what outlives an observer: the sockets that listen, so that clients wait a moment instead
 * of being refused, and the token, so that an open page goes on.  It reads nothing that others
 * write.  It ends with the machine.  An observer that ends again and again is started after ever
 * longer rests, up to STARTER_MOST_MS.
 */
#include <stdint.h>
#include <unistd.h>

#define STARTER_FIRST_MS   100	 /* the rest before the first start anew ... */
#define STARTER_MOST_MS	   30000 /* ... which doubles each time, up to here ... */
#define STARTER_HEALTHY_MS 60000 /* ... until an observer has lived for so long */

struct starter {
	/*
	 * Be the observer, in a new process.  It writes to `report` why it cannot start, or
	 * closes that when it serves.
	 */
	void (*observe)(void *ctx, int report);
	void *ctx;
	int life;   /* has an end of file once the machine is gone */
	int news;   /* gets a struct machine_news for each end of an observer */
	int report; /* gets why the first observer cannot start; is closed when that one serves */
};

/* The rest in ms after the nth end in a row, from 1 on. */
unsigned int starter_rest_ms(unsigned int n);

/* Be the starter.  The process ends with the machine, or if the first observer cannot start. */
_Noreturn void starter_run(struct starter *s);

#endif
