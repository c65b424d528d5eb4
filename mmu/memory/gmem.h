/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_GMEM_H
#define QUIRE_MMU_MEMORY_GMEM_H

/*
 * Guest memory: a VM's RAM, its stage 2, and the window through which KVM reaches it.
 *
 * RAM is one file on tmpfs, offset == gpa, mapped twice: as the *window*, whose addresses
 * are handed to KVM's memslots and whose faults come to our pager through userfaultfd, and
 * as the *alias*, through which this process itself reads and writes.  Nobody in the VMM
 * touches the window: all accesses to guest memory go through guest_read and guest_write, which
 * consult stage 2 and so can never fault on ourselves.
 *
 * Threads: any thread may call anything here.  One lock inside (LOCK_GMEM) covers stage 2
 * and every change to the window; see mmu/base/locks.h.
 */
#include <quire/error.h>
#include "stage2.h"
#include "mmu/format/walk.h"

enum gmem_hugepages {
	GMEM_HUGE_AUTO, /* 2 MiB where memory allows */
	GMEM_HUGE_NEVER,
};

/*
 * The right to make pages resident, from whoever keeps the books.  Every page that comes in was
 * taken first, and every page that goes is put back.
 */
struct gmem_credits {
	/* Take `pages` if at hand.  Never blocks; called with the lock held. */
	bool (*take)(void *ctx, uint64_t pages);
	/*
	 * Block until `need` can be taken; `want` would be welcome.  Called without the lock.
	 * 0, or -errno: there is no memory and there will be none.
	 */
	int (*wait)(void *ctx, uint64_t need, uint64_t want);
	/* Put back.  Never blocks; called with the lock held. */
	void (*put)(void *ctx, uint64_t pages);
	/*
	 * Ask for more ahead of time, to be taken later if they come.  Never blocks.  May be NULL.
	 */
	void (*ask)(void *ctx);
	/* The same for pages that will not be wanted soon.  NULL: put. */
	void (*give)(void *ctx, uint64_t pages);
	void *ctx;
};

struct gmem_config {
	const struct gfn_range *ram; /* sorted, disjoint, 2 MiB-aligned except the very end */
	unsigned int nr_ram;
	enum gmem_hugepages hugepages;
	const struct gmem_credits *credits; /* borrowed; NULL: no limit but the host's */
	/*
	 * Called once, from the pager, with the lock not held, when there is no more memory from
	 * the host (err: -ENOMEM, -ENOSPC, ...) or by the credits (-EDQUOT) and a guest access
	 * therefore cannot complete.  The accessing vCPU stays blocked; the callee arranges for
	 * the VM to stop.  May be NULL.
	 */
	void (*on_host_failure)(void *ctx, gpa_t gpa, int err);
	/* First thing in each thread of gm, so that it can give up privileges.  May be NULL. */
	void (*on_thread_start)(void *ctx);
	void *ctx;
};

struct gmem_stats {
	struct stage2_counters s2;
	uint64_t faults;	    /* userfaultfd events answered */
	uint64_t faults_spurious;   /* ... that found nothing to do (late or duplicate) */
	uint64_t faulted_in_pages;  /* brought in by faults, fault-around included */
	uint64_t faulted_in_blocks; /* ... of which whole 2 MiB blocks, in blocks */
	uint64_t huge_fallbacks;    /* blocks wanted huge that the host could not give */
	uint64_t accessor_pages;    /* brought in by guest_write and gmem_hold */
	uint64_t dropped_pages;	    /* given back by gmem_drop */
	uint64_t zero_read_pages;   /* absent pages that became zero when they were first read */
	uint64_t ballooned_pages;   /* given back by gmem_balloon */
	uint64_t balloon_touches;   /* ballooned pages that were touched untold */
	uint64_t unshared_pages;    /* shared or zero pages that came home to be written */
	uint64_t orphan_pages;	    /* shared now, with frames of a machine that is gone */
	uint64_t mappings, max_mappings; /* of the window: now, and what vm.max_map_count leaves */
	uint64_t mapping_refusals;	 /* runs that were not shared for want of a mapping */
	uint64_t mapping_reliefs;	 /* runs that were broken to win mappings */
	uint64_t efaults;		 /* KVM_RUN -EFAULT resolved (counted by gmem_repair) */
};

struct gmem;

/*
 * Create guest memory with everything absent.  All that needs a privilege or opens a file is
 * done here, and no thread is started: a process that sheds privileges, which it must do while
 * it has one thread, does so between gmem_create and gmem_start.
 *
 * Everything below works at once, but for what touches the window itself: a guest, or a test,
 * that touches an absent page there waits until gmem_start.
 *
 * Returns 0, or -errno with the reason in *err (may be NULL).  -EPERM: no privilege for userfaultfd
 * on kernel faults; -ENOSYS: kernel without it; -ENOMEM: address space, RLIMIT_AS or
 * vm.max_map_count; -EINVAL: bad ranges.
 */
int gmem_create(const struct gmem_config *config, struct gmem **out, struct quire_error *err);

/* Start the pager, once.  0, or -errno with the reason in *err (may be NULL). */
int gmem_start(struct gmem *gm, struct quire_error *err);

