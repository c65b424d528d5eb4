/* SPDX-License-Identifier: MIT */
/*
 * Coherence with the guest's tables, and with stage 2.
 *
 * A guest may change its tables at any time, and says so by INVLPG or a load of CR3.  To compare
 * all tables at each load would be slow.  So a table that was compared is write-protected, and
 * nothing need be compared while it is.  At its first write the page is let go (sync_unsync): it is
 * writable until the next load, however often it is written.
 *
 * Three rules make the shadow no more stale than a processor's TLB:
 *
 *   1. INVLPG compares the path of its address in each root of that CR3.  As it also flushes what a
 *      processor caches of the upper levels, links of all pages that are out of sync are compared.
 *   2. A page that gets a new parent is compared with all below it: no TLB can have entries for
 *      addresses that were not mapped before.
 *   3. A load of CR3 compares everything that is out of sync.
 *
 * With several processors another one may write to a table between the change of our entry and
 * its flush.  So pages are protected first, then flushed, and then compared.
 */
#include "shadow_internal.h"

#define MAX_ROOTS 64u /* of one CR3: two views, and the supervisor's modes */
#define FLOOD	  3u /* first writes to a table that nobody used meanwhile: it is a table no more */

/* --- comparing --------------------------------------------------------------------------- */

/* D set since then is no loss: our entry is read-only, and the next write will see. */
bool sync_is_older(const struct pt_format *format, uint64_t then, uint64_t now)
{
	return then != now && !((then ^ now) == format->dirty && (now & format->dirty));
}

static void compare_entry(struct shadow *s, uint32_t sp, unsigned int i)
{
	const struct sp_role *role = &s->page[sp].role;
	const struct pt_format *format = role_format(role);
	uint64_t now = shadow_read_guest(s, role_entry_gpa(role, i), format->entry_bytes);

	if (sync_is_older(format, s->snapshot[sp][i], now))
		entry_zap(s, sp, i);
}

static bool has_entry(const struct shadow *s, uint32_t sp, unsigned int i)
{
	return s->entry[sp][i] && (s->page[sp].role.level != 4 || i != SHADOW_MONITOR_SLOT);
}

void sync_compare(struct shadow *s, uint32_t sp, bool links)
{
	uint32_t left = s->page[sp].present;

	for (unsigned int i = 0; i < SP_ENTRIES && left; i++) {
		if (!has_entry(s, sp, i))
			continue;
		left--;
		if (!links || !entry_is_leaf(s, sp, i))
			compare_entry(s, sp, i);
	}
}

void sync_below(struct shadow *s, uint32_t sp)
{
	if (s->page[sp].unsync_at != SP_NONE)
		sync_compare(s, sp, false);
	if (s->page[sp].role.level == 1)
		return;
	for (unsigned int i = 0; i < SP_ENTRIES && s->nr_unsync && s->page[sp].present; i++)
		if (has_entry(s, sp, i) && !entry_is_leaf(s, sp, i))
			sync_below(s, page_of_entry(s, s->entry[sp][i]));
}

/* --- tables that are written ------------------------------------------------------------- */

void sync_unsync(struct shadow *s, gfn_t gfn)
{
	uint32_t sp = SP_NONE;

	if (!s->synced[gfn / QUIRE_BLOCK_PAGES])
		return;
	while ((sp = page_next_of_gfn(s, gfn, sp)) != SP_NONE) {
		struct shadow_page *page = &s->page[sp];

		if (!page->in_sync)
			continue;
		page_set_sync(s, sp, false);
		page->floods++;
		s->stats.unsyncs++;
	}
}

void shadow_written(struct shadow *s, gfn_t gfn, uint64_t nr)
{
	for (gfn_t end = gfn + nr; gfn < end; gfn++) {
		if (!s->synced[gfn / QUIRE_BLOCK_PAGES])
			gfn |= QUIRE_BLOCK_PAGES - 1;
		else
			sync_unsync(s, gfn);
	}
}

/* The page was a table once.  To protect it again and again would only slow its new owner. */
static bool is_flooded(const struct shadow *s, uint32_t sp)
{
	return s->page[sp].floods >= FLOOD && !page_is_root_in_use(s, sp);
}

