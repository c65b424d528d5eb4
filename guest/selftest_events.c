/* SPDX-License-Identifier: MIT */
/*
 * Exceptions: faults within faults, double faults, stacks, single steps, and instructions that
 * fault half-way.
 *
 * Gates and the TSS are edited through the direct map.  Where the trap stack is not what a nucleus
 * call needs, there are only stores between two edits.
 */
#include "memory.h"
#include "selftest.h"

#define GATE_PRESENT 0x80u
#define TSS_RSP0     1u /* in units of 4 bytes */
#define TSS_IST1     9u

extern char tss[], trap_stack_top[], trace_debug[], nested_fault[];
extern uint64_t idt[][2];

static volatile uint64_t *gate(unsigned int vector)
{
	return direct((uint64_t)idt[vector]);
}

/* Another handler, or 0 for the one that is there, and another stack for this vector. */
static uint64_t gate_set(unsigned int vector, const void *handler, uint64_t ist)
{
	uint64_t before = *gate(vector), at = (uint64_t)handler;
	uint64_t now = (before & ~(7UL << 32)) | ist << 32;

	if (at)
		now = (now & 0xffffffff0000) | (at & 0xffff) | at >> 16 << 48;
	*gate(vector) = now;
	return before;
}

static void tss_set(unsigned int at, uint64_t gva)
{
	volatile uint32_t *word = direct((uint64_t)tss + 4UL * at);

	word[0] = (uint32_t)gva;
	word[1] = (uint32_t)(gva >> 32);
}

/* ---- faults within faults ---- */

/* As selftest_asm.S has it. */
extern struct nested {
	uint64_t cr2, error, cs; /* of the fault */
	uint64_t touch;		 /* what the handler reads, or 0 */
	pte_t *entry;		 /* then it repairs this */
	uint64_t value;
	uint64_t read, unused;
} nested[NESTED_MAX];
extern uint64_t nested_depth;

static void nested_faults(const uint64_t frame[])
{
	uint64_t gva = SCRATCH_BASE, before;
	bool good = true;

	nested_depth = 0;
	for (unsigned int i = 0; i < NESTED_MAX; i++) {
		nested[i] = (struct nested){
			.touch = i + 1 < NESTED_MAX ? gva + (i + 1) * PAGE_SIZE + 8 : 0,
			.entry = scratch_map(gva + i * PAGE_SIZE, 0),
			.value = frame[i] | RW,
		};
		frame_mark(frame[i]);
	}
	before = gate_set(VECTOR_PF, nested_fault, 0);
	*(volatile uint64_t *)gva = 1;
	*gate(VECTOR_PF) = before;
	tap_hex(nested_depth, NESTED_MAX,
		"a page fault in the handler of one in the handler of one");
	for (unsigned int i = 0; i < NESTED_MAX; i++)
		good &= nested[i].cr2 == gva + i * PAGE_SIZE + (i ? 8 : 0) &&
			nested[i].error == (i ? 0x00 : 0x06) &&
			nested[i].cs == (i ? NUCLEUS_CS : USER_CS);
	tap_ok(good, "each has its address, error code and level");
	for (unsigned int i = 0; i + 1 < NESTED_MAX; i++)
		good &= nested[i].read == MARK_FIRST + i + 1;
	tap_ok(good && *(volatile uint64_t *)gva == 1, "and each access is made in the end");
	frames_unmark();
}

/* ---- stacks ---- */

/* While the stack for CPL 0 is bad, only a gate with a stack of its own can be passed. */
static void try_bad_stack(uint64_t rsp0, void (*fn)(uint64_t), uint64_t arg)
{
	guard_trap.vector = UINT64_MAX;
	tss_set(TSS_RSP0, rsp0);
	guarded(fn, arg);
	tss_set(TSS_RSP0, (uint64_t)trap_stack_top);
}

static void divide(uint64_t by)
{
	__asm__ volatile("xor %%edx, %%edx\n\tdiv %0" ::"r"(by) : "rax", "rdx");
}

static void breakpoint(uint64_t unused)
{
	(void)unused;
	__asm__ volatile("int3");
}

