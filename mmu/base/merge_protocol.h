/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_MERGE_PROTOCOL_H
#define QUIRE_MMU_BASE_MERGE_PROTOCOL_H

/*
 * What a VM's keeper and the machine say to each other about equal pages.  This header is the
 * manual of that; machine_protocol.h has the rest.
 *
 * Transport.  Merging has a connection of its own, so that it never delays credits: a unix
 * SOCK_SEQPACKET pair.  The machine makes it when the VM asks (MACHINE_JOIN on its channel), once
 * in the VM's life with that machine.  So a VM makes no socket itself, and no thread of it has to
 * be allowed to.  Each packet is exactly one struct merge_msg, with a descriptor where the table
 * says so.  The VM asks and the machine answers in order; the machine never speaks first.
 *
 *   VM                              machine
 *   SECRET                    -->                    asks for the secret under which the domain
 *                                                    hashes pages
 *                             <--   SECRET
 *   LOOKUP (nr hashes, gfns)  -->                    looks pages up, as below
 *                             <--   FRAMES           one entry for each page, in the same order
 *   NEWS                      -->                    asks for pages of this VM that have found a
 *                                                    partner since they were looked up, and of
 *                                                    its frames that were archived
 *                             <--   FRAMES           these, as many as fit; `arg` says how many
 *                                                    wait, and has MERGE_SHORT
 *   COLD (nr frames)          -->                    tells that its guest uses these frames no
 *                                                    more, in ascending order, at most
 *                                                    MERGE_COLD_MOST; has no answer
 *   DROP (nr frames)          -->                    gives references back; has no answer
 *   PASS (pass)               -->                    tells what merging has come to, after a pass
 *                                                    over RAM that changed it; has no answer
 *   SEGMENT (arg: which)      -->                    asks for the memory of a segment
 *                             <--   SEGMENT + descriptor
 *                             or    FRAMES           with nr 0: there is no such segment
 *
 * Hashes.  A page's hash is page_hash() of its bytes under the domain's secret (hash.h).  The
 * machine draws it at random when the domain begins, so a VM asks again after each JOIN.  A VM
 * process has to know it.  Its guest has no way to see it, and so cannot make a page with the hash
 * of another.
 *
 * Frames.  The store of a domain is a list of *segments*: sparse files of MERGE_SEGMENT_FRAMES
 * frames each, which only the machine can write.  A VM gets a descriptor that can only read, and of
 * which it can see that (mmu/memory/store_view.h).  A *frame number* is segment *
 * MERGE_SEGMENT_FRAMES + index, and is less than MERGE_MAX_FRAMES.  The bytes of a frame never
 * change while anybody holds a reference to it.  A VM reads no frame to which it has no reference:
 * that would bring a page in, and it may be killed for it.
 *
 * LOOKUP.  The machine looks for each page by its hash, and does the first of these that it can:
 *
 *   1. There is a *stable* frame with this hash: the VM gets one reference to it.
 *   2. There is a *hint*: another page of the domain, of this VM or another, whose last lookup was
 *      with this hash.  The machine reads both pages from their RAM files.  If they are equal it
 *      makes a new frame of them.  The asker gets a reference to the frame, and so does the hint's
 *      VM, which learns of it by NEWS.  If not, the asker's page becomes the hint instead.
 *   3. The entry has MERGE_PUBLISH: the machine makes a frame of the asker's page, as in 2.
 *   4. Otherwise the page becomes a hint, and the answer is MERGE_UNIQUE.
 *
 * Before 1, 2 and 3 the machine reads the asker's page and computes its hash.  If that is another
 * than the entry's, the answer is MERGE_UNIQUE, as if there were nothing.  So a VM learns of a page
 * only if it has the page, and a frame always has the hash by which it is found.
 *
 * Where the gfns of entries follow each other, their frames do so too where possible.  Equal pages
 * in one packet are each answered with their frame, and there is no NEWS of them.
 *
 * If fewer than `arg` entries of a LOOKUP would be answered with a frame, none of them is: they are
 * answered with MERGE_FEW.  Hints are made all the same.  With arg 0 or 1 there is no such limit.
 *
 * Archives.  When memory is short, NEWS say so (MERGE_SHORT), and each VM tells which of its frames
 * its guest has not touched for a while.  A frame is *cold* when all who hold references have said
 * so, each since it got its last reference.  The machine packs cold frames, two or more that the
 * same VMs hold, into a frame that nobody looks up: an *archive* (mmu/pool/archive.h).  NEWS tell
 * each holder where its frame is packed, and bring as many references to the archive as it has to
 * the frame.  The VM compares the bytes, makes pages archived as far as it likes, and drops what it
 * does not need of both: the frame goes when the last has dropped it.  A VM whose guest touches an
 * archived page unpacks it.  A frame that packs badly stays: to call it cold changes nothing.
 *
 * Trust.  A VM may count on it that a frame does not change while the VM holds a reference.  It may
 * not count on it that the frame has the bytes of its page: it compares them itself, when its page
 * can no longer change.  If they differ it gives the frame back.  The machine compares a frame that
 * was given back with the next page that has its hash.  If these differ, which takes two pages with
 * one hash, the hash leads to the frame no longer.
 *
 * Misses.  A page whose hash is new and that has no partner is a *miss*, and so is one that does
 * not have its hash.  A VM may miss as often in a second as it promised pages of RAM, at least
 * MERGE_BATCH times, and save up for four seconds.  Beyond that a whole LOOKUP is answered with
 * MERGE_LATER, and nothing is looked up.  A keeper asks once for a page that has rested a second.
 *
 * References.  Each frame in an answer is one reference, or in NEWS of an archive so many as it
 * says, which the VM gives back by one DROP.  When a VM ends, all that it held is given back.  A VM
 * that drops more than it holds, or says anything that is not in the table, breaks the rules and is
 * killed.
 *
 * Limits.  A VM has at most as many hints as its RAM file has pages, and as it promised: a page
 * beyond that does not become a hint, and none does while the machine has no memory for it.  At
 * most as many NEWS wait as it promised pages: news beyond are not kept, and the next LOOKUP of
 * such a page finds the frame.  A VM holds at most MERGE_BATCH more references than it promised
 * pages: a page beyond that is answered with MERGE_NO_MEMORY.  What all this costs is charged to
 * the VM.
 */
