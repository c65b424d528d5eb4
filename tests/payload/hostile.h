/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_PAYLOAD_HOSTILE_H
#define QUIRE_TESTS_PAYLOAD_HOSTILE_H

/*
 * A guest that does what no good guest does.  Some of it ends in an exception that it catches, and
 * prints; the rest ends the guest.  Nothing that it prints depends on who executes it.
 *
 *   hostile GROUP	    of hostile_probes.c: all that can be caught, a line each
 *   hostile storm 0|3 SEED COUNT [FIRST]   random code at this level
 *   hostile NAME           one of hostile_end.c, which ends it
 *   hostile takeover [NAME]  hostile_takeover.c
 */
#include <stddef.h>
#include <stdint.h>
#include "hello.h"

#define PAGE	  4096u
#define RAM_BYTES (64u << 20) /* it is started with so much */
#define NR(array) (sizeof(array) / sizeof((array)[0]))

/* As hostile_start.S pushes and pops it. */
struct cpu {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

enum { UD = 6, DF = 8, TS = 10, NP, SS, GP, PF };

#define KERNEL_CS 0x08
#define KERNEL_SS 0x10
#define CODE32	  0x18
#define TSS	  0x40
#define USER_SS	  0x53
#define USER_CS	  0x5b
#define SPARE	  0x60 /* for one descriptor, or one of 16 bytes */

#define CR0 0x80010033
#define CR4 0x620

/*
 * Pages of 4 KiB that are mapped at HERE, one after the other, for CPL 3 too: two of code, of which
 * the second begins as one that is absent, data, and a stack.
 */
#define HERE	0x40000000u
#define CODE	HERE
#define ABSENT	(HERE + PAGE)
#define DATA	(HERE + 2 * PAGE)
#define STACK	(HERE + 3 * PAGE)
#define BACKING 0x800000u /* their gpa */

#define P_W_U 0x67 /* with A and D */
#define FAR   0x8000000000ULL /* where probes map what they like */

extern uint64_t pml4[512], pdpt[512], gdt[16];
extern uint8_t tss[PAGE];
struct gate {
	uint16_t low, selector, type, middle;
	uint32_t high, zero;
};
extern struct gate idt[256];

/* Run it until an exception.  Registers as they are then are in `seen`, CR2 in seen_cr2. */
void run(struct cpu *cpu);
_Noreturn void come_back(void);
extern struct cpu seen;
extern uint64_t seen_cr2;
/* If not NULL: asked at each #DB; false: it is over. */
extern int (*on_step)(struct cpu *cpu);

/* Code at CPL 0 or 3, at CODE unless told otherwise; RBX, RSI and RDI are DATA. */
void begin(struct cpu *cpu, unsigned int cpl);

/* All registers and tables that code may have spoilt. */
void restore_all(void);

/* The entry of gva at this level, with tables above it. */
uint64_t *entry_of(uint64_t gva, unsigned int level);
uint64_t new_table(void);
void load_cr3(uint64_t cr3);
void flush(uint64_t gva);

/* Shorter than hello.h's: all in one instruction. */
void print(const char *text);
void print_hex(uint64_t number);
void print_seen(void);

uint64_t random_next(void);
void random_seed(uint64_t seed);

int equal(const char *a, const char *b);

/* The words of the command line. */
int probes(const char *name);
void storm(const char *words);
int end(const char *words);
void takeover(const char *name);

#endif
