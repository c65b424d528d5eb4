/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_FORMAT_PGWALK_H
#define QUIRE_MMU_FORMAT_PGWALK_H

/*
 * The walk.  It is written once; every format is data (ept.c, x86pt.c).
 *
 * It is inline for callers whose read function is known when they are compiled (walk.c, for both
 * stages): they do not pay for a call through a pointer.  pt_walk() is the same code for everyone
 * else, and carries the contract (pgtable.h).
 */
#include "pgtable.h"

static inline int pt_walk_inline(const struct pt_format *fmt, const struct pt_rules *rules,
				 uint64_t root, uint64_t addr, pt_read_fn read, void *ctx,
				 struct pt_result *res)
{
	uint64_t table = root;

	res->class = PT_EMPTY;
	res->perm = PT_PERM_ALL;
	for (unsigned int i = 0; i < fmt->nr_levels; i++) {
		const struct pt_level *lv = &fmt->level[i];
		int err;

		res->lv = lv;
		res->entry_addr = table + (uint64_t)pt_index(lv, addr) * fmt->entry_bytes;
		err = read(ctx, res->entry_addr, lv, &res->entry);
		if (err)
			return err;

		res->class = fmt->classify(res->entry, lv, rules);
		if (res->class == PT_EMPTY || res->class == PT_RESERVED)
			return 0;
		res->perm &= fmt->perm(res->entry, lv);
		table = fmt->address(res->entry, lv, res->class == PT_LEAF);
		if (res->class == PT_LEAF)
			break;
	}
	res->address = table + (addr & (pt_span(res->lv) - 1));
	return 0;
}

#endif
