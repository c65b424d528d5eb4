/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_FORMAT_PGTABLE_H
#define QUIRE_MMU_FORMAT_PGTABLE_H

/*
 * Paging formats as tables, and the one walk over them.
 *
 * A format is constant data: a row for each level, and three functions that read an entry.  The
 * same walk serves our stage-2 tables (EPT), the guest's own tables (32-bit, PAE, 4- and 5-level)
 * and any test's.  It does not know where tables live: the caller's read function fetches an entry
 * by its address.  That function may translate the address (that is how the 2D walk of walk.h is
 * built), record it, or refuse it.
 *
 * Nothing here takes a lock or allocates.  Tables may change under the walk, and each entry is read
 * exactly once.
 */
#include <quire/types.h>

/* What an entry is, seen at its level. */
enum pt_class {
	PT_EMPTY,    /* not present: nothing below */
	PT_TABLE,    /* points at the next table */
	PT_LEAF,     /* maps a page of the level's size */
	PT_RESERVED, /* present but malformed: reserved bits (x86), misconfiguration (EPT) */
};

/* The permissions of all formats, in one vocabulary.  A walk ANDs them over the levels. */
#define PT_PERM_R   0x1u
#define PT_PERM_W   0x2u
#define PT_PERM_X   0x4u
#define PT_PERM_U   0x8u /* x86: the user may; EPT entries always grant it */
#define PT_PERM_ALL 0xfu

/* What the processor supports or has switched on.  It decides which bits are reserved. */
struct pt_rules {
	uint8_t maxphyaddr; /* physical-address width in bits, 32..52 */
	bool nxe;	    /* EFER.NXE: x86 bit 63 means no-execute, else it is reserved */
	bool pse;	    /* CR4.PSE: 32-bit paging has 4 MiB pages */
	bool pages_1g;	    /* 1 GiB leaves exist */
	bool amd;	    /* x86 tables by AMD's manual: bit 8 of PML4E and PML5E is reserved */
	bool exec_only;	    /* EPT: X without R and W is legal */
};

struct pt_level {
	const char *name; /* "PML4E", "EPT PDE", ... */
	uint8_t level;	  /* 1 = 4 KiB upward */
	uint8_t shift;	  /* lowest address bit of the index */
	uint8_t bits;	  /* width of the index */
	bool may_leaf;	  /* an entry here can map a page (if the rules allow) */
	bool no_accessed; /* an entry here has no A bit (the PDPTE of PAE paging) */
};

#define PT_MAX_LEVELS 5

struct pt_format {
	const char *name;
	uint8_t entry_bytes; /* 4 or 8 */
	uint8_t nr_levels;
	uint8_t address_bits;		      /* width of the input addresses that it translates */
	uint64_t accessed;		      /* the A bit, wherever the format has one */
	uint64_t dirty;			      /* the D bit of a leaf */
	struct pt_level level[PT_MAX_LEVELS]; /* root first */
	enum pt_class (*classify)(uint64_t entry, const struct pt_level *lv,
				  const struct pt_rules *rules);
	/* The address of the next table, or of the page mapped.  entry is PT_TABLE or PT_LEAF. */
	uint64_t (*address)(uint64_t entry, const struct pt_level *lv, bool leaf);
	/* The permissions (PT_PERM_*) that the entry grants. */
	unsigned int (*perm)(uint64_t entry, const struct pt_level *lv);
};

extern const struct pt_format ept4_format, ept5_format;
extern const struct pt_format x86_32_format, x86_pae_format, x86_4level_format, x86_5level_format;

/*
 * Fetch the entry at address addr, of fmt->entry_bytes, zero-extended, into *entry.  If it returns
 * anything but 0, the walk stops and pt_walk returns that.
 */
typedef int (*pt_read_fn)(void *ctx, uint64_t addr, const struct pt_level *lv, uint64_t *entry);

struct pt_result {
	enum pt_class class;	   /* of the last entry read; PT_LEAF: the address is mapped */
	const struct pt_level *lv; /* its level */
	uint64_t entry;		   /* its value */
	uint64_t entry_addr;	   /* its address, as passed to read */
	unsigned int perm;	   /* AND over every present entry read, PT_PERM_ALL if none */
	uint64_t address;	   /* PT_LEAF: where addr maps to, offset included */
};

/*
 * Translate the input address addr by fmt's tables, the root of which is at address root.  Bits of
 * addr above fmt->address_bits are ignored; whether addr is canonical is the caller's business.
 *
 * Returns 0 with *res filled, or what read returned.  Then res->entry_addr and res->lv name the
 * reference that failed, and the rest describes the walk before it.
 */
int pt_walk(const struct pt_format *fmt, const struct pt_rules *rules, uint64_t root, uint64_t addr,
	    pt_read_fn read, void *ctx, struct pt_result *res);

/* The index of addr in a table of level lv. */
static inline unsigned int pt_index(const struct pt_level *lv, uint64_t addr)
{
	return (addr >> lv->shift) & ((1u << lv->bits) - 1);
}

/* How many bytes an entry of level lv covers. */
static inline uint64_t pt_span(const struct pt_level *lv)
{
	return 1ULL << lv->shift;
}

#endif
