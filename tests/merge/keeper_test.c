/* SPDX-License-Identifier: MIT */
/*
 * Keepers and a machine, exactly: VMs with known content end at the number of frames, references,
 * zero pages and private pages (with the reason for each) that follows from that content.
 */
#include "keeper_lab.h"

#define NR	 1000
#define CONTENTS 16384u
#define MEMORY	 (256 * MiB / QUIRE_PAGE_SIZE)
#define MOST	 5u
#define ROUNDS	 4u /* watch, look, find a partner, hear of it */

static struct lab_vm vm[MOST];

static struct lab_vm plain(const char *domain)
{
	return (struct lab_vm){ .nr = NR,
				.domain = domain,
				.hugepages = GMEM_HUGE_NEVER,
				.mode = KEEPER_ON,
				.logged = true };
}

static void start(unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		lab_vm_start(&vm[i]);
}

static void end(unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		lab_vm_end(&vm[i]);
	lab_machine_close();
}

static void write_all(struct lab_vm *v, gfn_t gfn, uint64_t nr, uint32_t first, uint32_t step)
{
	for (uint64_t i = 0; i < nr; i++)
		lab_write(v, gfn + i, first + (uint32_t)i * step, i % 2);
}

/* ---- what must come of it ---- */

struct want {
	uint64_t frames, references;
	uint64_t zero[MOST], private[MOST], reason[MOST][NOTE_NR_REASONS];
};

/* The VM that stands for v's domain. */
static unsigned int domain_of(unsigned int v)
{
	unsigned int d = 0;

	while (*vm[v].domain && strcmp(vm[d].domain, vm[v].domain))
		d++;
	return *vm[v].domain ? d : v;
}

static bool is_always(const struct lab_vm *v, gfn_t g)
{
	return v->always[g / 64] >> g % 64 & 1;
}

static uint32_t copies[MOST][CONTENTS];

static void count_copies(unsigned int nr)
{
	memset(copies, 0, sizeof(copies));
	for (unsigned int v = 0; v < nr; v++)
		for (gfn_t g = 0; g < NR && vm[v].mode == KEEPER_ON; g++)
			if (!is_always(&vm[v], g) && !vm[v].table[g])
				copies[domain_of(v)][vm[v].content[g]]++;
}

static void predict_page(struct want *w, unsigned int v, gfn_t g)
{
	uint32_t c = vm[v].content[g], n = copies[domain_of(v)][c];

	if (lab_page_state(&vm[v], g) == PG_ABSENT)
		return;
	if (vm[v].table[g] || is_always(&vm[v], g)) {
		w->private[v]++;
		w->reason[v][vm[v].table[g] ? NOTE_PAGE_TABLE : NOTE_VOLATILE]++;
	} else if (!c) {
		w->zero[v]++;
	} else if (n > 1 && vm[v].mode == KEEPER_ON) {
		w->references++;
	} else {
		w->private[v]++;
		w->reason[v][NOTE_UNIQUE]++;
	}
}

static struct want predict(unsigned int nr)
{
	struct want w = { 0 };

	count_copies(nr);
	for (unsigned int v = 0; v < nr; v++)
		for (gfn_t g = 0; g < NR; g++)
			predict_page(&w, v, g);
	for (unsigned int d = 0; d < nr; d++)
		for (uint32_t c = 1; c < CONTENTS; c++)
			w.frames += copies[d][c] > 1;
	return w;
}

static void add_domain(void *ctx, uint32_t id, const struct machine_domain_record *r)
{
	struct want *got = ctx;

	(void)id;
	got->frames += r->pages_shared;
	got->references += r->pages_shared + r->pages_sharing;
}

