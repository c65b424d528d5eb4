/* SPDX-License-Identifier: MIT */
#include "blocks.h"
#include "mmu/memory/share.h"
#include "mmu/memory/zero.h"

int block_split(struct gmem *gm, gfn_t block)
{
	struct stage2_page page;
	int err = -EFAULT;

	gmem_lock(gm, GMEM_LOOK);
	if (stage2_is_ram(gm->s2, block, QUIRE_BLOCK_PAGES)) {
		stage2_lookup(gm->s2, block, &page);
		err = page.level == 2 ? gmem_split(gm, block) : -ENOENT;
	}
	gmem_unlock(gm);
	return err;
}

int block_collapse(struct gmem *gm, gfn_t block)
{
	int err = -EFAULT;

	gmem_lock(gm, GMEM_LOOK);
	if (gm->config.hugepages == GMEM_HUGE_NEVER)
		err = -EOPNOTSUPP;
	else if (stage2_is_ram(gm->s2, block, QUIRE_BLOCK_PAGES))
		err = gmem_collapse(gm, block);
	gmem_unlock(gm);
	return err;
}

int range_bring_in(struct gmem *gm, gfn_t gfn, uint64_t nr)
{
	int err = gmem_hold(gm, gfn_to_gpa(gfn), nr << QUIRE_PAGE_SHIFT);

	if (!err)
		gmem_release(gm, gfn_to_gpa(gfn), nr << QUIRE_PAGE_SHIFT);
	return err;
}

void zero_some(struct gmem *gm, gfn_t gfn, uint64_t nr)
{
	struct share_run run = { gfn, nr, PG_ZERO, 0 };
	struct share_result res = { 0 };

	block_split(gm, align_down(gfn, QUIRE_BLOCK_PAGES));
	run.nr = min_u64(nr, align_down(gfn, QUIRE_BLOCK_PAGES) + QUIRE_BLOCK_PAGES - gfn);
	gmem_lock(gm, GMEM_LOOK);
	zero_commit(gm, &run, 1, &res);
	gmem_unlock(gm);
}
