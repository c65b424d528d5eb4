/* SPDX-License-Identifier: MIT */
/*
 * VMs that were taken over, and say of their pages what is not true: to keep others from merging,
 * or to learn what others have.  The attacker is always VM a; b and c are honest.
 */
#include "merge_scene.h"

#define SECRET 77   /* the number of a page that the attacker would like to know of */
#define OTHER  1000 /* and of one that nobody has */

static void begin_three(struct scene *s)
{
	begin_pair(s);
	merge_vm_open(&s->lab, s->control, &c, "d", PAGES);
}

static void end_three(struct scene *s)
{
	merge_vm_close(&s->lab, &c);
	end_pair(s);
}

static struct machine_vm_record record(struct scene *s, const struct merge_vm *v)
{
	struct machine_msg msg;

	say(s->control, MACHINE_LIST, v->vm.id, 0, -1);
	lab_step(&s->lab);
	if (hear(s->control, &msg, NULL) != MACHINE_VM)
		tap_bail("no record");
	while (hear(s->control, NULL, NULL) > 0)
		;
	return msg.vm_record;
}

/* The honest VMs get one frame for their equal pages, which is what it says. */
static void can_merge(struct scene *s, const char *what)
{
	uint32_t frame;

	merge_look(&s->lab, &b, 5, SECRET);
	frame = merge_look(&s->lab, &c, 6, SECRET);
	ok(MERGE_IS_FRAME(frame), "%s: two honest VMs merge their pages all the same", what);
	is(merge_get_news(&s->lab, &b), 1, "... both of them");
	is(b.msg.frame[0].frame, frame, "... with one frame");
	is(merge_get_news(&s->lab, &a), 0, "and the attacker does not hear of it");
}

/* ---- denial ---- */

static void test_false_frame(void)
{
	struct scene s;

	begin_three(&s);
	merge_fill(&a, 1, OTHER);
	is(merge_lie(&s.lab, &a, 1 | MERGE_PUBLISH, SECRET), MERGE_UNIQUE,
	   "a page that is published under the hash of another does not become a frame");
	is(store_pages(&s), 0, "there is none");
	is(record(&s, &a).lookup_unproven, 1, "and it is counted");
	can_merge(&s, "a false frame");
	end_three(&s);
}

static void test_false_pair(void)
{
	struct scene s;

	begin_three(&s);
	merge_fill(&a, 1, OTHER);
	merge_fill(&a, 2, OTHER);
	merge_begin(&a, MERGE_LOOKUP, 0);
	merge_claim(&a, 1, SECRET);
	merge_claim(&a, 2, SECRET);
	merge_say(&s.lab, &a, NULL);
	ok(a.msg.frame[0].frame == MERGE_UNIQUE && a.msg.frame[1].frame == MERGE_UNIQUE,
	   "two equal pages under the hash of a third do not become a frame");
	can_merge(&s, "a false pair");
	end_three(&s);
}

static void test_false_hints(void)
{
	struct scene s;

	begin_three(&s);
	for (uint64_t gfn = 0; gfn < 10; gfn++) {
		merge_fill(&a, gfn, OTHER);
		merge_lie(&s.lab, &a, gfn, SECRET);
	}
	can_merge(&s, "false hints");
	for (uint64_t gfn = 0; gfn < 10; gfn++)
		merge_lie(&s.lab, &a, gfn, SECRET);
	is(lab_state(&s.lab).store_references, 2, "later ones change nothing either");
	end_three(&s);
}

/* Who knows the domain's secret makes a page with the hash of another. */
static void forge(const struct merge_vm *v, uint64_t gfn, uint64_t number)
{
	merge_fill(v, gfn, OTHER);
	if (pwrite(v->vm.ram, &number, sizeof(number), (off_t)(gfn * QUIRE_PAGE_SIZE)) !=
	    sizeof(number))
		abort();
}

static void test_forged(void)
{
	uint32_t forged, good;
	struct scene s;

	begin_three(&s);
	forge(&a, 1, SECRET);
	forged = merge_lie(&s.lab, &a, 1 | MERGE_PUBLISH, SECRET);
	ok(MERGE_IS_FRAME(forged), "a forged page becomes a frame");
	is(merge_look(&s.lab, &b, 5, SECRET), forged, "which another is given: it compares");
	merge_drop(&s.lab, &b, forged);
	is(merge_look(&s.lab, &b, 5, SECRET), MERGE_UNIQUE, "and gives it back, once");
	good = merge_look(&s.lab, &c, 6, SECRET);
	ok(MERGE_IS_FRAME(good) && good != forged, "the next with the same page gets a good frame");
	merge_lie(&s.lab, &a, 1 | MERGE_PUBLISH, SECRET);
	merge_drop(&s.lab, &a, forged);
	is(store_pages(&s), 1, "the forged one goes with its last reference");
	is(merge_look(&s.lab, &c, 7, SECRET), good, "and the good one stays");
	end_three(&s);
}

/* A frame that was doubted and found good is given without a doubt again. */
static void test_doubted(void)
{
	struct scene s;
	uint32_t frame;

	begin_three(&s);
	frame = merge_look(&s.lab, &b, 5 | MERGE_PUBLISH, SECRET);
	is(merge_look(&s.lab, &a, 1, SECRET), frame, "a page has a frame");
	merge_drop(&s.lab, &a, frame);
	is(merge_look(&s.lab, &c, 6, SECRET), frame, "that it was given back costs a look");
	is(merge_look(&s.lab, &c, 7, SECRET), frame, "and no more");
	end_three(&s);
}

