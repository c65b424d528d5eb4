/* SPDX-License-Identifier: MIT */
/* Which halted vCPUs can run again: a table of what may wake one, each cause alone. */
#include <string.h>
#include "tests/tap.h"
#include "vmm/vm/silence.h"

static struct silence_cpu cpu;
static struct silence_board board;

static void set(unsigned int at, uint32_t value)
{
	memcpy(cpu.lapic.regs + at, &value, sizeof(value));
}

/* A vCPU that has halted with everything masked. */
static void quiet(bool interrupts)
{
	cpu = (struct silence_cpu){
		.mp_state = KVM_MP_STATE_HALTED,
		.interrupts = interrupts,
		.apic = true,
	};
	board = (struct silence_board){ .now_ns = 100000000000, .lines = 0xffffff };
	for (unsigned int at = 0x320; at <= 0x370; at += 0x10)
		set(at, 1u << 16);
	board.pit.channels[0].mode = 0xff;
	board.pic[0].imr = board.pic[1].imr = 0xff;
	for (unsigned int i = 0; i < KVM_IOAPIC_NUM_PINS; i++)
		board.ioapic.redirtbl[i].fields.mask = 1;
}

static void pit(unsigned int mode, int64_t age_ns)
{
	board.pit.channels[0].mode = (uint8_t)mode;
	board.pit.channels[0].count_load_time = board.now_ns - age_ns;
}

/* ---- what may wake a vCPU ---- */

static void nothing(void)
{
}
static void runnable(void)
{
	cpu.mp_state = KVM_MP_STATE_RUNNABLE;
}
static void sipi(void)
{
	cpu.mp_state = KVM_MP_STATE_SIPI_RECEIVED;
}
static void unknown_state(void)
{
	cpu.mp_state = 77;
}
static void nmi_pending(void)
{
	cpu.events.nmi.pending = 1;
}
static void smi_pending(void)
{
	cpu.events.smi.pending = 1;
}
static void init_latched(void)
{
	cpu.events.smi.latched_init = 1;
}
static void injected(void)
{
	cpu.events.interrupt.injected = 1;
}
static void exception(void)
{
	cpu.events.exception.pending = 1;
}
static void counters_nmi(void)
{
	set(0x340, 4 << 8);
}
static void counters(void)
{
	set(0x340, 0x55);
}
static void irr(void)
{
	set(0x270, 1);
}
static void one_shot(void)
{
	set(0x320, 0x40);
	set(0x390, 1);
}
static void one_shot_over(void)
{
	set(0x320, 0x40);
	set(0x380, 5);
}
static void periodic(void)
{
	set(0x320, 1 << 17 | 0x40);
	set(0x380, 5);
}
static void periodic_masked(void)
{
	set(0x320, 1 << 17 | 1 << 16);
	set(0x380, 5);
	set(0x390, 5);
}
static void deadline(void)
{
	set(0x320, 2 << 17 | 0x40);
}
static void ioapic_pin(void)
{
	board.ioapic.redirtbl[16].fields.mask = 0;
}
static void ioapic_nobody(void)
{
	ioapic_pin();
	board.lines = 0;
}
static void ioapic_raised(void)
{
	ioapic_nobody();
	board.ioapic.irr = 1 << 16;
}
static void ioapic_nmi(void)
{
	ioapic_pin();
	board.ioapic.redirtbl[16].fields.delivery_mode = 4;
}
static void pic_line(void)
{
	board.pic[0].imr = 0xef;
	set(0x350, 7 << 8);
}
static void pic_slave(void)
{
	board.pic[1].imr = 0xfe;
	set(0x350, 7 << 8);
}
static void pic_no_path(void)
{
	board.pic[0].imr = 0;
}
static void pic_no_apic(void)
{
	pic_no_path();
	cpu.apic = false;
}
static void pic_nobody(void)
{
	board.pic[0].imr = 0xef;
	set(0x350, 7 << 8);
	board.lines = 0;
}
static void pic_raised(void)
{
	pic_nobody();
	board.pic[0].irr = 0x10;
}
static void pit_rate(void)
{
	pic_nobody();
	board.pic[0].imr = 0xfe;
	pit(2, 50000000000);
}
static void pit_square(void)
{
	pic_nobody();
	board.pic[0].imr = 0xfe;
	pit(3, 50000000000);
}
static void pit_once(void)
{
	pic_nobody();
	board.pic[0].imr = 0xfe;
	pit(0, 10000000);
}
static void pit_once_over(void)
{
	pic_nobody();
	board.pic[0].imr = 0xfe;
	pit(0, 2000000000);
}
static void pit_unset(void)
{
	pic_nobody();
	board.pic[0].imr = 0xfe;
}
static void pit_masked(void)
{
	pic_nobody();
	board.pic[0].imr = 0xff;
	pit(2, 0);
}
static void pit_nmi(void)
{
	pit(2, 0);
	set(0x350, 4 << 8);
}
static void pit_ioapic(void)
{
	pit(2, 0);
	board.lines = 0;
	board.ioapic.redirtbl[2].fields.mask = 0;
}

