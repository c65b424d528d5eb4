/* SPDX-License-Identifier: MIT */
/*
 * A VM's reclaimer.
 *
 * It frees memory for accesses that wait, so it is stopped when no vCPU runs the guest any more,
 * and before anybody reads the last counters.  The machine may ask for memory until the VM is
 * destroyed: so the reclaimer is there until then.
 */
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

int vm_reclaim_create(struct vm *vm, struct quire_error *err)
{
	struct reclaimer_config config = {
		.gm = vm->gm,
		.seed = 1,
		.on_thread_start = on_reclaimer_start,
		.tell = vm->config.tell_reclaim ? tell : NULL,
		.ctx = vm,
	};

	if (vm->config.reclaim == VM_RECLAIM_OFF)
		return 0;
	config.policy = reclaim_policies[vm->config.reclaim];
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

void vm_reclaim_info(const struct vm *vm, struct vm_info *out)
{
	out->reclaim_policy = vm->config.reclaim;
	if (vm->reclaimer)
		reclaimer_stats(vm->reclaimer, &out->reclaim);
}
