/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_RAMFILE_H
#define QUIRE_MMU_MEMORY_RAMFILE_H

/*
 * The file behind a VM's RAM: unnamed, sparse, on tmpfs.  It goes with its last descriptor.
 *
 * Whether tmpfs gives 2 MiB pages is a property of the mount.  A memfd lives on the kernel's own
 * mount, which obeys /sys/kernel/mm/transparent_hugepage/shmem_enabled.  That is "never" on many
 * hosts, and "always" on some, where one page that is written brings 512.  So we first try a tmpfs
 * of our own, with huge=advise or never, and an O_TMPFILE in it.  The mount is attached nowhere
 * (fsopen, fsmount; this needs CAP_SYS_ADMIN), and goes with the descriptor too.  Otherwise the
 * file is a memfd, and pages are brought in through an exact mapping (mmu/base/exact.h).
 */
#include <quire/error.h>
#include <quire/types.h>

/*
 * Create a file of `length` bytes, a multiple of 2 MiB, that is all holes.  On a tmpfs of our own
 * it never has more pages than for `bytes` bytes, and a memfd is sealed against growth.  `huge`: 2
 * MiB pages are wanted.  *exact: it is on a tmpfs of our own, where write() brings in the pages
 * that it covers, and no others.  Returns a descriptor, or -errno with the reason in *err (may be
 * NULL).
 */
int ramfile_create(uint64_t bytes, uint64_t length, bool huge, bool *exact,
		   struct quire_error *err);

/*
 * Free [offset, offset + bytes), whole pages, and zero what cannot be freed.  0; -EAGAIN: part of
 * the range is zero now but still has pages, because the kernel could not split a huge page that
 * something else holds for a moment; or the host's -errno.
 */
int ramfile_punch(int fd, uint64_t offset, uint64_t bytes);

/* The first offset in [offset, end) that has a page, or end. */
uint64_t ramfile_next_data(int fd, uint64_t offset, uint64_t end);

/* How many pages the file occupies, by the kernel's own count. */
uint64_t ramfile_pages(int fd);

#endif
