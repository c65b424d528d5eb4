/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_STORE_INDEX_H
#define QUIRE_MMU_MACHINE_STORE_INDEX_H

/*
 * The index of a domain leads from a hash to a page with that hash.  The page is a frame of the
 * store (the entry is stable), or a page in the RAM of a member (the entry is a hint).  A hash has
 * at most one entry.
 *
 * The index is a table of 16-byte entries with open addressing and linear probing.  It has 256
 * shards that grow one by one, so that no rehash moves more than 1/256 of all entries.
 *
 * Hints become stale without notice.  The owner of the index says whether a hint is *current*
 * (is_current).  A shard that is three quarters full drops its stale hints.  Then it gets the
 * capacity of which the rest fills 3/16 to 3/8.  So an entry in use costs 21 to 85 bytes.
 *
 * Hashes come from VMs, which may choose them.  The place of an entry depends on a secret as well,
 * so that no VM can make the probes of others long.
 */
#include <quire/types.h>

#define INDEX_SHARDS 256u

enum index_owner {
	INDEX_NOBODY, /* the entry is empty */
	INDEX_STABLE, /* `page` is a frame of the store */
	INDEX_MEMBER, /* or more: `page` is a gfn of the member number owner - INDEX_MEMBER */
};

struct index_entry {
	uint64_t hash;
	uint32_t owner;
	uint32_t page;
};

_Static_assert(sizeof(struct index_entry) == 16, "four to a cache line");

struct index_shard {
	struct index_entry *entry;
	uint32_t capacity; /* a power of two, or 0 */
	uint32_t used;
};

struct index {
	struct index_shard shard[INDEX_SHARDS];
	uint64_t secret;
	uint64_t nr_stable;
	bool (*is_current)(void *ctx, const struct index_entry *hint);
	void *ctx;
};

/* Begin empty.  is_current says whether a hint is still true, and gets ctx. */
void index_init(struct index *x, bool (*is_current)(void *ctx, const struct index_entry *hint),
		void *ctx);

/* Free what the index has allocated.  A zeroed index is fine. */
void index_finish(struct index *x);

/* Tell the processor that this hash will be looked up soon. */
void index_prefetch(const struct index *x, uint64_t hash);

/*
 * The entry with this hash, current or not; NULL: there is none.  The pointer is good until the
 * next index_put() or index_remove().
 */
const struct index_entry *index_find(const struct index *x, uint64_t hash);

/*
 * Set the entry of entry.hash.  To change an entry that is there always succeeds.  Returns 0;
 * -ENOMEM: a new entry could not be added.
 */
int index_put(struct index *x, struct index_entry entry);

/* Remove the entry with this hash, if there is one. */
void index_remove(struct index *x, uint64_t hash);

/* Drop the stale hints of a shard, below INDEX_SHARDS, if they are most of its entries. */
void index_trim(struct index *x, unsigned int shard);

/* Call `each` for every entry, current or not. */
void index_each(const struct index *x, void (*each)(void *ctx, const struct index_entry *e),
		void *ctx);

/* The number of bytes that the index has allocated. */
uint64_t index_bytes(const struct index *x);

#endif
