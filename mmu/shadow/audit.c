/* SPDX-License-Identifier: MIT */
/*
 * The audit: every entry is derived again, and everything is counted again.
 *
 * An entry must follow from its snapshot and from stage 2 as it is now.  If its page is in sync,
 * the snapshot must be what the guest's table says now.  An entry may grant less than it could: to
 * a clean page, or where a table was protected until a moment ago.
 */
#include "mmu/base/audit.h"
#include "shadow_internal.h"

struct derivation {
	const struct shadow *s;
	struct audit *audit;
};

/* --- entries ----------------------------------------------------------------------------- */

static void audit_leaf(struct derivation *a, uint32_t sp, unsigned int i, const struct sp_target *t)
{
	const struct shadow *s = a->s;
	uint64_t e = s->entry[sp][i], want, more;
	struct backing backing, *b = NULL;
	unsigned int level = s->page[sp].role.level;

	if (shadow_is_ram(s, gpa_to_gfn(t->gpa))) {
		b = &backing;
		if (!shadow_backing(s, gpa_to_gfn(t->gpa), b)) {
			audit_fault(a->audit,
				    "page %u entry %u maps gpa %#lx, which stage 2 does not", sp, i,
				    (unsigned long)t->gpa);
			return;
		}
	}
	want = entry_leaf(s, t->gpa, level, t->perm, b);
	more = (e & ~want & ~X86_NX) | (want & ~e & ~X86_W);
	if (!t->leaf || !t->perm || more)
		audit_fault(a->audit, "page %u entry %u is %#lx, but %#lx follows", sp, i,
			    (unsigned long)e, (unsigned long)want);
	if (level == 2 && (!b || !b->large || s->synced[t->gpa / QUIRE_BLOCK_SIZE]))
		audit_fault(a->audit, "page %u entry %u is large, and may not be", sp, i);
}

static void audit_link(struct derivation *a, uint32_t sp, unsigned int i, const struct sp_target *t)
{
	const struct shadow *s = a->s;
	uint32_t child = page_of_entry(s, s->entry[sp][i]);

	if (child >= s->config.arena_pages || !s->page[child].in_use ||
	    !role_equal(&s->page[child].role, &t->child))
		audit_fault(a->audit, "page %u entry %u links to page %u, which is another's", sp,
			    i, child);
}

static bool in_list(const struct shadow *s, uint32_t head, uint32_t slot)
{
	for (; head; head = s->next[head - 1])
		if (head - 1 == slot)
			return true;
	return false;
}

/* The snapshot of a page in sync; D may have been set by another view's write. */
static void audit_snapshot(struct derivation *a, uint32_t sp, unsigned int i)
{
	const struct sp_role *role = &a->s->page[sp].role;
	const struct pt_format *format = role_format(role);
	uint64_t then = a->s->snapshot[sp][i];
	uint64_t now = shadow_read_guest(a->s, role_entry_gpa(role, i), format->entry_bytes);

	if ((then | format->dirty) != (now | format->dirty) || (then & ~now))
		audit_fault(a->audit, "page %u entry %u: the guest has %#lx, the snapshot %#lx", sp,
			    i, (unsigned long)now, (unsigned long)then);
}

static void audit_entry(struct derivation *a, uint32_t sp, unsigned int i)
{
	const struct shadow *s = a->s;
	const struct shadow_page *page = &s->page[sp];
	struct pt_rules rules = role_rules(s, &page->role);
	uint32_t *head = entry_list((struct shadow *)s, sp, i);
	struct sp_target t;

	if (s->table[sp][i] != s->entry[sp][i])
		audit_fault(a->audit, "page %u entry %u is %#lx in the arena, and not %#lx", sp, i,
			    (unsigned long)s->table[sp][i], (unsigned long)s->entry[sp][i]);
	role_target(&page->role, i, s->snapshot[sp][i], &rules, &t);
	if (entry_is_leaf(s, sp, i))
		audit_leaf(a, sp, i, &t);
	else
		audit_link(a, sp, i, &t);
	if (head && !in_list(s, *head, sp * SP_ENTRIES + i))
		audit_fault(a->audit, "page %u entry %u is in no list", sp, i);
	if (page->in_sync)
		audit_snapshot(a, sp, i);
}

/* --- pages and lists --------------------------------------------------------------------- */

