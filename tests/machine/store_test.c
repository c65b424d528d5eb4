/* SPDX-License-Identifier: MIT */
/*
 * The store of frames, in lockstep with a naive model: an array that says of each frame whether it
 * is free, reserved or in use, and with which bytes.  The kernel's own count of blocks is the
 * judge of what is occupied.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "mmu/base/compat.h"
#include "mmu/machine/store/store.h"
#include "tests/tap.h"

#define STEPS 6000
#define RUNS  400

enum frame_state { FREE, RESERVED, IN_USE };

static struct shelf shelf;
static uint8_t page[MERGE_BATCH][QUIRE_PAGE_SIZE];

static void fill(uint32_t frame, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < QUIRE_PAGE_SIZE; j += sizeof(uint32_t))
			memcpy(&page[i][j], &(uint32_t){ frame + i + 1 }, sizeof(uint32_t));
}

/* The longest free run that a buddy allocator could give: the largest free, aligned block. */
static uint32_t largest_block(const uint8_t *state)
{
	for (uint32_t size = MERGE_BATCH; size; size /= 2)
		for (uint32_t i = 0; i < MERGE_SEGMENT_FRAMES; i += size)
			if (!memchr(state + i, RESERVED, size) && !memchr(state + i, IN_USE, size))
				return size;
	return 0;
}

static void test_buddy(uint64_t seed)
{
	static uint8_t state[MERGE_SEGMENT_FRAMES];
	static uint32_t at[MERGE_SEGMENT_FRAMES], length[MERGE_SEGMENT_FRAMES];
	unsigned int nr = 0, wrong = 0, overlaps = 0, full = 0;
	struct buddy *b = calloc(1, sizeof(*b));
	uint32_t used = 0;

	buddy_init(b);
	is(buddy_count(b), MERGE_SEGMENT_FRAMES, "at first everything is free");
	for (unsigned int step = 0; step < 40000; step++) {
		bool growing = step / 8000 % 2 == 0;

		if (tap_random(&seed) % 8 < (growing ? 7 : 1) || !nr) {
			unsigned int order = tap_random(&seed) % BUDDY_ORDERS;
			unsigned int fit = buddy_fit(b, order);
			uint32_t n, index;

			if (fit == BUDDY_ORDERS) {
				full++;
				wrong += full < 50 && largest_block(state) >= 1u << order;
				continue;
			}
			n = 1 + tap_random(&seed) % (1u << fit);
			index = buddy_take(b, fit, n);
			wrong += index % (1u << fit) != 0 || index + n > MERGE_SEGMENT_FRAMES;
			for (uint32_t i = 0; i < n; i++)
				overlaps += state[index + i] != FREE;
			memset(state + index, IN_USE, n);
			at[nr] = index;
			length[nr++] = n;
			used += n;
		} else {
			unsigned int i = tap_random(&seed) % nr;

			buddy_free(b, at[i], length[i]);
			memset(state + at[i], FREE, length[i]);
			used -= length[i];
			at[i] = at[--nr];
			length[i] = length[nr];
		}
		wrong += buddy_count(b) != MERGE_SEGMENT_FRAMES - used;
	}
	is(overlaps, 0, "no frame is handed out twice");
	is(wrong, 0, "blocks are aligned, and none is denied while the model has one");
	ok(full > 0, "which was put to the test (%u times)", full);
	while (nr--)
		buddy_free(b, at[nr], length[nr]);
	is(b->nr_free[BUDDY_MAX_ORDER], MERGE_SEGMENT_FRAMES >> BUDDY_MAX_ORDER,
	   "what is all free is one piece again");
	free(b);
}

struct run {
	uint32_t frame, n;
	bool written;
};

/* A frame in use has a reference, or a sweep takes it for a stray page. */
static unsigned int write_run(struct store *s, const struct run *r)
{
	unsigned int wrong = 0;

	fill(r->frame, r->n);
	for (uint32_t i = 0; i < r->n; i++)
		wrong += !store_get(s, r->frame + i);
	return wrong + (store_write(s, r->frame, r->n, page) != 0);
}

static void free_run(struct store *s, const struct run *r)
{
	for (uint32_t i = 0; i < r->n; i++)
		store_put(s, r->frame + i, 1);
	store_free(s, r->frame, r->n);
}

