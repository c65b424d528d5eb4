/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_BALLOON_INTERNAL_H
#define QUIRE_MMU_MACHINE_BALLOON_INTERNAL_H

/*
 * Between the files of the balloon policy: balloon_guest.c looks at one VM alone,
 * balloon_policy.c weighs them against each other, balloon_why.c remembers and explains.
 */
#include "balloon_policy.h"

static inline uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/*
 * Fill vm->plan from what the VM shows, and do at once what concerns nobody else: release under
 * pressure, take what was set by hand, give up on a balloon that is stuck.
 */
void balloon_look(const struct balloon_policy_config *c, uint64_t now_ns,
		  const struct balloon_input *in, struct balloon_vm *vm);

/* actual_pages, or RAM if the driver claims more. */
uint64_t balloon_actual(const struct balloon_input *in);

/* Pages the balloon may still grow by in this tick; 0 if that is below the dead band. */
uint64_t balloon_room(const struct balloon_input *in, const struct balloon_vm *vm);

/* What it is short of: pages to release so that the guest has its margin again. */
uint64_t balloon_appetite(const struct balloon_input *in, const struct balloon_vm *vm);

/* Available memory in the guest once its balloon is at the target. */
uint64_t balloon_expected(const struct balloon_input *in, const struct balloon_vm *vm);

/* Charge times (1 - tau), in thousandths of a page. */
uint64_t balloon_charge(const struct balloon_policy_config *c, uint64_t active, uint64_t resident);

/* Add the decision in vm->plan to the log. */
void balloon_log_add(const struct balloon_policy *p, const struct balloon_machine *m,
		     const struct balloon_input *in, struct balloon_vm *vm, uint64_t wanted);

#endif
