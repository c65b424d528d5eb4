/* SPDX-License-Identifier: MIT */
#include "pattern.h"

#define PHASES 8

const char *const pattern_names[NR_PATTERNS] = { "random", "zipf", "scan", "phases" };

bool pattern_init(struct pattern *p, enum pattern_kind kind, uint64_t pages, uint64_t seed)
{
	*p = (struct pattern){ .kind = kind, .pages = pages, .state = seed };
	if (kind != PATTERN_ZIPF)
		return true;
	shuffle_init(&p->place, pages, seed);
	return zipf_init(&p->zipf, pages, 1000);
}

static uint64_t in_phase(struct pattern *p, uint64_t step)
{
	uint64_t set = p->pages / PHASES + 1, phase = step / p->pages % PHASES;

	if (!random_below(&p->state, 10))
		return random_below(&p->state, p->pages);
	return (phase * p->pages / PHASES + random_below(&p->state, set)) % p->pages;
}

uint64_t pattern_next(struct pattern *p)
{
	uint64_t step = p->step++;

	switch (p->kind) {
	case PATTERN_ZIPF: return shuffle_at(&p->place, zipf_draw(&p->zipf, &p->state));
	case PATTERN_SCAN: return step % p->pages;
	case PATTERN_PHASES: return in_phase(p, step);
	default: return random_below(&p->state, p->pages);
	}
}
