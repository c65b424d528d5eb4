/* SPDX-License-Identifier: MIT */
/*
 * Mappings: how many are left to whom, and how they are won back.
 *
 * The kernel limits the mappings of a process (vm.max_map_count).  What goes away takes up to two,
 * and so does a page that comes home from the middle of a mapping.  Merging can wait, but a guest
 * that writes cannot.  So there must always be a way home.
 *
 * The margin.  Nothing goes away, and no block becomes whole, if fewer mappings than the margin
 * would be left.  They are for pages that come home.
 *
 * The bound.  In the margin a write brings its page home alone only if no mapping ends in the
 * page's block.  That adds two mappings at most, and it happens once to a block: the next write
 * there finds an end, and brings home as large a group as takes no mapping more, which is the block
 * at the latest (away.c).  So all writes together take at most two mappings for each block, and the
 * margin has as many, as far as a quarter of all mappings will do: with 65530 of them, for guests
 * of 16 GiB.
 *
 * Relief.  For larger guests, and where credits are so short that groups cannot come home, other
 * mappings are brought home when all are in use: short ones first.  That needs no mapping at any
 * moment, because a whole mapping is replaced by one that joins its neighbours.  Nor does it need
 * more than one credit: next to a page at home lies a mapping whose first or last page can come
 * home and join it.  There are pages at home, because the margin is used up by pages that came
 * home.  So a write may have to wait for a credit, but not for a mapping.
 *
 * The kernel may have a few more mappings than we count (mappings.h).  So we never use all of them
 * (mappings.c).
 */
#include <errno.h>
#include "away.h"
#include "zero.h"

#define MARGIN	      1024u /* mappings, at least */
#define SHORT_MAPPING 64u   /* pages */

/* --- room -------------------------------------------------------------------------------- */

static uint64_t margin(const struct gmem *gm)
{
	struct stage2_counters c;

	stage2_counters(gm->s2, &c);
	return min_u64(max_u64(MARGIN, 2 * c.ram_pages / QUIRE_BLOCK_PAGES),
		       gm->backend->max_mappings / 4);
}

bool away_has_room(const struct gmem *gm)
{
	const struct backend *b = gm->backend;

	return b->mappings + 2 + margin(gm) <= b->max_mappings;
}

bool away_fits(const struct gmem *gm, gfn_t gfn, uint64_t nr)
{
	const struct backend *b = gm->backend;
	int64_t cost = backend_home_costs(gm->backend, gfn, nr);

	return cost <= 0 || b->mappings + (uint64_t)cost <= b->max_mappings;
}

/* --- relief ------------------------------------------------------------------------------ */

/*
 * Bring a mapping home, or if it is long, or credits are short, a part at its start or end.
 * 0; -EAGAIN: there is no mapping for that part; -EDQUOT; or the host's -errno.
 */
static int win_from(struct gmem *gm, const struct gfn_range *m)
{
	uint64_t nr = away_take_some(gm, min_u64(m->end - m->start, QUIRE_BLOCK_PAGES));
	struct stage2_page page;
	gfn_t gfn = m->start;
	int err;

	if (!nr)
		return -EDQUOT;
	if (backend_home_costs(gm->backend, gfn, nr) > 0)
		gfn = m->end - nr;
	stage2_lookup(gm->s2, gfn, &page);
	if (!away_fits(gm, gfn, nr))
		err = -EAGAIN;
	else if (page_is_away_zero(page.state))
		err = zero_unmap(gm, gfn, nr);
	else
		err = away_come_home(gm, gfn, nr, &page, 1);
	if (err)
		gmem_put(gm, nr);
	else
		gm->stats.mapping_reliefs++;
	return err;
}

/* Is a part of it in the block that is being filled? */
static bool is_being_filled(const struct gmem *gm, const struct gfn_range *m)
{
	return gm->filling != NO_BLOCK && gm->filling < m->end &&
	       gm->filling + QUIRE_BLOCK_PAGES > m->start;
}

/*
 * Have no more than `most` mappings, by bringing home those of at most `longest` pages that begin
 * in [start, end).  Others may have the lock between two runs.  0; -EAGAIN: there are more still;
 * or as away_relieve.
 */
static int relieve_from(struct gmem *gm, gfn_t start, gfn_t end, uint64_t most, uint64_t longest)
{
	struct gmem_run run = { .gfn = start };

	for (; gmem_each_run(gm, &run) && run.gfn < end; gmem_let_others(gm)) {
		struct gfn_range m;
		int err;

		if (!page_is_mapped_away(&run.page))
			continue;
		m = backend_mapping_at(gm->backend, run.gfn);
		run.nr = m.end - run.gfn;
		if (m.end - m.start > longest || is_being_filled(gm, &m))
			continue;
		err = win_from(gm, &m);
		if (err && err != -EAGAIN)
			return err;
		gm->share.relief_next = run.gfn;
		if (gm->backend->mappings <= most)
			return 0;
	}
	return -EAGAIN;
}

/* Once through all of RAM, beginning where the last relief ended. */
static int relieve_once(struct gmem *gm, uint64_t most, uint64_t longest)
{
	gfn_t start = gm->share.relief_next;
	int err = relieve_from(gm, start, UINT64_MAX, most, longest);

	return err == -EAGAIN ? relieve_from(gm, 0, start, most, longest) : err;
}

int away_relieve(struct gmem *gm)
{
	uint64_t most = gm->backend->mappings - 1, before;
	int err = relieve_once(gm, most, SHORT_MAPPING);

	while (err == -EAGAIN) {
		before = gm->stats.mapping_reliefs;
		err = relieve_once(gm, most, UINT64_MAX);
		if (err == -EAGAIN && gm->stats.mapping_reliefs == before)
			err = -ENOMEM;
	}
	away_fit_reserve(gm);
	return err;
}
