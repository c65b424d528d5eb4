/* SPDX-License-Identifier: MIT */
/*
 * A VM's part of the machine's swap area, a quota in pages.
 *
 * The VM asks for a batch when less than half of the last one is at hand, so that it seldom runs
 * dry.  It keeps up to two batches that it does not use.  Batches become small as the area fills.
 *
 * If the area is full, the machine answers when there is room again.  Meanwhile what is put back
 * stays here, because this VM wants it.
 *
 * If the VM's disk is full, other VMs may still have room on theirs.  So nothing is kept then, nor
 * what is granted later, until this VM tries again.
 */
#include "credits_internal.h"

#define SWAP_BATCH_MAX 1024u /* 4 MiB */

static void ask(struct credits *c)
{
	struct machine_msg msg = wire_msg(MACHINE_SWAP_CREDIT, 0);

	msg.pages = min_u64(SWAP_BATCH_MAX, c->config.promise_pages - c->swap_held);
	if (!c->swap_asked && msg.pages && credits_say(c, &msg, -1))
		c->swap_asked = msg.pages;
}

static void give_back(struct credits *c, uint64_t pages)
{
	struct machine_msg msg = wire_msg(MACHINE_SWAP_RETURN, 0);

	msg.pages = pages;
	if (!credits_say(c, &msg, -1))
		return;
	c->swap_spare -= pages;
	c->swap_held -= pages;
}

bool credits_swap_granted(struct credits *c, uint64_t pages)
{
	if (!pages || pages > c->swap_asked)
		return false;
	c->swap_asked = 0;
	c->swap_batch = pages;
	c->swap_spare += pages;
	c->swap_held += pages;
	if (c->swap_useless)
		credits_swap_flush(c);
	return true;
}

void credits_swap_flush(struct credits *c)
{
	if (c->swap_useless && c->swap_spare)
		give_back(c, c->swap_spare);
	else if (!c->swap_asked && c->swap_spare > 2 * c->swap_batch)
		give_back(c, c->swap_spare - c->swap_batch);
}

uint64_t credits_take_swap(struct credits *c, uint64_t pages)
{
	uint64_t taken;

	lock(&c->lock);
	c->swap_useless = false;
	taken = min_u64(pages, c->swap_spare);
	c->swap_spare -= taken;
	if (taken < pages || c->swap_spare <= c->swap_batch / 2)
		ask(c);
	unlock(&c->lock);
	return taken;
}

static void put(struct credits *c, uint64_t pages, bool useless)
{
	lock(&c->lock);
	c->swap_spare += pages;
	c->swap_useless |= useless;
	assert(c->swap_spare <= c->swap_held);
	credits_swap_flush(c);
	unlock(&c->lock);
}

void credits_put_swap(struct credits *c, uint64_t pages)
{
	put(c, pages, false);
}

void credits_give_swap(struct credits *c, uint64_t pages)
{
	put(c, pages, true);
}

uint64_t credits_swap_held(struct credits *c)
{
	uint64_t pages;

	lock(&c->lock);
	pages = c->swap_held;
	unlock(&c->lock);
	return pages;
}
