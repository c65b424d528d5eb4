/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_GUEST_MMU_MODEL_H
#define QUIRE_GUEST_MMU_MODEL_H

/*
 * A model of paging: tables whose entries it knows, and all that a TLB may hold of them.
 *
 * There is a pool of tables for each level.  Any entry may lead to any table of the next level, so
 * tables are shared, and a page has many addresses.  Of each table three entries are in use, which
 * makes 81 addresses, called slots.
 *
 * What is known.  Of an upper entry: the values that a paging-structure cache may have.  Of a slot:
 * the translations that a TLB may have, which is all that could be derived from upper entries, as
 * they are or may be cached, and leaves as they are, at any time since the slot was flushed (Intel
 * SDM Vol. 3A, "Caching Translation Information").  So an access may come out in several ways.  If
 * there is but one it is *determined*, and so are A and D if the slot was flushed since.
 */
#include "paging.h"
#include "reach.h"

#define MODEL_INDICES 3u /* entries of a table that are in use */
#define MODEL_SLOTS   (MODEL_INDICES * MODEL_INDICES * MODEL_INDICES * MODEL_INDICES)
#define MODEL_ROOTS   2u
#define MODEL_TABLES  11u /* 2 roots, then 2 tables of level 3, 3 of level 2, 4 of level 1 */
#define MODEL_ENTRIES (MODEL_TABLES * MODEL_INDICES)
#define MODEL_FRAMES  8u /* of 4 KiB */
#define MODEL_BLOCKS  2u /* of 2 MiB */
#define MODEL_PAST    3u
#define MODEL_CACHED  24u

struct model_entry {
	pte_t *at;
	unsigned int level;
	uint64_t value;		   /* as it was stored */
	uint64_t past[MODEL_PAST]; /* other values that may be cached; of upper levels only */
	unsigned int nr_past;
	bool may_be_dirty;
};

struct model_slot {
	uint64_t gva;
	unsigned int k[5];	       /* by level: which of the indices */
	uint64_t cached[MODEL_CACHED]; /* translations */
	unsigned int nr_cached;
	bool unflushed; /* an entry on its way has changed since */
};

struct model {
	uint64_t table[MODEL_TABLES]; /* gpa */
	struct model_entry entry[MODEL_ENTRIES];
	struct model_slot slot[MODEL_SLOTS];
	uint64_t frame[MODEL_FRAMES], block[MODEL_BLOCKS];
	unsigned int root; /* in use: 0 or 1 */
	bool wp, pge;
	bool full; /* too much is possible: model_flush_all() is due */
};

/* Take memory for tables and frames, mark these, and go to root 0.  False: there is not enough. */
bool model_create(struct model *m);

/* Our own root again; free all. */
void model_destroy(struct model *m);

/* Store a value into entry number i, by an instruction of the kind `how`. */
void model_edit(struct model *m, unsigned int i, uint64_t value, unsigned int how);

void model_invlpg(struct model *m, unsigned int slot);
void model_load_root(struct model *m, unsigned int root);
void model_toggle_wp(struct model *m);
void model_toggle_pge(struct model *m); /* forgets everything */

/* Does the slot's way lead, or maybe lead, through entry i? */
bool model_passes(const struct model *m, unsigned int slot, unsigned int i);

/* The entry of this level on the slot's way as the tables are now; MODEL_ENTRIES: there is none. */
unsigned int model_entry_of(const struct model *m, unsigned int slot, unsigned int level);

/* The first table of the level, and their number. */
unsigned int model_tables(unsigned int level, unsigned int *nr);

struct model_outcome {
	uint64_t got;
	bool right;	 /* it is one that is possible, and A and D are as they may be */
	bool determined; /* nothing else was possible */
	bool stale;	 /* it is not what the tables say now */
};

/* Access the slot, at CPL 3 or 0, and look at all tables. */
struct model_outcome model_access(struct model *m, unsigned int slot, enum access_kind kind,
				  bool user);

#endif