static void double_faults(void)
{
	uint64_t nowhere = SCRATCH_BASE + GiB, df;

	scratch_map(nowhere, 0);
	scratch_map(SCRATCH_BASE, 0);
	tss_set(TSS_IST1, (uint64_t)trap_stack_top);
	df = gate_set(VECTOR_DF, NULL, 1);
	try_bad_stack(nowhere, access_read, SCRATCH_BASE);
	tap_hex(guard_trap.vector << 16 | guard_trap.error, VECTOR_DF << 16,
		"#PF with an absent stack is #DF, through IST 1");
	try_bad_stack(1UL << 62, access_read, SCRATCH_BASE);
	tap_hex(guard_trap.vector << 16 | guard_trap.error, VECTOR_DF << 16,
		"#PF with a stack that is not canonical is #DF");
	*gate(VECTOR_DE) &= ~(1UL << 47);
	guard_trap.vector = UINT64_MAX;
	guarded(divide, 0);
	*gate(VECTOR_DE) |= 1UL << 47;
	tap_hex(guard_trap.vector << 16 | guard_trap.error, VECTOR_DF << 16,
		"#DE with an absent gate is #DF");
	*gate(VECTOR_DF) = df;
}

/* A gate with a stack of its own leaves that of the TSS's RSP0 alone, and the other way round. */
static void own_stacks(void)
{
	static uint64_t other[64] __attribute__((aligned(16)));
	uint64_t bp, top = (uint64_t)(other + ARRAY_SIZE(other));
	bool clean = true, frame;

	bp = gate_set(VECTOR_BP, NULL, 3);
	tss_set(TSS_IST1 + 4, (uint64_t)trap_stack_top);
	try_bad_stack(top, breakpoint, 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(other); i++)
		clean &= !other[i];
	tap_hex(guard_trap.vector, VECTOR_BP, "a trap through IST 3 has its frame there");
	tap_ok(clean, "and does not touch RSP0's stack");
	tss_set(TSS_IST1 + 4, top - 8); /* is aligned down to 16 */
	*gate(VECTOR_BP) = bp;
	guarded(breakpoint, 0);
	tap_ok(guard_trap.vector == VECTOR_BP && !other[ARRAY_SIZE(other) - 3],
	       "without IST the frame is on RSP0's stack");
	gate_set(VECTOR_BP, NULL, 3);
	tss_set(TSS_RSP0, (uint64_t)trap_stack_top);
	guarded(breakpoint, 0);
	*gate(VECTOR_BP) = bp;
	frame = other[ARRAY_SIZE(other) - 3] == USER_DS && other[ARRAY_SIZE(other) - 6] == USER_CS;
	tap_ok(frame, "an IST that is not aligned is aligned first");
}

/* ---- single steps ---- */

extern uint64_t traced, trace_rip[TRACE_MAX], trace_dr6;
extern const uint64_t steps_user_rips[], steps_string_rips[], steps_nucleus_rips[], steps_end[];
extern char steps_nucleus[];
void steps_user(void);
void steps_string(void);

#define DR6_BS 0x4000u

static void trace_begin(void)
{
	traced = 0;
	trace_dr6 = UINT64_MAX;
	gate_set(VECTOR_DB, trace_debug, 0);
}

static void trace_check(const char *what, const uint64_t *rip, const uint64_t *end)
{
	uint64_t nr = (uint64_t)(end - rip), same = 0;

	while (same < nr && same < traced && trace_rip[same] == rip[same])
		same++;
	if (same < nr)
		print("# step %lu: rip 0x%lx, want 0x%lx\n", same, trace_rip[same], rip[same]);
	tap_ok(same == nr && traced == nr, "%s: a trap after each instruction", what);
	tap_hex(trace_dr6 & 0xe00f, DR6_BS, "and each time DR6 says why");
}

static void single_steps(void)
{
	uint64_t before = *gate(VECTOR_DB);

	trace_begin();
	steps_user();
	trace_check("steps at CPL 3", steps_user_rips, steps_string_rips);
	trace_begin();
	steps_string();
	trace_check("steps of a string", steps_string_rips, steps_nucleus_rips);
	trace_begin();
	nucleus_call(CALL_RUN, (uint64_t)steps_nucleus, 0);
	trace_check("steps at CPL 0", steps_nucleus_rips, steps_end);
	*gate(VECTOR_DB) = before;
}

/* ---- instructions that fault half-way ---- */

static struct {
	pte_t *entry;
	uint64_t value, cr2, error, rcx, rdi, rsi, faults;
} repair;

static bool repair_page(struct trap *trap)
{
	if (trap->vector != VECTOR_PF || repair.faults++)
		return false;
	repair.cr2 = trap->cr2;
	repair.error = trap->error;
	repair.rcx = trap->rcx;
	repair.rsi = trap->rsi;
	repair.rdi = trap->rdi;
	*repair.entry = repair.value;
	tlb_flush_page((void *)trap->cr2);
	return true;
}

static void copy(uint64_t to, uint64_t from, uint64_t words)
{
	__asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words)::"memory");
}

