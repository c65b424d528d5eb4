/* SPDX-License-Identifier: MIT */
/*
 * The x86 paging modes as pt_formats: which entries are present, malformed, tables or leaves, and
 * what they grant.  x86pt.h has the layouts.
 *
 * Reserved bits are checked in present entries only.  If one is set, the access faults, whatever
 * the permissions say (Intel SDM Vol. 3A, "Reserved Bits" in the section of each mode).  walk.c
 * knows which permissions an access needs.
 */
#include "x86pt.h"

static uint64_t bits_from(unsigned int low)
{
	return ~((1ULL << low) - 1);
}

/* The address bits that a leaf of level lv may not set: those below its size, except PAT. */
static uint64_t misaligned(const struct pt_level *lv)
{
	return X86_ADDR_MASK & (pt_span(lv) - 1) & ~X86_LEAF_PAT;
}

/* Classify an entry as all 8-byte formats do.  `reserved` has more bits that must be clear. */
static enum pt_class classify_8(uint64_t e, const struct pt_level *lv, const struct pt_rules *rules,
				uint64_t reserved)
{
	bool leaf = lv->level == 1 || (e & X86_PS);

	if (!rules->nxe)
		reserved |= X86_NX;
	if (leaf && lv->level > 1) {
		if (!lv->may_leaf || (lv->level == 3 && !rules->pages_1g))
			return PT_RESERVED;
		reserved |= misaligned(lv);
	}
	if (e & reserved)
		return PT_RESERVED;
	return leaf ? PT_LEAF : PT_TABLE;
}

static enum pt_class x86_64_classify(uint64_t e, const struct pt_level *lv,
				     const struct pt_rules *rules)
{
	uint64_t reserved = X86_ADDR_MASK & bits_from(rules->maxphyaddr);

	if (!(e & X86_P))
		return PT_EMPTY;
	if (rules->amd && lv->level >= 4)
		reserved |= X86_G;
	return classify_8(e, lv, rules, reserved);
}

static enum pt_class x86_pae_classify(uint64_t e, const struct pt_level *lv,
				      const struct pt_rules *rules)
{
	uint64_t high = bits_from(rules->maxphyaddr);

	if (!(e & X86_P))
		return PT_EMPTY;
	if (lv->level == 3)
		return e & (high | X86_PDPTE_PAE_RESERVED) ? PT_RESERVED : PT_TABLE;
	return classify_8(e, lv, rules, high & ~X86_NX);
}

/*
 * The reserved bits of a 4 MiB leaf: bit 21, and the high address bits that the processor lacks.
 * A processor without PSE-36 has M = 32 here, and so lacks all of them.
 */
static uint64_t pse_reserved(unsigned int maxphyaddr)
{
	unsigned int high_bits = maxphyaddr - 32;

	if (high_bits > X86_PSE_HIGH_BITS)
		high_bits = X86_PSE_HIGH_BITS;
	return ~X86_PSE_MASK & bits_from(X86_PSE_HIGH_SHIFT + high_bits);
}

static enum pt_class x86_32_classify(uint64_t e, const struct pt_level *lv,
				     const struct pt_rules *rules)
{
	if (!(e & X86_P))
		return PT_EMPTY;
	if (lv->level == 1)
		return PT_LEAF;
	if (!(e & X86_PS) || !rules->pse)
		return PT_TABLE;
	return e & pse_reserved(rules->maxphyaddr) ? PT_RESERVED : PT_LEAF;
}

static uint64_t x86_address(uint64_t e, const struct pt_level *lv, bool leaf)
{
	return leaf ? e & X86_ADDR_MASK & ~(pt_span(lv) - 1) : e & X86_ADDR_MASK;
}

static uint64_t x86_32_address(uint64_t e, const struct pt_level *lv, bool leaf)
{
	uint64_t high = (e >> X86_PSE_HIGH_SHIFT) & ((1u << X86_PSE_HIGH_BITS) - 1);

	if (leaf && lv->level == 2)
		return (e & X86_PSE_MASK) | high << 32;
	return e & X86_ADDR_MASK;
}

/* It has no branches, because it runs for each entry of every walk. */
static unsigned int x86_perm(uint64_t e, const struct pt_level *lv)
{
	(void)lv;
	static_assert(X86_W == PT_PERM_W && X86_U << 1 == PT_PERM_U && PT_PERM_X == 1u << 2,
		      "the shifts below move W, U and NX to their places");
	return PT_PERM_R | (e & X86_W) | (e & X86_U) << 1 | (~e >> 63) << 2;
}

static unsigned int x86_pae_perm(uint64_t e, const struct pt_level *lv)
{
	return lv->level == 3 ? PT_PERM_ALL : x86_perm(e, lv);
}

const struct pt_format x86_32_format = {
	.name = "32-bit",
	.entry_bytes = 4,
	.nr_levels = 2,
	.address_bits = 32,
	.accessed = X86_A,
	.dirty = X86_D,
	.level = {
		{ .name = "PDE", .level = 2, .shift = 22, .bits = 10, .may_leaf = true },
		{ .name = "PTE", .level = 1, .shift = 12, .bits = 10, .may_leaf = true },
	},
	.classify = x86_32_classify,
	.address = x86_32_address,
	.perm = x86_perm,
};

const struct pt_format x86_pae_format = {
	.name = "PAE",
	.entry_bytes = 8,
	.nr_levels = 3,
	.address_bits = 32,
	.accessed = X86_A,
	.dirty = X86_D,
	.level = {
		{ .name = "PDPTE", .level = 3, .shift = 30, .bits = 2, .no_accessed = true },
		{ .name = "PDE",   .level = 2, .shift = 21, .bits = 9, .may_leaf = true },
		{ .name = "PTE",   .level = 1, .shift = 12, .bits = 9, .may_leaf = true },
	},
	.classify = x86_pae_classify,
	.address = x86_address,
	.perm = x86_pae_perm,
};

const struct pt_format x86_4level_format = {
	.name = "4-level",
	.entry_bytes = 8,
	.nr_levels = 4,
	.address_bits = 48,
	.accessed = X86_A,
	.dirty = X86_D,
	.level = {
		{ .name = "PML4E", .level = 4, .shift = 39, .bits = 9, .may_leaf = false },
		{ .name = "PDPTE", .level = 3, .shift = 30, .bits = 9, .may_leaf = true },
		{ .name = "PDE",   .level = 2, .shift = 21, .bits = 9, .may_leaf = true },
		{ .name = "PTE",   .level = 1, .shift = 12, .bits = 9, .may_leaf = true },
	},
	.classify = x86_64_classify,
	.address = x86_address,
	.perm = x86_perm,
};

const struct pt_format x86_5level_format = {
	.name = "5-level",
	.entry_bytes = 8,
	.nr_levels = 5,
	.address_bits = 57,
	.accessed = X86_A,
	.dirty = X86_D,
	.level = {
		{ .name = "PML5E", .level = 5, .shift = 48, .bits = 9, .may_leaf = false },
		{ .name = "PML4E", .level = 4, .shift = 39, .bits = 9, .may_leaf = false },
		{ .name = "PDPTE", .level = 3, .shift = 30, .bits = 9, .may_leaf = true },
		{ .name = "PDE",   .level = 2, .shift = 21, .bits = 9, .may_leaf = true },
		{ .name = "PTE",   .level = 1, .shift = 12, .bits = 9, .may_leaf = true },
	},
	.classify = x86_64_classify,
	.address = x86_address,
	.perm = x86_perm,
};
