/* SPDX-License-Identifier: MIT */
/*
 * EPT as a pt_format: which entries are present, malformed, tables or leaves.
 *
 * Misconfigurations: Intel SDM Vol. 3C, "EPT Misconfigurations".
 */
#include "ept.h"

static uint64_t address_bits_above(unsigned int maxphyaddr)
{
	return EPT_ADDR_MASK & ~((1ULL << maxphyaddr) - 1);
}

static enum pt_class classify_leaf(uint64_t e, const struct pt_level *lv,
				   const struct pt_rules *rules)
{
	uint64_t low_address = EPT_ADDR_MASK & (pt_span(lv) - 1);
	unsigned int mt = (e & EPT_MT_MASK) >> EPT_MT_SHIFT;

	if (!lv->may_leaf || (lv->level == 3 && !rules->pages_1g))
		return PT_RESERVED;
	if ((e & low_address) || mt == 2 || mt == 3 || mt == 7)
		return PT_RESERVED;
	return PT_LEAF;
}

static enum pt_class ept_classify(uint64_t e, const struct pt_level *lv,
				  const struct pt_rules *rules)
{
	if (!ept_present(e))
		return PT_EMPTY;
	if ((e & EPT_W) && !(e & EPT_R))
		return PT_RESERVED;
	if ((e & EPT_RWX) == EPT_X && !rules->exec_only)
		return PT_RESERVED;
	if (e & address_bits_above(rules->maxphyaddr))
		return PT_RESERVED;
	if (lv->level == 1 || (e & EPT_LARGE))
		return classify_leaf(e, lv, rules);
	return (e & (EPT_MT_MASK | EPT_IPAT)) ? PT_RESERVED : PT_TABLE;
}

static uint64_t ept_address(uint64_t e, const struct pt_level *lv, bool leaf)
{
	return leaf ? e & EPT_ADDR_MASK & ~(pt_span(lv) - 1) : e & EPT_ADDR_MASK;
}

static unsigned int ept_perm(uint64_t e, const struct pt_level *lv)
{
	(void)lv;
	static_assert(EPT_R == PT_PERM_R && EPT_W == PT_PERM_W && EPT_X == PT_PERM_X,
		      "EPT permission bits are the common ones");
	return (e & EPT_RWX) | PT_PERM_U;
}

const struct pt_format ept4_format = {
	.name = "EPT (4-level)",
	.entry_bytes = 8,
	.nr_levels = 4,
	.address_bits = 48,
	.accessed = EPT_A,
	.dirty = EPT_D,
	.level = {
		{ .name = "EPT PML4E", .level = 4, .shift = 39, .bits = 9, .may_leaf = false },
		{ .name = "EPT PDPTE", .level = 3, .shift = 30, .bits = 9, .may_leaf = true },
		{ .name = "EPT PDE",   .level = 2, .shift = 21, .bits = 9, .may_leaf = true },
		{ .name = "EPT PTE",   .level = 1, .shift = 12, .bits = 9, .may_leaf = true },
	},
	.classify = ept_classify,
	.address = ept_address,
	.perm = ept_perm,
};

const struct pt_format ept5_format = {
	.name = "EPT (5-level)",
	.entry_bytes = 8,
	.nr_levels = 5,
	.address_bits = 57,
	.accessed = EPT_A,
	.dirty = EPT_D,
	.level = {
		{ .name = "EPT PML5E", .level = 5, .shift = 48, .bits = 9, .may_leaf = false },
		{ .name = "EPT PML4E", .level = 4, .shift = 39, .bits = 9, .may_leaf = false },
		{ .name = "EPT PDPTE", .level = 3, .shift = 30, .bits = 9, .may_leaf = true },
		{ .name = "EPT PDE",   .level = 2, .shift = 21, .bits = 9, .may_leaf = true },
		{ .name = "EPT PTE",   .level = 1, .shift = 12, .bits = 9, .may_leaf = true },
	},
	.classify = ept_classify,
	.address = ept_address,
	.perm = ept_perm,
};
