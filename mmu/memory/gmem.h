/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_GMEM_H
#define QUIRE_MMU_MEMORY_GMEM_H

/*
 * Guest memory: a VM's RAM, its stage 2, and the window through which KVM reaches it.
 *
 * RAM is one file on tmpfs, in which the offset is the gpa.  It is mapped twice.  The addresses of
 * the *window* are handed to KVM's memslots, and its faults come to our pager through userfaultfd.
 * Through the *alias* this process itself reads and writes, by guest_read and guest_write, which
 * ask stage 2 first.  So no thread of ours can fault on the window and wait for the pager.  The
 * keeper alone reads the window, under the lock, and only pages that are private (contents.h).
 *
 * Threads: any thread may call any function here.  LOCK_GMEM (mmu/base/locks.h), which each of them
 * takes for itself, covers stage 2 and every change to the window.
 */
#include <stdatomic.h>
#include <sys/types.h>
#include <quire/error.h>
#include "mmu/base/histogram.h"
#include "mmu/base/stall.h"
#include "mmu/format/walk.h"
#include "mmu/pool/pool.h"
#include "mmu/shadow/shadow.h"
#include "mmu/swap/fault.h"
#include "mmu/swap/swap.h"
#include "stage2.h"

enum gmem_hugepages {
	GMEM_HUGE_AUTO, /* 2 MiB where memory allows */
	GMEM_HUGE_NEVER,
};

/*
 * Page credits: the right to make pages resident, from whoever keeps the books.  Guest memory takes
 * a credit before a page comes in, and puts it back when the page has gone.
 */
struct gmem_credits {
	/* Take `pages` credits if they are at hand.  Must not block: LOCK_GMEM is held. */
	bool (*take)(void *ctx, uint64_t pages);
	/*
	 * Block until at least `need` credits can be taken; `want` would be welcome.  Called
	 * without LOCK_GMEM.  0, or -errno: there is no memory and there will be none.
	 */
	int (*wait)(void *ctx, uint64_t need, uint64_t want);
	/*
	 * As wait, but it must not block: LOCK_GMEM is held.  -EAGAIN where wait would block.  From
	 * then on news(arg) is called whenever it is worth to try and to seek again, until
	 * stop_seeking.  It may be called by any thread and under any lock.
	 */
	int (*seek)(void *ctx, uint64_t need, uint64_t want, void (*news)(void *arg), void *arg);
	/* Nothing is sought any more.  Must not block: LOCK_GMEM is held. */
	void (*stop_seeking)(void *ctx);
	/* Put credits back.  Must not block: LOCK_GMEM is held. */
	void (*put)(void *ctx, uint64_t pages);
	/*
	 * Ask for more ahead of time, to be taken later if they come.  Must not block.  May be
	 * NULL.
	 */
	void (*ask)(void *ctx);
	/* As put, for pages that the guest will not want soon.  NULL: put is called instead. */
	void (*give)(void *ctx, uint64_t pages);
	void *ctx;
};

/*
 * For guests that run on shadow tables (mmu/shadow/shadow.h): what the monitor gives.  Then there
 * is no window, no userfaultfd and no pager: KVM's memslots lie over the alias, and the vCPUs'
 * faults come to gmem_shadow_fault.
 */
struct gmem_shadow {
	void *arena; /* as in struct shadow_config, from here to monitor_entry */
	maddr_t arena_maddr;
	uint32_t arena_pages;
	uint64_t monitor_entry;
	uint8_t maxphyaddr;
	/* As in struct shadow_config.  LOCK_GMEM is held. */
	void (*flush)(void *ctx, const struct shadow_stale *stale);
	/*
	 * Let the processor read `bytes` of a store's segment at machine address `at`, or not any
	 * more, if hva is NULL.  The keeper calls it, with LOCK_GMEM held.  0, or -errno: the
	 * segment is not used.
	 */
	int (*segment)(void *ctx, maddr_t at, const void *hva, uint64_t bytes);
	void *ctx;
};

/* A file for pages that leave memory. */
struct gmem_swap {
	int fd;				/* borrowed; SWAP_FILE_BYTES of all gfns below the last */
	uint32_t unit;			/* bytes; as in mmu/swap/space.h */
	const struct swap_quota *quota; /* borrowed; NULL: no limit but the file's size */
	struct swap_faults faults;
};

