/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_BACKEND_H
#define QUIRE_MMU_MEMORY_BACKEND_H

/*
 * A back end makes real what stage 2 says: it maps the guest's pages for KVM.
 *
 * It knows no states.  Stage 2 decides, and the callers hold LOCK_GMEM unless a contract says
 * otherwise.  All ranges are RAM.  A page is *at home* if it is mapped from the RAM file, which may
 * have a hole there, and *away* if it is mapped from elsewhere: from a file, or as zeroes.  A block
 * is in one of two modes:
 *
 *   managed singly  Each page can be filled, emptied, protected, and sent away.  At first all
 *                   blocks are so, and all pages are holes at home.
 *   whole           All 512 pages exist, at home, and host and KVM may map them with one entry.
 *
 * A touch of a hole raises an event for the pager, and so does a write to a page that is protected.
 * A page that is away is protected.
 *
 * The window (window.c) is a back end, and shadow tables are the other one (shadow_window.c).  With
 * the latter, `event` below means a page fault that a vCPU's thread brings, and nobody waits that
 * would have to be woken.
 *
 * Functions that return int return 0 or -errno.  -ENOMEM may say that the host has no mapping left
 * (vm.max_map_count).
 *
 * The host may have no memory for its own tables in the middle of a change, where there is no way
 * back.  Then the page is *lost*: the guest still finds its bytes, but the back end does not hear
 * of its accesses any more.  The operation says that it is done, and the VM has to end.
 */
#include <quire/types.h>
#include <stdatomic.h>

#define BACKEND_NOTHING_LOST UINT64_MAX
#define BACKEND_TOUCHED	     64u /* bits of an answer */

struct backend;

struct backend_ops {
	/*
	 * Bring in [gfn, gfn + nr), all holes and managed singly, as zero pages, and wake who
	 * waits.  A page that is there already counts as brought in.  On failure (-ENOMEM, or what
	 * else the host says) the first *done pages came in.
	 */
	int (*fill)(struct backend *b, gfn_t gfn, uint64_t nr, uint64_t *done);

	/*
	 * Put pages behind the block at gfn, all holes and managed singly.  It needs no lock, but
	 * only one thread may be here.  The guest may touch the block as it fills.  After a failure
	 * of the host any part of the block may have pages, and the guest may use them.
	 */
	int (*fill_block)(struct backend *b, gfn_t gfn);

	/*
	 * Switch the block at gfn to whole, and map it.  The RAM file has its 512 pages, which have
	 * the bytes that the guest sees now; parts of the block may be away.  Wakes who waits.  On
	 * failure nothing changed.
	 */
	int (*make_whole)(struct backend *b, gfn_t gfn);

	/*
	 * Switch so many whole blocks, side by side from gfn on, to managed singly.  On failure all
	 * of them are still whole.
	 */
	int (*make_single)(struct backend *b, gfn_t gfn, uint64_t blocks);

	/*
	 * Ask the host for a huge page behind the whole block at gfn, no page of which may go
	 * meanwhile.  It needs no lock.  -EAGAIN: the host has none now.
	 */
	int (*collapse)(struct backend *b, gfn_t gfn);

	/* Is the whole block at gfn one huge page of the host?  True also if it cannot tell. */
	bool (*is_huge)(struct backend *b, gfn_t gfn);

	/*
	 * Write-protect [gfn, gfn + nr), managed singly; or, if not `on`, let it be written again,
	 * which wakes who waits.
	 */
	int (*protect)(struct backend *b, gfn_t gfn, uint64_t nr, bool on);

	/*
	 * Map [gfn, gfn + nr), at home and write-protected, away: from offset `from` of the file
	 * fd, which has the bytes that the guest sees now.  No access of the guest fails, and no
	 * write is lost.  -EAGAIN: the guest wrote while it was mapped; what it wrote is in the RAM
	 * file.  On failure all of the range is at home, and still write-protected.
	 */
	int (*send_to_file)(struct backend *b, gfn_t gfn, uint64_t nr, int fd, uint64_t from);

	/*
	 * The same for holes: away, as zeroes.  Wakes who waits.  -EAGAIN: the guest wrote while it
	 * was mapped.  Now all pages exist, at home and writable, with what it wrote.  -ENOSPC: the
	 * host has no memory for that, and a page is lost.  On another failure nothing changed.
	 */
	int (*send_to_zero)(struct backend *b, gfn_t gfn, uint64_t nr);

	/*
	 * Map the RAM file at [gfn, gfn + nr) again, managed singly and writable.  Wakes who waits.
	 * No access of the guest fails.  But one that meets a hole while this is under way makes a
	 * page there, and raises no event: the caller looks for such pages.  On failure nothing
	 * changed, but pages that the RAM file had there may be gone.
	 */
	int (*home)(struct backend *b, gfn_t gfn, uint64_t nr);

	/* The frames of [gfn, gfn + nr), at home, are about to go: nobody may reach them then. */
	void (*leave)(struct backend *b, gfn_t gfn, uint64_t nr);

