/* SPDX-License-Identifier: MIT */
/*
 * What a TLB may still know, and what it must not.
 *
 * Between a change of an entry and INVLPG or a load of CR3, an access may come out as before the
 * change or as after it, never as anything else; afterwards it must come out as the tables say.  An
 * entry that was not present cannot be remembered (SDM Vol. 3A, "Caching Translation Information").
 */
#include "memory.h"
#include "selftest.h"

#define FRAMES	4u
#define CR4_PGE (1UL << 7)

static uint64_t frame[FRAMES], number[FRAMES]; /* the last one is a block of 2 MiB */

#define BLOCK (FRAMES - 1)

static void reload(void)
{
	root_switch(direct((uint64_t)pml4));
}

static void invlpg(uint64_t gva)
{
	tlb_flush_page((void *)gva);
}

/* ---- from each state of an entry to each other ---- */

enum state { ONE, TWO, READ_ONLY, ABSENT, SUPERVISOR, NO_EXECUTE, TABLE_ONE, TABLE_TWO, LEAF };
#define NR_STATES    9u
#define FIRST_OF_PDE TABLE_ONE
#define USER	     0x04u

static const char *const state_name[NR_STATES] = {
	"writable",   "another frame", "read-only",	"absent",	"the supervisor's",
	"no-execute", "a table",       "another table", "a 2 MiB leaf",
};

static uint64_t entry[NR_STATES];

static uint64_t fault_of(enum state state, enum access_kind kind)
{
	static const uint64_t access_bits[NR_ACCESS_KINDS] = { 0x04, 0x06, 0x14 };

	if (state == ABSENT)
		return access_bits[kind];
	if (state == SUPERVISOR || (state == READ_ONLY && kind == ACCESS_WRITE) ||
	    (state == NO_EXECUTE && kind == ACCESS_FETCH))
		return access_bits[kind] | 1;
	return 0;
}

static uint64_t number_of(enum state state)
{
	if (state == LEAF)
		return number[BLOCK];
	return state == TWO || state == TABLE_TWO ? number[1] : number[0];
}

static uint64_t user_outcome(enum state state, enum access_kind kind)
{
	uint64_t fault = fault_of(state, kind);

	return fault ? fault : number_of(state);
}

static uint64_t nucleus_outcome(enum state state, enum access_kind kind)
{
	uint64_t fault = state == SUPERVISOR ? 0 : fault_of(state, kind);

	return fault ? fault & ~(uint64_t)USER : number_of(state);
}

static bool is(const char *when, uint64_t got, uint64_t want, uint64_t other)
{
	if (got != want && got != other)
		print("# %s: 0x%lx, want 0x%lx or 0x%lx\n", when, got, want, other);
	return got == want || got == other;
}

struct change {
	enum state from, to;
	enum access_kind kind;
	bool used, by_cr3;
};

static bool changes(const struct change *c)
{
	pte_t *at = pte_find(pml4, SCRATCH_BASE, c->from < FIRST_OF_PDE ? 1 : 2, false);
	uint64_t was = user_outcome(c->from, c->kind), now = user_outcome(c->to, c->kind);
	uint64_t nucleus = nucleus_outcome(c->to, c->kind);
	bool good = true;

	*at = entry[c->from];
	invlpg(SCRATCH_BASE);
	if (c->used) {
		good &= is("at first", reach_user(c->kind, SCRATCH_BASE), was, was);
		reach_nucleus(c->kind, SCRATCH_BASE);
	}
	*at = entry[c->to];
	good &= is("stale", reach_user(c->kind, SCRATCH_BASE), now, c->from == ABSENT ? now : was);
	if (c->by_cr3)
		reload();
	else
		invlpg(SCRATCH_BASE);
	good &= is("in the end", reach_user(c->kind, SCRATCH_BASE), now, now);
	return good & is("at CPL 0", reach_nucleus(c->kind, SCRATCH_BASE), nucleus, nucleus);
}