static bool has_bytes(int fd, const struct run *r)
{
	static uint8_t got[MERGE_BATCH][QUIRE_PAGE_SIZE];
	size_t bytes = r->n * QUIRE_PAGE_SIZE;

	fill(r->frame, r->n);
	return pread(fd, got, bytes, (off_t)frame_index(r->frame) * (off_t)QUIRE_PAGE_SIZE) ==
		       (ssize_t)bytes &&
	       !memcmp(got, page, bytes);
}

/* Let the shelf's tmpfs give huge pages by itself, as some hosts do with memfds. */
static bool give_huge_pages(const struct shelf *s)
{
	return s->ours >= 0 &&
	       !syscall(SYS_fsconfig, s->grow, FSCONFIG_SET_STRING, "huge", "always", 0) &&
	       !syscall(SYS_fsconfig, s->grow, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0);
}

/*
 * Reserve, write, free: what the kernel says is occupied is what is in use, and it has room for
 * little more.
 */
static void test_store(uint64_t seed, struct shelf *on)
{
	static struct run run[RUNS];
	unsigned int nr = 0, wrong = 0, blocks = 0, bytes = 0, room = 0;
	struct store s;
	uint64_t used = 0;
	int fd;

	store_init(&s, on, 1);
	for (unsigned int step = 0; step < STEPS; step++) {
		unsigned int i = nr ? tap_random(&seed) % nr : 0;

		if (nr < RUNS && (tap_random(&seed) & 1 || !nr)) {
			uint32_t want = 1 + tap_random(&seed) % 40;

			run[nr].n = store_reserve(&s, want, &run[nr].frame);
			run[nr].written = false;
			wrong += run[nr++].n != want;
		} else if (!run[i].written) {
			wrong += write_run(&s, &run[i]);
			run[i].written = true;
			used += run[i].n;
		} else {
			fd = store_open(&s, 0);
			bytes += !has_bytes(fd, &run[i]);
			close(fd);
			free_run(&s, &run[i]);
			used -= run[i].n;
			run[i] = run[--nr];
		}
		blocks += store_resident_frames(&s) != used || s.used_frames != used;
		room += on->used != used ||
			(on->ours >= 0 && (used > on->room || on->room > used + 2 * SHELF_SLACK));
	}
	is(wrong, 0, "a store with room gives runs as long as were asked for");
	is(bytes, 0, "with the bytes that were written, until they are freed");
	is(blocks, 0, "at each of %d steps st_blocks is what is in use", STEPS);
	is(room, 0, "and the shelf has room for it, and little more");
	while (nr--) {
		if (run[nr].written)
			free_run(&s, &run[nr]);
		else
			store_unreserve(&s, run[nr].frame, run[nr].n);
	}
	is(store_resident_frames(&s), 0, "and nothing at the end");
	is(buddy_count(s.segment[0].buddy), MERGE_SEGMENT_FRAMES, "when all is free");
	store_finish(&s);
}

/*
 * On a tmpfs that gives huge pages, khugepaged comes to whoever does not refuse it.  It charges the
 * file for holes while it tries, and so it would take the room that frames need.
 */
static void test_collapse(struct shelf *on)
{
	struct run r = { .n = MERGE_BATCH };
	struct store s;

	store_init(&s, on, 1);
	is(store_reserve(&s, r.n, &r.frame), r.n, "a run as large as a huge page");
	is(write_run(&s, &r), 0, "is written");
	is(madvise(s.segment[0].bytes + r.frame * QUIRE_PAGE_SIZE, r.n * QUIRE_PAGE_SIZE,
		   MADV_COLLAPSE),
	   -1, "and nobody makes it one");
	free_run(&s, &r);
	store_finish(&s);
}

static void test_runs(void)
{
	struct store s;
	uint32_t frame, other, n;

	store_init(&s, &shelf, 2);
	is(store_reserve(&s, 300, &frame), 300, "a run of 300 is one run");
	is(frame % MERGE_BATCH, 0, "aligned to its block");
	n = store_reserve(&s, 128, &other);
	ok(n == 128 && other == frame + 384, "the rest of its block is not lost: 128 at %u", other);
	for (unsigned int i = 0; i < 511; i++)
		store_reserve(&s, MERGE_BATCH, &frame);
	is(s.nr_segments, 1, "a segment is filled");
	is(store_reserve(&s, MERGE_BATCH, &frame), MERGE_BATCH, "and then there is another");
	is(frame_segment(frame), 1, "of the next number");
	n = store_reserve(&s, 1, &other);
	ok(n == 1 && frame_segment(other) == 0, "a short run fills gaps first");
	while (store_reserve(&s, MERGE_BATCH, &frame) == MERGE_BATCH)
		;
	n = store_reserve(&s, MERGE_BATCH, &frame);
	ok(n && n < MERGE_BATCH, "when no long run is left a shorter one is given (%u)", n);
	while (store_reserve(&s, MERGE_BATCH, &frame))
		;
	is(buddy_count(s.segment[0].buddy) + buddy_count(s.segment[1].buddy), 0,
	   "down to the last frame");
	is(store_resident_frames(&s), 0, "and what is only reserved occupies nothing");
	store_finish(&s);
}

