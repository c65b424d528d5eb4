/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_MONITOR_WORLD_H
#define QUIRE_VMM_MONITOR_WORLD_H

/*
 * The world switch: how a guest runs whose processor is a fiction.
 *
 * The *virtual* registers are those that the guest believes in: it is at CPL 0, and its CR3 names
 * its own tables.  The *real* registers are KVM's.  With them all of the guest runs at CPL 3, on
 * tables that mmu/shadow made.  KVM must be able to run 64-bit code, which all of them are.
 *
 * A memory slot of its own, the *monitor*, has what the real processor needs: a GDT, an IDT, and
 * for each vCPU a TSS, a stack and a list of things to flush.  The rest of it is the arena for
 * shadow tables.  It is mapped for CPL 0 only, by the entry SHADOW_MONITOR_SLOT of each root.
 *
 * Out of the guest.  Each gate of the IDT leads to an OUT at CPL 0, where KVM_RUN returns.  The
 * instruction pointer tells the vector; the stack has the rest.  The TSS denies all ports and IOPL
 * is 0, so that CPL 3 has no other way to an OUT.
 *
 * Into the guest.  Registers go to KVM by the shared struct kvm_run, with RIP at an IRET at CPL 0
 * whose frame lies on that stack.  So KVM need not be told of new segments.  Before the IRET, code
 * at CPL 0 may flush: it writes each entry of a shadow table that has become weaker, without
 * changing it, and loads CR3.  A KVM without two-dimensional paging has tables of its own, made of
 * ours; it does not see what we write to them, but it sees that, and forgets what it made of the
 * entry.  On other KVMs the load of CR3 does it all.
 *
 * Interrupts.  KVM's interrupt controllers see the real IF.  It is the guest's own: nothing that
 * CPL 3 does changes it, and IOPL is 0, so that what is to change it traps.  An interrupt comes out
 * by its gate like an exception.  A guest that waits for one waits at a HLT at CPL 0, in KVM.
 *
 * What this cannot do: segments with a base other than 0, but for FS and GS, and real mode.  What
 * does not trap at CPL 3 shows the guest real values: PUSHF and POPF its IOPL, MOV from a
 * segment register and the CS that a far CALL pushes its selectors, LAR, LSL, VERR and VERW the
 * monitor's descriptors; and without UMIP, SGDT, SIDT, SLDT, STR and SMSW the real registers.
 */
#include <linux/kvm.h>
#include <quire/error.h>
#include <quire/types.h>
#include <stdbool.h>
#include "mmu/shadow/shadow.h"

#define WORLD_MAX_CPUS SHADOW_MAX_VCPUS
#define WORLD_MAX_LIST 64u /* entries to flush at one entry of the guest */

struct world;

struct world_config {
	unsigned int nr_cpus; /* 1..WORLD_MAX_CPUS */
	uint32_t nr_tables;   /* of the arena, in pages of 4 KiB; rounded up to 2 MiB */
	bool umip;	      /* the guest's CPUID has UMIP: CR4.UMIP may be set */
};

/* Make the monitor, which costs memory only where it is used.  0 or -errno with *err. */
int world_create(const struct world_config *config, struct world **out, struct quire_error *err);

/* NULL is fine.  KVM does not use it any more. */
void world_destroy(struct world *w);

/* The monitor, at SHADOW_MONITOR_BASE: [at, at + bytes) is the memory at hva. */
struct world_memory {
	void *hva;
	maddr_t at;
	uint64_t bytes;
};
struct world_memory world_memory(const struct world *w);

/* The part of it that is the arena.  It begins as zeroes. */
struct world_memory world_arena(const struct world *w);

/* What the entry SHADOW_MONITOR_SLOT of each root is. */
uint64_t world_pml4_entry(const struct world *w);

/*
 * What MSR_LSTAR is to be.  Some KVMs let SYSCALL at CPL 3 jump there, although EFER.SCE is 0; this
 * is where nobody may execute.
 */
gva_t world_lstar(void);

/* Set the real registers with which a vCPU begins.  *sregs is what KVM_GET_SREGS gave. */
void world_start(const struct world *w, unsigned int cpu, struct kvm_sregs *sregs);

/* What the guest is to be entered with. */
struct world_entry {
	const struct kvm_regs *regs; /* virtual */
	const struct kvm_sregs *sregs;
	maddr_t root;	       /* the shadow tables */
	const maddr_t *stale;  /* entries in the arena that have become weaker */
	unsigned int nr_stale; /* at most world_room() */
	bool forgotten;	       /* KVM has just forgotten all that it knew of any entry */
	enum world_way {
		WORLD_RUN,
		WORLD_STEP, /* do one instruction without interrupts, which ends in #DB */
		WORLD_HALT, /* do nothing until an interrupt comes */
	} way;
};

/*
 * How many entries can be flushed at the next entry, WORLD_MAX_LIST at most: those of an entry that
 * a signal ended before it was over are still there.
 */
unsigned int world_room(const struct world *w, unsigned int cpu);

/*
 * Can the guest run with these virtual registers?  NULL; or why it cannot, for people.
 */
const char *world_refuses(const struct kvm_sregs *sregs);

/*
 * Prepare *run for the next KVM_RUN.  `real` are the real segment and control registers, as they
 * were when KVM_RUN last returned, with kvm_valid_regs of WORLD_VALID_REGS.
 */
#define WORLD_VALID_REGS (KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS)
void world_enter(struct world *w, unsigned int cpu, struct kvm_run *run,
		 const struct world_entry *entry);

/*
 * What the kernel has of a processor's surroundings is asked by the instruction itself, at CPL 0.
 * KVM takes it from there as from any guest.
 */
enum world_act {
	WORLD_IN, /* of a byte: DX, AL; a port that the kernel serves by itself */
	WORLD_OUT,
	WORLD_RDMSR, /* ECX, EDX:EAX */
	WORLD_WRMSR,
};

/* Prepare *run for a KVM_RUN that does nothing else.  Only world_enter() goes on after it. */
void world_act(unsigned int cpu, struct kvm_run *run, enum world_act act,
	       const struct kvm_regs *regs);

/* Is it over, and well?  Then *run has the registers.  Else it was #GP. */
bool world_has_acted(const struct kvm_run *run);

/* Where a vCPU was when KVM_RUN returned. */
enum world_place {
	WORLD_IN_GUEST, /* between two instructions of the guest, or in one that waits for MMIO */
	WORLD_ENTERING, /* the guest has executed nothing since world_enter(), or waits */
	WORLD_TRAPPED,	/* in a gate */
};

struct world_trap {
	uint8_t vector;
	bool interrupt; /* it comes from an interrupt controller */
	uint32_t error; /* 0 if the vector has none */
	uint64_t cr2;	/* of a #PF */
};

/*
 * Did an interrupt controller send this vector?  An exception of some vectors has an error code, an
 * interrupt has none.  Of the others, those that a processor does not raise come from a controller.
 * Vectors 0 to 7, 16, 18 and 19 are taken for exceptions.
 */
bool world_is_interrupt(uint8_t vector, bool has_error);

/*
 * Look where the vCPU is, and bring the virtual registers up to date, unless it is WORLD_ENTERING.
 * *run has the registers of WORLD_VALID_REGS.  WORLD_TRAPPED: *trap says why, and only
 * world_enter() goes on.  After the others a KVM_RUN goes on too.
 */
enum world_place world_leave(struct world *w, unsigned int cpu, const struct kvm_run *run,
			     struct kvm_regs *regs, struct kvm_sregs *sregs,
			     struct world_trap *trap);

#endif
