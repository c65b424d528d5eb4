/* SPDX-License-Identifier: MIT */
/*
 * Keepers of several VMs and a machine, at random.
 *
 * In lockstep: one thread does what guests, accessors, balloons, administrators and fate do, knows
 * what each page must hold, and audits everything as it goes.  Then with threads that own one word
 * of each page and write it as fast as they can while keepers run without a pause, VMs die and are
 * born, and the machine dies; and again where memory is so short that all wait for what merging
 * frees.
 */
#include "keeper_lab.h"

#define VMS	 3u
#define NR	 (3 * QUIRE_BLOCK_PAGES - 100)
#define MEMORY	 (256 * MiB / QUIRE_PAGE_SIZE)
#define CONTENTS 60u
#define PATIENCE 200u /* rounds of passes in which all must come to rest */

#ifdef __SANITIZE_THREAD__
#define SLOWER 4
#else
#define SLOWER 1
#endif
#define OPS	      (4000 / SLOWER * tap_storm())
#define MACHINE_LIVES 4u

static uint64_t rng;
static struct lab_vm vm[VMS];
static unsigned int births;

static uint64_t below(uint64_t n)
{
	return tap_random(&rng) % n;
}

/* ---- life and death ---- */

static void bear(unsigned int v)
{
	static const char *const domain[] = { "a", "a", "b", "" };

	vm[v] = (struct lab_vm){
		.nr = NR,
		.domain = domain[below(ARRAY_SIZE(domain))],
		.mode = KEEPER_ON,
		.hugepages = below(3) ? GMEM_HUGE_AUTO : GMEM_HUGE_NEVER,
		.logged = below(4),
		.region_pages = below(2) ? 512 : 0,
		.look_ns = below(4) != 0,
	};
	lab_vm_start(&vm[v]);
	births++;
}

static unsigned int audit_all(void)
{
	unsigned int faults = lab_machine_audit();

	for (unsigned int v = 0; v < VMS; v++)
		faults += gmem_audit(vm[v].gm, lab_report, NULL);
	return faults;
}

static bool all_right(void)
{
	bool right = true;

	for (unsigned int v = 0; v < VMS; v++)
		right &= lab_all_right(&vm[v], false);
	return right;
}

static bool no_orphans(void)
{
	uint64_t orphans = 0;

	for (unsigned int v = 0; v < VMS; v++)
		orphans += lab_orphans(&vm[v]);
	return !orphans;
}

/* Passes until nothing is under way: every reference has an entry, every credit a page. */
static bool come_to_rest(void)
{
	bool rest = false;

	for (unsigned int v = 0; v < VMS; v++)
		keeper_set_mode(vm[v].k, KEEPER_ON);
	for (unsigned int i = 0; i < PATIENCE && !rest; i++) {
		lab_rounds(vm, VMS, 1);
		rest = no_orphans() && lab_references_agree(vm, VMS) && lab_adds_up(&vm[0]) &&
		       lab_adds_up(&vm[1]) && lab_adds_up(&vm[2]);
	}
	return rest && lab_eventually(lab_credits_agree, vm, VMS);
}

/* The machine dies; the VMs have their bytes; another one has the VMs. */
static bool new_machine(void)
{
	bool right;

	lab_machine_die();
	right = all_right();
	lab_machine_open(lab.memory);
	for (unsigned int v = 0; v < VMS; v++)
		lab_vm_readmit(&vm[v]);
	return right && all_right();
}

/* ---- steps ---- */

static bool op_write(struct lab_vm *v, gfn_t gfn)
{
	uint64_t nr = min_u64(1 + below(40), NR - gfn);
	uint32_t first = 1 + (uint32_t)below(CONTENTS), step = below(2) != 0;

	for (uint64_t i = 0; i < nr; i++)
		lab_write(v, gfn + i, first + (uint32_t)i * step, below(2));
	return v->right;
}

static bool op_zero(struct lab_vm *v, gfn_t gfn)
{
	uint64_t nr = min_u64(1 + below(40), NR - gfn);

	for (uint64_t i = 0; i < nr; i++)
		lab_write(v, gfn + i, 0, below(2));
	return v->right;
}

/* Contents that few others have. */
static bool op_scatter(struct lab_vm *v)
{
	for (unsigned int i = 0; i < 30; i++)
		lab_write(v, below(NR), 1000 + (uint32_t)below(1000), below(2));
	return v->right;
}

