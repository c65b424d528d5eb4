/* SPDX-License-Identifier: MIT */
/*
 * A guest that executes at ring 0 what some hosts' KVM does not know there, and prints results and
 * exceptions: they do not depend on who executes it.  Exits with status 10.
 */
#include "hello.h"

/*
 * Exceptions: a handler notes which one, with its error code, and goes on at `resume`.  It keeps
 * all registers but the flags, which come from the frame.
 */
unsigned long caught, error, resume;

#ifdef __x86_64__
#define WORD	"8"
#define AT(var) #var "(%rip)"
#define AX	"%rax"
#define SP	"%rsp"
#define XSP	"%%rsp"
#define IRET	"iretq"
#else
#define WORD	"4"
#define AT(var) #var
#define AX	"%eax"
#define SP	"%esp"
#define XSP	"%%esp"
#define IRET	"add $8, %esp\n\tpopf\n\tjmp *resume" /* some hosts know no IRET here */
#endif

#define HANDLER(vector, pop) \
	__asm__(".globl on_" #vector "\non_" #vector ":\n\t" \
		"push " AX "\n\tmov $" #vector ", " AX "\n\tmov " AX ", " AT(caught) "\n\t" \
		pop \
		"mov " AT(resume) ", " AX "\n\tmov " AX ", " WORD "(" SP ")\n\t" \
		"pop " AX "\n\t" IRET); \
	void on_##vector(void)
#define KEEP_ERROR \
	"mov " WORD "(" SP "), " AX "\n\tmov " AX ", " AT(error) "\n\t" \
	"pop " AX "\n\tmov " AX ", (" SP ")\n\t"

#define NO_TRACE "andl $0xfffffeff, 3*" WORD "(" SP ")\n\t" /* behind it, nothing is stepped */

HANDLER(1, NO_TRACE);
HANDLER(3, "");
HANDLER(6, "");
HANDLER(7, "");
HANDLER(13, KEEP_ERROR);
HANDLER(14, KEEP_ERROR);

/* Do it; after an exception go on at label 2. */
#define TRY(insn, ...) \
	do { \
		caught = error = 0; \
		__asm__ volatile(AFTER insn __VA_ARGS__); \
	} while (0)
#ifdef __x86_64__
#define AFTER "lea 2f(%%rip), %%r11; mov %%r11, resume(%%rip)\n\t"
#define GONE  "r11"
#else
#define AFTER "movl $2f, resume\n\t"
#define GONE  "cc"
#endif

static struct {
	uint16_t low, selector, type, high;
#ifdef __x86_64__
	uint32_t top, zero;
#endif
} idt[32];

static void set_gate(unsigned int vector, void (*handler)(void))
{
	uintptr_t at = (uintptr_t)handler;
	uint16_t cs;

	__asm__("mov %%cs, %0" : "=r"(cs));
	idt[vector].low = (uint16_t)at;
	idt[vector].high = (uint16_t)(at >> 16);
	idt[vector].selector = cs;
	idt[vector].type = 0x8e00;
}

static void prepare(void)
{
	struct {
		uint16_t limit;
		uintptr_t base;
	} __attribute__((packed)) idtr = { sizeof(idt) - 1, (uintptr_t)idt };
	unsigned long r;

	set_gate(1, on_1);
	set_gate(3, on_3);
	set_gate(6, on_6);
	set_gate(7, on_7);
	set_gate(13, on_13);
	set_gate(14, on_14);
	__asm__ volatile("lidt %0" : : "m"(idtr));
	__asm__ volatile("mov %%cr4, %0; or $0x200, %0; mov %0, %%cr4" : "=r"(r));
	__asm__ volatile("mov %%cr0, %0; or $0x22, %0; mov %0, %%cr0; fninit" : "=r"(r));
}

/* The end of a line: what was caught. */
static void end(void)
{
	if (caught)
		say(" exception ", caught);
	if (caught >= 13)
		say(" error ", error);
	put("\n");
}

static uint64_t xmm[2] __attribute__((aligned(16)));

static void end_xmm(void)
{
	__asm__ volatile("movups %%xmm1, %0" : "=m"(xmm));
	say(" ", xmm[1]);
	say(" ", xmm[0]);
	end();
}

static uint32_t cpuid(uint32_t leaf, uint32_t *ecx)
{
	uint32_t eax = leaf, ebx, edx;

	*ecx = 0;
	__asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(*ecx), "=d"(edx));
	return ebx;
}

static void test_plain(void)
{
	uint32_t ecx, ebx = cpuid(7, &ecx);
	unsigned long r = 7, flags = 0;
	uint32_t word = 0xf0f00001;

	say("smap ", ebx >> 20 & 1);
	cpuid(1, &ecx);
	say(" popcnt ", ecx >> 23 & 1);
	end();
	TRY("int3\n2:", : : : GONE, "memory");
	put("int3");
	end();
	TRY("fwait\n2:", : : : GONE, "memory");
	put("fwait");
	end();
	TRY("stac\n2: pushf; pop %0", : "=r"(flags) : : GONE, "memory");
	say("stac ", flags & 0x40000);
	end();
	TRY("clac\n2: pushf; pop %0", : "=r"(flags) : : GONE, "memory");
	say("clac ", flags & 0x40000);
	end();
	TRY("popcntl %1, %k0\n2:", : "+r"(r) : "m"(word) : GONE, "memory", "cc");
	say("popcnt ", r);
	end();
}

