/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_MONITOR_WORK_H
#define QUIRE_VMM_MONITOR_WORK_H

/*
 * The work of one call of cpu.h: a copy of the state, which takes the place of the state when all
 * has gone well.  So whatever fails has changed nothing.
 */
#include "cpu.h"
#include "emulate_decode.h"

enum { GPR_RAX, GPR_RCX, GPR_RDX, GPR_RBX, GPR_RSP, GPR_RBP, GPR_RSI, GPR_RDI };

struct work {
	struct emulation e; /* first, so that a row's function finds the rest; with new registers */
	struct monitor_cpu *cpu;
	struct monitor_state new; /* but for regs and sregs, which are in e */
	unsigned int effects;
	gva_t invlpg;
	bool halt;
};

static inline struct work *work_of(struct emulation *e)
{
	return (struct work *)e;
}

void work_begin(struct work *w, struct monitor_cpu *cpu);
void work_commit(struct work *w);

/* Long mode, be the code of 64 bits or not. */
bool work_long_mode(const struct work *w);

/* Is gva canonical, in the present paging mode? */
bool work_canonical(const struct work *w, uint64_t gva);

/*
 * Accesses of the processor itself, to descriptor tables and TSSs: at CPL 0, whatever the CPL, and
 * without regard to RFLAGS.AC.
 */
enum emulate_result work_read(struct work *w, gva_t gva, void *buf, size_t len);
enum emulate_result work_write(struct work *w, gva_t gva, const void *buf, size_t len);

/* Set the general register n, of 1 (the low byte), 2, 4 or 8 bytes. */
void work_set_gpr(struct work *w, unsigned int n, size_t bytes, uint64_t value);

/* RSP, as wide as the stack is; and what lies so many bytes above where it points. */
uint64_t work_stack_pointer(const struct work *w);
void work_set_stack_pointer(struct work *w, uint64_t rsp);
enum emulate_result work_pop(struct work *w, unsigned int skip, void *to, size_t len);
/* Store a word where RSP is going to point.  RSP stays. */
enum emulate_result work_push(struct work *w, uint64_t rsp, const void *word, size_t len);

/* The operand's size where REX.W and 0x66 choose it: 2, 4 or 8. */
size_t work_operand_bytes(const struct work *w);

/* #GP(0) if the CPL is above most. */
enum emulate_result work_need_cpl(struct work *w, unsigned int most);

/* Go to a new RIP, as wide as the code there, and end RFLAGS.RF. */
void work_jump(struct work *w, uint64_t rip);

/* Rows' functions that are not in privileged.c. */
typedef enum emulate_result work_fn(struct emulation *e);

work_fn mov_segment, pop_segment, load_far_pointer; /* segments.c */
work_fn load_table, store_table, lldt_ltr, sldt_str;
work_fn mov_to_cr, mov_from_cr, clts, lmsw, smsw; /* control.c */
work_fn mov_to_dr, mov_from_dr, rdmsr, wrmsr, xsetbv;
work_fn port_in, port_out, port_ins, port_outs; /* ports.c */
work_fn far_jump, far_call, far_return, iret;	/* transfer.c */
work_fn system_call, sysret, sysenter, sysexit;

#endif
