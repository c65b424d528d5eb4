/* SPDX-License-Identifier: MIT */
/* What can be caught: a line for each attempt, with the exception that it ends in. */
#include "hostile.h"

/* ---- one instruction ---- */

/* `bytes`, with RAX, RCX and RDX; INT3 follows. */
static const struct probe {
	const char *name, *bytes;
	unsigned int nr, cpl;
	uint64_t regs[3];
} list[] = {
#define P(cpl, name, bytes, ...) { name, bytes "\xcc", sizeof(bytes), cpl, { __VA_ARGS__ } }
#define CR0_IS "\x0f\x22\xc0"
#define CR3_IS "\x0f\x22\xd8"
#define CR4_IS "\x0f\x22\xe0"
#define WRMSR  "\x0f\x30"
#define PREFIXES_15 "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66"
	P(0, "CR0 with bit 32", CR0_IS, CR0 | 1ULL << 32),
	P(0, "CR0 with NW alone", CR0_IS, CR0 | 1 << 29),
	P(0, "CR0 with PG and no PE", CR0_IS, CR0 & ~1ULL),
	P(0, "CR0 without PG in 64-bit code", CR0_IS, CR0 & 0x7fffffff),
	P(0, "CR0 with a reserved low bit", CR0_IS, CR0 | 1 << 6),
	P(0, "CR3 with bit 52", CR3_IS, 1ULL << 52),
	P(0, "CR3 with bit 63 and no PCID", CR3_IS, 1ULL << 63),
	P(0, "CR4 without PAE in long mode", CR4_IS, CR4 & ~0x20ULL),
	P(0, "CR4 with bit 31", CR4_IS, CR4 | 1ULL << 31),
	P(0, "CR4 with bit 63", CR4_IS, CR4 | 1ULL << 63),
	P(0, "CR4 with bit 15", CR4_IS, CR4 | 1 << 15),
	P(0, "CR4 with LA57", CR4_IS, CR4 | 1 << 12),
	P(0, "CR8 with bit 4", "\x44\x0f\x22\xc0", 16),
	P(0, "CR1", "\x0f\x22\xc8"),
	P(0, "EFER with bit 1", WRMSR, 0x903, 0xc0000080),
	P(0, "EFER with bit 63", WRMSR, 0x900, 0xc0000080, 1u << 31),
	P(0, "EFER without LME in long mode", WRMSR, 0x800, 0xc0000080),
	P(0, "LSTAR that is not canonical", WRMSR, 0, 0xc0000082, 0x8000),
	P(0, "an MSR that there is not", WRMSR, 0, 0x12345678),
	P(0, "... and is read", "\x0f\x32", 0, 0x12345678),
	P(0, "LGDT that is not canonical", "\x0f\x01\x13"),
	P(0, "LIDT that is not canonical", "\x0f\x01\x1b"),
	P(0, "LGDT with LOCK", "\xf0\x0f\x01\x13"),
	P(0, "LTR of null", "\x0f\x00\xd8", 0),
	P(0, "LTR of data", "\x0f\x00\xd8", KERNEL_SS),
	P(0, "LTR of the busy TSS", "\x0f\x00\xd8", TSS),
	P(0, "LTR beyond the limit", "\x0f\x00\xd8", 0xff8),
	P(0, "LLDT of data", "\x0f\x00\xd0", KERNEL_SS),
	P(0, "LLDT of an LDT's selector", "\x0f\x00\xd0", 0x0c),
	P(0, "DS of null", "\x8e\xd8", 0),
	P(0, "DS of the TSS", "\x8e\xd8", TSS),
	P(0, "DS beyond the limit", "\x8e\xd8", 0xff8),
	P(0, "DS of an empty descriptor", "\x8e\xd8", 0x68),
	P(0, "SS of code", "\x8e\xd0", KERNEL_CS),
	P(0, "SS of CPL 3's data", "\x8e\xd0", USER_SS),
	P(0, "CS by MOV", "\x8e\xc8", KERNEL_CS),
	P(0, "XSETBV without XSAVE", "\x0f\x01\xd1", 1),
	P(0, "INVLPG of what is not canonical", "\x0f\x01\x38", 1ULL << 63),
	P(0, "UD2", "\x0f\x0b"),
	P(0, "an instruction of 16 bytes", PREFIXES_15 "\x90"),
	P(0, "a privileged one of 16 bytes", PREFIXES_15 "\xfa"),
	P(0, "CLI with LOCK", "\xf0\xfa"),
	P(0, "a jump that is not canonical", "\xff\xe0", 1ULL << 63),
	P(0, "a jump to where nothing is", "\xff\xe0", FAR),
	P(0, "a jump to what is absent", "\xff\xe0", ABSENT),
	P(0, "a push to what is absent", "\x48\x89\xc4\x50", ABSENT + 8),
	P(0, "a push that is not canonical", "\x48\x89\xc4\x50", 1ULL << 63),
	P(0, "a read over the end of a page", "\x48\x8b\x08", ABSENT - 4),
	P(0, "a write over the end of a page", "\x48\x89\x08", ABSENT - 4),
	P(0, "a write to a page that is", "\x48\x89\x08", DATA),
	P(3, "CLI", "\xfa"),
	P(3, "HLT", "\xf4"),
	P(3, "IN", "\xec"),
	P(3, "OUT to the port of the monitor", "\xe6\x80"),
	P(3, "MOV from CR3", "\x0f\x20\xd8"),
	P(3, "MOV to CR3", CR3_IS),
	P(3, "MOV to DR7", "\x0f\x23\xf8"),
	P(3, "RDMSR", "\x0f\x32", 0, 0xc0000082),
	P(3, "LIDT", "\x0f\x01\x1b"),
	P(3, "LTR", "\x0f\x00\xd8", TSS),
	P(3, "INVLPG", "\x0f\x01\x38"),
	P(3, "SWAPGS", "\x0f\x01\xf8"),
	P(3, "SYSCALL without SCE", "\x0f\x05"),
	P(3, "SYSRET", "\x0f\x07"),
	P(3, "WBINVD", "\x0f\x09"),
	P(3, "CLTS", "\x0f\x06"),
	P(3, "INT 13", "\xcd\x0d"),
	P(3, "INT 14", "\xcd\x0e"),
	P(3, "ICEBP for a user", "\xf1"),
	P(3, "DS of CPL 0's data", "\x8e\xd8", KERNEL_SS),
	P(3, "SS of null", "\x8e\xd0", 0),
	P(3, "IRET to CPL 0", "\x6a\x10\x6a\x00\x6a\x02\x6a\x08\x50\x48\xcf", CODE),
	P(3, "a far return to CPL 0", "\x6a\x08\x50\x48\xcb", CODE),
	P(3, "a read of the kernel", "\x48\x8b\x00", 0x100000),
	P(3, "a write of the kernel", "\x48\x89\x00", 0x100000),
	P(3, "a jump to the kernel", "\xff\xe0", 0x100000),
	P(3, "AAA in 64-bit code", "\x37"),
	P(3, "ENCLS", "\x0f\x01\xcf"),
	P(3, "RSM", "\x0f\xaa"),
	P(3, "XSETBV for a user", "\x0f\x01\xd1"),
};

