/* SPDX-License-Identifier: MIT */
/*
 * Archived pages.
 *
 * A shared page becomes archived by way of home: a guest that touches it meanwhile finds its bytes
 * at each moment, and may write them.
 *
 *   1. bring the run home               for credits that come back at 4
 *   2. write-protect it                 a write waits for the pager, which waits for our lock
 *   3. compare each page with what its place has
 *   4. punch holes, tell stage 2
 *   5. let the others be written again
 *
 * What comes home is to be looked at anew by the keeper: others may have it, too.
 */
#include <errno.h>
#include <string.h>
#include "archived.h"
#include "away.h"
#include "ramfile.h"
#include "mmu/pool/archive.h"

static bool unpack(const struct gmem *gm, const struct archived_place *place, uint8_t *bytes,
		   unsigned int *packed)
{
	return archive_get(store_view_bytes(&gm->share.store, place->frame), place->at, bytes,
			   packed);
}

static pfn_t payload(const struct archived_place *place)
{
	return STAGE2_UNMAPPED | (place->frame - STAGE2_STORE_PFN) << QUIRE_PAGE_SHIFT | place->at;
}

static struct archived_place place_of(const struct stage2_page *page)
{
	return (struct archived_place){
		.frame = archived_frame(page),
		.at = (unsigned int)(page->pfn % QUIRE_PAGE_SIZE),
	};
}

/* ---- away ---- */

/* Free the frame of a page, write-protected.  False: the host holds it, and it is as it was. */
static bool free_frame(struct gmem *gm, gfn_t gfn, const uint8_t *bytes)
{
	gpa_t at = gfn_to_gpa(gfn), end = at + QUIRE_PAGE_SIZE;

	backend_leave(gm->backend, gfn, 1);
	ramfile_punch(gm->window.ram_fd, at, QUIRE_PAGE_SIZE);
	if (ramfile_next_data(gm->window.ram_fd, at, end) == end)
		return true;
	contents_write(gm, at, bytes, QUIRE_PAGE_SIZE);
	return false;
}

/* A page at home, write-protected.  False: it stays. */
static bool leave(struct gmem *gm, gfn_t gfn, const struct archived_place *place)
{
	const struct stage2_page ours = { .state = PG_PRIVATE, .level = 1, .mapped = true };
	uint8_t bytes[QUIRE_PAGE_SIZE], packed[QUIRE_PAGE_SIZE];

	if (!unpack(gm, place, packed, NULL) || contents_read(gm, gfn, &ours, bytes) ||
	    memcmp(bytes, packed, sizeof(bytes)) != 0 || !free_frame(gm, gfn, bytes))
		return false;
	gmem_set(gm, gfn, 1, PG_ARCHIVED, payload(place));
	store_view_count(&gm->share.store, place->frame, 1);
	gm->stats.archived_pages++;
	return true;
}

/* As archived_commit, for nr credits that were taken; those of pages that stay are spent. */
static uint64_t commit(struct gmem *gm, gfn_t gfn, uint64_t nr, const struct archived_place *place)
{
	uint64_t gone = 0;

	if (away_bring_home(gm, gfn, nr))
		return 0;
	share_note(gm, gfn, nr, NOTE_NEW);
	if (backend_protect(gm->backend, gfn, nr, true))
		return 0;
	for (uint64_t i = 0; i < nr; i++)
		if (leave(gm, gfn + i, &place[i]))
			gone |= 1ULL << i;
	backend_protect(gm->backend, gfn, nr, false);
	return gone;
}

/*
 * Credits are short when this is wanted most.  So the same ones are used again and again, and one
 * of the reserve goes back there.
 */
uint64_t archived_commit(struct gmem *gm, gfn_t gfn, uint64_t nr,
			 const struct archived_place *place)
{
	uint64_t reserve = gm->share.reserve, purse, gone = 0, part;

	assert_held(&gm->lock);
	assert(nr && nr <= ARCHIVED_BATCH);
	if (share_make_room(gm, nr))
		return 0;
	purse = away_take_some(gm, nr);
	reserve -= gm->share.reserve;
	for (uint64_t i = 0; i < nr && purse; i += part) {
		uint64_t went;

		part = min_u64(purse, nr - i);
		went = commit(gm, gfn + i, part, place + i);
		purse -= part - (uint64_t)__builtin_popcountll(went);
		gone |= went << i;
	}
	if (!purse)
		gmem_ask(gm);
	reserve = min_u64(reserve, purse);
	gm->share.reserve += reserve;
	gmem_put(gm, purse - reserve);
	away_fit_reserve(gm);
	return gone;
}

/* ---- the provider ---- */

/* What archived_commit() has compared never changes. */
static void get(const struct gmem *gm, const struct stage2_page *page, uint8_t *bytes,
		unsigned int *packed)
{
	const struct archived_place place = place_of(page);
	bool got = unpack(gm, &place, bytes, packed);

	assert(got);
	(void)got;
}

unsigned int archived_bytes(const struct gmem *gm, const struct stage2_page *page)
{
	uint8_t bytes[QUIRE_PAGE_SIZE];
	unsigned int packed;

	get(gm, page, bytes, &packed);
	return packed;
}

static int archived_show(const struct gmem *gm, const struct stage2_page *page, uint64_t nr,
			 const struct page_look *look)
{
	uint8_t bytes[QUIRE_PAGE_SIZE];
	int ret = 0;

	get(gm, page, bytes, NULL);
	for (uint64_t i = 0; i < nr && !ret; i++)
		ret = look->fn(look->ctx, i, 1, bytes);
	return ret;
}

static void archived_let_go(struct gmem *gm, const struct stage2_page *page, uint64_t nr)
{
	while (nr--)
		share_let_go_frames(gm, archived_frame(page), 1);
}

static int archived_come_home(struct gmem *gm, gfn_t gfn, uint64_t nr,
			      const struct stage2_page *page)
{
	int err = contents_take_home(gm, gfn, nr, page);

	if (err)
		return err;
	archived_let_go(gm, page, nr);
	gmem_set(gm, gfn, nr, PG_PRIVATE, gfn);
	gm->stats.unarchived_pages += nr;
	return 0;
}

const struct away_provider archived_provider = {
	.show = archived_show,
	.come_home = archived_come_home,
	.let_go = archived_let_go,
};