static void test_references(void)
{
	struct store s;
	uint32_t frame;

	store_init(&s, &shelf, 1);
	ok(!store_has(&s, 0) && !store_has(&s, UINT32_MAX), "an empty store has no frame");
	store_reserve(&s, 2, &frame);
	fill(frame, 2);
	store_write(&s, frame, 2, page);
	ok(store_get(&s, frame) && store_get(&s, frame) && store_get(&s, frame + 1), "references");
	ok(store_has(&s, frame) && !store_has(&s, frame + 2), "are of a frame");
	is(store_put(&s, frame, 1), false, "one of two is not the last");
	is(store_put(&s, frame, 1), true, "the other is");
	s.segment[0].refs[frame_index(frame + 1)] = UINT32_MAX - 1;
	is(store_get(&s, frame + 1), false, "no more are given than can be counted");
	store_finish(&s);
}

/* Whoever has only a VM's descriptor, and be it root, gets no better one out of it. */
static void test_better_descriptor(int fd)
{
	struct mount_attr writable = { .attr_clr = MOUNT_ATTR_RDONLY };
	unsigned int got = 0;
	char path[48];

	if (shelf.ours < 0) {
		tap_skip("this host permits no user namespace: segments are memfds");
		return;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	got += !fchmod(fd, 0666) || !chmod(path, 0666) || !fchown(fd, geteuid(), getegid());
	got += !syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &writable, sizeof(writable));
	got += open(path, O_RDWR) >= 0 || open(path, O_WRONLY | O_APPEND) >= 0;
	got += !truncate(path, 0);
	got += syscall(SYS_open_tree, fd, "", OPEN_TREE_CLONE | AT_EMPTY_PATH) >= 0;
	got += syscall(SYS_fspick, fd, "", FSPICK_EMPTY_PATH) >= 0;
	is(got, 0, "nor through /proc, by its mode, or by its mount");
}

/* What a VM gets cannot be written in any way. */
static void test_descriptor(void)
{
	struct store s;
	uint32_t frame;
	char *p;
	int fd;

	store_init(&s, &shelf, 1);
	is(store_open(&s, 0), -ENOENT, "a segment that is not there is not opened");
	store_reserve(&s, 1, &frame);
	fill(frame, 1);
	store_write(&s, frame, 1, page);
	fd = store_open(&s, 0);
	ok(fd >= 0, "a segment is opened");
	is(pwrite(fd, "x", 1, 0), -1, "it cannot be written");
	is(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1, "or punched");
	is(ftruncate(fd, 0), -1, "or truncated");
	is(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1, "or sealed against us");
	ok(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED,
	   "or mapped writable");
	test_better_descriptor(fd);
	p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	is(mprotect(p, 4096, PROT_READ | PROT_WRITE), -1, "or made so");
	is(memcmp(p, page, 4096), 0, "but read");
	munmap(p, 4096);
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	p[0] ^= 1;
	close(fd);
	fd = store_open(&s, 0);
	ok(pread(fd, page[1], 4096, 0) == 4096 && !memcmp(page[0], page[1], 4096),
	   "a private write is the writer's alone");
	munmap(p, 4096);
	close(fd);
	store_finish(&s);
}

int main(int argc, char **argv)
{
	struct shelf huge;
	uint64_t seed;

	tap_init();
	seed = tap_seed(argc, argv);
	shelf_open(&shelf);
	test_buddy(seed);
	test_store(seed, &shelf);
	shelf_open(&huge);
	if (give_huge_pages(&huge)) {
		test_store(seed, &huge);
		test_collapse(&huge);
	} else {
		tap_skip("no privilege to mount a tmpfs of its own");
	}
	shelf_close(&huge);
	test_runs();
	test_references();
	test_descriptor();
	shelf_close(&shelf);
	return tap_done();
}