struct gmem_config {
	const struct gfn_range *ram; /* sorted, disjoint, 2 MiB-aligned except the very end */
	unsigned int nr_ram;
	enum gmem_hugepages hugepages;
	uint64_t max_mappings; /* the window may have; 0: what vm.max_map_count leaves */
	int ram_fd;	       /* borrowed: a file on tmpfs for RAM, all holes; 0: ramfile_create */
	const struct gmem_credits *credits; /* borrowed; NULL: no limit but the host's */
	const struct gmem_shadow *shadow;   /* copied; NULL: the window */
	const struct gmem_swap *swap;	    /* copied; NULL: no page is swapped */
	/*
	 * The pager calls it once, without LOCK_GMEM, when a guest access cannot complete: the host
	 * has no more memory (err: -ENOMEM, -ENOSPC, ...), there are no credits (-EDQUOT), or the
	 * page cannot be read back from the swap file (-EIO, ...) or is not what was written there
	 * (-EBADMSG).  The accessing vCPU stays blocked.  The callee arranges for the VM to stop.
	 * May be NULL.
	 */
	void (*on_host_failure)(void *ctx, gpa_t gpa, int err);
	/*
	 * Processor time that the guest's vCPUs have used so far, in ns (stall.h).  Must not block:
	 * LOCK_GMEM is held.  NULL: it is not known, and every stall counts as full.
	 */
	uint64_t (*vcpu_ns)(void *ctx);
	/*
	 * The first call in the pager's thread, and in that of the swap file, so that they can give
	 * up privileges.  May be NULL.
	 */
	void (*on_thread_start)(void *ctx);
	void (*on_swap_thread_start)(void *ctx);
	/*
	 * The thread of the swap file has read something since a guest_peek had nothing to return.
	 * No lock is held.  May be NULL.
	 */
	void (*on_peek)(void *ctx);
	void *ctx;
};

/* Who takes LOCK_GMEM. */
enum gmem_holder {
	GMEM_PAGER,  /* the pager, for which vCPUs wait */
	GMEM_KEEPER, /* merging */
	GMEM_ACCESS, /* accesses of devices and vCPUs: guest_read, guest_write, gmem_hold ... */
	GMEM_GIVE,   /* gmem_drop, gmem_balloon, gmem_unballoon, gmem_compress */
	GMEM_LOOK,   /* whoever looks at states and counters */
	GMEM_NR_HOLDERS
};
extern const char *const gmem_holder_name[GMEM_NR_HOLDERS]; /* as in statistics */

struct gmem_stats {
	struct stage2_counters s2;
	uint64_t faults;	      /* userfaultfd events answered */
	uint64_t faults_spurious;     /* ... that found nothing to do (late or duplicate) */
	uint64_t faulted_in_pages;    /* brought in by faults, fault-around included */
	uint64_t faulted_in_blocks;   /* ... of which whole 2 MiB blocks, in blocks */
	uint64_t huge_fallbacks;      /* blocks wanted huge that the host could not give */
	uint64_t most_resident_pages; /* with a frame of the RAM file, at any time */
	uint64_t accessor_pages;      /* brought in by guest_write and gmem_hold */
	uint64_t dropped_pages;	      /* given back by gmem_drop */
	uint64_t zero_read_pages;     /* absent pages that became zero when they were first read */
	uint64_t ballooned_pages;     /* given back by gmem_balloon */
	uint64_t balloon_touches;     /* ballooned pages that were touched before a deflate */
	uint64_t unshared_pages;      /* shared or zero pages that came home to be written */
	uint64_t packed_pages;	      /* compressed, since creation ... */
	uint64_t unpackable_pages;    /* ... that stayed because they do not compress ... */
	uint64_t put_off_pages;	      /* ... of them not tried, because they did not before ... */
	uint64_t loaded_pages;	      /* ... that came home */
	uint64_t load_ahead_pages;    /* ... before anybody asked for them */
	uint64_t archived_pages;      /* that became archived, since creation ... */
	uint64_t unarchived_pages;    /* ... and that came home */
	uint64_t orphan_pages;	      /* shared now, with frames of a machine that is gone */
	uint64_t mappings;	      /* of the window, now */
	uint64_t max_mappings;	      /* ... that it may have */
	uint64_t mapping_refusals;    /* runs that were not shared for want of a mapping */
	uint64_t mapping_reliefs;     /* runs that were broken to win mappings */
	uint64_t efaults;	      /* KVM_RUN -EFAULT resolved (counted by gmem_repair) */