	/* Bytes of [gfn, gfn + nr) change, and it is not the guest that writes them. */
	void (*changed)(struct backend *b, gfn_t gfn, uint64_t nr);

	/* Map the pages of [gfn, gfn + nr), which exist, before they are touched. */
	void (*populate)(struct backend *b, gfn_t gfn, uint64_t nr);

	/* Wake who waits for a fault in [gfn, gfn + nr).  It needs no lock. */
	void (*wake)(struct backend *b, gfn_t gfn, uint64_t nr);

	/*
	 * How many mappings there would be more if [gfn, gfn + nr), managed singly, came home.  If
	 * it is 0 or less, `home` needs none meanwhile either.
	 */
	int64_t (*home_costs)(struct backend *b, gfn_t gfn, uint64_t nr);

	/* The mapping that gfn, which is away, is in: all of it can come home without another. */
	struct gfn_range (*mapping_at)(struct backend *b, gfn_t gfn);

	/*
	 * Forget which of [gfn, gfn + nr), at home and not protected, the guest has touched; and
	 * for nr pages, at most BACKEND_TOUCHED, say which it has touched since, or is not known
	 * not to have.  What the kernel maps at once counts as touched at once: a whole block.
	 */
	void (*forget_touches)(struct backend *b, gfn_t gfn, uint64_t nr);
	uint64_t (*touched)(struct backend *b, gfn_t gfn, uint64_t nr);

	/* For audits: count the mappings anew, and the pages that are away. */
	uint64_t (*recount)(struct backend *b, uint64_t *away);
};

/* What all back ends have; each embeds it. */
struct backend {
	const struct backend_ops *ops; /* [I] */
	uint64_t mappings;	       /* [g] of the guest's memory, as the kernel counts ... */
	uint64_t max_mappings;	       /* [g] ... and as many as there may be */
	atomic_ullong lost;	       /* changed under [g]: a page that is lost */
};

/* --- the operations by name -------------------------------------------------------------- */

static inline int backend_fill(struct backend *b, gfn_t gfn, uint64_t nr, uint64_t *done)
{
	return b->ops->fill(b, gfn, nr, done);
}

static inline int backend_fill_block(struct backend *b, gfn_t gfn)
{
	return b->ops->fill_block(b, gfn);
}

static inline int backend_make_whole(struct backend *b, gfn_t gfn)
{
	return b->ops->make_whole(b, gfn);
}

static inline int backend_make_single(struct backend *b, gfn_t gfn, uint64_t blocks)
{
	return b->ops->make_single(b, gfn, blocks);
}

static inline int backend_collapse(struct backend *b, gfn_t gfn)
{
	return b->ops->collapse(b, gfn);
}

static inline bool backend_is_huge(struct backend *b, gfn_t gfn)
{
	return b->ops->is_huge(b, gfn);
}

static inline int backend_protect(struct backend *b, gfn_t gfn, uint64_t nr, bool on)
{
	return b->ops->protect(b, gfn, nr, on);
}

static inline int backend_send_to_file(struct backend *b, gfn_t gfn, uint64_t nr, int fd,
				       uint64_t from)
{
	return b->ops->send_to_file(b, gfn, nr, fd, from);
}

static inline int backend_send_to_zero(struct backend *b, gfn_t gfn, uint64_t nr)
{
	return b->ops->send_to_zero(b, gfn, nr);
}

static inline int backend_home(struct backend *b, gfn_t gfn, uint64_t nr)
{
	return b->ops->home(b, gfn, nr);
}

static inline void backend_leave(struct backend *b, gfn_t gfn, uint64_t nr)
{
	b->ops->leave(b, gfn, nr);
}

static inline void backend_changed(struct backend *b, gfn_t gfn, uint64_t nr)
{
	b->ops->changed(b, gfn, nr);
}

static inline void backend_populate(struct backend *b, gfn_t gfn, uint64_t nr)
{
	b->ops->populate(b, gfn, nr);
}

static inline void backend_wake(struct backend *b, gfn_t gfn, uint64_t nr)
{
	b->ops->wake(b, gfn, nr);
}

static inline int64_t backend_home_costs(struct backend *b, gfn_t gfn, uint64_t nr)
{
	return b->ops->home_costs(b, gfn, nr);
}

static inline struct gfn_range backend_mapping_at(struct backend *b, gfn_t gfn)
{
	return b->ops->mapping_at(b, gfn);
}

static inline void backend_forget_touches(struct backend *b, gfn_t gfn, uint64_t nr)
{
	b->ops->forget_touches(b, gfn, nr);
}

static inline uint64_t backend_touched(struct backend *b, gfn_t gfn, uint64_t nr)
{
	return b->ops->touched(b, gfn, nr);
}

static inline uint64_t backend_recount(struct backend *b, uint64_t *away)
{
	return b->ops->recount(b, away);
}

#endif
