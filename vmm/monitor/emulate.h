/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_MONITOR_EMULATE_H
#define QUIRE_VMM_MONITOR_EMULATE_H

/*
 * Instructions that KVM's emulator does not know, one row of a table each.  Some hosts emulate all
 * that a guest does at CPL 0, and there kernels meet them.
 *
 * This is a pure function of registers, instruction bytes and memory.  finish.h is its use; what a
 * guest's kernel needs that really runs at CPL 3 is in cpu.h.
 * Protected mode of 32 bits and long mode; code of 16 bits is not known.
 */
#include <linux/kvm.h>
#include <quire/types.h>
#include "mmu/format/walk.h"

/* What the guest's CPUID must offer, else the instruction is #UD. */
#define EMULATE_CX16	0x1u
#define EMULATE_POPCNT	0x2u
#define EMULATE_SMAP	0x4u
#define EMULATE_SSE2	0x8u
#define EMULATE_INVPCID 0x10u

/* Those of the leaves 1 and 7.  NULL: there is none. */
uint32_t emulate_features(const struct kvm_cpuid_entry2 *one, const struct kvm_cpuid_entry2 *seven);

#define EMULATE_MAX_BYTES 15u /* of an instruction */
#define EMULATE_NR_ROWS	  18u

enum emulate_result {
	EMULATE_DONE,	 /* the registers are as after the instruction */
	EMULATE_TRAP,	 /* ... and `event` is due */
	EMULATE_FAULT,	 /* `event` is due, and the registers have not changed */
	EMULATE_UNKNOWN, /* not in the table, or not in this mode */
	EMULATE_AGAIN,	 /* nothing has changed; the guest is to try again */
	EMULATE_HOST,	 /* the host could not do an access, and the VM ends */
};

/* An exception (SDM Vol. 3A, section 6.15). */
struct emulate_event {
	uint8_t vector;
	bool has_error;
	uint32_t error;
	uint64_t cr2; /* of a #PF */
};

/* x87 status and SSE registers, as they are in the first 512 bytes of XSAVE's area. */
struct emulate_fpu {
	uint16_t fcw, fsw;
	uint64_t xmm[16][2];
};

struct emulation;

/*
 * The accesses.  [gva, gva + len) may cross a page.  All return EMULATE_DONE, EMULATE_FAULT with
 * the event, EMULATE_UNKNOWN if there is no RAM, EMULATE_AGAIN or EMULATE_HOST.  A write is done
 * wholly or, unless the VM ends, not at all.
 */
struct emulate_memory {
	enum emulate_result (*read)(struct emulation *e, gva_t gva, void *buf, size_t len);
	enum emulate_result (*write)(struct emulation *e, gva_t gva, const void *buf, size_t len);
	/* If 16 bytes at gva, aligned, are old, make them new, atomically.  *old is what was. */
	enum emulate_result (*exchange)(struct emulation *e, gva_t gva, uint64_t old[2],
					const uint64_t new[2]);
	enum emulate_result (*load_fpu)(struct emulation *e); /* fill e->fpu */
	/* Read code, all of it in one page. */
	enum emulate_result (*fetch)(struct emulation *e, gva_t gva, void *buf, size_t len);
};

struct emulation {
	const struct emulate_memory *memory;
	void *ctx;	      /* memory's */
	struct kvm_regs regs; /* changed by the instruction */
	struct kvm_sregs sregs;
	unsigned int bits; /* emulate_bits() */
	unsigned int cpl;  /* of the access */
	uint32_t features; /* EMULATE_* */
	uint8_t byte[EMULATE_MAX_BYTES];
	unsigned int nr_bytes;	    /* that could be fetched at RIP ... */
	enum emulate_result beyond; /* ... and why no more; unless there are all */
	struct emulate_event beyond_event;

	struct emulate_event event; /* out */
	unsigned int row;	    /* out: in the table; EMULATE_NR_ROWS if UNKNOWN */
	struct emulate_fpu fpu;
	bool fpu_changed; /* out */

	/* The decoder's. */
	unsigned int at; /* bytes decoded */
	bool truncated;	 /* more than there are */
	uint8_t prefix;	 /* the mandatory one: 0x66, 0xf2, 0xf3; or 0 */
	bool operand16, address32, lock, override;
	uint8_t rex, opcode, modrm;
	unsigned int reg, rm, segment;
	uint64_t offset; /* of the operand in memory, in its segment */
	uint32_t imm;	 /* an immediate */
	uint16_t selector;
};

/* Fetch the bytes at RIP: as many as can be had. */
void emulate_fetch(struct emulation *e);

/* RIP as a linear address. */
gva_t emulate_rip(const struct kvm_regs *r, const struct kvm_sregs *s);

/* Do the instruction. */
enum emulate_result emulate(struct emulation *e);

/* The fault of an operand that its segment does not allow or whose address is not canonical. */
enum emulate_result emulate_protection(struct emulation *e);

/* Is gva canonical, in the present paging mode? */
bool emulate_canonical(const struct kvm_sregs *s, gva_t gva);

/* How code is decoded now (16, 32 or 64 bits), and the CPL. */
unsigned int emulate_bits(const struct kvm_sregs *s);
unsigned int emulate_cpl(const struct kvm_sregs *s);

/* The name of a row. */
const char *emulate_name(unsigned int row);

#endif
