/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_STORE_DOMAIN_H
#define QUIRE_MMU_MACHINE_STORE_DOMAIN_H

/*
 * A domain: VMs that share pages with each other, the store of their frames, and the index that
 * finds these.  merge_protocol.h says what each request means.  The work is done here, without
 * sockets.
 *
 *   domain.c          members, references, and what is given back
 *   domain_lookup.c   LOOKUP, which is the hot path
 *   domain_proof.c    whether a page is what its VM says
 *   domain_archive.c  frames that nobody uses
 *   domain_hints.c    what a member costs, and how many hints it may have
 *   domain_audit.c    whether it all adds up
 *
 * Members.  A VM that joined has a number in its domain until it ends.  The next VM may get that
 * number while hints of the last one are still in the index.  Such a hint names a page of the wrong
 * VM.  It is found out like every wrong hint: the bytes are compared.
 *
 * Hints.  A hint in the index is (hash, member, gfn).  It is current if member->hint_of[gfn] is the
 * tag of the hash: its low 32 bits, where 0 means no hint.  So a new LOOKUP of a page makes the old
 * hint stale by overwriting one number, wherever the hint is in the index.  There are never more
 * current hints than pages, but for hashes with the same tag, which cost a comparison and no more.
 *
 * References.  Each is counted twice: for its frame (in the store), and for its frame and member
 * (refs).  So a VM can give back only what it holds.  At its end just that is given back, a part at
 * a time.
 *
 * Misses.  A page that is looked up in vain tells the VM that nobody in its domain has the same.
 * So a VM may miss with each of its pages once a second, and save up for four.  The keeper lets a
 * page rest for a second before it asks, so a VM that asks no oracle hardly ever meets the limit.
 *
 * What a malicious VM can cost: for each page of RAM that it promised one frame and one of the
 * news, and for each page that exists one hint with an entry of the index.  It is charged for all
 * that (member_bytes()).  Entries are dropped when it has ended, a shard at each LOOKUP of others.
 */
#include <sys/queue.h>
#include "index.h"
#include "mmu/base/machine_protocol.h"
#include "mmu/base/merge_protocol.h"
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

/* The bytes of a bitmap of a segment's frames. */
#define DOMAIN_BITS_BYTES (MERGE_SEGMENT_FRAMES / 8)

/* The most pages that are read, or written, with one system call. */
#define DOMAIN_PIECE 32u

struct member {
	TAILQ_ENTRY(member) in_leaving; /* the machine's, after domain_leave() */
	struct domain *domain;
	uint32_t number;
	int ram;			    /* its RAM file, read-only; the tenant's */
	uint64_t nr_gfns;		    /* pages of the RAM file, holes included */
	uint64_t max_hints;		    /* also for news: the pages of RAM that it promised */
	uint64_t max_frames;		    /* it may hold references to so many: a packet more */
	uint64_t references, nr_frames;	    /* that it holds: references, and distinct frames */
	uint64_t nr_hints;		    /* elements of hint_of that are not 0 */
	uint64_t most_hints;		    /* with so many it gets no more now */
	uint64_t swept;			    /* from this gfn on, look for hints of holes next */
	uint32_t *hint_of;		    /* by gfn: a tag, or 0; NULL: the member has left */
	uint64_t given;			    /* bit n: it has got a descriptor of segment n */
	uint32_t left;			    /* it has left, and frames below this are given back */
	uint32_t *refs[MERGE_MAX_SEGMENTS]; /* by segment and index; NULL: it holds none there */
	/* A bit for each frame that it called cold since its last reference; NULL: none there. */
	uint64_t *cold[MERGE_MAX_SEGMENTS];
	uint64_t may_miss;	  /* pages that it may still look up in vain */
	uint64_t forgiven_ns;	  /* may_miss grew last */
	uint64_t misses;	  /* pages, looked up in vain by a hash that is new */
	uint64_t unproven;	  /* pages that did not have the hash they were looked up by */
	uint64_t late;		  /* pages that were put off because it missed too often */
	struct merge_frame *news; /* those in [news_at, nr_news) wait */
	uint32_t news_at, nr_news, news_capacity;
};

