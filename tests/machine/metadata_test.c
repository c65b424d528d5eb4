/* SPDX-License-Identifier: MIT */
/*
 * What it costs to find equal pages, and who pays: a VM that invents hashes, one that has as many
 * pages as it says, memory that is short, pages that go, and a VM that ends.
 */
#include "merge_scene.h"

/* Look up n pages from gfn on, by hashes of their own that nobody else has.  Returns the frames. */
static unsigned int claim(struct scene *s, struct merge_vm *v, uint64_t gfn, uint64_t n)
{
	unsigned int frames = 0;

	for (uint64_t done = 0; done < n; done += MERGE_BATCH) {
		uint64_t nr = min_u64(n - done, MERGE_BATCH);

		merge_begin(v, MERGE_LOOKUP, 0);
		for (uint64_t i = gfn + done; i < gfn + done + nr; i++)
			merge_claim(v, i, (i + 1) * 0x9e3779b97f4a7c15ULL + (uintptr_t)v);
		if (merge_say(&s->lab, v, NULL) != MERGE_FRAMES)
			tap_bail("no answer");
		for (uint64_t i = 0; i < nr; i++)
			frames += MERGE_IS_FRAME(v->msg.frame[i].frame);
	}
	return frames;
}

static void put_pages(const struct merge_vm *v, uint64_t gfn, uint64_t n)
{
	if (fallocate(v->vm.ram, 0, (off_t)(gfn * QUIRE_PAGE_SIZE), (off_t)(n * QUIRE_PAGE_SIZE)))
		tap_bail("fallocate: %s", strerror(errno));
}

static void drop_pages(const struct merge_vm *v, uint64_t gfn, uint64_t n)
{
	if (fallocate(v->vm.ram, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)(gfn * QUIRE_PAGE_SIZE), (off_t)(n * QUIRE_PAGE_SIZE)))
		tap_bail("fallocate: %s", strerror(errno));
}

/* The machine's record of its only domain. */
static struct machine_domain_record domain_of(struct scene *s)
{
	struct machine_domain_record record = { .hints = 0 };
	struct machine_msg msg;

	say(s->control, MACHINE_DOMAINS, 0, 0, -1);
	lab_step(&s->lab);
	while (hear(s->control, &msg, NULL) > 0)
		if (msg.type == MACHINE_DOMAIN)
			record = msg.domain_record;
	return record;
}

static uint64_t charged(struct scene *s)
{
	return lab_state(&s->lab).overhead_pages * QUIRE_PAGE_SIZE;
}

static uint64_t metadata(struct scene *s)
{
	return lab_state(&s->lab).merge_metadata_bytes;
}

/* Hashes of pages that were only promised. */
static void test_invented(void)
{
	uint64_t before;
	struct scene s;

	begin(&s, GIB_PAGES);
	merge_vm_open(&s.lab, s.control, &a, "d", 200000);
	put_pages(&a, 7, 100);
	before = metadata(&s);
	claim(&s, &a, 0, 40000);
	ok(domain_of(&s).hints <= 100, "of 40000 pages that are not there 100 become hints");
	ok(metadata(&s) < before + 400 * KiB, "which costs little: %lu KiB",
	   (metadata(&s) - before) / KiB);
	merge_vm_close(&s.lab, &a);
	end(&s);
}

static void test_charge(void)
{
	uint64_t fixed, charge, cost;
	struct machine_state state;
	struct scene s;

	begin(&s, GIB_PAGES);
	merge_vm_open(&s.lab, s.control, &a, "d", 40000);
	put_pages(&a, 0, 40000);
	state = lab_state(&s.lab);
	is(state.free_pages + state.overhead_pages + state.credit_pages, GIB_PAGES,
	   "what it costs to merge a VM is overhead, and not free");
	claim(&s, &a, 0, 1000);
	fixed = metadata(&s);
	charge = charged(&s);
	claim(&s, &a, 1000, 39000);
	is(domain_of(&s).hints, 40000, "all pages that are there become hints");
	cost = metadata(&s) - fixed;
	charge = charged(&s) - charge;
	ok(charge + 512 * KiB >= cost, "their VM is charged %lu KiB, and they cost %lu KiB",
	   charge / KiB, cost / KiB);
	ok(charge < 2 * cost + 512 * KiB, "and not much more");
	merge_vm_close(&s.lab, &a);
	end(&s);
}

static void test_no_room(void)
{
	struct machine_state state;
	struct lab_vm needy;
	struct scene s;

	begin(&s, 20000);
	merge_vm_open(&s.lab, s.control, &a, "d", 15000);
	put_pages(&a, 0, 15000);
	claim(&s, &a, 0, 100);
	needy = merge_admit(&s.lab, s.control, lab_promise(GIB_PAGES, 1));
	do {
		say_credit(needy.channel, 1, 1);
		lab_step(&s.lab);
	} while (hear(needy.channel, NULL, NULL) == MACHINE_GRANT);
	state = lab_state(&s.lab);
	claim(&s, &a, 100, 14900);
	ok(lab_state(&s.lab).free_pages + 10 > state.min_pages / 2,
	   "when memory is short hints dig down to half of min: %lu of %lu",
	   lab_state(&s.lab).free_pages, state.min_pages);
	ok(domain_of(&s).hints < 15000, "and then there are no more: %lu", domain_of(&s).hints);
	lab_finish_vm(&needy);
	merge_vm_close(&s.lab, &a);
	end(&s);
}

/* A guest's pages move: first some are there, then others. */
static void test_pages_go(void)
{
	struct scene s;

	begin(&s, GIB_PAGES);
	merge_vm_open(&s.lab, s.control, &a, "d", 60000);
	put_pages(&a, 0, 4000);
	claim(&s, &a, 0, 4000);
	drop_pages(&a, 0, 4000);
	put_pages(&a, 50000, 4000);
	for (unsigned int i = 0; i < 3; i++)
		claim(&s, &a, 50000, 4000);
	is(domain_of(&s).hints, 4000, "hints of pages that are gone make room for others");
	merge_vm_close(&s.lab, &a);
	end(&s);
}

static void test_vm_ends(void)
{
	uint64_t most;
	struct scene s;

	begin(&s, GIB_PAGES);
	merge_vm_open(&s.lab, s.control, &a, "d", 40000);
	merge_vm_open(&s.lab, s.control, &b, "d", 1000);
	put_pages(&a, 0, 40000);
	claim(&s, &a, 0, 40000);
	most = domain_of(&s).index_bytes;
	merge_vm_close(&s.lab, &a);
	put_pages(&b, 0, 1000);
	for (unsigned int i = 0; i < 300; i++)
		claim(&s, &b, i, 1);
	ok(domain_of(&s).index_bytes < most / 8,
	   "when a VM has ended, its part of the index is given back: %lu KiB of %lu",
	   domain_of(&s).index_bytes / KiB, most / KiB);
	merge_vm_close(&s.lab, &b);
	end(&s);
}

int main(void)
{
	tap_init();
	test_invented();
	test_charge();
	test_no_room();
	test_pages_go();
	test_vm_ends();
	return tap_done();
}
