/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_SANDBOX_UID_H
#define QUIRE_VMM_VM_SANDBOX_UID_H

#include <stdbool.h>

/*
 * Take the uid and gid that a VM of this process's pid has (mmu/base/vm_uid.h), and keep all
 * capabilities.  The process is root's and has one thread.  False: not permitted, and the process
 * may have lost its groups.
 */
bool sandbox_uid_take(void);

#endif