static void from_to(enum state from, enum state to)
{
	bool good = true;

	for (unsigned int i = 0; i < 4 * NR_ACCESS_KINDS; i++)
		good &= changes(&(struct change){ from, to, i / 4, i & 1, i & 2 });
	tap_ok(good, "%s becomes %s: what was, or what is, and after a flush what is",
	       state_name[from], state_name[to]);
}

static void every_change(void)
{
	for (unsigned int from = 0; from < NR_STATES; from++) {
		for (unsigned int to = 0; to < NR_STATES; to++)
			if (from != to && (from < FIRST_OF_PDE) == (to < FIRST_OF_PDE))
				from_to(from, to);
		if (from + 1 == FIRST_OF_PDE)
			scratch_map(SCRATCH_BASE, entry[ONE]);
	}
	*pte_find(pml4, SCRATCH_BASE, 2, false) = entry[TABLE_ONE];
	invlpg(SCRATCH_BASE);
}

/* Entries of level 1, and two tables and a block for level 2. */
static void every_change_prepare(void)
{
	pte_t *pde = pte_find(pml4, SCRATCH_BASE, 2, true);

	for (unsigned int i = TABLE_ONE; i <= TABLE_TWO; i++) {
		*pde = 0;
		*pte_find(pml4, SCRATCH_BASE, 1, true) = frame[i - TABLE_ONE] | RW;
		entry[i] = *pde;
	}
	entry[LEAF] = frame[BLOCK] | RW | PTE_PS;
	entry[ONE] = frame[0] | RW;
	entry[TWO] = frame[1] | RW;
	entry[READ_ONLY] = entry[ONE] & ~(uint64_t)PTE_W;
	entry[SUPERVISOR] = entry[ONE] & ~(uint64_t)PTE_U;
	entry[NO_EXECUTE] = entry[ONE] | PTE_NX;
	*pde = entry[TABLE_ONE];
	reload();
}

/* INVLPG with any address of a large page forgets all of it. */
static void block_is_one(void)
{
	pte_t *pde = pte_find(pml4, SCRATCH_BASE, 2, false);
	uint64_t other = alloc_pages(9), last = SCRATCH_BASE + BLOCK_SIZE - PAGE_SIZE;
	uint64_t number_other = frame_mark(other + BLOCK_SIZE - PAGE_SIZE);
	uint64_t number_last = frame_mark(frame[BLOCK] + BLOCK_SIZE - PAGE_SIZE);

	*pde = entry[LEAF];
	invlpg(SCRATCH_BASE);
	tap_hex(reach_user(ACCESS_WRITE, last), number_last, "a block's last page is used");
	reach_user(ACCESS_READ, SCRATCH_BASE);
	*pde = other | RW | PTE_PS;
	invlpg(SCRATCH_BASE);
	tap_hex(reach_user(ACCESS_WRITE, last), number_other,
		"INVLPG of its first page forgets it too");
	*pde = entry[TABLE_ONE];
	invlpg(SCRATCH_BASE);
	free_pages(other, 9);
}

/* ---- one frame, or one table, at several addresses ---- */

#define ALIAS_1 (SCRATCH_BASE + 3 * GiB)
#define ALIAS_2 (SCRATCH_BASE + 5 * GiB + PAGE_SIZE)
#define ALIAS_3 (SCRATCH_BASE + 5 * GiB + 7 * BLOCK_SIZE)

