/* SPDX-License-Identifier: MIT */
/*
 * The audit of a domain counts everything again, and compares:
 *
 *   - The references of a frame are the sum of its members' references.  A frame in use has some.
 *   - The frames in use are as many as the blocks of the files, by the kernel's count, and as many
 *     as the stable entries of the index and the frames without one.
 *   - In each segment the free frames and the frames in use are all frames: none stays reserved.
 *   - Each hint that a member counts has an entry in the index.
 */
#include <stdlib.h>
#include "domain.h"

struct audit {
	const struct domain *d;
	void (*expect)(void *ctx, uint64_t got, uint64_t want, const char *what);
	void *ctx;
	uint64_t stable, current, lost, in_use, references, unindexed;
};

static void check_entry(void *ctx, const struct index_entry *e)
{
	struct audit *a = ctx;
	const struct store *s = &a->d->store;

	a->lost += index_find(&a->d->index, e->hash) != e;
	a->current += e->owner != INDEX_STABLE && hint_holder(a->d, e);
	if (e->owner != INDEX_STABLE)
		return;
	a->stable++;
	a->lost += !store_has(s, e->page) ||
		   s->segment[frame_segment(e->page)].hash[frame_index(e->page)] != e->hash;
}

static uint64_t held_by_members(const struct domain *d, unsigned int segment, uint32_t index)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < d->nr_numbers; i++)
		if (d->by_number[i] && d->by_number[i]->refs[segment])
			sum += d->by_number[i]->refs[segment][index];
	return sum;
}

static void audit_segment(struct audit *a, unsigned int segment)
{
	const struct store_segment *g = &a->d->store.segment[segment];
	uint32_t used = 0, wrong = 0;

	for (uint32_t i = 0; i < g->touched; i++) {
		used += g->refs[i] != 0;
		a->unindexed += g->refs[i] && !is_indexed(a->d, segment * MERGE_SEGMENT_FRAMES + i);
		wrong += g->refs[i] != held_by_members(a->d, segment, i);
		a->references += g->refs[i];
	}
	a->in_use += used;
	a->expect(a->ctx, wrong, 0, "frames whose references are not those of the members");
	a->expect(a->ctx, g->used, used, "frames in use in a segment");
	a->expect(a->ctx, buddy_count(g->buddy), MERGE_SEGMENT_FRAMES - used,
		  "free frames in a segment");
}

static void audit_member(struct audit *a, const struct member *m)
{
	uint64_t hints = 0, frames = 0, references = 0, strange = 0;

	for (uint64_t gfn = 0; gfn < m->nr_gfns; gfn++)
		hints += m->hint_of[gfn] != 0;
	for (unsigned int s = 0; s < a->d->store.nr_segments; s++)
		for (uint32_t i = 0; m->refs[s] && i < a->d->store.segment[s].touched; i++) {
			frames += m->refs[s][i] != 0;
			references += m->refs[s][i];
			strange += !m->refs[s][i] &&
				   member_calls_cold(m, s * MERGE_SEGMENT_FRAMES + i);
		}
	a->expect(a->ctx, m->nr_hints, hints, "hints of a member");
	a->expect(a->ctx, m->nr_frames, frames, "frames a member holds");
	a->expect(a->ctx, m->references, references, "references of a member");
	a->expect(a->ctx, strange, 0, "frames called cold by who does not hold them");
	a->expect(a->ctx, frames > m->max_frames, false, "a member holds too many frames");
	a->expect(a->ctx, hints > m->max_hints, false, "a member has too many hints");
	a->expect(a->ctx, m->nr_news - m->news_at > m->max_hints, false, "too many news");
}

void domain_audit(const struct domain *d,
		  void (*expect)(void *ctx, uint64_t got, uint64_t want, const char *what),
		  void *ctx)
{
	struct audit a = { .d = d, .expect = expect, .ctx = ctx };
	uint64_t hints = 0;
	uint32_t members = 0, leaving = 0;

	index_each(&d->index, check_entry, &a);
	for (unsigned int s = 0; s < d->store.nr_segments; s++)
		audit_segment(&a, s);
	for (uint32_t i = 0; i < d->nr_numbers; i++) {
		if (!d->by_number[i])
			continue;
		audit_member(&a, d->by_number[i]);
		hints += d->by_number[i]->nr_hints;
		leaving += !d->by_number[i]->hint_of;
		members += d->by_number[i]->hint_of != NULL;
	}
	expect(ctx, a.lost, 0, "index entries that lead nowhere");
	expect(ctx, a.current < hints, false, "hints without an entry");
	expect(ctx, d->index.nr_stable, a.stable, "stable entries");
	expect(ctx, a.stable + d->unindexed, a.in_use, "stable entries, one for each frame");
	expect(ctx, d->unindexed, a.unindexed, "frames without an entry");
	expect(ctx, d->store.used_frames, a.in_use, "frames in use");
	expect(ctx, d->store.references, a.references, "references");
	expect(ctx, store_resident_frames(&d->store), a.in_use, "blocks of the store");
	expect(ctx, d->nr_members, members, "members");
	expect(ctx, d->nr_leaving, leaving, "members that have left");
}
