/* SPDX-License-Identifier: MIT */
/*
 * A guest that can write its monitor, because a test has changed that from outside
 * (tests/kvm/monitor_slot.t).  It rewrites the tables that the real processor uses, and tries to
 * reach what is not its own.  Until then, and where nothing was changed, it verifies its memory.
 *
 *   hostile takeover [NAME]    ... and ends with NAME of ends[]; without one, with scribble()
 */
#include "hostile.h"

#define MONITOR	   0x400000000000UL /* where the test has mapped it; vmm/monitor/world_layout.h */
#define IDT	   (MONITOR + 0x10000)
#define PD	   (MONITOR + 0x13000)
#define ARENA	   (MONITOR + 0x200000)
#define MACHINE	   (1ULL << 38) /* mmu/shadow/shadow.h: the monitor, and so on */
#define PAGES	   1000u
#define FIRST	   0x2000000u
#define LARGE	   0xe7 /* P W U A D PS */
#define FIRST_SLOT 300u

/* Two pages have it each: so it can share them with itself. */
static uint64_t content(unsigned int page, unsigned int word)
{
	return (page / 2 + 1) * 0x9e3779b97f4a7c15 + word;
}

static uint64_t *page_at(unsigned int page)
{
	return (uint64_t *)(uintptr_t)(FIRST + page * PAGE);
}

static void fill(void)
{
	for (unsigned int p = 0; p < PAGES; p++)
		for (unsigned int i = 0; i < PAGE / 8; i++)
			page_at(p)[i] = content(p, i);
}

static int is_right(void)
{
	for (unsigned int p = 0; p < PAGES; p++)
		for (unsigned int i = 0; i < PAGE / 8; i += 37)
			if (page_at(p)[i] != content(p, i))
				return 0;
	return 1;
}

/* So many changes that a VMM has everything forgotten. */
static void forget_all(void)
{
	for (unsigned int i = 0; i < 200; i++) {
		*entry_of(FAR + i * PAGE, 1) = BACKING | P_W_U;
		*(volatile uint8_t *)(FAR + i * PAGE);
	}
	for (unsigned int i = 0; i < 200; i++)
		*entry_of(FAR + i * PAGE, 1) = 0;
	load_cr3((uintptr_t)pml4);
}

static int is_open(void)
{
	struct cpu cpu;

	__builtin_memcpy((void *)CODE, "\x48\x8b\x08\xcc", 4);
	begin(&cpu, 0);
	cpu.rax = PD;
	run(&cpu);
	return seen.vector == 3;
}

/* ---- with the real tables ---- */

static const struct {
	const char *name;
	uint64_t at;
} places[] = {
	{ "the end of RAM", RAM_BYTES },
	{ "512 GiB", 1ULL << 39 },
	{ "the last of a guest's addresses", MACHINE - (2 << 20) },
	{ "behind the monitor", MACHINE + (4ULL << 30) },
	{ "the page of zeroes", MACHINE + (8ULL << 30) },
	{ "nowhere", MACHINE + (12ULL << 30) },
	{ "the store", MACHINE + (64ULL << 30) },
	{ "its next megabytes", MACHINE + (64ULL << 30) + (2 << 20) },
	{ "its last segment", MACHINE + (192ULL << 30) },
};

static volatile uint64_t *window(unsigned int place)
{
	return (uint64_t *)(MONITOR + (FIRST_SLOT + place) * (2ULL << 20));
}

static void open_windows(void)
{
	volatile uint64_t *pd = (uint64_t *)PD;

	for (unsigned int i = 0; i < NR(places); i++)
		pd[FIRST_SLOT + i] = places[i].at | LARGE;
}

/* Of each place: is it a page of ones, of zeroes, or another; and is it the same after a write? */
static void try_places(void)
{
	for (unsigned int i = 0; i < NR(places); i++) {
		volatile uint64_t *at = window(i);
		unsigned int changed = 0;
		uint64_t first = at[0];

		for (unsigned int page = 0; page < 16; page++) {
			uint64_t old = at[page * 512 + 3];

			at[page * 512 + 3] = ~old;
			changed += at[page * 512 + 3] != old;
		}
		print(places[i].name);
		print(!first ? ": zeroes" : first == -1ULL ? ": nothing" : ": bytes");
		print(changed ? ", which it has changed\n" : ", as they were\n");
	}
}