static void aliases(void)
{
	pte_t *one = scratch_map(ALIAS_1, frame[0] | RW | PTE_NX),
	      *two = scratch_map(ALIAS_2, frame[0] | PTE_P | PTE_U),
	      *three = scratch_map(ALIAS_3, frame[0] | PTE_P | PTE_W);
	volatile uint32_t *code = (void *)(ALIAS_1 + 1);

	tap_hex(reach_user(ACCESS_WRITE, ALIAS_1), number[0], "a frame at three addresses");
	tap_hex(reach_user(ACCESS_READ, ALIAS_2), number[0], "is read at another");
	tap_hex(reach_user(ACCESS_WRITE, ALIAS_2), 0x07, "where it is read-only");
	tap_hex(reach_user(ACCESS_FETCH, ALIAS_1), 0x15, "is not executable at the first");
	tap_hex(reach_user(ACCESS_READ, ALIAS_3), 0x05, "and the supervisor's at the third");
	tap_hex((*one & PTE_D) | (*two & PTE_D) << 1 | (*three & (PTE_A | PTE_D)) << 2, PTE_D,
		"D is set in the entry that was used");
	tap_hex(reach_nucleus(ACCESS_WRITE, ALIAS_3), number[0], "CPL 0 writes by the third");
	reach_user(ACCESS_FETCH, ALIAS_2);
	*code = 0x77;
	tap_hex(reach_user(ACCESS_FETCH, ALIAS_2), 0x77,
		"code changed at one address is run at another");
	*code = (uint32_t)number[0];
	*one = frame[1] | RW;
	invlpg(ALIAS_1);
	tap_hex(reach_user(ACCESS_WRITE, ALIAS_1), number[1], "the first gets another frame");
	tap_hex(reach_user(ACCESS_READ, ALIAS_2), number[0], "the second keeps it");
	scratch_map(ALIAS_2, 0);
	scratch_map(ALIAS_3, 0);
	*one = frame[0] | RW;
	invlpg(ALIAS_1);
	tap_hex(reach_user(ACCESS_WRITE, ALIAS_1), number[0], "and alone again, it is writable");
}

/* A table below two directory entries, of which one grants less. */
static void table_twice(void)
{
	pte_t *pte = scratch_map(ALIAS_1, frame[0] | RW),
	      *first = pte_find(pml4, ALIAS_1, 2, false),
	      *second = pte_find(pml4, ALIAS_3, 2, true);
	uint64_t at = ALIAS_3 & -BLOCK_SIZE, gva = at + ALIAS_1 % BLOCK_SIZE;

	*second = (*first & ~(uint64_t)PTE_W) | PTE_NX;
	reload();
	tap_hex(reach_user(ACCESS_READ, gva), number[0], "a table at two places, read");
	tap_hex(reach_user(ACCESS_WRITE, gva), 0x07, "the second does not grant writes");
	tap_hex(reach_user(ACCESS_WRITE, ALIAS_1), number[0], "though the first does");
	tap_hex(*pte & PTE_D, PTE_D, "and sets D in the one entry");
	tap_hex(reach_user(ACCESS_FETCH, gva), 0x15, "the second does not grant fetches");
	*pte = frame[1] | RW;
	invlpg(gva);
	invlpg(ALIAS_1);
	tap_hex(reach_user(ACCESS_READ, gva) + reach_user(ACCESS_WRITE, ALIAS_1), 2 * number[1],
		"an edit is seen at both");
	*second |= PTE_W;
	invlpg(gva);
	tap_hex(reach_user(ACCESS_WRITE, gva), number[1], "the second grants more");
	*second = 0;
	invlpg(gva);
	tap_hex(reach_user(ACCESS_READ, gva), 0x04, "and goes");
	tap_hex(reach_user(ACCESS_WRITE, ALIAS_1), number[1], "the first stays");
}

/*
 * INVLPG of any address ends what is cached of upper levels.  A page that could not be used before
 * is found by the tables as they are, even though its old table has got it meanwhile, and is in use
 * at another address.
 */
static void upper_levels(void)
{
	pte_t *pde = pte_find(pml4, SCRATCH_BASE, 2, false), *alias;
	uint64_t gva = SCRATCH_BASE + PAGE_SIZE;

	scratch_map(SCRATCH_BASE, entry[ONE]);
	alias = pte_find(pml4, ALIAS_3, 2, true);
	*alias = *pde;
	((pte_t *)direct(entry[TABLE_TWO] & PTE_ADDRESS))[1] = frame[1] | RW;
	reload();
	reach_user(ACCESS_READ, SCRATCH_BASE);
	*pde = entry[TABLE_TWO];
	invlpg(ALIAS_1);
	((pte_t *)direct(entry[TABLE_ONE] & PTE_ADDRESS))[1] = frame[0] | RW;
	tap_hex(reach_user(ACCESS_READ, (ALIAS_3 & -BLOCK_SIZE) + PAGE_SIZE), number[0],
		"a page of a table that has another parent now");
	tap_hex(reach_user(ACCESS_READ, gva), number[1], "is not that of the first parent");
	*pde = entry[TABLE_ONE];
	*alias = 0;
	scratch_map(gva, 0);
	reload();
}