	uint64_t waiting_pages;	 /* pages that wait for a credit now */
	uint64_t waiting_ns;	 /* ... the oldest of them for so long */
	uint64_t credit_wait_ns; /* sum of what credit_waits counts */

	uint64_t swapped_out_pages; /* since creation ... */
	uint64_t swap_clean_pages; /* ... of which the area still had a copy, so none was written */
	uint64_t swapped_in_pages; /* that came home ... */
	uint64_t swap_ahead_pages; /* ... of which nobody had asked for yet */
	uint64_t swap_read_errors; /* loads that failed */
	uint64_t swap_write_errors; /* pages that stayed because they could not be written */
	uint64_t swap_full_pages;   /* pages that stayed because the area was full */

	struct pool_stats pool;
	struct swap_stats swap;

	struct histogram swap_reads; /* of the swap file, from asking to done */
	/* vCPUs that waited for a page to be loaded, or for a credit (stall.h). */
	struct stall_record stall;
	/* Touches that loaded a page, by its state: from the event to the wake-up. */
	struct histogram loads[PG_NR_STATES];

	struct histogram credit_waits; /* accesses that waited for a credit, and wait no more */
	struct histogram waits[GMEM_NR_HOLDERS]; /* for LOCK_GMEM; 0 ns: it was free */
	struct histogram holds[GMEM_NR_HOLDERS]; /* ... and how long it was held then */
};

struct gmem;

/*
 * Create guest memory in which every page is absent.  All that needs a privilege or opens a file is
 * done here, and no thread is started: so a process can shed its privileges, which it must do while
 * it has one thread, between gmem_create and gmem_start.  All functions below work at once.  But a
 * guest, or a test, that touches an absent page of the window waits until gmem_start.
 *
 * Returns 0, or -errno with the reason in *err (may be NULL):
 *   -EINVAL  bad ranges
 *   -EPERM   no privilege for userfaultfd on kernel faults
 *   -ENOSYS  a kernel without it
 *   -ENOMEM  address space, RLIMIT_AS or vm.max_map_count
 * or what else the host says.
 */
int gmem_create(const struct gmem_config *config, struct gmem **out, struct quire_error *err);

/*
 * Start the pager, and the thread of the swap file, once.  0, or -errno with the reason in *err
 * (may be NULL).
 */
int gmem_start(struct gmem *gm, struct quire_error *err);

/*
 * Write to fds the descriptors that gm needs as long as it lives.  Returns how many there are.
 */
#define GMEM_MAX_DESCRIPTORS 7
unsigned int gmem_descriptors(const struct gmem *gm, int fds[GMEM_MAX_DESCRIPTORS]);

/* Stop the pager and free everything.  No thread may be inside the window.  NULL is fine. */
void gmem_destroy(struct gmem *gm);

/*
 * Somebody who looks at the guest more rarely while it is quiet, and then sets `still`.  When a
 * fault brings pages in or home, the pager clears that, and calls stir() if it was set; it holds no
 * lock.  stir and ctx do not change once `still` has been set.
 */
struct gmem_dozer {
	atomic_bool still;
	void (*stir)(void *ctx);
	void *ctx;
};

enum gmem_who_dozes { GMEM_DOZER_KEEPER, GMEM_DOZER_BALLOON, GMEM_NR_DOZERS };

struct gmem_dozer *gmem_dozer(struct gmem *gm, enum gmem_who_dozes who);

/*
 * The window's address of gpa, which is RAM or lies between two ranges of it: for KVM's memslots
 * and for tests only.
 */
void *gmem_hva(const struct gmem *gm, gpa_t gpa);

/* The ranges of RAM, *nr of them, ascending.  They do not change. */
const struct gfn_range *gmem_ram(const struct gmem *gm, unsigned int *nr);

/* A new descriptor of the RAM file that can only read it.  The caller closes it.  Or -errno. */
int gmem_open_ram(const struct gmem *gm);

/*
 * Read [gpa, gpa + len) into buf.  Absent pages read as zeroes and stay absent.
 * A word (2, 4 or 8 bytes, and aligned to as many) is read at once, as a processor does: all of it
 * is from the same moment, whatever the guest writes.  So are words written by guest_write().
 * Swapped pages are read from the file, for which the caller waits, and stay swapped.
 * 0; -EFAULT: part of the range is not RAM; or another -errno: a page cannot be read back, and
 * on_host_failure was called.  On failure buf is undefined.
 */
int guest_read(struct gmem *gm, gpa_t gpa, void *buf, size_t len);

