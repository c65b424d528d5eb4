/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <unistd.h>
#include "reclaimer_lab.h"

struct reclaimer *r;

static int swap_fd; /* 0: none */

void begin_with(struct gmem_config memory, enum reclaim_kind kind)
{
	struct reclaimer_config config = { .policy = reclaim_policies[kind], .seed = rng };
	struct quire_error err;

	create_with(memory);
	atomic_store(&taken, 0);
	config.gm = gm;
	if (reclaimer_create(&config, &r, &err))
		tap_bail("%s", err.text);
}

void begin(enum gmem_hugepages hugepages, enum reclaim_kind kind)
{
	begin_with((struct gmem_config){ .hugepages = hugepages, .credits = &counted_credits },
		   kind);
}

void end(void)
{
	reclaimer_stop(r);
	reclaimer_destroy(r);
	destroy();
	if (swap_fd)
		close(swap_fd);
	swap_fd = 0;
}

struct reclaimer_stats stats(void)
{
	struct reclaimer_stats s;

	reclaimer_stats(r, &s);
	return s;
}

uint64_t pages_in(enum page_state state)
{
	struct gmem_stats s;

	gmem_stats(gm, &s);
	return s.s2.pages[state];
}

void touch(gfn_t gfn)
{
	look_at((uint64_t *)hva(gfn));
}

bool is_known(gfn_t gfn)
{
	return reclaim_resident(r->policy, gfn / 64) >> gfn % 64 & 1;
}

void begin_with_swap(void)
{
	char name[] = "/var/tmp/quire-reclaimer-test.XXXXXX";
	const uint64_t span = align_up(NR_PAGES, QUIRE_BLOCK_PAGES);
	struct gmem_swap swap = { .fd = mkstemp(name), .unit = 512 };

	if (swap.fd < 0 || unlink(name) || ftruncate(swap.fd, (off_t)SWAP_FILE_BYTES(span)))
		tap_bail("no swap file");
	swap_fd = swap.fd;
	begin_with((struct gmem_config){ .hugepages = GMEM_HUGE_NEVER,
					 .credits = &counted_credits,
					 .swap = &swap },
		   RECLAIM_FIFO);
}
