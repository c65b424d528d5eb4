/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_WINDOW_H
#define QUIRE_MMU_MEMORY_WINDOW_H

/*
 * The window: the host-virtual range behind KVM's memslots, and its userfaultfd.
 *
 *      window + gpa ---- MAP_SHARED, userfaultfd ----+
 *                                                    +--> RAM file at offset gpa
 *      alias + gpa  ---- MAP_SHARED, plain ----------+
 *
 * Both are congruent to gpa modulo 1 GiB, so that KVM may map large.  What is not RAM (the gap) is
 * inaccessible in both.  This layer makes things real and knows no states: stage 2 decides, and
 * the callers hold LOCK_GMEM unless a contract says otherwise.  A block is in one of two modes:
 *
 *   managed singly  It is registered MISSING|WP: a touch of a hole raises an event for the pager.
 *   whole           It is not registered.  All 512 pages exist, so no touch can find a hole, and
 *                   host and KVM map the block with one 2 MiB entry.
 *
 * In a block managed singly, runs of pages may be mapped *away*: privately from somewhere else (a
 * store's segment, or the kernel's page of zeroes) and write-protected.  A read of them costs
 * nothing, and a write raises an event.
 *
 * Functions that return int return 0 or -errno.
 */
#include <quire/error.h>
#include <quire/types.h>

struct window {
	uint8_t *base;	     /* [I] hva of gpa 0 */
	uint8_t *alias;	     /* [I] */
	uint8_t *fill_at;    /* [I] address space of one block, for window_fill_block */
	uint64_t span;	     /* [I] bytes, gap included, a 2 MiB multiple */
	int ram_fd;	     /* [I] */
	int uffd;	     /* [I] */
	int pagemap;	     /* [I] /proc/self/pagemap, or -1 */
	bool wp_unpopulated; /* [I] anonymous memory can be write-protected before it is there */
};

/*
 * Map the RAM ranges, which are as in stage2_create.  `huge`: 2 MiB pages are wanted.  On failure
 * the reason goes to *err (may be NULL), and -errno is as gmem_create documents it.
 */
int window_create(struct window *w, const struct gfn_range *ram, unsigned int nr, bool huge,
		  struct quire_error *err);

/* Unmap and close everything.  No thread may be inside the window. */
void window_destroy(struct window *w);

/*
 * Bring in [gfn, gfn + nr), all holes and managed singly, as zero pages: allocate them, fill the
 * window's page tables, and wake who waits.  A page that is there already counts as brought in.  On
 * failure (-ENOMEM, or what else the host says) the first *done pages came in.
 */
int window_fill(struct window *w, gfn_t gfn, uint64_t nr, uint64_t *done);

/*
 * Put pages behind the block at gfn, all holes and managed singly.  It needs no lock, but only one
 * thread may be here.  The guest may touch the block as it fills.  After a failure of the host any
 * part of the block may have pages, and the guest may use them.
 */
int window_fill_block(struct window *w, gfn_t gfn);

/*
 * Switch the block at gfn, whose 512 pages exist, to whole, and map it.  -ENOMEM: vm.max_map_count
 * binds, and the block is still managed singly.
 */
int window_make_whole(struct window *w, gfn_t gfn);

/*
 * Switch so many whole blocks, side by side from gfn on, to managed singly.  -ENOMEM:
 * vm.max_map_count binds, and some may still be whole.
 */
int window_make_single(struct window *w, gfn_t gfn, uint64_t blocks);

/* Ask the kernel for a huge page behind the whole block at gfn.  -EAGAIN: it has none now. */
int window_collapse(struct window *w, gfn_t gfn);

/* Is the whole block at gfn one huge page of the host?  True also if the host cannot tell. */
bool window_is_huge(struct window *w, gfn_t gfn);

/*
 * Write-protect [gfn, gfn + nr), managed singly; or, if not `on`, let it be written again, which
 * wakes who waits.
 */
int window_protect(struct window *w, gfn_t gfn, uint64_t nr, bool on);

/*
 * Map [gfn, gfn + nr), at home and write-protected, away: from offset `from` of the file fd, which
 * has the bytes that the guest sees now.  No access of the guest fails, and no write is lost.
 * -EAGAIN: the guest wrote while it was mapped; what it wrote is in the RAM file.  -ENOMEM:
 * vm.max_map_count binds.  On failure all of the range is at home, and still write-protected.
 */
int window_send_to_file(struct window *w, gfn_t gfn, uint64_t nr, int fd, uint64_t from);

/*
 * The same for pages of zeroes, which have none in the RAM file: from the page of zeroes.  The
 * mapping cannot be written at all until it is write-protected.  A vCPU that tries in that moment
 * gets -EFAULT or KVM_EXIT_MMIO (exit.c).
 */
int window_send_to_zero(struct window *w, gfn_t gfn, uint64_t nr);

/*
 * Map the RAM file, which has pages there, at [gfn, gfn + nr) again, managed singly.  Wakes who
 * waits.  -ENOMEM: vm.max_map_count binds, and nothing changed.
 */
int window_home(struct window *w, gfn_t gfn, uint64_t nr);

/*
 * The same for [gfn, gfn + nr) where the RAM file has only holes.  No touch can slip through to the
 * file and make a page there that nobody knows of.  A vCPU that tries gets -EFAULT, as above.
 */
int window_empty(struct window *w, gfn_t gfn, uint64_t nr);

/* Enter the pages of [gfn, gfn + nr), which exist, in the window's page tables. */
void window_populate(struct window *w, gfn_t gfn, uint64_t nr);

/*
 * The page at gfn as the guest has it mapped.  It may be read while LOCK_GMEM is held and the page
 * is private: then the page exists, and reading it cannot raise an event.  To read it through the
 * alias would map it there too, one more entry to make and to take away again.
 */
static inline const uint8_t *window_page(const struct window *w, gfn_t gfn)
{
	return w->base + gfn_to_gpa(gfn);
}

/* Wake who waits for a fault in [gfn, gfn + nr).  It needs no lock. */
void window_wake(struct window *w, gfn_t gfn, uint64_t nr);

#endif
