/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_MONITOR_CPU_H
#define QUIRE_VMM_MONITOR_CPU_H

/*
 * The virtual processor of a guest that really runs at CPL 3, its kernel too (shadow paging).
 *
 * The real processor does what it may do at CPL 3.  All else raises an exception, which comes here:
 * a privileged instruction is done to the virtual state (privileged.c), and an exception that the
 * guest is to see goes through its own IDT (reflect.c).
 *
 * These are functions of the virtual state, of memory and of ports.  They call no KVM, keep nothing
 * and take no lock.  Whoever enters the guest derives the real state from the virtual one each time
 * (world.h), and brings back what the guest may change by itself: general registers, RIP, the flags
 * without MONITOR_FLAGS, CR2 by an exception.
 *
 * Known: protected mode of 32 bits with paging off, and long mode.  Code of 16 bits, tasks, call
 * gates and virtual-8086 mode are not: they end as MONITOR_UNKNOWN.  docs/shadow.md lists what
 * cannot be virtualised in this way.
 */
#include "emulate.h"

/* RFLAGS that are virtual: IF, IOPL, VM, VIF, VIP.  At CPL 3 the real ones say nothing. */
#define MONITOR_FLAGS 0x1a3200u

/* Registers by MSR number that struct kvm_sregs lacks. */
struct monitor_msrs {
	__u64 star, lstar, cstar, sfmask, kernel_gs_base;
	__u64 sysenter_cs, sysenter_esp, sysenter_eip;
	__u64 pat, misc_enable;
};

/* Everything that a guest can see of a processor, but for the FPU and what bus->msr keeps. */
struct monitor_state {
	struct kvm_regs regs;
	struct kvm_sregs sregs;	    /* with CR2, and IF and IOPL in regs.rflags */
	struct kvm_debugregs debug; /* DR0 to DR3, DR6, DR7 */
	struct monitor_msrs msr;
	uint64_t xcr0;
	uint64_t shadow_rip; /* while RIP is here, no interrupt: STI, MOV SS; or UINT64_MAX */
};

/* What the guest's CPUID offers, as far as instructions here depend on it. */
struct monitor_features {
	uint64_t cr4, efer, xcr0; /* bits that may be set */
	uint8_t maxphyaddr;
	bool amd;
	uint32_t emulate; /* EMULATE_* */
};

/*
 * Ports, and MSRs that struct monitor_state lacks.  `io` moves nr elements of `bytes` (1, 2, 4) and
 * returns EMULATE_DONE, or EMULATE_HOST: the VM ends.  A port where nothing is reads as ones.
 * `msr` reads or writes one; false: #GP.
 */
struct monitor_bus {
	enum emulate_result (*io)(void *ctx, bool out, uint16_t port, unsigned int bytes,
				  void *data, unsigned int nr);
	bool (*msr)(void *ctx, bool write, uint32_t index, uint64_t *value);
};

/* What a call asks for besides, with its MONITOR_DONE or MONITOR_HALT. */
#define MONITOR_CR3    0x1u  /* CR3 was loaded: what is not global is to be translated anew */
#define MONITOR_MODE   0x2u  /* CR0, CR4 or EFER changed how addresses are translated: so is all */
#define MONITOR_INVLPG 0x4u  /* the page of cpu->invlpg is to be translated anew */
#define MONITOR_XCR0   0x8u  /* the real XCR0 is to follow */
#define MONITOR_DEBUG  0x10u /* the real debug registers are to follow */

/*
 * What instructions access, by emulate.h.  There, e->ctx is cpu->ctx, and e->sregs, e->cpl and
 * RFLAGS.AC in e->regs steer the translation.  They are not those of the virtual state where the
 * processor itself accesses its tables and stacks.
 */
struct monitor_cpu {
	/* Set once by the caller. */
	const struct emulate_memory *memory; /* exchange and load_fpu are not called */
	const struct monitor_bus *bus;
	const struct monitor_features *features;
	void *ctx; /* of both */

	struct monitor_state state;

	/* Out: of the last call. */
	unsigned int effects; /* MONITOR_* above */
	gva_t invlpg;
	unsigned int row; /* the instruction that was emulated; MONITOR_NR_ROWS: none */
};

enum monitor_result {
	MONITOR_DONE,	  /* enter the guest, as its state is now */
	MONITOR_HALT,	  /* ... once there is an interrupt */
	MONITOR_SHUTDOWN, /* a triple fault.  But for CR2, the state is as before the call */
	MONITOR_UNKNOWN,  /* not known here, or an access to what is not RAM.  As before */
	MONITOR_AGAIN,	  /* the same call again; or enter the guest again.  As before */
	MONITOR_HOST,	  /* the host could not do an access, and the VM ends */
};

/*
 * The real processor has raised an exception that is the guest's, or the shadow tables' walk says
 * that it is to get one: an instruction to be emulated, or to be reflected.  *event is as raised;
 * RIP is where the exception's frame says.  Of a #PF, event->cr2 counts and not state.sregs.cr2.
 *
 * The real IDT's gates have DPL 0, so INT n and INT3 come as #GP with an error code of the IDT, or
 * as #UD where KVM has it so.  #BP and #OF are understood too, with RIP behind the instruction.
 */
enum monitor_result monitor_exception(struct monitor_cpu *cpu, const struct emulate_event *event);

/* May an interrupt be delivered now? */
bool monitor_interruptible(const struct monitor_cpu *cpu);

/* Deliver an external interrupt.  MONITOR_HALT is not returned. */
enum monitor_result monitor_interrupt(struct monitor_cpu *cpu, uint8_t vector);

/* ---- its two halves ---- */

enum monitor_source {
	MONITOR_FAULT,	  /* an exception */
	MONITOR_SOFTWARE, /* INT n, INT3, INTO: RIP is at the instruction, which has `bytes` */
	MONITOR_EXTERNAL, /* an interrupt */
};

/*
 * Do the privileged instruction at RIP.  EMULATE_DONE with `effects`; *halt: it was HLT.
 * EMULATE_FAULT with *event; EMULATE_TRAP: *event by MONITOR_SOFTWARE, of *bytes, and RIP is still
 * at the instruction; EMULATE_UNKNOWN, EMULATE_AGAIN, EMULATE_HOST.  Unless EMULATE_DONE the state
 * is as before.
 */
enum emulate_result monitor_emulate(struct monitor_cpu *cpu, struct emulate_event *event,
				    unsigned int *bytes, bool *halt);

/*
 * Deliver *event through the guest's IDT, and what comes of it: an exception at the delivery, the
 * double fault, the triple fault (SDM Vol. 3A, chapter 6).  Never MONITOR_HALT.
 */
enum monitor_result monitor_reflect(struct monitor_cpu *cpu, const struct emulate_event *event,
				    enum monitor_source source, unsigned int bytes);

/* The instructions that monitor_emulate() knows. */
#define MONITOR_NR_ROWS 58u

/* The mnemonic of a row.  Rows of the same one follow each other. */
const char *monitor_name(unsigned int row);

#endif