static void check_vm(const struct want *w, unsigned int v, const char *what)
{
	struct keeper_stats k = lab_keeper(&vm[v]);

	is(lab_pages(&vm[v], PG_ZERO), w->zero[v], "%s: zero pages of vm %u", what, v);
	is(lab_pages(&vm[v], PG_PRIVATE), w->private[v], "%s: private pages of vm %u", what, v);
	for (unsigned int r = 0; r < NOTE_NR_REASONS; r++)
		if (k.reason_pages[r] || w->reason[v][r])
			is(k.reason_pages[r], w->reason[v][r], "%s: vm %u, reason %s", what, v,
			   note_reason_name[r]);
	ok(lab_adds_up(&vm[v]), "%s: vm %u: each private page has a reason and a credit", what, v);
	is(gmem_audit(vm[v].gm, lab_report, NULL), 0, "%s: audit of vm %u", what, v);
}

static void check(unsigned int nr, const char *what)
{
	struct want w = predict(nr), got = { 0 };
	struct machine_state s = lab_state();
	uint64_t private = 0;

	machine_client_domains(lab.client, add_domain, &got, NULL);
	is(got.frames, w.frames, "%s: shared frames", what);
	is(got.references - got.frames, w.references - w.frames, "%s: sharing pages", what);
	for (unsigned int v = 0; v < nr; v++) {
		check_vm(&w, v, what);
		private += w.private[v];
		ok(lab_all_right(&vm[v], false), "%s: every byte of vm %u is right", what, v);
	}
	is(s.resident_pages, private + w.frames, "%s: blocks of all files, by the kernel", what);
	ok(lab_eventually(lab_references_agree, vm, nr), "%s: references are what entries name",
	   what);
	ok(lab_eventually(lab_credits_agree, vm, nr), "%s: credits are what VMs hold", what);
	s = lab_state();
	is(s.settings.memory_pages - s.free_pages,
	   s.credit_pages + s.store_pages + s.overhead_pages,
	   "%s: used are credits, frames and overhead", what);
	is(lab_machine_audit(), 0, "%s: audit of the machine", what);
}

/* ---- all kinds of pages ---- */

static void fill_all_kinds(unsigned int v)
{
	write_all(&vm[v], 0, 100, 1000, 1);		 /* in every VM */
	write_all(&vm[v], 100, 40, 2000 + v, 0);	 /* copies within one */
	write_all(&vm[v], 140, 100, 3000 + 1000 * v, 1); /* unique */
	write_all(&vm[v], 240, 60, 0, 0);
	write_all(&vm[v], 300, 20, 1100, 1);
	lab_always(&vm[v], 300, 20, true);
	write_all(&vm[v], 320, 10, 1200, 1);
	for (gfn_t g = 320; g < 330; g++)
		vm[v].table[g] = true;
	if (v < 2)
		write_all(&vm[v], 330, 40, 1300, 1); /* in two */
	write_all(&vm[v], 900, 30, 1000 + v, 1);     /* a part of the first, displaced */
}

/* All pages that share a frame, in all VMs, are those with the same content. */
static bool frames_agree(unsigned int v, unsigned int nr)
{
	for (gfn_t g = 0; g < NR; g++) {
		uint64_t users = 0, want = copies[domain_of(v)][vm[v].content[g]];
		struct gmem_frame frame;

		if (gmem_frame_of(vm[v].gm, g, &frame))
			continue;
		for (unsigned int o = 0; o < nr; o++) {
			gfn_t gfn[NR];
			uint64_t n = gmem_frame_users(vm[o].gm, &frame, gfn, NR);

			users += n;
			for (uint64_t i = 0; i < n; i++)
				if (vm[o].content[gfn[i]] != vm[v].content[g])
					return false;
		}
		if (users != want)
			return false;
	}
	return true;
}

