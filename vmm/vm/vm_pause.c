/* SPDX-License-Identifier: MIT */
/*
 * Taking vCPUs out of the guest: for their registers, for a pause, for the end.
 *
 * A vCPU is out of the guest when its thread says so under vm->lock: by `state_ready`, `parked` or
 * `done`.  The main loop asks for it with vcpu_kick(), and waits on vm->changed for a bounded time:
 * a vCPU may be in KVM_RUN until its page comes, or in a device until somebody reads the guest's
 * output.
 *
 * A pause is a level, not an event.  vCPUs obey vm->paused.  A vCPU that is late obeys it when it
 * leaves the guest, and nothing has to be undone if that takes longer than somebody waited.  No
 * vCPU goes back into the guest during a pause, because:
 *
 *   1. vm->paused is set before the kick, and a vCPU reads it after it has taken the kick.
 *   2. A parked vCPU leaves vcpu_park() early only for a request.  Requests are made under vm->lock
 *      and set immediate_exit, so KVM_RUN returns without entering the guest.  The vCPU serves the
 *      request and parks again.
 *   3. Only the vCPU itself clears `parked`.  If a pause follows a resume quickly, `parked` is
 *      still set, and that is true: the vCPU has not moved.
 *
 * There are several reasons for a pause, and the guest runs when none is left: vm->held has a bit
 * for each, and vm->paused says whether there are any.
 *
 * A pause stops the guest's processors and nothing else.  KVM's timers go on, and their interrupts
 * wait.  The pager may finish what it began.  The reader of our output goes on.
 */
#include <errno.h>
#include <signal.h>
#include "mmu/base/sanitized.h"
#include "vm_impl.h"

/* A parked vCPU leaves for these.  Not for VCPU_PARK: a second pause may come before it parks. */
#define WHILE_PARKED (VCPU_STATE | VCPU_REST | VCPU_STOP)

/* Ask a vCPU for its registers, and for *rest unless that is NULL. */
static int ask_vcpu(struct vm *vm, unsigned int cpu, unsigned int timeout_ms,
		    struct vcpu_state *state, struct silence_cpu *rest)
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
		vcpu_kick(vcpu, rest ? VCPU_REST : VCPU_STATE);
	pthread_cond_broadcast(&vm->unpark);
	while (!vcpu->state_ready && !vcpu->done && !ret)
		ret = pthread_cond_timedwait(&vm->changed, &vm->lock.mutex, &until);
	ret = vcpu->state_ready ? 0 : -ETIMEDOUT;
	if (!ret)
		*state = vcpu->state;
	if (!ret && rest)
		*rest = vcpu->rest;
	unlock(&vm->lock);
	return ret;
}

int vm_vcpu_state(struct vm *vm, unsigned int cpu, unsigned int timeout_ms,
		  struct vcpu_state *state)
{
	return ask_vcpu(vm, cpu, timeout_ms, state, NULL);
}

int vm_vcpu_rest(struct vm *vm, unsigned int cpu, unsigned int timeout_ms, struct vcpu_state *state,
		 struct silence_cpu *rest)
{
	return ask_vcpu(vm, cpu, timeout_ms, state, rest);
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

/* Is every vCPU out of the guest?  Caller holds vm->lock. */
static bool all_out(const struct vm *vm)
{
	for (unsigned int i = 0; i < vm->nr_vcpus; i++)
		if (vm->vcpu[i].thread.started && !vm->vcpu[i].done && !vm->vcpu[i].parked)
			return false;
	return true;
}

int vm_hold(struct vm *vm, enum vm_hold why, unsigned int timeout_ms)
{
	struct timespec until = ns_to_timespec(monotonic_ns() + timeout_ms * NS_PER_MS);
	int ret = 0;

	lock(&vm->lock);
	vm->held |= why;
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
	return ret;
}

void vm_release(struct vm *vm, enum vm_hold why)
{
	lock(&vm->lock);
	vm->held &= ~(unsigned int)why;
	atomic_store(&vm->paused, vm->held);
	pthread_cond_broadcast(&vm->unpark);
	unlock(&vm->lock);
	vm_virtio_wake(vm);
}

static void on_audit_fault(void *ctx, const char *what)
{
	vm_end(ctx, QUIRE_STATUS_HOST, "the audit of guest memory: %s", what);
}

/* A build that looks for bugs compares all books of guest memory at each pause. */
static void audit(struct vm *vm)
{
	if (QUIRE_SANITIZED)
		gmem_audit(vm->gm, on_audit_fault, vm);
}

int vm_pause(struct vm *vm, unsigned int timeout_ms)
{
	int ret = vm_hold(vm, VM_HOLD_PAUSE, timeout_ms);

	if (!ret && timeout_ms)
		vm_merge_take_sample(vm);
	if (!ret)
		audit(vm);
	vm_virtio_pause(vm, true);
	return ret;
}

/* The devices go on before the guest does. */
static void go_on(struct vm *vm, enum vm_hold why)
{
	if (!(vm->held & ~(unsigned int)why))
		vm_virtio_pause(vm, false);
	vm_release(vm, why);
}

void vm_resume(struct vm *vm)
{
	go_on(vm, VM_HOLD_PAUSE);
}

void vm_suspend(struct vm *vm, bool on)
{
	atomic_store(&vm->to_be_suspended, on);
	vm_wake(vm);
}

void vm_suspend_tick(struct vm *vm)
{
	bool on = atomic_load(&vm->to_be_suspended);

	if (on == !!(vm->held & VM_HOLD_SUSPEND))
		return;
	if (on) {
		vm_hold(vm, VM_HOLD_SUSPEND, 0);
		vm_virtio_pause(vm, true);
	} else {
		go_on(vm, VM_HOLD_SUSPEND);
	}
}

bool vm_is_suspended(struct vm *vm)
{
	bool suspended;

	lock(&vm->lock);
	suspended = vm->held & VM_HOLD_SUSPEND && all_out(vm);
	unlock(&vm->lock);
	return suspended;
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
	if (vm->held)
		state = !all_out(vm)		    ? VM_PAUSING :
			vm->held == VM_HOLD_SUSPEND ? VM_SUSPENDED :
						      VM_PAUSED;
	unlock(&vm->lock);
	return state;
}
