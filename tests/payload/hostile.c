/* SPDX-License-Identifier: MIT */
/* The ground of the hostile guest: tables, exceptions, what it prints (hostile.h). */
#include "hostile.h"

extern uint8_t vectors[];

static const uint64_t good_gdt[16] = {
	[1] = 0x00af9b000000ffff,  [2] = 0x00cf93000000ffff,  [3] = 0x00cf9b000000ffff,
	[10] = 0x00cff3000000ffff, [11] = 0x00affb000000ffff,
};
uint64_t gdt[16] __attribute__((aligned(16))) = {
	[1] = 0x00af9b000000ffff, [2] = 0x00cf93000000ffff,
};
struct gate idt[256] __attribute__((aligned(16)));
uint8_t tss[PAGE] __attribute__((aligned(PAGE)));

#define EXCEPTION_STACK 0x700000
#define USER_STACK	0x6f0000

struct cpu seen;
uint64_t seen_cr2;
int (*on_step)(struct cpu *cpu);

/* ---- what it prints ---- */

static void print_bytes(const char *text, size_t bytes)
{
	__asm__ volatile("cld; rep outsb" : "+S"(text), "+c"(bytes) : "d"(QUIRE_UART_PORT)
			 : "memory");
}

void print(const char *text)
{
	size_t n = 0;

	while (text[n])
		n++;
	print_bytes(text, n);
}

void print_hex(uint64_t number)
{
	char text[17], *p = text + 17;

	do
		*--p = "0123456789abcdef"[number & 15];
	while (number >>= 4);
	*--p = ' ';
	print_bytes(p, (size_t)(text + 17 - p));
}

void print_seen(void)
{
	print(" vector");
	print_hex(seen.vector);
	print(" error");
	print_hex(seen.error);
	print(" rip");
	print_hex(seen.rip);
	if (seen.vector == PF) {
		print(" cr2");
		print_hex(seen_cr2);
	}
	print("\n");
}

int equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return !*a && (!*b || *b == ' ');
}

/* ---- exceptions ---- */

struct cpu *on_exception(struct cpu *cpu);

struct cpu *on_exception(struct cpu *cpu)
{
	if (cpu->vector == 1 && on_step && on_step(cpu))
		return cpu;
	seen = *cpu;
	__asm__ volatile("mov %%cr2, %0" : "=r"(seen_cr2));
	come_back();
}

void begin(struct cpu *cpu, unsigned int cpl)
{
	*cpu = (struct cpu){
		.rip = CODE,
		.rbx = DATA,
		.rsi = DATA,
		.rdi = DATA,
		.rflags = 2,
		.rsp = STACK + PAGE / 2,
		.cs = cpl ? USER_CS : KERNEL_CS,
		.ss = cpl ? USER_SS : KERNEL_SS,
	};
}

static void set_gates(void)
{
	for (unsigned int i = 0; i < 256; i++) {
		uintptr_t at = (uintptr_t)(vectors + 16 * i);

		/* Of the second stack, with DPL 3. */
		idt[i] = (struct gate){ (uint16_t)at, KERNEL_CS, 0xee01, (uint16_t)(at >> 16), 0,
					0 };
	}
}

static void set_tss(void)
{
	uint64_t at = (uintptr_t)tss, stack = EXCEPTION_STACK, rsp0 = USER_STACK;

	for (unsigned int i = 0; i < 16; i++)
		gdt[i] = good_gdt[i];
	gdt[TSS / 8] = 0x67 | (at & 0xffffff) << 16 | 0x89ULL << 40 | (at >> 24 & 0xff) << 56;
	__builtin_memcpy(tss + 4, &rsp0, 8);
	for (unsigned int i = 0; i < 7; i++)
		__builtin_memcpy(tss + 36 + 8 * i, &stack, 8);
	tss[102] = 0x68; /* no bitmap */
}

void load_cr3(uint64_t cr3)
{
	__asm__ volatile("mov %0, %%cr3" : : "r"(cr3) : "memory");
}

void flush(uint64_t gva)
{
	__asm__ volatile("invlpg (%0)" : : "r"(gva) : "memory");
}

void restore_all(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) gdtr = { sizeof(gdt) - 1, (uintptr_t)gdt },
				  idtr = { sizeof(idt) - 1, (uintptr_t)idt };

	set_gates();
	set_tss();
	__asm__ volatile("lgdt %0; lidt %1" : : "m"(gdtr), "m"(idtr));
	__asm__ volatile("ltr %w0; mov %w1, %%ds; mov %w1, %%es; mov %w1, %%fs; mov %w1, %%gs"
			 : : "r"(TSS), "r"(KERNEL_SS));
	__asm__ volatile("mov %0, %%cr0; mov %1, %%cr4" : : "r"((uint64_t)CR0),
			 "r"((uint64_t)CR4));
	load_cr3((uintptr_t)pml4);
	on_step = NULL;
}

/* ---- tables ---- */

static uint64_t next_table = 0x1000000;

uint64_t new_table(void)
{
	uint64_t *table = (uint64_t *)next_table;

	next_table += PAGE;
	for (unsigned int i = 0; i < 512; i++)
		table[i] = 0;
	return (uintptr_t)table;
}

uint64_t *entry_of(uint64_t gva, unsigned int level)
{
	uint64_t *table = pml4;

	for (unsigned int l = 4; l > level; l--) {
		uint64_t *entry = &table[gva >> (3 + 9 * l) & 511];

		if (!*entry || (l == 2 && *entry & 0x80))
			*entry = new_table() | P_W_U;
		*entry |= 4;
		table = (uint64_t *)(*entry & 0xffffffffff000);
	}
	return &table[gva >> (3 + 9 * level) & 511];
}

static void map_here(void)
{
	for (unsigned int i = 0; i < 4; i++)
		*entry_of(HERE + i * PAGE, 1) = (BACKING + i * PAGE) | P_W_U;
	*entry_of(ABSENT, 1) = 0;
}

/* ---- random numbers ---- */

static uint64_t state;

void random_seed(uint64_t seed)
{
	state = seed * 2 + 1;
}

uint64_t random_next(void)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * 0x2545f4914f6cdd1d;
}

_Noreturn void hostile(const char *words);

_Noreturn void hostile(const char *words)
{
	map_here();
	restore_all();
	if (equal("storm", words))
		storm(words + 5);
	else if (!probes(words) && !end(words))
		quit(2);
	quit(10);
}