static void one(const struct probe *p)
{
	struct cpu cpu;

	*(uint64_t *)DATA = 0x8000000000000000;
	*(uint64_t *)(DATA + 8) = 0x8000;
	__builtin_memcpy((void *)CODE, p->bytes, p->nr);
	begin(&cpu, p->cpl);
	cpu.rax = p->regs[0];
	cpu.rcx = p->regs[1];
	cpu.rdx = p->regs[2];
	run(&cpu);
	restore_all();
	print(p->cpl ? "CPL 3, " : "CPL 0, ");
	print(p->name);
	print(":");
	print_seen();
}

/* ---- far transfers ---- */

static const struct {
	const char *name;
	uint64_t spare;
	uint16_t selector;
	uint64_t rip;
} fars[] = {
	{ "null", 0, 0, CODE + 64 },
	{ "data", 0, KERNEL_SS, CODE + 64 },
	{ "the TSS", 0, TSS, CODE + 64 },
	{ "CPL 3's code", 0, USER_CS, CODE + 64 },
	{ "beyond the limit", 0, 0xfff8, CODE + 64 },
	{ "an LDT's", 0, 0x0c, CODE + 64 },
	{ "an empty descriptor", 0, 0x68, CODE + 64 },
	{ "code that is not present", 0x00af1b000000ffff, SPARE, CODE + 64 },
	{ "code of two sizes", 0x00ef9b000000ffff, SPARE, CODE + 64 },
	{ "conforming code", 0x00af9f000000ffff, SPARE, CODE + 64 },
	{ "conforming code of CPL 3", 0x00afff000000ffff, SPARE, CODE + 64 },
	{ "an LDT", 0x0000820000000000, SPARE, CODE + 64 },
	{ "an interrupt gate", 0x00008e0000080000, SPARE, CODE + 64 },
	{ "good code at no canonical address", 0, KERNEL_CS, 1ULL << 63 },
	{ "good code where nothing is", 0, KERNEL_CS, FAR },
	{ "good code", 0, KERNEL_CS, CODE + 64 },
};