static bool op_drop(struct lab_vm *v, gfn_t gfn)
{
	uint64_t nr = min_u64(1 + below(100), NR - gfn);
	int err = gmem_drop(v->gm, gfn, nr, NULL);

	memset(v->content + gfn, 0, nr * sizeof(*v->content));
	return !err || err == -EAGAIN;
}

static bool op_block(struct lab_vm *v, gfn_t gfn)
{
	gfn_t block = align_down(gfn, QUIRE_BLOCK_PAGES);
	int err;

	switch (below(3)) {
	case 0: err = block_split(v->gm, block); return !err || err == -ENOENT || err == -EFAULT;
	case 1: return !range_bring_in(v->gm, gfn, min_u64(1 + below(600), NR - gfn));
	default:
		err = block_collapse(v->gm, block);
		return !err || err == -EBUSY || err == -EEXIST || err == -EFAULT ||
		       err == -EAGAIN || err == -EOPNOTSUPP;
	}
}

static bool op_hold(struct lab_vm *v, gfn_t gfn)
{
	bool private;

	if (gmem_hold(v->gm, gfn_to_gpa(gfn), QUIRE_PAGE_SIZE))
		return false;
	if (below(2))
		lab_pass(v, 1);
	private = lab_page_state(v, gfn) == PG_PRIVATE;
	lab_write(v, gfn, 1 + (uint32_t)below(CONTENTS), false);
	gmem_release(v->gm, gfn_to_gpa(gfn), QUIRE_PAGE_SIZE);
	return private && v->right;
}

static bool op_rare(struct lab_vm *v, gfn_t gfn)
{
	switch (below(8)) {
	case 0: keeper_set_mode(v->k, (enum keeper_mode)below(KEEPER_NR_MODES)); return true;
	case 1:
	case 2: keeper_set_mode(v->k, KEEPER_ON); return true;
	case 3: lab_always(v, gfn, min_u64(100, NR - gfn), below(2)); return true;
	case 4: __atomic_store_n(&v->table[gfn], !v->table[gfn], __ATOMIC_RELAXED); return true;
	case 5:
		if (below(4))
			return true;
		lab_vm_end(v);
		bear((unsigned int)(v - vm));
		return true;
	default: return op_block(v, gfn);
	}
}

static bool step(void)
{
	struct lab_vm *v = &vm[below(VMS)];
	gfn_t gfn = below(NR);

	switch (below(16)) {
	case 0 ... 3: return op_write(v, gfn);
	case 4: return op_zero(v, gfn);
	case 5: return op_scatter(v);
	case 6: return below(4) || op_drop(v, gfn);
	case 7: return op_hold(v, gfn);
	case 8 ... 9: lab_pass(v, 1); return true;
	case 10: keeper_request_pass(v->k); return true;
	case 11: return op_rare(v, gfn);
	default: return lab_reads_right(v, gfn, below(2));
	}
}

static void test_lockstep(void)
{
	uint64_t merged = 0, zeroed = 0, broken = 0, archived = 0;
	unsigned int wrong = 0, audits = 0, rests = 0, i;

	lab_machine_open(MEMORY);
	for (unsigned int v = 0; v < VMS; v++)
		bear(v);
	for (i = 1; i <= OPS && !wrong && !audits; i++) {
		wrong += !step();
		if (i % 32 == 0)
			audits += audit_all();
		if (i % 256 == 0)
			wrong += !all_right();
		if (i % (OPS / 16) == 0)
			rests += come_to_rest();
		if (i % (OPS / MACHINE_LIVES) == OPS / MACHINE_LIVES / 2)
			wrong += !new_machine();
	}
	is(wrong, 0, "%u random operations on %u VMs do what the model says", i - 1, births);
	is(audits, 0, "every audit of VMs and machine is clean");
	is(rests, 16, "each time all was let come to rest, references and credits added up");
	for (unsigned int v = 0; v < VMS; v++) {
		struct keeper_stats k = lab_keeper(&vm[v]);

		merged += k.merged_pages;
		zeroed += k.zeroed_pages;
		broken += lab_stats(&vm[v]).unshared_pages;
		archived += lab_stats(&vm[v]).archived_pages;
		ok(lab_all_right(&vm[v], true), "every byte of vm %u is right", v);
		lab_vm_end(&vm[v]);
	}
	ok(merged > 100 && zeroed > 10 && broken > 10 && archived > 10,
	   "VMs that lived to the end: %lu pages were shared, %lu zero, %lu broken, %lu archived",
	   (long)merged, (long)zeroed, (long)broken, (long)archived);
	lab_machine_close();
}

