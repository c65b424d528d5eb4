/* SPDX-License-Identifier: MIT */
/*
 * VMs that read what nobody has published: the holes of segments that they were given.  Each such
 * read brings a page in.  What exists stays bounded, the count becomes exact again, merging goes
 * on, and who did it for certain is killed.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include "merge_scene.h"
#include "mmu/base/compat.h"
#include "mmu/machine/store/domain.h"
#include "mmu/machine/store/sweep.h"

#define FRAMES 10
#define TOUCH  (64 * MiB) /* so much of a segment is read: not 1 GiB, should it all come in */
#define ROUNDS 3000

static struct shelf shelf;

static uint64_t blocks(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? UINT64_MAX : (uint64_t)st.st_blocks * 512 / QUIRE_PAGE_SIZE;
}

static uint8_t *map_segment(int fd, size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* Read every page; a signal would come for one that cannot be had. */
static bool reads_all(const uint8_t *p, size_t bytes)
{
	bool all = true;

	for (size_t at = 0; at < bytes; at += QUIRE_PAGE_SIZE)
		all &= !madvise((void *)(uintptr_t)(p + at), QUIRE_PAGE_SIZE, MADV_POPULATE_READ);
	return all;
}

static void publish(struct scene *s, struct merge_vm *v, uint64_t gfn, unsigned int nr)
{
	merge_begin(v, MERGE_LOOKUP, 0);
	for (uint64_t i = gfn; i < gfn + nr; i++) {
		merge_fill(v, i, v->vm.id * 1000 + i);
		merge_add(v, i | MERGE_PUBLISH, v->vm.id * 1000 + i);
	}
	merge_say(&s->lab, v, NULL);
}

static int get_segment(struct scene *s, struct merge_vm *v)
{
	int fd = -1;

	merge_begin(v, MERGE_SEGMENT, 0);
	return merge_say(&s->lab, v, &fd) == MERGE_SEGMENT ? fd : -1;
}

/* The only VM that has the segment. */
static void test_alone(void)
{
	struct machine_msg msg;
	struct scene s;
	uint8_t *p;
	int fd;

	begin(&s, GIB_PAGES);
	merge_vm_open(&s.lab, s.control, &a, "d", PAGES);
	lab_start(&s.lab, s.control, &a.vm);
	publish(&s, &a, 0, FRAMES);
	fd = get_segment(&s, &a);
	p = map_segment(fd, TOUCH);
	lab_pass(&s.lab, 5000);
	ok(reads_all(p, FRAMES * QUIRE_PAGE_SIZE), "a VM reads its frames");
	lab_pass(&s.lab, 5000);
	is(lab_reap(&a.vm, false), 0, "... and lives");
	is(reads_all(p, TOUCH), false, "it cannot read all of the segment");
	ok(blocks(fd) <= FRAMES + 2 * SHELF_SLACK, "%lu pages exist, for %u frames",
	   (long)blocks(fd), FRAMES);
	while (hear(s.control, NULL, NULL) > 0)
		;
	lab_pass(&s.lab, 1000);
	is(lab_reap(&a.vm, true), SIGKILL, "within a second the VM is killed");
	lab_await_vms(&s.lab, 0);
	ok(hear(s.control, &msg, NULL) == MACHINE_GONE && msg.gone.reason == MACHINE_MISBEHAVED,
	   "because it broke the rules");
	is(blocks(fd), 0, "and nothing is left of what it read");
	s.lab.faults = 0; /* between the reads and the sweep there was more than was counted */
	munmap(p, TOUCH);
	close(fd);
	merge_vm_close(&s.lab, &a);
	end(&s);
}

/* One of two.  Nobody knows which, so nobody is killed for it; but nobody suffers. */
static void test_pair(void)
{
	struct scene s;
	unsigned int frames = 0;
	int fd, other;
	uint8_t *p;

	begin_pair(&s);
	lab_start(&s.lab, s.control, &a.vm);
	lab_start(&s.lab, s.control, &b.vm);
	publish(&s, &a, 0, FRAMES);
	fd = get_segment(&s, &a);
	other = get_segment(&s, &b);
	p = map_segment(fd, TOUCH);
	reads_all(p, TOUCH);
	publish(&s, &b, 0, MERGE_BATCH);
	for (unsigned int i = 0; i < MERGE_BATCH; i++)
		frames += MERGE_IS_FRAME(b.msg.frame[i].frame);
	is(frames, MERGE_BATCH, "when all room is taken, and frames too, another still gets his");
	reads_all(p, TOUCH);
	lab_pass(&s.lab, 1000);
	is(blocks(fd), store_pages(&s), "within a second only frames are left");
	is(lab_reap(&a.vm, false) | lab_reap(&b.vm, false), 0, "and both VMs live");
	s.lab.faults = 0; /* between the reads and the sweep there was more than was counted */
	munmap(p, TOUCH);
	close(fd);
	close(other);
	end_pair(&s);
}

/* ---- without end ---- */

struct reader {
	uint8_t *at;
	atomic_uint turns;
	atomic_bool stop;
};

static void *read_on(void *arg)
{
	struct reader *r = arg;

	while (!atomic_load(&r->stop)) {
		reads_all(r->at, 16 * MiB);
		madvise(r->at, TOUCH, MADV_COLLAPSE);
		atomic_fetch_add(&r->turns, 1);
	}
	return NULL;
}

static uint8_t page[DOMAIN_PIECE][QUIRE_PAGE_SIZE];

static void fill(uint32_t number)
{
	for (unsigned int i = 0; i < DOMAIN_PIECE; i++)
		memcpy(page[i], &number, sizeof(number));
}

/* A store whose oldest frames go as new ones come. */
struct ring {
	struct store s;
	uint32_t frame[32], nr[32];
	uint64_t made, denied, used, most;
	unsigned int wrong;
};

static void drop_oldest(struct ring *r, unsigned int at, const uint8_t *seen)
{
	uint32_t index = frame_index(r->frame[at]);

	for (uint32_t i = 0; i < r->nr[at]; i++) {
		r->wrong += memcmp(seen + (index + i) * QUIRE_PAGE_SIZE, &r->frame[at], 4) != 0;
		store_put(&r->s, r->frame[at] + i, 1);
	}
	if (r->nr[at])
		store_free(&r->s, r->frame[at], r->nr[at]);
	r->used -= r->nr[at];
	r->nr[at] = 0;
}

static void make_new(struct ring *r, unsigned int at)
{
	uint32_t n = store_reserve(&r->s, DOMAIN_PIECE, &r->frame[at]);

	fill(r->frame[at]);
	if (store_write(&r->s, r->frame[at], n, page)) {
		store_unreserve(&r->s, r->frame[at], n);
		r->denied++;
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		store_get(&r->s, r->frame[at] + i);
	r->nr[at] = n;
	r->used += n;
	r->made++;
	r->most = max_u64(r->most, r->used);
}

/* Somebody reads everywhere, all the time, while frames come and go. */
static void test_without_end(void)
{
	static struct ring r;
	struct reader reader = { 0 };
	pthread_t thread;
	unsigned int over = 0;
	int fd;

	store_init(&r.s, &shelf, 1);
	make_new(&r, 0);
	fd = store_open(&r.s, 0);
	reader.at = map_segment(fd, TOUCH);
	pthread_create(&thread, NULL, read_on, &reader);
	while (!atomic_load(&reader.turns))
		sched_yield();
	for (unsigned int round = 1; round < ROUNDS || !r.made; round++) {
		unsigned int at = round % ARRAY_SIZE(r.nr);

		drop_oldest(&r, at, reader.at);
		make_new(&r, at);
		over += blocks(fd) > r.most + 2 * SHELF_SLACK;
		if (round % 100 == 0)
			store_sweep(&r.s);
	}
	atomic_store(&reader.stop, true);
	pthread_join(thread, NULL);
	is(r.wrong, 0, "frames have their bytes, whoever reads what is none");
	is(over, 0, "never more exists than the most frames there were, and %u", 2 * SHELF_SLACK);
	ok(r.made > 10, "%lu times there was room for frames, %lu times there was none",
	   (long)r.made, (long)r.denied);
	for (unsigned int i = 0; i < 64 && blocks(fd) != r.used; i++)
		store_sweep(&r.s);
	is(blocks(fd), r.used, "and afterwards exactly the frames are left");
	ok(shelf.room <= r.used + 2 * SHELF_SLACK, "with little room beyond (%lu)",
	   (long)(shelf.room - r.used));
	for (unsigned int i = 0; i < ARRAY_SIZE(r.nr); i++)
		drop_oldest(&r, i, reader.at);
	is(blocks(fd), 0, "until they go");
	munmap(reader.at, TOUCH);
	close(fd);
	store_finish(&r.s);
}

int main(void)
{
	tap_init();
	shelf_open(&shelf);
	if (shelf.ours < 0)
		tap_skip_all("this host permits no user namespace, so holes are not bounded");
	test_alone();
	test_pair();
	test_without_end();
	shelf_close(&shelf);
	return tap_done();
}
