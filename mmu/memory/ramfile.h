/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_RAMFILE_H
#define QUIRE_MMU_MEMORY_RAMFILE_H

/*
 * The file behind a VM's RAM: unnamed, on tmpfs, sparse, gone with its last descriptor.
 *
 * Whether tmpfs gives 2 MiB pages is a property of the mount.  A memfd lives on the kernel's
 * internal mount, which obeys /sys/kernel/mm/transparent_hugepage/shmem_enabled, and that is
 * "never" on many hosts.  So when huge pages are wanted we first try a tmpfs of our own, with
 * huge=advise, attached nowhere (fsopen, fsmount; needs CAP_SYS_ADMIN), and an O_TMPFILE in
 * it; it too vanishes with the descriptor.  Otherwise a memfd.
 */
#include <quire/error.h>
#include <quire/types.h>

/*
 * Create a file of `bytes` bytes (a multiple of 2 MiB), all holes.  Returns a descriptor, or
 * -errno with *err.
 */
int ramfile_create(uint64_t bytes, bool huge, struct quire_error *err);

/*
 * Free [offset, offset + bytes), a page multiple, and zero what cannot be freed.  Returns 0;
 * -EAGAIN: part of the range is zero now but still has pages, because the kernel could not
 * split a huge page that something else holds for a moment; other -errno: host failure.
 */
int ramfile_punch(int fd, uint64_t offset, uint64_t bytes);

/* First offset in [offset, end) that has a page, or end. */
uint64_t ramfile_next_data(int fd, uint64_t offset, uint64_t end);

/* Pages the file occupies, by the kernel's own count. */
uint64_t ramfile_pages(int fd);

#endif
