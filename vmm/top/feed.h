/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_TOP_FEED_H
#define QUIRE_VMM_TOP_FEED_H

/*
 * What feeds the screen: a thread that looks again and again, asks for maps, and does what is
 * wanted done.  A VM or a machine that does not answer keeps this thread waiting, and not the keys.
 *
 * The lock is held while the model reads the watch or the map, and while the thread changes them;
 * not while the thread asks somebody.
 */
#include <pthread.h>
#include "mmu/base/thread.h"
#include "pagemap.h"
#include "vmm/look/act.h"
#include "vmm/look/watch.h"

/* A VM of which something is wanted; pid 0: none. */
struct feed_vm {
	uint32_t pid;
	char name[VM_NAME_MAX + 1];
};

/*
 * Fields without a mark are set at the start.  [l]: under the lock.  [t]: written by the thread
 * under the lock, so that the thread may read it without.
 */
struct feed {
	struct thread thread;
	pthread_mutex_t lock;
	pthread_cond_t wake; /* of the thread */
	int ready;	     /* an eventfd: there is something new */
	uint64_t interval_ns;
	struct watch watch;	    /* [t] */
	struct pagemap map;	    /* [t] */
	uint64_t owners_ns;	    /* the thread's: from then on it counts owners again */
	bool failed;		    /* [l] there was no memory: nothing new will come */
	bool look_now;		    /* [l] */
	struct feed_vm mapped;	    /* [l] whose map is wanted ... */
	struct pagemap_place place; /* [l] ... and which part of it */
	struct feed_vm acted_on;    /* [l] do `act` to this one */
	struct act act;		    /* [l] */
	char outcome[200];	    /* [l] of the last act; taken by whoever shows it */
};

/*
 * Start to look.  The address must live as long as the process, and so must the feed: there is no
 * end to it, because the thread may wait for somebody when the process ends.  0 or -errno.
 */
int feed_start(struct feed *f, const char *address, uint64_t interval_ns, struct quire_error *err);

/* Under the lock: from now on, this is wanted. */
void feed_look_now(struct feed *f);
void feed_map(struct feed *f, const struct roster_vm *vm, const struct pagemap_place *place);
void feed_act(struct feed *f, const struct roster_vm *vm, const struct act *act);

#endif
