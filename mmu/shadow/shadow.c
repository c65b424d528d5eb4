/* SPDX-License-Identifier: MIT */
/*
 * Shadow page tables: creation, and the fault that fills them.
 *
 *      CR3 (real)                     the guest's CR3
 *       |                              |
 *       +--> root, user's view    <----+   links grant everything; what the
 *       |     +--> ... --> leaf        |   levels above a leaf grant is part
 *       +--> root, supervisor's  <-----+   of the role of the leaf's table
 *             +--> ... --> leaf
 *
 * A fault walks the guest's tables, and ours alongside.  It links what is missing and replaces what
 * the guest has changed.  Then it looks at the entries beside the leaf: a page that the guest has
 * accessed before, and that stage 2 has, is mapped at once.  A processor could have cached it too.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "mmu/base/reserve.h"
#include "shadow_internal.h"

#define CR4_SMEP (1ULL << 20)
#define AHEAD	 16u /* entries that a fault looks at */

/* --- create and destroy ------------------------------------------------------------------ */

static bool config_valid(const struct shadow_config *c)
{
	if (!c->nr_ram || c->nr_ram > ARRAY_SIZE(((struct shadow *)0)->ram) ||
	    c->arena_pages < SHADOW_MIN_PAGES)
		return false;
	return gfn_to_gpa(c->ram[c->nr_ram - 1].end) <= SHADOW_GUEST_END;
}

static uint32_t hash_size(uint32_t pages)
{
	uint32_t size = 1;

	while (size < pages)
		size *= 2;
	return size;
}

static uint64_t blocks_of(const struct shadow *s)
{
	return s->span / QUIRE_BLOCK_PAGES + 1;
}

static bool reserve_all(struct shadow *s)
{
	uint64_t pages = s->config.arena_pages, slots = pages * SP_ENTRIES;

	s->entry = reserve(pages * sizeof(*s->entry));
	s->snapshot = reserve(pages * sizeof(*s->snapshot));
	s->next = reserve(slots * sizeof(*s->next));
	s->prev = reserve(slots * sizeof(*s->prev));
	s->page = reserve(pages * sizeof(*s->page));
	s->unsync = reserve(pages * sizeof(*s->unsync));
	s->hash = reserve((s->hash_mask + 1) * sizeof(*s->hash));
	s->rmap = reserve(s->span * sizeof(*s->rmap));
	s->rmap_large = reserve(blocks_of(s) * sizeof(*s->rmap_large));
	s->synced = reserve(blocks_of(s) * sizeof(*s->synced));
	return s->entry && s->snapshot && s->next && s->prev && s->page && s->unsync && s->hash &&
	       s->rmap && s->rmap_large && s->synced;
}

static void start_empty(struct shadow *s)
{
	memset(s->hash, 0xff, (s->hash_mask + 1) * sizeof(*s->hash));
	memset(s->root, 0xff, sizeof(s->root));
	s->free = s->limbo = SP_NONE;
	for (uint32_t sp = s->config.arena_pages; sp-- > 0;) {
		s->page[sp].hash_next = s->free;
		s->free = sp;
	}
}

int shadow_create(const struct shadow_config *config, struct shadow **out)
{
	struct shadow *s;

	if (!config_valid(config))
		return -EINVAL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->config = *config;
	memcpy(s->ram, config->ram, config->nr_ram * sizeof(*config->ram));
	s->config.ram = s->ram;
	s->span = s->ram[config->nr_ram - 1].end;
	s->table = config->arena;
	s->hash_mask = hash_size(config->arena_pages) - 1;
	if (!reserve_all(s)) {
		shadow_destroy(s);
		return -ENOMEM;
	}
	start_empty(s);
	*out = s;
	return 0;
}

