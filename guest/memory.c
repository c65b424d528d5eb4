/* SPDX-License-Identifier: MIT */
/*
 * Physical memory: buddy allocators that never touch free memory.
 *
 * A guest whose host overcommits should not make the host keep memory that the guest does not
 * use.  And a page that is given back (balloon, free page reporting) loses its contents.  So no
 * list runs through free blocks.  Bit maps say what is free: 256 bytes for each chunk of 1024
 * pages, which is one 16384th of memory:
 *
 *	bit 1      [          1024 pages          ]	order 10
 *	bits 2-3   [    512     |      512     ]	order 9
 *	...
 *	1024-2047  one page each				order 0
 *
 * The buddy of block n is n ^ 1, and its parent n / 2.  Allocation takes a set bit of the smallest
 * order that will do; on the way down it sets the bits of the halves that it does not need.
 * Freeing climbs while the buddy is free.  A row of bits for each order, over 64 chunks, says where
 * to look.
 *
 * The maps are not written at boot either.  A zone *opens* its chunks from the bottom up, each when
 * the open ones have nothing left.  Only then are its bits set, and is its GiB entered in the
 * direct map.  The counters of free blocks are right from the start, by arithmetic.  So a guest of
 * any size touches a page or two here while it boots.
 *
 *	start     opened chunks      |      unopened: all free      end
 *	  [ maps' bits are valid     |  maps untouched              )
 *
 * A block of order 9 and above that has been used and is free again is worth one report to the
 * host, which can take the memory back.  Two bits for each chunk, one a half, say which free halves
 * need no report, because they had one or were never used.  Taking any part of a half clears its
 * bit.
 *
 * The maps lie at the bottom of the first zone, and with them a page for each GiB for the tables of
 * the direct map.
 */
#include "kernel.h"
#include "memory.h"
#include "paging.h"

extern char image_end[];

static struct zone zones[MAX_ZONES];
static unsigned int nr_zones;
static uint64_t reserved_tables; /* gpa; entry i is for GiB i */

static unsigned int node_of(uint64_t frame, unsigned int order)
{
	return (unsigned int)((CHUNK_PAGES + frame % CHUNK_PAGES) >> order);
}

static bool test(const struct chunk *c, unsigned int node)
{
	return c->bits[node / 64] >> node % 64 & 1;
}

static void flip(struct chunk *c, unsigned int node)
{
	c->bits[node / 64] ^= 1UL << node % 64;
}

/* A free block of order in the chunk, as a node; 0 if there is none. */
static unsigned int chunk_first(const struct chunk *c, unsigned int order)
{
	unsigned int first = (unsigned int)(CHUNK_PAGES >> order), end = 2 * first;

	for (unsigned int word = first / 64; word * 64 < end; word++) {
		uint64_t bits = c->bits[word];

		if (first < 64)
			bits &= ((1UL << first) - 1) << first;
		if (bits)
			return word * 64 + (unsigned int)__builtin_ctzll(bits);
	}
	return 0;
}

static void set_free(struct zone *z, uint64_t index, unsigned int node, unsigned int order)
{
	flip(&z->chunk[index], node);
	z->row[index / 64].has[order] |= 1UL << index % 64;
	if (index / 64 < z->hint[order])
		z->hint[order] = index / 64;
}

static void clear_free(struct zone *z, uint64_t index, unsigned int node, unsigned int order)
{
	flip(&z->chunk[index], node);
	if (!chunk_first(&z->chunk[index], order))
		z->row[index / 64].has[order] &= ~(1UL << index % 64);
}

/* The largest order of a block that starts at frame and ends by end. */
static unsigned int largest_order(uint64_t frame, uint64_t end)
{
	unsigned int order = 0;

	while (order < MAX_ORDER && !(frame >> order & 1) && frame + (2UL << order) <= end)
		order++;
	return order;
}