/* Two pages at SCRATCH_BASE, two at a GiB further.  The second one of either has `flags`. */
static void half_way(const char *what, const uint64_t frame[], uint64_t from_flags,
		     uint64_t to_flags, uint64_t error)
{
	uint64_t from = SCRATCH_BASE + PAGE_SIZE - 24, to = SCRATCH_BASE + GiB + PAGE_SIZE - 24;
	bool reads = !(error & 2), same;
	pte_t *source, *target;

	for (uint64_t i = 0; i < 2 * PAGE_WORDS; i++) {
		((uint64_t *)direct(frame[i / PAGE_WORDS]))[i % PAGE_WORDS] = mix(i);
		((uint64_t *)direct(frame[2 + i / PAGE_WORDS]))[i % PAGE_WORDS] = 0;
	}
	scratch_map(SCRATCH_BASE, frame[0] | RW);
	source = scratch_map(SCRATCH_BASE + PAGE_SIZE, from_flags ? frame[1] | from_flags : 0);
	scratch_map(SCRATCH_BASE + GiB, frame[2] | RW);
	target = scratch_map(SCRATCH_BASE + GiB + PAGE_SIZE, to_flags ? frame[3] | to_flags : 0);
	repair = (typeof(repair)){ .entry = reads ? source : target,
				   .value = frame[reads ? 1 : 3] | RW };
	trap_hook = repair_page;
	copy(to, from, 8);
	trap_hook = NULL;
	tap_ok(repair.faults == 1 && repair.error == error && repair.rcx == 5 &&
		       repair.rsi == from + 24 && repair.rdi == to + 24 &&
		       repair.cr2 == (reads ? from : to) + 24,
	       "%s: REP MOVS faults in the middle, with its registers so far", what);
	same = !memcmp((void *)from, (void *)to, 64);
	tap_ok(same && !((uint64_t *)to)[8], "and goes on where it was");
}

static void write_across(uint64_t at)
{
	*(volatile uint64_t *)at = UINT64_MAX;
}

/* A store to two pages, of which the second may not be written, writes to neither. */
static void across_pages(const uint64_t frame[])
{
	uint64_t at = SCRATCH_BASE + PAGE_SIZE - 4;

	scratch_map(SCRATCH_BASE, frame[0] | RW);
	scratch_map(SCRATCH_BASE + PAGE_SIZE, frame[1] | PTE_P | PTE_U);
	memset(direct(frame[0]), 0, PAGE_SIZE);
	guard_trap.vector = 0;
	guarded(write_across, at);
	tap_hex(guard_trap.vector << 16 | guard_trap.error, VECTOR_PF << 16 | 0x07,
		"a store across two pages, the second read-only");
	tap_hex(guard_trap.cr2, SCRATCH_BASE + PAGE_SIZE, "CR2 is the second one's");
	tap_hex(*(volatile uint32_t *)at, 0, "nothing is written to the first");
}

/* ---- addresses that are not canonical ---- */

static void push_at(uint64_t rsp)
{
	__asm__ volatile(
		"mov %%rsp, %%rbx\n\tmov %0, %%rsp\n\tpush %%rax\n\tmov %%rbx, %%rsp" ::"r"(rsp)
		: "rbx", "memory");
}

static void not_canonical(void)
{
	uint64_t hole = 1UL << 47;

	tap_hex(try_access(access_write, hole), VECTOR_GP << 16, "a write to the hole is #GP");
	tap_hex(try_access(access_read, ~hole), VECTOR_GP << 16, "so is a read of its last byte");
	tap_hex(try_access(access_read, hole - 1), 0x04, "below it there is #PF");
	guard_trap.vector = 0;
	guarded(push_at, hole + 64);
	tap_hex(guard_trap.vector << 16 | guard_trap.error, VECTOR_SS << 16,
		"a push to the hole is #SS");
	tap_hex(probe(ACCESS_READ, hole, 0).code, VECTOR_GP << 16, "CPL 0 has #GP, too");
}

void selftest_events(void)
{
	uint64_t frame[NESTED_MAX];

	for (unsigned int i = 0; i < NESTED_MAX; i++)
		frame[i] = alloc_pages(0);
	nested_faults(frame);
	double_faults();
	own_stacks();
	single_steps();
	half_way("an absent page to read", frame, 0, RW, 0x04);
	half_way("an absent page to write", frame, RW, 0, 0x06);
	half_way("a page not to write", frame, RW, PTE_P | PTE_U, 0x07);
	across_pages(frame);
	not_canonical();
	pte_free_tables(pml4, SCRATCH_BASE);
	root_switch(direct((uint64_t)pml4));
	for (unsigned int i = 0; i < NESTED_MAX; i++)
		free_pages(frame[i], 0);
}
