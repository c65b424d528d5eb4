/* SPDX-License-Identifier: MIT */
/*
 * The working set: how many of its pages a guest uses, by samples.  They are the private ones, and
 * those that had to leave: a guest that loads page after page uses more than it holds.
 *
 * Some of these pages are drawn at random, and touches of the private ones are forgotten.  A period
 * later one sees how many were touched.  A page that was away and came home counts as touched, also
 * if it has left again; one that was private and left says nothing.  C. A. Waldspurger, "Memory
 * Resource Management in VMware ESX Server", OSDI 2002, section 5.3.  So few faults cost a guest
 * nothing that could be measured, and the error does not depend on its size.
 *
 * The error.  Of n pages drawn t were touched.  Let n' = n + z^2 and p' = (t + z^2 / 2) / n', where
 * z = 1.645: nine times out of ten the true part is within z * sqrt(p' (1 - p') / n') of p'.  A.
 * Agresti and B. A. Coull, "Approximate Is Better than 'Exact' for Interval Estimation of Binomial
 * Proportions", The American Statistician 52(2), 1998.  What is said is t / n, so that what is
 * between that and p' is part of the error.
 *
 * Only the order of pages in RAM is random here: pages of one 2 MiB leaf are touched together.
 */
#include "dice.h"
#include "reclaimer_internal.h"

#define DRAWS	 8u	 /* a page is drawn so often at most for each that is wanted */
#define UNIT	 1048576 /* a part of 1 */
#define Z_SQUARE 2.706
#define Z	 1.645

static gfn_t draw(struct reclaimer *r)
{
	unsigned int nr_ram;
	const struct gfn_range *ram = gmem_ram(r->gm, &nr_ram);
	uint64_t pages = 0, at;

	for (unsigned int i = 0; i < nr_ram; i++)
		pages += ram[i].end - ram[i].start;
	at = dice_below(&r->dice, pages);
	while (at >= ram->end - ram->start) {
		at -= ram->end - ram->start;
		ram++;
	}
	return ram->start + at;
}

static bool is_away(enum page_state state)
{
	return page_states[state].loads;
}

void reclaimer_draw(struct reclaimer *r)
{
	struct stage2_page page;

	r->nr_drawn = 0;
	r->drawn_at = (uint32_t)r->policy->nr_chosen + 1;
	for (unsigned int i = 0; i < DRAWS * RECLAIMER_DRAWN && r->nr_drawn < RECLAIMER_DRAWN;
	     i++) {
		gfn_t gfn = draw(r);

		if (gmem_lookup(r->gm, gfn, &page) ||
		    (page.state != PG_PRIVATE && !is_away(page.state)))
			continue;
		if (page.state == PG_PRIVATE)
			gmem_forget_touches(r->gm, GMEM_WORKING_SET, gfn, 1);
		r->drawn[r->nr_drawn++] = (struct drawn_page){ gfn, is_away(page.state) };
	}
}

/* Was a page that was drawn touched?  False: that cannot be said. */
static bool is_told(struct reclaimer *r, const struct drawn_page *drawn, bool *touched)
{
	struct stage2_page page;
	struct gmem_touched t;

	if (drawn->away && !gmem_lookup(r->gm, drawn->gfn, &page) && is_away(page.state)) {
		*touched = r->chosen_at[drawn->gfn] &&
			   (int32_t)(r->chosen_at[drawn->gfn] - r->drawn_at) > 0;
		return true;
	}
	gmem_touched(r->gm, GMEM_WORKING_SET, drawn->gfn, 1, &t);
	*touched = t.touched[0];
	return t.resident[0];
}

static uint64_t root(uint64_t n)
{
	uint64_t low = 0, high = 1ULL << 32;

	while (high - low > 1) {
		uint64_t mid = (low + high) / 2;

		if (mid * mid <= n)
			low = mid;
		else
			high = mid;
	}
	return low;
}

/* The error of t of n > 0, as a part of 1 in UNIT. */
static uint64_t error_of(uint64_t t, uint64_t n)
{
	double all = (double)n + Z_SQUARE, p = ((double)t + Z_SQUARE / 2) / all;
	uint64_t deviation = root((uint64_t)(p * (1 - p) / all * UNIT * UNIT));
	uint64_t said = t * UNIT / n, centre = (uint64_t)(p * UNIT);

	return (uint64_t)(Z * (double)deviation) + (said > centre ? said - centre : centre - said) +
	       1;
}

uint64_t reclaimer_used_at_most(const struct reclaimer *r)
{
	uint64_t pages = 0;
	struct gmem_stats gs;

	gmem_stats(r->gm, &gs);
	for (enum page_state state = 0; state < PG_NR_STATES; state++)
		if (state == PG_PRIVATE || is_away(state))
			pages += gs.s2.pages[state];
	return pages;
}

void reclaimer_estimate(struct reclaimer *r)
{
	uint64_t touched = 0, told = 0, pages = reclaimer_used_at_most(r);

	for (unsigned int i = 0; i < r->nr_drawn; i++) {
		bool one;

		if (!is_told(r, &r->drawn[i], &one))
			continue;
		told++;
		touched += one;
	}
	__atomic_store_n(&r->stats.working_set_pages, told ? pages * touched / told : pages,
			 __ATOMIC_RELAXED);
	__atomic_store_n(&r->stats.working_set_error_pages,
			 told ? min_u64(pages, pages * error_of(touched, told) / UNIT) : pages,
			 __ATOMIC_RELAXED);
}
