/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_STORE_DOMAIN_H
#define QUIRE_MMU_MACHINE_STORE_DOMAIN_H

/*
 * A domain: VMs that share pages with each other, the store of their frames, and the index that
 * finds them.  merge_protocol.h says what each request means; here it is done, without sockets.
 *
 *   domain.c          members, references, what comes back
 *   domain_lookup.c   LOOKUP: the hot path
 *   domain_audit.c    whether it all adds up
 *
 * Members.  A VM that joined has a number in its domain until it ends.  The next VM may get the
 * same number while hints of the last one are still in the index: such a hint names a page of the
 * wrong VM, and is found out, as every hint is, when bytes are compared.
 *
 * Hints.  A hint in the index, (hash, member, gfn), is current if member->hint_of[gfn] is the tag
 * of that hash (its low 32 bits; 0 means none).  So a new LOOKUP of a page makes its old hint
 * stale by overwriting one number, wherever the hint is, and there are never more current hints
 * than pages (two hashes of the same tag aside, which only costs a comparison).
 *
 * References.  Each is counted twice: for its frame (store) and for its frame and member (refs),
 * so that a VM can give back only what it holds, and its end gives back just that, a part at a
 * time.
 *
 * What a malicious VM can cost: for each page of RAM that it promised, a frame held, a hint, and
 * one of the news; and as many entries of the index, which are dropped when it is gone.
 */
#include <sys/queue.h>
#include "index.h"
#include "mmu/base/machine_protocol.h"
#include "store.h"

/*
 * Who pays for frames: the machine's budget.  charge() returns how many of `frames` there is room
 * for, and has charged these.  uncharge() takes back the charge for frames that are free again.
 */
struct frame_account {
	uint64_t (*charge)(void *ctx, uint64_t frames);
	void (*uncharge)(void *ctx, uint64_t frames);
	void *ctx;
};

/* Pages read, and written, with one system call. */
#define DOMAIN_PIECE 32u

struct member {
	TAILQ_ENTRY(member) in_leaving; /* the machine's, after domain_leave() */
	struct domain *domain;
	uint32_t number;
	int ram;			/* read-only; its owner's */
	uint64_t nr_gfns;		/* of its RAM file, holes between its RAM included */
	uint64_t max_hints;		/* and news: as many as it promised pages of RAM */
	uint64_t max_frames;		/* that it may hold references to: a packet more */
	uint64_t references, nr_frames; /* held: all, and distinct */
	uint64_t nr_hints;		/* hint_of that are not 0 */
	uint32_t *hint_of;		/* by gfn; NULL: it has left */
	uint32_t left;			/* ... and gave back all that it held below this frame */
	uint32_t *refs[MERGE_MAX_SEGMENTS]; /* by index of frame; NULL: none yet */
	struct merge_frame *news;	    /* [news_at, nr_news) wait */
	uint32_t news_at, nr_news, news_capacity;
};

struct domain {
	TAILQ_ENTRY(domain) link; /* in order of id */
	struct frame_account account;
	struct store store;
	struct index index;
	struct member **by_number;
	uint32_t nr_numbers, nr_members, nr_leaving;
	uint32_t id;
	uint32_t vm; /* of a domain without a name: whose it is */
	char name[MACHINE_NAME_MAX + 1];
	uint64_t lookups, promotions, no_memory; /* pages, since it exists */
	uint8_t (*pages)[QUIRE_PAGE_SIZE];	 /* DOMAIN_PIECE of them, on their way to frames */
};

/* A domain without members, whose frames are charged to *account.  NULL: no memory. */
struct domain *domain_create(const struct frame_account *account, const char *name,
			     unsigned int max_segments);

/* It has no members left. */
void domain_destroy(struct domain *d);

/*
 * A VM that promised `promised` pages of RAM, with nr_gfns pages in its RAM file `ram`, which stays
 * the caller's and open until domain_leave().  NULL: no memory.
 */
struct member *domain_join(struct domain *d, int ram, uint64_t nr_gfns, uint64_t promised);

/* The VM is dead: nobody finds its pages any more.  What it held is still to be given back. */
void domain_leave(struct member *m);

/*
 * Give back what a member that has left held, at most so many frames of it: to free a million takes
 * the kernel most of a second.  True: that was all, and m is gone.
 */
bool domain_give_back(struct member *m, uint32_t frames);

/*
 * Each returns NULL, or which rule the request broke, and may then have been done in part.  ask
 * has at most MERGE_BATCH entries; answer is all zeroes but for its header, and lacks entries.
 */
const char *domain_lookup(struct member *m, const struct merge_msg *ask, struct merge_msg *answer);
const char *domain_drop(struct member *m, const struct merge_msg *ask);
void domain_news(struct member *m, struct merge_msg *answer);

void domain_record(const struct domain *d, struct machine_domain_record *record);

/* What domain, store and index occupy besides frames. */
uint64_t domain_index_bytes(const struct domain *d);
uint64_t domain_store_bytes(const struct domain *d);

/* Call each for the hash of every current hint of m. */
void member_hints(const struct member *m, void (*each)(void *ctx, uint64_t hash), void *ctx);

/* Does a frame or a current hint have this hash? */
bool domain_knows(const struct domain *d, uint64_t hash);

/* Number of faults; each is told to `expect` if the two numbers differ. */
void domain_audit(const struct domain *d,
		  void (*expect)(void *ctx, uint64_t got, uint64_t want, const char *what),
		  void *ctx);

/* Between domain.c and domain_lookup.c. */

static inline uint32_t hint_tag(uint64_t hash)
{
	return (uint32_t)hash ? (uint32_t)hash : 1;
}

/* Page gfn of m is the hint with this tag; 0: it is none. */
static inline void member_set_hint(struct member *m, uint64_t gfn, uint32_t tag)
{
	m->nr_hints += (tag != 0) - (m->hint_of[gfn] != 0);
	m->hint_of[gfn] = tag;
}

/* The member whose page a hint is, NULL if the hint is stale. */
static inline struct member *hint_holder(const struct domain *d, const struct index_entry *e)
{
	uint32_t number = e->owner - INDEX_MEMBER;
	struct member *m = number < d->nr_numbers ? d->by_number[number] : NULL;

	return m && e->page < m->nr_gfns && m->hint_of[e->page] == hint_tag(e->hash) ? m : NULL;
}

/* How many more frames m may hold. */
static inline uint64_t member_room(const struct member *m)
{
	return min_u64(m->max_frames - m->nr_frames, 2 * m->max_frames - m->references);
}

/* Make m able to hold references to frames of this segment.  False: no memory. */
bool member_prepare(struct member *m, unsigned int segment);

/* One reference to a frame in use.  False: no memory, or m or the frame has too many. */
bool member_get(struct member *m, uint32_t frame);

/* A reference that m got just now, and that is not the frame's last, is given back. */
void member_unget(struct member *m, uint32_t frame);

/* How many news wait for m. */
static inline uint32_t member_news(const struct member *m)
{
	return m->nr_news - m->news_at;
}

/* News for m, which has the reference.  False: no memory, or too much that it did not read. */
bool member_tell(struct member *m, uint64_t gfn, uint32_t frame);

#endif
