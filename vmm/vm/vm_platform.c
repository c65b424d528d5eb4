/* SPDX-License-Identifier: MIT */
/*
 * The platform of a VM: the devices of vmm/dev/platform.h, and what it means for the VM when a
 * guest powers it off or resets it.
 */
#include <errno.h>
#include <string.h>
#include <time.h>
#include "vm_impl.h"

static void on_power_off(void *ctx)
{
	vm_end(ctx, 0, NULL);
}

/* The VM's process ends, and the launcher starts another one (launch_reset.c). */
static void on_reset(void *ctx)
{
	vm_end_reset(ctx);
}

bool vm_was_reset(const struct vm *vm)
{
	return vm->was_reset;
}

/* A vCPU's thread: where the kernel is that has panicked is the crash report's to tell. */
static void on_panic(void *ctx)
{
	struct vm *vm = ctx;
	struct crash crash = {
		.what = "the guest's kernel panicked",
		.hint = "its own last lines say why; below is where it told us, by port 0x505",
	};

	for (unsigned int i = 0; i < vm->nr_vcpus; i++)
		if (pthread_equal(vm->vcpu[i].thread.id, pthread_self()))
			vcpu_crash(&vm->vcpu[i], &crash);
}

static uint64_t utc_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

int vm_platform_create(struct vm *vm, struct quire_error *err)
{
	int ret;

	vm->power = (struct power){
		.off = on_power_off, .reset = on_reset, .panic = on_panic, .ctx = vm
	};
	vm->cmos.utc_ns = utc_ns;
	ret = pm_add(&vm->ports, &vm->power);
	if (!ret)
		ret = power_ports_add(&vm->ports, &vm->power);
	if (!ret)
		ret = i8042_add(&vm->ports, &vm->power);
	if (!ret)
		ret = cmos_add(&vm->ports, &vm->cmos, vm->ram, vm->nr_ram, vm->config.nr_vcpus);
	return ret ? quire_fail(err, ret, "cannot create devices: %s", strerror(-ret)) : 0;
}