/*
 * As guest_read, for whoever looks at the guest and must not wait for a disk: it waits until
 * until_ns at most (CLOCK_MONOTONIC; 0: not at all), and a page that cannot be read back is nobody
 * else's trouble.
 * Returns how many bytes were read, from gpa on: fewer than len if the next one did not come; or,
 * if none came:
 *   -EINPROGRESS  it is being read: on_peek will be called, and it is worth to come again
 *   -EFAULT       part of the range is not RAM
 *   -EIO, -EBADMSG or another -errno: it cannot be read back
 */
ssize_t guest_peek(struct gmem *gm, gpa_t gpa, void *buf, size_t len, uint64_t until_ns);

/*
 * Write buf to [gpa, gpa + len).  Pages that are not private are brought in; if credits are short,
 * the caller waits for them.
 * 0; -EFAULT: part of the range is not RAM; -ENOMEM or another -errno: the host has no memory, or a
 * page cannot be read back, as in guest_read; -EDQUOT: there are no credits.  On failure nothing is
 * written.
 */
int guest_write(struct gmem *gm, gpa_t gpa, const void *buf, size_t len);

/*
 * If the 16 bytes at gpa, which is aligned to as many, are old, make them new, atomically also for
 * the guest.  *old becomes what they were.  The page is brought in as by guest_write, in any case.
 * 0, or as guest_write.
 */
int guest_exchange(struct gmem *gm, gpa_t gpa, uint64_t old[2], const uint64_t new[2]);

/*
 * Hold the pages of [gpa, gpa + len): bring them in, as guest_write does, and keep them private
 * until the same range is released.  They are neither merged nor given back, so that guest_write
 * there never waits.
 * 0; -EFAULT: len is 0 or part of the range is not RAM; -ENOSPC: GMEM_MAX_HELD ranges are held; or
 * as guest_write.  gmem_release: the range is held.
 */
#define GMEM_MAX_HELD 64u
int gmem_hold(struct gmem *gm, gpa_t gpa, size_t len);
void gmem_release(struct gmem *gm, gpa_t gpa, size_t len);

/* What became of the pages of a range.  The sum is smaller than the range if an error ended it. */
struct gmem_gone {
	uint64_t gone;	  /* came into the state that was asked for */
	uint64_t already; /* were in it, or in the balloon, before */
	uint64_t kept;	  /* stayed as they were, or private */
};

/*
 * Give [gfn, gfn + nr) back to the host: the pages become absent, and zeroes are in them when they
 * are touched again.  A guest access that races with it finds, page by page, the old bytes or
 * zeroes.  *gone says what became of the pages (may be NULL).
 *
 * Returns 0;
 *   -EFAULT  nr is 0 or part of the range is not RAM (nothing changed)
 *   -EAGAIN  some pages stay: held ones with their bytes, shared and zero ones for which there is
 *            no mapping now, and as private ones zeroed those that the host could not free just now
 *   -ENOMEM  vm.max_map_count binds (the pages of a prefix went)
 */
int gmem_drop(struct gmem *gm, gfn_t gfn, uint64_t nr, struct gmem_gone *gone);

/*
 * Balloon [gfn, gfn + nr): as gmem_drop, but the pages become `ballooned`, which says that the
 * guest gave them up.  A guest that touches such a page before it deflates its balloon finds
 * zeroes, and is counted (balloon_touches).
 */
int gmem_balloon(struct gmem *gm, gfn_t gfn, uint64_t nr, struct gmem_gone *gone);

/*
 * Deflate: the ballooned pages of [gfn, gfn + nr) become absent (counted as gone); the others stay
 * as they are (already).  0; -EFAULT: nr is 0 or part of the range is not RAM.
 */
int gmem_unballoon(struct gmem *gm, gfn_t gfn, uint64_t nr, struct gmem_gone *gone);

/* What became of the private pages of a range.  The others stayed as they were. */
struct gmem_packed {
	uint64_t compressed;
	uint64_t refused; /* they do not compress, or did not a short while ago */
	uint64_t kept;	  /* they are held, or could not leave just now, or the pool has no room */
	uint64_t touched; /* the guest has touched them */
	int64_t freed;	  /* so many pages less are in the RAM file, the pool's included */
	uint64_t pool_pages; /* that the pool has now; not added to */
};

