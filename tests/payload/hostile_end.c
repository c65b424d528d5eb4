/* SPDX-License-Identifier: MIT */
/* What ends the guest, or would if the VMM were not careful. */
#include "hostile.h"

#define MONITOR	  (1ULL << 38) /* the machine's addresses begin here (mmu/shadow/shadow.h) */
#define STORE	  (MONITOR + (64ULL << 30))
#define NO_MEMORY 0x90000000ULL /* in the hole below 4 GiB, no device */
#define DEVICE	  QUIRE_VIRTIO_BASE(0)

static void load_table(int idt_too, uint64_t base, uint16_t limit)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) table = { limit, base };

	if (idt_too)
		__asm__ volatile("lidt %0" : : "m"(table));
	else
		__asm__ volatile("lgdt %0" : : "m"(table));
}

static void undefined(void)
{
	__asm__ volatile("ud2");
}

/* ---- roots ---- */

static void cr3_beyond(void)
{
	load_cr3(0x3f00000000);
}

static void cr3_hole(void)
{
	load_cr3(NO_MEMORY);
}

static void cr3_device(void)
{
	load_cr3(DEVICE & ~0xfffULL);
}

static void cr3_monitor(void)
{
	load_cr3(MONITOR + 0x12000);
}

static void cr3_store(void)
{
	load_cr3(STORE);
}

static void cr3_zeroes(void)
{
	load_cr3(new_table());
}

static void cr3_code(void)
{
	load_cr3(0x100000);
}

/* ---- the processor's tables ---- */

static void idt_nowhere(void)
{
	load_table(1, FAR, 0xfff);
	undefined();
}

static void idt_short(void)
{
	load_table(1, (uintptr_t)idt, 5);
	undefined();
}

static void idt_monitor(void)
{
	load_table(1, 0xffff800000010000, 0xfff);
	undefined();
}

static void idt_ones(void)
{
	for (unsigned int i = 0; i < sizeof(idt); i++)
		((uint8_t *)idt)[i] = 0xff;
	undefined();
}

static void gdt_nowhere(void)
{
	load_table(0, FAR, 0xffff);
	undefined();
}

static void gdt_short(void)
{
	load_table(0, (uintptr_t)gdt, 7);
	undefined();
}

static void load_tss(uint64_t base, unsigned int limit)
{
	gdt[TSS / 8] = limit | (base & 0xffffff) << 16 | 0x89ULL << 40 | (base >> 24 & 0xff) << 56;
	gdt[TSS / 8 + 1] = base >> 32;
	__asm__ volatile("ltr %w0" : : "r"(TSS));
	undefined();
}

static void tss_nowhere(void)
{
	load_tss(FAR, 0x67);
}

static void tss_short(void)
{
	load_tss((uintptr_t)tss, 0x20);
}

static void tss_ones(void)
{
	for (unsigned int i = 0; i < sizeof(tss); i++)
		tss[i] = 0xff;
	undefined();
}

static void stack_nowhere(void)
{
	for (unsigned int i = 0; i < 256; i++)
		idt[i].type = 0xee00;
	__asm__ volatile("mov %0, %%rsp; push %%rax" : : "r"(FAR));
}

/* A handler that faults again, each time a little deeper. */
static void stack_full(void)
{
	struct cpu cpu;

	*(uint16_t *)CODE = 0x0b0f;
	for (unsigned int i = 0; i < 256; i++) {
		idt[i] = idt[UD];
		idt[i].type = 0xee00;
		idt[i].low = CODE & 0xffff;
		idt[i].middle = CODE >> 16;
	}
	*entry_of(STACK - PAGE, 1) = 0;
	load_cr3((uintptr_t)pml4);
	begin(&cpu, 0);
	run(&cpu);
}

/* ---- code ---- */

static void execute(uint64_t gva)
{
	struct cpu cpu;

	begin(&cpu, 0);
	cpu.rip = gva;
	run(&cpu);
	print_seen();
}

