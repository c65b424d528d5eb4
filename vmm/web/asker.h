/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_WEB_ASKER_H
#define QUIRE_VMM_WEB_ASKER_H

/*
 * The thread that asks the machine and its VMs, one question after the other.  The server hands
 * requests over, and gets them back when they are answered.
 */
#include <quire/error.h>
#include <stdbool.h>
#include <stddef.h>
#include "question.h"
#include "rows.h"

/* A question under way.  It belongs to the asker from asker_put() until asker_take(). */
struct asker_job {
	const struct web_row *row;
	struct web_question question;
	unsigned int status; /* of the answer */
	char *text;	     /* malloc()ed; NULL: there was no memory for it */
	size_t bytes;
	void *owner; /* whoever put it */
	struct asker_job *next;
};

/* So many questions wait at most. */
#define ASKER_MAX_WAITING 64

/*
 * Start the thread, which begins with confine(); that is done when this returns.  The process has
 * one asker.  0 or -errno with *err.
 */
int asker_start(const char *machine, void (*confine)(void), struct quire_error *err);

/* Hand a job over.  False: too many wait. */
bool asker_put(struct asker_job *job);

/* The next job that is done; NULL: none is. */
struct asker_job *asker_take(void);

/* Look at the machine time and again (live.h) for as long as there are more true than false. */
void asker_watch(bool more);

/*
 * Readable when there was a look, or there may be something new for asker_take(), which is called
 * until it has none.
 */
int asker_fd(void);

#endif
