/* SPDX-License-Identifier: MIT */
/* Rates, rings and VMs that come and go, from looks that the test makes up. */
#include <stdlib.h>
#include <string.h>
#include "tests/tap.h"
#include "vmm/look/watch.h"

static struct watch w;

/* A look at time t, in seconds, in which nobody is yet. */
static void begin(uint64_t t)
{
	look_finish(&w.look);
	w.look.at_ns = t * 1000000000;
}

static struct roster_vm *see(uint32_t pid, uint64_t t)
{
	struct roster *r = &w.look.roster;
	struct roster_vm *vm;

	r->vm = reallocarray(r->vm, r->nr_vms + 1, sizeof(*r->vm));
	vm = &r->vm[r->nr_vms++];
	*vm = (struct roster_vm){ .pid = pid, .answers = true, .fd = -1 };
	vm->info.now_ns = t * 1000000000;
	return vm;
}

static const struct watch_point *newest(uint32_t pid)
{
	const struct roster_vm vm = { .pid = pid };
	const struct watch_ring *ring = watch_ring_of(&w, &vm);

	return ring ? watch_point(ring, 0) : NULL;
}

static void rates(void)
{
	struct roster_vm *vm;

	begin(10);
	vm = see(7, 10);
	vm->info.mem.faults = 100;
	vm->info.mem.stall.total_ns[STALL_SOME] = 5;
	watch_note(&w);
	is(newest(7)->over_ns, 0, "a first look is over no time");
	is(newest(7)->per_second[WATCH_FAULTS], 0, "so it has no rate");

	begin(12);
	vm = see(7, 12);
	vm->info.mem.faults = 400;
	vm->info.merge.merged_pages = 20;
	vm->info.merge.zeroed_pages = 4;
	vm->info.mem.loaded_pages = 2;
	vm->info.mem.swapped_in_pages = 4;
	vm->info.mem.stall.total_ns[STALL_SOME] = 5 + 1000000000;
	vm->info.mem.s2.pages[PG_PRIVATE] = 33;
	vm = see(9, 12);
	vm->info.mem.s2.pages[PG_PRIVATE] = 11;
	watch_note(&w);
	is(newest(7)->per_second[WATCH_FAULTS], 150, "300 faults in 2 s");
	is(newest(7)->per_second[WATCH_MERGES], 12, "merges are shared and zero pages");
	is(newest(7)->per_second[WATCH_LOADS], 3, "loads are of both kinds");
	is(newest(7)->stall_permille, 499, "stalled half of the time, rounded down");
	is(watch_point(&w.all, 0)->state_pages[PG_PRIVATE], 44, "all VMs add up");
	is(watch_point(&w.all, 0)->stall_permille, 249, "... and their stalls have a mean");
	is(watch_point(&w.all, 0)->per_second[WATCH_FAULTS], 150, "... and their rates a sum");
}

static void comings(void)
{
	begin(13);
	see(9, 13);
	see(8, 13)->answers = false;
	watch_note(&w);
	ok(!newest(7), "a VM that is gone is forgotten");
	ok(newest(9), "one that is there is not");
	ok(!newest(8), "one that never answered has no ring");

	begin(14);
	see(9, 14)->answers = false;
	watch_note(&w);
	is(newest(9)->at_ns, 13000000000, "one that does not answer keeps what is known");

	begin(15);
	see(9, 15)->info.mem.faults = 10;
	watch_note(&w);
	begin(16);
	see(9, 16)->info.mem.faults = 4;
	watch_note(&w);
	is(newest(9)->per_second[WATCH_FAULTS], 0, "a counter that began anew is no rate");
}

static void wraps(void)
{
	struct watch_ring *ring = &w.all;
	uint64_t before = ring->nr;

	for (uint64_t t = 20; t < 20 + WATCH_POINTS + 5; t++) {
		begin(t);
		watch_note(&w);
	}
	is(ring->nr, before + WATCH_POINTS + 5, "more points than a ring has");
	is(watch_point(ring, 0)->at_ns / 1000000000, 20 + WATCH_POINTS + 4, "the newest");
	is(watch_point(ring, WATCH_POINTS - 1)->at_ns / 1000000000, 25, "the oldest");
	ok(!watch_point(ring, WATCH_POINTS), "none before that");
}

static void away(void)
{
	struct quire_error err;

	watch_finish(&w);
	watch_init(&w, "@quire/test/nobody-listens-here");
	is(watch_step(&w, &err), 0, "a machine that is away is no failure");
	ok(w.away && w.why.text[0], "it is said: %s", w.why.text);
	is(w.look.roster.nr_vms, 0, "and the look is empty");
}

int main(void)
{
	tap_init();
	watch_init(&w, NULL);
	rates();
	comings();
	wraps();
	away();
	watch_finish(&w);
	return tap_done();
}
