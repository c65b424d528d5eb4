/* SPDX-License-Identifier: MIT */
/*
 * A VM's reclaimer.
 *
 * It frees memory for accesses that wait, so it is stopped when no vCPU runs the guest any more,
 * and before anybody reads the last counters.
 */
#include "mmu/reclaim/reclaimer.h"
#include "sandbox.h"
#include "vm_impl.h"

static void on_reclaimer_start(void *ctx)
{
	(void)ctx;
	sandbox_thread(SANDBOX_RECLAIMER);
}

int vm_reclaim_create(struct vm *vm, struct quire_error *err)
{
	struct reclaimer_config config = {
		.gm = vm->gm,
		.seed = 1,
		.on_thread_start = on_reclaimer_start,
		.ctx = vm,
	};

	if (vm->config.reclaim == VM_RECLAIM_OFF)
		return 0;
	config.policy = reclaim_policies[vm->config.reclaim];
	return reclaimer_create(&config, &vm->reclaim.reclaimer, err);
}

int vm_reclaim_start(struct vm *vm, struct quire_error *err)
{
	return vm->reclaim.reclaimer ? reclaimer_start(vm->reclaim.reclaimer, err) : 0;
}

void vm_reclaim_stop(struct vm *vm)
{
	if (!vm->reclaim.reclaimer)
		return;
	reclaimer_stats(vm->reclaim.reclaimer, &vm->reclaim.last);
	reclaimer_destroy(vm->reclaim.reclaimer);
	vm->reclaim.reclaimer = NULL;
}

void vm_reclaim_info(const struct vm *vm, struct vm_info *out)
{
	out->reclaim_policy = vm->config.reclaim;
	if (vm->reclaim.reclaimer)
		reclaimer_stats(vm->reclaim.reclaimer, &out->reclaim);
	else
		out->reclaim = vm->reclaim.last;
}
