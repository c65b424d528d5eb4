/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include "budget.h"

#define KIB_PER_PAGE (QUIRE_PAGE_SIZE / KiB)

/*
 * A batch is 1/16 of what is free above low, or less, so that many VMs may grow at once.  A VM
 * hears how many pages it gets, and so would learn how much memory is free, which others use.  So
 * a batch has three significant bits, as 4, 5, 6, 7 times a power of two.
 */
#define BATCH_DIVISOR 16u

static uint64_t isqrt(uint64_t x)
{
	uint64_t r = 0;

	for (uint64_t bit = 1ULL << 31; bit; bit >>= 1)
		if ((r | bit) * (r | bit) <= x)
			r |= bit;
	return r;
}

/* Computes what Linux's init_per_zone_wmark_min() and __setup_per_zone_wmarks() do. */
static void set_watermarks(struct budget *b)
{
	uint64_t min_kib = isqrt(b->memory_pages * KIB_PER_PAGE * 16);
	uint64_t min = min_u64(max_u64(min_kib, 128), 262144) / KIB_PER_PAGE;
	uint64_t d;

	b->min_pages = min_u64(min, b->memory_pages / 32);
	d = max_u64(b->min_pages / 4, b->memory_pages / 1000);
	b->low_pages = b->min_pages + d;
	b->high_pages = b->min_pages + 2 * d;
}

void budget_init(struct budget *b, uint64_t memory_pages)
{
	*b = (struct budget){ .memory_pages = memory_pages };
	set_watermarks(b);
}

void budget_resize(struct budget *b, uint64_t memory_pages)
{
	b->memory_pages = memory_pages;
	set_watermarks(b);
}

uint64_t budget_free(const struct budget *b)
{
	return b->memory_pages > b->used_pages ? b->memory_pages - b->used_pages : 0;
}

/* How many pages are free above a watermark. */
static uint64_t above(const struct budget *b, uint64_t watermark)
{
	uint64_t free = budget_free(b);

	return free > watermark ? free - watermark : 0;
}

static uint64_t batch(const struct budget *b)
{
	uint64_t pages = min_u64(above(b, b->low_pages) / BATCH_DIVISOR, BUDGET_BATCH_MAX);
	unsigned int rest = pages > 7 ? 61 - (unsigned int)__builtin_clzll(pages) : 0;

	return pages >> rest << rest;
}

int budget_charge_overhead(struct budget *b, struct budget_vm *vm, uint64_t pages)
{
	if (pages > above(b, b->min_pages))
		return -ENOMEM;
	vm->overhead_pages = pages;
	b->used_pages += pages;
	return 0;
}

void budget_set_overhead(struct budget *b, struct budget_vm *vm, uint64_t pages)
{
	b->used_pages += pages - vm->overhead_pages;
	vm->overhead_pages = pages;
}

uint64_t budget_grant(struct budget *b, struct budget_vm *vm, uint64_t need)
{
	uint64_t pages = max_u64(need, batch(b));

	if (need > above(b, b->min_pages))
		return 0;
	vm->credit_pages += pages;
	b->used_pages += pages;
	return pages;
}

uint64_t budget_return(struct budget *b, struct budget_vm *vm, uint64_t pages)
{
	pages = min_u64(pages, vm->credit_pages);
	vm->credit_pages -= pages;
	b->used_pages -= pages;
	return pages;
}

void budget_release(struct budget *b, struct budget_vm *vm)
{
	b->used_pages -= vm->credit_pages + vm->overhead_pages;
	*vm = (struct budget_vm){ 0 };
}

void budget_readmit(struct budget *b, struct budget_vm *vm, uint64_t credits, uint64_t overhead)
{
	*vm = (struct budget_vm){ .credit_pages = credits, .overhead_pages = overhead };
	b->used_pages += credits + overhead;
}

uint64_t budget_charge_store(struct budget *b, uint64_t frames)
{
	frames = min_u64(frames, above(b, b->min_pages / 2));
	b->used_pages += frames;
	return frames;
}

void budget_uncharge_store(struct budget *b, uint64_t frames)
{
	b->used_pages -= frames;
}