static void test_exact(void)
{
	lab_machine_open(MEMORY);
	for (unsigned int v = 0; v < 3; v++)
		vm[v] = plain("a");
	start(3);
	for (unsigned int v = 0; v < 3; v++)
		fill_all_kinds(v);
	lab_rounds(vm, 3, ROUNDS);
	check(3, "three VMs");
	for (unsigned int v = 0; v < 3; v++)
		ok(frames_agree(v, 3), "the users of each frame of vm %u are the pages like it", v);
	/* One writes what the others have, and has what nobody else has any more. */
	write_all(&vm[1], 140, 50, 3000, 1);
	write_all(&vm[2], 0, 50, 9000, 1);
	lab_rounds(vm, 3, 10);
	check(3, "after writing");
	gmem_drop(vm[0].gm, 0, 330, NULL);
	memset(vm[0].content, 0, 330 * sizeof(*vm[0].content));
	lab_always(&vm[0], 300, 20, false);
	memset(vm[0].table, 0, NR);
	lab_rounds(vm, 3, 4);
	{
		struct machine_state s = lab_state();
		uint64_t refs = lab_pages(&vm[0], PG_SHARED) + lab_pages(&vm[1], PG_SHARED) +
				lab_pages(&vm[2], PG_SHARED);

		is(s.store_references, refs, "after a drop its references are back");
	}
	lab_vm_end(&vm[2]);
	vm[2].k = NULL;
	for (unsigned int i = 0; i < 2000 && lab_state().nr_vms == 3; i++)
		usleep(1000);
	is(lab_state().store_references,
	   lab_pages(&vm[0], PG_SHARED) + lab_pages(&vm[1], PG_SHARED),
	   "after the end of a VM too");
	ok(lab_all_right(&vm[0], true) && lab_all_right(&vm[1], true),
	   "and all others keep their bytes");
	end(2);
}

/* ---- domains and modes ---- */

static void test_domains(void)
{
	static const char *const name[] = { "red", "red", "blue", "", "" };

	lab_machine_open(MEMORY);
	for (unsigned int v = 0; v < 5; v++)
		vm[v] = plain(name[v]);
	start(5);
	for (unsigned int v = 0; v < 5; v++) {
		write_all(&vm[v], 0, 50, 100, 1);
		write_all(&vm[v], 64, 10, 500, 0);
	}
	lab_rounds(vm, 5, ROUNDS);
	check(5, "domains");
	is(lab_pages(&vm[0], PG_SHARED), 60, "two of a domain share all");
	is(lab_pages(&vm[2], PG_SHARED), 10, "who is alone in one shares with itself");
	is(lab_pages(&vm[3], PG_SHARED), 10, "and so does who has no domain");
	{
		uint64_t elsewhere = 0;

		machine_client_elsewhere(lab.client, vm[3].id, &elsewhere, NULL);
		is(elsewhere, 50, "whose other pages are known to be elsewhere");
	}
	end(5);
}

static void set_mode(unsigned int v, enum keeper_mode mode)
{
	vm[v].mode = mode;
	keeper_set_mode(vm[v].k, mode);
}

static void test_modes(void)
{
	uint64_t zeroes;

	lab_machine_open(MEMORY);
	vm[0] = vm[1] = plain("a");
	vm[0].mode = vm[1].mode = KEEPER_ZERO;
	start(2);
	for (unsigned int v = 0; v < 2; v++) {
		write_all(&vm[v], 0, 400, 100, 1);
		write_all(&vm[v], 400, 100, 0, 0);
	}
	lab_rounds(vm, 2, ROUNDS);
	check(2, "zero only");
	{
		uint64_t scanned = lab_keeper(&vm[0]).pages_scanned;

		lab_pass(&vm[0], 3);
		is(lab_keeper(&vm[0]).pages_scanned, scanned,
		   "zero only: what was seen is not seen again");
	}
	set_mode(0, KEEPER_ON);
	set_mode(1, KEEPER_ON);
	lab_rounds(vm, 2, ROUNDS);
	check(2, "then on");
	is(lab_pages(&vm[0], PG_SHARED), 400, "then on: all that can be");
	zeroes = lab_pages(&vm[0], PG_ZERO);
	set_mode(0, KEEPER_ZERO);
	lab_pass(&vm[0], 2);
	is(lab_pages(&vm[0], PG_SHARED), 0, "zero again: nothing else is shared");
	ok(zeroes >= 100 && lab_pages(&vm[0], PG_ZERO) == zeroes,
	   "zero again: the %lu pages of zeroes stay", (long)zeroes);
	is(lab_reason(&vm[0], NOTE_UNIQUE), 400, "zero again: the others are looked at");
	ok(lab_adds_up(&vm[0]) && lab_all_right(&vm[0], false), "zero again: and all is right");
	ok(lab_eventually(lab_references_agree, vm, 2), "zero again: references are back");
	set_mode(0, KEEPER_ON);
	lab_rounds(vm, 2, ROUNDS);
	check(2, "on again");
	set_mode(0, KEEPER_OFF);
	lab_pass(&vm[0], 1);
	is(lab_pages(&vm[0], PG_SHARED) + lab_pages(&vm[0], PG_ZERO), 0, "off: nothing is shared");
	is(lab_pages(&vm[0], PG_PRIVATE) - lab_reason(&vm[0], NOTE_NEW), 0, "off: all is new");
	ok(lab_adds_up(&vm[0]) && lab_all_right(&vm[0], true), "off: and all is right");
	ok(lab_eventually(lab_references_agree, vm, 2), "off: its references are back");
	set_mode(0, KEEPER_ON);
	lab_rounds(vm, 2, ROUNDS);
	check(2, "and on again");
	end(2);
}

