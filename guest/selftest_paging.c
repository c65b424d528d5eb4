/* SPDX-License-Identifier: MIT */
/*
 * Traps, permissions and translation.
 *
 * A table lists the cases of permission: the leaf's flags, the access, and the error code that the
 * Intel SDM, Vol. 3A, "Page-Fault Exceptions" demands (bit 0 present, 1 write, 2 user, 3 reserved
 * bit, 4 fetch).  Each case maps one scratch page, in tables of its own, so that no other code
 * depends on it.
 */
#include "memory.h"
#include "paging.h"
#include "selftest.h"

struct access_case {
	const char *what;
	uint64_t flags;
	uint64_t read, write, fetch; /* error code, or NO_FAULT */
};

static const struct access_case user_cases[] = {
	{ "not present", 0, 0x04, 0x06, 0x14 },
	{ "read-only", PTE_P | PTE_U, NO_FAULT, 0x07, NO_FAULT },
	{ "writable", RW, NO_FAULT, NO_FAULT, NO_FAULT },
	{ "no-execute", RW | PTE_NX, NO_FAULT, NO_FAULT, 0x15 },
	{ "supervisor", PTE_P | PTE_W, 0x05, 0x07, 0x15 },
	{ "reserved bit", RW | BIT51, 0x0d, 0x0f, 0x1d },
};

static const struct access_case nucleus_cases[] = {
	{ "not present", 0, 0x00, 0x02, 0 },
	{ "read-only", PTE_P | PTE_U, NO_FAULT, 0x03, 0 },
	{ "supervisor", PTE_P | PTE_W, NO_FAULT, NO_FAULT, 0 },
	{ "reserved bit", RW | BIT51, 0x09, 0x0b, 0 },
};

bool bit51_is_reserved(void)
{
	uint32_t reg[4];

	cpuid(0x80000008, reg);
	return (reg[0] & 0xff) < 52;
}

#define NO_RESERVED "no reserved address bits: MAXPHYADDR is 52"

static void permissions_at_cpl3(uint64_t frame)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(user_cases); i++) {
		const struct access_case *c = &user_cases[i];

		if (c->flags & BIT51 && !bit51_is_reserved()) {
			tap_skip(NO_RESERVED, "CPL 3 read, %s", c->what);
			tap_skip(NO_RESERVED, "CPL 3 write, %s", c->what);
			tap_skip(NO_RESERVED, "CPL 3 fetch, %s", c->what);
			continue;
		}
		*(uint8_t *)direct(frame) = 0xc3;
		scratch_map(SCRATCH_BASE, c->flags ? frame | c->flags : 0);
		tap_hex(try_access(access_read, SCRATCH_BASE), c->read, "CPL 3 read, %s", c->what);
		tap_hex(try_access(access_write, SCRATCH_BASE), c->write, "CPL 3 write, %s",
			c->what);
		tap_hex(try_access(access_fetch, SCRATCH_BASE), c->fetch, "CPL 3 fetch, %s",
			c->what);
	}
}

static void permissions_at_cpl0(uint64_t frame)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(nucleus_cases); i++) {
		const struct access_case *c = &nucleus_cases[i];

		if (c->flags & BIT51 && !bit51_is_reserved()) {
			tap_skip(NO_RESERVED, "CPL 0 read, %s", c->what);
			tap_skip(NO_RESERVED, "CPL 0 write, %s", c->what);
			continue;
		}
		scratch_map(SCRATCH_BASE, c->flags ? frame | c->flags : 0);
		tap_hex(probe(ACCESS_READ, SCRATCH_BASE, 0).code, c->read, "CPL 0 read, %s",
			c->what);
		tap_hex(probe(ACCESS_WRITE, SCRATCH_BASE, 0).code, c->write, "CPL 0 write, %s",
			c->what);
	}
	scratch_map(SCRATCH_BASE, frame | PTE_P | PTE_U);
	nucleus_call(CALL_WP, 0, 0);
	tap_hex(probe(ACCESS_WRITE, SCRATCH_BASE, 0).code, NO_FAULT,
		"CPL 0 write, read-only, CR0.WP clear");
	nucleus_call(CALL_WP, 1, 0);
}

/* A permission that is missing at one level is missing. */
static void permissions_above_the_leaf(uint64_t frame)
{
	pte_t *pde;

	scratch_map(SCRATCH_BASE, frame | RW);
	pde = pte_find(pml4, SCRATCH_BASE, 2, false);
	*pde &= ~(uint64_t)PTE_W;
	tlb_flush_page((void *)SCRATCH_BASE);
	tap_hex(try_access(access_write, SCRATCH_BASE), 0x07, "write, page directory read-only");
	*pde |= PTE_NX;
	tlb_flush_page((void *)SCRATCH_BASE);
	tap_hex(try_access(access_fetch, SCRATCH_BASE), 0x15, "fetch, page directory no-execute");
	*pde &= ~(uint64_t)(PTE_NX | PTE_U);
	tlb_flush_page((void *)SCRATCH_BASE);
	tap_hex(try_access(access_read, SCRATCH_BASE), 0x05, "read, page directory supervisor");
	*pde |= RW;
	tlb_flush_page((void *)SCRATCH_BASE);
	tap_hex(try_access(access_write, SCRATCH_BASE), NO_FAULT, "write, all levels writable");
}

