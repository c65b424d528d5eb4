/* SPDX-License-Identifier: MIT */
/*
 * A guest of 64 bits that is interrupted in every way: while it waits, between two instructions of
 * its kernel, in user mode and in a handler; and not while it has said no.  It prints what comes,
 * and exits with status 10.  With "asleep" at the end of its command line it halts for ever
 * instead, with "waits" it does so with interrupts on; with "idles" it waits for two seconds, a
 * tenth at a time, and with "ticks" for ever.
 *
 * It uses neither PUSHF nor POPF, as these are what they should be only at ring 0.
 */
#include "hello.h"

#define APIC	 0xfee00000u
#define TPR	 0x80
#define EOI	 0xb0
#define SPURIOUS 0xf0
#define IRR	 0x200
#define ICR	 0x300
#define TIMER	 0x320
#define LINT0	 0x350
#define COUNT	 0x380
#define DIVIDE	 0x3e0

#define MASKED	 0x10000
#define EXTINT	 0x700
#define AS_NMI	 0x400
#define DEADLINE 0x40000
#define TO_SELF	 0x40000

#define LOW  0x41
#define HIGH 0x61
#define PIC  0x08 /* where a BIOS has it: it is also the vector of the double fault */

#define CODE0 0x08
#define DATA3 0x1b
#define CODE3 0x23
#define TSS   0x28

#define IF 0x200

struct frame {
	uint64_t rip, cs, rflags, rsp, ss;
};

static volatile unsigned int count[256];
static struct frame seen;
uint64_t go_to, stay_at; /* if set, the handler returns to ring 0 there, with this stack */
static void (*hook[256])(void);
static volatile char order[16], *next_order = order;

/* ---- handlers ---- */

