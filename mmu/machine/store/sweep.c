/* SPDX-License-Identifier: MIT */
#include "sweep.h"
#include "mmu/base/clock.h"

#define HOLES_AT_ONCE 2048u
#define PAUSE_NS      (20 * NS_PER_MS) /* between two sweeps because of frames that failed */

static uint64_t stray_pages(const struct store_segment *g)
{
	uint64_t there = segment_resident_frames(g);

	return there > g->used ? there - g->used : 0;
}

/* How many frames from `at` on are all in use, or all not. */
static uint32_t stretch(const struct store_segment *g, uint32_t at)
{
	bool used = g->refs[at];
	uint32_t n = 1;

	while (at + n < MERGE_SEGMENT_FRAMES && !g->refs[at + n] == !used)
		n++;
	return n;
}

/* Once around the segment at most, from where the last sweep ended. */
static uint64_t sweep_segment(struct store_segment *g, unsigned int *holes)
{
	uint64_t stray = stray_pages(g), left = stray;

	for (uint32_t n, seen = 0; left && *holes && seen < MERGE_SEGMENT_FRAMES; seen += n) {
		n = stretch(g, g->swept);
		if (!g->refs[g->swept]) {
			segment_punch(g, g->swept, n);
			left = stray_pages(g);
			--*holes;
		}
		g->swept = (g->swept + n) % MERGE_SEGMENT_FRAMES;
	}
	g->stray += stray - left;
	return stray - left;
}

static uint64_t sweep(struct store *s, unsigned int *holes)
{
	uint64_t pages = 0;

	for (unsigned int i = 0; i < s->nr_segments; i++)
		pages += sweep_segment(&s->segment[i], holes);
	return pages;
}

void store_sweep(struct store *s)
{
	unsigned int holes = HOLES_AT_ONCE;

	if (sweep(s, &holes))
		shelf_fit(s->shelf);
}

bool sweep_for_room(struct shelf *shelf)
{
	uint64_t now = monotonic_ns(), pages = 0;
	unsigned int holes = HOLES_AT_ONCE;
	struct store *s;

	if (shelf->swept_ns && now < shelf->swept_ns + PAUSE_NS)
		return false;
	TAILQ_FOREACH(s, &shelf->stores, on_shelf)
	pages += sweep(s, &holes);
	shelf->swept_ns = monotonic_ns();
	return pages;
}
