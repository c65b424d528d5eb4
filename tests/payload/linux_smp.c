/* SPDX-License-Identifier: MIT */
/*
 * A guest of 64 bits on several processors, which start by INIT and SIPI, twice, and work on the
 * same page tables.  Its command line ends in their number, one digit.
 *
 *   moves   The first processor maps a page to another frame again and again, tells the others by
 *           an interrupt, and spoils the old frame when all have said INVLPG.  Nobody may see it.
 *   guards  The same with the right to write.  Who writes meanwhile has #PF and waits.
 *   bits    All change bits of one entry by locked instructions, and drop A and D, while all use
 *           the page: no change is lost.
 *   adds    All add to numbers that lie in pages which are equal otherwise: to be merged.
 *
 * It prints what was wrong, all zeroes, and exits with status 10.  With "!spin" or "!wait" before
 * the number the others do that in real mode.
 */
#include "hello.h"

#define APIC	 0xfee00000u
#define EOI	 0xb0
#define SPURIOUS 0xf0
#define ICR	 0x300
#define INIT	 0xc4500 /* all but this one */
#define SIPI	 0xc4608 /* at 0x8000 */
#define SHOOT	 0xc4041 /* vector 0x41 */

#define MOST   8u
#define ROUNDS 30u
#define TIMES  2001u /* odd */
#define ADDS   3000u
#define PAGES  64u

#define P 1ULL
#define W 2ULL
#define A 0x20ULL
#define D 0x40ULL

#define PAGE __attribute__((aligned(4096)))

/* ---- the way from real mode ---- */

__asm__(".section .rodata\n"
	".balign 8\n"
	"first:	.code16\n"
	"	cli\n"
	"	cld\n"
	"	mov %cs, %ax\n"
	"	mov %ax, %ds\n"
	"	mov %ax, %ss\n"
	"	mov $0x800, %sp\n"
	"	pushf\n"
	"	pushl $0\n"
	"	popfl\n"
	"	popf\n"
	"	lgdtl first_gdtr - first\n"
	"	mov %cr0, %eax\n"
	"	or $1, %eax\n"
	"	mov %eax, %cr0\n"
	"	ljmpl $0x18, $0x8000 + first_flat - first\n"
	".code32\n"
	"first_flat:\n"
	"	mov $0x10, %eax\n"
	"	mov %eax, %ss\n"
	"	mov %eax, %ds\n"
	"	mov %eax, %es\n"
	"	mov %cr4, %eax\n"
	"	or $0x20, %eax\n"
	"	mov %eax, %cr4\n"
	"	mov 0x8000 + first_cr3 - first, %eax\n"
	"	mov %eax, %cr3\n"
	"	mov $0xc0000080, %ecx\n"
	"	rdmsr\n"
	"	or $0x100, %eax\n"
	"	wrmsr\n"
	"	mov %cr0, %eax\n"
	"	or $0x80010000, %eax\n"
	"	mov %eax, %cr0\n"
	"	ljmp $0x08, $0x8000 + first_long - first\n"
	".code64\n"
	"first_long:\n"
	"	movabs $come, %rax\n"
	"	jmp *%rax\n"
	".balign 8\n"
	"first_gdt: .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff\n"
	"first_gdtr: .word 31\n"
	"	.long 0x8000 + first_gdt - first\n"
	".balign 8\n"
	"first_cr3: .quad 0\n"
	"first_last:\n"
	".text\n"
	"come:	mov $1, %edi\n"
	"	lock xadd %edi, next(%rip)\n"
	"	mov %edi, %eax\n"
	"	shl $13, %eax\n"
	"	lea stacks(%rip), %rsp\n"
	"	add %rax, %rsp\n"
	"	call on_cpu\n"
	"on_shoot:\n"
	"	push %rax; push %rcx; push %rdx; push %rsi; push %rdi\n"
	"	push %r8; push %r9; push %r10; push %r11\n"
	"	call shot\n"
	"	pop %r11; pop %r10; pop %r9; pop %r8\n"
	"	pop %rdi; pop %rsi; pop %rdx; pop %rcx; pop %rax\n"
	"	iretq\n"
	"on_fault:\n"
	"	push %rax; push %rcx; push %rdx; push %rsi; push %rdi\n"
	"	push %r8; push %r9; push %r10; push %r11\n"
	"	mov 9*8(%rsp), %rdi\n"
	"	call faulted\n"
	"	pop %r11; pop %r10; pop %r9; pop %r8\n"
	"	pop %rdi; pop %rsi; pop %rdx; pop %rcx; pop %rax\n"
	"	add $8, %rsp\n"
	"	iretq\n");

