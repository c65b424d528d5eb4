/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_BALLOON_INTERNAL_H
#define QUIRE_MMU_MACHINE_BALLOON_INTERNAL_H

/*
 * What the files of the balloon policy share: balloon_guest.c looks at one VM alone,
 * balloon_policy.c weighs the VMs against each other, and balloon_why.c remembers and explains.
 */
#include "balloon_policy.h"

static inline uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/*
 * Fill vm->plan in from what the VM shows.  Decide at once what concerns no other VM: release under
 * pressure, obey an operator, give up on a balloon that is stuck.
 */
void balloon_look(const struct balloon_policy_config *c, uint64_t now_ns,
		  const struct balloon_input *in, struct balloon_vm *vm);

/* in->actual_pages, or all of RAM if the driver claims more. */
uint64_t balloon_actual(const struct balloon_input *in);

/* By how many pages the balloon may still grow in this tick; 0 if that is below the dead band. */
uint64_t balloon_room(const struct balloon_input *in, const struct balloon_vm *vm);

/* How many pages to release so that the guest has its margin again; 0: it has enough. */
uint64_t balloon_appetite(const struct balloon_input *in, const struct balloon_vm *vm);

/* How many pages are available in the guest once its balloon is at the target. */
uint64_t balloon_expected(const struct balloon_input *in, const struct balloon_vm *vm);

/* The denominator of rho: (1 - tau) * active + idle, in thousandths of a page. */
uint64_t balloon_charge(const struct balloon_policy_config *c, uint64_t active, uint64_t resident);

/* Add the decision in vm->plan to the VM's log.  wanted: what the machine wanted in this tick. */
void balloon_log_add(const struct balloon_policy *p, const struct balloon_machine *m,
		     const struct balloon_input *in, struct balloon_vm *vm, uint64_t wanted);

#endif
