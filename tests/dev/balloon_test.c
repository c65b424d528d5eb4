/* SPDX-License-Identifier: MIT */
/* The balloon's queues of pages: inflate, deflate, reports; which queue is which; two threads. */
#include <pthread.h>
#include <stdatomic.h>
#include "vmm/dev/balloon_pfns.h"
#include "balloon_lab.h"

/* ---- features and queue numbers ---- */

static void features(void)
{
	uint64_t all = F(MUST_TELL_HOST) | F(STATS_VQ) | F(DEFLATE_ON_OOM) | F(FREE_PAGE_HINT) |
		       F(PAGE_POISON) | F(REPORTING);

	create(false);
	is_hex(reg(0x008), 5, "the device's id is 5");
	is_hex(lab_offered() & 0xffffff, all, "with the dirty log on all six features are offered");
	r.armed = false;
	is_hex(lab_offered() & 0xffffff, all & ~F(FREE_PAGE_HINT), "without, all but hinting");
	ok(!lab_negotiate(F_VERSION_1 | F(FREE_PAGE_HINT)), "and hinting is not accepted");
	balloon_record(r.balloon, &info);
	ok(info.driver == BALLOON_NO_DRIVER && info.features == 0, "there is no driver yet");
	drive(F(STATS_VQ) | F(REPORTING), 3);
	balloon_record(r.balloon, &info);
	ok(info.driver == BALLOON_DRIVER && info.features == (F(STATS_VQ) | F(REPORTING)),
	   "then there is one, with these features");
	set_reg(R_STATUS, 0);
	balloon_record(r.balloon, &info);
	ok(info.driver == BALLOON_NO_DRIVER && info.features == 0, "a reset ends it");
}

/* Which letter does a page-sized, device-writable or list buffer on queue n lead to? */
static char probe(unsigned int n)
{
	uint32_t pfn = 60;
	char got;

	r.log[0] = '\0';
	if (!reg((set_reg(R_QUEUE, n), R_READY)))
		return '-';
	put_list(LIST, &pfn, 1);
	put_desc(queue[n].desc, 60, LIST, 4, D_NEXT, 61);
	put_desc(queue[n].desc, 61, 60 << 12, 4096, D_WRITE, 0);
	lab_offer(&queue[n], 60);
	lab_kick(&queue[n]);
	balloon_record(r.balloon, &info);
	got = r.log[0] ? r.log[0] : info.stats_ns ? 'S' : '.';
	return got;
}

/*
 * With these features, the queues that the driver set up must be what `want` says, letter by
 * letter.
 */
static void numbering(uint64_t features_, unsigned int queues, const char *want)
{
	char got[BALLOON_NR_QUEUES + 1] = "";

	for (unsigned int n = 0; n < BALLOON_NR_QUEUES; n++) {
		create(false);
		drive(features_, queues);
		if (features_ & F(FREE_PAGE_HINT)) { /* a round, as hint buffers need one */
			uint32_t id = 60;

			while (config(CMD_ID) != id)
				balloon_hint_start(r.balloon);
		}
		got[n] = probe(n);
	}
	if (!ok(!strcmp(got, want), "features %02llx, queues %02x: %s",
		(unsigned long long)features_, queues, want))
		tap_note("got %s", got);
}

static void numberings(void)
{
	uint64_t s = F(STATS_VQ), h = F(FREE_PAGE_HINT), p = F(REPORTING);

	numbering(0, 0x03, "ID---");
	numbering(s, 0x07, "IDS--");
	numbering(h, 0x07, "IDH--");
	numbering(p, 0x07, "IDR--");
	numbering(s | h, 0x0f, "IDSH-");
	numbering(s | p, 0x0f, "IDSR-");
	numbering(h | p, 0x0f, "IDHR-");
	numbering(s | h | p, 0x1f, "IDSHR");
	numbering(h, 0x0b, "ID-H-");
	numbering(p, 0x13, "ID--R");
	numbering(s | p, 0x17, "IDS-R");
	numbering(h | p, 0x1b, "ID-HR");
	numbering(h | p, 0x13, "ID--R");
	numbering(s | p, 0x0b, "ID-R-");
	numbering(p, 0x1f, "IDR..");
	numbering(0, 0x07, "ID.--");
	numbering(s | h | p, 0x01, "I----");
}