static void permissions_of_the_image(void)
{
	tap_hex(try_access(access_read, 0), 0x04, "gva 0 is not mapped");
	tap_hex(try_access(access_read, NUCLEUS_TEXT), 0x05, "the nucleus cannot be read");
	tap_hex(try_access(access_write, NUCLEUS_DATA), 0x07, "nor its data written");
	tap_hex(try_access(access_write, USER_TEXT), 0x07, "text is read-only");
	tap_hex(try_access(access_fetch, USER_DATA), 0x15, "data is not executable");
	tap_hex(try_access(access_write, STACK_BOTTOM - 1), 0x06, "the stack has a guard page");
}

void selftest_permissions(void)
{
	uint64_t frame = alloc_pages(0);

	permissions_of_the_image();
	permissions_at_cpl3(frame);
	permissions_at_cpl0(frame);
	permissions_above_the_leaf(frame);
	scratch_map(SCRATCH_BASE, 0);
	free_pages(frame, 0);
}

static void accessed_and_dirty(uint64_t frame)
{
	pte_t *pte = scratch_map(SCRATCH_BASE, frame | RW),
	      *pde = pte_find(pml4, SCRATCH_BASE, 2, false);

	*pde &= ~(uint64_t)PTE_A;
	tlb_flush_page((void *)SCRATCH_BASE);
	tap_hex(*pte & (PTE_A | PTE_D), 0, "A and D start out clear");
	access_read(SCRATCH_BASE);
	tap_hex(*pte & (PTE_A | PTE_D), PTE_A, "a read sets A, not D");
	tap_hex(*pde & PTE_A, PTE_A, "and A in the page directory");
	access_write(SCRATCH_BASE);
	tap_hex(*pte & (PTE_A | PTE_D), PTE_A | PTE_D, "a write sets D");
	*pte &= ~(uint64_t)PTE_D;
	tlb_flush_page((void *)SCRATCH_BASE);
	access_write(SCRATCH_BASE);
	tap_hex(*pte & PTE_D, PTE_D, "and sets it again once cleared and flushed");
}

static uint64_t value_at(uint64_t gva)
{
	return *(volatile uint64_t *)gva;
}

static void put_value(uint64_t frame, uint64_t value)
{
	*(volatile uint64_t *)direct(frame) = value;
}

static void remapping(uint64_t one, uint64_t two)
{
	pte_t *pte = scratch_map(SCRATCH_BASE, 0);

	put_value(one, 0x1111);
	put_value(two, 0x2222);
	*pte = one | RW;
	tap_hex(value_at(SCRATCH_BASE), 0x1111, "a page newly present needs no INVLPG");
	*pte = two | RW;
	tlb_flush_page((void *)SCRATCH_BASE);
	tap_hex(value_at(SCRATCH_BASE), 0x2222, "after INVLPG the new frame is seen");
	*pte = one | RW;
	root_switch(direct((uint64_t)pml4));
	tap_hex(value_at(SCRATCH_BASE), 0x1111, "so it is after CR3 is loaded");
	*pte = 0;
	tlb_flush_page((void *)SCRATCH_BASE);
	tap_hex(try_access(access_read, SCRATCH_BASE), 0x04, "after INVLPG the page is gone");
}

/* A second root that differs in its scratch entry only. */
static void address_spaces(uint64_t one, uint64_t two)
{
	uint64_t root_gpa = alloc_pages(0);
	pte_t *root = direct(root_gpa);

	for (unsigned int i = 0; i < 512; i++)
		root[i] = pml4[i];
	root[SCRATCH_BASE >> 39 & 511] = 0;
	*pte_find(root, SCRATCH_BASE, 1, true) = two | RW;
	scratch_map(SCRATCH_BASE, one | RW);
	root_switch(root);
	tap_hex(value_at(SCRATCH_BASE), 0x2222, "the other address space has its own page");
	*(volatile uint64_t *)SCRATCH_BASE = 0x3333;
	root_switch(direct((uint64_t)pml4));
	tap_hex(value_at(SCRATCH_BASE), 0x1111, "and back, ours is untouched");
	tap_hex(*(volatile uint64_t *)direct(two), 0x3333, "what was written there has stayed");
	pte_free_tables(root, SCRATCH_BASE);
	free_pages(root_gpa, 0);
}

