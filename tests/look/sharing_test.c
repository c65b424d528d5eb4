/* SPDX-License-Identifier: MIT */
/*
 * How many VMs share a page: VMs that are made up answer over their sockets with the frames that
 * this test gives them.
 */
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include "tests/cli/observe_lab.h"
#include "vmm/look/sharing.h"

#define PAGES 40u
#define MANY  (CTL_MAX_RUNS + 2) /* runs, more than one answer has */

/* Frames are { segment, index }. */
static const struct gmem_shared_run a_has[] = {
	{ 5, 4, { 1, 10 } },  { 20, 1, { 2, 0 } },
	{ 30, 1, { 1, 50 } }, { 31, 1, { 1, 50 } }, /* the same frame again */
	{ 39, 3, { 1, 60 } },			    /* goes on behind what is asked about */
};
static const struct gmem_shared_run b_has[] = {
	{ 7, 1, { 2, 0 } },
	{ 100, 2, { 1, 11 } },
	{ 200, 1, { 1, 61 } },
};
static const struct gmem_shared_run other_has[] = { { 5, 4, { 1, 10 } } };
static struct gmem_shared_run many_has[MANY];

enum { A, B, OTHER, MANY_RUNS, GONE, NR_VMS };

static struct roster_machine machine = { .address = (char *)"@quire/machine/none" };
static struct roster_vm vm[NR_VMS];
static const struct roster roster = { &machine, 1, vm, NR_VMS, NULL };
static uint16_t owners[PAGES];

static void start(unsigned int i, const struct gmem_shared_run *run, size_t nr, const char *domain)
{
	vm[i] = (struct roster_vm){ .answers = true, .id = i + 1, .fd = -1 };
	snprintf(vm[i].name, sizeof(vm[i].name), "sharing%d-%u", (int)getpid(), i);
	snprintf(vm[i].info.domain, sizeof(vm[i].info.domain), "%s", domain);
	lab_vm.run = run;
	lab_vm.nr_runs = (unsigned int)nr;
	vm[i].pid = (uint32_t)lab_start_vm(vm[i].name, VM_RUNNING);
}

static void start_all(void)
{
	for (unsigned int i = 0; i < MANY; i++)
		many_has[i] = (struct gmem_shared_run){ 3 * i, 1, { 3, 2 * i } };
	many_has[MANY - 1].frame = (struct gmem_frame){ 1, 13 };
	start(A, a_has, ARRAY_SIZE(a_has), "d");
	start(B, b_has, ARRAY_SIZE(b_has), "d");
	start(OTHER, other_has, ARRAY_SIZE(other_has), "other");
	start(MANY_RUNS, many_has, ARRAY_SIZE(many_has), "d");
	start(GONE, a_has, ARRAY_SIZE(a_has), "d");
	lab_end((pid_t)vm[GONE].pid, SIGKILL);
}

static int count(gfn_t gfn, uint64_t nr)
{
	struct quire_error err = { "" };
	int code;

	memset(owners, 0xff, sizeof(owners));
	code = sharing_count(&roster, &vm[A], gfn, nr, owners, &err);
	tap_note("%d: %s", code, err.text);
	return code;
}

static void test_all(void)
{
	static const struct {
		unsigned int gfn, owners;
		const char *what;
	} want[] = {
		{ 5, 1, "a VM of another domain does not count" },
		{ 6, 2, "two VMs share a page, at different places" },
		{ 7, 2, "... and the next, of the same run" },
		{ 8, 2, "a VM has more runs than fit into one answer: the last is seen, too" },
		{ 20, 2, "a frame of another segment" },
		{ 30, 1, "a VM counts once for a frame that two of its pages have" },
		{ 31, 1, "... at both of them" },
		{ 39, 1, "the end of what is asked about cuts a run" },
	};
	unsigned int others = 0;

	is(count(0, PAGES), 0, "the VMs are asked, although one of them has ended");
	for (unsigned int i = 0; i < ARRAY_SIZE(want); i++) {
		is(owners[want[i].gfn], want[i].owners, "page %u: %s", want[i].gfn, want[i].what);
		owners[want[i].gfn] = 0;
	}
	for (unsigned int i = 0; i < PAGES; i++)
		others += owners[i];
	is(others, 0, "pages that are not shared have no owners");
}

static void test_part(void)
{
	is(count(6, 2), 0, "two pages are asked about");
	ok(owners[0] == 2 && owners[1] == 2, "... in the middle of a run");
	is(owners[2], 0xffff, "... and no others are written");
	is(count(9, 11), 0, "pages between two runs");
	ok(owners[0] == 0 && owners[10] == 0, "... are not shared");
}

/* Or -errno. */
static int count_page_6(void)
{
	int code = count(6, 1);

	return code ? code : owners[0];
}

/* VMs that no machine knows, or another one, may have the same numbers of frames. */
static void test_machines(void)
{
	vm[B].machine = 1;
	is(count_page_6(), 1, "a VM of another machine does not count");
	vm[B].machine = 0;
	vm[B].id = 0;
	is(count_page_6(), 1, "nor does one that has no machine");
	vm[B].id = 2;
	vm[B].answers = false;
	is(count_page_6(), 1, "nor does one that did not answer the look");
	vm[B].answers = true;
	vm[B].pid++;
	is(count_page_6(), 1, "nor does another process of that name");
	vm[B].pid--;
	is(count_page_6(), 2, "as it was before, it does");
}

static void test_failures(void)
{
	vm[A].pid++;
	is(count(6, 1), -ECONNRESET, "the VM itself must be the process that is meant");
	is(owners[0], 0, "... or nothing is known to be shared");
	vm[A].pid--;
	lab_end((pid_t)vm[A].pid, SIGKILL);
	is(count(6, 1), -ECONNREFUSED, "it may have ended");
}

int main(void)
{
	tap_init();
	lab_isolate();
	start_all();
	test_all();
	test_part();
	test_machines();
	test_failures();
	for (unsigned int i = B; i < GONE; i++)
		lab_end((pid_t)vm[i].pid, SIGKILL);
	return tap_done();
}
