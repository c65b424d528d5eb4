/* SPDX-License-Identifier: MIT */
/*
 * Giving back: pages that need no frame go first, as far as tendency.h has it.
 *
 * The reclaimer finds no such pages itself.  Somebody does (reclaimer_config.give_back), who looks
 * at RAM once for it, and meanwhile the reclaimer waits for a part of what it was asked for.  The
 * priority falls by one in each STEP_NS in which nothing was found.  So it waits for a second or
 * so at most: who asked would not wait much longer before it looks for others.  Look follows look:
 * when IN_VAIN in a row have found nothing, the priority falls to 0 at once.
 *
 * A look takes processor time.  If less than one of WORTH pages that were to be given back was
 * found, there is none for a second; and the next time for two, at last for MOST_PAUSE_NS.
 *
 * Accesses of our own that have waited long enough do not wait for this.
 */
#include "mmu/base/clock.h"
#include "reclaimer_internal.h"

#define STEP_NS	      (100 * NS_PER_MS)
#define POLL_NS	      (10 * NS_PER_MS)
#define IN_VAIN	      8u /* the keeper looks at some pages once in so many passes only */
#define WORTH	      16u
#define MOST_PAUSE_NS (64 * NS_PER_S)

static uint64_t since(uint64_t *last, uint64_t now)
{
	uint64_t past = now - *last;

	*last = now;
	return past;
}

/* Half of what was counts as what is. */
static void measure_costs(struct give_back *g, const struct gmem_stats *gs)
{
	uint64_t loads = gs->loaded_pages + gs->swapped_in_pages + gs->unarchived_pages;

	g->give_cost = g->give_cost / 2 + since(&g->unshared, gs->unshared_pages);
	g->send_cost = g->send_cost / 2 + since(&g->loaded, loads);
}

static uint64_t to_give(struct reclaimer *r, uint64_t want)
{
	struct give_back *g = &r->give;
	struct gmem_stats gs;

	gmem_stats(r->gm, &gs);
	if (!g->on)
		measure_costs(g, &gs);
	return tendency_to_give(
		&(struct tendency_input){
			.rule = r->config.rule,
			.swappiness = r->config.swappiness,
			.priority = g->priority,
			.ram_pages = gs.s2.ram_pages,
			.mapped_pages = gs.s2.pages[PG_PRIVATE],
			.give_cost = g->give_cost,
			.send_cost = g->send_cost,
		},
		want);
}

/* Have RAM looked at.  False: nobody does. */
static bool look(struct reclaimer *r, uint64_t now)
{
	if (!r->config.give_back || !r->config.give_back(r->config.ctx))
		return false;
	reclaimer_count(&r->stats.give_passes, 1);
	r->give.began_ns = now;
	r->give.found = 0;
	return true;
}

/* What was found since this was last asked.  *busy: somebody is still looking. */
static uint64_t news(struct reclaimer *r, bool *busy)
{
	struct give_back *g = &r->give;
	uint64_t found = 0;

	*busy = false;
	if (r->config.given_back)
		found = since(&g->given, r->config.given_back(r->config.ctx, busy));
	g->found += found;
	g->all_found += found;
	reclaimer_count(&r->stats.given_pages, g->asked ? found : 0);
	return found;
}

/* Nobody looks any more: was it worth it? */
static void judge(struct give_back *g)
{
	if (g->asked && g->all_found > g->asked / WORTH)
		g->pause_ns = 0;
	else if (g->asked)
		g->pause_ns = min_u64(max_u64(2 * g->pause_ns, NS_PER_S), MOST_PAUSE_NS);
	g->next_ns = g->began_ns + g->pause_ns;
	g->asked = g->all_found = 0;
	g->in_vain = 0;
}

/* Pages are wanted, and were not before.  Somebody may still look for the last request. */
static void begin(struct reclaimer *r, uint64_t want, uint64_t now)
{
	struct give_back *g = &r->give;
	bool busy;

	news(r, &busy);
	if (!busy)
		judge(g);
	g->priority = TENDENCY_PRIORITY;
	g->left = to_give(r, want);
	g->step_ns = now + STEP_NS;
	g->on = true;
	if (!g->left || now < g->next_ns || !(busy || look(r, now)))
		g->priority = g->left = 0;
	g->asked += g->left;
}

static void go_on(struct reclaimer *r, uint64_t now)
{
	struct give_back *g = &r->give;
	bool busy;
	uint64_t found = news(r, &busy);

	g->left -= min_u64(g->left, found);
	reclaimer_done(r, found);
	if (found)
		g->step_ns = now + STEP_NS;
	for (; g->priority && now >= g->step_ns; g->step_ns += STEP_NS)
		g->priority--;
	if (busy)
		return;
	g->in_vain = g->found ? 0 : g->in_vain + 1;
	if (g->in_vain == IN_VAIN || !look(r, now))
		g->priority = 0;
	if (!g->priority)
		judge(g);
}

/* More is wanted than was left of the last time.  By one rule the priority decides of how many. */
static void expect(struct reclaimer *r, uint64_t want)
{
	struct give_back *g = &r->give;
	uint64_t more = want > g->want ? to_give(r, want - g->want) : 0;

	g->asked += more;
	g->left = min_u64(g->left + more, to_give(r, want + g->left) ? UINT64_MAX : 0);
}

/* Nothing is wanted any more, but somebody may still look. */
static void end(struct reclaimer *r)
{
	struct give_back *g = &r->give;
	bool busy;

	g->on = false;
	if (!g->asked)
		return;
	news(r, &busy);
	if (!busy)
		judge(g);
}

uint64_t reclaimer_weigh(struct reclaimer *r, uint64_t want, uint64_t now)
{
	struct give_back *g = &r->give;

	if (!want) {
		end(r);
		return 0;
	}
	if (!g->on) {
		begin(r, want, now);
	} else if (g->priority) {
		go_on(r, now);
		expect(r, want);
	}
	g->want = atomic_load(&r->asked);
	return g->want - min_u64(g->want, g->priority ? g->left : 0);
}

uint64_t reclaimer_weigh_until(const struct reclaimer *r, uint64_t now)
{
	return r->give.asked ? now + POLL_NS : UINT64_MAX;
}