static void end_of_ram(void)
{
	*entry_of(FAR, 1) = (RAM_BYTES - PAGE) | P_W_U;
	*entry_of(FAR + PAGE, 1) = RAM_BYTES | P_W_U;
	for (unsigned int i = 0; i < PAGE; i++)
		((uint8_t *)FAR)[i] = 0x90;
	execute(FAR + PAGE - 64);
}

static void code_hole(void)
{
	*entry_of(FAR, 1) = NO_MEMORY | P_W_U;
	execute(FAR);
}

static void code_device(void)
{
	*entry_of(FAR, 1) = (DEVICE & ~0xfffULL) | P_W_U;
	execute(FAR);
}

static void code_monitor(void)
{
	*entry_of(FAR, 1) = (MONITOR + 0x11000) | P_W_U;
	execute(FAR);
}

/* Tables of all kinds, and the stack. */
static void scribble(void)
{
	random_seed(1);
	for (uint64_t at = (uintptr_t)pml4; at < (uintptr_t)pml4 + 3 * PAGE; at += 8)
		*(uint64_t *)at = random_next();
	for (unsigned int i = 0; i < sizeof(idt) / 8; i++)
		((uint64_t *)idt)[i] = random_next();
	undefined();
}

/* ---- memory that is none ---- */

static uint64_t read_through(const char *name, uint64_t entry)
{
	volatile uint64_t *at = (uint64_t *)FAR;
	uint64_t value;

	*entry_of(FAR, 1) = entry | P_W_U;
	flush(FAR);
	at[100] = 0x5a5a5a5a5a5a5a5a;
	value = at[100];
	print(name);
	print(" reads as");
	print_hex(value);
	print("\n");
	return value;
}

/* The machine's addresses, by page tables: nothing is there. */
static void machine(void)
{
	read_through("the hole", NO_MEMORY);
	read_through("the end of RAM", RAM_BYTES);
	read_through("the monitor", MONITOR);
	read_through("... its IDT", MONITOR + 0x10000);
	read_through("... its tables", MONITOR + 0x200000);
	read_through("the page of zeroes", MONITOR + (8ULL << 30));
	read_through("the store", STORE);
	read_through("... its second segment", STORE + (1ULL << 32));
}

/* Tables in what is no memory: they read as ones, so a reserved bit is set. */
static void tables_nowhere(void)
{
	static const uint64_t at[] = { NO_MEMORY, MONITOR, STORE };

	for (unsigned int level = 2; level <= 4; level++)
		for (unsigned int i = 0; i < NR(at); i++) {
			struct cpu cpu;

			*entry_of(FAR, 1) = 0;
			*entry_of(FAR, level) = at[i] | P_W_U;
			load_cr3((uintptr_t)pml4);
			__builtin_memcpy((void *)CODE, "\x48\x8b\x00\xcc", 4);
			begin(&cpu, 3);
			cpu.rax = FAR;
			run(&cpu);
			print("a table that is no memory:");
			print_seen();
			*entry_of(FAR, level) = 0;
		}
}

/* What lies where shadow tables have the monitor is not present. */
static void monitor_slot(void)
{
	static const uint64_t at[] = { 0xffff800000000000, 0xffff800000011000, 0xffff800000200000,
				       0xffff807ffffff000 };

	for (unsigned int i = 0; i < 2 * NR(at); i++) {
		struct cpu cpu;

		*entry_of(at[i / 2], 1) = BACKING | P_W_U;
		__builtin_memcpy((void *)CODE, "\x48\x8b\x00\xcc", 4);
		begin(&cpu, i % 2 ? 3 : 0);
		cpu.rax = at[i / 2];
		run(&cpu);
		print(i % 2 ? "a user reads the monitor:" : "the kernel reads the monitor:");
		print_seen();
	}
}

