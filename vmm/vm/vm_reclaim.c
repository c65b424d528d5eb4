/* SPDX-License-Identifier: MIT */
/*
 * A VM's reclaimer.
 *
 * It frees memory for accesses that wait, so it is stopped when no vCPU runs the guest any more,
 * and before anybody reads the last counters.  The machine may ask for memory until the VM is
 * destroyed: so the reclaimer is there until then.  Its thread uses the keeper, which outlives it.
 */
#include <errno.h>
#include "mmu/reclaim/reclaimer.h"
#include "sandbox.h"
#include "vm_impl.h"

static void on_reclaimer_start(void *ctx)
{
	(void)ctx;
	sandbox_thread(SANDBOX_RECLAIMER);
}

static void tell(void *ctx, const struct reclaim_record *record)
{
	struct reclaim_record all = *record;
	struct vm *vm = ctx;

	all.suspended = vm_is_suspended(vm);
	vm->config.tell_reclaim(vm->config.ctx, &all);
}

/* The keeper finds what needs no frame. */
static bool give_back(void *ctx)
{
	struct vm *vm = ctx;

	if (keeper_mode(vm->merge.keeper) == KEEPER_OFF)
		return false;
	vm->reclaim_pass = keeper_request_pass(vm->merge.keeper);
	return true;
}

static uint64_t given_back(void *ctx, bool *busy)
{
	struct vm *vm = ctx;

	*busy = keeper_passes_done(vm->merge.keeper) < vm->reclaim_pass;
	return keeper_found_pages(vm->merge.keeper);
}

int vm_reclaim_create(struct vm *vm, struct quire_error *err)
{
	struct reclaimer_config config = {
		.gm = vm->gm,
		.seed = 1,
		.rule = vm->config.tendency,
		.swappiness = vm->config.swappiness,
		.give_back = give_back,
		.given_back = given_back,
		.on_thread_start = on_reclaimer_start,
		.tell = vm->config.tell_reclaim ? tell : NULL,
		.ctx = vm,
	};

	config.only_by_hand = vm->config.reclaim == VM_RECLAIM_OFF;
	if (config.only_by_hand && !vm->config.swap.unit)
		return 0;
	config.policy = reclaim_policies[config.only_by_hand ? 0 : vm->config.reclaim];
	config.tell = config.only_by_hand ? NULL : config.tell;
	return reclaimer_create(&config, &vm->reclaimer, err);
}

int vm_reclaim_start(struct vm *vm, struct quire_error *err)
{
	return vm->reclaimer ? reclaimer_start(vm->reclaimer, err) : 0;
}

void vm_reclaim_stop(struct vm *vm)
{
	if (vm->reclaimer)
		reclaimer_stop(vm->reclaimer);
}

void vm_ask_reclaim(struct vm *vm, uint64_t pages)
{
	if (vm->reclaimer)
		reclaimer_ask(vm->reclaimer, pages);
}

int vm_begin_swap(struct vm *vm, gfn_t gfn, uint64_t nr, bool all, uint64_t *ticket)
{
	if (!vm->reclaimer)
		return -ENODEV;
	*ticket =
		reclaimer_begin_swap(vm->reclaimer, gfn, nr, all ? GMEM_NR_WATCHERS : GMEM_BY_HAND);
	return *ticket ? 0 : -EBUSY;
}

int vm_end_swap(struct vm *vm, uint64_t ticket, struct gmem_swapped *out)
{
	return vm->reclaimer ? reclaimer_end_swap(vm->reclaimer, ticket, out) : -ENODEV;
}

void vm_reclaim_look(const struct vm *vm, gfn_t gfn, struct reclaimer_page *out)
{
	*out = (struct reclaimer_page){ .chosen_since = RECLAIM_NEW };
	if (vm->reclaimer)
		reclaimer_look(vm->reclaimer, gfn, out);
}

void vm_reclaim_info(const struct vm *vm, struct vm_info *out)
{
	out->reclaim_policy = vm->config.reclaim;
	out->tendency = vm->config.tendency;
	out->swappiness = vm->config.swappiness;
	if (vm->reclaimer)
		reclaimer_stats(vm->reclaimer, &out->reclaim);
}
