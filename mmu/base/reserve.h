/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_RESERVE_H
#define QUIRE_MMU_BASE_RESERVE_H

/*
 * Large arrays that are mostly never touched.  Address space is taken at once; the kernel gives
 * memory page by page as the array is written.  All bytes are zero at first.
 */
#include <stddef.h>
#include <sys/mman.h>

/* NULL: no address space. */
static inline void *reserve(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* Give back all of what reserve(bytes) returned.  NULL is fine. */
static inline void unreserve(void *p, size_t bytes)
{
	if (p)
		munmap(p, bytes);
}

#endif
