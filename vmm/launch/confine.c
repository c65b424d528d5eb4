/* SPDX-License-Identifier: MIT */
/*
 * A machine talks to VMs that their guests may have taken over.  If one of them takes it over too,
 * then it has the memory of all: that cannot be helped here.  But it shall have nothing else of the
 * host, above all if it is root's.
 *
 * It keeps one capability: it has to end VMs, which may run as other users.
 */
#include <linux/capability.h>
#include <sys/prctl.h>
#include "confine.h"
#include "mmu/machine/server.h"
#include "vmm/vm/sandbox.h"
#include "vmm/vm/sandbox_places.h"

void confine_machine(const struct machine *m)
{
	struct place place[MACHINE_MAX_PLACES];
	unsigned int nr = machine_places(m, place);

	/* Landlock asks for it. */
	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	(void)sandbox_places(place, nr);
	sandbox_helper(SANDBOX_MACHINE, 1u << CAP_KILL);
}