/* Who looks at what the guest touches.  Each hears of all touches since it last forgot them. */
enum gmem_watcher {
	GMEM_BY_HAND,	  /* quire reclaim */
	GMEM_RECLAIMER,	  /* mmu/reclaim/reclaimer.h */
	GMEM_TRACER,	  /* quire trace */
	GMEM_WORKING_SET, /* mmu/reclaim/working_set.c */
	GMEM_NR_WATCHERS
};

/*
 * Compress the private pages of [gfn, gfn + nr): they lose their frames until they are touched.  A
 * 2 MiB leaf is split before.  Pages stay that the guest has touched since `unless` forgot that;
 * with GMEM_NR_WATCHERS all pages go.  *out is added to.
 * 0; -EFAULT: nr is 0 or part of the range is not RAM.
 */
int gmem_compress(struct gmem *gm, gfn_t gfn, uint64_t nr, enum gmem_watcher unless,
		  struct gmem_packed *out);

/* The same for pages of RAM anywhere, nr of them, ascending.  A few at a time win little. */
void gmem_compress_pages(struct gmem *gm, const gfn_t *gfn, uint64_t nr, enum gmem_watcher unless,
			 struct gmem_packed *out);

/* What became of the pages of a range.  Those that were neither private nor compressed stayed. */
struct gmem_swapped {
	uint64_t swapped;
	uint64_t clean;	  /* ... of which the area still had a copy: they were not written */
	uint64_t kept;	  /* they are held, or written at that moment, or there was no space */
	uint64_t touched; /* the guest has touched them */
};

/*
 * Swap out the private and compressed pages of [gfn, gfn + nr): they lose their memory until they
 * are touched.  `unless` is as in gmem_compress, for private pages.  *out is added to.  It waits
 * for the disk, without any lock of ours.
 * 0; -EFAULT: nr is 0 or part of the range is not RAM; -ENODEV: there is no swap file.  Or not all
 * of the range was looked at: -ENOSPC: the area is full; or another -errno: the disk failed.
 */
int gmem_swap_out(struct gmem *gm, gfn_t gfn, uint64_t nr, enum gmem_watcher unless,
		  struct gmem_swapped *out);

/*
 * Forget which private pages of [gfn, gfn + nr) the guest has touched.  Its next touch of each
 * costs it a fault of the host's, and none of ours.  What the VMM does is no touch.
 * 0; -EFAULT: nr is 0 or part of the range is not RAM.
 */
int gmem_forget_touches(struct gmem *gm, enum gmem_watcher who, gfn_t gfn, uint64_t nr);

/*
 * The same for some of at most QUIRE_BLOCK_PAGES pages: page n of the range is bit n % 64 of
 * which[n / 64].  Of a 2 MiB leaf all pages are in it, or none.
 */
int gmem_forget_these(struct gmem *gm, enum gmem_watcher who, gfn_t gfn, uint64_t nr,
		      const uint64_t *which);

/*
 * Which of [gfn, gfn + nr), at most QUIRE_BLOCK_PAGES pages, are private, and which of these the
 * guest has touched since `who` forgot that, or is not known not to have.  Page n of the range is
 * bit n % 64 of word n / 64.  A 2 MiB leaf is touched as a whole.
 * 0; -EFAULT: nr is not from 1 to QUIRE_BLOCK_PAGES, or part of the range is not RAM.
 */
struct gmem_touched {
	uint64_t resident[QUIRE_BLOCK_PAGES / 64], touched[QUIRE_BLOCK_PAGES / 64];
	bool large; /* a 2 MiB leaf is among them */
};
int gmem_touched(struct gmem *gm, enum gmem_watcher who, gfn_t gfn, uint64_t nr,
		 struct gmem_touched *out);

/*
 * Which of [gfn, gfn + nr), at most 64 pages, are private and *clean*: the swap file has a copy of
 * just these bytes, so that they could leave without a write.  Bit n is page gfn + n; what is not
 * RAM is not clean.  It reads all pages that have a copy.
 */
uint64_t gmem_clean(struct gmem *gm, gfn_t gfn, uint64_t nr);

/*
 * Somebody who can free memory of this VM.  wanted() is called when an access begins to wait for a
 * credit; any lock may be held.  To be set while no thread uses guest memory.
 */
void gmem_set_helper(struct gmem *gm, void (*wanted)(void *ctx), void *ctx);

/* How many accesses wait for a credit now, and since when some do; 0: none does.  No lock. */
unsigned int gmem_nr_waiting(const struct gmem *gm);
uint64_t gmem_waiting_since(const struct gmem *gm);

