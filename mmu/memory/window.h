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
 * Both are congruent to gpa modulo 1 GiB, so that KVM may map large.  What is not RAM (the
 * gap) is inaccessible in both.  This layer makes things real and knows no states: stage 2
 * decides, gmem.c calls, under LOCK_GMEM.  A block is in one of two modes:
 *
 *   managed singly  registered MISSING|WP: a touch of a hole raises an event for the pager
 *   whole           not registered; all 512 pages exist, so no touch can find a hole, and
 *                   host and KVM map it with one 2 MiB entry
 *
 * In a block managed singly, runs of pages may be *away*: mapped privately from somewhere else (a
 * store's segment, or the kernel's page of zeroes) and write-protected, so that reads cost nothing
 * and a write raises an event.  window_home() maps the RAM file there again.
 */
#include <quire/error.h>
#include <quire/types.h>

struct window {
	uint8_t *base;	     /* [I] hva of gpa 0 */
	uint8_t *alias;	     /* [I] */
	uint8_t *filling;    /* [I] address space of one block, through which blocks are filled */
	uint64_t span;	     /* [I] bytes, gap included, a 2 MiB multiple */
	int ram_fd;	     /* [I] */
	int uffd;	     /* [I] */
	int pagemap;	     /* [I] /proc/self/pagemap, or -1 */
	bool wp_unpopulated; /* [I] anonymous memory can be write-protected before it is there */
};

/* RAM ranges as in stage2_create.  0, or -errno with *err, as gmem_create documents. */
int window_create(struct window *w, const struct gfn_range *ram, unsigned int nr, bool huge,
		  struct quire_error *err);
void window_destroy(struct window *w);

/*
 * Bring [gfn, gfn + nr), all holes and managed singly, in as zero pages: allocates them,
 * fills the window's page tables, wakes who waits.  0; -ENOMEM or other host failure, with
 * *done pages in.  A page that is there already counts as done.
 */
int window_fill(struct window *w, gfn_t gfn, uint64_t nr, uint64_t *done);

/*
 * Put pages behind the block at gfn, all holes and managed singly.  Needs no lock, but only one
 * thread may be here: the guest may touch the block as it fills.
 * 0; -errno: host failure, any part of the block may have pages, and the guest may use them.
 */
int window_fill_block(struct window *w, gfn_t gfn);

/*
 * Switch the block at gfn, whose 512 pages exist, to whole and map it.  0, or -ENOMEM when
 * vm.max_map_count binds (still managed singly).
 */
int window_make_whole(struct window *w, gfn_t gfn);

/* The reverse, for so many blocks side by side.  0, or -ENOMEM (some may still be whole). */
int window_make_single(struct window *w, gfn_t gfn, uint64_t blocks);

/* Ask the kernel for a huge page behind a whole block.  0, -EAGAIN. */
int window_collapse(struct window *w, gfn_t gfn);

/* Is the whole block at gfn one huge page of the host?  (True if the host cannot tell.) */
bool window_is_huge(struct window *w, gfn_t gfn);

/*
 * Write-protect [gfn, gfn + nr), managed singly, or let it be written again (which wakes who
 * waits).  0 or -errno.
 */
int window_protect(struct window *w, gfn_t gfn, uint64_t nr, bool on);

/*
 * Map [gfn, gfn + nr), at home and write-protected, privately from offset `from` of the file fd,
 * or, if fd is -1, from the page of zeroes.  The bytes there are those the guest sees now.  No
 * write can slip through: the mapping cannot be written at all until it is write-protected, and
 * whoever tries in that moment gets -EFAULT or KVM_EXIT_MMIO (exit.c).
 * 0; -ENOMEM: vm.max_map_count binds; on failure all is at home, and still write-protected.
 */
int window_send_away(struct window *w, gfn_t gfn, uint64_t nr, int fd, uint64_t from);

/*
 * Map the RAM file, which has pages there, at [gfn, gfn + nr) again, managed singly.  Wakes who
 * waits.  0; -ENOMEM: vm.max_map_count binds, and nothing changed.
 */
int window_home(struct window *w, gfn_t gfn, uint64_t nr);

/*
 * The same for [gfn, gfn + nr) all holes, managed singly: no touch can slip through to the file,
 * and make a page there that nobody knows of.  Whoever tries in that moment gets -EFAULT, as above.
 */
int window_empty(struct window *w, gfn_t gfn, uint64_t nr);

/* Enter the pages of [gfn, gfn + nr), which exist, in the window's page tables. */
void window_populate(struct window *w, gfn_t gfn, uint64_t nr);

/*
 * The page at gfn as the guest has it mapped, to be read while LOCK_GMEM is held and the page is
 * private: it exists then, and so reading it cannot raise an event.  Reading a page through the
 * alias would map it there too, one more entry to make and to take away again.
 */
static inline const uint8_t *window_page(const struct window *w, gfn_t gfn)
{
	return w->base + gfn_to_gpa(gfn);
}

/* Wake who waits for a fault in [gfn, gfn + nr). */
void window_wake(struct window *w, gfn_t gfn, uint64_t nr);

#endif
