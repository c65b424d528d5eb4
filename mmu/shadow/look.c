/* SPDX-License-Identifier: MIT */
/*
 * Looking at the tables: what a processor walks at an address, and what each entry stands for.
 *
 * The guest's entry beside an entry of ours is the one that the 2D walk has read, if it has read
 * that one.  It has not where our path is older than the guest's tables, and so leads elsewhere.
 */
#include <string.h>
#include "shadow_internal.h"

static uint64_t guest_entry(const struct shadow *s, const struct walk_result *walk, gpa_t gpa,
			    unsigned int bytes)
{
	for (unsigned int i = 0; i < walk->nr_refs; i++)
		if (walk->ref[i].stage == 1 && walk->ref[i].addr == gpa)
			return walk->ref[i].entry;
	return shadow_read_guest(s, gpa, bytes);
}

static void look_at_guest(const struct shadow *s, uint32_t sp, unsigned int i,
			  const struct walk_result *walk, struct shadow_ref *ref)
{
	const struct sp_role *role = &s->page[sp].role;

	ref->in_sync = s->page[sp].in_sync;
	ref->guest = role_entry_gpa(role, i);
	ref->then = s->snapshot[sp][i];
	ref->now = guest_entry(s, walk, ref->guest, role_format(role)->entry_bytes);
}

static void look_at_entry(const struct shadow *s, uint32_t sp, unsigned int i,
			  const struct walk_result *walk, struct shadow_ref *ref)
{
	const struct sp_role *role = &s->page[sp].role;

	*ref = (struct shadow_ref){
		.level = role->level,
		.kind = role->kind,
		.access = role->access,
		.address =
			s->config.arena_maddr + ((maddr_t)sp * SP_ENTRIES + i) * sizeof(uint64_t),
		.entry = s->entry[sp][i],
	};
	if (role->level == 4 && i == SHADOW_MONITOR_SLOT)
		ref->kind = SP_MONITOR;
	else if (role->kind == SP_GUEST)
		look_at_guest(s, sp, i, walk, ref);
	else if (role->kind == SP_DIRECT)
		ref->guest = role->base + i * sp_span(role->level);
}

static void look_behind(const struct shadow *s, uint32_t sp, unsigned int i,
			struct shadow_look *out)
{
	struct pt_result leaf;

	out->found = SHADOW_MAPS;
	out->gpa = gfn_to_gpa(entry_gfn(s, sp, i));
	if (!shadow_walk_stage2(s, out->gpa, &leaf))
		return;
	out->stage2_level = leaf.lv->level;
	out->stage2_entry = leaf.entry;
}

static bool is_older(const struct shadow *s, uint32_t sp, const struct shadow_ref *ref)
{
	return ref->kind == SP_GUEST && ref->entry &&
	       sync_is_older(role_format(&s->page[sp].role), ref->then, ref->now);
}

static void look_from(const struct shadow *s, uint32_t sp, gva_t gva,
		      const struct walk_result *walk, struct shadow_look *out)
{
	for (unsigned int level = 4;; level--) {
		unsigned int i = sp_index(gva, level);
		struct shadow_ref *ref = &out->ref[out->nr_refs];

		look_at_entry(s, sp, i, walk, ref);
		out->stale |= (uint8_t)(is_older(s, sp, ref) << out->nr_refs++);
		if (!ref->entry || ref->kind == SP_MONITOR)
			return;
		if (entry_is_leaf(s, sp, i)) {
			look_behind(s, sp, i, out);
			return;
		}
		sp = page_of_entry(s, ref->entry);
	}
}

void shadow_look(const struct shadow *s, const struct walk_cpu *cpu, bool user, gva_t gva,
		 const struct walk_result *walk, struct shadow_look *out)
{
	struct sp_role role;
	uint32_t sp;

	memset(out, 0, sizeof(*out));
	out->found = SHADOW_NO_ROOT;
	out->user = user;
	if (!role_of_root_in_ram(s, cpu, user, &role))
		return;
	out->wp = role.wp;
	out->nxe = role.nxe;
	out->smep = role.smep;
	out->smap = role.smap;
	sp = page_find(s, &role);
	if (sp == SP_NONE)
		return;
	out->found = SHADOW_NO_ENTRY;
	out->root = s->config.arena_maddr + (maddr_t)sp * QUIRE_PAGE_SIZE;
	if (walk->outcome == WALK_NOT_CANONICAL)
		return;
	look_from(s, sp, role.format == 4 ? gva : gva & UINT32_MAX, walk, out);
}
