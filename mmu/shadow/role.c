/* SPDX-License-Identifier: MIT */
/*
 * What a shadow page stands for.
 *
 * Our tables have four levels of 512 entries.  The guest's may have another shape:
 *
 *   4-level  as ours
 *   PAE      three levels; the root has 4 entries.  A page of the kind SP_PAD is above it.
 *   32-bit   two levels of 1024 entries, each a table of 4 KiB that maps twice as much as ours.
 *            So a table of level 1 has two shadow pages (quadrants), and one of level 2 four: a
 *            guest's PDE has two entries of ours.  Two pads are above.
 *   off      all tables are direct: entry after entry maps what follows.
 *
 * The view decides which of the guest's rules matter: CR0.WP, SMEP and SMAP bind the supervisor
 * only.  What does not matter is cleared in the role, so that fewer tables are needed.
 */
#include <string.h>
#include "shadow_internal.h"

#define CR0_WP	 (1ULL << 16)
#define CR4_SMEP (1ULL << 20)
#define CR4_SMAP (1ULL << 21)

/* By number of levels. */
static const struct pt_format *const formats[] = {
	[2] = &x86_32_format,
	[3] = &x86_pae_format,
	[4] = &x86_4level_format,
};

bool role_equal(const struct sp_role *a, const struct sp_role *b)
{
	return a->base == b->base && a->kind == b->kind && a->level == b->level &&
	       a->format == b->format && a->quadrant == b->quadrant && a->access == b->access &&
	       a->user == b->user && a->wp == b->wp && a->nxe == b->nxe && a->smep == b->smep &&
	       a->smap == b->smap && a->pse == b->pse;
}

const struct pt_format *role_format(const struct sp_role *role)
{
	return formats[role->format];
}

const struct pt_level *role_level(const struct sp_role *role)
{
	return &formats[role->format]->level[role->format - role->level];
}

gpa_t role_entry_gpa(const struct sp_role *role, unsigned int i)
{
	if (role->format == 2 && role->level == 2)
		i = (role->quadrant * SP_ENTRIES + i) / 2;
	else if (role->format == 2)
		i += role->quadrant * SP_ENTRIES;
	return role->base + i * role_format(role)->entry_bytes;
}

bool role_of_root(const struct walk_cpu *cpu, bool user, struct sp_role *root)
{
	bool bad;
	const struct pt_format *format = walk_guest_format(cpu, &bad);

	*root = (struct sp_role){ .level = 4, .access = PT_PERM_ALL };
	if (bad || (format && format->nr_levels > 4))
		return false;
	if (!format)
		return true;
	root->base = walk_guest_root(cpu, format);
	root->format = format->nr_levels;
	root->kind = format->nr_levels == 4 ? SP_GUEST : SP_PAD;
	root->user = user;
	root->nxe = walk_guest_rules(cpu).nxe;
	root->pse = format->nr_levels == 2 && walk_guest_rules(cpu).pse;
	root->wp = !user && (cpu->cr0 & CR0_WP);
	root->smep = !user && (cpu->cr4 & CR4_SMEP);
	root->smap = !user && (cpu->cr4 & CR4_SMAP) && !cpu->ac;
	return true;
}

/* A wild CR3: no walk ends well, so no entry is ever made. */
bool role_of_root_in_ram(const struct shadow *s, const struct walk_cpu *cpu, bool user,
			 struct sp_role *root)
{
	if (!role_of_root(cpu, user, root))
		return false;
	if (root->kind == SP_GUEST && !shadow_is_ram(s, gpa_to_gfn(root->base)))
		root->kind = SP_PAD;
	return true;
}

struct pt_rules role_rules(const struct shadow *s, const struct sp_role *role)
{
	return (struct pt_rules){
		.maxphyaddr = s->config.maxphyaddr,
		.nxe = role->nxe,
		.pse = role->pse,
		.pages_1g = true,
	};
}

/* Intel SDM Vol. 3A, "Determination of Access Rights". */
unsigned int role_view(const struct sp_role *role, unsigned int access)
{
	bool user_page = access & PT_PERM_U;
	unsigned int perm = access & (PT_PERM_R | PT_PERM_W | PT_PERM_X);

	if (role->user)
		return user_page ? perm : 0;
	if (!role->wp)
		perm |= PT_PERM_W;
	if (user_page && role->smep)
		perm &= ~PT_PERM_X;
	if (user_page && role->smap)
		perm = perm & PT_PERM_X ? PT_PERM_R | PT_PERM_X : 0;
	return perm;
}

/* The direct table below a frame that cannot be mapped by one entry. */
static void direct_child(const struct sp_role *role, struct sp_target *t)
{
	t->child = (struct sp_role){
		.base = t->gpa,
		.kind = SP_DIRECT,
		.level = role->level - 1,
		.access = t->perm,
	};
}

static void guest_target(const struct sp_role *role, unsigned int i, uint64_t entry,
			 const struct pt_rules *rules, struct sp_target *t)
{
	const struct pt_format *format = role_format(role);
	const struct pt_level *lv = role_level(role);
	unsigned int access = role->access & format->perm(entry, lv);
	bool wide = role->format == 2 && role->level == 2; /* a guest's entry is two of ours */

	t->leaf = format->classify(entry, lv, rules) == PT_LEAF;
	t->child = *role;
	t->child.level--;
	t->child.access = access;
	t->child.quadrant = wide ? i % 2 : 0;
	t->child.base = format->address(entry, lv, t->leaf);
	if (!t->leaf)
		return;
	t->gpa = t->child.base + (wide ? i % 2 * QUIRE_BLOCK_SIZE : 0);
	t->perm = role_view(role, access);
	if (!(entry & format->dirty))
		t->perm &= ~PT_PERM_W;
	direct_child(role, t);
}

void role_target(const struct sp_role *role, unsigned int i, uint64_t entry,
		 const struct pt_rules *rules, struct sp_target *t)
{
	memset(t, 0, sizeof(*t));
	switch (role->kind) {
	case SP_GUEST: guest_target(role, i, entry, rules, t); return;
	case SP_DIRECT:
		t->leaf = true;
		t->gpa = role->base + i * sp_span(role->level);
		t->perm = role->access & (PT_PERM_R | PT_PERM_W | PT_PERM_X);
		direct_child(role, t);
		return;
	case SP_PAD:
		t->child = *role;
		t->child.level--;
		if (t->child.level > role->format)
			return;
		t->child.kind = SP_GUEST;
		if (t->child.level == 2)
			t->child.quadrant = i;
	}
}
