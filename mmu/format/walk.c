/* SPDX-License-Identifier: MIT */
/*
 * The two-dimensional walk: a pt_walk over the guest's format.  Its read function does a pt_walk
 * over stage 2 for the address of each entry.
 *
 *        gva                        4-level guest over 4-level EPT: 24 references
 *         |
 *   cr3 --+-> EPT 4 3 2 1 -> PML4E          (gpa of the entry through stage 2, then read it)
 *             EPT 4 3 2 1 -> PDPTE
 *             EPT 4 3 2 1 -> PDE
 *             EPT 4 3 2 1 -> PTE
 *             EPT 4 3 2 1 -> maddr          (the final translation)
 *
 * The callbacks return an enum walk_outcome.  WALK_OK is 0, and pt_walk goes on; it returns any
 * other unchanged.  The walk is part of faults, and its time is measured
 * (tests/bench/walk_bench.c).  So the result is filled field by field, and never cleared as a
 * whole.
 */
#include <errno.h>
#include "walk.h"
#include "pgwalk.h"
#include "x86pt.h"

#define CR0_PE	  (1ULL << 0)
#define CR0_WP	  (1ULL << 16)
#define CR0_PG	  (1ULL << 31)
#define CR4_PSE	  (1ULL << 4)
#define CR4_PAE	  (1ULL << 5)
#define CR4_LA57  (1ULL << 12)
#define CR4_PCIDE (1ULL << 17)
#define CR4_SMEP  (1ULL << 20)
#define CR4_SMAP  (1ULL << 21)
#define EFER_LME  (1ULL << 8)
#define EFER_LMA  (1ULL << 10)
#define EFER_NXE  (1ULL << 11)

#define CR3_32_MASK  0xfffff000ULL
#define CR3_PAE_MASK 0xffffffe0ULL /* PAE's root is four entries, 32-byte aligned */

/* Exit qualification for EPT violations.  Bits 2:0 are the PT_PERM_* of the access. */
#define QUAL_ENTRY_SHIFT 3 /* 5:3: the entries' R, W, X */
#define QUAL_GVA_VALID	 0x80u

static_assert(PT_PERM_R == 1 && PT_PERM_W == 2 && PT_PERM_X == 4,
	      "the qualification's access bits are PT_PERM_*");

/*
 * If the guest changes an entry just before its A or D bit is set, the walk starts over.  A guest
 * that manages this so many times does it on purpose.
 */
#define MAX_ATTEMPTS 64

/* A guest entry that the walk has read, kept until its A and D bits are set. */
struct step {
	const struct pt_level *lv;
	gpa_t gpa;
	maddr_t maddr;
	uint64_t entry;
	unsigned int perm2; /* what stage 2 grants at gpa */
};

struct walker {
	const struct walk_cpu *cpu;
	const struct walk_stage2 *s2;
	const struct walk_memory *mem;
	const struct pt_format *format;
	gva_t gva;
	struct walk_access access;
	struct pt_rules rules;
	gpa_t translating; /* the input of the stage-2 walk under way */
	unsigned int nr_steps;
	struct step step[PT_MAX_LEVELS];
	struct walk_result *res;
};

const char *walk_outcome_name(enum walk_outcome outcome)
{
	switch (outcome) {
	case WALK_OK: return "ok";
	case WALK_PAGE_FAULT: return "page fault";
	case WALK_NOT_CANONICAL: return "not canonical";
	case WALK_VIOLATION: return "stage-2 violation";
	case WALK_MISCONFIG: return "stage-2 misconfiguration";
	case WALK_NO_MEMORY: return "no memory";
	case WALK_BAD_MODE: return "no paging mode";
	case WALK_AGAIN: return "tables keep changing";
	}
	return "unknown";
}