/* The descriptors that gm needs to live on (not more than GMEM_MAX_DESCRIPTORS).  How many. */
#define GMEM_MAX_DESCRIPTORS 3
unsigned int gmem_descriptors(const struct gmem *gm, int fds[GMEM_MAX_DESCRIPTORS]);

/* Stop the pager and free everything.  No thread may be inside the window.  NULL is fine. */
void gmem_destroy(struct gmem *gm);

/* Window address of gpa (RAM or not, below gmem_end): for KVM's memslots and tests only. */
void *gmem_hva(const struct gmem *gm, gpa_t gpa);
const struct gfn_range *gmem_ram(const struct gmem *gm, unsigned int *nr);

/* A new descriptor of the RAM file that can only read it, the caller's; or -errno. */
int gmem_open_ram(const struct gmem *gm);

/*
 * Read [gpa, gpa + len) into buf.  Absent pages read as zeroes and stay absent.
 * 0, or -EFAULT if part of the range is not RAM (buf undefined).
 */
int guest_read(struct gmem *gm, gpa_t gpa, void *buf, size_t len);

/*
 * Write buf to [gpa, gpa + len), bringing absent pages in; waits for credits if need be.
 * 0; -EFAULT: part is not RAM; -ENOMEM: the host has no memory; -EDQUOT: no credits (in all of
 * which nothing is written).
 */
int guest_write(struct gmem *gm, gpa_t gpa, const void *buf, size_t len);

/*
 * Keep the pages of [gpa, gpa + len) private until the same range is released: they are brought in,
 * waiting for credits if need be, and neither merged nor given back, so that guest_write there
 * never waits.  0; as guest_write; -ENOSPC: there are GMEM_MAX_HELD ranges.
 */
#define GMEM_MAX_HELD 16u
int gmem_hold(struct gmem *gm, gpa_t gpa, size_t len);
void gmem_release(struct gmem *gm, gpa_t gpa, size_t len);

/* What became of the pages of a range.  With some errors, others were not looked at. */
struct gmem_gone {
	uint64_t gone;	  /* came into the state that was asked for ... */
	uint64_t already; /* ... were in it, or in the balloon, before ... */
	uint64_t kept;	  /* ... or stayed private */
};

/*
 * Give [gfn, gfn + nr) back to the host: absent, zero when touched again.  Guest accesses may
 * race with it and see either the old bytes or zeroes, page by page.  gone may be NULL.
 * 0; -EFAULT: not RAM (nothing changed); -EAGAIN: some pages stay private: zeroed, because the
 * host could not free them just now, or as they are, because they are held; -ENOMEM:
 * vm.max_map_count binds, and a prefix went.
 */
int gmem_drop(struct gmem *gm, gfn_t gfn, uint64_t nr, struct gmem_gone *gone);

/*
 * The same for a balloon that inflates: the pages become `ballooned`, which says that the guest
 * gave them up.  Touching one all the same finds zeroes, and is counted.  As gmem_drop.
 */
int gmem_balloon(struct gmem *gm, gfn_t gfn, uint64_t nr, struct gmem_gone *gone);

/*
 * The balloon deflates: of [gfn, gfn + nr), what is ballooned becomes absent, and what was not
 * (already) stays as it is.  0 or -EFAULT (not RAM).
 */
int gmem_unballoon(struct gmem *gm, gfn_t gfn, uint64_t nr, struct gmem_gone *gone);

/*
 * After KVM_RUN returned -EFAULT without an address: wait until no change of the window is
 * under way, so that the vCPU can be entered again.
 */
void gmem_repair(struct gmem *gm);

/* Copy the state of [gfn, gfn + nr) into states, one byte a page; PG_NR_STATES marks what is
 * not RAM.  With large, bit 7 says that the page is part of a 2 MiB leaf. */
#define GMEM_STATE_LARGE 0x80u
void gmem_states(struct gmem *gm, gfn_t gfn, uint64_t nr, uint8_t *states);

int gmem_lookup(struct gmem *gm, gfn_t gfn, struct stage2_page *page);
void gmem_stats(struct gmem *gm, struct gmem_stats *out);
unsigned int gmem_audit(struct gmem *gm, void (*report)(void *ctx, const char *what), void *ctx);

/*
 * A frame of a store, by a name that all VMs agree on: the segment's inode number and the frame's
 * place in it.
 */
struct gmem_frame {
	uint64_t segment;
	uint64_t index;
};

/* Which frame gfn shares.  0; -ENOENT: it is not shared; -EFAULT: it is not RAM. */
int gmem_frame_of(struct gmem *gm, gfn_t gfn, struct gmem_frame *frame);

/*
 * The pages of this VM that share a frame: the first `max` gfns, ascending, go to out.  Returns how
 * many there are in all.
 */
uint64_t gmem_frame_users(struct gmem *gm, const struct gmem_frame *frame, gfn_t *out,
			  uint64_t max);

/* walk_2d over this memory, under its lock.  Never sets A/D bits unless access.set_ad. */
enum walk_outcome gmem_walk(struct gmem *gm, const struct walk_cpu *cpu, gva_t gva,
			    struct walk_access access, struct walk_result *res);

#endif