static void nowhere(void)
{
	tables_nowhere();
	monitor_slot();
}

/* ---- very many ---- */

/* A root, another one, and so on: as many as there is memory for. */
static void roots(void)
{
	volatile uint64_t *at = (uint64_t *)FAR;
	unsigned int right = 0, nr = 3000;
	uint64_t first = new_table();

	for (unsigned int i = 1; i < nr; i++)
		new_table();
	for (unsigned int i = 0; i < 2 * nr; i++) {
		uint64_t *root = (uint64_t *)(first + i % nr * PAGE);

		root[0] = pml4[0];
		if (i < nr) {
			*entry_of(FAR, 1) = (first + (uint64_t)i * PAGE) | P_W_U;
			root[1] = pml4[1];
		}
		load_cr3((uintptr_t)root);
		right += (at[0] & ~0x60ULL) == (pml4[0] & ~0x60ULL) || i >= nr;
	}
	load_cr3((uintptr_t)pml4);
	print("roots: right");
	print_hex(right);
	print("\n");
}

/* A string instruction that ends at a page that is not there. */
static void strings(void)
{
	static const struct {
		const char *name, *bytes;
		uint64_t rdx;
	} list[] = {
		{ "rep insb", "\xf3\x6c\xcc", 0x99 },
		{ "rep outsb", "\xf3\x6e\xcc", 0x99 },	{ "rep outsl", "\xf3\x6f\xcc", 0x99 },
		{ "rep stosb", "\xf3\xaa\xcc", 0 },	{ "rep movsq", "\xf3\x48\xa5", 0 },
	};

	for (unsigned int i = 0; i < 16; i++)
		*entry_of(FAR + i * PAGE, 1) = (BACKING + (16 + i) * PAGE) | P_W_U;
	for (unsigned int i = 0; i < 2 * NR(list); i++) {
		int device = i % 2 && !list[i / 2].rdx; /* ports and no memory: nobody does both */
		struct cpu cpu;

		*entry_of(FAR + 16 * PAGE, 1) = device ? NO_MEMORY | P_W_U : 0;
		flush(FAR + 16 * PAGE);
		__builtin_memcpy((void *)CODE, list[i / 2].bytes, 3);
		*(uint8_t *)(CODE + 3) = 0xcc;
		begin(&cpu, 0);
		cpu.rdi = cpu.rsi = FAR + 0x123;
		cpu.rcx = -1;
		cpu.rdx = list[i / 2].rdx;
		run(&cpu);
		print(list[i / 2].name);
		print(device ? " over a page of no memory: RDI" : ": RDI");
		print_hex(seen.rdi);
		print(" RSI");
		print_hex(seen.rsi);
		print(" RCX");
		print_hex(seen.rcx);
		print_seen();
	}
}

/* ---- breakpoints where the monitor is ---- */

static void breakpoints(void)
{
	static const uint64_t at[] = { 0xffff800000011000, 0xffff8000000113fc, 0xffff800000011400,
				       0xffff800000011402, 0xffff800000020fd8, 0xffff800000010000 };

	for (unsigned int i = 0; i < 3 * NR(at); i++) {
		uint64_t dr7 = 0x402 | (i % 3 == 0 ? 0 : i % 3 == 1 ? 0xd0000ULL : 0xf0000ULL);
		struct cpu cpu;

		__asm__ volatile("mov %0, %%dr0; mov %1, %%dr7" : : "r"(at[i / 3]), "r"(dr7));
		__builtin_memcpy((void *)CODE, "\xfa\xfb\x90\x0f\x0b", 5);
		begin(&cpu, 0);
		run(&cpu);
		print("a breakpoint in the monitor:");
		print_seen();
	}
	__asm__ volatile("mov %0, %%dr7" : : "r"(0x400ULL));
}

/* ---- devices, by odd instructions ---- */

