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

static void hold_setter(void)
{
	sandbox_helper(SANDBOX_SHELF, 0);
}

/* Where no Landlock says which files, the filter permits to make none. */
void confine_machine(struct machine *m)
{
	struct place place[MACHINE_MAX_PLACES];
	unsigned int nr;
	bool places;

	/* Landlock asks for it. */
	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	machine_start_setter(m, hold_setter);
	nr = machine_places(m, place);
	places = sandbox_places(place, nr);
	sandbox_helper(places ? SANDBOX_MACHINE : SANDBOX_MACHINE_BARE, 1u << CAP_KILL);
	machine_hold_setter(m, places);
}