static const struct {
	const char *name, *bytes;
	unsigned int nr;
} ways[] = {
	{ "JMP", "\x48\xff\x2b", 3 },
	{ "CALL", "\x48\xff\x1b", 3 },
	{ "RET", "\x48\xcb", 2 },
	{ "IRET", "\x48\xcf", 2 },
};

static void far_transfers(void)
{
	for (unsigned int w = 0; w < NR(ways); w++)
		for (unsigned int i = 0; i < NR(fars); i++) {
			uint64_t *stack = (uint64_t *)(STACK + PAGE / 2);
			struct cpu cpu;

			*(uint64_t *)DATA = fars[i].rip;
			*(uint64_t *)(DATA + 8) = fars[i].selector;
			stack[0] = fars[i].rip;
			stack[1] = fars[i].selector;
			stack[2] = 2;
			stack[3] = STACK + PAGE / 2;
			stack[4] = KERNEL_SS;
			gdt[SPARE / 8] = fars[i].spare;
			__builtin_memset((void *)CODE, 0xcc, PAGE);
			__builtin_memcpy((void *)CODE, ways[w].bytes, ways[w].nr);
			begin(&cpu, 0);
			run(&cpu);
			restore_all();
			print(ways[w].name);
			print(" to ");
			print(fars[i].name);
			print(":");
			print_seen();
		}
}

/* ---- gates ---- */

#define HANDLER (CODE + 64) /* INT3 */

static const struct {
	const char *name;
	struct gate gate;
} gates[] = {
	{ "of a call", { HANDLER & 0xffff, KERNEL_CS, 0xec00, HANDLER >> 16, 0, 0 } },
	{ "of a task", { HANDLER & 0xffff, KERNEL_CS, 0xe500, HANDLER >> 16, 0, 0 } },
	{ "of 16 bits", { HANDLER & 0xffff, KERNEL_CS, 0xe600, HANDLER >> 16, 0, 0 } },
	{ "that is not present", { HANDLER & 0xffff, KERNEL_CS, 0x6e01, HANDLER >> 16, 0, 0 } },
	{ "of ones", { 0xffff, 0xffff, 0xffff, 0xffff, 0xffffffff, 0xffffffff } },
	{ "to null", { HANDLER & 0xffff, 0, 0xee01, HANDLER >> 16, 0, 0 } },
	{ "to data", { HANDLER & 0xffff, KERNEL_SS, 0xee01, HANDLER >> 16, 0, 0 } },
	{ "to CPL 3's code", { HANDLER & 0xffff, USER_CS, 0xee01, HANDLER >> 16, 0, 0 } },
	{ "to code of 32 bits", { HANDLER & 0xffff, CODE32, 0xee01, HANDLER >> 16, 0, 0 } },
	{ "beyond the GDT", { HANDLER & 0xffff, 0xff8, 0xee01, HANDLER >> 16, 0, 0 } },
	{ "to no canonical address", { 0, KERNEL_CS, 0xee01, 0, 0x80000000, 0 } },
	{ "with DPL 0", { HANDLER & 0xffff, KERNEL_CS, 0x8e01, HANDLER >> 16, 0, 0 } },
};