static const struct {
	const char *name, *bytes;
} odd[] = {
	{ "lock orq", "\xf0\x48\x09\x00" },	     { "xadd", "\x0f\xc1\x00" },
	{ "cmpxchg16b", "\x48\x0f\xc7\x08" },	     { "movups", "\x0f\x10\x00" },
	{ "fld", "\xd9\x00" },			     { "push", "\xff\x30" },
	{ "pop", "\x8f\x00" },			     { "call", "\xff\x10" },
	{ "btsl", "\x0f\xab\x00" },		     { "popcnt", "\xf3\x0f\xb8\x00" },
	{ "lgdt", "\x0f\x01\x10" },		     { "ltr", "\x0f\x00\x18" },
	{ "fxsave", "\x0f\xae\x00" },		     { "enter", "\x48\x89\xc4\xc8\x00\x00\x03" },
	{ "movs to itself", "\x48\x89\xc6\x48\x89\xc7\x48\xa5" },
	{ "ins", "\x48\x89\xc7\x6c\xcc\xcc\xcc" },
	{ "vmcall", "\x0f\x01\xc1\xcc\xcc\xcc\xcc" },
	{ "vmmcall", "\x0f\x01\xd9\xcc\xcc\xcc\xcc" },
};

/* "odd N" by the kernel, "user N" by a user. */
static void odd_access(const char *words, unsigned int cpl)
{
	unsigned int n = 0;
	struct cpu cpu;

	for (; *words >= '0' && *words <= '9'; words++)
		n = n * 10 + (unsigned int)(*words - '0');
	if (n >= NR(odd))
		return;
	*entry_of(FAR, 1) = NO_MEMORY | P_W_U;
	__builtin_memset((void *)CODE, 0xcc, 64);
	__builtin_memcpy((void *)CODE, odd[n].bytes, n >= 13 ? 8 - (n == 13) : 4);
	if (n == 4 || n == 5 || n == 6 || n == 7)
		*(uint16_t *)(CODE + 2) = 0xcccc;
	else if (n != 0 && n != 2 && n != 9 && n < 13)
		*(uint8_t *)(CODE + 3) = 0xcc;
	begin(&cpu, cpl);
	cpu.rax = FAR + 0x100;
	run(&cpu);
	print(odd[n].name);
	print(":");
	print_seen();
}

static const struct {
	const char *name;
	void (*run)(void);
} ends[] = {
	{ "cr3-beyond", cr3_beyond },	{ "cr3-hole", cr3_hole },
	{ "cr3-device", cr3_device },	{ "cr3-monitor", cr3_monitor },
	{ "cr3-store", cr3_store },	{ "cr3-zeroes", cr3_zeroes },
	{ "cr3-code", cr3_code },	{ "idt-nowhere", idt_nowhere },
	{ "idt-short", idt_short },	{ "idt-monitor", idt_monitor },
	{ "idt-ones", idt_ones },	{ "gdt-nowhere", gdt_nowhere },
	{ "gdt-short", gdt_short },	{ "tss-nowhere", tss_nowhere },
	{ "tss-short", tss_short },	{ "tss-ones", tss_ones },
	{ "stack-nowhere", stack_nowhere }, { "stack-full", stack_full },
	{ "end-of-ram", end_of_ram },	{ "code-hole", code_hole },
	{ "code-device", code_device }, { "code-monitor", code_monitor },
	{ "scribble", scribble },	{ "machine", machine },
	{ "nowhere", nowhere },
	{ "roots", roots },		{ "strings", strings },
	{ "breakpoints", breakpoints },
};

int end(const char *words)
{
	for (unsigned int i = 0; i < NR(ends); i++)
		if (equal(ends[i].name, words)) {
			ends[i].run();
			return 1;
		}
	if (equal("odd", words))
		odd_access(words + 4, 0);
	else if (equal("user", words))
		odd_access(words + 5, 3);
	else if (equal("takeover", words))
		takeover(words + 8);
	else
		return 0;
	return 1;
}