/* ---- runs ---- */

static void runs(void)
{
	start(0, 3);
	SEND(0, 20, 21, 22);
	did("I20+3 ", "three pages in a row are one run");
	SEND(0, 25, 24, 30, 23, 50, 31);
	did("I23+3 I30+2 I50+1 ", "pages in disorder are sorted into runs");
	SEND(0, 40, 24, 24, 0xffffffff, 63, 64, 47, 48, 24, 31, 32);
	did("I24+1 I31+1 I48+1 I63+1 ", "what is no RAM is refused, the rest goes on");
	balloon_record(r.balloon, &info);
	ok(info.requested == 20 && info.inflated == 13 && info.refused == 5 && info.duplicates == 2,
	   "and all is counted");
	ok(info.operations == 8, "in eight operations");
	SEND(0, 0, 1, 2, 3, 4, 5);
	did("I4+2 ", "pages of the rings are refused");
	SEND(1, 1, 2);
	did("", "also for deflating");
	SEND(1, 22, 20, 21);
	did("D20+3 ", "deflating is told in runs as well");
	balloon_record(r.balloon, &info);
	ok(info.refused == 11 && info.deflated == 3, "all counted");
	ok(used_idx(&queue[0]) == 4 && used_idx(&queue[1]) == 2, "and every buffer was returned");
	r.result = -EAGAIN;
	SEND(0, 20);
	SEND(0, 21);
	r.result = -ENOMEM;
	SEND(0, 22, 23);
	balloon_record(r.balloon, &info);
	ok(info.kept == 2 && info.failed == 2 && used_idx(&queue[0]) == 7,
	   "pages that memory does not take now are kept and counted");
}

static void gives(int result, uint64_t gone, uint64_t already, uint64_t kept)
{
	r.result = result;
	r.gone = (struct gmem_gone){ gone, already, kept };
}

/* Each page is counted as what became of it, whatever became of the rest of its run. */
static void outcomes(void)
{
	start(F(REPORTING), 7);
	is(r.resets, 2, "memory hears of a reset, the first one too");
	gives(-EAGAIN, 3, 1, 2);
	SEND(0, 20, 21, 22, 23, 24, 25);
	balloon_record(r.balloon, &info);
	ok(info.inflated == 3 && info.duplicates == 1 && info.kept == 2 && !info.failed,
	   "of six pages three are gone, one was, two stay for now");
	gives(-ENOMEM, 2, 0, 1);
	SEND(0, 20, 21, 22, 23, 24, 25);
	balloon_record(r.balloon, &info);
	ok(info.inflated == 5 && info.kept == 3 && info.failed == 3,
	   "then two, one stays, and three were not tried");
	gives(-EAGAIN, 1, 0, 0);
	SEND(0, 20, 21);
	balloon_record(r.balloon, &info);
	ok(info.inflated == 6 && info.kept == 4 && info.failed == 3,
	   "what it said nothing of stays for now");
	gives(0, 1, 2, 0);
	SEND(1, 20, 21, 22);
	balloon_record(r.balloon, &info);
	ok(info.deflated == 1 && info.duplicates == 3,
	   "what was not in the balloon does not leave it");
	gives(0, 5, 3, 0);
	lab_add(&queue[2], 20 << 12, 8 << 12, D_WRITE);
	lab_kick(&queue[2]);
	balloon_record(r.balloon, &info);
	ok(info.reported == 8 && info.duplicates == 3,
	   "what is reported is reported, there or not");
	r.log[0] = '\0';
}

/* Rings that share pages with other things, or cross from one to the next. */
static void ring_pages(void)
{
	struct lab_queue q = { .num = 64, .desc = 0x4ff0, .avail = 0x7000, .used = 0x8000 };

	create(false);
	lab_negotiate(F_VERSION_1);
	lab_set_rings(&q);
	set_reg(R_READY, 1);
	queue[0] = q;
	lab_driver_ok();
	SEND(0, 2, 3, 4);
	did("I2+2 ", "the first page of a ring is refused");
	balloon_record(r.balloon, &info);
	is(info.refused, 1, "and no more than was named");
	SEND(0, 5, 6, 7, 8, 9);
	did("I6+1 I9+1 ", "its second page is, too");
}

