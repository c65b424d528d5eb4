/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_MERGE_PROTOCOL_H
#define QUIRE_MMU_BASE_MERGE_PROTOCOL_H

/*
 * What a VM's keeper and the machine say to each other about equal pages.  This header is the
 * manual; machine_protocol.h has the rest.
 *
 * Transport: a connection of its own, so that merging never delays credits: a unix SOCK_SEQPACKET
 * pair that the VM makes, one end of which it gives to the machine (MACHINE_JOIN on its channel).
 * Each packet is exactly one struct merge_msg, with a descriptor where the table says so.  The
 * VM asks and the machine answers, in order; the machine never speaks first.  There is one
 * connection in a VM's life with a machine: a second JOIN breaks the rules.
 *
 *   VM                              machine
 *   LOOKUP (nr hashes, gfns)  -->
 *                             <--   FRAMES             one entry for each, in the same order
 *   NEWS                      -->
 *                             <--   FRAMES             pages of this VM for which a LOOKUP, of
 *                                                      another VM or a later one of its own, has
 *                                                      found a partner since
 *   DROP (nr frames)          -->                      references given back; no answer
 *   SEGMENT (arg: which)      -->
 *                             <--   SEGMENT + descriptor, or FRAMES with nr 0 if there is none
 *
 * The store of a domain is a list of *segments*, memfds of MERGE_SEGMENT_FRAMES frames that only
 * the machine can write; a VM gets a descriptor that can only read.  A *frame number* is
 * segment * MERGE_SEGMENT_FRAMES + index, at most MERGE_MAX_FRAMES.  A frame's bytes never change
 * while anybody holds a reference to it.
 *
 * LOOKUP.  For each entry the machine looks for a *stable* frame with this hash, else for a *hint*:
 * another page, of this VM or another of its domain, that was looked up with this hash and not
 * again with another.  Nothing found: the page becomes a hint, and the answer is
 * MERGE_UNIQUE.  A frame found: the VM gets one reference to it.  A hint found: the machine reads
 * the page from the VM's RAM file, and these bytes are a new frame, to which the VM gets a
 * reference, and so does the hint's VM, which learns of it by NEWS.  An entry with MERGE_PUBLISH
 * needs no partner.
 * Frames for entries whose gfns follow each other are contiguous where possible.  Equal pages in
 * one packet are each answered with their frame, without NEWS.
 *
 * If fewer than `arg` entries of a LOOKUP would be answered with a frame, none is: they are
 * MERGE_FEW, and hints are made all the same.  (arg 0 or 1: no such limit.)
 *
 * What a VM may count on: frames do not change under its references.  What it may not count on:
 * that a frame's bytes are those of its page.  It compares them itself, when its page can no longer
 * change.  So a wrong hash, by accident or by malice, costs time and nothing else.
 *
 * Each answered frame is one reference, to be given back by one DROP; a VM's end gives back all
 * that it held.  A DROP of more than it holds, or anything that is not in the table, breaks the
 * rules: the VM is killed.
 *
 * No more than: a VM has as many hints, and as many NEWS waiting, as it promised pages of RAM, and
 * holds references to MERGE_BATCH frames more.  A page beyond is no hint; a frame beyond is
 * MERGE_NO_MEMORY; news beyond are not kept (the frame is found by the next LOOKUP of that page).
 */
#include <quire/types.h>

#define MERGE_MAGIC 0x4d4d4851u	      /* "QHMM" */
#define MERGE_BATCH QUIRE_BLOCK_PAGES /* entries in a packet, at most */

#define MERGE_SEGMENT_SHIFT  18
#define MERGE_SEGMENT_FRAMES (1u << MERGE_SEGMENT_SHIFT) /* 1 GiB */
#define MERGE_MAX_SEGMENTS   64u
#define MERGE_MAX_FRAMES     (MERGE_SEGMENT_FRAMES * MERGE_MAX_SEGMENTS)

enum merge_type {
	MERGE_LOOKUP = 1,
	MERGE_NEWS,
	MERGE_DROP,
	MERGE_SEGMENT, /* also the answer */
	MERGE_FRAMES = 32,
};

/* A frame that is none: why. */
enum merge_none {
	MERGE_UNIQUE = 0xfffffff0u, /* nobody in the domain has the same; it is a hint now */
	MERGE_FEW,		    /* fewer than arg; it is a hint now, or has a partner */
	MERGE_NO_MEMORY,	    /* no frame to be had for it: budget, or the host */
};
#define MERGE_IS_FRAME(frame) ((frame) < MERGE_MAX_FRAMES)

/* In the gfn of a LOOKUP: make a frame of it even without a partner. */
#define MERGE_PUBLISH (1ULL << 63)

struct merge_lookup {
	uint64_t hash;
	uint64_t gfn; /* of the VM's RAM file: offset >> 12; ascending in a packet */
};

struct merge_frame {
	uint64_t gfn;
	uint32_t frame; /* or enum merge_none */
	uint32_t zero;
};

struct merge_msg {
	uint32_t magic;
	uint16_t version; /* MACHINE_VERSION */
	uint16_t type;	  /* enum merge_type */
	uint32_t nr;	  /* entries, at most MERGE_BATCH */
	uint32_t arg;	  /* LOOKUP: fewest worth it; SEGMENT: which; FRAMES: NEWS that wait */
	union {
		struct merge_lookup lookup[MERGE_BATCH];
		struct merge_frame frame[MERGE_BATCH];
		uint32_t drop[MERGE_BATCH];
	};
};

_Static_assert(sizeof(struct merge_msg) == 16 + 16 * MERGE_BATCH, "a record has one size");

#endif
