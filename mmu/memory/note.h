/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_NOTE_H
#define QUIRE_MMU_MEMORY_NOTE_H

/*
 * The note: a byte beside each page of RAM that says what merging knows of it.
 *
 *   bits 2:0   why the page is private and not shared (enum note_reason)
 *   bits 6:3   how often it was un-shared soon after it was shared, at most NOTE_MAX_BACKOFF; if it
 *              came home with a group (away.c), at least NOTE_GROUP_BACKOFF
 *   bit 7      NOTE_RESTED
 *
 * Memory writes it where a page is refused or un-shared; the keeper (mmu/merge) writes the rest and
 * reads it to choose what to look at.  All under LOCK_GMEM.
 */
#include <stdint.h>

/* Why a private page is not shared.  Each private page has exactly one reason. */
enum note_reason {
	NOTE_NEW,	  /* not looked at yet, or not since it was written */
	NOTE_UNIQUE,	  /* nobody in the domain has the same bytes */
	NOTE_VOLATILE,	  /* written in the last epoch in which it was watched */
	NOTE_BACKING_OFF, /* was shared, and written soon after */
	NOTE_PAGE_TABLE,  /* a page table of the guest: the processor writes it */
	NOTE_KEPT_HUGE,	  /* part of a 2 MiB leaf that is worth more whole */
	NOTE_BUDGET,	  /* no mapping (vm.max_map_count) or no frame was left for it */
	NOTE_NR_REASONS
};
extern const char *const note_reason_name[NOTE_NR_REASONS]; /* as in statistics */

#define NOTE_REASON_MASK   0x07u
#define NOTE_BACKOFF_SHIFT 3
#define NOTE_BACKOFF_MASK  0x78u
#define NOTE_MAX_BACKOFF   8u
#define NOTE_GROUP_BACKOFF 3u
#define NOTE_RESTED	   0x80u /* was away at its turn (scan.c), and has not been broken since */

static inline unsigned int note_reason(uint8_t note)
{
	return note & NOTE_REASON_MASK;
}

static inline unsigned int note_backoff(uint8_t note)
{
	return (note & NOTE_BACKOFF_MASK) >> NOTE_BACKOFF_SHIFT;
}

static inline uint8_t note_with(uint8_t note, unsigned int reason)
{
	return (uint8_t)((note & ~NOTE_REASON_MASK) | reason);
}

/* The note of a page that was shared and came home, because it or one of its group was written. */
static inline uint8_t note_broken(uint8_t note, unsigned int least)
{
	unsigned int backoff = note_backoff(note);

	backoff = backoff < NOTE_MAX_BACKOFF ? backoff + 1 : backoff;
	backoff = backoff < least ? least : backoff;
	return (uint8_t)(backoff << NOTE_BACKOFF_SHIFT | NOTE_BACKING_OFF);
}

#endif
