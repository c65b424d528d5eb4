/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_UFFD_H
#define QUIRE_MMU_MEMORY_UFFD_H

#include <quire/error.h>

/*
 * A userfaultfd for the window: it answers faults that KVM takes for a guest, of shared memory that
 * is missing or write-protected.  Returns a descriptor, or -errno with the reason in *err (may be
 * NULL): -EPERM without the privilege, -ENOSYS if the kernel cannot.
 */
int uffd_open(struct quire_error *err);

#endif
