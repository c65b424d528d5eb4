/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_VM_UID_H
#define QUIRE_MMU_BASE_VM_UID_H

/*
 * The uids of VMs that root starts: VM_UID_FIRST + the pid of the VM's process, and the same number
 * for a gid.  Two VMs never have the same uid at the same time, and there is nothing to hand out.
 * The range is one that systemd's list of uids (UIDS-GIDS) has as unused, from 0x70000000 on, and
 * has room for the largest pid.  /etc/subuid and containers stay below it.
 */
#include <stdbool.h>
#include <sys/types.h>

#define VM_UID_FIRST 0x70000000u
#define VM_UID_COUNT 0x00400000u /* PID_MAX_LIMIT */

static inline bool is_vm_uid(uid_t uid)
{
	return uid >= VM_UID_FIRST && uid - VM_UID_FIRST < VM_UID_COUNT;
}

/* Who started a process of this uid: only root can start one with a uid of the range. */
static inline uid_t uid_owner(uid_t uid)
{
	return is_vm_uid(uid) ? 0 : uid;
}

#endif
