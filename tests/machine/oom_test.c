/* SPDX-License-Identifier: MIT */
/*
 * Who is killed when memory is out: the badness of one VM, what a member of a domain holds of the
 * store, and the choice of a machine that is stepped.
 */
#include "mmu/machine/store/domain.h"
#include "merge_scene.h"

/* ---- one VM ---- */

static void test_badness(void)
{
	struct machine_holding h = { .resident_pages = 100,
				     .credit_pages = 40,
				     .alone_pages = 1000,
				     .share_pages = 300,
				     .overhead_pages = 7 };

	is(oom_badness(&h, 10000), 1407, "resident, alone, share and overhead are added up");
	h.credit_pages = 150;
	is(oom_badness(&h, 10000), 1457, "credits count in the place of fewer resident pages");
	is(oom_pages(&h), 1457, "which is what its end would win");
	h.oom_score_adj = 11;
	is(oom_badness(&h, 10999), 1567, "an adjustment adds thousandths of the machine");
	is(oom_pages(&h), 1457, "and wins nothing");
	h.oom_score_adj = -500;
	is(oom_badness(&h, 10000), -3543, "a negative one protects");
	h.oom_score_adj = -999;
	ok(oom_badness(&h, 10000) > OOM_NEVER, "but not from being the only choice");
	h.oom_score_adj = -1000;
	ok(oom_badness(&h, 10000) == OOM_NEVER, "-1000 does");
	h = (struct machine_holding){ .credit_pages = MACHINE_PAGES_MAX,
				      .overhead_pages = MACHINE_PAGES_MAX,
				      .oom_score_adj = OOM_SCORE_ADJ_MAX };
	ok(oom_badness(&h, MACHINE_PAGES_MAX) > 0, "the largest numbers do not overflow");
}

/* ---- the store ---- */

static uint64_t charge(void *ctx, uint64_t frames)
{
	(void)ctx;
	return frames;
}

static void uncharge(void *ctx, uint64_t frames)
{
	(void)ctx;
	(void)frames;
}

static void fill(const struct member *m, uint64_t gfn, uint64_t hash)
{
	if (pwrite(m->ram, &hash, sizeof(hash), (off_t)(gfn * QUIRE_PAGE_SIZE)) != sizeof(hash))
		abort();
}

/* Give m `times` references to each of n frames of these hashes, which become frames if need be. */
static void refer(struct member *m, uint64_t hash, uint32_t n, unsigned int times)
{
	static struct merge_msg ask, answer;

	for (unsigned int i = 0; i < times; i++) {
		memset(&ask, 0, sizeof(ask));
		memset(&answer, 0, sizeof(answer));
		ask.nr = n;
		for (uint32_t p = 0; p < n; p++) {
			fill(m, p, hash + p);
			ask.lookup[p] = (struct merge_lookup){ hash + p, p | MERGE_PUBLISH };
		}
		if (domain_lookup(m, &ask, &answer))
			abort();
	}
}

static void weighs(const struct member *m, uint64_t alone, uint64_t share, const char *what)
{
	uint64_t got_alone = 99, got_share = 99;

	domain_weigh(m, &got_alone, &got_share);
	is(got_alone, alone, "%s: frames alone", what);
	is(got_share, share, "... and its share of others");
}

static void leave(struct member *m)
{
	domain_leave(m);
	while (!domain_give_back(m, 100))
		;
}