void shadow_destroy(struct shadow *s)
{
	uint64_t pages, slots;

	if (!s)
		return;
	pages = s->config.arena_pages;
	slots = pages * SP_ENTRIES;
	unreserve(s->entry, pages * sizeof(*s->entry));
	unreserve(s->snapshot, pages * sizeof(*s->snapshot));
	unreserve(s->next, slots * sizeof(*s->next));
	unreserve(s->prev, slots * sizeof(*s->prev));
	unreserve(s->page, pages * sizeof(*s->page));
	unreserve(s->unsync, pages * sizeof(*s->unsync));
	unreserve(s->hash, (s->hash_mask + 1) * sizeof(*s->hash));
	unreserve(s->rmap, s->span * sizeof(*s->rmap));
	unreserve(s->rmap_large, blocks_of(s) * sizeof(*s->rmap_large));
	unreserve(s->synced, blocks_of(s) * sizeof(*s->synced));
	free(s);
}

/* --- guest memory ------------------------------------------------------------------------ */

bool shadow_is_ram(const struct shadow *s, gfn_t gfn)
{
	for (unsigned int i = 0; i < s->config.nr_ram; i++)
		if (s->ram[i].start <= gfn && gfn < s->ram[i].end)
			return true;
	return false;
}

bool shadow_walk_stage2(const struct shadow *s, gpa_t gpa, struct pt_result *leaf)
{
	const struct walk_stage2 *s2 = &s->config.stage2;

	return !pt_walk(s2->format, &s2->rules, s2->root, gpa, s2->read, s2->ctx, leaf) &&
	       leaf->class == PT_LEAF;
}

bool shadow_backing(const struct shadow *s, gfn_t gfn, struct backing *b)
{
	struct pt_result leaf;

	if (!shadow_walk_stage2(s, gfn_to_gpa(gfn), &leaf))
		return false;
	b->maddr = s->config.frame(s->config.ctx, leaf.address >> QUIRE_PAGE_SHIFT);
	b->writable = leaf.perm & PT_PERM_W;
	b->large = leaf.lv->level == 2;
	return true;
}

uint64_t shadow_read_guest(const struct shadow *s, gpa_t gpa, unsigned int bytes)
{
	const struct walk_memory *memory = &s->config.memory;
	struct pt_result leaf;
	uint64_t value;

	if (!shadow_walk_stage2(s, gpa, &leaf) ||
	    memory->read(memory->ctx, leaf.address, bytes, &value))
		return 0;
	return value;
}

void shadow_flush(struct shadow *s)
{
	if (s->stale.nr) {
		s->stats.flushes++;
		s->stats.full += s->stale.all;
		s->config.flush(s->config.ctx, &s->stale);
	}
	s->stale.nr = 0;
	s->stale.all = false;
	while (s->limbo != SP_NONE) {
		uint32_t sp = s->limbo;

		s->limbo = s->page[sp].hash_next;
		s->page[sp].hash_next = s->free;
		s->free = sp;
	}
}

/* --- the fault --------------------------------------------------------------------------- */

/* One fault under way. */
struct fill {
	struct shadow *s;
	gva_t gva;
	struct walk_access access;
	uint64_t entry[PT_MAX_LEVELS + 1]; /* the guest's, by level, with A and D as they are now */
};

/* The guest's entries as the walk found them, and with the bits that it set. */
static void note_entries(struct fill *f, const struct walk_result *res)
{
	const struct pt_format *format = res->format1;
	unsigned int n = format ? format->nr_levels : 0;
	const struct pt_level *lv = NULL;

	for (unsigned int i = 0; i < res->nr_refs; i++) {
		if (res->ref[i].stage != 1)
			continue;
		lv = &format->level[n - res->ref[i].level];
		f->entry[lv->level] = res->ref[i].entry | (lv->no_accessed ? 0 : format->accessed);
	}
	if (lv && f->access.write)
		f->entry[lv->level] |= format->dirty;
}