struct domain {
	TAILQ_ENTRY(domain) link; /* in order of id */
	struct frame_account account;
	page_hasher *hash;
	struct hash_secret secret; /* for hash */
	struct store store;
	struct index index;
	unsigned int to_trim; /* shards of the index that may hold hints of members that are gone */
	struct member **by_number;
	uint32_t nr_numbers, nr_members, nr_leaving;
	uint32_t id;
	uint32_t vm; /* of a domain without a name: the only VM in it */
	char name[MACHINE_NAME_MAX + 1];
	uint64_t lookups, promotions, no_memory; /* pages, since the domain exists */
	uint64_t collisions;		   /* ... with the hash of a frame that has other bytes */
	uint64_t unindexed;		   /* frames in use that no hash leads to */
	uint64_t archives;		   /* frames that were made of cold ones ... */
	uint64_t archived;		   /* ... and how many were packed into them */
	uint8_t (*pages)[QUIRE_PAGE_SIZE]; /* DOMAIN_PIECE pages that are looked up */
	uint8_t (*partners)[QUIRE_PAGE_SIZE]; /* what they are compared with */
};

/*
 * Make a domain without members, whose frames are charged to *account and lie on the shelf, and
 * whose pages are hashed by `hash` under a new secret.  NULL: no memory, or no random bytes.
 */
struct domain *domain_create(const struct frame_account *account, page_hasher *hash,
			     const char *name, struct shelf *shelf, unsigned int max_segments);

/* Free a domain that has no members left. */
void domain_destroy(struct domain *d);

/*
 * Add a VM that promised `promised` pages of RAM and has nr_gfns pages in its RAM file `ram`.  The
 * descriptor stays the caller's, who keeps it open until domain_leave().  NULL: no memory.
 */
struct member *domain_join(struct domain *d, int ram, uint64_t nr_gfns, uint64_t promised);

/*
 * The VM is dead: from now on nobody finds its pages.  What it held is given back by
 * domain_give_back().
 */
void domain_leave(struct member *m);

/*
 * Give back what a member that has left held, at most `frames` frames in one call: to free a
 * million takes the kernel most of a second.  Returns true if that was all, and *m is freed.
 */
bool domain_give_back(struct member *m, uint32_t frames);

/*
 * Do a LOOKUP.  ask has at most MERGE_BATCH entries.  answer has a header and is all zeroes beyond;
 * this fills its entries in.
 *
 * Returns NULL, or a phrase that says which rule the request broke.
 */
const char *domain_lookup(struct member *m, const struct merge_msg *ask, struct merge_msg *answer);

/*
 * Do a DROP.  Returns NULL, or a phrase that says which rule the request broke; then a part of it
 * may have been done.
 */
const char *domain_drop(struct member *m, const struct merge_msg *ask);

/*
 * Do a COLD: archive those of its frames that are cold now.  Returns NULL, or a phrase that says
 * which rule the request broke; then a part of it may have been done.
 */
const char *domain_cold(struct member *m, const struct merge_msg *ask);

/*
 * From now on m may have as many hints as its RAM file has pages now, and as
 * it promised.  No `room`: there is no memory for more than it has.
 */
void member_limit_hints(struct member *m, bool room);

/* The bytes that m costs besides frames, of the index and elsewhere: at least what it takes. */
uint64_t member_bytes(const struct member *m);

/* The most that m may save up: what it may miss in four seconds. */
static inline uint64_t member_most_misses(const struct member *m)
{
	return 4 * max_u64(m->max_hints, MERGE_BATCH);
}

/* It is now so late, on a monotonic clock: let m miss again. */
void member_forgive(struct member *m, uint64_t now_ns);

/*
 * A new descriptor of a segment for a member, which can only read it; it is the caller's.  Or
 * -errno, as store_open().
 */
int domain_open(struct member *m, unsigned int segment);

/*
 * Take stray pages out of the store (sweep.h).  *pages becomes how many were taken since the last
 * call.  Returns the member that brought some of them in: the only one that ever got a descriptor
 * of that segment.  NULL: nobody did, or it may have been one of several.
 */
struct member *domain_sweep(struct domain *d, uint64_t *pages);

/* Answer NEWS: move as many of m's news as fit into answer, and say how many are left. */
void domain_news(struct member *m, struct merge_msg *answer);

/*
 * What the end of a member would win of the store.  *alone becomes the number of frames to which it
 * alone has references.  *share becomes its part of its other frames: for each its references
 * divided by all references, summed, and rounded down at the end.  A member that has left counts as
 * another one while it has references.
 *
 * Cost: one look, of about 3 ns, at each frame that was ever in use in a segment where the member
 * had references.  There are MERGE_MAX_FRAMES at most.
 */