static void test_weigh(void)
{
	struct frame_account account = { charge, uncharge, NULL };
	int ram = memfd_create("lab-ram", MFD_CLOEXEC);
	struct member *m[3];
	struct shelf shelf;
	struct domain *d;

	shelf_open(&shelf);
	d = domain_create(&account, lab_hash, "d", &shelf, MERGE_MAX_SEGMENTS);
	if (!d || ftruncate(ram, PAGES * QUIRE_PAGE_SIZE))
		abort();
	for (unsigned int i = 0; i < 3; i++)
		m[i] = domain_join(d, ram, PAGES, PAGES);
	weighs(m[0], 0, 0, "a member with nothing");
	refer(m[0], 1000, 50, 1);
	refer(m[0], 2000, 10, 3);
	weighs(m[0], 60, 0, "several references to a frame are one frame");
	refer(m[1], 1000, 50, 3);
	weighs(m[0], 10, 12, "50 quarters");
	weighs(m[1], 0, 37, "50 times three quarters");
	refer(m[1], 3000, 3, 1);
	refer(m[0], 3000, 3, 1);
	refer(m[2], 3000, 3, 1);
	weighs(m[2], 0, 1, "three thirds are one");
	weighs(m[0], 10, 13, "50 quarters and three thirds");
	leave(m[1]);
	weighs(m[0], 60, 1, "what another has given back is held alone");
	weighs(m[2], 0, 1, "three halves");
	leave(m[0]);
	weighs(m[2], 3, 0, "the last holds all that is left");
	leave(m[2]);
	domain_destroy(d);
	shelf_close(&shelf);
	close(ram);
}

/* ---- the machine ---- */

/* Return what the VM holds, and take exactly so many credits. */
static void hold(struct scene *s, struct lab_vm *vm, uint64_t credits)
{
	say(vm->channel, MACHINE_RETURN, 0, vm->credits, -1);
	vm->credits = lab_take(&s->lab, vm->channel, credits);
	if (vm->credits != credits)
		tap_bail("%lu credits, not %lu", vm->credits, credits);
}

/* A VM of this domain with a process, `resident` pages and so many credits. */
static void open_vm(struct scene *s, struct lab_vm *vm, const char *domain, uint64_t resident,
		    uint64_t credits)
{
	struct machine_admit admit = lab_promise(16 * PAGES, 5);

	snprintf(admit.domain, sizeof(admit.domain), "%s", domain);
	*vm = merge_admit(&s->lab, s->control, admit);
	lab_start(&s->lab, s->control, vm);
	hold(s, vm, credits);
	lab_attach(&s->lab, vm, 16 * PAGES, resident);
}

/* The same, with a connection about equal pages. */
static void open_member(struct scene *s, struct merge_vm *v, uint64_t resident)
{
	open_vm(s, &v->vm, "d", resident, resident);
	merge_join_lab(&s->lab, v);
}

/* The guest's pages go to the store: pages from here on, which leave nothing in the RAM file. */
#define AWAY 4096u

/* Give v `times` references to each of n frames, which become frames if need be. */
static void publish(struct scene *s, struct merge_vm *v, uint64_t hash, uint64_t n,
		    unsigned int times)
{
	for (uint64_t done = 0; done < n * times; done += v->msg.nr) {
		uint64_t p = done % n, nr = min_u64(n - p, MERGE_BATCH);

		merge_begin(v, MERGE_LOOKUP, 0);
		for (uint64_t i = p; i < p + nr; i++)
			merge_add(v, (AWAY + i) | MERGE_PUBLISH, hash + i);
		if (merge_say(&s->lab, v, NULL) != MERGE_FRAMES || v->msg.nr != nr)
			tap_bail("no frames");
	}
	if (fallocate(v->vm.ram, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, AWAY * QUIRE_PAGE_SIZE,
		      (off_t)(n * QUIRE_PAGE_SIZE)))
		tap_bail("no holes");
}

/* A VM that has no process to kill takes what is left, and one page more.  Then time is up. */
static struct lab_vm run_out(struct scene *s)
{
	struct lab_vm needy = merge_admit(&s->lab, s->control, lab_promise(GIB_PAGES, 1));
	struct machine_state state;

	hold(s, &needy, 0);
	state = lab_state(&s->lab);
	hold(s, &needy, state.free_pages - state.min_pages);
	say_credit(needy.channel, 1, 0);
	lab_step(&s->lab);
	s->lab.now_ns += 200 * LAB_MS;
	machine_serve(s->lab.m);
	return needy;
}

/* What the launchers hear of an end. */
static struct machine_gone why(struct scene *s, uint32_t id)
{
	struct machine_msg msg;

	lab_step(&s->lab);
	while (hear(s->control, &msg, NULL) > 0)
		if (msg.type == MACHINE_GONE && msg.vm == id)
			return msg.gone;
	tap_bail("no GONE of VM %u", id);
}

