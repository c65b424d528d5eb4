/* SPDX-License-Identifier: MIT */
/*
 * What keeps a machine safe from VMs that merge: bounds, memory, turns, ends, and every rule of
 * mmu/base/merge_protocol.h broken.  After each step the machine recomputes all of its sums.
 */
#include "merge_scene.h"

/* A machine too small for the frames asked for. */
static void test_no_memory(void)
{
	unsigned int frames = 0, none = 0;
	struct machine_state state;
	struct scene s;

	begin(&s, 2000);
	merge_vm_open(&s.lab, s.control, &a, "d", 4 * PAGES);
	do {
		say_credit(a.vm.channel, 10, 10);
		lab_step(&s.lab);
	} while (hear(a.vm.channel, NULL, NULL) == MACHINE_GRANT &&
		 lab_state(&s.lab).free_pages >= lab_state(&s.lab).min_pages + 10);
	state = lab_state(&s.lab);
	for (unsigned int packet = 0; packet < 2; packet++) {
		merge_begin(&a, MERGE_LOOKUP, 0);
		for (uint64_t i = 0; i < 100; i++)
			merge_add(&a, (packet * 100 + i) | MERGE_PUBLISH, packet * 100 + i);
		merge_say(&s.lab, &a, NULL);
		for (unsigned int i = 0; i < 100; i++) {
			frames += MERGE_IS_FRAME(a.msg.frame[i].frame);
			none += a.msg.frame[i].frame == MERGE_NO_MEMORY;
		}
	}
	is(frames, state.free_pages - state.min_pages / 2, "frames dig down to half of min");
	is(none, 200 - frames, "and the rest hears that there is no memory");
	is(lab_state(&s.lab).free_pages, state.min_pages / 2 - 1,
	   "half of min is free, less what it costs to find them");
	merge_vm_close(&s.lab, &a);
	end(&s);
}

/* A VM that takes and takes. */
static void test_bounds(void)
{
	unsigned int frames = 0, none = 0, news = 0;
	struct scene s;
	uint32_t first = 0;

	begin(&s, GIB_PAGES);
	merge_vm_open(&s.lab, s.control, &a, "d", MERGE_BATCH);
	merge_vm_open(&s.lab, s.control, &b, "d", MERGE_BATCH);
	for (unsigned int packet = 0; packet < 3; packet++) {
		merge_begin(&a, MERGE_LOOKUP, 0);
		for (uint64_t i = 0; i < MERGE_BATCH; i++)
			merge_add(&a, i | MERGE_PUBLISH, packet * 1000 + i);
		merge_say(&s.lab, &a, NULL);
		for (unsigned int i = 0; i < MERGE_BATCH; i++) {
			frames += MERGE_IS_FRAME(a.msg.frame[i].frame);
			none += a.msg.frame[i].frame == MERGE_NO_MEMORY;
		}
		first = packet ? first : a.msg.frame[0].frame;
	}
	is(frames, 2 * MERGE_BATCH, "a VM holds frames for its RAM and a packet");
	is(none, MERGE_BATCH, "and gets no more");
	frames = 0;
	for (unsigned int i = 0; i < 3 * MERGE_BATCH; i++)
		frames += merge_look(&s.lab, &a, 0, 0) == first;
	is(frames, 2 * MERGE_BATCH, "nor references without end");
	for (unsigned int packet = 0; packet < 4; packet++) {
		for (unsigned int who = 0; who < 2; who++) {
			struct merge_vm *v = who ? &b : &c;

			if (!who && !packet)
				merge_vm_open(&s.lab, s.control, &c, "d", MERGE_BATCH);
			merge_begin(v, MERGE_LOOKUP, 0);
			for (uint64_t i = 0; i < MERGE_BATCH; i++)
				merge_add(v, i, 100000 + packet * 1000 + i);
			merge_say(&s.lab, v, NULL);
		}
	}
	do {
		frames = merge_get_news(&s.lab, &c);
		news += frames;
	} while (frames && frames != UINT32_MAX);
	is(news, MERGE_BATCH, "nor news that it does not read");
	merge_vm_close(&s.lab, &a);
	merge_vm_close(&s.lab, &b);
	merge_vm_close(&s.lab, &c);
	end(&s);
}

