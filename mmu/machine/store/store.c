/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "sweep.h"
#include "mmu/base/exact.h"
#include "mmu/base/reserve.h"

/* Frames that a segment may have in our page tables: 2 MiB. */
#define ENTERED_MOST 512u

/* A frame with so many references is given to nobody any more. */
#define REFS_MAX (UINT32_MAX - 1)

static const size_t file_bytes = MERGE_SEGMENT_FRAMES * QUIRE_PAGE_SIZE;
static const size_t refs_bytes = MERGE_SEGMENT_FRAMES * sizeof(uint32_t);
static const size_t hash_bytes = MERGE_SEGMENT_FRAMES * sizeof(uint64_t);
static const size_t bit_bytes = MERGE_SEGMENT_FRAMES / 8;

void store_init(struct store *s, struct shelf *shelf, unsigned int max_segments)
{
	*s = (struct store){ .shelf = shelf, .max_segments = max_segments };
	TAILQ_INSERT_TAIL(&shelf->stores, s, on_shelf);
}

static void segment_finish(struct shelf *shelf, struct store_segment *g)
{
	unreserve(g->bytes, file_bytes);
	if (g->exact >= 0)
		close(g->exact);
	unreserve(g->buddy, sizeof(*g->buddy));
	unreserve(g->rigid, bit_bytes);
	unreserve(g->doubted, bit_bytes);
	unreserve(g->hash, hash_bytes);
	unreserve(g->refs, refs_bytes);
	if (g->fd < 0)
		return;
	shelf_remove(shelf, g->name);
	close(g->fd);
}

void store_finish(struct store *s)
{
	for (unsigned int i = 0; i < s->nr_segments; i++)
		segment_finish(s->shelf, &s->segment[i]);
	if (s->shelf) {
		shelf_give(s->shelf, (uint32_t)s->used_frames);
		TAILQ_REMOVE(&s->shelf->stores, s, on_shelf);
	}
	*s = (struct store){ 0 };
}

/* Where all of the file is mapped, exactly.  NULL: it cannot be. */
static uint8_t *map_file(int fd, int exact)
{
	void *p = mmap(NULL, file_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);

	if (p == MAP_FAILED)
		return NULL;
	/* khugepaged would charge the file for holes while it tries, and take the room. */
	madvise(p, file_bytes, MADV_NOHUGEPAGE);
	if (!exact_map(exact, p, file_bytes))
		return p;
	unreserve(p, file_bytes);
	return NULL;
}

static bool segment_init(struct shelf *shelf, struct store_segment *g)
{
	*g = (struct store_segment){ .exact = exact_open() };
	g->fd = shelf_make(shelf, file_bytes, &g->name);
	g->bytes = map_file(g->fd, g->exact);
	g->refs = reserve(refs_bytes);
	g->hash = reserve(hash_bytes);
	g->doubted = reserve(bit_bytes);
	g->rigid = reserve(bit_bytes);
	g->buddy = reserve(sizeof(*g->buddy));
	if (!g->bytes || !g->refs || !g->hash || !g->doubted || !g->rigid || !g->buddy) {
		segment_finish(shelf, g);
		return false;
	}
	buddy_init(g->buddy);
	return true;
}

/*
 * The segment with the free block that fits best; *order becomes the block's.  -1: there is none.
 */
static int best_fit(const struct store *s, unsigned int wanted, unsigned int *order)
{
	int best = -1;

	*order = BUDDY_ORDERS;
	for (unsigned int i = 0; i < s->nr_segments; i++) {
		unsigned int o = buddy_fit(s->segment[i].buddy, wanted);

		if (o >= *order)
			continue;
		*order = o;
		best = (int)i;
	}
	return best;
}

/* The segment with the largest free block; *order becomes the block's.  -1: nothing is free. */
static int longest(const struct store *s, unsigned int *order)
{
	int best = -1;

	for (unsigned int i = 0; i < s->nr_segments; i++) {
		unsigned int o = buddy_largest(s->segment[i].buddy);

		if (o == BUDDY_ORDERS || (best >= 0 && o <= *order))
			continue;
		*order = o;
		best = (int)i;
	}
	return best;
}

static int add_segment(struct store *s, unsigned int *order)
{
	if (s->nr_segments == s->max_segments ||
	    !segment_init(s->shelf, &s->segment[s->nr_segments]))
		return -1;
	*order = BUDDY_MAX_ORDER;
	return (int)s->nr_segments++;
}

/* The smallest order whose blocks have at least n frames. */
static unsigned int order_of(uint32_t n)
{
	return n > 1 ? 32 - (unsigned int)__builtin_clz(n - 1) : 0;
}

uint32_t store_reserve(struct store *s, uint32_t n, uint32_t *frame)
{
	unsigned int order;
	int i = best_fit(s, order_of(n), &order);

	if (i < 0)
		i = add_segment(s, &order);
	if (i < 0)
		i = longest(s, &order);
	if (i < 0)
		return 0;
	n = (uint32_t)min_u64(n, 1u << order);
	*frame = (uint32_t)i * MERGE_SEGMENT_FRAMES + buddy_take(s->segment[i].buddy, order, n);
	return n;
}

void store_unreserve(struct store *s, uint32_t frame, uint32_t n)
{
	buddy_free(s->segment[frame_segment(frame)].buddy, frame_index(frame), n);
}

/* This cannot fail: the pages are whole, and nothing forbids it. */
void segment_punch(const struct store_segment *g, uint32_t index, uint32_t n)
{
	int code;

	do
		code = fallocate(g->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 (off_t)index * QUIRE_PAGE_SIZE, (off_t)n * QUIRE_PAGE_SIZE);
	while (code && errno == EINTR);
	assert(!code);
}