/* Intel SDM Vol. 3A, "Paging Modes and Control Bits" and "Enabling Paging". */
const struct pt_format *walk_guest_format(const struct walk_cpu *cpu, bool *bad)
{
	bool pg = cpu->cr0 & CR0_PG, pae = cpu->cr4 & CR4_PAE;
	bool lma = cpu->efer & EFER_LMA;

	*bad = (pg && !(cpu->cr0 & CR0_PE)) || lma != (pg && (cpu->efer & EFER_LME)) ||
	       (lma && !pae) || (!lma && (cpu->cr4 & CR4_PCIDE));
	if (*bad || !pg)
		return NULL;
	if (lma)
		return cpu->cr4 & CR4_LA57 ? &x86_5level_format : &x86_4level_format;
	return pae ? &x86_pae_format : &x86_32_format;
}

struct pt_rules walk_guest_rules(const struct walk_cpu *cpu)
{
	return (struct pt_rules){
		.maxphyaddr = cpu->maxphyaddr < 32 ? 32 : min_u64(cpu->maxphyaddr, 52),
		.nxe = cpu->efer & EFER_NXE,
		.pse = cpu->cr4 & CR4_PSE,
		.pages_1g = cpu->pages_1g,
		.amd = cpu->amd,
	};
}

static inline gpa_t cr3_root(const struct walk_cpu *cpu, const struct pt_format *fmt,
			     uint8_t maxphyaddr)
{
	if (fmt == &x86_32_format)
		return cpu->cr3 & CR3_32_MASK;
	if (fmt == &x86_pae_format)
		return cpu->cr3 & CR3_PAE_MASK;
	return cpu->cr3 & X86_ADDR_MASK & ((1ULL << maxphyaddr) - 1);
}

gpa_t walk_guest_root(const struct walk_cpu *cpu, const struct pt_format *fmt)
{
	return cr3_root(cpu, fmt, walk_guest_rules(cpu).maxphyaddr);
}

static void record(struct walker *w, unsigned int stage, const struct pt_level *lv, uint64_t addr,
		   uint64_t input, uint64_t entry)
{
	struct walk_ref *ref = &w->res->ref[w->res->nr_refs++];

	ref->stage = stage;
	ref->level = lv->level;
	ref->name = lv->name;
	ref->addr = addr;
	ref->input = input;
	ref->entry = entry;
}

static enum walk_outcome refuse(struct walker *w, enum walk_outcome outcome, gpa_t gpa)
{
	w->res->gpa = gpa;
	return outcome;
}

static enum walk_outcome violation(struct walker *w, gpa_t gpa, unsigned int access,
				   unsigned int entry_perm, unsigned int where)
{
	unsigned int rwx = entry_perm & (PT_PERM_R | PT_PERM_W | PT_PERM_X);

	w->res->qualification = access | rwx << QUAL_ENTRY_SHIFT | where | QUAL_GVA_VALID;
	return refuse(w, WALK_VIOLATION, gpa);
}

static int read_stage2(void *ctx, uint64_t addr, const struct pt_level *lv, uint64_t *entry)
{
	struct walker *w = ctx;
	int err = w->s2->read(w->s2->ctx, addr, lv, entry);

	record(w, 2, lv, addr, w->translating, err ? 0 : *entry);
	return err ? refuse(w, WALK_NO_MEMORY, w->translating) : WALK_OK;
}

/*
 * Translate gpa by stage 2 for an access of kind PT_PERM_*.  `where` is WALK_FINAL or 0.  After
 * WALK_OK, *level is the level of the leaf (0: there is no stage 2) and *perm what stage 2 grants.
 */
