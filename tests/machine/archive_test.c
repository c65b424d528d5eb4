/* SPDX-License-Identifier: MIT */
/*
 * Frames that nobody uses are archived: when, with which others, and what becomes of references.
 * After each step the machine recomputes all of its sums.
 */
#include "merge_scene.h"
#include "mmu/pool/archive.h"

/* Fills a page of a VM: `random` bytes that do not pack, and the number, which is the hash. */
static void fill(const struct merge_vm *v, uint64_t gfn, uint64_t number, unsigned int random,
		 uint8_t *page)
{
	uint64_t seed = number;

	memset(page, 0, QUIRE_PAGE_SIZE);
	for (unsigned int i = 0; i < random; i++)
		page[QUIRE_PAGE_SIZE - 1 - i] = (uint8_t)tap_random(&seed);
	memcpy(page, &number, sizeof(number));
	if (pwrite(v->vm.ram, page, QUIRE_PAGE_SIZE, (off_t)(gfn * QUIRE_PAGE_SIZE)) !=
	    (ssize_t)QUIRE_PAGE_SIZE)
		tap_bail("RAM");
}

/* The VM publishes nr pages, numbered from `first` on and at just these gfns. */
static uint32_t publish(struct scene *s, struct merge_vm *v, uint64_t first, uint32_t nr,
			unsigned int random)
{
	uint8_t page[QUIRE_PAGE_SIZE];

	merge_begin(v, MERGE_LOOKUP, 0);
	for (uint64_t n = first; n < first + nr; n++) {
		fill(v, n, n, random, page);
		merge_claim(v, n | MERGE_PUBLISH, n);
	}
	merge_say(&s->lab, v, NULL);
	return v->msg.frame[0].frame;
}

/* It says that nr frames from `first` on are cold. */
static void call_cold(struct scene *s, struct merge_vm *v, uint32_t first, uint32_t nr)
{
	merge_begin(v, MERGE_COLD, 0);
	v->msg.nr = nr;
	for (uint32_t i = 0; i < nr; i++)
		v->msg.cold[i] = first + i;
	wire_send_merge(v->merge, &v->msg, -1);
	lab_step(&s->lab);
}

static void drop(struct scene *s, struct merge_vm *v, uint32_t frame, uint32_t references)
{
	while (references--)
		merge_drop(&s->lab, v, frame);
}

/* The bytes of a frame, as the VM reads them. */
static bool read_frame(struct scene *s, struct merge_vm *v, uint32_t frame, uint8_t *page)
{
	struct merge_msg kept = v->msg;
	bool read;
	int fd = -1;

	merge_begin(v, MERGE_SEGMENT, frame >> MERGE_SEGMENT_SHIFT);
	read = merge_say(&s->lab, v, &fd) == MERGE_SEGMENT &&
	       pread(fd, page, QUIRE_PAGE_SIZE,
		     (off_t)(frame % MERGE_SEGMENT_FRAMES) * (off_t)QUIRE_PAGE_SIZE) ==
		       (ssize_t)QUIRE_PAGE_SIZE;
	if (fd >= 0)
		close(fd);
	v->msg = kept;
	return read;
}

/* Is entry i of the news that this frame, with the bytes of that page, is archived? */
static bool tells(struct scene *s, struct merge_vm *v, uint32_t i, uint32_t frame, uint64_t number,
		  unsigned int random, uint32_t references)
{
	uint8_t archive[QUIRE_PAGE_SIZE], page[QUIRE_PAGE_SIZE], want[QUIRE_PAGE_SIZE];
	const struct merge_frame n = v->msg.frame[i];

	fill(v, PAGES - 1, number, random, want);
	return n.gfn & MERGE_ARCHIVED && merge_archived_frame(n.gfn) == frame &&
	       n.references == references && read_frame(s, v, n.frame, archive) &&
	       archive_get(archive, merge_archived_at(n.gfn), page, NULL) &&
	       !memcmp(page, want, sizeof(page));
}

static void test_pair(void)
{
	uint32_t frame, archive;
	bool right = true;
	struct scene s;

	begin_pair(&s);
	frame = publish(&s, &a, 10, 4, 100);
	is(publish(&s, &b, 10, 4, 100), frame, "two VMs share four frames");
	call_cold(&s, &a, frame, 4);
	is(merge_get_news(&s.lab, &a), 0, "one says that they are cold, and nothing happens");
	call_cold(&s, &b, frame, 4);
	is(store_pages(&s), 5, "both say it, and they are packed into one frame");
	for (unsigned int who = 0; who < 2; who++) {
		struct merge_vm *v = who ? &b : &a;

		is(merge_get_news(&s.lab, v), 4, "each is told of all four");
		for (uint32_t i = 0; i < 4; i++)
			right &= tells(&s, v, i, frame + i, 10 + i, 100, 1) &&
				 v->msg.frame[i].frame == v->msg.frame[0].frame;
		ok(right, "... which are all in it, with a reference for each");
	}
	archive = b.msg.frame[0].frame;
	for (uint32_t i = 0; i < 4; i++) {
		drop(&s, &a, frame + i, 1);
		drop(&s, &b, frame + i, 1);
	}
	is(store_pages(&s), 1, "when both have dropped the frames, there is the archive alone");
	is(merge_look(&s.lab, &a, 900, 10), MERGE_UNIQUE, "nobody finds what is in it");
	drop(&s, &a, archive, 4);
	is(store_pages(&s), 1, "it stays while one has references");
	drop(&s, &b, archive, 3);
	is(store_pages(&s), 1, "... even one");
	drop(&s, &b, archive, 1);
	is(store_pages(&s), 0, "... and goes with the last");
	end_pair(&s);
}

