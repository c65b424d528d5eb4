/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_AWAY_H
#define QUIRE_MMU_MEMORY_AWAY_H

/*
 * Pages that are away: they have no frame in the RAM file, and a provider has their bytes.
 *
 * There is one provider for each such state: of `shared` pages it is a store (share.c), of `zero`
 * pages the kernel's page of zeroes (zero.c), of `compressed` pages the pool (packed.c), of
 * `swapped` pages a file (swapped.c), and of `archived` pages a store again (archived.c).  away.c
 * has the table of providers, and all that does not depend on the provider: how a page that is away
 * comes home or is forgotten, and the reserve of credits.  relief.c has the mappings.  A new kind
 * of such pages is a state (stage2.h), a provider in a file of its own, and its row in the table.
 *
 * A page that is away may be mapped, which struct stage2_page says.  If it is, the window maps the
 * provider's bytes there, write-protected: a read costs nothing, a write raises an event.  If it is
 * not, any access raises an event.
 *
 * Locking: LOCK_GMEM for all.
 */
#include "contents.h"
#include "gmem_internal.h"

/*
 * What a provider does.  `page` is the first page of [gfn, gfn + nr), one linear run that is away.
 */
struct away_provider {
	/*
	 * As contents_show.  NULL: all bytes are zero, so that nothing is lost when such a page
	 * becomes absent.  -EAGAIN: the bytes are not at hand (swapped_fetch).
	 */
	int (*show)(const struct gmem *gm, const struct stage2_page *page, uint64_t nr,
		    const struct page_look *look);
	/*
	 * Make the run private, for nr credits.  Readers find the same bytes all the time; a writer
	 * waits until it is done. 0 if a page came home, with the credits of pages that did not put
	 * back; -errno if none did, with all credits left to the caller.
	 */
	int (*come_home)(struct gmem *gm, gfn_t gfn, uint64_t nr, const struct stage2_page *page);
	/* The pages were merged, and to write one is to un-share it: note.h is told. */
	bool merged;
	/* The run leaves the provider; stage 2 is told next.  NULL: it need not know. */
	void (*let_go)(struct gmem *gm, const struct stage2_page *page, uint64_t nr);
};
extern const struct away_provider share_provider, zero_provider, packed_provider, swapped_provider,
	archived_provider;
extern const struct away_provider *const away_providers[PG_NR_STATES]; /* NULL: never away */

/* Are pages in this state away? */
static inline bool page_is_away(enum page_state state)
{
	return away_providers[state];
}

/* ... and is nothing but zeroes in them? */
static inline bool page_is_away_zero(enum page_state state)
{
	return page_is_away(state) && !away_providers[state]->show;
}

/* ... and is it because they were merged? */
static inline bool page_is_merged(enum page_state state)
{
	return page_is_away(state) && away_providers[state]->merged;
}

/* Is the page away, and does the window map it from its provider? */
static inline bool page_is_mapped_away(const struct stage2_page *page)
{
	return page->mapped && page_is_away(page->state);
}

/* Pages went away, or came home: keep as many credits in reserve as there should be. */
void away_fit_reserve(struct gmem *gm);

/* Take that many credits, or half of that, and so on; or one of the reserve.  Returns how many. */
uint64_t away_take_some(struct gmem *gm, uint64_t nr);

/*
 * Break gfn, which is away: make it private because it is written, and with it up to around - 1
 * pages of its linear run that follow, or a group around it (away.c).  *in: what came home from gfn
 * on; it is empty if the page was not away any more, after mappings had to be won.  LOCK_GMEM may
 * be dropped for that.
 *
 * Returns 0; -EDQUOT: there is no credit at hand, nor in the reserve (as gmem_bring_in); or the
 * host's -errno.
 */
int away_break(struct gmem *gm, gfn_t gfn, uint64_t around, struct gfn_range *in);

/* How many pages a break at gfn should bring home: more and more for a sequential writer. */
#define AWAY_BREAK_MOST 64u
uint64_t away_break_around(struct gmem *gm, gfn_t gfn);

/*
 * Make [gfn, gfn + nr), one linear run that is away, private, for nr credits that the caller has
 * taken.  0 if a page came home; -ENOMEM: there is no mapping for it now; or the host's -errno.  On
 * failure the credits were put back.
 */
int away_bring_home(struct gmem *gm, gfn_t gfn, uint64_t nr);

/*
 * Make [gfn, gfn + nr), one linear run that is away, absent.  Its bytes are lost, and so is what
 * the guest writes meanwhile: it gave these pages up, or they are zeroes that are not mapped.  0;
 * or if nothing changed, -ENOMEM: there is no mapping for it now; -EAGAIN: the host cannot free
 * what the RAM file still has of them.
 */
int away_forget(struct gmem *gm, gfn_t gfn, uint64_t nr);

/*
 * For relief.c: bring home [gfn, gfn + nr), whose first page is *page, and note it as broken
 * (note_broken).  The pages are in one mapping.  As come_home.
 */
int away_come_home(struct gmem *gm, gfn_t gfn, uint64_t nr, const struct stage2_page *page,
		   unsigned int backoff);

/* --- mappings (relief.c) --- */

/* Are there mappings to spare for another run that goes away, or for a block that becomes whole? */
bool away_has_room(const struct gmem *gm);

/* May [gfn, gfn + nr) come home without more mappings than there may be? */
bool away_fits(const struct gmem *gm, gfn_t gfn, uint64_t nr);

/*
 * Have fewer mappings than now, by bringing home others, of which any page may be a part.
 * LOCK_GMEM may be dropped meanwhile.
 *
 * Returns 0; -EDQUOT: there is no credit at hand, nor in the reserve; -ENOMEM: nothing is away that
 * can come home; or the host's -errno.
 */
int away_relieve(struct gmem *gm);

#endif