extern const uint8_t first[], first_cr3[], first_last[];
void on_shoot(void);
void on_fault(void);
_Noreturn void on_cpu(unsigned int cpu);
void shot(void);
void faulted(uint64_t error);

PAGE char stacks[8192 * (MOST + 1)];
uint32_t next = 1;

/* ---- tables ---- */

static uint64_t gdt[] = { 0, 0x00af9b000000ffff, 0x00cf93000000ffff };
static struct {
	uint16_t low, selector, type, high;
	uint32_t top, zero;
} idt[256];

struct pointer {
	uint16_t limit;
	uintptr_t base;
} __attribute__((packed));

PAGE static uint64_t upper[512], middle[512], table[512];
PAGE static volatile uint64_t frame[4][512], kept[512], sums[PAGES][512];
#define MOVED ((volatile uint64_t *)(1ULL << 39))
#define KEPT  ((volatile uint64_t *)((1ULL << 39) + 4096))

static void set_gate(unsigned int vector, void (*handler)(void))
{
	uintptr_t at = (uintptr_t)handler;

	idt[vector].low = (uint16_t)at;
	idt[vector].high = (uint16_t)(at >> 16);
	idt[vector].selector = 8;
	idt[vector].type = 0x8e00;
}

static uint64_t entry(void)
{
	return *(volatile uint64_t *)&table[0];
}

static void set_entry(uint64_t to)
{
	*(volatile uint64_t *)&table[0] = to;
}

static uint64_t entry_for(volatile uint64_t *to)
{
	return (uintptr_t)to | P | W;
}

static void build_tables(void)
{
	uint64_t *top;

	__asm__ volatile("mov %%cr3, %0" : "=r"(top));
	table[0] = entry_for(frame[0]);
	table[1] = entry_for(kept);
	middle[0] = entry_for(table);
	upper[0] = entry_for(middle);
	((uint64_t *)((uintptr_t)top & ~0xfffULL))[1] = entry_for(upper);
	*(uint64_t *)(0x8000 + (uintptr_t)first_cr3 - (uintptr_t)first) = (uintptr_t)top;
}

static void apic_write(uint32_t reg, uint32_t value)
{
	*(volatile uint32_t *)(uintptr_t)(APIC + reg) = value;
}

static void load_tables(void)
{
	struct pointer to_gdt = { sizeof(gdt) - 1, (uintptr_t)gdt },
		       to_idt = { sizeof(idt) - 1, (uintptr_t)idt };

	__asm__ volatile("lgdt %0; lidt %1" : : "m"(to_gdt), "m"(to_idt));
	__asm__ volatile("pushq $8; lea 1f(%%rip), %%rax; push %%rax; lretq; 1:"
			 : : : "rax", "memory");
	__asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%ss" : : "r"(0x10));
	apic_write(SPURIOUS, 0x1ff);
}

static void invlpg(volatile void *at)
{
	__asm__ volatile("invlpg (%0)" : : "r"(at) : "memory");
}

/* ---- what all processors share ---- */

static volatile uint32_t cpus, phase, done, acks, rounds, saw, lost, waited;

static void count(volatile uint32_t *n)
{
	__asm__ volatile("lock incl %0" : "+m"(*n) : : "memory");
}

static void on(void)
{
	__asm__ volatile("sti" : : : "memory");
}

void shot(void)
{
	invlpg(MOVED);
	count(&acks);
	apic_write(EOI, 0);
}

/* A write to what is guarded: wait until it is allowed, with interrupts as they were. */
void faulted(uint64_t error)
{
	uint64_t at;

	__asm__ volatile("mov %%cr2, %0" : "=r"(at));
	if (error != 3 || at - (uintptr_t)MOVED >= 4096) {
		say("smp: #PF ", error);
		say(" at ", at);
		quit(1);
	}
	count(&waited);
	on();
	while (!(entry() & W))
		__asm__ volatile("pause");
	__asm__ volatile("cli" : : : "memory");
}

/* All others have forgotten the page when it returns. */
static void shoot_down(void)
{
	acks = 0;
	invlpg(MOVED);
	apic_write(ICR, SHOOT);
	while (acks != cpus - 1)
		__asm__ volatile("pause");
}

/* ---- what they do ---- */

#define SPOILT ~0ULL

static void move_first(void)
{
	for (unsigned int n = 1; n <= ROUNDS; n++) {
		volatile uint64_t *old = frame[(n - 1) % 4], *new = frame[n % 4];

		*new = n;
		set_entry(entry_for(new));
		shoot_down();
		*old = SPOILT;
	}
}

