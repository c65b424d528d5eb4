/* SPDX-License-Identifier: MIT */
/*
 * A VM's keeper, and what the VM gives it: KVM's log of writes, the way to the machine, and where
 * the guest keeps its page tables.
 *
 * Page tables.  Only the vCPUs' registers tell where they are, and only the main loop may ask vCPUs
 * for registers.  So the keeper asks the main loop for a sample (sample_wanted), and meanwhile uses
 * the last one: tables do not move often.  A sample is the paging registers of at most
 * VM_SAMPLE_CPUS vCPUs.  If there are more, each sample goes on where the last one ended.  It ends
 * early at a vCPU that does not answer within SAMPLE_MS.  The keeper asks for a sample at most once
 * in SAMPLE_NS.  One is taken at each pause, too: the registers cannot change during the pause, so
 * no vCPU has to be woken up for another.
 *
 * The end.  The keeper is destroyed after all vCPUs have left KVM, because it may have to wait for
 * them there, and before anybody reads the last counters, so that these are exact.
 */
#include "mmu/merge/guest_tables.h"
#include <string.h>
#include "message.h"
#include "sandbox.h"
#include "vm_impl.h"

#define SAMPLE_NS NS_PER_S
#define SAMPLE_MS 10

/* ---- what the guest wrote ---- */

static struct gfn_range log_range(void *ctx, unsigned int slot)
{
	return kvm_slot_range(&((struct vm *)ctx)->kvm, slot);
}

static int log_watch(void *ctx, unsigned int slot, bool on)
{
	return kvm_slot_log(&((struct vm *)ctx)->kvm, slot, on);
}

static int log_fetch(void *ctx, unsigned int slot, uint64_t *bitmap)
{
	return kvm_slot_fetch(&((struct vm *)ctx)->kvm, slot, bitmap);
}

/* ---- where its page tables are ---- */

/* Take a sample, from the vCPU on at which the last one ended.  Returns how many vCPUs it has. */
static unsigned int sample(struct vm *vm, struct walk_cpu *cpu)
{
	unsigned int nr = vm->nr_vcpus < VM_SAMPLE_CPUS ? vm->nr_vcpus : VM_SAMPLE_CPUS;
	unsigned int got = 0;

	for (; got < nr; got++) {
		struct vcpu_state state;

		if (vm_vcpu_state(vm, vm->merge.next_cpu, SAMPLE_MS, &state))
			break;
		vcpu_walk_cpu(vm, &state, &cpu[got]);
		vm->merge.next_cpu = (vm->merge.next_cpu + 1) % vm->nr_vcpus;
	}
	return got;
}

void vm_merge_take_sample(struct vm *vm)
{
	struct walk_cpu cpu[VM_SAMPLE_CPUS];
	unsigned int nr = sample(vm, cpu);

	lock(&vm->lock);
	if (nr) {
		memcpy(vm->merge.cpu, cpu, nr * sizeof(*cpu));
		vm->merge.nr_cpus = nr;
	}
	unlock(&vm->lock);
}

void vm_merge_sample(struct vm *vm)
{
	if (!atomic_load(&vm->merge.sample_wanted) || atomic_load(&vm->stopping) ||
	    (atomic_load(&vm->paused) && vm->merge.nr_cpus))
		return;
	atomic_store(&vm->merge.sample_wanted, false);
	vm_merge_take_sample(vm);
}

static void ask_for_sample(struct vm *vm, bool have_one)
{
	uint64_t now = monotonic_ns();

	if (have_one && now - vm->merge.asked_ns < SAMPLE_NS)
		return;
	vm->merge.asked_ns = now;
	atomic_store(&vm->merge.sample_wanted, true);
	vm_wake(vm);
}

static bool page_tables(void *ctx, void (*each)(void *arg, gfn_t gfn), void *arg)
{
	struct walk_cpu cpu[VM_SAMPLE_CPUS];
	struct vm *vm = ctx;
	unsigned int nr;

	lock(&vm->lock);
	nr = vm->merge.nr_cpus;
	memcpy(cpu, vm->merge.cpu, nr * sizeof(*cpu));
	unlock(&vm->lock);
	ask_for_sample(vm, nr);
	guest_tables(vm->gm, cpu, nr, each, arg);
	return nr;
}

/* ---- the keeper's life ---- */

static void on_keeper_start(void *ctx)
{
	(void)ctx;
	sandbox_thread(SANDBOX_KEEPER);
}

static void on_false_segment(void *ctx)
{
	(void)ctx;
	message("the machine offered shared frames that others could change: none of them is "
		"mapped, and no pages are shared any more");
}

static int join(void *ctx)
{
	struct vm *vm = ctx;

	return vm->config.join(vm->config.ctx);
}

int vm_merge_create(struct vm *vm, struct quire_error *err)
{
	struct keeper_config config = {
		.gm = vm->gm,
		.mode = vm->config.merge,
		.pages_per_s = vm->config.merge_pages_per_s,
		.log = &vm->merge.log,
		.join = vm->config.join ? join : NULL,
		.page_tables = page_tables,
		.on_thread_start = on_keeper_start,
		.on_false_segment = on_false_segment,
		.ctx = vm,
	};

	vm->merge.log = (struct keeper_log){
		.nr_regions = vm->kvm.nr_slots,
		.range = log_range,
		.watch = log_watch,
		.fetch = log_fetch,
		.ctx = vm,
	};
	return keeper_create(&config, &vm->merge.keeper, err);
}

int vm_merge_start(struct vm *vm, struct quire_error *err)
{
	return keeper_start(vm->merge.keeper, err);
}

void vm_merge_stop(struct vm *vm)
{
	if (!vm->merge.keeper)
		return;
	keeper_stats(vm->merge.keeper, &vm->merge.last);
	vm->merge.last_passes = keeper_passes_done(vm->merge.keeper);
	keeper_destroy(vm->merge.keeper);
	vm->merge.keeper = NULL;
}

/* ---- what others may ask ---- */

void vm_set_merge(struct vm *vm, enum keeper_mode mode)
{
	keeper_set_mode(vm->merge.keeper, mode);
}

uint64_t vm_merge_pass(struct vm *vm)
{
	return keeper_request_pass(vm->merge.keeper);
}

/*
 * The reasons were counted a moment before the private pages.  Make them add up: pages that became
 * private since are new, and of pages that are not private any more some reason is left out.
 */
static void fit_reasons(struct keeper_stats *stats, uint64_t private_pages)
{
	for (unsigned int r = 0; r < NOTE_NR_REASONS; r++) {
		if (r == NOTE_NEW)
			continue;
		stats->reason_pages[r] = min_u64(stats->reason_pages[r], private_pages);
		private_pages -= stats->reason_pages[r];
	}
	stats->reason_pages[NOTE_NEW] = private_pages;
}

void vm_merge_info(struct vm *vm, struct vm_info *out)
{
	snprintf(out->domain, sizeof(out->domain), "%s", vm->domain);
	if (vm->merge.keeper) {
		keeper_stats(vm->merge.keeper, &out->merge);
		out->merge_passes = keeper_passes_done(vm->merge.keeper);
	} else {
		out->merge = vm->merge.last;
		out->merge_passes = vm->merge.last_passes;
	}
	fit_reasons(&out->merge, out->mem.s2.pages[PG_PRIVATE]);
}
