/* SPDX-License-Identifier: MIT */
/*
 * What the first write to a shared page costs who writes: from the fault to its end, by a thread,
 * without KVM (a guest adds its exit and entry).  Pages are shared in whole blocks; one word of
 * each is written, in order (a sequential writer brings home more and more at a time) and shuffled
 * (each page alone).  key=value lines.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "mmu/merge/keeper_internal.h"
#include "tests/memory/files.h"

#define BLOCKS 32u
#define PAGES  (BLOCKS * QUIRE_BLOCK_PAGES)

static struct gmem *gm;
static int segment;
static uint32_t order[PAGES];
static uint64_t took[PAGES];

static void die(const char *what)
{
	printf("# unshare_bench: %s: not measured\n", what);
	exit(0);
}

static uint64_t *page_at(gfn_t gfn)
{
	return gmem_hva(gm, gfn_to_gpa(gfn));
}

/* A store of frames that begin with their numbers, and a guest whose pages are the same. */
static void create(void)
{
	static const struct gfn_range ram[] = { { 0, PAGES } };
	struct gmem_config config = { .ram = ram, .nr_ram = 1, .hugepages = GMEM_HUGE_NEVER };
	struct quire_error err;
	uint64_t *frame;
	int for_vm;

	segment = segment_file((uint64_t)MERGE_SEGMENT_FRAMES << QUIRE_PAGE_SHIFT, &for_vm);
	if (segment < 0)
		die("no segment");
	frame = mmap(NULL, PAGES * QUIRE_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, segment, 0);
	if (frame == MAP_FAILED)
		die("no frames");
	if (gmem_create(&config, &gm, &err) || gmem_start(gm, &err))
		die(err.text);
	for (gfn_t g = 0; g < PAGES; g++)
		*page_at(g) = frame[g * (QUIRE_PAGE_SIZE / sizeof(*frame))] = g + 1;
	munmap(frame, PAGES * QUIRE_PAGE_SIZE);
	gmem_lock(gm, GMEM_LOOK);
	if (store_view_add(&gm->share.store, 0, for_vm))
		die("no store");
	gmem_unlock(gm);
}

static uint64_t share_all(void)
{
	struct share_result res = { 0 };

	for (gfn_t g = 0; g < PAGES; g += QUIRE_BLOCK_PAGES) {
		struct share_run run = { g, QUIRE_BLOCK_PAGES, PG_SHARED, STAGE2_STORE_PFN + g };

		gmem_lock(gm, GMEM_LOOK);
		share_commit(gm, &run, &res);
		gmem_unlock(gm);
	}
	return res.merged;
}

static void shuffle(void)
{
	uint64_t state = 1;

	for (uint32_t i = 0; i < PAGES; i++)
		order[i] = i;
	for (uint32_t i = PAGES - 1; i; i--) {
		uint32_t other, swap = order[i];

		state = state * 6364136223846793005ULL + 1442695040888963407ULL;
		other = (uint32_t)((state >> 33) % (i + 1));
		order[i] = order[other];
		order[other] = swap;
	}
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void measure(const char *name, uint32_t nr)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < nr; i++) {
		volatile uint64_t *word = page_at(order[i]) + 1;
		uint64_t start = monotonic_ns();

		*word = 0;
		took[i] = monotonic_ns() - start;
		sum += took[i];
	}
	qsort(took, nr, sizeof(took[0]), by_value);
	printf("unshare_%s_mean_ns=%lu median_ns=%lu p99_ns=%lu max_ns=%lu pages=%u\n", name,
	       (unsigned long)(sum / nr), (unsigned long)took[nr / 2],
	       (unsigned long)took[nr * 99ULL / 100], (unsigned long)took[nr - 1], nr);
}

int main(void)
{
	create();
	if (share_all() != PAGES)
		die("not all could be shared");
	shuffle();
	measure("shuffle", PAGES / 4);
	share_all(); /* what was written has the frame's bytes still */
	for (uint32_t i = 0; i < PAGES; i++)
		order[i] = i;
	measure("seq", PAGES);
	gmem_destroy(gm);
	return 0;
}