/* Link entry i of sp to the page of this role.  SP_NONE: there is no page. */
static uint32_t link_child(struct fill *f, uint32_t sp, unsigned int i, const struct sp_role *role,
			   uint64_t snapshot)
{
	struct shadow *s = f->s;
	uint32_t child = page_find(s, role);
	uint64_t link;

	if (child == SP_NONE)
		child = page_alloc(s, role);
	if (child == SP_NONE)
		return SP_NONE;
	s->page[child].recent = true;
	link = SHADOW_LINK | (s->config.arena_maddr + (maddr_t)child * QUIRE_PAGE_SIZE);
	if (s->entry[sp][i] == link && s->snapshot[sp][i] == snapshot)
		return child;
	/* Nothing below may be older than the link, if nobody could have used it. */
	if (s->entry[sp][i] != link)
		sync_below(s, child);
	entry_set(s, sp, i, link, snapshot);
	s->page[sp].floods = 0;
	return child;
}

static void set_leaf(struct fill *f, uint32_t sp, unsigned int i, const struct sp_target *t,
		     const struct backing *b, uint64_t snapshot)
{
	struct shadow *s = f->s;
	unsigned int level = s->page[sp].role.level;

	if (f->access.write && b)
		sync_unsync(s, gpa_to_gfn(t->gpa));
	entry_set(s, sp, i, entry_leaf(s, t->gpa, level, t->perm, b), snapshot);
	s->page[sp].floods = 0;
	s->stats.fills++;
}

/*
 * May entry i of sp, which is empty, be filled without an access?  Of a direct table, which stands
 * for one page of the guest's, each may; under SMAP none, as a page that is only to be fetched can
 * be read (shadow.h).  *entry becomes the guest's.
 */
static bool may_fill_ahead(const struct shadow *s, uint32_t sp, unsigned int i, uint64_t *entry)
{
	const struct sp_role *role = &s->page[sp].role;
	const struct pt_format *format;
	struct pt_rules rules = role_rules(s, role);

	*entry = 0;
	if (s->entry[sp][i] || role->smap)
		return false;
	if (role->kind == SP_DIRECT)
		return true;
	format = role_format(role);
	*entry = shadow_read_guest(s, role_entry_gpa(role, i), format->entry_bytes);
	return (*entry & format->accessed) &&
	       format->classify(*entry, role_level(role), &rules) == PT_LEAF;
}

static void fill_ahead(struct shadow *s, uint32_t sp, unsigned int from)
{
	for (unsigned int i = from; i < from + AHEAD; i++) {
		struct pt_rules rules = role_rules(s, &s->page[sp].role);
		struct backing b;
		struct sp_target t;
		uint64_t entry;

		if (!may_fill_ahead(s, sp, i, &entry))
			continue;
		role_target(&s->page[sp].role, i, entry, &rules, &t);
		if (!t.perm || !shadow_is_ram(s, gpa_to_gfn(t.gpa)) ||
		    !shadow_backing(s, gpa_to_gfn(t.gpa), &b))
			continue;
		entry_set(s, sp, i, entry_leaf(s, t.gpa, 1, t.perm, &b), entry);
		s->stats.ahead++;
	}
}

/* Fill from sp, which is of this level, downwards.  False: there is no page. */
static bool fill_from(struct fill *f, uint32_t sp, gpa_t gpa)
{
	struct shadow *s = f->s;
	struct backing backing, *b = NULL;

	if (shadow_is_ram(s, gpa_to_gfn(gpa)) && shadow_backing(s, gpa_to_gfn(gpa), &backing))
		b = &backing;
	for (unsigned int level = 4; sp != SP_NONE; level--) {
		const struct sp_role *role = &s->page[sp].role;
		unsigned int i = sp_index(f->gva, level);
		struct pt_rules rules = role_rules(s, role);
		struct sp_target t;

		role_target(role, i, f->entry[level], &rules, &t);
		if (t.leaf &&
		    (level == 1 || (level == 2 && b && entry_may_be_large(s, t.gpa, b)))) {
			if (level == 2)
				b->maddr = align_down(b->maddr, QUIRE_BLOCK_SIZE);
			set_leaf(f, sp, i, &t, b, f->entry[level]);
			if (level == 1 && b)
				fill_ahead(s, sp, align_down(i, AHEAD));
			return true;
		}
		sp = link_child(f, sp, i, &t.child, f->entry[level]);
	}
	return false;
}