/* News that come when nothing is to be shared any more. */
static void test_late_news(void)
{
	lab_machine_open(MEMORY);
	for (unsigned int v = 0; v < 3; v++)
		vm[v] = plain("a");
	start(3);
	write_all(&vm[0], 0, 20, 100, 1);
	write_all(&vm[1], 0, 20, 200, 1);
	lab_rounds(vm, 2, 3);
	set_mode(0, KEEPER_ZERO);
	lab_pass(&vm[0], 1);
	for (gfn_t g = 0; g < 20; g++)
		vm[1].table[g] = true;
	write_all(&vm[2], 0, 20, 100, 1);
	write_all(&vm[2], 20, 20, 200, 1);
	lab_rounds(vm, 3, 3);
	is(lab_pages(&vm[0], PG_SHARED), 0, "who shares zero pages only ignores news");
	is(lab_pages(&vm[1], PG_SHARED), 0, "what became a page table is not shared by news");
	is(lab_reason(&vm[1], NOTE_PAGE_TABLE), 20, "and is known as one");
	ok(lab_eventually(lab_references_agree, vm, 3), "the references are back");
	end(3);
}

/* ---- orphans ---- */

/*
 * Pages of a dead machine's frames that no other VM has any more: a VM publishes them all the same.
 */
static void test_lone_orphans(void)
{
	lab_machine_open(MEMORY);
	for (unsigned int v = 0; v < 3; v++)
		vm[v] = plain("a");
	start(2);
	for (unsigned int v = 0; v < 2; v++)
		write_all(&vm[v], 0, 40, 100, 1);
	write_all(&vm[0], 40, 5, 500, 1);
	lab_rounds(vm, 2, ROUNDS);
	is(lab_pages(&vm[0], PG_SHARED), 40, "two VMs share 40 pages");
	is(lab_orphans(&vm[0]), 0, "with frames of a machine that is there");
	lab_machine_die();
	lab_vm_end(&vm[1]);
	vm[1].k = NULL;
	lab_pass(&vm[0], 1);
	is(lab_orphans(&vm[0]), 40,
	   "machine and partner are gone: the VM says what no machine counts");
	lab_write(&vm[0], 0, 900, true);
	is(lab_orphans(&vm[0]), 39, "but for what was written");
	lab_machine_open(MEMORY);
	lab_vm_readmit(&vm[0]);
	lab_pass(&vm[0], 3);
	is(lab_orphans(&vm[0]), 0, "a new machine has them");
	is(lab_pages(&vm[0], PG_SHARED), 39, "all of them are shared, with nobody");
	is(lab_state().store_pages, 39, "they are its frames");
	is(lab_state().store_references, 39, "with one reference each");
	ok(lab_all_right(&vm[0], false) && lab_adds_up(&vm[0]),
	   "every byte is right, and all adds up");
	lab_vm_start(&vm[2]);
	write_all(&vm[2], 1, 39, 101, 1);
	lab_pass(&vm[2], 3);
	is(lab_pages(&vm[2], PG_SHARED), 39, "and who comes with the same shares them at once");
	is(lab_state().store_pages, 39, "no frame is made for that");
	ok(lab_all_right(&vm[2], false) && lab_eventually(lab_references_agree, vm, 3),
	   "all is right, and references are what entries name");
	lab_vm_end(&vm[0]);
	lab_vm_end(&vm[2]);
	lab_machine_close();
}