static void test_warm(void)
{
	uint32_t frame, archive;
	struct scene s;

	begin_pair(&s);
	frame = publish(&s, &a, 10, 2, 100);
	publish(&s, &b, 10, 2, 100);
	call_cold(&s, &a, frame, 2);
	publish(&s, &a, 10, 2, 100);
	call_cold(&s, &b, frame, 2);
	is(merge_get_news(&s.lab, &b), 0, "who got a reference since has not called it cold");
	call_cold(&s, &a, frame, 2);
	is(merge_get_news(&s.lab, &a), 2, "... and may call it so again");
	ok(tells(&s, &a, 0, frame, 10, 100, 2) && tells(&s, &a, 1, frame + 1, 11, 100, 2),
	   "who has two references to a frame gets two to the archive");
	archive = a.msg.frame[0].frame;
	call_cold(&s, &a, frame, 2);
	is(store_pages(&s), 3, "what was archived is not cold any more");
	for (uint32_t i = 0; i < 2; i++) {
		drop(&s, &a, frame + i, 2);
		drop(&s, &b, frame + i, 1);
	}
	drop(&s, &a, archive, 4);
	drop(&s, &b, archive, 1);
	is(store_pages(&s), 1, "all of these can be dropped");
	is(lab_state(&s.lab).nr_vms, 2, "... which is no crime");
	drop(&s, &b, archive, 1);
	is(store_pages(&s), 0, "... and the archive goes with the last");
	end_pair(&s);
}

static void test_alone(void)
{
	uint32_t frame;
	struct scene s;

	begin_pair(&s);
	frame = publish(&s, &a, 10, 2, 100);
	call_cold(&s, &a, frame, 1);
	is(store_pages(&s), 2, "an archive of one page would win nothing");
	call_cold(&s, &a, frame, 2);
	is(store_pages(&s), 3, "with another one it does");
	is(merge_get_news(&s.lab, &a), 2, "... which is told");
	end_pair(&s);
}

/* Whoever can read an archive had all that is in it. */
static void test_holders(void)
{
	uint32_t frame, archive[2];
	struct scene s;

	begin_pair(&s);
	frame = publish(&s, &a, 10, 4, 100);
	publish(&s, &b, 12, 2, 100);
	call_cold(&s, &b, frame + 2, 2);
	call_cold(&s, &a, frame + 1, 2);
	is(store_pages(&s), 4, "frames that others hold are not packed together");
	call_cold(&s, &a, frame, 4);
	is(store_pages(&s), 6, "each two of the same holders are");
	is(merge_get_news(&s.lab, &b), 2, "one VM is told of its two");
	ok(tells(&s, &b, 0, frame + 2, 12, 100, 1) && tells(&s, &b, 1, frame + 3, 13, 100, 1),
	   "... and just these");
	archive[0] = b.msg.frame[0].frame;
	is(merge_get_news(&s.lab, &a), 4, "the other one of all four");
	archive[1] = 0;
	for (uint32_t i = 0; i < 4; i++)
		if (merge_archived_frame(a.msg.frame[i].gfn) < frame + 2)
			archive[1] = a.msg.frame[i].frame;
	ok(archive[0] != archive[1], "what it has alone is in another archive");
	end_pair(&s);
}

static void test_rigid(void)
{
	uint32_t frame;
	struct scene s;

	begin_pair(&s);
	frame = publish(&s, &a, 10, 3, 3500);
	call_cold(&s, &a, frame, 3);
	call_cold(&s, &a, frame, 3);
	is(store_pages(&s), 3, "pages that do not pack stay");
	is(merge_get_news(&s.lab, &a), 0, "... and nobody is told");
	drop(&s, &a, frame, 1);
	is(publish(&s, &a, 20, 1, 100), frame, "another page gets the frame of one of them");
	is(publish(&s, &a, 21, 1, 100), frame + 3, "... and there is one more");
	call_cold(&s, &a, frame, 4);
	is(merge_get_news(&s.lab, &a), 2, "these two pack");
	end_pair(&s);
}

