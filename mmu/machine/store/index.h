/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_STORE_INDEX_H
#define QUIRE_MMU_MACHINE_STORE_INDEX_H

/*
 * Where a page with this hash is: in a frame of the store (stable), or in the RAM of a member of
 * the domain who looked it up (a hint).  At most one entry a hash.
 *
 * A table of 16-byte entries with open addressing and linear probing, in 256 shards, each of which
 * grows on its own, so that no rehash moves more than 1/256 of all.  Hints become stale without
 * notice; whether one is *current* is for the owner of the index to say (is_current).  A shard
 * that is three quarters full drops its stale hints and gets the capacity at which what remains
 * fills 3/16 to 3/8 of it.  So an entry in use costs 21 to 85 bytes.
 *
 * Hashes come from VMs, who may choose them.  Their place depends on a secret as well, so nobody
 * can make the probes of others long.
 */
#include <quire/types.h>

#define INDEX_SHARDS 256u

enum index_owner {
	INDEX_NOBODY, /* an empty entry */
	INDEX_STABLE, /* page is a frame of the store */
	INDEX_MEMBER, /* and more: page is a gfn of member (owner - INDEX_MEMBER) */
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

void index_init(struct index *x, bool (*is_current)(void *ctx, const struct index_entry *hint),
		void *ctx);
void index_finish(struct index *x);

/* A lookup of this hash comes soon. */
void index_prefetch(const struct index *x, uint64_t hash);

/* NULL, or the entry, current or not; it is there until the next put or remove. */
const struct index_entry *index_find(const struct index *x, uint64_t hash);

/* Add, or change the entry that has this hash, which always succeeds.  0 or -ENOMEM. */
int index_put(struct index *x, struct index_entry entry);

/* The entry with this hash, if there is one, is gone. */
void index_remove(struct index *x, uint64_t hash);

void index_each(const struct index *x, void (*each)(void *ctx, const struct index_entry *e),
		void *ctx);

uint64_t index_bytes(const struct index *x);

#endif
