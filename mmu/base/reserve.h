/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_RESERVE_H
#define QUIRE_MMU_BASE_RESERVE_H

/*
 * Large arrays that are mostly never touched: address space is taken at once, memory page by
 * page as it is written.  All zeroes at first.
 */
#include <stddef.h>
#include <sys/mman.h>

/* NULL: no address space. */
static inline void *table_map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* NULL is fine. */
static inline void table_unmap(void *p, size_t bytes)
{
	if (p)
		munmap(p, bytes);
}

#endif