/* A VM that held much ends: others are served while its frames come back. */
static void test_large_end(void)
{
	uint64_t pages = 20 * MERGE_BATCH, before, between;
	unsigned int rounds = 0;
	struct scene s;

	begin(&s, GIB_PAGES);
	merge_vm_open(&s.lab, s.control, &a, "d", pages);
	merge_vm_open(&s.lab, s.control, &b, "d", pages);
	for (uint64_t gfn = 0; gfn < pages; gfn += MERGE_BATCH) {
		merge_begin(&a, MERGE_LOOKUP, 0);
		for (uint64_t g = gfn; g < gfn + MERGE_BATCH; g++)
			merge_add(&a, g | MERGE_PUBLISH, g);
		merge_say(&s.lab, &a, NULL);
	}
	merge_look(&s.lab, &b, 1, 7);
	before = store_pages(&s);
	is(before, pages, "a VM holds many frames");
	close(a.merge);
	a.merge = -1;
	lab_finish_vm(&a.vm);
	machine_serve(s.lab.m);
	between = store_pages(&s);
	ok(between && between < before, "after one round %lu of them are not back", (long)between);
	is(lab_state(&s.lab).nr_vms, 1, "but the VM is gone");
	is(machine_timeout_ms(s.lab.m), 0, "and the machine has more to do");
	is(lab_state(&s.lab).resident_pages, between + 1,
	   "what is not back counts as resident, beside the one page of the other");
	ok(MERGE_IS_FRAME(merge_look(&s.lab, &b, 1, pages - 1)), "they are still found");
	for (; store_pages(&s) > 2 && rounds < 100; rounds++)
		machine_serve(s.lab.m);
	is(store_pages(&s), 2, "at last only what another holds is left");
	merge_vm_close(&s.lab, &b);
	is(store_pages(&s), 0, "and then nothing");
	end(&s);
}

/* A RAM file has holes where there is no RAM, so it may be larger than what was promised. */
static void test_large_file(void)
{
	struct machine_msg msg;
	struct scene s;

	begin(&s, GIB_PAGES);
	a.vm = merge_admit(&s.lab, s.control, lab_promise(100, 1));
	lab_attach(&s.lab, &a.vm, PAGES, 0);
	merge_join_lab(&s.lab, &a);
	merge_begin(&a, MERGE_LOOKUP, 0);
	for (uint64_t gfn = PAGES - 300; gfn < PAGES; gfn++)
		merge_add(&a, gfn, gfn);
	is(merge_say(&s.lab, &a, NULL), MERGE_FRAMES, "pages at the end of a large RAM file");
	say(s.control, MACHINE_DOMAINS, 0, 0, -1);
	lab_step(&s.lab);
	hear(s.control, &msg, NULL);
	is(msg.domain_record.hints, 100, "are hints, as many as there can be pages of RAM");
	hear(s.control, &msg, NULL);
	ok(MERGE_IS_FRAME(merge_look(&s.lab, &a, PAGES - 1, PAGES - 300)), "which find partners");
	merge_look(&s.lab, &a, PAGES - 2, 5);
	ok(MERGE_IS_FRAME(merge_look(&s.lab, &a, PAGES - 3, 5)), "and make room for another");
	merge_vm_close(&s.lab, &a);
	end(&s);
}

enum crime {
	DROP_NOTHING,
	DROP_TWICE,
	DROP_NONSENSE,
	DESCENDING,
	SAME_GFN,
	OUTSIDE,
	TOO_MANY,
	BAD_MAGIC,
	BAD_VERSION,
	BAD_TYPE,
	SHORT_PACKET,
	DESCRIPTOR,
	DEAF,
	SECOND_JOIN,
	COLD_NOTHING,
	COLD_TWICE,
	COLD_MANY,
	NR_CRIMES
};

static const char *const crime_name[NR_CRIMES] = {
	"a DROP of what it does not hold",
	"a DROP too many",
	"a DROP of no frame",
	"gfns that descend",
	"a gfn twice",
	"a gfn outside its RAM",
	"too many entries",
	"wrong magic",
	"wrong version",
	"an unknown type",
	"half a packet",
	"a descriptor",
	"not reading answers",
	"a second JOIN",
	"a COLD of what it does not hold",
	"a COLD of a frame twice",
	"a COLD of too many",
};

static void commit_crime(struct scene *s, struct merge_vm *v, enum crime crime)
{
	uint32_t frame = merge_look(&s->lab, v, 1 | MERGE_PUBLISH, 1);

	merge_begin(v, crime <= DROP_NONSENSE ? MERGE_DROP : MERGE_LOOKUP, 0);
	v->msg.nr = 2;
	v->msg.lookup[0].gfn = 5;
	v->msg.lookup[1].gfn = crime == DESCENDING ? 4 :
			       crime == SAME_GFN   ? 5 :
			       crime == OUTSIDE	   ? PAGES :
						     6;
	if (crime >= COLD_NOTHING) {
		v->msg.type = MERGE_COLD;
		v->msg.nr = crime == COLD_MANY ? MERGE_COLD_MOST + 1 : 2;
		for (uint32_t i = 0; i < v->msg.nr; i++)
			v->msg.cold[i] = crime == COLD_TWICE ? frame : frame + i;
	}
	if (crime <= DROP_NONSENSE)
		memset(v->msg.drop, 0, 8);
	if (crime == DROP_TWICE)
		v->msg.drop[0] = v->msg.drop[1] = frame;
	else if (crime == DROP_NOTHING)
		v->msg.drop[0] = frame + 1;
	else if (crime == DROP_NONSENSE)
		v->msg.drop[0] = MERGE_UNIQUE;
	else if (crime == TOO_MANY)
		v->msg.nr = MERGE_BATCH + 1;
	else if (crime == BAD_MAGIC)
		v->msg.magic = MACHINE_MAGIC;
	else if (crime == BAD_VERSION)
		v->msg.version = 1;
	else if (crime == BAD_TYPE)
		v->msg.type = MERGE_FRAMES;
	if (crime == SHORT_PACKET)
		send(v->merge, &v->msg, sizeof(v->msg) / 2, MSG_NOSIGNAL);
	else if (crime == SECOND_JOIN)
		say(v->vm.channel, MACHINE_JOIN, 0, 0, -1);
	else if (crime != DEAF)
		wire_send_merge(v->merge, &v->msg, crime == DESCRIPTOR ? v->merge : -1);
	for (unsigned int i = 0; crime == DEAF && i < 1000; i++) {
		wire_send_merge(v->merge, &v->msg, -1);
		machine_serve(s->lab.m);
	}
	lab_step(&s->lab);
}