static void framing(void)
{
	static const uint32_t pfn[] = { 20, 21, 22, 23 };

	start(0, 3);
	put_list(LIST, pfn, 4);
	put_desc(queue[0].desc, 0, LIST, 3, D_NEXT, 1);
	put_desc(queue[0].desc, 1, LIST + 3, 6, D_NEXT, 2);
	put_desc(queue[0].desc, 2, LIST + 9, 6, 0, 0);
	lab_offer(&queue[0], 0);
	lab_kick(&queue[0]);
	did("I20+3 ", "a list may come in pieces of any size, and a part of a PFN is none");
	lab_add(&queue[0], LIST, 16, D_WRITE);
	lab_add(&queue[0], LIST, 0, 0);
	lab_kick(&queue[0]);
	did("", "what is writable is no list, nor is nothing");
	for (unsigned int i = 0; i < 4; i++)
		lab_add(&queue[0], LIST + 4 * (3 - i), 4, 0);
	lab_kick(&queue[0]);
	did("I20+4 ", "buffers that are there together make runs together");
	ok(used_idx(&queue[0]) == 7, "each is returned");
	for (unsigned int i = 0; i < 16; i++)
		put_desc(0xb000, i, 0, 0x8000, i < 15 ? D_NEXT : 0, (uint16_t)(i + 1));
	lab_add(&queue[0], 0xb000, 256, D_INDIRECT);
	lab_kick(&queue[0]);
	balloon_record(r.balloon, &info);
	ok(info.driver == BALLOON_DRIVER_BROKEN &&
		   !strcmp(balloon_error(r.balloon), "a list of more than 65536 pages"),
	   "an absurd list is too much");
	ok(reg(R_STATUS) & S_NEEDS_RESET, "and the device needs a reset");
}

static void budget(void)
{
	start(0, 3);
	for (unsigned int i = 0; i < 7; i++)
		put_desc(0xb000, i, 0, 0x8000, i < 6 ? D_NEXT : 0, (uint16_t)(i + 1));
	lab_add(&queue[0], 0xb000, 16 * 7, D_INDIRECT);
	lab_add(&queue[0], 0xb000, 16 * 7, D_INDIRECT);
	lab_add(&queue[0], 0xb000, 16 * 7, D_INDIRECT);
	lab.wakes = 0;
	lab_kick(&queue[0]);
	balloon_record(r.balloon, &info);
	ok(info.requested == 2 * 7 * 8192 && used_idx(&queue[0]) == 2 && lab.wakes,
	   "after 65536 pages a vCPU goes on, and the main loop is woken");
	balloon_tick(r.balloon);
	ok(used_idx(&queue[0]) == 3, "which does the rest");
}

#define FAR_LIST    0x30000u /* 16384 PFNs, up to the end of the laboratory's RAM */
#define FAR_PFNS    16384u
#define FAR_CHAIN   0x1f000u
#define FAR_BATCHES (4 * FAR_PFNS / PFN_BATCH)

/* A list of 65536 pages in far RAM of which no two are neighbours. */
static void send_scattered(void)
{
	uint32_t *list = (uint32_t *)(lab.ram + FAR_LIST);

	for (uint32_t i = 0; i < FAR_PFNS; i++)
		list[i] = (uint32_t)far_ram.start + 2 * i;
	for (unsigned int i = 0; i < 4; i++)
		put_desc(FAR_CHAIN, i, FAR_LIST, FAR_PFNS * sizeof(*list), i < 3 ? D_NEXT : 0,
			 (uint16_t)(i + 1));
	lab_add(&queue[0], FAR_CHAIN, 16 * 4, D_INDIRECT);
	lab_kick(&queue[0]);
}

static uint64_t operations(void)
{
	balloon_record(r.balloon, &info);
	return info.operations;
}

