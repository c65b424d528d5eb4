/* SPDX-License-Identifier: MIT */
/*
 * The working set: how many of its private pages a guest uses, by samples.
 *
 * Some private pages are drawn at random, and their touches are forgotten.  A period later one sees
 * how many of them were touched.  C. A. Waldspurger, "Memory Resource Management in VMware ESX
 * Server", OSDI 2002, section 5.3.  So few faults cost a guest nothing that could be measured, and
 * the error does not depend on its size.
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

void reclaimer_draw(struct reclaimer *r)
{
	struct stage2_page page;

	r->nr_drawn = 0;
	for (unsigned int i = 0; i < DRAWS * RECLAIMER_DRAWN && r->nr_drawn < RECLAIMER_DRAWN;
	     i++) {
		gfn_t gfn = draw(r);

		if (gmem_lookup(r->gm, gfn, &page) || page.state != PG_PRIVATE)
			continue;
		gmem_forget_touches(r->gm, GMEM_WORKING_SET, gfn, 1);
		r->drawn[r->nr_drawn++] = gfn;
	}
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

void reclaimer_estimate(struct reclaimer *r)
{
	uint64_t touched = 0, still = 0, pages;
	struct gmem_touched t;
	struct gmem_stats gs;

	for (unsigned int i = 0; i < r->nr_drawn; i++) {
		gmem_touched(r->gm, GMEM_WORKING_SET, r->drawn[i], 1, &t);
		still += t.resident[0];
		touched += t.touched[0];
	}
	gmem_stats(r->gm, &gs);
	pages = gs.s2.pages[PG_PRIVATE];
	__atomic_store_n(&r->stats.working_set_pages, still ? pages * touched / still : pages,
			 __ATOMIC_RELAXED);
	__atomic_store_n(&r->stats.working_set_error_pages,
			 still ? min_u64(pages, pages * error_of(touched, still) / UNIT) : pages,
			 __ATOMIC_RELAXED);
}
