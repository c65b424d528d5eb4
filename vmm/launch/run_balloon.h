/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LAUNCH_RUN_BALLOON_H
#define QUIRE_VMM_LAUNCH_RUN_BALLOON_H

/*
 * What passes between a VM's balloon and its machine: targets one way, and how the guest fares the
 * other way (MACHINE_BALLOON in machine_protocol.h).
 *
 * A target comes in the channel's thread.  It waits in `order` for the main loop, which alone
 * speaks to the device: asking the guest takes an interrupt, and the channel's thread may not send
 * one.
 *
 * While there is a driver, the VM tells the machine of its balloon when statistics came, or soon
 * after they should have come.  It tells it sooner when something cannot wait: the driver came or
 * went, a target arrived or was reached, or the guest takes back pages that are wanted.
 */
#include <stdatomic.h>
#include "mmu/base/machine_protocol.h"
#include "vmm/vm/vm.h"

struct credits;

struct run_balloon {
	atomic_ullong order;	    /* a target, with flags in its low bits; 0: none */
	bool told;		    /* the machine was told, */
	uint64_t told_ns;	    /* then, */
	struct balloon_record last; /* this */
};

/* A target has come.  Any thread may call this, and wakes the main loop after it. */
void run_balloon_order(struct run_balloon *rb, uint64_t pages, bool manual);

/*
 * Do what is due, in the main loop.  Returns when to call this again at the latest; UINT64_MAX:
 * when the main loop is woken.
 */
uint64_t run_balloon_serve(struct run_balloon *rb, struct vm *vm, struct credits *credits);

/*
 * Is the machine to be told `next` now, after what it was told last?  If not, *until becomes when
 * it is to be told at the latest.  The guest is asked for statistics every period_ns.
 */
bool run_balloon_is_due(const struct run_balloon *rb, const struct balloon_record *next,
			uint64_t now, uint64_t period_ns, uint64_t *until);

#endif
