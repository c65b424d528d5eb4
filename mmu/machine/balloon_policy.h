/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_BALLOON_POLICY_H
#define QUIRE_MMU_MACHINE_BALLOON_POLICY_H

/*
 * The balloon policy decides how large each VM's balloon ought to be, and says why.
 *
 * The scheme is that of C. A. Waldspurger, "Memory Resource Management in VMware ESX Server", OSDI
 * 2002, sections 5 and 6: min-funding revocation with an idle-memory tax.  Memory is taken from the
 * VM with the fewest shares per page, where an idle page counts for more than an active one:
 *
 *	rho = S / (P * (f + k * (1 - f)))		k = 1 / (1 - tau)
 *
 *   S  shares		P  resident pages		f  the part of them that is active
 *
 * Let active = P * f.  Multiplied by (1 - tau), which changes no comparison, the denominator is
 * exact in integers, and so the same on every machine:
 *
 *	rho ~ S / ((1 - tau) * active + idle)
 *
 * Two things are quire's own.  f comes from the guest's statistics and not from sampled pages.  And
 * no guest is asked for more than it says it can spare: a balloon only grows while that leaves a
 * margin of available memory in the guest.  docs/balloon.md has the rules and the figures.
 *
 * A tick takes a picture of the machine and its VMs, and leaves a target and a reason for each VM.
 * The policy uses no clock, no allocation, no I/O and no floating point, so equal pictures give
 * equal targets.  Everything is in pages of 4 KiB and nanoseconds of the caller's clock.  The size
 * of a balloon is the number of pages that the guest gave up: the guest has ram - balloon.
 *
 * There are no locks: the machine is one thread.
 */
#include <quire/types.h>
#include "mmu/base/balloon_decision.h"
#include "mmu/base/balloon_record.h"

struct balloon_policy_config {
	uint32_t tax_permille; /* tau, below 1000 */

	/* The weights 1 / 2^shift of a sample in the two averages of active memory. */
	unsigned int slow_shift, fast_shift;

	/* The margin left available in a guest: RAM / divisor in these bounds, at most RAM / 4. */
	uint64_t margin_divisor, margin_min_pages, margin_max_pages;

	/* The cap: a balloon grows by at most RAM / divisor, in these bounds, in a tick. */
	uint64_t cap_divisor, cap_min_pages, cap_max_pages;

	/* The dead band: no step below RAM / divisor, in these bounds, is worth a message. */
	uint64_t band_divisor, band_min_pages, band_max_pages;

	/* Memory moves from one VM to another only if rho differs by more than this. */
	uint32_t rho_band_permille;

	uint64_t plenty_divisor;	 /* plenty is free memory above high + memory / divisor */
	uint64_t stale_ns;		 /* older statistics count as none */
	uint64_t stuck_ns;		 /* a balloon that has not grown for so long will not */
	uint64_t cooldown_ns;		 /* nothing is taken for so long after a release */
	unsigned int cooldown_shift_max; /* this doubles at most so often as pressure comes back */
};

/* Statistics that a guest may give: bits of balloon_stats.have. */
enum balloon_has {
	BALLOON_HAS_AVAILABLE = 1 << 0,	   /* VIRTIO_BALLOON_S_AVAIL */
	BALLOON_HAS_FREE = 1 << 1,	   /* ..._S_MEMFREE */
	BALLOON_HAS_TOTAL = 1 << 2,	   /* ..._S_MEMTOT */
	BALLOON_HAS_SWAP = 1 << 3,	   /* ..._S_SWAP_IN plus _SWAP_OUT */
	BALLOON_HAS_MAJOR_FAULTS = 1 << 4, /* ..._S_MAJFLT */
	BALLOON_HAS_OOM_KILLS = 1 << 5,	   /* ..._S_OOM_KILL */
	BALLOON_HAS_ALLOC_STALLS = 1 << 6, /* ..._S_ALLOC_STALL */
};

/*
 * A guest's last statistics.  Fields without their bit in `have` are ignored.  Without available
 * memory, free memory stands in for it; without both, the guest is silent.
 */
struct balloon_stats {
	uint32_t have;
	uint64_t taken_ns;	/* when they came, on the clock of balloon_machine.now_ns */
	uint64_t balloon_pages; /* size of the balloon at that moment */
	uint64_t available_pages, free_pages, total_pages;
	/* These count since the guest booted.  One that falls has started anew. */
	uint64_t swap_pages, major_faults, oom_kills, alloc_stalls;
};

/*
 * Read the guest's statistics out of a record, with no size above ram_pages.  Without a working
 * driver there are none: what an earlier driver said is of no use any more.
 */
struct balloon_stats balloon_read_stats(const struct balloon_record *said, uint64_t ram_pages);

