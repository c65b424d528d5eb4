/* SPDX-License-Identifier: MIT */
/*
 * A guest that can write its monitor, because a test has changed that from outside
 * (tests/kvm/monitor_slot.t).  It rewrites the tables that the real processor uses, and tries to
 * reach what is not its own.  Until then, and where nothing was changed, it verifies its memory.
 */
#include "hostile.h"

#define MONITOR	   0x400000000000UL /* where the test has mapped it; vmm/monitor/world_layout.h */
#define PD	   (MONITOR + 0x13000)
#define ARENA	   (MONITOR + 0x200000)
#define MACHINE	   (1ULL << 38) /* mmu/shadow/shadow.h: the monitor, and so on */
#define PAGES	   1000u
#define FIRST	   0x2000000u
#define LARGE	   0xe7 /* P W U A D PS */
#define FIRST_SLOT 300u

static uint64_t content(unsigned int page, unsigned int word)
{
	return (page + 1) * 0x9e3779b97f4a7c15 + word;
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
	{ "1 TiB", 1ULL << 40 },
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

void takeover(void)
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
	try_places();
	print(is_right() ? "its own memory is right\n" : "its own memory is wrong\n");
	scribble();
}