void domain_weigh(const struct member *m, uint64_t *alone, uint64_t *share);

/* Copy what can be counted of a domain to *record. */
void domain_record(const struct domain *d, struct machine_domain_record *record);

/* The bytes that the domain occupies besides frames: for its index, and for all the rest. */
uint64_t domain_index_bytes(const struct domain *d);
uint64_t domain_store_bytes(const struct domain *d);

/*
 * Read n pages of m's RAM file.  Returns how many whole pages were read: fewer than n if the file
 * was truncated, or if the host cannot read it.  A hole is a page of zeroes, and stays a hole.
 */
uint32_t member_read(const struct member *m, uint64_t gfn, uint32_t n, void *bytes);

/* Does a frame or a current hint have the hash of this page? */
bool domain_knows(const struct domain *d, const void *page);

/*
 * Recount everything.  Calls `expect` with each sum as it is kept and as it was recounted; the two
 * differ if something is wrong.
 */
void domain_audit(const struct domain *d,
		  void (*expect)(void *ctx, uint64_t got, uint64_t want, const char *what),
		  void *ctx);

/* ---- the rest is for the files named domain_* ---- */

/* What hint_of holds of a hash.  It is not 0. */
static inline uint32_t hint_tag(uint64_t hash)
{
	return (uint32_t)hash ? (uint32_t)hash : 1;
}

/* Make page gfn of m the hint with this tag; 0: make it none. */
static inline void member_set_hint(struct member *m, uint64_t gfn, uint32_t tag)
{
	m->nr_hints += (tag != 0) - (m->hint_of[gfn] != 0);
	m->hint_of[gfn] = tag;
}

/* The member whose page a hint names; NULL: the hint is stale. */
static inline struct member *hint_holder(const struct domain *d, const struct index_entry *e)
{
	uint32_t number = e->owner - INDEX_MEMBER;
	struct member *m = number < d->nr_numbers ? d->by_number[number] : NULL;

	return m && e->page < m->nr_gfns && m->hint_of[e->page] == hint_tag(e->hash) ? m : NULL;
}

/* How many more references m may get. */
static inline uint64_t member_room(const struct member *m)
{
	return min_u64(m->max_frames - m->nr_frames, 2 * m->max_frames - m->references);
}

/* Make room to count m's references to frames of this segment.  False: no memory. */
bool member_prepare(struct member *m, unsigned int segment);

/*
 * Give m a reference to a frame in use.  False: no memory, or m or the frame has as many references
 * as it may have.
 */
bool member_get(struct member *m, uint32_t frame);

/* Take back a reference that m got just now, and that is not the frame's last. */
void member_unget(struct member *m, uint32_t frame);

/* How many of m's news wait to be asked for. */
static inline uint32_t member_news(const struct member *m)
{
	return m->nr_news - m->news_at;
}

/*
 * Add an entry to m's news: that page gfn has this frame, or that a frame is archived.  The caller
 * gives m the references.  False: no memory, or as many news wait as m may have.
 */
bool member_tell(struct member *m, struct merge_frame entry);

/* Does m hold references to this frame?  Any number may be asked about. */
bool member_holds(const struct member *m, uint32_t frame);

/* What m said of a frame, if anything, is void: it uses it, or has it no more. */
void member_warm(struct member *m, uint32_t frame);

/* Has m called a frame cold since then? */
bool member_calls_cold(const struct member *m, uint32_t frame);

/* Free a frame in use that has no references, and that no hash leads to. */
void domain_free_unindexed(struct domain *d, uint32_t frame);

/* Does the hash of a frame in use lead to it? */
bool is_indexed(const struct domain *d, uint32_t frame);

/* The hint to which a page's hash led. */
struct partner {
	struct member *holder;
	uint32_t page;
	bool is_self;  /* it is the page itself */
	bool is_equal; /* it has the same bytes now, or is the asker's own */
};

/*
 * Compare the n pages of m in its domain's `pages`, at most DOMAIN_PIECE, with what their partners
 * have now, and set is_equal.  Pages of m itself are not read: it can only lie to itself.
 */
void compare_partners(const struct member *m, uint32_t n, struct partner *partner);

/* Is this page, which has the hash of this frame in use, equal to it?  True if nobody doubts it. */
bool is_like_frame(struct domain *d, uint32_t frame, const void *page);

static inline bool has_hash(const struct domain *d, const void *page, uint64_t hash)
{
	return d->hash(&d->secret, page) == hash;
}

#endif
