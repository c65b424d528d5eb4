/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_STORE_STORE_H
#define QUIRE_MMU_MACHINE_STORE_STORE_H

/*
 * The store of one domain: frames that many VMs map, and that only the machine writes.
 *
 * Segments.  A segment is a sparse file of MERGE_SEGMENT_FRAMES frames on the machine's shelf
 * (shelf.h, which says why only the machine can write it): a frame that is not in use occupies
 * nothing.  A segment is made when the others have no run that is long enough.  There are at most
 * MERGE_MAX_SEGMENTS, and each is kept until the domain ends.
 *
 * F_SEAL_FUTURE_WRITE would be no help: the kernel refuses to punch holes into a file that has it
 * (shmem_fallocate: EPERM), and freed frames could never go back.
 *
 * Who allocates.  Frames are brought in through an exact mapping, because the host may give memfds
 * huge pages, of which we would know one page.  A VM that reads a hole through a mapping brings a
 * page in, too: stray pages.  The shelf bounds them, and sweep.h takes them back.
 *
 * Frames.  A frame is free at first.  It is *reserved* as one of a run that was asked for
 * together.  From store_write() on it is *in use*, until its last reference is put and store_free()
 * punches it out.  Each segment has a buddy allocator (buddy.h) that keeps runs together: equal
 * pages that follow each other in a guest are one mapping if their frames follow each other too.
 *
 * Costs.  Each frame up to the highest ever used takes 12 bytes (references and hash) and two bits,
 * and each segment 70 KiB of bitmaps.
 */
#include "buddy.h"
#include "shelf.h"

struct store_segment {
	int fd;
	unsigned int name;   /* on the shelf */
	int exact;	     /* for `bytes` */
	uint8_t *bytes;	     /* the file, in an exact mapping (mmu/base/exact.h) */
	uint32_t entered;    /* so many frames are in our page tables since the last time, */
	uint32_t start, end; /* ... all of them in this range of indices */
	uint32_t used;	     /* frames in use */
	uint32_t touched;    /* index of the highest frame ever in use, plus 1 */
	uint32_t *refs;	     /* by index: references of all members together */
	uint64_t *hash;	     /* by index: the hash under which the index knows the frame */
	uint64_t *doubted;   /* a bit for each index (store_doubt) */
	uint64_t *rigid;     /* ... (store_set_rigid) */
	struct buddy *buddy; /* the frames that are neither in use nor reserved */
	uint32_t given;	     /* so many members have got a descriptor of it, ever */
	uint32_t swept;	     /* index at which the next sweep begins (sweep.h) */
	uint64_t stray;	     /* pages that were swept out of it, and nobody was told of yet */
};

struct store {
	TAILQ_ENTRY(store) on_shelf;
	struct shelf *shelf;
	struct store_segment segment[MERGE_MAX_SEGMENTS];
	unsigned int nr_segments, max_segments;
	uint64_t used_frames;
	uint64_t references;
	bool outlived; /* VMs that live on map it: nothing is punched out any more */
};

static inline uint32_t frame_index(uint32_t frame)
{
	return frame % MERGE_SEGMENT_FRAMES;
}

static inline unsigned int frame_segment(uint32_t frame)
{
	return frame >> MERGE_SEGMENT_SHIFT;
}

/* Begin without segments.  There will be at most max_segments, all of them on the shelf. */
void store_init(struct store *s, struct shelf *shelf, unsigned int max_segments);

/* Close and free all segments.  A zeroed store is fine. */
void store_finish(struct store *s);

/*
 * Reserve a run of n frames, 1 to MERGE_BATCH, or the longest run that can be had.  *frame becomes
 * the first.  Returns the length of the run; 0: the store is full, or the host has no memory for
 * another segment.
 */
uint32_t store_reserve(struct store *s, uint32_t n, uint32_t *frame);

/* Free frames [frame, frame + n), which are reserved and not in use. */
void store_unreserve(struct store *s, uint32_t frame, uint32_t n);

/*
 * Fill the n reserved frames from `frame` on with n pages of bytes.  Then they are in use, without
 * a reference.  Returns 0; -errno: the host has no memory, and the frames are still reserved and
 * empty.
 */
int store_write(struct store *s, uint32_t frame, uint32_t n, const void *bytes);

/* Copy a frame in use to `bytes`, a page. */
void store_read(const struct store *s, uint32_t frame, void *bytes);

/* A frame in use may have other bytes than a page with its hash; or not any more. */
void store_doubt(struct store *s, uint32_t frame, bool doubted);

/* Is that so?  Of a frame that has just been filled it is not. */
bool store_is_doubted(const struct store *s, uint32_t frame);

/* A frame in use does not pack; and is that so?  Of a frame that has just been filled it is not. */
void store_set_rigid(struct store *s, uint32_t frame);
bool store_is_rigid(const struct store *s, uint32_t frame);

/* Is this frame in use, with references?  Any number may be asked about. */
bool store_has(const struct store *s, uint32_t frame);

/* Where the hash of a frame in use is kept: the one under which the index knows it. */
uint64_t *store_hash(const struct store *s, uint32_t frame);

/* Add a reference to a frame in use.  Returns false if the counter has no room for another. */
bool store_get(struct store *s, uint32_t frame);

/*
 * Take n references away from a frame.  Returns true if those were the last: the caller then frees
 * the frame with store_free().
 */
bool store_put(struct store *s, uint32_t frame, uint32_t n);

/*
 * Free frames [frame, frame + n) of one segment, which are in use without references.  Their memory
 * goes back to the host, unless the store is outlived.
 */
void store_free(struct store *s, uint32_t frame, uint32_t n);

/*
 * A new descriptor of a segment that can only read it; it is the caller's.  -ENOENT: there is no
 * such segment; another -errno: it could not be opened.
 */
int store_open(const struct store *s, unsigned int segment);

/* Free the pages of frames [index, index + n). */
void segment_punch(const struct store_segment *g, uint32_t index, uint32_t n);

/* The number of frames that a segment occupies, by the kernel's count; and all of them. */
uint64_t segment_resident_frames(const struct store_segment *g);
uint64_t store_resident_frames(const struct store *s);

/* The number of bytes that the store's own tables occupy. */
uint64_t store_metadata_bytes(const struct store *s);

#endif
