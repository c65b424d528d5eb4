/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_STORE_STORE_H
#define QUIRE_MMU_MACHINE_STORE_STORE_H

/*
 * The store of one domain: frames that many VMs map, and that only the machine writes.
 *
 * Segments.  A segment is a memfd of MERGE_SEGMENT_FRAMES frames, sparse: a frame that is not in
 * use occupies nothing.  Segments are made when the others have no run long enough, at most
 * MERGE_MAX_SEGMENTS, and kept until the domain ends.
 *
 * Who can write.  The size is sealed, and the seals are; F_SEAL_FUTURE_WRITE is not among them,
 * because the kernel refuses to punch holes into a file that has it (shmem_fallocate: EPERM), and
 * freed frames could never go back.  Instead a VM gets a descriptor that was opened anew,
 * read-only: it can be neither written nor mapped writable, nor made so by mprotect.  The file's
 * mode is 0400, which leaves our own descriptor, opened before, as it is.  (A process of our own
 * user that may open /proc could give itself another mode.  A VM in its sandbox cannot open
 * anything.)
 *
 * A frame is free, then *reserved* (one of a run that was asked for together), then *in use* from
 * store_write() on, until its last reference is put and store_free() punches it out.  A buddy
 * allocator per segment (buddy.h) keeps runs together: equal pages that follow each other in a
 * guest are one mapping if their frames do too.
 *
 * Costs: 12 bytes a frame (references, hash) for all frames up to the highest ever used, and
 * 70 KiB of bitmaps a segment.
 */
#include "buddy.h"

struct store_segment {
	int fd;
	uint32_t used;	  /* frames in use */
	uint32_t touched; /* highest frame ever in use, plus 1 */
	uint32_t *refs;	  /* of each frame in use: of all members together */
	uint64_t *hash;
	struct buddy *buddy; /* what is neither in use nor reserved */
};

struct store {
	struct store_segment segment[MERGE_MAX_SEGMENTS];
	unsigned int nr_segments, max_segments;
	uint64_t used_frames;
	uint64_t references;
	bool outlived; /* by VMs that map it: nothing is punched out any more */
};

static inline uint32_t frame_index(uint32_t frame)
{
	return frame % MERGE_SEGMENT_FRAMES;
}

static inline unsigned int frame_segment(uint32_t frame)
{
	return frame >> MERGE_SEGMENT_SHIFT;
}

void store_init(struct store *s, unsigned int max_segments);
void store_finish(struct store *s);

/*
 * Reserve a run of n frames, 1 to MERGE_BATCH, or the longest that can be had.  Returns how
 * many, from *frame on; 0: the store is full, or the host has no memory for another segment.
 */
uint32_t store_reserve(struct store *s, uint32_t n, uint32_t *frame);

/* Frames [frame, frame + n), reserved and not in use, are free. */
void store_unreserve(struct store *s, uint32_t frame, uint32_t n);

/*
 * Fill n reserved frames.  They are in use then, without a reference.  0, or -errno if the host
 * has no memory: they are still reserved and empty.
 */
int store_write(struct store *s, uint32_t frame, uint32_t n, const void *bytes);

/* Is this frame in use, with references?  Any number will do. */
bool store_has(const struct store *s, uint32_t frame);

/* The hash by which the index knows a frame. */
uint64_t *store_hash(struct store *s, uint32_t frame);

/* One reference more.  False: it has all that can be counted. */
bool store_get(struct store *s, uint32_t frame);

/* n references fewer.  True: those were the last, the frame is to be freed. */
bool store_put(struct store *s, uint32_t frame, uint32_t n);

/*
 * Frames [frame, frame + n) of one segment, in use without references: free, their memory too
 * (but if the store is outlived).
 */
void store_free(struct store *s, uint32_t frame, uint32_t n);

/* A descriptor of a segment that can only read, the caller's.  -ENOENT: no such segment. */
int store_open(const struct store *s, unsigned int segment);

/* What the kernel says the segments occupy. */
uint64_t store_resident_frames(const struct store *s);

/* What the store itself occupies besides. */
uint64_t store_metadata_bytes(const struct store *s);

#endif