#define CASE(f, off, on) \
	{ \
#f, f, SILENCE_##off, SILENCE_##on \
	}

static const struct {
	const char *what;
	void (*make)(void);
	enum silence off, on; /* with RFLAGS.IF off and on */
} cases[] = {
	CASE(nothing, DEAD, DEAD),	  CASE(runnable, ALIVE, ALIVE),
	CASE(sipi, ALIVE, ALIVE),	  CASE(unknown_state, ALIVE, ALIVE),
	CASE(nmi_pending, ALIVE, ALIVE),  CASE(smi_pending, ALIVE, ALIVE),
	CASE(init_latched, ALIVE, ALIVE), CASE(injected, ALIVE, ALIVE),
	CASE(exception, ALIVE, ALIVE),	  CASE(counters_nmi, ALIVE, ALIVE),
	CASE(counters, DEAD, ALIVE),	  CASE(irr, DEAD, ALIVE),
	CASE(one_shot, DEAD, ALIVE),	  CASE(one_shot_over, DEAD, DEAD),
	CASE(periodic, DEAD, ALIVE),	  CASE(periodic_masked, DEAD, DEAD),
	CASE(deadline, DEAD, ALIVE),	  CASE(ioapic_pin, DEAD, ALIVE),
	CASE(ioapic_nobody, DEAD, DEAD),  CASE(ioapic_raised, DEAD, ALIVE),
	CASE(ioapic_nmi, ALIVE, ALIVE),	  CASE(pic_line, DEAD, ALIVE),
	CASE(pic_slave, DEAD, ALIVE),	  CASE(pic_no_path, DEAD, DEAD),
	CASE(pic_no_apic, DEAD, ALIVE),	  CASE(pic_nobody, DEAD, DEAD),
	CASE(pic_raised, DEAD, ALIVE),	  CASE(pit_rate, DEAD, ALIVE),
	CASE(pit_square, DEAD, ALIVE),	  CASE(pit_once, DEAD, ALIVE),
	CASE(pit_once_over, DEAD, DEAD),  CASE(pit_unset, DEAD, DEAD),
	CASE(pit_masked, DEAD, DEAD),	  CASE(pit_nmi, ALIVE, ALIVE),
	CASE(pit_ioapic, DEAD, ALIVE),
};

int main(void)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (int on = 0; on < 2; on++) {
			quiet(on);
			cases[i].make();
			is(silence_of(&cpu, &board), on ? cases[i].on : cases[i].off,
			   "%s, interrupts %s", cases[i].what, on ? "on" : "off");
		}
	for (uint32_t state = KVM_MP_STATE_UNINITIALIZED; state <= KVM_MP_STATE_INIT_RECEIVED;
	     state++) {
		quiet(true);
		pit_rate();
		cpu.mp_state = state;
		is(silence_of(&cpu, &board), SILENCE_WAITS, "state %u waits for another vCPU",
		   state);
	}
	return tap_done();
}