/* Of INT 80h and of #UD, from CPL 3. */
static void bad_gates(void)
{
	for (unsigned int i = 0; i < 2 * NR(gates); i++) {
		int software = i % 2;
		struct cpu cpu;

		*(uint8_t *)HANDLER = 0xcc;
		__builtin_memcpy((void *)CODE, software ? "\xcd\x80" : "\x0f\x0b", 2);
		idt[software ? 0x80 : UD] = gates[i / 2].gate;
		begin(&cpu, 3);
		run(&cpu);
		restore_all();
		print(software ? "INT by a gate " : "#UD by a gate ");
		print(gates[i / 2].name);
		print(":");
		print_seen();
	}
}

/* ---- tables for the processor: IDT, TSS, stacks ---- */

static void set_idt(uint64_t base, uint16_t limit)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) idtr = { limit, base };

	__asm__ volatile("lidt %0" : : "m"(idtr));
}

static void report(const char *name, const char *bytes, unsigned int nr, unsigned int cpl)
{
	struct cpu cpu;

	__builtin_memcpy((void *)CODE, bytes, nr);
	begin(&cpu, cpl);
	run(&cpu);
	restore_all();
	print(name);
	print(":");
	print_seen();
}

static void set_stack(unsigned int at, uint64_t rsp)
{
	__builtin_memcpy(tss + at, &rsp, 8);
}

static void processor_tables(void)
{
	set_idt((uintptr_t)idt, 14 * 16 - 1);
	report("#PF beyond the IDT's limit", "\x48\x8b\x04\x25\x00\x10\x00\x40", 8, 3);
	set_idt((uintptr_t)idt, 14 * 16 - 1);
	report("INT beyond the IDT's limit", "\xcd\x80", 2, 3);
	set_idt((uintptr_t)idt, 14 * 16 + 8);
	report("half a gate", "\x48\x8b\x04\x25\x00\x10\x00\x40", 8, 3);
	idt[UD].type = 0xee00;
	set_stack(4, 1ULL << 63);
	report("RSP0 that is not canonical", "\x0f\x0b", 2, 3);
	idt[UD].type = 0xee00;
	set_stack(4, FAR);
	report("RSP0 where nothing is", "\x0f\x0b", 2, 3);
	idt[UD].type = 0xee02;
	set_stack(44, ABSENT + PAGE);
	report("a second stack of no memory", "\x0f\x0b", 2, 0);
	idt[UD].type = 0xee02;
	set_stack(44, DATA + 16);
	report("a second stack of little memory", "\x0f\x0b", 2, 0);
	idt[PF].type = 0xee02;
	set_stack(44, FAR);
	report("#PF with a stack of no memory", "\x48\x8b\x04\x25\x00\x10\x00\x40", 8, 3);
	idt[UD].type = 0xee02;
	set_stack(44, 0xdeadbeefdeadbeef);
	report("a second stack of garbage", "\x0f\x0b", 2, 3);
}

/* ---- page tables ---- */

