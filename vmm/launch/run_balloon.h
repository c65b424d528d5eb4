/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LAUNCH_RUN_BALLOON_H
#define QUIRE_VMM_LAUNCH_RUN_BALLOON_H

/*
 * A VM's balloon between its device and its machine: targets one way, how the guest fares the
 * other (MACHINE_BALLOON in machine_protocol.h).
 *
 * A target comes in the channel's thread and waits in `order` for the main loop, which alone
 * speaks to the device: asking the guest takes an interrupt, and the channel's thread may not.
 *
 * The machine is told when statistics came, about once a second while there is a driver, and when
 * something cannot wait: the driver came or went, a target arrived or was reached, or the guest
 * takes back pages that are wanted.
 */
#include <stdatomic.h>
#include "mmu/base/machine_protocol.h"
#include "vmm/vm/vm.h"

struct credits;

struct run_balloon {
	atomic_ullong order; /* target, manual and "there is one" in the low bits; 0: none */
	bool told;	     /* what the machine was told last: */
	uint64_t told_ns;
	struct balloon_record last;
};

/* Any thread; the main loop has to be woken after it. */
void run_balloon_order(struct run_balloon *rb, uint64_t pages, bool manual);

/* Main loop: do what is due, and say when to come again at the latest (UINT64_MAX: when woken). */
uint64_t run_balloon_serve(struct run_balloon *rb, struct vm *vm, struct credits *credits);

/*
 * Is `next` to be told at `now`, after what was told?  If not, *until becomes when it will be at
 * the latest.
 */
bool run_balloon_is_due(const struct run_balloon *rb, const struct balloon_record *next,
			uint64_t now, uint64_t *until);

#endif
