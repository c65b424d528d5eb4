/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_MEMORY_SHARE_LAB_H
#define QUIRE_TESTS_MEMORY_SHARE_LAB_H

/*
 * A small guest memory and a machine, played by the test: it owns a segment of frames, counts the
 * references that come back, and the credits.
 */
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include "mmu/merge/keeper_internal.h"
#include "mmu/memory/archived.h"
#include "mmu/memory/ramfile.h"
#include "tests/memory/blocks.h"
#include "tests/memory/guest.h"
#include "tests/tap.h"

#define NR_BLOCKS 4
#define NR_PAGES  (NR_BLOCKS * QUIRE_BLOCK_PAGES - 100)
#define CONTENTS  200u /* content 0 is all zeroes; frame c has content c */

/* The guest memory under test. */
extern struct gmem *gm;

/* State of the random numbers. */
extern uint64_t rng;

/* The frames of the segment, by content. */
extern uint8_t *frames;

/* References that the guest memory holds, by frame. */
extern uint64_t references[CONTENTS * 3];

/* Where a content below CONTENTS is archived: in a frame of its own, behind another page. */
struct archived_place archive_of(unsigned int content);

/* The bytes of a content. */
void fill_page(uint64_t *page, uint64_t content);

/* Creates the segment: frame c has content c; and makes that so again. */
void make_segment(void);
void fill_frames(void);

/* The frame with this content, with a reference more. */
pfn_t frame_of(unsigned int content);

/* Takes what the guest memory has dropped off its references. */
void take_back(void);

/* Where the window has the page. */
uint8_t *hva(gfn_t gfn);

/* Prints what an audit found. */
void describe(void *ctx, const char *what);

/* Credits that the guest memory has, and may have at most; and so many more that it may have. */
extern atomic_long taken, most_taken;
void give_credits(long pages);
extern const struct gmem_credits counted_credits;

/* References == entries that name the frame. */
bool references_agree(void);

/*
 * The kernel's count of the mappings of the window; whether ours is the same; and how many there
 * are where the window has so many: shadow tables do with one.
 */
uint64_t kernel_mappings(void);
uint64_t mappings_of(uint64_t window);
bool mappings_agree(void);

/* Creates the guest memory; NR_PAGES of RAM, all else as in config. */
void create_with(struct gmem_config config);

/* If this is not 0, create() makes guest memory in this file (gmem_config.ram_fd). */
extern int ram_file;

/* The same, with credits that are counted and never short. */
void create(enum gmem_hugepages hugepages);

/* Destroys it; asserts that every credit and reference has come back. */
void destroy(void);

/* Counts accesses to the window that fail: there must be none, as a vCPU's would fail too. */
extern atomic_ulong refused;
void count_refusals(void);

/* How many there were.  The guest memory is destroyed: a signal ends the test again. */
unsigned long end_refusals(void);

#define WRITERS 3

extern uint64_t writer_seed; /* from rng, before there are writers */

/*
 * What the guest does to memory in the window.  ThreadSanitizer takes a new mapping for a write to
 * all of it, which would race with every such access, so it does not watch these two.
 */
#define GUEST __attribute__((no_sanitize("thread"), noinline))
uint64_t look_at(const volatile uint64_t *word);
void put_into(volatile uint64_t *word, uint64_t value);

/* Frames 0.. hold all pages that they can make. */
unsigned int frame_for(const uint64_t *page);

/* Fills the frames that frame_for() speaks of. */
void make_race_frames(void);

#endif