static uint32_t find_root(struct shadow *s, const struct sp_role *role)
{
	uint32_t sp = page_find(s, role);

	if (sp == SP_NONE)
		sp = page_alloc(s, role);
	if (sp != SP_NONE)
		s->page[sp].recent = true;
	return sp;
}

maddr_t shadow_root(struct shadow *s, unsigned int vcpu, maddr_t now, const struct walk_cpu *cpu,
		    bool user)
{
	uint32_t *root = s->root[vcpu], sp, still = now ? page_of_entry(s, now) : SP_NONE;
	struct sp_role role;

	assert(vcpu < SHADOW_MAX_VCPUS && (!now || still == root[0] || still == root[1]));
	if (!role_of_root_in_ram(s, cpu, user, &role))
		return GPA_INVALID;
	sp = find_root(s, &role);
	if (sp == SP_NONE)
		return 0;
	root[0] = sp;
	root[1] = still;
	return s->config.arena_maddr + (maddr_t)sp * QUIRE_PAGE_SIZE;
}

static enum shadow_answer page_fault(const struct walk_cpu *cpu, struct walk_access access,
				     struct walk_result *res, uint32_t why)
{
	bool tells_fetches = walk_guest_rules(cpu).nxe || (cpu->cr4 & CR4_SMEP);

	res->outcome = WALK_PAGE_FAULT;
	res->error_code = why | (access.write ? PF_W : 0) | (access.user ? PF_U : 0) |
			  (access.fetch && tells_fetches ? PF_I : 0);
	return SHADOW_PAGE_FAULT;
}

static enum shadow_answer fill(struct shadow *s, const struct walk_cpu *cpu, gva_t gva,
			       struct walk_access access, struct walk_result *res)
{
	struct fill f = { .s = s, .gva = gva, .access = access };
	struct sp_role role;

	role_of_root(cpu, access.user, &role);
	if (gva >= SHADOW_MONITOR_GVA && gva < SHADOW_MONITOR_END)
		return page_fault(cpu, access, res, 0);
	if (role.kind == SP_DIRECT || role.kind == SP_PAD)
		f.gva &= UINT32_MAX;
	note_entries(&f, res);
	return fill_from(&f, find_root(s, &role), res->gpa) ? SHADOW_MAPPED : SHADOW_AGAIN;
}

/* What stage 2 refuses: RAM that is to come in, or what is no RAM. */
static enum shadow_answer fill_refused(struct shadow *s, const struct walk_cpu *cpu, gva_t gva,
				       struct walk_access access, struct walk_result *res)
{
	if (shadow_is_ram(s, gpa_to_gfn(res->gpa)))
		return SHADOW_NEEDS_PAGE;
	if (!(res->qualification & WALK_FINAL))
		return page_fault(cpu, access, res, PF_P | PF_RSVD);
	return fill(s, cpu, gva, access, res);
}

enum shadow_answer shadow_fault(struct shadow *s, const struct walk_cpu *cpu, gva_t gva,
				struct walk_access access, struct walk_result *res)
{
	struct sp_role root;

	if (!role_of_root(cpu, access.user, &root))
		return SHADOW_BAD_MODE;
	access.set_ad = true;
	switch (walk_2d(cpu, &s->config.stage2, &s->config.memory, gva, access, res)) {
	case WALK_OK: break;
	case WALK_PAGE_FAULT: return SHADOW_PAGE_FAULT;
	case WALK_NOT_CANONICAL: return SHADOW_NOT_CANONICAL;
	case WALK_AGAIN: return SHADOW_AGAIN;
	case WALK_VIOLATION: return fill_refused(s, cpu, gva, access, res);
	default: return SHADOW_BAD_MODE;
	}
	return fill(s, cpu, gva, access, res);
}

/* --- looking ----------------------------------------------------------------------------- */

void shadow_stats(const struct shadow *s, struct shadow_stats *out)
{
	*out = s->stats;
	out->unsync = s->nr_unsync;
	out->free_pages = 0;
	for (uint32_t sp = s->free; sp != SP_NONE; sp = s->page[sp].hash_next)
		out->free_pages++;
}