/* Random bytes in the shadow tables, then in the GDT, the IDT and the code at CPL 0. */
static void scribble(void)
{
	random_seed(7);
	for (uint64_t at = ARENA; at < ARENA + (4 << 20); at += 8)
		*(volatile uint64_t *)at = random_next();
	for (uint64_t at = MONITOR; at < MONITOR + 0x12000; at += 8)
		*(volatile uint64_t *)at = random_next();
	__asm__ volatile("ud2");
}

/* ---- with code at CPL 0 ---- */

/*
 * A gate of the real IDT leads to code of the guest, which so is at CPL 0 of the real processor.
 * What it does there may come out to the VMM, which takes it for an exception, and goes on with the
 * registers that it saw last.  So what has to outlast that is in memory, and the code at CPL 3 is
 * one that may be done again, or end in any exception.
 */
static void (*volatile at_cpl0)(void);
static volatile unsigned int real_cs = 3;
static volatile unsigned int turn; /* of an act that has many */
uint64_t cpl0_frame;		   /* what the gate has pushed */

extern uint8_t cpl0_gate[];

__asm__(".pushsection .text\n"
	"cpl0_gate:\n"
	"	mov %rsp, cpl0_frame(%rip)\n"
	"	push %rax\n push %rcx\n push %rdx\n push %rsi\n push %rdi\n"
	"	push %r8\n push %r9\n push %r10\n push %r11\n"
	"	cld\n"
	"	call cpl0\n"
	"	pop %r11\n pop %r10\n pop %r9\n pop %r8\n"
	"	pop %rdi\n pop %rsi\n pop %rdx\n pop %rcx\n pop %rax\n"
	"	addq $2, (%rsp)\n" /* behind the UD2 */
	"	iretq\n"
	".popsection\n");

void cpl0(void);

void cpl0(void)
{
	void (*act)(void) = at_cpl0;
	unsigned int cs;

	__asm__ volatile("mov %%cs, %0" : "=r"(cs));
	real_cs = cs;
	at_cpl0 = NULL;
	if (act)
		act();
}

static void take_gate(void)
{
	const uint64_t to = (uintptr_t)cpl0_gate;
	volatile struct gate *gate = (struct gate *)IDT + UD;

	gate->low = (uint16_t)to;
	gate->middle = (uint16_t)(to >> 16);
	gate->high = (uint32_t)(to >> 32);
}

/* CLI comes out, so that the VMM knows the registers as they are just before. */
static void act(void (*what)(void))
{
	struct cpu cpu;

	at_cpl0 = what;
	__builtin_memcpy((void *)CODE, "\xfa\x0f\x0b\xcc", 4);
	begin(&cpu, 0);
	run(&cpu);
}

static void act_often(void (*what)(void), unsigned int turns)
{
	for (turn = 0; turn < turns;)
		act(what);
}

/* What comes out, with RSP where a gate has it: so the VMM finds what it looks for. */
#define OUT(code, ...)                                                                             \
	__asm__ volatile("mov cpl0_frame(%%rip), %%rsp\n" code "\nud2" : : __VA_ARGS__ : "memory")

/* As if some exception had come. */
static void a_gate(void)
{
	((volatile uint64_t *)cpl0_frame)[turn++ % 8] ^= 0x5555555555555555;
	OUT("out %%al, $0x80", "a"(0));
}

static void a_port(void)
{
	OUT("in %%dx, %%eax", "d"(0x60));
}

static void a_string(void)
{
	turn++;
	OUT("rep outsb", "S"((uint64_t)DATA), "c"((uint64_t)PAGE), "d"(QUIRE_UART_PORT + 1));
}

static void a_device(void)
{
	turn++;
	OUT("mov %%eax, (%0); mov (%0), %%eax", "r"(window(1)), "a"(turn));
}

static const uint32_t msrs[] = {
	0x10,	    0x1b,	0x3a,	    0x3b,	0x8b,	    0x174,	0x176,	   0x1a0,
	0x1d9,	    0x200,	0x277,	    0x2ff,	0x6e0,	    0x800,	0x830,	   0xda0,
	0x40000000, 0x40000001, 0x4b564d00, 0x4b564d01, 0x4b564d02, 0x4b564d03, 0x4b564d04,
	0xc0000080, 0xc0000081, 0xc0000082, 0xc0000084, 0xc0000100, 0xc0000102, 0xc0010015,
	0xc0010114, 0xc0010117,
};

static struct {
	volatile uint32_t msr, low, high;
} changed; /* and not yet as it was */

static void restore_msr(void)
{
	if (changed.msr)
		__asm__ volatile("wrmsr" : : "a"(changed.low), "d"(changed.high), "c"(changed.msr));
	changed.msr = 0;
}