/* As many as a packet has, of various sizes. */
static void test_many(void)
{
	uint32_t frame, archives = 0;
	bool right = true;
	struct scene s;

	begin_pair(&s);
	frame = publish(&s, &a, 10, MERGE_COLD_MOST, 1200);
	publish(&s, &b, 10, MERGE_COLD_MOST, 1200);
	call_cold(&s, &a, frame, MERGE_COLD_MOST);
	call_cold(&s, &b, frame, MERGE_COLD_MOST);
	is(merge_get_news(&s.lab, &b), MERGE_COLD_MOST - 1,
	   "three fit into an archive, and one is left");
	for (uint32_t i = 0; i < b.msg.nr; i++) {
		right &= tells(&s, &b, i, frame + i, 10 + i, 1200, 1);
		archives += !i || b.msg.frame[i].frame != b.msg.frame[i - 1].frame;
	}
	ok(right, "each has its bytes");
	is(archives, MERGE_COLD_MOST / 3, "there are as many archives as need be");
	is(store_pages(&s), MERGE_COLD_MOST + archives, "... which are paid for");
	end_pair(&s);
}

/* Half of what a VM may have is taken, and the machine has next to no memory. */
static void test_limits(void)
{
	struct machine_state state;
	uint32_t frame;
	struct scene s;

	begin(&s, 2000);
	merge_vm_open(&s.lab, s.control, &a, "d", 4 * PAGES);
	frame = publish(&s, &a, 10, 2, 100);
	is(merge_get_news(&s.lab, &a) + a.msg.arg, 0, "with memory to spare no COLD is welcome");
	do {
		say_credit(a.vm.channel, 10, 10);
		lab_step(&s.lab);
	} while (hear(a.vm.channel, NULL, NULL) == MACHINE_GRANT &&
		 lab_state(&s.lab).free_pages >= lab_state(&s.lab).min_pages + 10);
	merge_get_news(&s.lab, &a);
	is(a.msg.arg, MERGE_SHORT, "... and when it is short, NEWS say so");
	do
		publish(&s, &a, 1000 + store_pages(&s), 1, 100);
	while (MERGE_IS_FRAME(a.msg.frame[0].frame));
	state = lab_state(&s.lab);
	call_cold(&s, &a, frame, 2);
	is(store_pages(&s), state.store_pages, "with no memory at all nothing is archived");
	merge_vm_close(&s.lab, &a);
	end(&s);
	begin(&s, GIB_PAGES);
	merge_vm_open(&s.lab, s.control, &a, "d", MERGE_BATCH);
	for (uint32_t n = 0; n < 2; n++)
		frame = publish(&s, &a, 0, MERGE_BATCH, 100);
	for (uint32_t n = 0; n < 2 * MERGE_BATCH; n++)
		merge_look(&s.lab, &a, 0, 0);
	call_cold(&s, &a, frame, 2);
	is(store_pages(&s), MERGE_BATCH, "nor if nobody may have references to the archive");
	merge_vm_close(&s.lab, &a);
	end(&s);
}

/* A VM that held much ends, and gives it back a part at a time: it gets nothing meanwhile. */
static void test_end(void)
{
	uint32_t pages = 20 * MERGE_BATCH, frame = 0;
	struct scene s;

	begin(&s, GIB_PAGES);
	merge_vm_open(&s.lab, s.control, &a, "d", pages);
	merge_vm_open(&s.lab, s.control, &b, "d", pages);
	for (uint32_t n = 0; n < pages; n += MERGE_BATCH)
		frame = publish(&s, &a, n, MERGE_BATCH, 100);
	publish(&s, &b, pages - MERGE_BATCH, 4, 100);
	call_cold(&s, &a, frame, 4);
	close(a.merge);
	a.merge = -1;
	lab_finish_vm(&a.vm);
	machine_serve(s.lab.m);
	ok(store_pages(&s) > 4 && store_pages(&s) < pages, "a VM that held much is giving it back");
	merge_begin(&b, MERGE_COLD, 0);
	b.msg.nr = 4;
	for (uint32_t i = 0; i < 4; i++)
		b.msg.cold[i] = frame + i;
	wire_send_merge(b.merge, &b.msg, -1);
	lab_step(&s.lab);
	is(lab_state(&s.lab).nr_vms, 1, "another one calls cold what both had");
	while (store_pages(&s) > 4)
		machine_serve(s.lab.m);
	call_cold(&s, &b, frame, 4);
	is(merge_get_news(&s.lab, &b), 4, "... and has it archived for itself alone");
	for (uint32_t i = 0; i < 4; i++)
		drop(&s, &b, frame + i, 1);
	is(store_pages(&s), 1, "... in one frame");
	merge_vm_close(&s.lab, &b);
	end(&s);
}

int main(void)
{
	test_pair();
	test_warm();
	test_alone();
	test_holders();
	test_rigid();
	test_many();
	test_limits();
	test_end();
	return tap_done();
}