static void protect_tables(struct shadow *s)
{
	for (uint32_t n = 0; n < s->nr_unsync; n++)
		shadow_protect(s, gpa_to_gfn(s->page[s->unsync[n]].role.base), 1);
}

void shadow_resync(struct shadow *s)
{
	s->stats.resyncs++;
	if (!s->nr_unsync)
		return;
	protect_tables(s);
	shadow_flush(s);
	while (s->nr_unsync) {
		uint32_t sp = s->unsync[s->nr_unsync - 1];

		if (is_flooded(s, sp)) {
			page_zap(s, sp);
			continue;
		}
		page_set_sync(s, sp, true);
		sync_compare(s, sp, false);
	}
}

/* --- INVLPG ------------------------------------------------------------------------------ */

static void compare_path(struct shadow *s, uint32_t sp, gva_t gva)
{
	for (unsigned int level = 4;; level--) {
		unsigned int i = sp_index(gva, level);

		if (!has_entry(s, sp, i))
			return;
		if (s->page[sp].role.kind == SP_GUEST)
			compare_entry(s, sp, i);
		if (!s->entry[sp][i] || entry_is_leaf(s, sp, i))
			return;
		sp = page_of_entry(s, s->entry[sp][i]);
	}
}

/* Pages that go change the list: then look at all of it again. */
static void compare_links(struct shadow *s)
{
	uint32_t before;

	do {
		before = s->nr_unsync;
		for (uint32_t n = 0; n < s->nr_unsync; n++)
			if (s->page[s->unsync[n]].role.level > 1)
				sync_compare(s, s->unsync[n], true);
	} while (s->nr_unsync != before);
}

void shadow_invlpg(struct shadow *s, const struct walk_cpu *cpu, gva_t gva)
{
	struct sp_role role;
	uint32_t root[MAX_ROOTS];
	unsigned int nr;

	if (!role_of_root(cpu, false, &role) || role.kind == SP_DIRECT)
		return;
	compare_links(s);
	nr = page_roots(s, role.base, root, MAX_ROOTS);
	for (unsigned int n = 0; n < nr; n++) {
		compare_path(s, root[n], gva);
		/* A 4 MiB page of the guest is two entries of ours. */
		if (role.format == 2)
			compare_path(s, root[n], gva ^ QUIRE_BLOCK_SIZE);
	}
}

/* --- stage 2 ----------------------------------------------------------------------------- */

static void zap_list(struct shadow *s, const uint32_t *head)
{
	while (*head)
		entry_zap(s, (*head - 1) / SP_ENTRIES, (*head - 1) % SP_ENTRIES);
}

/* Large leaves go: what comes back is small. */
void shadow_split(struct shadow *s, gfn_t gfn, uint64_t nr)
{
	for (uint64_t block = gfn / QUIRE_BLOCK_PAGES; block * QUIRE_BLOCK_PAGES < gfn + nr;
	     block++)
		zap_list(s, &s->rmap_large[block]);
}

void shadow_forget(struct shadow *s, gfn_t gfn, uint64_t nr)
{
	shadow_split(s, gfn, nr);
	for (gfn_t g = gfn; g < gfn + nr; g++)
		zap_list(s, &s->rmap[g]);
}

bool shadow_is_mapped(const struct shadow *s, gfn_t gfn)
{
	return s->rmap[gfn] || s->rmap_large[gfn / QUIRE_BLOCK_PAGES];
}

void shadow_protect(struct shadow *s, gfn_t gfn, uint64_t nr)
{
	shadow_split(s, gfn, nr);
	for (gfn_t g = gfn; g < gfn + nr; g++)
		for (uint32_t at = s->rmap[g]; at; at = s->next[at - 1])
			entry_protect(s, at - 1);
}

void shadow_unprotect(struct shadow *s, gfn_t gfn, uint64_t nr)
{
	for (gfn_t g = gfn; g < gfn + nr; g++)
		for (uint32_t at = s->rmap[g]; at; at = s->next[at - 1])
			entry_unprotect(s, at - 1);
}
