/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>
#include "made_up.h"
#include "mmu/memory/story.h"
#include "vmm/vm/vm.h"

static gfn_t ram_end;

void made_up_set_end(gfn_t end)
{
	ram_end = end;
}

struct gmem *vm_gmem(struct vm *vm)
{
	return (struct gmem *)vm;
}

int gmem_forget_touches(struct gmem *gm, enum gmem_watcher who, gfn_t gfn, uint64_t nr)
{
	(void)who;
	(void)gm;
	return gfn + nr > ram_end ? -EFAULT : 0;
}

/* Every third page. */
int gmem_touched(struct gmem *gm, enum gmem_watcher who, gfn_t gfn, uint64_t nr,
		 struct gmem_touched *out)
{
	(void)gm, (void)who;
	*out = (struct gmem_touched){ .large = false };
	for (uint64_t i = 0; i < nr; i++)
		out->touched[i / 64] |= (uint64_t)((gfn + i) % 3 == 0) << i % 64;
	return gfn + nr > ram_end ? -EFAULT : 0;
}

/* A quarter of the pages each. */
int gmem_compress(struct gmem *gm, gfn_t gfn, uint64_t nr, enum gmem_watcher unless,
		  struct gmem_packed *out)
{
	(void)gm;
	*out = (struct gmem_packed){
		.compressed = nr / 4 + (unless == GMEM_NR_WATCHERS ? nr / 4 : 0),
		.refused = nr / 4,
		.kept = nr / 4,
		.touched = unless == GMEM_NR_WATCHERS ? 0 : nr / 4,
		.pool_pages = 3,
	};
	return gfn + nr > ram_end ? -EFAULT : 0;
}

/* Each page is in the state of its number's rest. */
int gmem_story(struct gmem *gm, gfn_t gfn, struct gmem_story *out)
{
	(void)gm;
	*out = (struct gmem_story){ .gfn = gfn,
				    .state = (uint8_t)(gfn % PG_NR_STATES),
				    .level = 1 };
	return gfn >= ram_end ? -EFAULT : 0;
}

void vm_reclaim_look(const struct vm *vm, gfn_t gfn, struct reclaimer_page *out)
{
	(void)vm;
	*out = (struct reclaimer_page){ .passes = 1, .unused_s = gfn };
}

/* Ticket n is for n - 1 pages, and is done when it is asked for the second time. */
static struct gmem_swapped swapped;
static bool swap_is_done;

int vm_begin_swap(struct vm *vm, gfn_t gfn, uint64_t nr, bool all, uint64_t *ticket)
{
	(void)vm;
	swap_is_done = false;
	swapped = (struct gmem_swapped){
		.swapped = nr / 2,
		.clean = nr / 4,
		.kept = nr / 4,
		.touched = all ? 0 : nr / 4,
	};
	*ticket = nr + 1;
	return gfn + nr > ram_end ? -ENODEV : 0;
}

int vm_end_swap(struct vm *vm, uint64_t ticket, struct gmem_swapped *out)
{
	(void)vm;
	*out = swapped;
	if (!swap_is_done) {
		swap_is_done = true;
		return -EINPROGRESS;
	}
	return ticket % 2 ? 0 : -ENOSPC;
}

void vm_tail(struct vm *vm, struct tail *out)
{
	memset(out, 0, sizeof(*out));
	if (vm)
		tail_add(out, "the last line\n", 14);
}
