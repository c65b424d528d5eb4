/* SPDX-License-Identifier: MIT */
/*
 * The uid of a VM that root starts.
 *
 * A change from root to another uid has side effects, all of which are undone here: the effective
 * capabilities go, which the rest of the set-up needs; the process is no longer dumpable, and then
 * may not write the map of its user namespace; and the kernel forgets that the process is to die
 * with its parent.  A parent that dies in this moment shows as another parent.
 */
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <quire/abi.h>
#include "mmu/base/vm_uid.h"
#include "sandbox_uid.h"

static bool get_capabilities_back(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct set[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, set))
		return false;
	for (unsigned int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
		set[i].effective = set[i].permitted;
	return !syscall(SYS_capset, &header, set);
}

static bool become(uid_t id)
{
	return !prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) && !setgroups(0, NULL) &&
	       !setresgid(id, id, id) && !setresuid(id, id, id);
}

bool sandbox_uid_take(void)
{
	pid_t parent = getppid();
	int deathsig = 0;
	bool taken;

	(void)prctl(PR_GET_PDEATHSIG, &deathsig, 0, 0, 0);
	taken = become(VM_UID_FIRST + (uid_t)getpid()) && get_capabilities_back() &&
		!prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	(void)prctl(PR_SET_PDEATHSIG, deathsig, 0, 0, 0);
	if (deathsig && getppid() != parent)
		_exit(QUIRE_STATUS_HOST);
	return taken;
}