/*
 * To be called after KVM_RUN returned -EFAULT without an address: waits until no change of the
 * window is under way, so that the vCPU can enter the guest again.  Returns how often the states of
 * pages have changed so far: if that is more than the last time, a change may have been the reason.
 */
uint64_t gmem_repair(struct gmem *gm);

/*
 * Copy the states of [gfn, gfn + nr) to `states`, a byte a page.  PG_NR_STATES marks what is not
 * RAM; GMEM_STATE_LARGE is added for pages of a 2 MiB leaf.
 */
#define GMEM_STATE_LARGE 0x80u
void gmem_states(struct gmem *gm, gfn_t gfn, uint64_t nr, uint8_t *states);

/* Decode gfn's entry in stage 2.  0, or -EFAULT: it is not RAM. */
int gmem_lookup(struct gmem *gm, gfn_t gfn, struct stage2_page *page);

/* All counters, as of one moment. */
void gmem_stats(struct gmem *gm, struct gmem_stats *out);

/*
 * Recount everything: stage 2 (stage2_audit), resident pages against the kernel's count of the RAM
 * file, mappings, and pages in each segment of the store.  Describes each fault through report (may
 * be NULL).  Returns the number of faults.
 */
unsigned int gmem_audit(struct gmem *gm, void (*report)(void *ctx, const char *what), void *ctx);

/* A frame of a store, by a name that all VMs agree on. */
struct gmem_frame {
	uint64_t segment; /* device and inode number of the segment's file, as one number */
	uint64_t index;	  /* the frame's number in it */
};

/* Which frame gfn shares.  0; -ENOENT: it is not shared; -EFAULT: it is not RAM. */
int gmem_frame_of(struct gmem *gm, gfn_t gfn, struct gmem_frame *frame);

/*
 * The pages of this VM that share a frame: the first `max` gfns, ascending, go to out.  Returns how
 * many there are in all.
 */
uint64_t gmem_frame_users(struct gmem *gm, const struct gmem_frame *frame, gfn_t *out,
			  uint64_t max);

/* Shared pages [gfn, gfn + nr) whose frames follow each other, in one segment. */
struct gmem_shared_run {
	gfn_t gfn;
	uint64_t nr;
	struct gmem_frame frame; /* of gfn */
};

/* The first `max` runs of shared pages from gfn on, ascending.  Returns how many there are. */
unsigned int gmem_shared_runs(struct gmem *gm, gfn_t gfn, struct gmem_shared_run *out,
			      unsigned int max);

/* walk_2d over this memory, under LOCK_GMEM.  A and D bits are set only if access.set_ad. */
enum walk_outcome gmem_walk(struct gmem *gm, const struct walk_cpu *cpu, gva_t gva,
			    struct walk_access access, struct walk_result *res);

/* The same; and what the shadow tables have there, at the same moment (shadow_look). */
enum walk_outcome gmem_look(struct gmem *gm, const struct walk_cpu *cpu, gva_t gva,
			    struct walk_access access, struct walk_result *res,
			    struct shadow_look *look);

/*
 * For a guest on shadow tables: as shadow_fault, with what it needs from guest memory brought in.
 * The caller waits for credits if there are none, and for the swap file.  SHADOW_MAPPED,
 * SHADOW_PAGE_FAULT, SHADOW_NOT_CANONICAL, SHADOW_BAD_MODE; or -errno: the host has no memory, a
 * page cannot be read back, or -EDQUOT: there will be no credit (on_host_failure was called).
 * Everything is flushed when it returns.
 */
int gmem_shadow_fault(struct gmem *gm, const struct walk_cpu *cpu, gva_t gva,
		      struct walk_access access, struct walk_result *res);

/* As shadow_root, which never fails here for want of a table; GPA_INVALID: no mode to shadow. */
maddr_t gmem_shadow_root(struct gmem *gm, unsigned int vcpu, maddr_t now,
			 const struct walk_cpu *cpu, bool user);

/* As shadow_invlpg and shadow_resync.  Everything is flushed when they return. */
void gmem_shadow_invlpg(struct gmem *gm, const struct walk_cpu *cpu, gva_t gva);
void gmem_shadow_resync(struct gmem *gm);

/* As shadow_stats.  All is 0 if there are no shadow tables. */
void gmem_shadow_stats(struct gmem *gm, struct shadow_stats *out);

/* The hva of the page of zeroes, which the monitor maps read-only at SHADOW_ZERO_PAGE. */
const void *gmem_shadow_zeroes(void);

#endif