/* A table gets one more parent: what was not mapped before is found as the table is now. */
static void one_more_parent(void)
{
	uint64_t second = SCRATCH_BASE + PAGE_SIZE, gva = ALIAS_3 & -BLOCK_SIZE, stale;
	pte_t *pte = scratch_map(second, frame[0] | RW), *pde = pte_find(pml4, gva, 2, true);

	scratch_map(SCRATCH_BASE, frame[0] | RW);
	reload();
	reach_user(ACCESS_WRITE, SCRATCH_BASE);
	reach_user(ACCESS_WRITE, second);
	*pte = frame[1] | RW;
	*pde = entry[TABLE_ONE];
	tap_hex(reach_user(ACCESS_WRITE, gva), number[0], "a table gets one more parent");
	tap_hex(reach_user(ACCESS_WRITE, gva + PAGE_SIZE), number[1], "and is there as it is now");
	stale = reach_user(ACCESS_WRITE, second);
	tap_ok(stale == number[0] || stale == number[1], "below the other it may be as it was");
	*pde = 0;
	*pte = 0;
	reload();
}

/* ---- tables that map themselves ---- */

#define SELF_SLOT 8UL
#define SELF_BASE (SELF_SLOT << 39)

/* The entry for gva at this level, where the root's own entry has mapped it. */
static pte_t *self(uint64_t gva, unsigned int level)
{
	for (; level; level--)
		gva = SELF_BASE | (gva >> 9 & 0x7ffffffff8);
	return (pte_t *)gva;
}

static void tables_that_map_themselves(void)
{
	pte_t *pte = scratch_map(SCRATCH_BASE, frame[0] | RW);
	unsigned int same = 0;

	pml4[SELF_SLOT] = (uint64_t)pml4 | RW;
	for (unsigned int level = 1; level <= 4; level++)
		same += *self(SCRATCH_BASE, level) == *pte_find(pml4, SCRATCH_BASE, level, false);
	tap_hex(same, 4, "the root maps itself: entries of four levels can be read");
	reach_user(ACCESS_WRITE, SCRATCH_BASE);
	tap_hex(*self(SCRATCH_BASE, 1), *pte | PTE_A | PTE_D, "with their A and D");
	*self(SCRATCH_BASE, 1) = frame[1] | RW;
	invlpg(SCRATCH_BASE);
	tap_hex(reach_user(ACCESS_WRITE, SCRATCH_BASE), number[1], "and be edited there");
	*self(SCRATCH_BASE + PAGE_SIZE, 1) = frame[0] | RW;
	tap_hex(reach_user(ACCESS_READ, SCRATCH_BASE + PAGE_SIZE), number[0],
		"a page becomes present there");
	*self(SCRATCH_BASE + PAGE_SIZE, 1) = 0;
	reload();
	tap_hex(reach_user(ACCESS_READ, SCRATCH_BASE + PAGE_SIZE), 0x04, "and goes");
	*self(SCRATCH_BASE, 2) = entry[TABLE_TWO];
	reload();
	tap_hex(reach_user(ACCESS_WRITE, SCRATCH_BASE), number[1], "a directory entry too");
	tap_hex(*self(SCRATCH_BASE, 1) & PTE_ADDRESS, frame[1], "which maps another table then");
	*self(SCRATCH_BASE, 2) = entry[TABLE_ONE];
	reload();
	*self(SCRATCH_BASE, 4) &= ~(uint64_t)PTE_W;
	invlpg(SCRATCH_BASE);
	tap_hex(reach_user(ACCESS_WRITE, SCRATCH_BASE), 0x07, "the root takes a right away");
	*self(SCRATCH_BASE, 4) |= PTE_W;
	*self(SELF_BASE, 4) &= ~(uint64_t)PTE_W;
	reload();
	tap_hex(try_access(access_write, (uint64_t)self(SCRATCH_BASE, 4)), 0x07,
		"also from itself");
	pml4[SELF_SLOT] = 0;
	reload();
	tap_hex(try_access(access_read, (uint64_t)self(SCRATCH_BASE, 1)), 0x04,
		"and it maps itself no more");
}

