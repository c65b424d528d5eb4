/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_STORY_H
#define QUIRE_MMU_MEMORY_STORY_H

/* One page's story: all that guest memory knows of it, as of one moment. */
#include "gmem.h"

/* The copy of a page in the swap file: a page that came back may still have one. */
struct gmem_copy {
	uint64_t offset; /* in the file */
	uint32_t bytes;	 /* 0: there is none */
};

struct gmem_story {
	uint64_t gfn;
	uint64_t maddr;		 /* mapped: of its frame */
	uint64_t gone_s;	 /* compressed or swapped: for so many seconds */
	uint64_t back_s;	 /* else, if it ever was: it came back so long ago */
	struct gmem_frame frame; /* shared: which one */
	struct pool_place place; /* compressed: where in the pool */
	struct gmem_copy copy;	 /* private or swapped */
	uint8_t state;		 /* enum page_state */
	uint8_t level;		 /* 2: part of a 2 MiB leaf, else 1 */
	uint8_t mapped;
	uint8_t held;	  /* a device or a processor of ours keeps it at home (gmem_hold) */
	uint8_t waits;	  /* an access to it waits now, for a credit or the swap file */
	uint8_t note;	  /* note.h */
	uint8_t refusals; /* private: so often in a row it did not compress; at most 5 */
	uint8_t returns;  /* so often it came back from the pool or the disk; at most 255 */
	uint8_t watched;  /* bit w: enum gmem_watcher w watches touches ... */
	uint8_t touched;  /* ... and the guest has touched this page since it last looked */
};

/* 0; -EFAULT: gfn is not RAM. */
int gmem_story(struct gmem *gm, gfn_t gfn, struct gmem_story *out);

#endif