static void split_block(uint64_t other)
{
	uint64_t block = alloc_pages(9), gva = SCRATCH_BASE + GiB, good = 0;
	pte_t *pde = pte_find(pml4, gva, 2, true);

	if (!block) {
		tap_skip("no free block of 2 MiB", "splitting a leaf");
		return;
	}
	*pde = block | RW | PTE_PS;
	for (uint64_t i = 0; i < BLOCK_PAGES; i++)
		*(volatile uint64_t *)(gva + i * PAGE_SIZE) = mix(i);
	tap_hex(*pde & (PTE_A | PTE_D), PTE_A | PTE_D, "a 2 MiB leaf gets A and D");
	pte_split(pml4, gva);
	tlb_flush_page((void *)gva);
	for (uint64_t i = 0; i < BLOCK_PAGES; i++)
		good += value_at(gva + i * PAGE_SIZE) == mix(i);
	tap_hex(good, BLOCK_PAGES, "a leaf split into 512 maps the same bytes");
	*pte_find(pml4, gva, 1, false) = other | PTE_P | PTE_U;
	tlb_flush_page((void *)gva);
	tap_hex(try_access(access_write, gva), 0x07, "one of them made read-only");
	tap_hex(try_access(access_write, gva + PAGE_SIZE), NO_FAULT, "its neighbour is not");
	*pte_find(pml4, gva, 1, false) = 0;
	tlb_flush_page((void *)gva);
	free_pages(*pde & PTE_ADDRESS, 0);
	*pde = 0x2000 | RW | PTE_PS;
	tlb_flush_page((void *)gva);
	tap_hex(try_access(access_read, gva), 0x0d, "bit 13 of a 2 MiB leaf is reserved");
	*pde = 0;
	free_pages(block, 9);
}

#define DEMAND_PAGES 64UL
#define DEMAND_BASE  (SCRATCH_BASE + 2 * GiB)

static volatile unsigned int demand_faults;

static bool demand_page(struct trap *trap)
{
	uint64_t frame;

	if (trap->vector != VECTOR_PF || trap->cr2 - DEMAND_BASE >= DEMAND_PAGES * PAGE_SIZE)
		return false;
	frame = alloc_pages(0);
	memset(direct(frame), 0, PAGE_SIZE);
	*pte_find(pml4, trap->cr2, 1, true) = frame | PTE_USER;
	demand_faults++;
	return true;
}

static void demand_paging(void)
{
	uint64_t good = 0;
	struct shuffle order;

	shuffle_init(&order, DEMAND_PAGES, 1);
	trap_hook = demand_page;
	for (uint64_t i = 0; i < DEMAND_PAGES; i++) {
		volatile uint64_t *word = (void *)(DEMAND_BASE + shuffle_at(&order, i) * PAGE_SIZE);

		word[1] = mix(i);
		good += word[0] == 0 && word[1] == mix(i);
	}
	trap_hook = NULL;
	tap_hex(good, DEMAND_PAGES, "pages mapped by the fault handler hold what is written");
	tap_hex(demand_faults, DEMAND_PAGES, "one fault a page");
	for (uint64_t i = 0; i < DEMAND_PAGES; i++) {
		pte_t *pte = pte_find(pml4, DEMAND_BASE + i * PAGE_SIZE, 1, false);

		free_pages(*pte & PTE_ADDRESS, 0);
		*pte = 0;
	}
}

void selftest_translation(void)
{
	uint64_t one = alloc_pages(0), two = alloc_pages(0);

	accessed_and_dirty(one);
	remapping(one, two);
	address_spaces(one, two);
	split_block(one);
	demand_paging();
	pte_free_tables(pml4, SCRATCH_BASE);
	root_switch(direct((uint64_t)pml4));
	free_pages(one, 0);
	free_pages(two, 0);
}

static void divide_by_zero(uint64_t zero)
{
	__asm__ volatile("xor %%edx, %%edx\n\tdiv %0" ::"r"(zero) : "rax", "rdx");
}

static void undefined(uint64_t unused)
{
	(void)unused;
	__asm__ volatile("ud2");
}

static void breakpoint(uint64_t unused)
{
	(void)unused;
	__asm__ volatile("int3");
}

static uint64_t vector_of(void (*fn)(uint64_t), uint64_t arg)
{
	return guarded(fn, arg) ? guard_trap.vector : UINT64_MAX;
}

static bool ignore(struct trap *trap)
{
	return trap->vector == VECTOR_BP;
}

/* An upcall may come at any instruction, and must leave no trace. */
static void upcall_is_transparent(void)
{
	uint64_t a = 1, b = 2, c = 3, d = 4, s = 5, t = 6;
	uint8_t carry = 0;
	double x = 1.5;

	trap_hook = ignore;
	__asm__ volatile("stc\n\tint3\n\tsetc %6"
			 : "+a"(a), "+b"(b), "+c"(c), "+d"(d), "+S"(s), "+D"(t), "=m"(carry)
			 :
			 : "cc", "memory");
	__asm__ volatile("int3" : "+x"(x)::"memory");
	trap_hook = NULL;
	tap_ok(a == 1 && b == 2 && c == 3 && d == 4 && s == 5 && t == 6 && carry && x == 1.5,
	       "a trap handled at CPL 3 leaves registers and flags alone");
}

void selftest_traps(void)
{
	tap_hex(vector_of(divide_by_zero, 0), VECTOR_DE, "division by zero is #DE");
	tap_hex(vector_of(undefined, 0), VECTOR_UD, "ud2 is #UD");
	tap_hex(vector_of(breakpoint, 0), VECTOR_BP, "int3 is #BP");
	tap_hex(vector_of(access_read, 1UL << 63), 13, "a non-canonical address is #GP");
	upcall_is_transparent();
}