/*
 * n frames from index on were entered in our page tables.  They are nothing that the kernel's OOM
 * killer should think to be ours, so they leave again, many at a time.
 */
static void forget_entries(struct store_segment *g, uint32_t index, uint32_t n)
{
	g->start = g->entered ? (uint32_t)min_u64(g->start, index) : index;
	g->end = g->entered ? (uint32_t)max_u64(g->end, index + n) : index + n;
	g->entered += n;
	if (g->entered < ENTERED_MOST)
		return;
	madvise(g->bytes + g->start * QUIRE_PAGE_SIZE, (g->end - g->start) * QUIRE_PAGE_SIZE,
		MADV_DONTNEED);
	g->entered = 0;
}

/* Bring frames in where nothing is, or so we think: others may have brought pages in there. */
static int bring_in(struct store_segment *g, uint32_t index, uint32_t n, const void *bytes)
{
	int err = exact_copy(g->exact, g->bytes + index * QUIRE_PAGE_SIZE, bytes,
			     n * QUIRE_PAGE_SIZE);

	if (err)
		segment_punch(g, index, n);
	return err;
}

/* The bit of a frame, in a bitmap of its segment. */
static void set_bit(uint64_t *bits, uint32_t frame, bool on)
{
	uint64_t bit = 1ULL << frame % 64, *word = &bits[frame_index(frame) / 64];

	*word = on ? *word | bit : *word & ~bit;
}

static bool has_bit(const uint64_t *bits, uint32_t frame)
{
	return bits[frame_index(frame) / 64] >> frame % 64 & 1;
}

int store_write(struct store *s, uint32_t frame, uint32_t n, const void *bytes)
{
	struct store_segment *g = &s->segment[frame_segment(frame)];
	uint32_t index = frame_index(frame);
	int err;

	shelf_take(s->shelf, n);
	err = bring_in(g, index, n, bytes);
	/* A stray page was in the way, and is not any more; or stray pages have taken the room. */
	if (err == -EEXIST || (err && sweep_for_room(s->shelf)))
		err = bring_in(g, index, n, bytes);
	if (err) {
		shelf_give(s->shelf, n);
		return -ENOMEM;
	}
	forget_entries(g, index, n);
	for (uint32_t i = 0; i < n; i++) {
		store_doubt(s, frame + i, false);
		set_bit(g->rigid, frame + i, false);
	}
	g->used += n;
	g->touched = (uint32_t)max_u64(g->touched, index + n);
	s->used_frames += n;
	return 0;
}

/* This cannot fail: the file is ours, its size is sealed, and the frame is there. */
void store_read(const struct store *s, uint32_t frame, void *bytes)
{
	int fd = s->segment[frame_segment(frame)].fd;
	off_t at = (off_t)frame_index(frame) * (off_t)QUIRE_PAGE_SIZE;
	ssize_t got;

	do
		got = pread(fd, bytes, QUIRE_PAGE_SIZE, at);
	while (got < 0 && errno == EINTR);
	assert(got == (ssize_t)QUIRE_PAGE_SIZE);
}

void store_doubt(struct store *s, uint32_t frame, bool doubted)
{
	set_bit(s->segment[frame_segment(frame)].doubted, frame, doubted);
}

bool store_is_doubted(const struct store *s, uint32_t frame)
{
	return has_bit(s->segment[frame_segment(frame)].doubted, frame);
}

void store_set_rigid(struct store *s, uint32_t frame)
{
	set_bit(s->segment[frame_segment(frame)].rigid, frame, true);
}

bool store_is_rigid(const struct store *s, uint32_t frame)
{
	return has_bit(s->segment[frame_segment(frame)].rigid, frame);
}

bool store_has(const struct store *s, uint32_t frame)
{
	unsigned int segment = frame_segment(frame);

	return segment < s->nr_segments && s->segment[segment].refs[frame_index(frame)];
}

uint64_t *store_hash(const struct store *s, uint32_t frame)
{
	return &s->segment[frame_segment(frame)].hash[frame_index(frame)];
}

bool store_get(struct store *s, uint32_t frame)
{
	uint32_t *refs = &s->segment[frame_segment(frame)].refs[frame_index(frame)];

	if (*refs == REFS_MAX)
		return false;
	++*refs;
	s->references++;
	return true;
}

bool store_put(struct store *s, uint32_t frame, uint32_t n)
{
	uint32_t *refs = &s->segment[frame_segment(frame)].refs[frame_index(frame)];

	assert(n && n <= *refs);
	*refs -= n;
	s->references -= n;
	return !*refs;
}

void store_free(struct store *s, uint32_t frame, uint32_t n)
{
	struct store_segment *g = &s->segment[frame_segment(frame)];

	if (!s->outlived)
		segment_punch(g, frame_index(frame), n);
	store_unreserve(s, frame, n);
	g->used -= n;
	s->used_frames -= n;
	shelf_give(s->shelf, n);
}

int store_open(const struct store *s, unsigned int segment)
{
	const struct store_segment *g = &s->segment[segment];

	return segment < s->nr_segments ? shelf_read(s->shelf, g->name, g->fd) : -ENOENT;
}

uint64_t segment_resident_frames(const struct store_segment *g)
{
	struct stat st;

	return fstat(g->fd, &st) ? 0 : (uint64_t)st.st_blocks * 512 / QUIRE_PAGE_SIZE;
}

uint64_t store_resident_frames(const struct store *s)
{
	uint64_t frames = 0;

	for (unsigned int i = 0; i < s->nr_segments; i++)
		frames += segment_resident_frames(&s->segment[i]);
	return frames;
}

uint64_t store_metadata_bytes(const struct store *s)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < s->nr_segments; i++)
		bytes += sizeof(struct buddy) + s->segment[i].touched * 12ULL +
			 s->segment[i].touched / 4;
	return bytes;
}