static void test_crimes(void)
{
	struct scene s;

	for (unsigned int i = 0; i < NR_CRIMES; i++) {
		begin_pair(&s);
		lab_start(&s.lab, s.control, &a.vm);
		merge_look(&s.lab, &b, 1 | MERGE_PUBLISH, 1);
		commit_crime(&s, &a, i);
		ok(lab_await_vms(&s.lab, 1), "%s: the VM is killed", crime_name[i]);
		is(lab_reap(&a.vm, true), SIGKILL, "for good");
		is(lab_state(&s.lab).store_references, 1, "and what it held is given back");
		is(store_pages(&s), 1, "but not what others hold");
		a.vm.pid = 0;
		end_pair(&s);
	}
}

/* References outlive the connection, and even the order to die: until the process has ended. */
static void test_death(void)
{
	struct scene s;

	begin_pair(&s);
	lab_start(&s.lab, s.control, &a.vm);
	ok(MERGE_IS_FRAME(merge_look(&s.lab, &a, 1 | MERGE_PUBLISH, 1)), "a VM holds a frame");
	close(a.merge);
	a.merge = -1;
	close(a.vm.channel);
	a.vm.channel = -1;
	lab_step(&s.lab);
	is(store_pages(&s), 1, "that outlives its connections");
	kill(a.vm.pid, SIGKILL);
	ok(lab_await_vms(&s.lab, 1), "but not its process");
	is(store_pages(&s), 0, "then it is gone");
	merge_look(&s.lab, &b, 5, 5);
	end_pair(&s);
}

static void test_joining(void)
{
	static const char *const what[] = {
		"a JOIN before ATTACH",
		"a JOIN with a file",
	};
	struct machine_admit two_words = { .ram_pages = 1, .domain = "two words" };
	struct scene s;

	begin(&s, GIB_PAGES);
	for (unsigned int i = 0; i < ARRAY_SIZE(what); i++) {
		a.vm = merge_admit(&s.lab, s.control, lab_promise(PAGES, 1));
		if (i)
			lab_attach(&s.lab, &a.vm, PAGES, 0);
		say(a.vm.channel, MACHINE_JOIN, 0, 0, i ? a.vm.ram : -1);
		lab_step(&s.lab);
		is(lab_state(&s.lab).nr_vms, 0, "%s ends the VM", what[i]);
		lab_finish_vm(&a.vm);
	}
	is(merge_admit(&s.lab, s.control, two_words).error, -EINVAL,
	   "a domain's name has no blanks");
	end(&s);
}

/* Credits do not wait for merges. */
static void test_priority(void)
{
	unsigned int answers[3] = { 0 };
	struct machine_msg msg;
	struct scene s;

	begin_pair(&s);
	merge_begin(&b, MERGE_LOOKUP, 0);
	merge_add(&b, 0, 1);
	for (unsigned int i = 0; i < 8; i++) {
		wire_send_merge(a.merge, &b.msg, -1);
		wire_send_merge(b.merge, &b.msg, -1);
	}
	say_credit(a.vm.channel, 0, 1);
	machine_serve(s.lab.m);
	is(hear(a.vm.channel, &msg, NULL), MACHINE_GRANT, "a CREDIT is answered in its round");
	for (unsigned int round = 0; round < 3; round++) {
		answers[round] = wire_recv_merge(a.merge, &a.msg, &(int){ -1 }) +
				 2 * wire_recv_merge(b.merge, &b.msg, &(int){ -1 });
		machine_serve(s.lab.m);
	}
	is(answers[0] + answers[1], 3, "each round answers one of two that ask about pages");
	is(answers[0], answers[2], "and they take turns");
	lab_step(&s.lab);
	end_pair(&s);
}

int main(void)
{
	tap_init();
	test_no_memory();
	test_bounds();
	test_large_end();
	test_large_file();
	test_crimes();
	test_death();
	test_joining();
	test_priority();
	return tap_done();
}