#define VECTOR(v) \
	__asm__("on_" #v ": pushq $" #v "\n\tjmp common"); \
	void on_##v(void)
VECTOR(0x02);
VECTOR(0x08);
VECTOR(0x41);
VECTOR(0x61);
__asm__("common:\n\t"
	"push %rax; push %rcx; push %rdx; push %rsi; push %rdi\n\t"
	"push %r8; push %r9; push %r10; push %r11\n\t"
	"mov 9*8(%rsp), %rdi\n\t"
	"lea 10*8(%rsp), %rsi\n\t"
	"call on_vector\n\t"
	"pop %r11; pop %r10; pop %r9; pop %r8\n\t"
	"pop %rdi; pop %rsi; pop %rdx; pop %rcx; pop %rax\n\t"
	"add $8, %rsp\n\t"
	"iretq");
void on_vector(unsigned int vector, struct frame *frame);

static void apic_write(uint32_t reg, uint32_t value)
{
	*(volatile uint32_t *)(uintptr_t)(APIC + reg) = value;
}

static uint32_t apic_read(uint32_t reg)
{
	return *(volatile uint32_t *)(uintptr_t)(APIC + reg);
}

void on_vector(unsigned int vector, struct frame *frame)
{
	count[vector]++;
	seen = *frame;
	*next_order++ = vector == LOW ? 'L' : 'H';
	if (hook[vector])
		hook[vector]();
	*next_order++ = vector == LOW ? 'l' : 'h';
	if (go_to) {
		*frame = (struct frame){ go_to, CODE0, frame->rflags & ~(uint64_t)IF, stay_at, 0 };
		go_to = 0;
	}
	if (vector == PIC)
		out8(0x20, 0x20);
	else if (vector != 2)
		apic_write(EOI, 0);
}

/* ---- tables ---- */

static uint64_t gdt[] = { 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cff3000000ffff,
			  0x00affb000000ffff, 0, 0 };
static struct {
	uint32_t zero, rsp0_low, rsp0_high, rest[23];
} __attribute__((packed)) tss;
static struct {
	uint16_t low, selector, type, high;
	uint32_t top, zero;
} idt[256];
static char inner[4096], user[4096];

struct pointer {
	uint16_t limit;
	uintptr_t base;
} __attribute__((packed));

static void set_gate(unsigned int vector, void (*handler)(void))
{
	uintptr_t at = (uintptr_t)handler;

	idt[vector].low = (uint16_t)at;
	idt[vector].high = (uint16_t)(at >> 16);
	idt[vector].selector = CODE0;
	idt[vector].type = 0x8e00;
}

/* All of memory may be used by the user. */
static void open_tables(void)
{
	uint64_t *top, *second;
	unsigned int i, k;

	__asm__ volatile("mov %%cr3, %0" : "=r"(top));
	top[0] |= 4;
	second = (uint64_t *)(top[0] & ~0xfffULL);
	for (i = 0; i < 4; i++) {
		uint64_t *third = (uint64_t *)(second[i] & ~0xfffULL);

		second[i] |= 4;
		for (k = 0; k < 512; k++)
			third[k] |= 4;
	}
	__asm__ volatile("mov %0, %%cr3" : : "r"(top) : "memory");
}

static void prepare(void)
{
	struct pointer to_gdt = { sizeof(gdt) - 1, (uintptr_t)gdt },
		       to_idt = { sizeof(idt) - 1, (uintptr_t)idt };
	uint64_t at = (uintptr_t)&tss, rsp0 = (uintptr_t)(inner + sizeof(inner));

	gdt[5] = 103 | (at & 0xffffff) << 16 | 0x89ULL << 40 | (at >> 24 & 0xff) << 56;
	gdt[6] = at >> 32;
	tss.rsp0_low = (uint32_t)rsp0;
	tss.rsp0_high = (uint32_t)(rsp0 >> 32);
	set_gate(2, on_0x02);
	set_gate(PIC, on_0x08);
	set_gate(LOW, on_0x41);
	set_gate(HIGH, on_0x61);
	open_tables();
	__asm__ volatile("lgdt %0; lidt %1; ltr %w2" : : "m"(to_gdt), "m"(to_idt), "r"(TSS));
	__asm__ volatile("pushq %0; lea 1f(%%rip), %%rax; push %%rax; lretq; 1:" : : "i"(CODE0)
			 : "rax", "memory");
	__asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %1, %%ss" : : "r"(0), "r"(0x10));
	apic_write(SPURIOUS, 0x1ff);
	apic_write(DIVIDE, 0xb); /* by 1: nanoseconds */
	apic_write(LINT0, MASKED);
}

/* ---- what interrupts ---- */

static void start_timer(uint32_t ns)
{
	apic_write(TIMER, LOW);
	apic_write(COUNT, ns);
}

static void send(uint32_t vector)
{
	apic_write(ICR, TO_SELF | vector);
}

static void await(uint32_t vector)
{
	while (!(apic_read(IRR + vector / 32 * 16) >> vector % 32 & 1))
		;
}

static void begin(void)
{
	count[LOW] = count[HIGH] = 0;
	next_order = order;
}

static void end(const char *what)
{
	put(what);
	say(" low ", count[LOW]);
	say(" high ", count[HIGH]);
	put("\n");
}

/* ---- tests ---- */

static void wait_for_timer(void)
{
	uint64_t at;

	begin();
	for (unsigned int i = 0; i < 3; i++) {
		start_timer(3000000);
		__asm__ volatile("lea 1f(%%rip), %0; sti; hlt; 1: cli" : "=r"(at) : : "memory");
		if (seen.rip != at)
			put("not behind hlt ");
	}
	end("hlt waits for the timer:");
}

static void hold_back(void)
{
	begin();
	start_timer(100000);
	await(LOW);
	for (unsigned int i = 0; i < 1000; i++)
		__asm__ volatile("" : : : "memory");
	end("interrupts off:");
	__asm__ volatile("sti; nop; cli" : : : "memory");
	end("... on:");
}

static void shadow(void)
{
	uint64_t at;

	begin();
	send(LOW);
	await(LOW);
	__asm__ volatile("lea 1f(%%rip), %0; sti; nop; 1: nop; cli" : "=r"(at) : : "memory");
	say("behind sti: ", seen.rip - at);
	send(LOW);
	await(LOW);
	__asm__ volatile("lea 1f(%%rip), %0; sti; hlt; 1: cli" : "=r"(at) : : "memory");
	say(", sti hlt: ", seen.rip - at);
	send(LOW);
	await(LOW);
	__asm__ volatile("mov %%rsp, stay_at(%%rip)\n\t"
			 "lea 1f(%%rip), %%rax; mov %%rax, go_to(%%rip)\n\t"
			 "sti; 2: jmp 2b; 1:" : : : "rax", "memory");
	say(", sti jmp: ", seen.rflags & IF);
	end(".");
}

/* A register that an interrupt must not change, over a million instructions. */
static void loop(void)
{
	uint64_t n = 3000000, sum = 0;

	begin();
	start_timer(200000);
	__asm__ volatile("sti; 1: add %1, %0; dec %1; jnz 1b; cli" : "+r"(sum), "+r"(n));
	say("sum ", sum);
	end("");
}

static void nest_high(void)
{
	send(HIGH);
	__asm__ volatile("sti; nop; cli" : : : "memory");
}

static void nest_low(void)
{
	send(LOW);
	__asm__ volatile("sti; nop; nop; cli" : : : "memory");
}

static void nest(void)
{
	begin();
	hook[LOW] = nest_high;
	send(LOW);
	__asm__ volatile("sti; nop; cli" : : : "memory");
	hook[LOW] = 0;
	*next_order++ = ' ';
	hook[HIGH] = nest_low;
	send(HIGH);
	__asm__ volatile("sti; nop; nop; cli" : : : "memory");
	hook[HIGH] = 0;
	*next_order = '\0';
	put((const char *)order);
	end(" nested:");
}

static void priorities(void)
{
	uint64_t tpr;

	begin();
	__asm__ volatile("mov %0, %%cr8" : : "r"(5UL));
	send(LOW);
	__asm__ volatile("sti; nop; nop; cli" : : : "memory");
	say("tpr ", apic_read(TPR));
	end(" cr8 5:");
	__asm__ volatile("mov %0, %%cr8; sti; nop; cli" : : "r"(0UL) : "memory");
	apic_write(TPR, 0x30);
	__asm__ volatile("mov %%cr8, %0" : "=r"(tpr));
	apic_write(TPR, 0);
	say("cr8 ", tpr);
	end(" cr8 0:");
}

static void in_user_mode(void)
{
	begin();
	start_timer(300000);
	__asm__ volatile("mov %%rsp, stay_at(%%rip)\n\t"
			 "lea 1f(%%rip), %%rax; mov %%rax, go_to(%%rip)\n\t"
			 "pushq %0; push %1; pushq %2; pushq %3\n\t"
			 "lea 2f(%%rip), %%rax; push %%rax\n\t"
			 "iretq; 2: jmp 2b; 1:"
			 : : "i"(DATA3), "r"(user + sizeof(user)), "i"(IF | 2), "i"(CODE3)
			 : "rax", "memory");
	say("user cs ", seen.cs);
	say(" ss ", seen.ss);
	say(" rsp ", (uintptr_t)(user + sizeof(user)) - seen.rsp);
	end("");
}

/* A vector below 32. */
static void by_pic(void)
{
	static const uint8_t setup[][2] = { { 0x20, 0x11 }, { 0x21, PIC }, { 0x21, 4 }, { 0x21, 1 },
					    { 0xa1, 0xff }, { 0x21, 0xfe }, { 0x43, 0x30 },
					    { 0x40, 0xe8 }, { 0x40, 0x03 } };
	uint64_t at;

	begin();
	apic_write(LINT0, EXTINT);
	for (unsigned int i = 0; i < sizeof(setup) / 2; i++)
		out8(setup[i][0], setup[i][1]);
	__asm__ volatile("lea 1f(%%rip), %0; sti; hlt; 1: cli" : "=r"(at) : : "memory");
	out8(0x21, 0xff);
	apic_write(LINT0, MASKED);
	say("8259 ", count[PIC]);
	say(" rip ", seen.rip - at);
	put("\n");
}

/* With interrupts off; the timer sends one, too. */
static void by_nmi(void)
{
	uint64_t at;

	begin();
	send(AS_NMI);
	__asm__ volatile("nop; nop; nop" : : : "memory");
	say("nmi ", count[2]);
	apic_write(LINT0, AS_NMI);
	out8(0x43, 0x30);
	out8(0x40, 0xe8);
	out8(0x40, 0x03);
	__asm__ volatile("lea 1f(%%rip), %0; cli; hlt; 1:" : "=r"(at) : : "memory");
	apic_write(LINT0, MASKED);
	say(" in hlt ", count[2]);
	say(" rip ", seen.rip - at);
	say(" flags ", seen.rflags & 0x10200);
	put("\n");
}

static uint64_t rdmsr(uint32_t index)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
	return low | (uint64_t)high << 32;
}

