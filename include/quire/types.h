/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TYPES_H
#define QUIRE_TYPES_H

/*
 * The kinds of address, as the field names them (docs/glossary.md).
 *
 *   gva   guest virtual address: what an instruction in the guest names
 *   gpa   guest physical address: what the guest's own tables (stage 1) yield
 *   gfn   guest frame number: gpa >> 12
 *   maddr machine address: what our tables (stage 2) yield.  The machine frames of a
 *         VM are the pages of its RAM file, and a private page of gfn g is at offset
 *         g << 12 of it, so for private pages maddr == gpa; above them are those of the
 *         store, and the page of zeroes (mmu/memory/stage2.h).
 *   pfn   machine frame number: maddr >> 12
 *   hva   host virtual address
 *
 * Ranges are half-open: [start, end).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t gva_t;
typedef uint64_t gpa_t;
typedef uint64_t gfn_t;
typedef uint64_t pfn_t;
typedef uint64_t maddr_t;

#define QUIRE_PAGE_SHIFT  12
#define QUIRE_PAGE_SIZE	  4096UL
#define QUIRE_BLOCK_SHIFT 21 /* a block is what a level-2 leaf maps */
#define QUIRE_BLOCK_SIZE  (1UL << QUIRE_BLOCK_SHIFT)
#define QUIRE_BLOCK_PAGES 512UL

#define KiB 1024UL
#define MiB (1024UL * KiB)
#define GiB (1024UL * MiB)

#define GPA_INVALID UINT64_MAX

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* A half-open range of guest frames. */
struct gfn_range {
	gfn_t start, end;
};

static inline gfn_t gpa_to_gfn(gpa_t gpa)
{
	return gpa >> QUIRE_PAGE_SHIFT;
}

static inline gpa_t gfn_to_gpa(gfn_t gfn)
{
	return gfn << QUIRE_PAGE_SHIFT;
}

static inline uint64_t align_down(uint64_t x, uint64_t size)
{
	return x & ~(size - 1);
}

/* The caller has excluded overflow. */
static inline uint64_t align_up(uint64_t x, uint64_t size)
{
	return (x + size - 1) & ~(size - 1);
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

#endif
