/* SPDX-License-Identifier: MIT */
/*
 * The VMs are weighed against each other.  A tick has four steps.  No step changes what an earlier
 * one decided:
 *
 *   1  look      looks at each VM alone: silence, pressure, what it can spare (balloon_guest.c)
 *   2  reclaim   if the machine fell below low: takes high - free, from the lowest rho first
 *   3  feed      gives memory to guests that run low: what is free above high, or else what a VM
 *                with a lower rho has
 *   4  plenty    releases slowly
 *
 * Between low and high only step 3 takes anything: that is the machine's dead band, like kswapd's.
 *
 * Pages that guests who answer still owe count as free already, so that the same shortage is not
 * asked for twice.  They may bring less than was hoped for, if the guest gave up pages that nothing
 * was behind.  Then the next tick sees a shortage and asks again.
 */
#include "balloon_internal.h"

#define RECLAIM_ROUNDS 64u /* a shortage is shared out in 64 pieces, none below a dead band */
#define PLENTY_DIVISOR 8u  /* a tick releases 1/8 of what is free above plenty */

/* What the steps of a tick share. */
struct round {
	struct balloon_policy *p;
	const struct balloon_machine *m;
	const struct balloon_input *in;
	struct balloon_vm *const *vm;
	unsigned int nr;
	uint64_t free_pages;   /* pages that are free, or on their way */
	uint64_t owed_pages;   /* pages that were released, and that guests have not taken yet */
	uint64_t given_pages;  /* what step 4 gave */
	uint64_t wanted_pages; /* what step 3 wanted */
};

#define NOBODY UINT32_MAX

void balloon_policy_defaults(struct balloon_policy_config *config)
{
	*config = (struct balloon_policy_config){
		.tax_permille = 750,
		.slow_shift = 5,
		.fast_shift = 2,
		.margin_divisor = 16,
		.margin_min_pages = 16 * MiB / QUIRE_PAGE_SIZE,
		.margin_max_pages = 512 * MiB / QUIRE_PAGE_SIZE,
		.cap_divisor = 32,
		.cap_min_pages = MiB / QUIRE_PAGE_SIZE,
		.cap_max_pages = GiB / QUIRE_PAGE_SIZE,
		.band_divisor = 128,
		.band_min_pages = MiB / QUIRE_PAGE_SIZE,
		.band_max_pages = 64 * MiB / QUIRE_PAGE_SIZE,
		.rho_band_permille = 125,
		.plenty_divisor = 32,
		.stale_ns = 10000000000,
		.stuck_ns = 10000000000,
		.cooldown_ns = 30000000000,
		.cooldown_shift_max = 6,
	};
}

void balloon_policy_init(struct balloon_policy *p, const struct balloon_policy_config *config)
{
	*p = (struct balloon_policy){ .config = *config };
}

/* A VM's shares and charge.  weigh() adds `more` pages of active memory to what it has. */
struct weight {
	uint64_t shares, charge;
};

static struct weight weigh(const struct round *r, unsigned int i, uint64_t more)
{
	const struct balloon_plan *plan = &r->vm[i]->plan;

	return (struct weight){ r->in[i].shares,
				balloon_charge(&r->p->config, plan->active_pages + more,
					       plan->resident_pages + more) };
}

/* rho(a) * (1 + band) < rho(b) */
static bool rho_below(struct weight a, struct weight b, uint32_t band_permille)
{
	return (__uint128_t)a.shares * b.charge * (1000 + band_permille) <
	       (__uint128_t)b.shares * a.charge * 1000;
}

/* The VM to take from: of those with room, but not `except`, the one with the lowest rho. */
static unsigned int poorest(const struct round *r, unsigned int except)
{
	unsigned int found = NOBODY;

	for (unsigned int i = 0; i < r->nr; i++) {
		if (i == except || !balloon_room(&r->in[i], r->vm[i]))
			continue;
		if (found == NOBODY || rho_below(weigh(r, i, 0), weigh(r, found, 0), 0))
			found = i;
	}
	return found;
}

/* Take pages from VM i, at least a dead band if there is room.  Returns how many were taken. */
static uint64_t take(const struct round *r, unsigned int i, uint64_t pages,
		     enum balloon_reason reason)
{
	struct balloon_plan *plan = &r->vm[i]->plan;

	pages = min_u64(max_u64(pages, plan->band_pages), balloon_room(&r->in[i], r->vm[i]));
	r->vm[i]->target_pages += pages;
	r->vm[i]->inflated = true;
	plan->taken_pages += pages;
	plan->resident_pages -= pages;
	plan->reason = reason;
	return pages;
}

static void give(struct round *r, unsigned int i, uint64_t pages, enum balloon_reason reason)
{
	struct balloon_plan *plan = &r->vm[i]->plan;

	r->vm[i]->target_pages -= pages;
	plan->given_pages += pages;
	plan->resident_pages += pages;
	plan->active_pages += pages;
	plan->reason = reason;
	r->given_pages += pages;
}

/* Step 1.  Only pages that guests who answer owe count as on their way. */
static void look(struct round *r)
{
	r->free_pages = r->m->free_pages;
	for (unsigned int i = 0; i < r->nr; i++) {
		struct balloon_vm *vm = r->vm[i];
		uint64_t actual = balloon_actual(&r->in[i]);

		balloon_look(&r->p->config, r->m->now_ns, &r->in[i], vm);
		if (vm->plan.answers)
			r->free_pages += less(vm->target_pages, actual);
		r->owed_pages += less(actual, vm->target_pages);
	}
}

/* Why a VM gave nothing though the machine is short. */
static enum balloon_reason excuse(const struct balloon_input *in, const struct balloon_vm *vm)
{
	const struct balloon_plan *plan = &vm->plan;