static void wrmsr(uint32_t index, uint64_t value)
{
	__asm__ volatile("wrmsr" : : "c"(index), "a"((uint32_t)value), "d"(value >> 32) : "memory");
}

static uint32_t cpuid(uint32_t leaf, uint32_t *ebx)
{
	uint32_t ecx = 0, edx;

	__asm__ volatile("cpuid" : "+a"(leaf), "=b"(*ebx), "+c"(ecx), "=d"(edx));
	return ecx;
}

static uint32_t cpuid1(void)
{
	uint32_t ebx;

	return cpuid(1, &ebx);
}

/* What CPUID offers can be switched on. */
static void offers(void)
{
	uint32_t ebx, ecx = cpuid(7, &ebx);
	uint64_t cr4, bits = (ebx & 1) << 16 | (ecx >> 2 & 1) << 11 | (cpuid1() >> 26 & 1) << 18;

	__asm__ volatile("mov %%cr4, %0; or %1, %0; mov %0, %%cr4" : "=&r"(cr4) : "r"(bits));
	say("cr4 ", (cr4 & bits) == bits);
	put("\n");
}

static void by_msr(void)
{
	begin();
	say("fast strings ", rdmsr(0x1a0) & 1);
	say(" apic base ", rdmsr(0x1b));
	if (cpuid1() >> 24 & 1) {
		apic_write(TIMER, DEADLINE | LOW);
		wrmsr(0x6e0, rdmsr(0x10) + 1000000);
		__asm__ volatile("sti; hlt; cli" : : : "memory");
	}
	end(" deadline:");
	begin();
	wrmsr(0x1b, rdmsr(0x1b) | 0x400);
	wrmsr(0x83f, HIGH);
	__asm__ volatile("sti; nop; cli" : : : "memory");
	wrmsr(0x80b, 0);
	say("x2apic ", rdmsr(0x802));
	end("");
}

