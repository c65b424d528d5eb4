/* SPDX-License-Identifier: MIT */
/*
 * crash: ways for a guest to go wrong, for tests of the VMM.
 *
 *	triple		#UD with an empty IDT
 *	ud, null	an exception that nobody handles, at CPL 3: a line on the console, then the
 *			same instruction again with an empty IDT
 *	jump read write	a page mapped to a gpa where there is nothing
 *	stack		recursion into the guard page
 *	loop, flood	for ever: nothing, or console output
 *	vmcall		a hypercall from CPL 0
 *	scribble	overwrite all of memory, page tables and code too
 *	int3		a breakpoint in the nucleus
 *	hlt		halt with interrupts off
 */
#include <quire/abi.h>
#include "paging.h"
#include "workload.h"

#define NOWHERE (QUIRE_GAP_START + 0x20000000) /* in the hole below 4 GiB, no device */

static void *map_nowhere(void)
{
	*pte_find(pml4, SCRATCH_BASE, 1, true) = NOWHERE | (PTE_USER & ~PTE_NX);
	return (void *)SCRATCH_BASE;
}

static bool die(struct trap *trap)
{
	nucleus_call(CALL_DIE, (uint64_t)trap, 0);
	return true;
}

static void crash_ud(void)
{
	__asm__ volatile("ud2");
}

static void crash_triple(void)
{
	trap_hook = die;
	crash_ud();
}

static void crash_null(void)
{
	__asm__ volatile("movq $0, (%0)" ::"r"(0UL) : "memory");
}

static void crash_jump(void)
{
	__asm__ volatile("jmp *%0" ::"r"(map_nowhere()));
}

static void crash_read(void)
{
	(void)*(volatile uint64_t *)map_nowhere();
}

static void crash_write(void)
{
	*(volatile uint64_t *)map_nowhere() = 1;
}

static void crash_stack(void)
{
	__asm__ volatile("1: push %%rax\n\tjmp 1b" ::: "memory");
}

static void crash_loop(void)
{
	__asm__ volatile("1: jmp 1b");
}

static void crash_flood(void)
{
	for (;;)
		print("crash: flood of console output, and no end to it in sight\n");
}

static void crash_vmcall(void)
{
	nucleus_call(CALL_VMCALL, 0, 0);
}

static void crash_scribble(void)
{
	memset(direct(PAGE_SIZE), 0x5a, boot.ram[boot.nr_ram - 1].end - PAGE_SIZE);
}

static void crash_int3(void)
{
	nucleus_call(CALL_INT3, 0, 0);
}

static void crash_hlt(void)
{
	nucleus_call(CALL_HALT, 0, 0);
}

static const struct {
	const char *kind;
	void (*crash)(void);
} kinds[] = {
	{ "triple", crash_triple },	{ "ud", crash_ud },
	{ "null", crash_null },		{ "jump", crash_jump },
	{ "read", crash_read },		{ "write", crash_write },
	{ "stack", crash_stack },	{ "loop", crash_loop },
	{ "flood", crash_flood },	{ "vmcall", crash_vmcall },
	{ "scribble", crash_scribble }, { "int3", crash_int3 },
	{ "hlt", crash_hlt },
};

int crash_run(struct args *a)
{
	const char *kind = args_word(a);

	for (unsigned int i = 0; kind && args_done(a) && i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(kind, kinds[i].kind)) {
			print("crash: %s\n", kind);
			console_flush();
			kinds[i].crash();
			print("crash: %s: survived\n", kind);
			return STATUS_OK;
		}
	a->bad = true;
	return STATUS_USAGE;
}
