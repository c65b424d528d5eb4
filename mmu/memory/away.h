/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_AWAY_H
#define QUIRE_MMU_MEMORY_AWAY_H

/*
 * Pages that are away: they have no frame in the RAM file, and a provider has their bytes.
 *
 * There is one provider for each such state: of `shared` pages it is a store (share.c), of `zero`
 * pages the kernel's page of zeroes (zero.c).  away.c has the table of providers, and all that does
 * not depend on the provider: how a page that is away comes home or is forgotten, the reserve of
 * credits, and the mappings.  A new kind of such pages is a state (stage2.h), a provider in a file
 * of its own, and its row in the table.
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
	 * becomes absent.
	 */
	int (*show)(const struct gmem *gm, const struct stage2_page *page, uint64_t nr,
		    const struct page_look *look);
	/*
	 * Make the run private, for nr credits.  Readers find the same bytes all the time; a writer
	 * waits until it is done. 0 if a page came home, with the credits of pages that did not put
	 * back; -errno if none did, with all credits left to the caller.
	 */
	int (*come_home)(struct gmem *gm, gfn_t gfn, uint64_t nr, const struct stage2_page *page,
			 bool may_relieve);
	/* The run leaves the provider; stage 2 is told next.  NULL: it need not know. */
	void (*let_go)(struct gmem *gm, const struct stage2_page *page, uint64_t nr);
};
extern const struct away_provider share_provider, zero_provider;
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

/* Is the page away, and does the window map it from its provider? */
static inline bool page_is_mapped_away(const struct stage2_page *page)
{
	return page->mapped && page_is_away(page->state);
}

/* Is there a mapping to spare for another run that goes away? */
bool away_has_room(const struct gmem *gm);

/* Pages went away, or came home: keep as many credits in reserve as there should be. */
void away_fit_reserve(struct gmem *gm);

/*
 * Break gfn, which is away: make it private because it is written, and with it up to max - 1 pages
 * of its linear run that follow.  0 with what came home in *in; -EDQUOT: there is no credit at
 * hand, nor in the reserve (as gmem_bring_in); or the host's -errno.
 */
int away_break(struct gmem *gm, gfn_t gfn, uint64_t max, struct gfn_range *in);

/* How many pages a break at gfn should bring home: more and more for a sequential writer. */
#define AWAY_BREAK_MOST 64u
uint64_t away_break_around(struct gmem *gm, gfn_t gfn);

/*
 * Make [gfn, gfn + nr), one linear run that is away, private, for nr credits that the caller has
 * taken.  0 if a page came home; or the host's -errno, with the credits put back.
 */
int away_bring_home(struct gmem *gm, gfn_t gfn, uint64_t nr);

/*
 * Make [gfn, gfn + nr), one linear run that is away, absent: its bytes are lost.  0, or -ENOMEM:
 * vm.max_map_count binds (nothing changed).
 */
int away_forget(struct gmem *gm, gfn_t gfn, uint64_t nr);

/*
 * For providers: map the RAM file at [gfn, gfn + nr) again, and wake who waits.  If mappings are
 * short and may_relieve, others are won back first.  0, or -ENOMEM (nothing changed).
 */
int away_map_home(struct gmem *gm, gfn_t gfn, uint64_t nr, bool may_relieve);

#endif
