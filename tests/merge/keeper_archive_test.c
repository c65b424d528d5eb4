/* SPDX-License-Identifier: MIT */
/*
 * Shared pages that no guest uses become archived, and come home when one is used; with a machine
 * that lives, and with one that dies.
 */
#include "keeper_lab.h"

#define NR     (2 * QUIRE_BLOCK_PAGES)
#define EQUAL  300u
#define MEMORY (256 * MiB / QUIRE_PAGE_SIZE)

static struct lab_vm vm[2];

/* So many rounds of passes after the guests have written what is equal. */
static void begin(unsigned int rounds)
{
	lab_machine_open(MEMORY);
	for (unsigned int v = 0; v < 2; v++) {
		vm[v] = (struct lab_vm){ .nr = NR,
					 .domain = "a",
					 .mode = KEEPER_ON,
					 .logged = true,
					 .look_ns = 1,
					 .hugepages = GMEM_HUGE_NEVER };
		lab_vm_start(&vm[v]);
		for (gfn_t g = 0; g < EQUAL; g++)
			lab_write(&vm[v], g, 1 + (uint32_t)g, true);
	}
	lab_rounds(vm, 2, rounds);
}

static void end(void)
{
	for (unsigned int v = 0; v < 2; v++)
		is(gmem_audit(vm[v].gm, lab_report, NULL), 0, "audit of vm %u", v);
	is(lab_machine_audit(), 0, "audit of the machine");
	for (unsigned int v = 0; v < 2; v++)
		lab_vm_end(&vm[v]);
	lab_machine_close();
}

static void test_away_and_home(void)
{
	uint64_t frames, nr;

	begin(8);
	frames = lab_state().store_pages;
	nr = lab_pages(&vm[0], PG_ARCHIVED);
	ok(nr >= EQUAL - 1, "pages that are equal, and not used, are archived, but for an odd one");
	is(lab_pages(&vm[1], PG_ARCHIVED), nr, "... in both VMs");
	ok(frames < EQUAL * 3 / 4, "... once for both, in %lu frames", (long)frames);
	is(lab_pages(&vm[0], PG_PRIVATE), 0, "nothing of them is left elsewhere");
	ok(lab_eventually(lab_references_agree, vm, 2), "each has a reference");
	ok(lab_all_right(&vm[0], false), "the VMM reads what was written");
	is(lab_stats(&vm[0]).unarchived_pages, 0, "... where it is");
	ok(lab_reads_right(&vm[0], 7, true), "the guest reads what was written");
	is(lab_pages(&vm[0], PG_ARCHIVED), nr - 1, "... which brings the page home");
	lab_write(&vm[0], 8, 8000, true);
	ok(lab_all_right(&vm[0], false) && lab_all_right(&vm[1], false),
	   "a write changes one page of one VM");
	is(lab_stats(&vm[0]).unarchived_pages, 2, "both are counted");
	for (gfn_t g = 0; g < EQUAL; g++)
		lab_reads_right(&vm[0], g, true);
	is(lab_pages(&vm[0], PG_ARCHIVED), 0, "all come home to one VM");
	is(lab_pages(&vm[1], PG_ARCHIVED), nr, "... and to no other");
	gmem_drop(vm[1].gm, 0, 100, NULL);
	memset(vm[1].content, 0, 100 * sizeof(*vm[1].content));
	is(lab_pages(&vm[1], PG_ARCHIVED), nr - 100, "archived pages can be given up");
	keeper_set_mode(vm[1].k, KEEPER_OFF);
	lab_rounds(vm, 2, 2);
	is(lab_pages(&vm[1], PG_ARCHIVED), 0, "without merging there are none");
	ok(lab_all_right(&vm[0], true) && lab_all_right(&vm[1], true), "every byte is right");
	end();
}

/* One of both uses a third of them in each round: what was cold may be used when it is archived. */
static void test_used(void)
{
	begin(0);
	for (unsigned int round = 0; round < 12; round++) {
		for (gfn_t g = 0; g < EQUAL; g++)
			if ((g / 32 + round) % 3 == 0)
				lab_reads_right(&vm[0], g, true);
		lab_rounds(vm, 2, 1);
	}
	ok(lab_all_right(&vm[0], false) && lab_all_right(&vm[1], false), "every byte is right");
	ok(lab_eventually(lab_references_agree, vm, 2), "each has a reference, and no more");
	end();
}

static void test_machine_dies(void)
{
	begin(8);
	lab_machine_die();
	ok(lab_all_right(&vm[0], false) && lab_all_right(&vm[1], false),
	   "when the machine is dead, what was archived is there");
	ok(lab_reads_right(&vm[0], 3, true), "... and comes home");
	lab_machine_open(lab.memory);
	for (unsigned int v = 0; v < 2; v++)
		lab_vm_readmit(&vm[v]);
	lab_rounds(vm, 2, 10);
	is(lab_orphans(&vm[0]) + lab_orphans(&vm[1]), 0, "at another machine no page is an orphan");
	ok(lab_pages(&vm[1], PG_ARCHIVED) + lab_pages(&vm[1], PG_SHARED) >= EQUAL - 1,
	   "... and all that are equal are shared or archived again");
	ok(lab_eventually(lab_references_agree, vm, 2), "each has a reference");
	ok(lab_all_right(&vm[0], true) && lab_all_right(&vm[1], true), "every byte is right");
	end();
}

static void test_all(bool on_shadow)
{
	guest_on_shadow = on_shadow;
	test_away_and_home();
	test_used();
	test_machine_dies();
}

int main(int argc, char **argv)
{
	tap_init();
	tap_seed(argc, argv);
	lab_catch_segv();
	test_all(false);
	test_all(true);
	return tap_done();
}