/* What is counted on the way. */
struct count {
	uint64_t pages, roots, leaves, large, unsync, listed;
};

static void audit_page(struct derivation *a, uint32_t sp, struct count *c)
{
	const struct shadow *s = a->s;
	const struct shadow_page *page = &s->page[sp];
	bool root = page->role.level == 4, guest = page->role.kind == SP_GUEST;
	uint32_t present = 0;

	c->pages++;
	c->roots += root;
	c->unsync += guest && !page->in_sync;
	if (page_find(s, &page->role) != sp)
		audit_fault(a->audit, "page %u is not found by its role", sp);
	if (!root && !page->parents)
		audit_fault(a->audit, "nothing links to page %u", sp);
	if ((page->unsync_at != SP_NONE) != (guest && !page->in_sync) ||
	    (page->unsync_at != SP_NONE && s->unsync[page->unsync_at] != sp))
		audit_fault(a->audit, "page %u is wrong in the list of those out of sync", sp);
	for (unsigned int i = 0; i < SP_ENTRIES; i++) {
		if (!s->entry[sp][i] || (root && i == SHADOW_MONITOR_SLOT))
			continue;
		present++;
		if (entry_is_leaf(s, sp, i)) {
			c->leaves++;
			c->large += page->role.level == 2;
			c->listed += entry_list((struct shadow *)s, sp, i) != NULL;
		}
		audit_entry(a, sp, i);
	}
	audit_expect(a->audit, page->present, present, "entries of a page");
	if (root && s->table[sp][SHADOW_MONITOR_SLOT] != s->config.monitor_entry)
		audit_fault(a->audit, "root %u has lost the monitor", sp);
}

static uint64_t list_length(const struct shadow *s, uint32_t head)
{
	uint64_t n = 0;

	for (; head; head = s->next[head - 1])
		n++;
	return n;
}

static void audit_rmap(struct derivation *a, uint64_t listed)
{
	const struct shadow *s = a->s;
	uint64_t n = 0;

	for (unsigned int r = 0; r < s->config.nr_ram; r++) {
		for (gfn_t g = s->ram[r].start; g < s->ram[r].end; g++) {
			n += list_length(s, s->rmap[g]);
			if (g % QUIRE_BLOCK_PAGES == 0)
				n += list_length(s, s->rmap_large[g / QUIRE_BLOCK_PAGES]);
		}
	}
	audit_expect(a->audit, n, listed, "leaves in the lists of RAM");
}

static void audit_synced(struct derivation *a)
{
	const struct shadow *s = a->s;

	for (uint64_t block = 0; block <= s->span / QUIRE_BLOCK_PAGES; block++) {
		uint64_t n = 0;

		if (!s->synced[block])
			continue;
		for (uint32_t sp = 0; sp < s->config.arena_pages; sp++)
			n += s->page[sp].in_use && s->page[sp].in_sync &&
			     s->page[sp].role.base / QUIRE_BLOCK_SIZE == block;
		audit_expect(a->audit, s->synced[block], n, "pages in sync in a block");
	}
}

static uint64_t chain_length(const struct shadow *s, uint32_t sp)
{
	uint64_t n = 0;

	for (; sp != SP_NONE; sp = s->page[sp].hash_next)
		n++;
	return n;
}

unsigned int shadow_audit(const struct shadow *s, void (*report)(void *ctx, const char *what),
			  void *ctx)
{
	struct audit audit = { .report = report, .ctx = ctx };
	struct derivation a = { .s = s, .audit = &audit };
	struct count c = { 0 };

	for (uint32_t sp = 0; sp < s->config.arena_pages; sp++)
		if (s->page[sp].in_use)
			audit_page(&a, sp, &c);
	audit_rmap(&a, c.listed);
	audit_synced(&a);
	audit_expect(&audit, s->stats.pages, c.pages, "pages");
	audit_expect(&audit, s->stats.roots, c.roots, "roots");
	audit_expect(&audit, s->stats.leaves, c.leaves, "leaves");
	audit_expect(&audit, s->stats.large, c.large, "large leaves");
	audit_expect(&audit, s->nr_unsync, c.unsync, "pages out of sync");
	audit_expect(&audit, s->config.arena_pages,
		     c.pages + chain_length(s, s->free) + chain_length(s, s->limbo),
		     "pages of the arena");
	return audit.faults;
}
