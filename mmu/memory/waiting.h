/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_WAITING_H
#define QUIRE_MMU_MEMORY_WAITING_H

/*
 * Pages that wait: somebody touched them and sleeps, and the pager could not answer, because there
 * was no credit, or because the page is swapped and has to be read first.  There is a list for
 * each.  When something was read, those that wait for that are due: they go to the end of the list
 * of the others, and are tried with them.
 *
 * A list has one entry for each gfn, however many threads sleep there, and the oldest entry is
 * the first.  Only the pager adds entries.  Whoever makes a page what its sleepers need settles its
 * entry: gmem_set and gmem_set_large do that for all (gmem.c).  So no entry, and no wish for
 * credits, outlives the need.
 *
 * Each sleeper touched one page, so the entries in use are at most as many as there are vCPUs,
 * kworkers that take a fault for one, and threads of a test.  A vCPU that a signal took out of its
 * fault may leave an entry behind, which is answered like any other.  If the list is full, its
 * oldest entry gives way: who sleeps there is woken, finds the page as it was, and raises another
 * event, which goes to the end.  So no sleeper is forgotten.
 *
 * Locking: LOCK_GMEM for all, but for waiting_any.
 */
#include <stdatomic.h>
#include <quire/types.h>

struct gmem;

#define WAITING_MAX 1024u

struct waiting_page {
	gfn_t gfn;
	bool write;	   /* somebody wants to write it */
	uint64_t since_ns; /* when the first of its events could not be answered */
	bool loaded;	   /* it waits, or waited, for a read ... */
	bool untried;	   /* ... and was not tried since */
};

struct waiting {
	struct waiting_page page[WAITING_MAX]; /* the oldest first */
	atomic_uint nr;			       /* changed under LOCK_GMEM */
};

/* Does any page wait?  It needs no lock. */
static inline bool waiting_any(const struct waiting *w)
{
	return atomic_load_explicit(&w->nr, memory_order_relaxed);
}

/*
 * gfn was touched at since_ns, and cannot be answered now: there is no credit, or (load) it has to
 * be read.  If it is on that list, it keeps its place.
 */
void waiting_add(struct gmem *gm, gfn_t gfn, bool write, uint64_t since_ns);
void waiting_add_load(struct gmem *gm, gfn_t gfn, bool write, uint64_t since_ns);

/* Something was read: what waits for that is to be tried. */
void waiting_try_loads(struct gmem *gm);

/* Take the oldest entry off the list, to try it.  False: there is none. */
bool waiting_take(struct gmem *gm, struct waiting_page *page);

/* It cannot be answered yet: it is the oldest again. */
void waiting_put_back(struct gmem *gm, const struct waiting_page *page);

/* It was tried, and does not wait any more. */
void waiting_end(struct gmem *gm, const struct waiting_page *page);

/* It was tried, and has to be read, perhaps again. */
void waiting_wait_on(struct gmem *gm, const struct waiting_page *page);

/* An access that had to wait for a credit since since_ns goes on: count it. */
void waiting_count(struct gmem *gm, uint64_t since_ns);

/* Pages of [gfn, gfn + nr) have changed: who need not wait any more is taken off and woken. */
void waiting_settle(struct gmem *gm, gfn_t gfn, uint64_t nr);

#endif