static void test_sse(void)
{
	static const uint64_t in[2] __attribute__((aligned(16))) = { 0x1122334455667788,
								      0x99aabbccddeeff00 };
	uint32_t word = 0;

	__asm__ volatile("movups %0, %%xmm1; movups %0, %%xmm2" : : "m"(in));
#define SSE(insn) \
	TRY(insn "\n2:", : "+m"(word) : "m"(in) : GONE, "memory"); \
	put(insn); \
	end_xmm()
	SSE("movlps %1, %%xmm1");
	SSE("movhps %1, %%xmm1");
	SSE("movss %%xmm2, %%xmm1");
	SSE("movss %1, %%xmm1");
	SSE("movsd %1, %%xmm1");
	SSE("movlhps %%xmm2, %%xmm1");
	SSE("movhlps %%xmm2, %%xmm1");
	SSE("movd %1, %%xmm1");
	SSE("movq %1, %%xmm1");
	SSE("movq %%xmm2, %%xmm1");
	SSE("movss %%xmm2, %0");
	say("word ", word);
	end();
	SSE("xorps %1, %%xmm1");
	SSE("pxor %%xmm2, %%xmm1");
	SSE("xorpd %%xmm1, %%xmm1");
}

#ifdef __x86_64__
static void exchange(const char *name, uint64_t *at, uint64_t low, uint64_t high)
{
	uint8_t equal = 2;

	put(name);
	TRY("lock cmpxchg16b (%1)\n2: setz %0", : "+q"(equal), "+r"(at), "+a"(low), "+d"(high)
	    : "b"(0x55UL), "c"(0x66UL) : GONE, "memory", "cc");
	say(" equal ", equal);
	say(" ", high);
	say(" ", low);
	end();
}

#define ABSENT	 ((uint64_t *)0x2000ff0)
#define UNMAPPED ((uint64_t *)0x4000000000)
#define NOWHERE	 ((uint64_t *)0x8000000000000000)

/* Two pages in a row, of which the second is the first in memory. */
#define TURNED ((uint8_t *)0x6000000000)

static uint64_t tables[2][512] __attribute__((aligned(4096)));
static uint8_t pages[2][4096] __attribute__((aligned(4096)));

static void map_turned(void)
{
	uint64_t *pml4, *pdpt;

	__asm__("mov %%cr3, %0" : "=r"(pml4));
	pdpt = (uint64_t *)(pml4[0] & ~0xfffUL);
	pdpt[384] = (uint64_t)tables[0] | 3;
	tables[0][0] = (uint64_t)tables[1] | 3;
	tables[1][0] = (uint64_t)pages[1] | 3;
	tables[1][1] = (uint64_t)pages[0] | 3;
}

static void test_turned(void)
{
	uint64_t *across = (uint64_t *)(TURNED + 4095), value = 0x1122334455667788;
	unsigned long r = 0;

	map_turned();
	pages[1][4095] = 1;
	pages[0][0] = 7;
	pages[0][6] = 0xff;
	TRY("popcntq (%1), %0\n2:", : "+r"(r) : "r"(across) : GONE, "memory");
	say("popcnt over turned pages ", r);
	end();
	TRY("movq %0, %%xmm1; movlps %%xmm1, (%1)\n2:", : : "m"(value), "r"(across)
	    : GONE, "memory");
	say("movlps over turned pages ", pages[1][4095]);
	say(" ", *(const uint32_t *)pages[0]);
	end();
}

static void test_long_mode(void)
{
	uint64_t *across = (uint64_t *)((char *)(ABSENT + 2) - 1);
	unsigned long r = 7;

	exchange("cmpxchg16b of an absent page", ABSENT, 0, 0);
	exchange("cmpxchg16b", ABSENT, 1, 2);
	exchange("cmpxchg16b misaligned", ABSENT + 1, 0x66, 0);
	exchange("cmpxchg16b unmapped", UNMAPPED, 0, 0);
	exchange("cmpxchg16b not canonical", NOWHERE, 0, 0);
	*across = 0x8000000000000701;
	TRY("popcntq (%1), %0\n2:", : "+r"(r) : "r"(across) : GONE, "memory");
	say("popcnt over two pages ", r);
	end();
	TRY("popcntq (%1), %0\n2:", : "+r"(r) : "r"(UNMAPPED + 2) : GONE, "memory");
	__asm__ volatile("mov %%cr2, %0" : "=r"(r));
	say("popcnt unmapped, cr2 ", r);
	end();
	test_turned();
}
#endif

/* The trap comes before INC. */
static void test_single_step(void)
{
	unsigned long steps = 0, dr6;

	TRY("pushf; orl $0x100, (" XSP "); popf; pxor %%xmm1, %%xmm1; inc %0\n2:", : "+r"(steps)
	    : : GONE, "memory", "cc");
	__asm__ volatile("mov %%dr6, %0" : "=r"(dr6));
	say("single step ", steps);
	say(" dr6 ", dr6 & 0x4000);
	end();
}

/* With CR0.TS these are #NM. */
static void test_task_switched(void)
{
	unsigned long r;

	__asm__ volatile("mov %%cr0, %0; or $8, %0; mov %0, %%cr0" : "=r"(r));
	TRY("fwait\n2:", : : : GONE, "memory");
	put("fwait, TS");
	end();
	TRY("pxor %%xmm1, %%xmm1\n2:", : : : GONE, "memory");
	put("pxor, TS");
	end();
}

_Noreturn void hello(const uint8_t *params, unsigned long cs);

_Noreturn void hello(const uint8_t *params, unsigned long cs)
{
	const char *word = (const char *)(uintptr_t)*(const uint32_t *)(params + 0x228);

	(void)cs;
	prepare();
	while (*word && *word != '!') /* the command line: for a host that does not know it */
		word++;
	if (*word)
		__asm__ volatile("fnstsw %%ax" : : : "ax");
	test_plain();
	test_sse();
#ifdef __x86_64__
	test_long_mode();
#endif
	test_single_step();
	test_task_switched();
	quit(10);
}
