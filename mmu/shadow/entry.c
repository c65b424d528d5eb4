/* SPDX-License-Identifier: MIT */
/*
 * Entries: the one door, and the lists in which present entries are.
 */
#include <string.h>
#include "shadow_internal.h"

/* --- what an entry is -------------------------------------------------------------------- */

bool entry_is_leaf(const struct shadow *s, uint32_t sp, unsigned int i)
{
	return s->page[sp].role.level == 1 || (s->entry[sp][i] & X86_PS);
}

static void target_of(const struct shadow *s, uint32_t sp, unsigned int i, struct sp_target *t)
{
	const struct sp_role *role = &s->page[sp].role;
	struct pt_rules rules = role_rules(s, role);

	role_target(role, i, s->snapshot[sp][i], &rules, t);
}

gfn_t entry_gfn(const struct shadow *s, uint32_t sp, unsigned int i)
{
	struct sp_target t;

	target_of(s, sp, i, &t);
	return gpa_to_gfn(t.gpa);
}

uint32_t *entry_list(struct shadow *s, uint32_t sp, unsigned int i)
{
	gfn_t gfn;

	if (!entry_is_leaf(s, sp, i))
		return &s->page[page_of_entry(s, s->entry[sp][i])].parents;
	gfn = entry_gfn(s, sp, i);
	if (!shadow_is_ram(s, gfn))
		return NULL;
	return s->page[sp].role.level == 1 ? &s->rmap[gfn] :
					     &s->rmap_large[gfn / QUIRE_BLOCK_PAGES];
}

bool entry_may_be_large(const struct shadow *s, gpa_t gpa, const struct backing *b)
{
	return b->large && gpa % QUIRE_BLOCK_SIZE == 0 && !s->synced[gpa / QUIRE_BLOCK_SIZE];
}

/* What is no RAM is a device's, and never cached. */
uint64_t entry_leaf(const struct shadow *s, gpa_t gpa, unsigned int level, unsigned int perm,
		    const struct backing *b)
{
	uint64_t e = SHADOW_LEAF;

	if (perm & PT_PERM_W && (!b || (b->writable && !page_is_protected(s, gpa_to_gfn(gpa)))))
		e |= X86_W;
	if (!(perm & PT_PERM_X))
		e |= X86_NX;
	if (level == 2)
		e |= X86_PS;
	if (b)
		return e | b->maddr;
	return e | SHADOW_PCD | (gpa < SHADOW_GUEST_END ? gpa : SHADOW_NOWHERE);
}

/* --- lists ------------------------------------------------------------------------------- */

static void list_add(struct shadow *s, uint32_t *head, uint32_t slot)
{
	s->next[slot] = *head;
	s->prev[slot] = 0;
	if (*head)
		s->prev[*head - 1] = slot + 1;
	*head = slot + 1;
}

static void list_remove(struct shadow *s, uint32_t *head, uint32_t slot)
{
	uint32_t next = s->next[slot], prev = s->prev[slot];

	if (next)
		s->prev[next - 1] = prev;
	if (prev)
		s->next[prev - 1] = next;
	else
		*head = next;
}

/* --- the processor's table --------------------------------------------------------------- */

/* It is read meanwhile, and may have been overwritten (shadow.h). */
static void write_entry(struct shadow *s, uint32_t sp, unsigned int i, uint64_t entry)
{
	s->entry[sp][i] = entry;
	__atomic_store_n(&s->table[sp][i], entry, __ATOMIC_RELEASE);
}

void entry_clear(struct shadow *s, uint32_t sp)
{
	memset(s->entry[sp], 0, sizeof(s->entry[sp]));
	memset(s->table[sp], 0, sizeof(s->table[sp]));
	if (s->page[sp].role.level == 4)
		write_entry(s, sp, SHADOW_MONITOR_SLOT, s->config.monitor_entry);
}

/* --- the door ---------------------------------------------------------------------------- */

static void note_stale(struct shadow *s, uint32_t sp, unsigned int i)
{
	struct shadow_stale *stale = &s->stale;

	if (stale->nr == SHADOW_MAX_STALE)
		stale->all = true;
	else
		stale->entry[stale->nr++] =
			s->config.arena_maddr + ((maddr_t)sp * SP_ENTRIES + i) * sizeof(uint64_t);
}

/* May a processor go on to use `old` where `new` is? */
static bool is_weaker(uint64_t old, uint64_t new)
{
	return (old & X86_P) && (!(new &X86_P) || (old & ~new &X86_W) || (new & ~old &X86_NX) ||
				 (old ^ new) & (X86_ADDR_MASK | X86_PS | SHADOW_PCD));
}

static void count(struct shadow *s, uint32_t sp, unsigned int i, int64_t by)
{
	s->page[sp].present += (uint32_t)by;
	if (!entry_is_leaf(s, sp, i))
		return;
	s->stats.leaves += (uint64_t)by;
	s->stats.large += s->page[sp].role.level == 2 ? (uint64_t)by : 0;
}

/* Returns the page that nothing links to any more, or SP_NONE. */
static uint32_t unlink_entry(struct shadow *s, uint32_t sp, unsigned int i)
{
	uint32_t *head = entry_list(s, sp, i), child = SP_NONE;

	if (!entry_is_leaf(s, sp, i))
		child = page_of_entry(s, s->entry[sp][i]);
	if (head)
		list_remove(s, head, sp * SP_ENTRIES + i);
	count(s, sp, i, -1);
	return child != SP_NONE && !s->page[child].parents ? child : SP_NONE;
}

static void link_entry(struct shadow *s, uint32_t sp, unsigned int i)
{
	uint32_t *head = entry_list(s, sp, i);

	if (head)
		list_add(s, head, sp * SP_ENTRIES + i);
	count(s, sp, i, 1);
}

void entry_set(struct shadow *s, uint32_t sp, unsigned int i, uint64_t entry, uint64_t snapshot)
{
	uint64_t old = s->entry[sp][i];
	uint32_t orphan = SP_NONE;

	if (is_weaker(old, entry))
		note_stale(s, sp, i);
	s->stats.zaps += old && !entry;
	if (old)
		orphan = unlink_entry(s, sp, i);
	write_entry(s, sp, i, entry);
	s->snapshot[sp][i] = snapshot;
	if (entry)
		link_entry(s, sp, i);
	if (orphan != SP_NONE && !s->page[orphan].parents)
		page_zap(s, orphan);
}

void entry_zap(struct shadow *s, uint32_t sp, unsigned int i)
{
	if (s->entry[sp][i])
		entry_set(s, sp, i, 0, 0);
}

void entry_protect(struct shadow *s, uint32_t slot)
{
	uint32_t sp = slot / SP_ENTRIES;
	unsigned int i = slot % SP_ENTRIES;

	if (!(s->entry[sp][i] & X86_W))
		return;
	note_stale(s, sp, i);
	write_entry(s, sp, i, s->entry[sp][i] & ~X86_W);
}

/* What becomes stronger needs no flush. */
void entry_unprotect(struct shadow *s, uint32_t slot)
{
	uint32_t sp = slot / SP_ENTRIES;
	unsigned int i = slot % SP_ENTRIES;
	struct backing b;
	struct sp_target t;
	uint64_t entry;

	target_of(s, sp, i, &t);
	if (!(t.perm & PT_PERM_W) || !shadow_backing(s, gpa_to_gfn(t.gpa), &b))
		return;
	entry = entry_leaf(s, t.gpa, 1, t.perm, &b);
	if (entry == (s->entry[sp][i] | X86_W))
		write_entry(s, sp, i, entry);
}
