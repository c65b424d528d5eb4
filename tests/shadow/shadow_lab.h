/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_SHADOW_SHADOW_LAB_H
#define QUIRE_TESTS_SHADOW_SHADOW_LAB_H

/*
 * A machine for shadow tables: RAM in an array, a real stage 2, processors that walk the arena and
 * cache what they find, and the history of the guest's tables.
 *
 * A processor keeps a translation until a flush names an entry of its path.  So an entry that
 * changes without a word is found: the processor goes on to use the old one.
 *
 * The history has each value that an entry of a guest table had, and when.  lab_permits() knows
 * from it what a real processor's TLB could hold.  It is written from the manual, not from
 * mmu/shadow/.
 */
#include "mmu/memory/stage2.h"
#include "mmu/shadow/shadow.h"
#include "tests/tap.h"

#define LAB_BLOCKS 3u
#define LAB_PAGES  (LAB_BLOCKS * 512u)
#define LAB_POOL   48u /* pages that may be tables; nobody else's bytes matter */
#define LAB_SLOTS  6u  /* entries of a table that are ever used */
#define LAB_CPUS   4u
#define LAB_ARENA  (SHADOW_MONITOR_BASE + MiB)

extern const unsigned int lab_slot[LAB_SLOTS]; /* their indexes */

void lab_init(uint64_t seed, uint32_t arena_pages);
void lab_finish(void);
uint64_t lab_random(void);
bool lab_one_in(unsigned int n);

extern struct shadow *lab_shadow;
extern struct stage2 *lab_stage2;
extern struct walk_cpu lab_regs[LAB_CPUS];

/* --- the guest's tables --- */

uint64_t lab_entry(unsigned int page, unsigned int slot);
/* The guest's store; or if `outside`, another's, of which the shadow is told. */
void lab_store(unsigned int page, unsigned int slot, uint64_t value, bool outside);
/* Other bytes of a page, which the history does not know. */
void lab_write(unsigned int page, unsigned int offset, const void *bytes, unsigned int nr);
gva_t lab_gva(const unsigned int slot[4]);

/* --- processors --- */

enum lab_outcome { LAB_OK, LAB_PF, LAB_GP, LAB_BROKEN };

struct lab_result {
	enum lab_outcome outcome;
	maddr_t maddr; /* of the page */
	uint32_t code;
};

struct lab_result lab_access(unsigned int cpu, gva_t gva, struct walk_access access);

/*
 * The processor asks for the root of a view, and comes back before it has loaded it: it still is on
 * the one of its last access.
 */
void lab_almost_load(unsigned int cpu, bool user);

/* INVLPG, and a load of CR3 or of what flushes as much. */
void lab_invlpg(unsigned int cpu, gva_t gva);
void lab_load(unsigned int cpu);

/* What walk_2d says now, as a result; machine addresses are the processor's. */
struct lab_result lab_walk_now(unsigned int cpu, gva_t gva, struct walk_access access);

/* Could a processor have this translation, from the tables since its last flush? */
bool lab_permits(unsigned int cpu, gva_t gva, struct walk_access access, maddr_t maddr);

/*
 * After an access that was mapped: are A, and D of a written page, set on the path?  True also if
 * the guest changed an entry of the path since the last flush of the address.
 */
bool lab_bits_set(unsigned int cpu, gva_t gva, bool write);

/*
 * What shadow_look() says of an access, beside what a processor finds in the arena from that root,
 * beside the guest's tables and their history, and beside walk_2d.  *look is what it said.  Notes
 * what is wrong; returns how much.
 */
unsigned int lab_look(unsigned int cpu, gva_t gva, struct walk_access access,
		      struct shadow_look *look);

/* Random bytes in all of the arena, as if the guest could write there. */
void lab_scribble(void);

/* --- stage 2 --- */

void lab_set(gfn_t gfn, uint64_t nr, enum page_state to);
bool lab_bring_in(gfn_t gfn, bool write);

/* --- audits --- */

/* Of the shadow, and of what processors have cached.  Notes what is wrong. */
unsigned int lab_audit(void);

#endif