/* Read, write or fetch from gva at this level. */
static void touch(const char *name, uint64_t gva, unsigned int cpl, unsigned int nr)
{
	static const struct {
		const char *name, *bytes;
	} access[] = { { " read", "\x8a\x08\xcc" }, { " write", "\x88\x08\xcc" },
		       { " fetch", "\xff\xe0\xcc" } };

	for (unsigned int i = 0; i < nr; i++) {
		struct cpu cpu;

		__builtin_memcpy((void *)CODE, access[i].bytes, 3);
		begin(&cpu, cpl);
		cpu.rax = gva;
		run(&cpu);
		print(name);
		print(cpl ? " by a user" : " by the kernel");
		print(access[i].name);
		print(":");
		print_seen();
	}
}

static void spoilt_entry(const char *name, unsigned int level, uint64_t bits)
{
	uint64_t *entry, old;

	*entry_of(FAR, 1) = BACKING | P_W_U;
	entry = entry_of(FAR, level);
	*(uint8_t *)CODE = 0xcc;
	old = *entry;
	*entry |= bits;
	load_cr3((uintptr_t)pml4);
	touch(name, FAR, 3, 3);
	*entry = old;
	load_cr3((uintptr_t)pml4);
}

static void reserved_bits(void)
{
	static const char *const name[][2] = {
		{ "bit 51 of a PTE", "XD of a PTE without NXE" },
		{ "bit 51 of a PDE", "XD of a PDE without NXE" },
		{ "bit 51 of a PDPTE", "XD of a PDPTE without NXE" },
		{ "bit 51 of a PML4E", "XD of a PML4E without NXE" },
	};

	for (unsigned int level = 1; level <= 4; level++) {
		spoilt_entry(name[level - 1][0], level, 1ULL << 51);
		__asm__ volatile("wrmsr" : : "a"(0x100), "d"(0), "c"(0xc0000080));
		spoilt_entry(name[level - 1][1], level, 1ULL << 63);
		__asm__ volatile("wrmsr" : : "a"(0x900), "d"(0), "c"(0xc0000080));
		spoilt_entry("XD", level, 1ULL << 63);
	}
	spoilt_entry("PS of a PML4E", 4, 0x80);
	spoilt_entry("a 2 MiB page that begins within one", 2, 0x80 | 1 << 13);
}

/* An entry of each level that leads to the table that it is in. */
static void loops(void)
{
	static const char *const name[] = { "a PTE of its own table", "a PDE of its own table",
					    "a PDPTE of its own table",
					    "a PML4E of its own table" };

	for (unsigned int level = 1; level <= 4; level++) {
		uint64_t *entry = entry_of(FAR * 2, level), old = *entry;
		uint64_t table = (uintptr_t)entry & ~0xfffULL, gva = FAR * 2;

		*entry = table | P_W_U;
		load_cr3((uintptr_t)pml4);
		touch(name[level - 1], gva + 0x800, 3, 2);
		touch(name[level - 1], gva + 0x800, 0, 2);
		/* The entry is where it maps itself: by its own mapping it takes W away. */
		if (level == 1) {
			*(volatile uint64_t *)gva = table | (P_W_U & ~2);
			flush(gva);
			touch("... that has taken W away", gva, 3, 2);
		}
		*entry = old;
		load_cr3((uintptr_t)pml4);
	}
}