/* A VM as it is now. */
struct balloon_input {
	uint64_t ram_pages;
	uint32_t shares;
	uint64_t min_pages;	 /* the guest keeps at least these: --balloon-min */
	uint64_t resident_pages; /* frames that it costs the machine */
	uint64_t actual_pages;	 /* its balloon, as the driver says */
	uint64_t touches;	 /* pages in the balloon that were touched without telling, ever */
	bool driver;		 /* a driver is there and works */
	bool asks;		 /* the VM asks for its pages back now */
	bool manual;		 /* an operator set the target ... */
	uint64_t manual_pages;	 /* ... to this */
	struct balloon_stats stats;
};

/* The machine as it is now; see budget.h for the watermarks. */
struct balloon_machine {
	uint64_t now_ns; /* never falls */
	uint64_t memory_pages, free_pages;
	uint64_t min_pages, low_pages, high_pages;
};

#define BALLOON_LOG_SIZE 16u

/* What a VM may give and get in one tick.  Private to the policy. */
struct balloon_plan {
	uint64_t from_pages;
	uint64_t ceiling_pages; /* the balloon of a guest at its minimum */
	uint64_t margin_pages, cap_pages, band_pages;
	uint64_t limit_pages;
	uint64_t now_pages;		       /* active memory by the last sample alone */
	uint64_t active_pages, resident_pages; /* as if what was planned had happened */
	uint64_t taken_pages, given_pages;
	bool answers, may_give, may_get, served;
	enum balloon_reason reason;
	uint32_t signs;
};

/* What the policy remembers of a VM.  All zeroes is a VM that was not seen yet. */
struct balloon_vm {
	uint64_t target_pages; /* the result of a tick */
	bool known;
	bool sampled;		       /* slow_x256, fast_x256 and last are of this guest */
	bool inflated;		       /* something was taken since the last release */
	uint64_t slow_x256, fast_x256; /* averages of active pages, times 256 */
	struct balloon_stats last;
	uint64_t last_actual_pages, last_touched;
	uint64_t progress_ns;	    /* when the balloon last grew, or did not have to */
	unsigned int pressed_ticks; /* how many ticks in a row had pressure */
	unsigned int episodes;	    /* of pressure after taking that are not forgotten yet */
	uint64_t cool_ns;	    /* nothing is taken before */
	struct balloon_plan plan;
	struct balloon_decision log[BALLOON_LOG_SIZE];
	unsigned int logged; /* records written, ever */
};

struct balloon_policy {
	struct balloon_policy_config config;
	bool short_of_memory; /* memory fell below low and has not been at high since */
	uint64_t unmet_pages; /* what the last tick wanted and did not find */
};

/*
 * Fill in the defaults:
 *
 *   tau         75 %
 *   averages    1/32 and 1/4
 *   margin      RAM / 16, at least 16 MiB and at most 512 MiB
 *   cap         RAM / 32, at least 1 MiB and at most 1 GiB
 *   dead band   RAM / 128, at least 1 MiB and at most 64 MiB
 *   rho band    12.5 %
 *   plenty      memory / 32 above high; balloons are released slowly then
 *   stale       statistics after 10 s; a balloon is stuck after 10 s
 *   cooling     30 s, doubled at most 6 times
 */
void balloon_policy_defaults(struct balloon_policy_config *config);

/* Begin with this configuration.  There is nothing to free. */
void balloon_policy_init(struct balloon_policy *p, const struct balloon_policy_config *config);

/*
 * Do one tick: set vm[i]->target_pages from in[i] for each of nr VMs, and add to their logs.  vm[i]
 * is the same object for the same VM in every tick.  The order of VMs may change; it breaks ties
 * only.  The caller ticks about once a second, as often as statistics come.
 *
 * This holds for each VM about which the policy decides:
 *   - A target that rises stays at or below ram - min, leaves the margin in what the guest said is
 *     available, and rises by at most the cap.
 *   - A target that falls stays at or above ram - max, unless the guest deflated below that.
 *
 * The cost is O(nr * (64 + nr)) at worst.
 */
void balloon_policy_tick(struct balloon_policy *p, const struct balloon_machine *m,
			 const struct balloon_input *in, struct balloon_vm *const *vm,
			 unsigned int nr);

/* One word for people and for JSON, such as "reclaim"; NULL: there is no such reason. */
const char *balloon_reason_name(enum balloon_reason reason);

/* How many decisions are in a VM's log: at most BALLOON_LOG_SIZE. */
unsigned int balloon_log_count(const struct balloon_vm *vm);

/* A decision in the log.  i is 0 for the newest, and less than balloon_log_count(). */
const struct balloon_decision *balloon_log_get(const struct balloon_vm *vm, unsigned int i);

/*
 * Write a decision as one line without a newline, for `quire balloon --why VM`: "reclaim: balloon
 * 64.0 -> 96.0 MiB in 4 ticks: ...".  Returns as snprintf() does.
 */
int balloon_describe(const struct balloon_decision *d, char *buf, size_t len);

#endif