/* ---- an oracle ---- */

/* What the attacker hears of page gfn, which it does not have, in a packet of two. */
static uint64_t hears(struct scene *s, uint64_t hash, uint32_t fewest)
{
	merge_fill(&a, 1, OTHER + 1);
	merge_fill(&a, 2, OTHER + 2);
	merge_begin(&a, MERGE_LOOKUP, fewest);
	merge_claim(&a, 1, hash);
	merge_claim(&a, 2, hash + 1);
	merge_say(&s->lab, &a, NULL);
	return (uint64_t)a.msg.frame[0].frame << 32 | a.msg.frame[1].frame;
}

static void test_oracle(void)
{
	struct scene s;

	begin_three(&s);
	for (unsigned int merged = 0; merged < 2; merged++) {
		const char *which = merged ? "merged" : "unmerged";

		merge_look(&s.lab, &b, 5 | (merged ? MERGE_PUBLISH : 0), SECRET);
		merge_look(&s.lab, &b, 6 | (merged ? MERGE_PUBLISH : 0), SECRET + 1);
		for (uint32_t fewest = 0; fewest < 4; fewest++)
			is(hears(&s, SECRET, fewest), hears(&s, OTHER + 10, fewest),
			   "who does not have them does not learn of %s pages, fewest %u", which,
			   fewest);
		is(merge_get_news(&s.lab, &b), 0, "nor is a frame made");
		is(lab_state(&s.lab).store_references, merged ? 2 : 0, "or given");
	}
	is(record(&s, &a).lookup_unproven, 2 * 4 * 2, "each lie is counted");
	is(MERGE_IS_FRAME(merge_look(&s.lab, &a, 3, SECRET)), true, "who has the page shares it");
	end_three(&s);
}

/* The attacker writes what it guesses to its own pages, as fast as it can. */
static unsigned int guess(struct scene *s, unsigned int packets)
{
	static uint64_t number = OTHER;
	unsigned int answered = 0;

	for (unsigned int p = 0; p < packets; p++) {
		merge_begin(&a, MERGE_LOOKUP, 0);
		for (uint64_t gfn = 0; gfn < MERGE_BATCH; gfn++)
			merge_add(&a, gfn, ++number);
		merge_say(&s->lab, &a, NULL);
		for (unsigned int i = 0; i < MERGE_BATCH; i++)
			answered += a.msg.frame[i].frame != MERGE_LATER;
	}
	return answered;
}

static void test_rate(void)
{
	struct machine_vm_record r;
	struct scene s;

	begin_three(&s);
	is(guess(&s, 20), 4 * PAGES, "of 10240 guesses at once, four for each page are answered");
	is(guess(&s, 1), 0, "and no more");
	is(merge_look(&s.lab, &a, 9, OTHER), MERGE_LATER, "of any page");
	r = record(&s, &a);
	is(r.lookup_misses, 4 * PAGES, "misses are counted");
	is(r.lookup_late, 20 * MERGE_BATCH - 4 * PAGES + MERGE_BATCH + 1, "as is what was put off");
	lab_pass(&s.lab, 1000);
	is(guess(&s, 20), PAGES, "a second later it is one for each page");
	can_merge(&s, "an attacker who guesses");
	lab_pass(&s.lab, 1000);
	for (unsigned int i = 0; i < 8 * PAGES; i++)
		merge_look(&s.lab, &b, 5, SECRET);
	is(record(&s, &b).lookup_late, 0, "who asks for what it has may ask for ever");
	end_three(&s);
}

/* ---- free memory ---- */

/* How many different answers VM a gets, while b uses a page more each time. */
static void test_free_memory(void)
{
	uint64_t last = 0, total = 0;
	struct machine_msg msg;
	unsigned int answers = 0;
	struct scene s;

	begin(&s, 16 * PAGES);
	merge_vm_open(&s.lab, s.control, &a, "", 16 * PAGES);
	merge_vm_open(&s.lab, s.control, &b, "", 16 * PAGES);
	say(a.vm.channel, MACHINE_RETURN, 0, a.vm.credits, -1);
	for (unsigned int i = 0; i < PAGES; i++) {
		say_credit(a.vm.channel, 0, UINT64_MAX);
		lab_step(&s.lab);
		if (hear(a.vm.channel, &msg, NULL) != MACHINE_GRANT)
			tap_bail("no answer");
		answers += msg.pages != last;
		last = msg.pages;
		say(a.vm.channel, MACHINE_RETURN, 0, last, -1);
		say_credit(b.vm.channel, 1, 1);
		lab_step(&s.lab);
		hear(b.vm.channel, &msg, NULL);
		total += msg.pages;
	}
	is(total, PAGES, "a VM takes a page at a time");
	ok(answers <= 2, "another one hears %u different numbers meanwhile", answers);
	merge_vm_close(&s.lab, &a);
	merge_vm_close(&s.lab, &b);
	end(&s);
}

int main(void)
{
	tap_init();
	test_false_frame();
	test_false_pair();
	test_false_hints();
	test_forged();
	test_doubted();
	test_oracle();
	test_rate();
	test_free_memory();
	return tap_done();
}