/* A table's page full of random bytes, while it is in use. */
static void scribbled(void)
{
	uint64_t found = 0, table, *at;

	random_seed(1);
	for (unsigned int i = 0; i < 4; i++)
		*entry_of(FAR * 3 + i * PAGE, 1) = (BACKING + i * PAGE) | P_W_U;
	table = (uintptr_t)entry_of(FAR * 3, 1) & ~0xfffULL;
	*entry_of(FAR * 3 + (2 << 20), 1) = table | P_W_U;
	at = (uint64_t *)(FAR * 3 + (2 << 20));
	for (unsigned int i = 0; i < 200; i++) {
		unsigned int n = random_next() % 4;
		uint64_t gva = FAR * 3 + n * PAGE, r = random_next();
		struct cpu cpu;

		/* Of RAM that is not ours, or with anything in the upper bits, or anything. */
		at[n] = r % 4 == 0 ? r : r % 4 == 1 ? BACKING | (r & 0xfff) | (r & 7ULL << 61) :
						       (0x2000000 + (r & 0xfff000)) | (r & 0xe7);
		if (r >> 50 & 1)
			flush(gva);
		else
			load_cr3((uintptr_t)pml4);
		if ((at[n] & 0xffffffffff000) >= RAM_BYTES && !(at[n] & 1ULL << 51))
			continue; /* a device, maybe */
		__builtin_memcpy((void *)CODE, r >> 51 & 1 ? "\x88\x08\xcc" : "\x8a\x08\xcc", 3);
		begin(&cpu, r >> 52 & 1 ? 3 : 0);
		cpu.rax = gva + 0x123;
		run(&cpu);
		found = (found ^ seen.vector ^ seen.error << 8 ^ seen.rip << 16 ^ at[n]) *
			0x9e3779b97f4a7c15;
	}
	*entry_of(FAR * 3, 3) = 0;
	load_cr3((uintptr_t)pml4);
	print("a table full of random bytes: hash");
	print_hex(found);
	print("\n");
}

/* ---- others ---- */

/* Code that is changed by another mapping of its page. */
static void alias(void)
{
	unsigned int right = 0;
	uint8_t *other = (uint8_t *)(FAR * 4);

	*entry_of(FAR * 4, 1) = BACKING | P_W_U;
	for (unsigned int i = 0; i < 50; i++) {
		struct cpu cpu;

		__builtin_memcpy(other, "\xb8\x00\x00\x00\x00\xcc", 6); /* mov $N, %eax */
		other[1] = (uint8_t)i;
		begin(&cpu, i % 2 ? 3 : 0);
		run(&cpu);
		right += seen.rax == i;
	}
	print("code that is written by another address: right");
	print_hex(right);
	print("\n");
}

/* At the end of what is canonical. */
static void last_page(void)
{
	static const char *const code[] = { "\x90\x90", "\xfa\xfb", "\x0f\x05",
					    "\xeb\x00", "\xcd\x80", "\x0f\x0b" };
	uint8_t *last = (uint8_t *)0x800000000000 - 2;

	*entry_of((uintptr_t)last, 1) = BACKING | P_W_U;
	for (unsigned int i = 0; i < 2 * NR(code); i++) {
		struct cpu cpu;

		__builtin_memcpy((void *)(CODE + PAGE - 2), code[i / 2], 2);
		begin(&cpu, i % 2 ? 3 : 0);
		cpu.rip = (uintptr_t)last;
		run(&cpu);
		print(i % 2 ? "CPL 3, the last two bytes" : "CPL 0, the last two bytes");
		print_hex(i / 2);
		print(":");
		print_seen();
	}
}

/* ---- breakpoints ---- */

static const struct {
	const char *name;
	uint64_t at;
	uint32_t dr7;
	const char *bytes;
} stops[] = {
	{ "an instruction", CODE + 1, 0x402, "\x90\x90\xcc" },
	{ "an instruction, not enabled", CODE + 1, 0x400, "\x90\x90\xcc" },
	{ "8 bytes, written", DATA, 0x90402, "\x48\x89\x03\x90\xcc" },
	{ "2 bytes, of which one is written", DATA, 0x50402, "\x88\x43\x01\x90\xcc" },
	{ "2 bytes, the next is written", DATA, 0x50402, "\x88\x43\x02\x90\xcc" },
	{ "written bytes, read", DATA, 0x50402, "\x8b\x03\x90\xcc" },
	{ "read bytes, read", DATA, 0x70402, "\x66\x8b\x03\x90\xcc" },
	{ "pushed bytes", STACK + PAGE / 2 - 8, 0x90402, "\x50\x90\xcc" },
	{ "CLI", CODE, 0x402, "\xfa\xcc" },
	{ "behind CLI", CODE + 1, 0x402, "\xfa\x90\xcc" },
};