/* ---- credits ---- */

/*
 * Passes until no page is shared, each of which begins when the machine has granted credits for
 * some.  A pass itself waits for credits, but not for a machine that has no time.
 */
static void bring_all_home(struct lab_vm *v)
{
	uint64_t left = lab_pages(v, PG_SHARED);

	for (unsigned int in_vain = 0; left && in_vain < 10;) {
		uint64_t before = left;

		if (credits_wait(v->credits, 1, left))
			tap_bail("the machine denies credits");
		lab_pass(v, 1);
		left = lab_pages(v, PG_SHARED);
		in_vain += left == before;
	}
}

/* Un-sharing goes as far as memory does. */
static void test_unsharing_without_credits(enum keeper_mode mode, const char *what)
{
	uint64_t left, hog = 0;

	lab_machine_open(2200);
	vm[0] = vm[1] = plain("a");
	vm[2] = plain("b");
	vm[2].nr = 2000;
	start(2);
	write_all(&vm[0], 0, 900, 100, 1);
	lab_rounds(vm, 1, 2);
	write_all(&vm[1], 0, 900, 100, 1);
	lab_rounds(vm, 2, ROUNDS);
	is(lab_state().store_pages, 900, "two VMs share 900 pages");
	lab_vm_start(&vm[2]);
	while (lab_state().free_pages > lab_state().min_pages + 64 && hog < 2000)
		lab_write(&vm[2], hog, 1000 + (uint32_t)hog, true), hog++;
	set_mode(0, mode);
	lab_pass(&vm[0], 1);
	left = lab_pages(&vm[0], PG_SHARED);
	ok(left > 500 && left < 900, "%s, and memory for few: %lu pages stay shared", what,
	   (long)left);
	ok(lab_all_right(&vm[0], false), "and are right");
	gmem_drop(vm[2].gm, 0, hog, NULL);
	memset(vm[2].content, 0, vm[2].nr * sizeof(*vm[2].content));
	bring_all_home(&vm[0]);
	is(lab_pages(&vm[0], PG_SHARED), 0, "with memory again passes bring them home");
	ok(lab_adds_up(&vm[0]) && lab_all_right(&vm[0], false), "all of them");
	end(3);
}

/* The reserve for breaks is nothing that absent pages could be missing. */
static void test_all_of_ram(void)
{
	lab_machine_open(MEMORY);
	vm[0] = plain("a");
	start(1);
	write_all(&vm[0], 0, 900, 1000, 1);
	write_all(&vm[0], 0, 200, 100, 0);
	lab_rounds(vm, 1, ROUNDS);
	is(lab_pages(&vm[0], PG_SHARED), 200, "200 pages are shared");
	write_all(&vm[0], 0, NR, 2000, 1);
	is(lab_pages(&vm[0], PG_PRIVATE), NR, "then all of RAM is written, to the last page");
	ok(lab_adds_up(&vm[0]) && lab_all_right(&vm[0], true), "and paid for");
	end(1);
}

int main(int argc, char **argv)
{
	tap_init();
	(void)tap_seed(argc, argv);
	guest_take_mode();
	lab_catch_segv();
	test_exact();
	test_domains();
	test_modes();
	test_late_news();
	test_lone_orphans();
	test_all_of_ram();
	test_unsharing_without_credits(KEEPER_OFF, "off");
	test_unsharing_without_credits(KEEPER_ZERO, "zero");
	return tap_done();
}
