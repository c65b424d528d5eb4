/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_BALLOON_DECISION_H
#define QUIRE_MMU_BASE_BALLOON_DECISION_H

/*
 * What the machine's policy (mmu/machine/balloon_policy.h) decided about a VM's balloon, and why:
 * the policy keeps these records, and tells them to whoever asks (machine_protocol.h).
 *
 * Sizes are in pages of 4 KiB, times in ns of CLOCK_MONOTONIC.  The size of a balloon is the number
 * of pages that the guest gave up.
 */
#include <quire/types.h>

enum balloon_reason {
	BALLOON_STEADY,	    /* nothing to do */
	BALLOON_SILENT,	    /* no driver, or no recent statistics: no decision */
	BALLOON_MANUAL,	    /* the target was set by hand */
	BALLOON_PRESSURE,   /* released at once: the guest needs it (signs say how it showed) */
	BALLOON_COOLING,    /* released a while ago: nothing is taken yet */
	BALLOON_STUCK,	    /* the guest could not fill its balloon: left as far as it came */
	BALLOON_RECLAIM,    /* taken: the machine is short and this VM has the lowest rho */
	BALLOON_SPARED,	    /* the machine is short, but others have a lower rho */
	BALLOON_AT_MINIMUM, /* the machine is short, but the guest is at its minimum */
	BALLOON_NO_SPARE,   /* the machine is short, but the guest has nothing to spare */
	BALLOON_GIVEN,	    /* released: the guest runs low */
	BALLOON_TAXED,	    /* the guest runs low, but nobody's rho is lower than its own */
	BALLOON_NOBODY,	    /* the guest runs low, and nobody has anything to spare */
	BALLOON_PLENTY,	    /* released: the machine has plenty */
	BALLOON_NR_REASONS,
};

/* How pressure showed: bits of balloon_decision.signs. */
enum balloon_sign {
	BALLOON_SIGN_DEFLATED = 1 << 0, /* the guest took pages back by itself (DEFLATE_ON_OOM) */
	BALLOON_SIGN_TOUCHED = 1 << 1,	/* it touched ballooned pages */
	BALLOON_SIGN_OOM = 1 << 2,	/* it killed a process */
	BALLOON_SIGN_STALL = 1 << 3,	/* an allocation had to wait */
	BALLOON_SIGN_SWAP = 1 << 4,	/* it swaps, and little is available */
	BALLOON_SIGN_FAULTS = 1 << 5,	/* many major faults, and little is available */
	BALLOON_SIGN_ASKS = 1 << 6,	/* balloon_input.asks */
	BALLOON_NR_SIGNS = 7,
};

/*
 * A decision and the numbers that led to it.
 *
 * Ticks in a row that decided the same in the same direction are one record.  from_pages and
 * first_ns are of the first of these ticks, everything else is of the last.  A record that moved
 * nothing ("steady", "cooling", "spared" ...) gives its place to the next.  So the log holds the
 * last moves, and what holds now.
 */
struct balloon_decision {
	enum balloon_reason reason;
	uint32_t signs;
	uint32_t ticks; /* how many in a row */
	uint32_t shares;
	uint64_t first_ns, last_ns;
	uint64_t from_pages, to_pages; /* the target before and after */
	uint64_t actual_pages;
	uint64_t resident_pages;
	uint64_t available_pages; /* expected in the guest once it has reached the target */
	uint64_t active_pages;	  /* estimate: the largest of two averages and the last sample */
	uint64_t margin_pages;
	uint64_t limit_pages;  /* the largest balloon that leaves margin and minimum */
	uint64_t charge_pages; /* active + k * idle: rho = shares / charge */
	uint64_t free_pages;   /* the machine's */
	uint64_t short_pages;  /* what the machine wanted from all VMs in this tick */
	uint64_t quiet_ns;     /* nothing is taken for so long yet */
};

#endif