static enum walk_outcome translate(struct walker *w, gpa_t gpa, unsigned int access,
				   unsigned int where, maddr_t *maddr, unsigned int *perm,
				   uint8_t *level)
{
	const struct walk_stage2 *s2 = w->s2;
	struct pt_result leaf;
	int err;

	if (!s2) {
		*maddr = gpa;
		*perm = PT_PERM_ALL;
		*level = 0;
		return WALK_OK;
	}
	if (gpa >> s2->format->address_bits)
		return violation(w, gpa, access, 0, where);

	w->translating = gpa;
	err = pt_walk_inline(s2->format, &s2->rules, s2->root, gpa, read_stage2, w, &leaf);
	if (err)
		return err;
	if (leaf.class == PT_EMPTY)
		return violation(w, gpa, access, 0, where);
	if (leaf.class == PT_RESERVED)
		return refuse(w, WALK_MISCONFIG, gpa);
	if (access & ~leaf.perm)
		return violation(w, gpa, access, leaf.perm, where);
	*maddr = leaf.address;
	*perm = leaf.perm;
	*level = leaf.lv->level;
	return WALK_OK;
}

/* If stage 2 has A and D bits, the processor's reading of a guest entry counts as a write. */
static unsigned int table_access(const struct walker *w)
{
	return w->s2 && w->s2->ad ? PT_PERM_R | PT_PERM_W : PT_PERM_R;
}

static int read_stage1(void *ctx, uint64_t addr, const struct pt_level *lv, uint64_t *entry)
{
	struct walker *w = ctx;
	struct step *step = &w->step[w->nr_steps++];
	enum walk_outcome outcome;
	uint8_t level2;
	int err;

	outcome = translate(w, addr, table_access(w), 0, &step->maddr, &step->perm2, &level2);
	if (outcome != WALK_OK)
		return outcome;
	err = w->mem->read(w->mem->ctx, step->maddr, w->format->entry_bytes, entry);
	record(w, 1, lv, addr, w->gva, err ? 0 : *entry);
	if (err)
		return refuse(w, WALK_NO_MEMORY, addr);
	step->lv = lv;
	step->gpa = addr;
	step->entry = *entry;
	return WALK_OK;
}

/* The I bit says "fetch" only in modes that tell a fetch from a read. */
static enum walk_outcome page_fault(struct walker *w, uint32_t why)
{
	bool tells_fetches = (w->cpu->cr4 & CR4_SMEP) ||
			     ((w->cpu->cr4 & CR4_PAE) && (w->cpu->efer & EFER_NXE));

	if (w->access.write)
		why |= PF_W;
	if (w->access.user)
		why |= PF_U;
	if (w->access.fetch && tells_fetches)
		why |= PF_I;
	w->res->error_code = why;
	return WALK_PAGE_FAULT;
}

/* Intel SDM Vol. 3A, "Determination of Access Rights".  perm is the AND over all levels. */
static bool permitted(const struct walker *w, unsigned int perm)
{
	const struct walk_access *a = &w->access;
	bool user_page = perm & PT_PERM_U;

	if (a->user && !user_page)
		return false;
	if (a->write && !(perm & PT_PERM_W) && (a->user || (w->cpu->cr0 & CR0_WP)))
		return false;
	if (a->fetch && !(perm & PT_PERM_X))
		return false;
	if (a->user || !user_page)
		return true;
	/* The supervisor accesses a user page. */
	if (a->fetch)
		return !(w->cpu->cr4 & CR4_SMEP);
	return !(w->cpu->cr4 & CR4_SMAP) || w->cpu->ac;
}

static enum walk_outcome set_bits(struct walker *w, const struct step *step, uint64_t bits)
{
	int err;

	/* The processor reads, modifies and writes, so both access bits are set. */
	if (!(step->perm2 & PT_PERM_W))
		return violation(w, step->gpa, PT_PERM_R | PT_PERM_W, step->perm2, 0);
	err = w->mem->set_bits(w->mem->ctx, step->maddr, w->format->entry_bytes, step->entry, bits);
	if (err)
		return refuse(w, err == -EAGAIN ? WALK_AGAIN : WALK_NO_MEMORY, step->gpa);
	return WALK_OK;
}

