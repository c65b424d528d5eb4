/* SPDX-License-Identifier: MIT */
/*
 * Shadow pages: where they are found, and where they go.
 *
 *   free --alloc--> in use --the last link goes, or a root is given up--> limbo --flush--> free
 *
 * A processor may still walk through a table that has just gone.  So the table is not used for
 * anything else before the flush.
 */
#include <string.h>
#include "shadow_internal.h"

#define EVICT 16u /* pages at once */

/* --- finding ----------------------------------------------------------------------------- */

static uint32_t *bucket(const struct shadow *s, gpa_t base)
{
	return &s->hash[(gpa_to_gfn(base) * 0x9e3779b97f4a7c15ULL >> 32) & s->hash_mask];
}

uint32_t page_find(const struct shadow *s, const struct sp_role *role)
{
	uint32_t sp = *bucket(s, role->base);

	while (sp != SP_NONE && !role_equal(&s->page[sp].role, role))
		sp = s->page[sp].hash_next;
	return sp;
}

uint32_t page_next_of_gfn(const struct shadow *s, gfn_t gfn, uint32_t sp)
{
	sp = sp == SP_NONE ? *bucket(s, gfn_to_gpa(gfn)) : s->page[sp].hash_next;
	while (sp != SP_NONE &&
	       (s->page[sp].role.kind != SP_GUEST || gpa_to_gfn(s->page[sp].role.base) != gfn))
		sp = s->page[sp].hash_next;
	return sp;
}

unsigned int page_roots(const struct shadow *s, gpa_t base, uint32_t *out, unsigned int max)
{
	unsigned int nr = 0;

	for (uint32_t sp = *bucket(s, base); sp != SP_NONE && nr < max;
	     sp = s->page[sp].hash_next) {
		const struct sp_role *role = &s->page[sp].role;

		if (role->level == 4 && role->base == base && role->kind != SP_DIRECT)
			out[nr++] = sp;
	}
	return nr;
}

uint32_t page_of_entry(const struct shadow *s, uint64_t link)
{
	return ((link & X86_ADDR_MASK) - s->config.arena_maddr) >> QUIRE_PAGE_SHIFT;
}

bool page_is_root_in_use(const struct shadow *s, uint32_t sp)
{
	for (unsigned int i = 0; i < SHADOW_MAX_VCPUS; i++)
		if (s->root[i][0] == sp || s->root[i][1] == sp)
			return true;
	return false;
}

/* --- in sync or not ---------------------------------------------------------------------- */

bool page_is_protected(const struct shadow *s, gfn_t gfn)
{
	if (!s->synced[gfn / QUIRE_BLOCK_PAGES])
		return false;
	for (uint32_t sp = page_next_of_gfn(s, gfn, SP_NONE); sp != SP_NONE;
	     sp = page_next_of_gfn(s, gfn, sp))
		if (s->page[sp].in_sync)
			return true;
	return false;
}

static void unsync_add(struct shadow *s, uint32_t sp)
{
	s->page[sp].unsync_at = s->nr_unsync;
	s->unsync[s->nr_unsync++] = sp;
}

static void unsync_remove(struct shadow *s, uint32_t sp)
{
	uint32_t at = s->page[sp].unsync_at, last = s->unsync[--s->nr_unsync];

	s->unsync[at] = last;
	s->page[last].unsync_at = at;
	s->page[sp].unsync_at = SP_NONE;
}

void page_set_sync(struct shadow *s, uint32_t sp, bool in_sync)
{
	struct shadow_page *page = &s->page[sp];

	if (page->in_sync == in_sync)
		return;
	page->in_sync = in_sync;
	s->synced[page->role.base / QUIRE_BLOCK_SIZE] += in_sync ? 1 : -1;
	if (in_sync)
		unsync_remove(s, sp);
	else
		unsync_add(s, sp);
}

/* --- going ------------------------------------------------------------------------------- */

static void unhash(struct shadow *s, uint32_t sp)
{
	uint32_t *at = bucket(s, s->page[sp].role.base);

	while (*at != sp)
		at = &s->page[*at].hash_next;
	*at = s->page[sp].hash_next;
}

/* Nothing links to it.  It is out of the hash first, so that nobody finds it half empty. */
static void release(struct shadow *s, uint32_t sp)
{
	struct shadow_page *page = &s->page[sp];
	bool root = page->role.level == 4;

	unhash(s, sp);
	if (page->role.kind == SP_GUEST) {
		page_set_sync(s, sp, false);
		unsync_remove(s, sp);
	}
	for (unsigned int i = 0; i < SP_ENTRIES && page->present; i++)
		if (!root || i != SHADOW_MONITOR_SLOT)
			entry_zap(s, sp, i);
	page->in_use = false;
	page->hash_next = s->limbo;
	s->limbo = sp;
	s->stats.pages--;
	s->stats.roots -= root;
}

void page_zap(struct shadow *s, uint32_t sp)
{
	struct shadow_page *page = &s->page[sp];

	while (page->parents) {
		uint32_t slot = page->parents - 1;

		entry_zap(s, slot / SP_ENTRIES, slot % SP_ENTRIES);
		if (!page->parents)
			return; /* entry_set has come back for it */
	}
	if (page->in_use)
		release(s, sp);
}

/* The clock: a page that was used since the hand came by last gets another round. */
static uint32_t next_victim(struct shadow *s)
{
	for (uint32_t n = 0; n < 2 * s->config.arena_pages; n++) {
		uint32_t sp = s->clock;
		struct shadow_page *page = &s->page[sp];

		s->clock = (sp + 1) % s->config.arena_pages;
		if (!page->in_use || page_is_root_in_use(s, sp))
			continue;
		if (!page->recent)
			return sp;
		page->recent = false;
	}
	return SP_NONE;
}

/* A page may take others with it. */
static void evict(struct shadow *s)
{
	uint64_t before = s->stats.pages;
	uint32_t sp;

	while (before - s->stats.pages < EVICT && (sp = next_victim(s)) != SP_NONE)
		page_zap(s, sp);
	s->stats.evictions += before - s->stats.pages;
}

/* --- coming ------------------------------------------------------------------------------ */

uint32_t page_alloc(struct shadow *s, const struct sp_role *role)
{
	uint32_t sp = s->free, *head = bucket(s, role->base);

	if (sp == SP_NONE) {
		if (s->limbo == SP_NONE)
			evict(s);
		return SP_NONE;
	}
	s->free = s->page[sp].hash_next;
	s->page[sp] = (struct shadow_page){
		.role = *role,
		.hash_next = *head,
		.unsync_at = SP_NONE,
		.in_use = true,
	};
	*head = sp;
	if (role->kind == SP_GUEST)
		unsync_add(s, sp);
	entry_clear(s, sp);
	s->stats.pages++;
	s->stats.most_pages = max_u64(s->stats.most_pages, s->stats.pages);
	s->stats.roots += role->level == 4;
	return sp;
}