/* Orphans find a home at the new machine, and what was unique a partner. */
static void test_orphans(void)
{
	lab_machine_open(MEMORY);
	for (unsigned int v = 0; v < VMS; v++) {
		vm[v] = (struct lab_vm){ .nr = NR,
					 .domain = "a",
					 .mode = KEEPER_ON,
					 .logged = true,
					 .hugepages = GMEM_HUGE_NEVER };
		lab_vm_start(&vm[v]);
		for (gfn_t g = 0; g < 700; g++)
			lab_write(&vm[v], g, 1 + (uint32_t)g, g % 2);
	}
	for (gfn_t g = 700; g < 800; g++)
		lab_write(&vm[0], g, 5000 + (uint32_t)g, true);
	lab_rounds(vm, VMS, 4);
	is(lab_state().store_pages, 700, "700 frames are shared");
	ok(new_machine(), "the machine dies, and every byte stays");
	lab_rounds(vm, VMS, 4);
	ok(come_to_rest(), "passes bring all orphans home");
	is(lab_state().store_pages, 700, "and they are 700 frames of the new machine");
	is(lab_state().store_references, VMS * 700, "that all VMs share again");
	is(lab_pages(&vm[0], PG_PRIVATE), 100, "what was unique is private");
	for (gfn_t g = 700; g < 800; g++)
		lab_write(&vm[1], g, 5000 + (uint32_t)g, true);
	lab_rounds(vm, VMS, 4);
	is(lab_pages(&vm[0], PG_SHARED), 800, "and when another VM has the same it is shared");
	ok(all_right(), "every byte is right");
	is(audit_all(), 0, "audit");
	for (unsigned int v = 0; v < VMS; v++)
		lab_vm_end(&vm[v]);
	lab_machine_close();
}

/* ---- threads ---- */

#define WRITERS	 2u
#define PAGES	 600u
#define STORM_MS (3000 / SLOWER + 1000) /* times tap_storm() */

struct life {
	struct lab_vm *vm;
	uint64_t seed;
	bool tiny;
	atomic_bool stop;
	atomic_uint running;
	atomic_ulong wrong;
	uint8_t word[WRITERS][PAGES]; /* what each writer wrote last */
	unsigned int lives;
	uint64_t merged, broken;
};

static uint64_t deadline;
static pthread_mutex_t fate = PTHREAD_MUTEX_INITIALIZER; /* births, deaths, machines */

struct writer {
	struct life *life;
	unsigned int me;
	uint64_t seed;
};

static void *write_words(void *arg)
{
	struct writer *w = arg;
	struct life *l = w->life;

	lab_inside = l->vm;
	while (!atomic_load(&l->stop)) {
		gfn_t gfn = tap_random(&w->seed) % PAGES;
		volatile uint64_t *word = (uint64_t *)lab_hva(l->vm, gfn) + w->me;
		uint8_t *last = &l->word[w->me][gfn];

		if (lab_get(word) != *last)
			atomic_fetch_add(&l->wrong, 1);
		if (tap_random(&w->seed) % 4 == 0) {
			*last = *last ? 0 : 1 + tap_random(&w->seed) % 2;
			lab_log_write(l->vm, gfn);
			lab_set(word, *last);
			lab_log_write(l->vm, gfn);
		}
		if (tap_random(&w->seed) % 64 == 0)
			usleep(100);
	}
	lab_inside = NULL;
	atomic_fetch_sub(&l->running, 1);
	return NULL;
}

static void meddle(struct life *l)
{
	gfn_t gfn = tap_random(&l->seed) % PAGES;

	switch (tap_random(&l->seed) % 8) {
	case 0: block_split(l->vm->gm, align_down(gfn, QUIRE_BLOCK_PAGES)); break;
	case 1: block_collapse(l->vm->gm, align_down(gfn, QUIRE_BLOCK_PAGES)); break;
	case 2:
		if (!l->tiny && tap_random(&l->seed) % 4 == 0) {
			keeper_set_mode(l->vm->k, KEEPER_OFF);
			lab_pass(l->vm, 1);
		}
		keeper_set_mode(l->vm->k, KEEPER_ON);
		break;
	}
}

