/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_EXACT_H
#define QUIRE_MMU_BASE_EXACT_H

/*
 * Exact mappings: pages come into a file on tmpfs as they are told, and no others.
 *
 * A file system may allocate huge pages by itself: a tmpfs that is mounted huge=always or
 * within_size, and every memfd of a host whose shmem_enabled says so.  There write() and
 * fallocate() of one page bring 512 pages in, and so does a touch of a mapping.  The advice against
 * it, MADV_NOHUGEPAGE, does not reach the first two.
 *
 * An exact mapping is registered with a userfaultfd of its own, whose calls allocate single pages
 * whatever the file system does.  To touch a hole through it is an error of ours and ends in
 * SIGBUS.  As long as it is there, khugepaged does not fill holes of the file either.  But while it
 * tries, it charges the file for them, unless MADV_NOHUGEPAGE keeps it away.
 */
#include <stdint.h>

/* A descriptor for exact mappings, which needs no privilege.  Or -errno. */
int exact_open(void);

/*
 * Make [at, at + bytes), a shared mapping of a file on tmpfs, exact, until it is unmapped or the
 * descriptor is closed.  0 or -errno.
 */
int exact_map(int exact, void *at, uint64_t bytes);

/*
 * Bring pages with these bytes in at [to, to + bytes) of an exact mapping, where the file has
 * holes, and map them there.  0; -errno: the host has no memory, and pages of a prefix came in.
 */
int exact_copy(int exact, void *to, const void *from, uint64_t bytes);

#endif
