/* SPDX-License-Identifier: MIT */
/*
 * A VM's counters in one record.
 *
 * After vm_run() the record is exact.  While the guest runs, each number is right by itself, but
 * they are read one after the other, so the sum of the exits may be off by a few.  The states of
 * pages are of one moment: gmem counts them under its lock.
 *
 * Processor time comes from the clocks of the process and of its vCPU threads, and includes the
 * guest's.  Reading them opens no file, so it works in a process that has no /proc.
 */
#include <pthread.h>
#include <string.h>
#include <unistd.h>
#include "sandbox.h"
#include "vm_impl.h"
#include "vm_shadow.h"

/* Caller holds vm->lock, so that a thread that is not done does not end, and has a clock. */
static uint64_t vcpu_cpu_ns(const struct vcpu *vcpu)
{
	clockid_t clock;

	if (!vcpu->thread.started || vcpu->done || pthread_getcpuclockid(vcpu->thread.id, &clock))
		return vcpu->cpu_ns;
	return clock_ns(clock);
}

static uint64_t count_of(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static void add_vcpu(const struct vcpu *vcpu, struct vm_info *out)
{
	for (unsigned int r = 0; r < KVM_NR_EXITS; r++)
		out->exits[r] += count_of(&vcpu->exits[r]);
	for (unsigned int i = 0; i < EMULATE_NR_ROWS; i++)
		out->finished[i] += count_of(&vcpu->finished[i]);
	out->interrupted_runs += count_of(&vcpu->interrupts);
	out->mmio_on_ram += count_of(&vcpu->mmio_on_ram);
	out->vcpu_cpu_ns += vcpu_cpu_ns(vcpu);
}

static void add_shadow(const struct shadow_exits *count, struct shadow_exits *out)
{
	out->hidden_faults += count_of(&count->hidden_faults);
	out->true_faults += count_of(&count->true_faults);
	out->interrupts += count_of(&count->interrupts);
	out->flushes += count_of(&count->flushes);
	for (unsigned int v = 0; v < VM_NR_EXCEPTIONS; v++)
		out->exceptions[v] += count_of(&count->exceptions[v]);
	for (unsigned int i = 0; i < MONITOR_NR_ROWS; i++)
		out->emulated[i] += count_of(&count->emulated[i]);
}

void vm_info(struct vm *vm, struct vm_info *out)
{
	memset(out, 0, sizeof(*out));
	memcpy(out->name, vm->name, sizeof(out->name));
	out->pid = (uint32_t)getpid();
	out->state = vm_state(vm);
	out->exit_status = (uint32_t)vm->status;
	out->nr_vcpus = vm->nr_vcpus;
	out->sandbox = sandbox_pieces();
	out->is_copy = vm->config.is_copy;
	out->ram_bytes = vm->config.ram_bytes;
	out->now_ns = monotonic_ns();
	out->setup_ns = vm->setup_ns;
	out->run_ns = vm->run_ns ? vm->run_ns : out->now_ns - vm->run_start_ns;
	out->cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	out->paging = vm->config.paging;
	gmem_stats(vm->gm, &out->mem);
	gmem_shadow_stats(vm->gm, &out->shadow_mmu);
	vm_merge_info(vm, out);
	vm_reclaim_info(vm, out);
	vm_balloon_record(vm, &out->balloon);
	out->balloon.touches = out->mem.balloon_touches;
	vm_disk_info(vm, out);
	vm_net_info(vm, out);
	out->unclaimed_ports = atomic_load(&vm->ports.unclaimed);
	out->unclaimed_mmio = atomic_load(&vm->mmio.unclaimed);
	out->ignored_texts = text_port_ignored(vm->text_port);
	lock(&vm->lock);
	for (unsigned int i = 0; i < vm->nr_vcpus; i++) {
		add_vcpu(&vm->vcpu[i], out);
		if (vm->vcpu[i].shadow)
			add_shadow(&vm->vcpu[i].shadow->count, &out->shadow);
	}
	unlock(&vm->lock);
}