/* ---- two roots ---- */

#define PRIVATE SCRATCH_BASE
#define SHARED	(SCRATCH_BASE + GiB)
#define ROUNDS	40u

/* Each turn changes three entries without INVLPG, goes to the other root, and looks. */
static bool turn(pte_t *roots[2], pte_t *const pte[3], unsigned int i)
{
	unsigned int to = i % 2, own = i / 2 % 3, other = (i / 2 + 1) % 3, both = i % 3;

	*pte[to] = frame[own] | RW;
	*pte[!to] = frame[other] | RW;
	*pte[2] = frame[both] | (i % 5 ? RW : PTE_P | PTE_U);
	root_switch(roots[to]);
	return reach_user(i % 3, PRIVATE) == number[own] &&
	       reach_nucleus(ACCESS_WRITE, PRIVATE) == number[own] &&
	       reach_user(ACCESS_READ, SHARED) == number[both] &&
	       reach_user(ACCESS_WRITE, SHARED) == (i % 5 ? number[both] : 0x07);
}

static void two_roots(void)
{
	uint64_t gpa = alloc_pages(0);
	pte_t *roots[2] = { direct((uint64_t)pml4), direct(gpa) }, *pte[3];
	unsigned int good = 0;

	for (unsigned int i = 0; i < 512; i++)
		roots[1][i] = pml4[i];
	roots[1][SCRATCH_BASE >> 39 & 511] = 0;
	pte[0] = pte_find(roots[0], PRIVATE, 1, true);
	pte[1] = pte_find(roots[1], PRIVATE, 1, true);
	pte[2] = pte_find(roots[0], SHARED, 1, true);
	*pte_find(roots[1], SHARED, 3, true) = *pte_find(roots[0], SHARED, 3, false);
	for (unsigned int i = 1; i <= ROUNDS; i++)
		good += turn(roots, pte, i);
	tap_hex(good, ROUNDS, "two roots take turns: what was changed is seen by the other");
	reload();
	*pte_find(roots[1], SHARED, 3, false) = 0;
	pte_free_tables(roots[1], SCRATCH_BASE);
	memset((void *)roots[1], 0xff, PAGE_SIZE);
	*pte[2] = gpa | RW;
	invlpg(SHARED);
	tap_hex(try_access(access_write, SHARED), NO_FAULT, "a root that went is memory again");
	*pte[2] = 0;
	invlpg(SHARED);
	free_pages(gpa, 0);
}

/* ---- global pages ---- */

static void global(pte_t *at, uint64_t one, uint64_t two, const char *size)
{
	uint64_t first = (one & PTE_PS) ? number[BLOCK] : number[0],
		 second = (one & PTE_PS) ? MARK_FIRST + FRAMES : number[1], stale;

	*at = one | PTE_G;
	reload();
	reach_user(ACCESS_WRITE, SCRATCH_BASE);
	*at = two | PTE_G;
	reload();
	tap_hex(reach_user(ACCESS_WRITE, SCRATCH_BASE), second,
		"%s: without CR4.PGE a global page is none", size);
	*at = one | PTE_G;
	nucleus_call(CALL_CR4, CR4_PGE, 0);
	tap_hex(reach_user(ACCESS_WRITE, SCRATCH_BASE), first, "%s: PGE set, all is forgotten",
		size);
	*at = two | PTE_G;
	reload();
	stale = reach_user(ACCESS_WRITE, SCRATCH_BASE);
	tap_ok(stale == first || stale == second, "%s: a global page may survive CR3", size);
	invlpg(SCRATCH_BASE);
	tap_hex(reach_user(ACCESS_WRITE, SCRATCH_BASE), second, "%s: but not INVLPG", size);
	*at = one | PTE_G;
	nucleus_call(CALL_CR4, CR4_PGE, 0);
	tap_hex(reach_user(ACCESS_WRITE, SCRATCH_BASE), first, "%s: nor that PGE is cleared", size);
}

