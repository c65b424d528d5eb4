/* SPDX-License-Identifier: MIT */
/*
 * The filler: one thread that brings in a second block while the pager brings in the first.
 *
 * Where a guest works its way through memory, in whatever order, a touch of one block announces
 * touches of its neighbours.  So with each block that a touch brings in, the pager suggests one
 * more to the filler: the nearest absent block of the same region of 32 MiB, provided that a
 * quarter of the region is there already.  Zeroing 2 MiB is most of the cost of a first touch, and
 * the vCPU sleeps meanwhile, so there is a processor to do it on.
 *
 * What it brings in in vain is bounded: at most one block per block touched, only in regions
 * that the guest uses, and only from credits at hand.
 */
#include <string.h>
#include "gmem_internal.h"

#define REGION_BLOCKS 16u

static gfn_t region_of(gfn_t block)
{
	return align_down(block, REGION_BLOCKS * QUIRE_BLOCK_PAGES);
}

static bool region_is_dense(const struct gmem *gm, gfn_t block)
{
	gfn_t start = region_of(block);
	unsigned int present = 0;

	for (unsigned int i = 0; i < REGION_BLOCKS; i++) {
		gfn_t b = start + i * QUIRE_BLOCK_PAGES;

		present += stage2_is_ram(gm->s2, b, QUIRE_BLOCK_PAGES) &&
			   !gmem_block_is_absent(gm, b);
	}
	return present >= REGION_BLOCKS / 4;
}

static bool is_candidate(const struct gmem *gm, gfn_t block, gfn_t b)
{
	return region_of(b) == region_of(block) && gmem_block_is_absent(gm, b);
}

void filler_suggest(struct gmem *gm, gfn_t block)
{
	assert_held(&gm->lock);
	if (!gm->filler_runs || gm->wanted != NO_BLOCK || !region_is_dense(gm, block))
		return;
	for (uint64_t d = QUIRE_BLOCK_PAGES; d < REGION_BLOCKS * QUIRE_BLOCK_PAGES;
	     d += QUIRE_BLOCK_PAGES) {
		if (is_candidate(gm, block, block + d))
			gm->wanted = block + d;
		else if (block >= d && is_candidate(gm, block, block - d))
			gm->wanted = block - d;
		else
			continue;
		pthread_cond_signal(&gm->suggested);
		return;
	}
}

static void filler_main(void *arg)
{
	struct gmem *gm = arg;

	if (gm->config.on_thread_start)
		gm->config.on_thread_start(gm->config.ctx);
	lock(&gm->lock);
	while (gm->filler_runs) {
		gfn_t block = gm->wanted;

		if (block == NO_BLOCK) {
			pthread_cond_wait(&gm->suggested, &gm->lock.mutex);
			continue;
		}
		gm->wanted = NO_BLOCK;
		if (block != gm->filling[SLOT_TOUCH] && gmem_block_is_absent(gm, block) &&
		    !bring_in_block(gm, block, SLOT_FILLER))
			gm->stats.ahead_blocks++;
	}
	unlock(&gm->lock);
}

int filler_start(struct gmem *gm, struct quire_error *err)
{
	int error;

	if (gm->config.hugepages == GMEM_HUGE_NEVER)
		return 0;
	pthread_cond_init(&gm->suggested, NULL);
	gm->filler_runs = true;
	error = thread_start(&gm->filler, "filler", filler_main, gm);
	if (!error)
		return 0;
	gm->filler_runs = false;
	pthread_cond_destroy(&gm->suggested);
	return quire_fail(err, error, "cannot start the filler thread: %s", strerror(-error));
}

void filler_stop(struct gmem *gm)
{
	if (!gm->filler.started)
		return;
	lock(&gm->lock);
	gm->filler_runs = false;
	pthread_cond_signal(&gm->suggested);
	unlock(&gm->lock);
	thread_join(&gm->filler);
	pthread_cond_destroy(&gm->suggested);
}