static void scattered(void)
{
	unsigned int turns = 1;

	far_ram = (struct gfn_range){ 1000, 1000 + 2 * FAR_PFNS };
	start(0, 3);
	send_scattered();
	is(operations(), PFN_BATCH, "a turn ends in the middle of a list of scattered pages");
	ok(used_idx(&queue[0]) == 0 && lab.wakes, "it is not returned, and the main loop is woken");
	SEND(1, 1);
	is(used_idx(&queue[1]), 0, "the other queue waits");
	for (; !used_idx(&queue[0]) && turns < 100; turns++) {
		uint64_t before = operations();

		balloon_tick(r.balloon);
		if (operations() - before > PFN_BATCH + 1)
			break;
	}
	ok(turns == FAR_BATCHES + 1, "the main loop does the rest in turns (%u)", turns);
	is(info.requested, 4 * FAR_PFNS, "of all that was asked for");
	balloon_tick(r.balloon);
	is(used_idx(&queue[1]), 1, "and then the other queue");

	start(0, 3);
	send_scattered();
	drive(0, 3);
	r.log[0] = '\0';
	SEND(0, 5);
	did("I5+1 ", "a reset forgets what was not done");
	ok(used_idx(&queue[0]) == 1, "a new list is done at once");
	far_ram = (struct gfn_range){ 0 };
}

struct block_run {
	gfn_t gfn;
	uint64_t nr;
	unsigned int calls;
};

static void on_run(void *ctx, gfn_t gfn, uint64_t nr)
{
	*(struct block_run *)ctx =
		(struct block_run){ gfn, nr, ((struct block_run *)ctx)->calls + 1 };
}

/* The sort against a bitmap. */
static uint8_t seen[1 << 16];

static void on_seen(void *ctx, gfn_t gfn, uint64_t nr)
{
	gfn_t *last = ctx;

	if (gfn <= *last && *last)
		*last = UINT64_MAX; /* out of order, or runs that touch */
	for (uint64_t i = 0; i < nr; i++)
		seen[gfn + i]++;
	if (*last != UINT64_MAX)
		*last = gfn + nr;
}

static void sorting(uint64_t seed)
{
	static struct pfn_batch batch;
	static uint8_t want[sizeof(seen)];
	struct block_run run = { 0 };
	unsigned int wrong = 0;

	for (batch.nr = 0; batch.nr < 512; batch.nr++)
		batch.pfn[batch.nr] = 0x12400 + (batch.nr * 37) % 512;
	ok(!pfn_batch_runs(&batch, on_run, &run) && run.calls == 1 && run.gfn == 0x12400 &&
		   run.nr == 512 && batch.nr == 0,
	   "512 pages of a block in any order are one operation");
	for (unsigned int round = 0; round < 200; round++) {
		unsigned int nr = (unsigned int)(tap_random(&seed) % (PFN_BATCH + 1)), twice = 0;
		uint64_t span = 1 + tap_random(&seed) % sizeof(seen);
		gfn_t last = 0;

		memset(seen, 0, sizeof(seen));
		memset(want, 0, sizeof(want));
		for (batch.nr = 0; batch.nr < nr; batch.nr++) {
			batch.pfn[batch.nr] = (uint32_t)(tap_random(&seed) % span);
			twice += want[batch.pfn[batch.nr]];
			want[batch.pfn[batch.nr]] = 1;
		}
		wrong += pfn_batch_runs(&batch, on_seen, &last) != twice || last == UINT64_MAX ||
			 memcmp(seen, want, sizeof(seen));
	}
	ok(!wrong, "200 random lists come out sorted, each page once, in runs as long as can be");
}

/* ---- reports and poison ---- */

static void report_buffer(unsigned int n, uint16_t flags)
{
	put_desc(queue[n].desc, 0, 20 << 12, 8192, flags | D_NEXT, 1);
	put_desc(queue[n].desc, 1, (24 << 12) + 1, 8191, flags | D_NEXT, 2);
	put_desc(queue[n].desc, 2, (28 << 12) + 1, 4096, flags | D_NEXT, 3);
	put_desc(queue[n].desc, 3, 0, 12 << 12, flags, 0);
	lab_offer(&queue[n], 0);
	lab_kick(&queue[n]);
}

