/* SPDX-License-Identifier: MIT */
/*
 * Taking vCPUs out of the guest: for their registers, for a pause, for the end.
 *
 * A vCPU is out of the guest when its thread says so under vm->lock: `state_ready`, `parked`
 * or `done`.  The main loop asks (vcpu_kick), and waits on vm->changed for a bounded time,
 * because a vCPU may sit in KVM_RUN until its page comes, or in a device until somebody
 * reads the guest's output.
 *
 * A pause is a level, not an event: vm->paused is what vCPUs obey, whoever is late obeys it
 * when it comes out, and nothing has to be undone if it is not heard in time.  Why no vCPU slips
 * back into the guest while paused:
 *
 *   1. vm->paused is set before the kick, and a vCPU that takes the kick reads it after.
 *   2. A parked vCPU leaves vcpu_park() early only for a request that was made under vm->lock,
 *      thus with immediate_exit set too: KVM_RUN returns without entering the guest, the
 *      request is served, and the vCPU parks again.
 *   3. `parked` is cleared by the vCPU alone.  After a resume and a pause in quick succession it
 *      still stands, rightly: the vCPU has not moved.
 *
 * What a pause does not stop is what is not the guest's processor: KVM's timers (their interrupts
 * wait), the pager, which may finish what it began, and the reader of our output.
 */
#include <errno.h>
#include <signal.h>
#include "vm_impl.h"

/* What a parked vCPU leaves for.  Not VCPU_PARK: a second pause may have come before it parked. */
#define WHILE_PARKED (VCPU_STATE | VCPU_STOP)

int vm_vcpu_state(struct vm *vm, unsigned int cpu, unsigned int timeout_ms,
		  struct vcpu_state *state)
{
	struct timespec until = ns_to_timespec(monotonic_ns() + timeout_ms * NS_PER_MS);
	struct vcpu *vcpu;
	int ret = 0;

	if (cpu >= vm->nr_vcpus)
		return -ENOENT;
	vcpu = &vm->vcpu[cpu];
	lock(&vm->lock);
	vcpu->state_ready = false;
	if (!vcpu->done)
		vcpu_kick(vcpu, VCPU_STATE);
	pthread_cond_broadcast(&vm->unpark);
	while (!vcpu->state_ready && !vcpu->done && !ret)
		ret = pthread_cond_timedwait(&vm->changed, &vm->lock.mutex, &until);
	ret = vcpu->state_ready ? 0 : -ETIMEDOUT;
	if (!ret)
		*state = vcpu->state;
	unlock(&vm->lock);
	return ret;
}

void vcpu_park(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;

	lock(&vm->lock);
	vcpu->parked = true;
	pthread_cond_broadcast(&vm->changed);
	while (atomic_load(&vm->paused) && !atomic_load(&vm->stopping) &&
	       !(atomic_load(&vcpu->requests) & WHILE_PARKED))
		pthread_cond_wait(&vm->unpark, &vm->lock.mutex);
	vcpu->parked = false;
	unlock(&vm->lock);
}

/* With vm->lock held: is every vCPU out of the guest? */
static bool all_out(const struct vm *vm)
{
	for (unsigned int i = 0; i < vm->nr_vcpus; i++)
		if (vm->vcpu[i].thread.started && !vm->vcpu[i].done && !vm->vcpu[i].parked)
			return false;
	return true;
}

int vm_pause(struct vm *vm, unsigned int timeout_ms)
{
	struct timespec until = ns_to_timespec(monotonic_ns() + timeout_ms * NS_PER_MS);
	int ret = 0;

	lock(&vm->lock);
	atomic_store(&vm->paused, true);
	for (unsigned int i = 0; i < vm->nr_vcpus; i++) {
		struct vcpu *vcpu = &vm->vcpu[i];

		if (vcpu->thread.started && !vcpu->done && !vcpu->parked)
			vcpu_kick(vcpu, VCPU_PARK);
	}
	while (!all_out(vm) && !vm->ending && !ret)
		ret = pthread_cond_timedwait(&vm->changed, &vm->lock.mutex, &until);
	ret = all_out(vm) || vm->ending ? 0 : -ETIMEDOUT;
	unlock(&vm->lock);
	if (!ret && timeout_ms)
		vm_merge_take_sample(vm);
	vm_balloon_pause(vm, true);
	return ret;
}

void vm_resume(struct vm *vm)
{
	vm_balloon_pause(vm, false);
	lock(&vm->lock);
	atomic_store(&vm->paused, false);
	pthread_cond_broadcast(&vm->unpark);
	unlock(&vm->lock);
}

void vm_stop(struct vm *vm)
{
	vm_end(vm, 128 + SIGTERM, "stopped by quire kill");
}

enum vm_state vm_state(struct vm *vm)
{
	enum vm_state state = VM_RUNNING;

	if (vm->run_ns)
		return VM_ENDED;
	lock(&vm->lock);
	if (atomic_load(&vm->paused))
		state = all_out(vm) ? VM_PAUSED : VM_PAUSING;
	unlock(&vm->lock);
	return state;
}
