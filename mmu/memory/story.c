/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>
#include "archived.h"
#include "gmem_internal.h"
#include "story.h"

static bool is_on(const struct waiting *w, gfn_t gfn)
{
	for (unsigned int i = 0; i < atomic_load(&w->nr); i++)
		if (w->page[i].gfn == gfn)
			return true;
	return false;
}

static struct gmem_copy copy_of(const struct swap *area, gfn_t gfn)
{
	struct swap_copy copy = swap_copy_of(area, gfn);

	if (!copy.units)
		return (struct gmem_copy){ 0 };
	return (struct gmem_copy){
		.offset = swap_offset(area, copy.at),
		.bytes = (uint32_t)(copy.units * QUIRE_PAGE_SIZE / swap_page_units(area)),
	};
}

static void tell_private(struct gmem *gm, gfn_t gfn, struct gmem_story *out)
{
	uint64_t one = 1;

	out->held = gmem_is_held(gm, gfn, &one);
	out->refusals = packed_refusals(gm, gfn);
	for (unsigned int w = 0; w < GMEM_NR_WATCHERS; w++) {
		out->watched |= (uint8_t)(gm->watcher[w].looks << w);
		out->touched |= (uint8_t)((touched_since(gm, w, gfn, 1) & 1) << w);
	}
	out->touched &= out->watched;
}

static void tell(struct gmem *gm, const struct stage2_page *page, struct gmem_story *out)
{
	gfn_t gfn = out->gfn;

	out->state = (uint8_t)page->state;
	out->level = page->level;
	out->mapped = page->mapped;
	out->maddr = page->mapped ? gfn_to_gpa(page->pfn) : 0;
	out->note = gm->share.note[gfn];
	out->waits = is_on(&gm->waiting, gfn) || is_on(&gm->loading, gfn);
	out->returns = (uint8_t)history_returns(&gm->history, gfn);
	out->gone_s = history_gone_s(&gm->history, gfn);
	out->back_s = history_back_s(&gm->history, gfn);
	if (page->state == PG_PRIVATE)
		tell_private(gm, gfn, out);
	if (gm->swapped.area)
		out->copy = copy_of(gm->swapped.area, gfn);
	if (page->state == PG_SHARED)
		out->frame = gmem_frame_at(gm, page->pfn);
	if (page->state == PG_ARCHIVED) {
		out->frame = gmem_frame_at(gm, archived_frame(page));
		out->place.bytes = (uint16_t)archived_bytes(gm, page);
	}
	if (page->state == PG_COMPRESSED)
		pool_find(gm->packed.pool, page->pfn & ~STAGE2_UNMAPPED, &out->place);
}

int gmem_story(struct gmem *gm, gfn_t gfn, struct gmem_story *out)
{
	struct stage2_page page;
	int err;

	memset(out, 0, sizeof(*out)); /* it goes over a socket */
	out->gfn = gfn;
	gmem_lock(gm, GMEM_LOOK);
	err = stage2_lookup(gm->s2, gfn, &page);
	if (!err)
		tell(gm, &page, out);
	gmem_unlock(gm);
	return err;
}