	if (plan->ceiling_pages < vm->target_pages + plan->band_pages)
		return BALLOON_AT_MINIMUM;
	return balloon_room(in, vm) ? BALLOON_SPARED : BALLOON_NO_SPARE;
}

/* Step 2. */
static void reclaim(struct round *r)
{
	struct balloon_policy *p = r->p;
	uint64_t demand, piece;

	if (r->m->free_pages < r->m->low_pages)
		p->short_of_memory = true;
	else if (r->m->free_pages >= r->m->high_pages)
		p->short_of_memory = false;
	demand = p->short_of_memory ? less(r->m->high_pages, r->free_pages) : 0;
	r->wanted_pages = demand;
	piece = demand / RECLAIM_ROUNDS;
	for (unsigned int i; demand && (i = poorest(r, NOBODY)) != NOBODY;) {
		uint64_t pages = take(r, i, min_u64(piece, demand), BALLOON_RECLAIM);

		r->free_pages += pages;
		demand = less(demand, pages);
	}
	p->unmet_pages = demand;
	for (unsigned int i = 0; r->wanted_pages && i < r->nr; i++)
		if (r->vm[i]->plan.reason == BALLOON_STEADY)
			r->vm[i]->plan.reason = excuse(&r->in[i], r->vm[i]);
}

/* The next guest that runs low: of those not yet served, the one with the highest rho. */
static unsigned int hungriest(const struct round *r)
{
	unsigned int found = NOBODY;

	for (unsigned int i = 0; i < r->nr; i++) {
		if (r->vm[i]->plan.served || !balloon_appetite(&r->in[i], r->vm[i]))
			continue;
		if (found == NOBODY || rho_below(weigh(r, found, 0), weigh(r, i, 0), 0))
			found = i;
	}
	return found;
}

/* Move memory to VM i, a dead band at a time, from VMs whose rho is lower than its own will be. */
static void transfer(struct round *r, unsigned int i, uint64_t pages)
{
	const struct balloon_plan *plan = &r->vm[i]->plan;
	enum balloon_reason why = plan->given_pages ? BALLOON_GIVEN : BALLOON_NOBODY;
	struct weight ours;
	uint64_t moved;

	/* Half of what is above min: VM i may use it before the other VM has given it. */
	pages = min_u64(pages, less(less(r->m->free_pages, r->m->min_pages) / 2, r->given_pages));
	pages = min_u64(pages, less(plan->cap_pages, plan->given_pages));
	while (pages >= plan->band_pages) {
		unsigned int from = poorest(r, i);

		if (from == NOBODY)
			break;
		ours = weigh(r, i, plan->band_pages);
		if (!rho_below(weigh(r, from, 0), ours, r->p->config.rho_band_permille)) {
			why = plan->given_pages ? BALLOON_GIVEN : BALLOON_TAXED;
			break;
		}
		moved = min_u64(take(r, from, 0, BALLOON_RECLAIM), pages);
		give(r, i, moved, why = BALLOON_GIVEN);
		pages -= moved;
	}
	r->vm[i]->plan.reason = why;
}

/* Step 3. */
static void feed(struct round *r)
{
	for (unsigned int i; (i = hungriest(r)) != NOBODY; r->vm[i]->plan.served = true) {
		uint64_t wanted = balloon_appetite(&r->in[i], r->vm[i]);
		uint64_t above = less(r->free_pages, r->m->high_pages + r->owed_pages);
		uint64_t pages = min_u64(wanted, less(above, r->given_pages));

		if (pages)
			give(r, i, pages, BALLOON_GIVEN);
		if (pages < wanted)
			transfer(r, i, wanted - pages);
	}
}

/* Of the VMs with a balloon to release that this tick left alone, the one with the highest rho. */
static unsigned int most_taxed(const struct round *r)
{
	unsigned int found = NOBODY;

	for (unsigned int i = 0; i < r->nr; i++) {
		const struct balloon_vm *vm = r->vm[i];

		if (!vm->plan.may_get || vm->plan.given_pages || vm->plan.taken_pages ||
		    !vm->target_pages)
			continue;
		if (found == NOBODY || rho_below(weigh(r, found, 0), weigh(r, i, 0), 0))
			found = i;
	}
	return found;
}

static void release_slowly(struct round *r, uint64_t budget)
{
	for (unsigned int i; (i = most_taxed(r)) != NOBODY;) {
		const struct balloon_plan *plan = &r->vm[i]->plan;
		uint64_t pages = min_u64(r->vm[i]->target_pages, plan->band_pages);

		if (pages > budget)
			break;
		give(r, i, pages, BALLOON_PLENTY);
		budget -= pages;
	}
}

/* Step 4. */
static void plenty(struct round *r)
{
	uint64_t plenty_pages = r->m->high_pages + r->m->memory_pages / r->p->config.plenty_divisor;
	uint64_t above = less(r->free_pages, plenty_pages + r->owed_pages + r->given_pages);

	if (!r->p->short_of_memory)
		release_slowly(r, above / PLENTY_DIVISOR);
}

void balloon_policy_tick(struct balloon_policy *p, const struct balloon_machine *m,
			 const struct balloon_input *in, struct balloon_vm *const *vm,
			 unsigned int nr)
{
	struct round r = { .p = p, .m = m, .in = in, .vm = vm, .nr = nr };

	look(&r);
	reclaim(&r);
	feed(&r);
	plenty(&r);
	for (unsigned int i = 0; i < nr; i++)
		balloon_log_add(p, m, &in[i], vm[i], r.wanted_pages);
}