static uint64_t max_frame(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t min_frame(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Halves are numbered 0 and 1.  Is this one free, as a block or as part of the whole chunk? */
static bool half_free(const struct chunk *c, unsigned int half)
{
	return test(c, 1) || test(c, 2 + half);
}

/* The halves that a block lies in: bit 0 and bit 1. */
static unsigned int halves_of(uint64_t frame, unsigned int order)
{
	return order == MAX_ORDER ? 3 : 1U << (frame >> HALF_ORDER & 1);
}

static void set_reported(struct zone *z, uint64_t index, unsigned int halves, bool reported)
{
	for (unsigned int half = 0; half < 2; half++) {
		uint64_t *row = &z->row[index / 64].reported[half];

		if (halves >> half & 1)
			*row = (*row & ~(1UL << index % 64)) | (uint64_t)reported << index % 64;
	}
}

static bool is_reported(const struct zone *z, uint64_t index, unsigned int half)
{
	return z->row[index / 64].reported[half] >> index % 64 & 1;
}

static void chunk_open(struct zone *z)
{
	uint64_t index = z->opened++, base = (z->first + index) * CHUNK_PAGES;
	uint64_t frame = max_frame(base, z->start), end = min_frame(base + CHUNK_PAGES, z->end);

	memset(&z->chunk[index], 0, sizeof(z->chunk[index]));
	if (index % 64 == 0)
		memset(&z->row[index / 64], 0, sizeof(z->row[0]));
	while (frame < end) {
		unsigned int order = largest_order(frame, end);

		set_free(z, index, node_of(frame, order), order);
		if (order >= HALF_ORDER)
			set_reported(z, index, halves_of(frame, order), true);
		frame += 1UL << order;
	}
	direct_map(base >> (30 - PAGE_SHIFT));
}

/* An opened chunk with a free block of order; nr_chunks if there is none. */
static uint64_t chunk_with(struct zone *z, unsigned int order)
{
	uint64_t rows = (z->opened + 63) / 64;

	for (uint64_t *row = &z->hint[order]; *row < rows; ++*row) {
		uint64_t has = z->row[*row].has[order];

		if (has)
			return *row * 64 + (unsigned int)__builtin_ctzll(has);
	}
	return z->nr_chunks;
}

/* A block of order from a free one of order from: the last one within it, or the first. */
static uint64_t take(struct zone *z, uint64_t index, unsigned int from, unsigned int order,
		     bool last)
{
	unsigned int node = chunk_first(&z->chunk[index], from);
	uint64_t frame;

	clear_free(z, index, node, from);
	z->nr_free[from]--;
	while (from > order) {
		node = 2 * node + last;
		from--;
		set_free(z, index, node ^ 1, from);
		z->nr_free[from]++;
	}
	frame = (z->first + index) * CHUNK_PAGES + (((uint64_t)node << order) - CHUNK_PAGES);
	set_reported(z, index, halves_of(frame, order), false);
	return frame;
}

uint64_t zone_alloc(struct zone *z, unsigned int order)
{
	for (;;) {
		for (unsigned int from = order; from <= MAX_ORDER; from++) {
			uint64_t index = chunk_with(z, from);

			if (index < z->nr_chunks)
				return take(z, index, from, order, false);
		}
		if (z->opened == z->nr_chunks)
			return 0;
		chunk_open(z);
	}
}

static void refuse_double_free(const struct chunk *c, unsigned int node, uint64_t frame)
{
	for (; node; node /= 2)
		if (test(c, node))
			panic("page frame 0x%lx is freed twice", frame);
}

void zone_free(struct zone *z, uint64_t frame, unsigned int order)
{
	uint64_t index = frame / CHUNK_PAGES - z->first;
	struct chunk *c = &z->chunk[index];
	unsigned int node = node_of(frame, order);

	refuse_double_free(c, node, frame);
	while (order < MAX_ORDER && test(c, node ^ 1)) {
		clear_free(z, index, node ^ 1, order);
		z->nr_free[order]--;
		node /= 2;
		order++;
	}
	set_free(z, index, node, order);
	z->nr_free[order]++;
}

/* The first chunk from *index on that has a free half not reported; which halves those are. */
static unsigned int unreported_halves(const struct zone *z, uint64_t *index)
{
	for (; *index < z->opened; ++*index) {
		unsigned int halves = 0;

		for (unsigned int half = 0; half < 2; half++)
			if (half_free(&z->chunk[*index], half) && !is_reported(z, *index, half))
				halves |= 1U << half;
		if (halves)
			return halves;
	}
	return 0;
}

uint64_t zone_alloc_unreported(struct zone *z, unsigned int *order)
{
	uint64_t index = 0;
	unsigned int halves = unreported_halves(z, &index);
	unsigned int from = halves && test(&z->chunk[index], 1) ? MAX_ORDER : HALF_ORDER;

	if (!halves)
		return 0;
	*order = halves == 3 ? MAX_ORDER : HALF_ORDER;
	return take(z, index, from, *order, halves == 2);
}

void zone_free_reported(struct zone *z, uint64_t frame, unsigned int order)
{
	zone_free(z, frame, order);
	set_reported(z, frame / CHUNK_PAGES - z->first, halves_of(frame, order), true);
}

static uint64_t chunks_of(uint64_t start, uint64_t end)
{
	return (end + CHUNK_PAGES - 1) / CHUNK_PAGES - start / CHUNK_PAGES;
}

static uint64_t row_bytes(uint64_t chunks)
{
	return (chunks + 63) / 64 * sizeof(struct chunk_row);
}

uint64_t zone_meta_bytes(uint64_t start, uint64_t end)
{
	uint64_t chunks = chunks_of(start, end);

	return row_bytes(chunks) + chunks * sizeof(struct chunk);
}

void zone_init(struct zone *z, uint64_t start, uint64_t end, void *meta)
{
	memset(z, 0, sizeof(*z));
	z->start = start;
	z->end = end;
	z->first = start / CHUNK_PAGES;
	z->nr_chunks = chunks_of(start, end);
	z->row = meta;
	z->chunk = (struct chunk *)((char *)meta + row_bytes(z->nr_chunks));
	for (uint64_t frame = start; frame < end;) {
		unsigned int order = largest_order(frame, end);
		uint64_t blocks = order == MAX_ORDER ? (end - frame) / CHUNK_PAGES : 1;

		z->nr_free[order] += blocks;
		frame += blocks << order;
	}
}

/* The bits of an opened chunk, against its row. */
static bool chunk_audit(const struct zone *z, uint64_t index, uint64_t counted[NR_ORDERS])
{
	const struct chunk *c = &z->chunk[index];
	bool sound = true;

	for (unsigned int order = 0; order < NR_ORDERS; order++) {
		unsigned int first = (unsigned int)(CHUNK_PAGES >> order);
		bool has = z->row[index / 64].has[order] >> index % 64 & 1, found = false;

		for (unsigned int node = first; node < 2 * first; node++) {
			if (!test(c, node))
				continue;
			found = true;
			counted[order]++;
			for (unsigned int up = node / 2; up; up /= 2)
				sound &= !test(c, up);
			sound &= node == 1 || !test(c, node ^ 1);
		}
		sound &= has == found;
	}
	for (unsigned int half = 0; half < 2; half++)
		sound &= !is_reported(z, index, half) || half_free(c, half);
	return sound;
}

bool zone_audit(const struct zone *z)
{
	uint64_t counted[NR_ORDERS] = { 0 };
	uint64_t frame = max_frame(z->start, (z->first + z->opened) * CHUNK_PAGES);
	bool sound = true;

	for (uint64_t index = 0; index < z->opened; index++)
		sound &= chunk_audit(z, index, counted);
	for (; frame < z->end; frame += 1UL << largest_order(frame, z->end))
		counted[largest_order(frame, z->end)]++;
	return sound && !memcmp(counted, z->nr_free, sizeof(counted));
}

/* A range of RAM cut to what zones may cover; empty if nothing is left. */
static struct ram_range usable(const struct ram_range *ram)
{
	struct ram_range r = {
		(max_frame(ram->start, (uint64_t)image_end) + PAGE_SIZE - 1) & -PAGE_SIZE,
		min_frame(ram->end, DIRECT_LIMIT) & -PAGE_SIZE,
	};

	if (r.end < r.start)
		r.end = r.start;
	return r;
}

/* How much the first zone gives up for maps and tables. */
static uint64_t reserve_bytes(uint64_t *top)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < boot.nr_ram; i++) {
		struct ram_range r = usable(&boot.ram[i]);

		*top = max_frame(*top, r.end);
		if (r.start < r.end)
			bytes += zone_meta_bytes(r.start / PAGE_SIZE, r.end / PAGE_SIZE);
	}
	return (bytes + PAGE_SIZE - 1) & -PAGE_SIZE;
}