/* One bit of one of them. */
static void an_msr(void)
{
	uint64_t bit = 1ULL << turn % 64;
	uint32_t low, high, msr = msrs[turn / 64];

	restore_msr();
	turn++;
	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	changed.low = low;
	changed.high = high;
	changed.msr = msr;
	__asm__ volatile("wrmsr" : : "a"(low ^ (uint32_t)bit), "d"(high ^ (uint32_t)(bit >> 32)),
			 "c"(msr));
	restore_msr();
}

static void a_bit_of_cr4(void)
{
	uint64_t cr4;

	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	cr4 ^= 1ULL << turn++;
	__asm__ volatile("mov %0, %%cr4" : : "r"(cr4));
}

static void debug_registers(void)
{
	turn++;
	__asm__ volatile("mov %0, %%dr0; mov %1, %%dr7" : : "r"(MONITOR),
			 "r"(0x2403ULL << turn % 4));
}

/* What is over some time: the end that is none. */
static void act_all(void)
{
	act_often(a_gate, 8);
	act_often(a_string, 4);
	act_often(a_device, 4);
	act_often(a_bit_of_cr4, 64);
	act_often(debug_registers, 8);
}

/* What is not over. */

static void no_paging(void)
{
	__asm__ volatile("mov %0, %%cr0" : : "r"(0x33ULL));
}

static void wild_root(void)
{
	load_cr3(0xfffffff000);
}

static void own_tables(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) none = { 0, 0 };

	__asm__ volatile("lgdt %0; lidt %0" : : "m"(none));
	__asm__ volatile("ud2");
}

static void halt(void)
{
	__asm__ volatile("cli; hlt");
}

static void loop(void)
{
	__asm__ volatile("cli; 1: jmp 1b");
}

static void apic_moved(void)
{
	__asm__ volatile("wrmsr" : : "a"(0x2000900), "d"(0), "c"(0x1b));
}

/* Read, and write if it is RAM, 2 MiB of the machine's addresses. */
static void all_of(uint64_t at)
{
	volatile uint64_t *pd = (uint64_t *)PD, *in = window(NR(places));

	pd[FIRST_SLOT + NR(places)] = at | LARGE;
	__asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" : : : "rax", "memory");
	for (unsigned int page = 0; page < 512; page++)
		if (at < MACHINE)
			in[page * 512] = page;
		else
			(void)in[page * 512];
	turn++;
}

/* 96 MiB from FIRST on, also what stage 2 has absent or merged. */
static void all_ram(void)
{
	all_of(FIRST + turn * (2ULL << 20));
}

/* A part of a segment, also where there is no frame. */
static void all_frames(void)
{
	all_of(MACHINE + (64ULL << 30) + turn * (2ULL << 20));
}

static const struct {
	const char *name;
	void (*run)(void);
	unsigned int turns; /* 0: it is done once */
} ends[] = {
	{ "port", a_port, 0 },
	{ "no-paging", no_paging, 0 },
	{ "wild-root", wild_root, 0 },
	{ "own-tables", own_tables, 0 },
	{ "halt", halt, 0 },
	{ "loop", loop, 0 },
	{ "apic-moved", apic_moved, 0 },
	{ "all-ram", all_ram, 48 },
	{ "all-frames", all_frames, 32 },
	{ "msrs", an_msr, 64 * NR(msrs) },
};

static void end_with(const char *name)
{
	take_gate();
	act(NULL);
	print(real_cs & 3 ? "not at CPL 0\n" : "at CPL 0\n");
	if (equal("goes-on", name))
		act_all();
	print(is_right() ? "its own memory is right\n" : "its own memory is wrong\n");
	for (unsigned int i = 0; i < NR(ends); i++)
		if (equal(ends[i].name, name))
			ends[i].turns ? act_often(ends[i].run, ends[i].turns) : act(ends[i].run);
	print(is_right() ? "it goes on\n" : "it goes on, with other memory\n");
	for (;;)
		;
}

void takeover(const char *name)
{
	fill();
	print("ready\n");
	for (uint64_t round = 0;; round++) {
		for (unsigned int i = 0; i < 100; i++)
			if (!is_right()) {
				print("wrong\n");
				quit(1);
			}
		print("verified");
		print_hex(round);
		print("\n");
		forget_all();
		if (is_open())
			break;
	}
	print("open\n");
	open_windows();
	if (*name)
		end_with(name + 1);
	try_places();
	print(is_right() ? "its own memory is right\n" : "its own memory is wrong\n");
	scribble();
}