static void tick(void)
{
	start_timer(100000000);
	next_order = order;
	__asm__ volatile("sti; hlt; cli" : : : "memory");
}

static void idle(void)
{
	begin();
	for (unsigned int i = 0; i < 20; i++)
		tick();
	end("idle:");
}

/* Do two texts end in the same way? */
static int ends_in(const char *text, const char *word)
{
	const char *t = text, *w = word;

	while (*t)
		t++;
	while (*w)
		w++;
	while (w > word && t > text && w[-1] == t[-1])
		w--, t--;
	return w == word;
}

_Noreturn void hello(const uint8_t *params, unsigned long cs);

_Noreturn void hello(const uint8_t *params, unsigned long cs)
{
	const char *line = (const char *)(uintptr_t)*(const uint32_t *)(params + 0x228);

	(void)cs;
	prepare();
	if (ends_in(line, "asleep"))
		__asm__ volatile("cli; hlt");
	if (ends_in(line, "waits"))
		__asm__ volatile("sti; hlt");
	if (ends_in(line, "idles")) {
		idle();
		quit(10);
	}
	if (ends_in(line, "ticks")) {
		put("ticks\n");
		for (;;)
			tick();
	}
	wait_for_timer();
	hold_back();
	shadow();
	loop();
	nest();
	priorities();
	in_user_mode();
	by_pic();
	by_nmi();
	offers();
	by_msr();
	quit(10);
}