/* A VM that holds credits without use, and one with fewer pages that are all resident. */
static void test_hoarder(void)
{
	struct lab_vm hoarder, innocent, needy;
	struct machine_gone gone;
	struct scene s;

	begin(&s, 16 * PAGES);
	open_vm(&s, &innocent, "", 3000, 3000);
	open_vm(&s, &hoarder, "", 10, 4000);
	needy = run_out(&s);
	is(lab_state(&s.lab).oom_kills, 0, "who could return much has time to answer");
	s.lab.now_ns += 800 * LAB_MS;
	machine_serve(s.lab.m);
	ok(strstr(s.lab.log,
		  "resident <0.1 MiB, credits 15.6 MiB, store alone 0.0 MiB, store share "
		  "0.0 MiB, overhead <0.1 MiB, oom_score_adj 0, badness 4005"),
	   "the log has the sum of who hoards credits");
	ok(lab_await_vms(&s.lab, 2), "somebody is killed");
	is(lab_reap(&hoarder, false), SIGKILL, "it is that VM");
	is(lab_reap(&innocent, false), 0, "a smaller VM lives, although more of it is resident");
	gone = why(&s, hoarder.id);
	ok(gone.reason == MACHINE_OOM && gone.badness == 4005 && gone.had.resident_pages == 10 &&
		   gone.had.credit_pages == 4000 && gone.had.overhead_pages == 5 &&
		   !gone.had.alone_pages && !gone.had.share_pages,
	   "its launcher has the same numbers");
	is(hear(needy.channel, NULL, NULL), MACHINE_GRANT, "who waited has its page");
	hoarder.pid = 0;
	lab_finish_vm(&hoarder);
	lab_finish_vm(&innocent);
	lab_finish_vm(&needy);
	end(&s);
}

/* A VM whose pages lie in the store, another that shares some, and a smaller one. */
static void test_merged(void)
{
	struct lab_vm innocent, needy;
	struct machine_gone gone;
	struct scene s;

	begin(&s, 16 * PAGES);
	open_vm(&s, &innocent, "", 3000, 3000);
	open_member(&s, &a, 20);
	open_member(&s, &b, 30);
	publish(&s, &a, 1 << 20, 2800, 2);
	publish(&s, &a, 2 << 20, 901, 1);
	publish(&s, &b, 2 << 20, 901, 2);
	needy = run_out(&s);
	ok(strstr(s.lab.log, "resident 0.1 MiB, credits 0.1 MiB, store alone 10.9 MiB, store share "
			     "1.2 MiB, overhead 0.3 MiB, oom_score_adj 0, badness 3"),
	   "the log has the sum of who holds the store's frames");
	ok(lab_await_vms(&s.lab, 3), "somebody is killed");
	is(lab_reap(&a.vm, false), SIGKILL, "it is that VM");
	is(lab_reap(&innocent, false), 0, "a smaller VM lives, although more of it is resident");
	is(lab_reap(&b.vm, false), 0, "as does who shares frames with the victim");
	gone = why(&s, a.vm.id);
	ok(gone.badness == 3120 + (int64_t)gone.had.overhead_pages &&
		   gone.had.resident_pages == 20 && gone.had.credit_pages == 20 &&
		   gone.had.alone_pages == 2800 && gone.had.share_pages == 300 &&
		   gone.had.overhead_pages > 5 + 3701 / 100,
	   "its launcher has the same numbers, and what it costs to merge it is overhead");
	is(store_pages(&s), 901, "frames that it alone held are free");
	is(hear(needy.channel, NULL, NULL), MACHINE_GRANT, "who waited has its page");
	a.vm.pid = 0;
	merge_vm_close(&s.lab, &a);
	merge_vm_close(&s.lab, &b);
	lab_finish_vm(&innocent);
	lab_finish_vm(&needy);
	end(&s);
}

int main(void)
{
	tap_init();
	test_badness();
	test_weigh();
	test_hoarder();
	test_merged();
	return tap_done();
}