static void global_pages(void)
{
	pte_t *pde = pte_find(pml4, SCRATCH_BASE, 2, false);
	uint64_t block = alloc_pages(9);

	frames_unmark();
	for (unsigned int i = 0; i < FRAMES; i++)
		number[i] = frame_mark(frame[i]);
	frame_mark(block);
	global(pte_find(pml4, SCRATCH_BASE, 1, false), frame[0] | RW, frame[1] | RW, "4 KiB");
	global(pde, entry[LEAF], block | RW | PTE_PS, "2 MiB");
	*pde = entry[TABLE_ONE];
	reload();
	free_pages(block, 9);
}

/* ---- stores of other kinds to an entry ---- */

static uint64_t compare_exchange(pte_t *pte, uint64_t old, uint64_t new)
{
	__asm__ volatile("lock cmpxchg %2, %1" : "+a"(old), "+m"(*pte) : "r"(new) : "memory", "cc");
	return old;
}

static uint64_t exchange(pte_t *pte, uint64_t value)
{
	__asm__ volatile("xchg %0, %1" : "+r"(value), "+m"(*pte)::"memory");
	return value;
}

static void other_stores(void)
{
	pte_t *pte = scratch_map(SCRATCH_BASE, 0);

	tap_hex(compare_exchange(pte, 0, frame[0] | RW), 0, "LOCK CMPXCHG makes a page present");
	tap_hex(reach_user(ACCESS_WRITE, SCRATCH_BASE), number[0], "at once");
	tap_hex(compare_exchange(pte, frame[0] | RW, frame[1] | RW), frame[0] | RW | PTE_A | PTE_D,
		"it fails if A and D were set meanwhile");
	invlpg(SCRATCH_BASE);
	tap_hex(reach_user(ACCESS_READ, SCRATCH_BASE), number[0], "and changes nothing");
	compare_exchange(pte, *pte, frame[1] | RW);
	invlpg(SCRATCH_BASE);
	tap_hex(reach_user(ACCESS_WRITE, SCRATCH_BASE), number[1], "it changes the frame");
	__asm__ volatile("lock btrq $1, %0" : "+m"(*pte)::"memory", "cc");
	invlpg(SCRATCH_BASE);
	tap_hex(reach_user(ACCESS_WRITE, SCRATCH_BASE), 0x07, "LOCK BTR takes W");
	__asm__ volatile("lock orb $2, %0" : "+m"(*pte)::"memory", "cc");
	invlpg(SCRATCH_BASE);
	tap_hex(reach_user(ACCESS_WRITE, SCRATCH_BASE), number[1], "LOCK OR of a byte gives it");
	*((volatile uint8_t *)pte + 7) = 0x80;
	reload();
	tap_hex(reach_user(ACCESS_FETCH, SCRATCH_BASE), 0x15, "a store of one byte sets NX");
	tap_hex(exchange(pte, 0), frame[1] | RW | PTE_NX | PTE_A | PTE_D,
		"XCHG gets A and D with the rest");
	invlpg(SCRATCH_BASE);
	tap_hex(reach_user(ACCESS_READ, SCRATCH_BASE), 0x04, "and the page is gone");
}

void selftest_tlb(void)
{
	for (unsigned int i = 0; i < FRAMES; i++) {
		frame[i] = alloc_pages(i == BLOCK ? 9 : 0);
		number[i] = frame_mark(frame[i]);
	}
	every_change_prepare();
	every_change();
	block_is_one();
	aliases();
	table_twice();
	upper_levels();
	one_more_parent();
	tables_that_map_themselves();
	two_roots();
	global_pages();
	other_stores();
	pte_free_tables(pml4, SCRATCH_BASE);
	reload();
	free_pages(entry[TABLE_TWO] & PTE_ADDRESS, 0);
	frames_unmark();
	for (unsigned int i = 0; i < FRAMES; i++)
		free_pages(frame[i], i == BLOCK ? 9 : 0);
}
