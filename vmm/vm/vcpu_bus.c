/* SPDX-License-Identifier: MIT */
/*
 * What instructions of a guest on shadow tables reach: ports, and the MSRs that the monitor does
 * not keep itself.
 *
 * KVM has some of both: its interrupt controllers' and its timer's ports, and MSRs of its APIC and
 * its processor.  There is no ioctl that does for a guest what these do.  So the instruction is
 * done once more, at CPL 0 of the monitor, where KVM takes it as the guest's and checks it as such.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include "vm_impl.h"
#include "vm_shadow.h"

/* Ports of KVM's 8259s with their ELCRs, its 8254, and its gate: [first, last]. */
static const struct {
	uint16_t first, last;
} kernel_ports[] = {
	{ 0x20, 0x21 }, { 0x40, 0x43 }, { 0x61, 0x61 }, { 0xa0, 0xa1 }, { 0x4d0, 0x4d1 },
};

static bool is_kernels(const struct vcpu *vcpu, uint16_t port)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(kernel_ports) && vcpu->vm->config.irqchip; i++)
		if (port >= kernel_ports[i].first && port <= kernel_ports[i].last)
			return true;
	return false;
}

/* Do it, and nothing else: a kick waits so long.  *regs become those after it.  0 or -errno. */
static int act(struct vcpu *vcpu, enum world_act act, struct kvm_regs *regs)
{
	struct kvm_run *run = vcpu->run;
	int error;

	world_act(vcpu->id, run, act, regs);
	run->kvm_valid_regs = WORLD_VALID_REGS;
	__atomic_store_n(&run->immediate_exit, 0, __ATOMIC_SEQ_CST);
	do
		error = ioctl(vcpu->fd, KVM_RUN, 0) < 0 ? errno : 0;
	while ((error == EINTR || error == EAGAIN) && !vcpu_shadow_was_reset(vcpu));
	if (atomic_load(&vcpu->requests))
		__atomic_store_n(&run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	if (vcpu_shadow_was_reset(vcpu))
		return -ENOENT;
	*regs = run->s.regs.regs;
	return error ? -error : world_has_acted(run) ? 0 : -ENOENT;
}

static void kernel_port(struct vcpu *vcpu, bool out, uint16_t port, uint8_t *byte)
{
	struct kvm_regs regs = { .rdx = port, .rax = out ? *byte : 0xff };

	if (!act(vcpu, out ? WORLD_OUT : WORLD_IN, &regs) && !out)
		*byte = (uint8_t)regs.rax;
}

enum emulate_result vcpu_bus_io(void *ctx, bool out, uint16_t port, unsigned int bytes, void *data,
				unsigned int nr)
{
	struct vcpu *vcpu = ctx;

	if (bytes == 1 && is_kernels(vcpu, port))
		for (unsigned int i = 0; i < nr; i++)
			kernel_port(vcpu, out, port, (uint8_t *)data + i);
	else
		vcpu_ports(vcpu, out, port, bytes, data, nr);
	return EMULATE_DONE;
}

bool vcpu_bus_msr(void *ctx, bool write, uint32_t index, uint64_t *value)
{
	struct kvm_regs regs = { .rcx = index };

	if (write) {
		regs.rax = (uint32_t)*value;
		regs.rdx = *value >> 32;
	}
	if (act(ctx, write ? WORLD_WRMSR : WORLD_RDMSR, &regs))
		return false;
	*value = (uint32_t)regs.rax | regs.rdx << 32;
	return true;
}