static enum walk_outcome set_accessed_dirty(struct walker *w)
{
	for (unsigned int i = 0; i < w->nr_steps; i++) {
		const struct step *step = &w->step[i];
		bool leaf = i == w->nr_steps - 1;
		enum walk_outcome outcome;
		uint64_t want = 0;

		if (!step->lv->no_accessed)
			want |= w->format->accessed;
		if (leaf && w->access.write)
			want |= w->format->dirty;
		want &= ~step->entry;
		if (!want)
			continue;
		outcome = set_bits(w, step, want);
		if (outcome != WALK_OK)
			return outcome;
	}
	return WALK_OK;
}

/* Translate gva to *gpa.  *level becomes the level of the leaf. */
static enum walk_outcome walk_stage1(struct walker *w, gpa_t *gpa, uint8_t *level)
{
	struct pt_result leaf;
	gpa_t root;
	int err;

	w->nr_steps = 0;
	root = cr3_root(w->cpu, w->format, w->rules.maxphyaddr);
	err = pt_walk_inline(w->format, &w->rules, root, w->gva, read_stage1, w, &leaf);
	if (err)
		return err;
	if (leaf.class == PT_EMPTY)
		return page_fault(w, 0);
	if (leaf.class == PT_RESERVED)
		return page_fault(w, PF_P | PF_RSVD);
	if (!permitted(w, leaf.perm))
		return page_fault(w, PF_P);
	*gpa = leaf.address;
	*level = leaf.lv->level;
	return w->access.set_ad ? set_accessed_dirty(w) : WALK_OK;
}

static unsigned int final_access(struct walk_access a)
{
	if (a.fetch)
		return a.write ? PT_PERM_X | PT_PERM_W : PT_PERM_X;
	return a.write ? PT_PERM_W : PT_PERM_R;
}

/* Try the whole walk once. */
static enum walk_outcome walk_once(struct walker *w)
{
	struct walk_result *res = w->res;
	uint8_t level1 = 0, level2;
	enum walk_outcome outcome;
	unsigned int perm2;
	gpa_t gpa = w->gva;
	maddr_t maddr;

	res->gpa = GPA_INVALID;
	res->nr_refs = 0;
	if (w->format) {
		outcome = walk_stage1(w, &gpa, &level1);
		if (outcome != WALK_OK)
			return outcome;
	}
	outcome = translate(w, gpa, final_access(w->access), WALK_FINAL, &maddr, &perm2, &level2);
	if (outcome != WALK_OK)
		return outcome;
	res->gpa = gpa;
	res->maddr = maddr;
	res->level1 = level1;
	res->level2 = level2;
	return WALK_OK;
}

static bool canonical(gva_t gva, unsigned int bits)
{
	int64_t above = (int64_t)gva >> (bits - 1); /* copies of the top address bit */

	return above == 0 || above == -1;
}

static enum walk_outcome walk(struct walker *w)
{
	const struct walk_cpu *cpu = w->cpu;
	enum walk_outcome outcome = WALK_AGAIN;
	bool bad;

	w->res->format1 = w->format = walk_guest_format(cpu, &bad);
	if (bad)
		return WALK_BAD_MODE;
	if (!(cpu->efer & EFER_LMA))
		w->gva &= UINT32_MAX;
	else if (!canonical(w->gva, w->format->address_bits))
		return WALK_NOT_CANONICAL;

	w->rules = walk_guest_rules(cpu);
	for (unsigned int i = 0; outcome == WALK_AGAIN && i < MAX_ATTEMPTS; i++)
		outcome = walk_once(w);
	return outcome;
}

enum walk_outcome walk_2d(const struct walk_cpu *cpu, const struct walk_stage2 *s2,
			  const struct walk_memory *mem, gva_t gva, struct walk_access access,
			  struct walk_result *res)
{
	struct walker w;

	w.cpu = cpu;
	w.s2 = s2;
	w.mem = mem;
	w.gva = gva;
	w.access = access;
	w.res = res;

	res->gpa = GPA_INVALID;
	res->maddr = GPA_INVALID;
	res->error_code = 0;
	res->qualification = 0;
	res->level1 = res->level2 = 0;
	res->nr_refs = 0;
	res->outcome = walk(&w);
	return res->outcome;
}