#include <quire/types.h>
#include "hash.h"

#define MERGE_MAGIC	0x4d4d4851u	  /* "QHMM" */
#define MERGE_BATCH	QUIRE_BLOCK_PAGES /* entries in a packet, at most */
#define MERGE_COLD_MOST 64u		  /* ... of COLD: to pack a page takes ten microseconds */

#define MERGE_SEGMENT_SHIFT  18
#define MERGE_SEGMENT_FRAMES (1u << MERGE_SEGMENT_SHIFT) /* 1 GiB */
#define MERGE_MAX_SEGMENTS   64u
#define MERGE_MAX_FRAMES     (MERGE_SEGMENT_FRAMES * MERGE_MAX_SEGMENTS)

enum merge_type {
	MERGE_LOOKUP = 1,
	MERGE_NEWS,
	MERGE_DROP,
	MERGE_SEGMENT, /* also the answer */
	MERGE_SECRET,  /* also the answer */
	MERGE_PASS,
	MERGE_COLD,
	MERGE_FRAMES = 32,
};

/* In the place of a frame number: why a page has no frame. */
enum merge_none {
	MERGE_UNIQUE = 0xfffffff0u, /* nobody in the domain has the same; the page is a hint now */
	MERGE_FEW,		    /* fewer than `arg` entries have one; see LOOKUP */
	MERGE_NO_MEMORY,	    /* it has a partner, but there is no memory for a frame */
	MERGE_LATER,		    /* it was not looked up: the VM has missed too often */
};
#define MERGE_IS_FRAME(frame) ((frame) < MERGE_MAX_FRAMES)

/* A bit in the gfn of a LOOKUP: make a frame of the page even if it has no partner. */
#define MERGE_PUBLISH (1ULL << 63)

/* A bit in `arg` of the answer to NEWS: memory is short, so COLD is welcome. */
#define MERGE_SHORT (1u << 31)

/* A bit in the gfn of NEWS: the entry is about a frame that was archived (MERGE_ARCHIVED_*). */
#define MERGE_ARCHIVED (1ULL << 63)

struct merge_lookup {
	uint64_t hash;
	uint64_t gfn; /* offset in the VM's RAM file >> 12; ascending in a packet */
};

struct merge_frame {
	uint64_t gfn;
	uint32_t frame;	     /* its number, or an enum merge_none; or the archive's */
	uint32_t references; /* of an archive, 1 or more; else 0 */
};

/* Such an entry's gfn: the frame that was archived, and at which byte of the archive it begins. */
static inline uint64_t merge_archived(uint32_t frame, unsigned int at)
{
	return MERGE_ARCHIVED | (uint64_t)frame << QUIRE_PAGE_SHIFT | at;
}

static inline uint32_t merge_archived_frame(uint64_t gfn)
{
	return (uint32_t)((gfn & ~MERGE_ARCHIVED) >> QUIRE_PAGE_SHIFT);
}

static inline unsigned int merge_archived_at(uint64_t gfn)
{
	return (unsigned int)(gfn % QUIRE_PAGE_SIZE);
}

/* PASS: counters of the VM's keeper, by the names of quire.stats/1. */
struct merge_pass {
	uint64_t full_scans, merged_pages, zeroed_pages, pages_scanned, pages_skipped;
};

struct merge_msg {
	uint32_t magic;
	uint16_t version; /* MACHINE_VERSION */
	uint16_t type;	  /* enum merge_type */
	uint32_t nr;	  /* entries, at most MERGE_BATCH */
	uint32_t arg;	  /* LOOKUP: the fewest frames; SEGMENT: which; FRAMES: news that wait */
	union {
		struct merge_lookup lookup[MERGE_BATCH];
		struct merge_frame frame[MERGE_BATCH];
		uint32_t drop[MERGE_BATCH];
		uint32_t cold[MERGE_BATCH];
		struct hash_secret secret;
		struct merge_pass pass;
	};
};

_Static_assert(sizeof(struct merge_msg) == 16 + 16 * MERGE_BATCH, "a packet has one size");

#endif