static void move_other(void)
{
	for (uint64_t last = 0, now; (now = MOVED[0]) != ROUNDS; last = now)
		if (now == SPOILT || now < last)
			count(&saw);
}

static void guard_first(void)
{
	for (unsigned int n = 0; n < ROUNDS; n++) {
		volatile uint64_t *page = (uint64_t *)(entry() & ~0xfffULL);
		uint64_t before[MOST];

		set_entry(entry() & ~W);
		shoot_down();
		for (unsigned int cpu = 1; cpu < cpus; cpu++)
			before[cpu] = page[cpu];
		for (unsigned int i = 0; i < 2000; i++)
			__asm__ volatile("pause");
		for (unsigned int cpu = 1; cpu < cpus; cpu++)
			if (page[cpu] != before[cpu])
				count(&saw);
		set_entry(entry() | W);
		for (unsigned int i = 0; i < 2000; i++)
			__asm__ volatile("pause");
	}
	rounds = ROUNDS;
}

static void guard_other(unsigned int cpu)
{
	while (rounds != ROUNDS)
		MOVED[cpu]++;
}

static void bits(unsigned int cpu)
{
	for (unsigned int n = 0; n < TIMES; n++) {
		__asm__ volatile("lock btcq %1, %0" : "+m"(table[1]) : "r"(52ULL + cpu) : "memory");
		if (n % 8 == cpu) {
			__asm__ volatile("lock andq %1, %0"
					 : "+m"(table[1]) : "r"(~(A | D)) : "memory");
			invlpg(KEPT);
		}
		KEPT[cpu]++;
	}
}

static void adds(void)
{
	for (unsigned int n = 0; n < ADDS; n++)
		__asm__ volatile("lock incq %0" : "+m"(sums[n % PAGES][0]) : : "memory");
}

static void work(unsigned int cpu, unsigned int what)
{
	switch (what) {
	case 1: cpu ? move_other() : move_first(); break;
	case 2: cpu ? guard_other(cpu) : guard_first(); break;
	case 3: bits(cpu); break;
	default: adds();
	}
}

_Noreturn void on_cpu(unsigned int cpu)
{
	load_tables();
	count(&done);
	on();
	for (unsigned int what = 1; what <= 4; what++) {
		while (phase != what)
			__asm__ volatile("pause");
		work(cpu, what);
		count(&done);
	}
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* ---- the first processor ---- */

static void await_others(void)
{
	while (done != cpus - 1)
		__asm__ volatile("pause");
	done = 0;
}

static void start_others(void)
{
	next = 1;
	apic_write(ICR, INIT);
	apic_write(ICR, SIPI);
	await_others();
}

static void do_phase(unsigned int what)
{
	saw = 0;
	phase = what;
	work(0, what);
	await_others();
}

static void check_bits(void)
{
	for (unsigned int cpu = 0; cpu < cpus; cpu++)
		if (!(table[1] >> (52 + cpu) & 1) || KEPT[cpu] != TIMES)
			lost++;
	if ((table[1] & 0xffffffffff019ULL) != ((uintptr_t)kept | P) || !(table[1] & W))
		lost++;
	say(" bits ", lost);
}

static void check_sums(void)
{
	uint64_t sum = 0;

	for (unsigned int n = 0; n < PAGES; n++)
		sum += sums[n][0];
	say(" adds ", (uint64_t)ADDS * cpus - sum);
}

_Noreturn void hello(const uint8_t *params, unsigned long cs);

_Noreturn void hello(const uint8_t *params, unsigned long cs)
{
	const char *line = (const char *)(uintptr_t)*(const uint32_t *)(params + 0x228);
	uint8_t *to = (uint8_t *)0x8000;

	(void)cs;
	for (uintptr_t i = 0; i < (uintptr_t)first_last - (uintptr_t)first; i++)
		to[i] = first[i];
	while (line[1]) {
		if (*line == '!')
			*(uint16_t *)to = (uint16_t)(line[1] == 's' ? 0xfeeb : 0xf4fb);
		line++;
	}
	cpus = (uint32_t)(*line - '0');
	set_gate(0x41, on_shoot);
	set_gate(14, on_fault);
	build_tables();
	load_tables();
	start_others();
	start_others(); /* they run already */
	say("smp: cpus ", next);
	do_phase(1);
	say(" moves ", saw);
	do_phase(2);
	say(" guards ", saw);
	do_phase(3);
	check_bits();
	do_phase(4);
	check_sums();
	put(waited || cpus == 1 ? "\n" : " but nobody waited\n");
	quit(10);
}