void memory_init(void)
{
	uint64_t top = 0, maps = reserve_bytes(&top), tables = (top + GiB - 1) / GiB * PAGE_SIZE;
	char *meta = NULL;

	for (unsigned int i = 0; i < boot.nr_ram && nr_zones < MAX_ZONES; i++) {
		struct ram_range r = usable(&boot.ram[i]);

		if (r.start == r.end)
			continue;
		if (!meta) {
			if (r.end - r.start < maps + tables || r.start + maps + tables > GiB)
				panic("too little RAM in the first GiB: %lu KiB",
				      (r.end - r.start) / KiB);
			meta = direct(r.start);
			reserved_tables = r.start + maps;
			r.start += maps + tables;
		}
		zone_init(&zones[nr_zones++], r.start / PAGE_SIZE, r.end / PAGE_SIZE, meta);
		meta += zone_meta_bytes(r.start / PAGE_SIZE, r.end / PAGE_SIZE);
	}
	if (!nr_zones)
		panic("no RAM above the image");
}

uint64_t reserve_table(uint64_t gib)
{
	return reserved_tables + gib * PAGE_SIZE;
}

uint64_t alloc_pages(unsigned int order)
{
	for (unsigned int i = 0; i < nr_zones; i++) {
		uint64_t frame = zone_alloc(&zones[i], order);

		if (frame)
			return frame << PAGE_SHIFT;
	}
	return 0;
}