/* One life of a VM, with passes all the time: only they free what writers may wait for. */
static void live(struct life *l, uint64_t until)
{
	struct writer writer[WRITERS];
	pthread_t thread[WRITERS];

	atomic_store(&l->stop, false);
	atomic_store(&l->running, WRITERS);
	memset(l->word, 0, sizeof(l->word));
	for (unsigned int i = 0; i < WRITERS; i++) {
		writer[i] = (struct writer){ l, i, tap_random(&l->seed) };
		pthread_create(&thread[i], NULL, write_words, &writer[i]);
	}
	while (atomic_load(&l->running)) {
		lab_pass(l->vm, 1);
		meddle(l);
		if (monotonic_ns() > until)
			atomic_store(&l->stop, true);
	}
	for (unsigned int i = 0; i < WRITERS; i++)
		pthread_join(thread[i], NULL);
}

static bool words_right(struct life *l)
{
	uint64_t page[LAB_WORDS];

	for (gfn_t g = 0; g < PAGES; g++) {
		guest_read(l->vm->gm, gfn_to_gpa(g), page, sizeof(page));
		for (unsigned int i = 0; i < LAB_WORDS; i++)
			if (page[i] != (i < WRITERS ? l->word[i][g] : 0))
				return false;
	}
	return true;
}

static void *live_and_die(void *arg)
{
	struct life *l = arg;

	while (monotonic_ns() < deadline) {
		uint64_t span = (400 + tap_random(&l->seed) % 1500) * 1000000;

		pthread_mutex_lock(&fate);
		lab_vm_start(l->vm);
		pthread_mutex_unlock(&fate);
		live(l, min_u64(deadline, monotonic_ns() + span));
		l->lives++;
		l->merged += lab_keeper(l->vm).merged_pages + lab_keeper(l->vm).zeroed_pages;
		l->broken += lab_stats(l->vm).unshared_pages;
		atomic_fetch_add(&l->wrong, !words_right(l));
		atomic_fetch_add(&l->wrong, gmem_audit(l->vm->gm, lab_report, NULL));
		pthread_mutex_lock(&fate);
		lab_vm_end(l->vm);
		pthread_mutex_unlock(&fate);
	}
	return NULL;
}

static void change_machine(void)
{
	pthread_mutex_lock(&fate);
	lab_machine_die();
	usleep(20000);
	lab_machine_open(lab.memory);
	for (unsigned int v = 0; v < VMS; v++)
		if (vm[v].gm)
			lab_vm_readmit(&vm[v]);
	pthread_mutex_unlock(&fate);
}

/* Until the deadline: new machines, and audits of them. */
static unsigned int watch_over(bool machine_dies)
{
	unsigned int faults = 0, n = 0;

	while (monotonic_ns() < deadline) {
		usleep(100000);
		pthread_mutex_lock(&fate);
		faults += lab_machine_audit();
		pthread_mutex_unlock(&fate);
		if (machine_dies && ++n % 17 == 0)
			change_machine();
	}
	return faults;
}

static void test_threads(uint64_t memory, bool tiny)
{
	const char *what = tiny ? "short of memory" : "storm";
	static struct life life[VMS];
	uint64_t merged = 0, broken = 0, wrong = 0;
	pthread_t thread[VMS];
	unsigned int lives = 0;

	lab_machine_open(memory);
	deadline = monotonic_ns() + STORM_MS * tap_storm() * 1000000ULL;
	for (unsigned int v = 0; v < VMS; v++) {
		vm[v] = (struct lab_vm){ .nr = PAGES,
					 .domain = "a",
					 .mode = KEEPER_ON,
					 .hugepages = tiny ? GMEM_HUGE_NEVER : GMEM_HUGE_AUTO,
					 .logged = v > 0 };
		life[v] = (struct life){ .vm = &vm[v], .seed = below(1ULL << 62), .tiny = tiny };
		pthread_create(&thread[v], NULL, live_and_die, &life[v]);
	}
	is(watch_over(true), 0, "%s: audits of the machine", what);
	for (unsigned int v = 0; v < VMS; v++) {
		pthread_join(thread[v], NULL);
		wrong += atomic_load(&life[v].wrong);
		lives += life[v].lives;
		merged += life[v].merged;
		broken += life[v].broken;
	}
	is(wrong, 0, "%s: no wrong word in %u lives of VMs", what, lives);
	ok(merged > 0 && broken > 0, "%s: %lu pages became shared or zero, %lu were broken", what,
	   (long)merged, (long)broken);
	lab_machine_close();
}

int main(int argc, char **argv)
{
	tap_init();
	rng = tap_seed(argc, argv);
	guest_take_mode();
	lab_catch_segv();
	alarm(280 * tap_storm());
	test_orphans();
	test_lockstep();
	test_threads(MEMORY, false);
	test_threads(1000, true);
	return tap_done();
}
