/* SPDX-License-Identifier: MIT */
/*
 * What can wake a vCPU from HLT.  Intel SDM Vol. 3A, "Advanced Programmable Interrupt Controller";
 * Intel 8259A and 82093AA (I/O APIC) data sheets.
 *
 * With interrupts on: its local APIC's timer; an interrupt that is pending there; a line that a
 * device may raise and that a PIC or the I/O APIC does not mask.  Always: NMI, SMI and INIT, which
 * come from the performance counters, or through an input that is programmed for them.
 */
#include <string.h>
#include "silence.h"

/* Registers of the local APIC. */
#define APIC_IRR   0x200 /* eight registers, 16 bytes apart */
#define APIC_LVTT  0x320
#define APIC_LVTPC 0x340
#define APIC_LVT0  0x350
#define APIC_TMICT 0x380
#define APIC_TMCCT 0x390

/* A local vector table entry. */
#define LVT_MASKED     (1u << 16)
#define LVT_MODE(v)    ((v) >> 8 & 7)
#define MODE_FIXED     0u
#define MODE_LOWEST    1u
#define MODE_EXTINT    7u
#define LVTT_TIMER(v)  ((v) >> 17 & 3)
#define TIMER_PERIODIC 1u
#define TIMER_DEADLINE 2u

#define PIT_NEVER_SET 0xff	 /* KVM's mode of a channel that nobody has programmed */
#define PIT_ONE_NS    1000000000 /* more than a channel can count */
#define PIC_LINES     8

static uint32_t apic_reg(const struct silence_cpu *cpu, unsigned int at)
{
	uint32_t value;

	memcpy(&value, cpu->lapic.regs + at, sizeof(value));
	return value;
}

static bool lvt_open(uint32_t lvt)
{
	return !(lvt & LVT_MASKED);
}

/* Does this delivery mode need no permission of RFLAGS.IF? */
static bool is_forced(unsigned int mode)
{
	return mode != MODE_FIXED && mode != MODE_LOWEST && mode != MODE_EXTINT;
}

/* Channel 0 in modes 2 and 3 goes on for ever; in the others it fires once. */
static bool pit_armed(const struct silence_board *board)
{
	const struct kvm_pit_channel_state *c = &board->pit.channels[0];

	if (c->mode == PIT_NEVER_SET)
		return false;
	return c->mode == 2 || c->mode == 3 || board->now_ns - c->count_load_time < PIT_ONE_NS;
}

static uint32_t open_lines(const struct silence_board *board)
{
	return board->lines | (pit_armed(board) ? SILENCE_PIT_LINES : 0);
}

/* May a pin of the I/O APIC give an interrupt?  forced: of a kind that asks nobody. */
static bool ioapic_may(const struct silence_board *board, bool forced)
{
	for (unsigned int i = 0; i < KVM_IOAPIC_NUM_PINS; i++) {
		uint32_t pin = 1u << i;

		if (board->ioapic.redirtbl[i].fields.mask ||
		    !((open_lines(board) | board->ioapic.irr) & pin))
			continue;
		if (!forced || is_forced(board->ioapic.redirtbl[i].fields.delivery_mode))
			return true;
	}
	return false;
}

static bool pic_may(const struct silence_board *board)
{
	uint32_t lines = open_lines(board);

	for (unsigned int i = 0; i < 2; i++) {
		uint8_t may = (uint8_t)(lines >> PIC_LINES * i) | board->pic[i].irr;

		if (may & ~board->pic[i].imr)
			return true;
	}
	return false;
}

static bool timer_may(const struct silence_cpu *cpu)
{
	uint32_t lvtt = apic_reg(cpu, APIC_LVTT);

	if (!lvt_open(lvtt))
		return false;
	if (LVTT_TIMER(lvtt) >= TIMER_DEADLINE)
		return true;
	return apic_reg(cpu, APIC_TMCCT) ||
	       (LVTT_TIMER(lvtt) == TIMER_PERIODIC && apic_reg(cpu, APIC_TMICT));
}

static bool has_pending(const struct silence_cpu *cpu)
{
	for (unsigned int i = 0; i < 8; i++)
		if (apic_reg(cpu, APIC_IRR + 16 * i))
			return true;
	return false;
}

/* Is something on its way into the vCPU, whatever RFLAGS.IF says? */
static bool is_forced_soon(const struct silence_cpu *cpu)
{
	const struct kvm_vcpu_events *e = &cpu->events;

	return e->exception.injected || e->exception.pending || e->interrupt.injected ||
	       e->nmi.injected || e->nmi.pending || e->smi.pending || e->smi.latched_init ||
	       e->triple_fault.pending;
}

/* NMI and the like, from the vCPU's own inputs or the board. */
static bool forced_may(const struct silence_cpu *cpu, const struct silence_board *board)
{
	uint32_t counters = apic_reg(cpu, APIC_LVTPC), lint0 = apic_reg(cpu, APIC_LVT0);

	/* LINT0 has the PICs and, where it is programmed for NMI, the PIT.  LINT1 has nothing. */
	return (lvt_open(counters) && is_forced(LVT_MODE(counters))) ||
	       (lvt_open(lint0) && is_forced(LVT_MODE(lint0)) && pit_armed(board)) ||
	       ioapic_may(board, true);
}

/* Do the PICs reach this vCPU? */
static bool takes_extint(const struct silence_cpu *cpu)
{
	uint32_t lvt = apic_reg(cpu, APIC_LVT0);

	return !cpu->apic || (lvt_open(lvt) && LVT_MODE(lvt) == MODE_EXTINT);
}

enum silence silence_of(const struct silence_cpu *cpu, const struct silence_board *board)
{
	switch (cpu->mp_state) {
	case KVM_MP_STATE_UNINITIALIZED:
	case KVM_MP_STATE_INIT_RECEIVED: return SILENCE_WAITS;
	case KVM_MP_STATE_HALTED: break;
	default: return SILENCE_ALIVE;
	}
	if (is_forced_soon(cpu) || forced_may(cpu, board))
		return SILENCE_ALIVE;
	if (!cpu->interrupts)
		return SILENCE_DEAD;
	if (has_pending(cpu) || timer_may(cpu) || lvt_open(apic_reg(cpu, APIC_LVTPC)))
		return SILENCE_ALIVE;
	if (ioapic_may(board, false) || (takes_extint(cpu) && pic_may(board)))
		return SILENCE_ALIVE;
	return SILENCE_DEAD;
}