static void stop_at(unsigned int i, unsigned int cpl)
{
	uint64_t dr6 = 0xffff0ff0;
	struct cpu cpu;

	__builtin_memcpy((void *)CODE, stops[i].bytes, 5);
	begin(&cpu, cpl);
	__asm__ volatile("mov %0, %%dr0; mov %1, %%dr6; mov %2, %%dr7" : : "r"(stops[i].at),
			 "r"(dr6), "r"((uint64_t)stops[i].dr7));
	run(&cpu);
	__asm__ volatile("mov %1, %%dr7; mov %%dr6, %0" : "=r"(dr6) : "r"(0x400UL));
	print(cpl ? "CPL 3, a breakpoint of " : "CPL 0, a breakpoint of ");
	print(stops[i].name);
	print(": DR6");
	print_hex(dr6);
	print_seen();
}

static void stop_points(void)
{
	for (unsigned int i = 0; i < 2 * NR(stops); i++)
		stop_at(i / 2, i % 2 ? 3 : 0);
}

/* ---- code of 32 bits ---- */

#define OF 0x800

static const struct {
	const char *name, *bytes;
	uint64_t flags;
	uint16_t type; /* of the gates of #BP and #OF */
} narrow[] = {
	{ "INTO", "\xce\xcc", OF, 0xee01 },
	{ "INTO without OF", "\xce\xcc", 0, 0xee01 },
	{ "INTO with a prefix", "\x66\xce\xcc", OF, 0xee01 },
	{ "INTO with LOCK", "\xf0\xce\xcc", OF, 0xee01 },
	{ "INTO by a gate of DPL 0", "\xce\xcc", OF, 0x8e01 },
	{ "INT3 by a gate of DPL 0", "\xcc\xcc", 0, 0x8e01 },
	{ "INT 4", "\xcd\x04\xcc", 0, 0xee01 },
	{ "PUSH of DS, POP of ES", "\x1e\x07\xcc", 0, 0xee01 },
	{ "SYSCALL", "\x0f\x05\xcc", 0, 0xee01 },
};

static void narrow_code(void)
{
	for (unsigned int i = 0; i < 2 * NR(narrow); i++) {
		unsigned int cpl = i % 2 ? 3 : 0;
		struct cpu cpu;

		gdt[SPARE / 8] = 0x00cffb000000ffff;
		__builtin_memcpy((void *)CODE, narrow[i / 2].bytes, 3);
		idt[3].type = idt[4].type = narrow[i / 2].type;
		begin(&cpu, cpl);
		cpu.cs = cpl ? SPARE | 3 : CODE32;
		cpu.rflags |= narrow[i / 2].flags;
		run(&cpu);
		restore_all();
		print(cpl ? "CPL 3, " : "CPL 0, ");
		print(narrow[i / 2].name);
		print(":");
		print_seen();
	}
}

static void instructions(void)
{
	for (unsigned int i = 0; i < NR(list); i++)
		one(&list[i]);
	last_page();
}

static void page_tables(void)
{
	reserved_bits();
	loops();
	scribbled();
	alias();
}

static const struct {
	const char *name;
	void (*run)(void);
} groups[] = {
	{ "instructions", instructions },
	{ "far", far_transfers },
	{ "gates", bad_gates },
	{ "tables", processor_tables },
	{ "paging", page_tables },
	{ "stops", stop_points },
	{ "narrow", narrow_code },
};

int probes(const char *name)
{
	unsigned int found = 0;

	for (unsigned int i = 0; i < NR(groups); i++) {
		if (!equal(groups[i].name, name))
			continue;
		groups[i].run();
		found = 1;
	}
	return found;
}