uint64_t alloc_unreported(unsigned int *order)
{
	for (unsigned int i = 0; i < nr_zones; i++) {
		uint64_t frame = zone_alloc_unreported(&zones[i], order);

		if (frame)
			return frame << PAGE_SHIFT;
	}
	return 0;
}

static struct zone *zone_of(uint64_t gpa)
{
	uint64_t frame = gpa >> PAGE_SHIFT;

	for (unsigned int i = 0; i < nr_zones; i++)
		if (frame >= zones[i].start && frame < zones[i].end)
			return &zones[i];
	panic("0x%lx is freed and in no zone", gpa);
}

static uint64_t nr_freed;

uint64_t freed_count(void)
{
	return nr_freed;
}

void free_pages(uint64_t gpa, unsigned int order)
{
	nr_freed++;
	zone_free(zone_of(gpa), gpa >> PAGE_SHIFT, order);
}

void free_reported(uint64_t gpa, unsigned int order)
{
	zone_free_reported(zone_of(gpa), gpa >> PAGE_SHIFT, order);
}

uint64_t free_blocks(unsigned int order)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < nr_zones; i++)
		for (unsigned int at = order; at <= MAX_ORDER; at++)
			n += zones[i].nr_free[at] << (at - order);
	return n;
}

uint64_t free_page_count(void)
{
	return free_blocks(0);
}

uint64_t managed_page_count(void)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < nr_zones; i++)
		n += zones[i].end - zones[i].start;
	return n;
}

unsigned int zone_count(void)
{
	return nr_zones;
}

const struct zone *zone_at(unsigned int i)
{
	return &zones[i];
}