static void reports(void)
{
	start(F(REPORTING), 7);
	report_buffer(2, D_WRITE);
	did("R20+2 R25+1 R6+6 ", "whole pages of a report go, but for those of rings");
	balloon_record(r.balloon, &info);
	ok(info.reported == 9 && info.refused == 6 && used_idx(&queue[2]) == 1, "all is counted");
	report_buffer(2, 0);
	did("", "readable buffers are refused: the driver wants to keep them");
	r.result = -EAGAIN;
	report_buffer(2, D_WRITE);
	balloon_record(r.balloon, &info);
	ok(info.kept == 9 && info.reported == 9, "pages that stay are counted");
	lab_add(&queue[2], 31 << 12, 8192, D_WRITE);
	lab_kick(&queue[2]);
	ok(reg(R_STATUS) & S_NEEDS_RESET, "a report across the end of RAM breaks the device");
}

static void poison(void)
{
	start(F(REPORTING) | F(PAGE_POISON), 7);
	report_buffer(2, D_WRITE);
	did("R20+2 R25+1 R6+6 ", "with a poison of zero reports are taken");
	set_reg(R_CONFIG + POISON, 0xaaaaaaaa);
	report_buffer(2, D_WRITE);
	did("", "with another they would not read back as poison, and are refused");
	balloon_record(r.balloon, &info);
	ok(info.poison == 0xaaaaaaaa && info.refused == 6 + 15 && used_idx(&queue[2]) == 2,
	   "counted, and the buffer returned");
	SEND(0, 20);
	did("I20+1 ", "inflated pages are written by the driver itself, and go");
	start(F(REPORTING), 7);
	set_reg(R_CONFIG + POISON, 0xaaaaaaaa);
	report_buffer(2, D_WRITE);
	did("R20+2 R25+1 R6+6 ", "a poison value that was not negotiated says nothing");
}

/* ---- the rest ---- */

/* A vCPU inflates and answers while the main loop asks for things and looks. */
#define ROUNDS 20000u

static atomic_bool vcpu_done;

static void *vcpu(void *arg)
{
	static const uint32_t pfn[] = { 20, 22, 21 };

	(void)arg;
	put_list(LIST, pfn, 3);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		lab_add(&queue[0], LIST, 12, 0);
		lab_kick(&queue[0]);
		config(TARGET);
		set_reg(R_CONFIG + ACTUAL, i);
		set_reg(R_ACK, reg(R_ISR));
	}
	atomic_store(&vcpu_done, true);
	return NULL;
}

static void threads(void)
{
	unsigned int looks = 0, backwards = 0;
	uint64_t before = 0;
	pthread_t thread;

	start(F(STATS_VQ), 7);
	send_stats(1, 1);
	if (pthread_create(&thread, NULL, vcpu, NULL))
		tap_bail("no thread");
	for (; !atomic_load(&vcpu_done); looks++) {
		balloon_set_target(r.balloon, looks % 48);
		balloon_refresh(r.balloon);
		balloon_tick(r.balloon);
		balloon_record(r.balloon, &info);
		backwards += info.inflated < before;
		before = info.inflated;
	}
	pthread_join(thread, NULL);
	balloon_tick(r.balloon);
	balloon_record(r.balloon, &info);
	ok(looks && !backwards, "while a vCPU inflates the main loop can ask and look");
	ok(info.inflated == 3 * ROUNDS && info.operations == ROUNDS &&
		   used_idx(&queue[0]) == (uint16_t)ROUNDS && used_idx(&queue[2]) == 1 &&
		   !balloon_error(r.balloon),
	   "and nothing is lost or done twice");
}
static void nothing_else_written(void)
{
	start(F(STATS_VQ) | F(REPORTING), 0xf);
	lab.used = queue[0].used;
	lab.used_end = queue[0].used + 4096;
	lab.far_writes = 0;
	SEND(0, 20, 21, 22, 1, 99);
	ok(lab.writes && !lab.far_writes, "the device writes to the used ring and nowhere else");
}
int main(int argc, char **argv)
{
	tap_init();
	features();
	numberings();
	runs();
	outcomes();
	ring_pages();
	framing();
	budget();
	scattered();
	sorting(tap_seed(argc, argv));
	reports();
	poison();
	threads();
	nothing_else_written();
	balloon_destroy(r.balloon);
	return tap_done();
}
