/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LOOK_ACT_H
#define QUIRE_VMM_LOOK_ACT_H

/*
 * What one can do to a running VM from outside, apart from looking.  The commands that do several
 * VMs at once and wait for the outcome have more of it: quire kill, merge and balloon.
 */
#include <quire/error.h>
#include "mmu/machine/client.h"
#include "roster.h"

enum act_kind {
	ACT_PAUSE,
	ACT_RESUME,
	ACT_MERGE_NOW, /* a pass over all of its RAM, for which nobody waits */
	ACT_BALLOON,   /* bytes: what the guest is to keep; ACT_BY_POLICY: as the policy says */
	ACT_END,       /* as SIGTERM to its launcher, for which nobody waits */
	ACT_KILL,      /* SIGKILL */
	ACT_NR_KINDS
};

#define ACT_BY_POLICY UINT64_MAX

extern const char *const act_names[ACT_NR_KINDS]; /* as their commands are called */

struct act {
	enum act_kind kind;
	uint64_t bytes;
};

/*
 * Do this to a VM of a roster.  The VM is found anew by its name, and must be the process that the
 * roster knows.
 *
 * 0, or with *err: -ECONNREFUSED, -ECONNRESET, -ESRCH: it has ended; -EAGAIN, -ETIMEDOUT: it does
 * not answer; of ACT_BALLOON also -EINVAL: not between the guest's minimum and its RAM;
 * -EOPNOTSUPP: it has no balloon; -ENOTCONN: it is in no machine of the roster.
 */
int act_on(const struct roster *r, const struct roster_vm *vm, const struct act *act,
	   struct quire_error *err);

/*
 * Have the VM's machine do ACT_KILL, where this process may send no signals.  As act_on(), and
 * -EPERM: nor may the machine.
 */
int act_kill_by_machine(const struct roster *r, const struct roster_vm *vm,
			struct quire_error *err);

/* Has the VM a balloon?  0; -ETIMEDOUT: it does not answer; -EOPNOTSUPP: it has none. */
int act_check_balloon(const struct roster_vm *vm, struct quire_error *err);

/* Connect to the VM's machine.  0; -ENOTCONN; or as machine_client_connect(). */
int act_reach_machine(const struct roster *r, const struct roster_vm *vm,
		      struct machine_client **machine, struct quire_error *err);

/*
 * Set the target of a VM's balloon through its machine.  A VM tells the machine of its balloon as
 * soon as it runs, so this waits a moment for a new VM.  As act_on(); *state may be NULL.
 */
int act_set_balloon(struct machine_client *machine, const struct roster_vm *vm,
		    const struct machine_balloon_target *target,
		    struct machine_balloon_state *state, struct quire_error *err);

#endif
