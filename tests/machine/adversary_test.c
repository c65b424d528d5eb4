/* SPDX-License-Identifier: MIT */
/*
 * Honest VMs and taken-over ones on one machine, in lockstep with a model of who holds what.
 *
 * An honest VM touches pages for which it has credits, answers each RECALL with what it does not
 * use, and gives back what it drops.  An adversary says any records with any numbers, and does to
 * its RAM file what it likes.  Each life of one has a bent: to hoard credits, to ignore RECALLs, to
 * have pages without credits, to have them in the store besides, or just chaos.
 *
 * The invariant is looked at in the moment in which the machine chooses a victim: an honest VM is
 * not killed for want of memory while an adversary holds more than its due.  What an adversary
 * holds is what the model knows at least: credits that it was granted and has not returned, blocks
 * of its RAM file, frames that nobody else has.
 */
#include <sys/stat.h>
#include "merge_scene.h"

#define TICKS	   3000u
#define MEMORY	   (20 * PAGES)
#define RAM	   (12 * PAGES)
#define HONEST	   3u
#define ADVERSARY  3u
#define NR	   (HONEST + ADVERSARY)
#define FRAMES_MAX 16384u

enum bent { HOARD, IGNORE, SQUAT, STORE, CHAOS, NR_BENTS };

static const char *const bent_name[NR_BENTS] = { "hoard", "ignore", "squat", "store", "chaos" };

struct peer {
	struct merge_vm v;
	enum bent bent;	 /* of an adversary */
	bool doomed;	 /* the machine has sent SIGKILL */
	bool asked;	 /* a CREDIT waits */
	uint64_t target; /* an honest one: pages that it wants to have */
	uint64_t credits;
	uint32_t frame[FRAMES_MAX]; /* of the store, that it alone has */
	uint32_t nr_frames;
};

static struct {
	struct scene scene;
	struct peer peer[NR];
	uint64_t rng, number;
	unsigned int lives, kills, of_honest, broken;
} w;

static uint64_t below(uint64_t n)
{
	return n ? tap_random(&w.rng) % n : 0;
}

static bool is_honest(const struct peer *p)
{
	return p < &w.peer[HONEST];
}

static uint64_t blocks(const struct peer *p)
{
	struct stat st;

	return p->v.vm.ram < 0 || fstat(p->v.vm.ram, &st) ?
		       0 :
		       (uint64_t)st.st_blocks * 512 / QUIRE_PAGE_SIZE;
}

/* ---- the invariant ---- */

static uint64_t more_than_its_due(const struct peer *p)
{
	struct machine_holding h = { .ram_pages = RAM,
				     .resident_pages = blocks(p),
				     .credit_pages = p->credits,
				     .alone_pages = p->nr_frames,
				     .overhead_pages = 5 };

	return oom_excess(&h);
}

static struct peer *find(const char *line, const char *before)
{
	const char *at = strstr(line, before);
	unsigned int id;

	if (!at || sscanf(at + strlen(before), "vm %u", &id) != 1)
		return NULL;
	for (unsigned int i = 0; i < NR; i++)
		if (w.peer[i].v.vm.id == id)
			return &w.peer[i];
	return NULL;
}

static void on_oom(const char *line, struct peer *victim)
{
	w.kills++;
	victim->doomed = true;
	if (!is_honest(victim))
		return;
	w.of_honest++;
	for (struct peer *p = &w.peer[HONEST]; p < &w.peer[NR]; p++) {
		/* What it costs to merge it is part of its overhead: up to 300 pages here. */
		if (p->doomed || p->v.vm.pid <= 0 || more_than_its_due(p) <= 300)
			continue;
		w.broken++;
		tap_note("%s", line);
		tap_note("but one bent to %s has credits %lu, resident %lu, frames %u",
			 bent_name[p->bent], p->credits, blocks(p), p->nr_frames);
	}
}

static void on_log(void *ctx, const char *line)
{
	struct peer *p = find(line, ": killing ");

	(void)ctx;
	if (p && strstr(line, "out of memory"))
		on_oom(line, p);
	p = find(line, "");
	if (p && (strstr(line, "broke the rules") || strstr(line, "occupies more")))
		p->doomed = true;
}

/* ---- lives ---- */

static void begin_life(struct peer *p)
{
	struct machine_admit admit = lab_promise(RAM, 5);
	struct lab *lab = &w.scene.lab;

	*p = (struct peer){ .bent = (enum bent)below(NR_BENTS), .v.merge = -1 };
	admit.domain[0] = (char)('a' + (p - w.peer));
	admit.balloon = is_honest(p) ? BALLOON_MODE_OFF : BALLOON_MODE_AUTO;
	admit.shares = 1000;
	p->v.vm = merge_admit(lab, w.scene.control, admit);
	if (p->v.vm.error)
		return;
	p->credits = p->v.vm.credits;
	lab_start(lab, w.scene.control, &p->v.vm);
	lab_attach(lab, &p->v.vm, RAM, 0);
	if (p->bent == STORE && !is_honest(p))
		merge_join_lab(lab, &p->v);
	w.lives++;
}

static void end_life(struct peer *p)
{
	merge_vm_close(&w.scene.lab, &p->v);
	p->v.vm.pid = 0;
	p->v.vm.id = 0;
}

/* Serve until all that were killed have ended, and begin new lives for them. */
static void renew(void)
{
	for (struct peer *p = w.peer; p < &w.peer[NR]; p++) {
		if (p->doomed) {
			lab_reap(&p->v.vm, true);
			p->v.vm.pid = 0;
			end_life(p);
		}
		if (p->v.vm.pid <= 0 || p->doomed)
			begin_life(p);
	}
}

/* ---- what they do ---- */

static void put_pages(struct peer *p, uint64_t gfn, uint64_t n)
{
	if (n &&
	    fallocate(p->v.vm.ram, 0, (off_t)(gfn * QUIRE_PAGE_SIZE), (off_t)(n * QUIRE_PAGE_SIZE)))
		tap_bail("fallocate: %s", strerror(errno));
}

static void drop_pages(struct peer *p, uint64_t gfn, uint64_t n)
{
	if (n && fallocate(p->v.vm.ram, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			   (off_t)(gfn * QUIRE_PAGE_SIZE), (off_t)(n * QUIRE_PAGE_SIZE)))
		tap_bail("fallocate: %s", strerror(errno));
}

static void give_back(struct peer *p, uint64_t pages)
{
	say(p->v.vm.channel, MACHINE_RETURN, 0, pages, -1);
	p->credits -= min_u64(pages, p->credits);
}

/* An honest VM.  Its pages are the first `has` of its RAM. */
static void be_honest(struct peer *p)
{
	uint64_t has = blocks(p), n;
	struct machine_msg msg;
	int type;

	while ((type = hear(p->v.vm.channel, &msg, NULL)) > 0) {
		if (type == MACHINE_GRANT || type == MACHINE_DENIED)
			p->asked = false;
		if (type == MACHINE_GRANT)
			p->credits += msg.pages;
		if (type == MACHINE_RECALL)
			give_back(p, p->credits - has);
	}
	if (!below(20))
		p->target = below(RAM);
	if (p->target < has) {
		drop_pages(p, p->target, has - p->target);
		if (p->credits - p->target > 1024)
			give_back(p, p->credits - p->target - 512);
		return;
	}
	n = min_u64(p->target - has, min_u64(p->credits - has, 512));
	put_pages(p, has, n);
	if (p->target > has + n && !p->asked) {
		say_credit(p->v.vm.channel, 1 + below(min_u64(512, RAM - p->credits)), below(4096));
		p->asked = true;
	} else if (p->asked && !below(30)) {
		say(p->v.vm.channel, MACHINE_CALL_OFF, 0, 0, -1);
	}
}

/* Make frames of pages that nobody else has, or give some back. */
static void use_store(struct peer *p)
{
	if (p->v.merge < 0)
		return;
	if (!below(4) && p->nr_frames > 100) {
		merge_drop(&w.scene.lab, &p->v, p->frame[--p->nr_frames]);
		return;
	}
	merge_begin(&p->v, MERGE_LOOKUP, 0);
	for (uint64_t i = 0, gfn = below(RAM - 256); i < 256; i++)
		merge_add(&p->v, (gfn + i) | MERGE_PUBLISH, ++w.number);
	if (merge_say(&w.scene.lab, &p->v, NULL) != MERGE_FRAMES)
		return;
	for (uint32_t i = 0; i < p->v.msg.nr; i++)
		if (MERGE_IS_FRAME(p->v.msg.frame[i].frame) && p->nr_frames < FRAMES_MAX)
			p->frame[p->nr_frames++] = p->v.msg.frame[i].frame;
}

/* Any record, with any numbers.  Few of them break a rule, else all lives were short. */
static void say_anything(struct peer *p)
{
	struct machine_msg msg = wire_msg((enum machine_type)(MACHINE_ATTACH + below(6)), 0);

	if (below(60)) {
		msg.type = p->asked ? MACHINE_CALL_OFF : MACHINE_CREDIT;
		msg.credit.need_pages = below(below(50) ? 512 : 600);
		msg.credit.want_pages = below(2) ? UINT64_MAX : below(9000);
		p->asked |= msg.type == MACHINE_CREDIT;
	} else {
		for (size_t i = 0; i < sizeof(msg.balloon) / sizeof(uint64_t); i++)
			((uint64_t *)(void *)&msg.balloon)[i] = below(UINT64_MAX >> below(64));
	}
	if (msg.type == MACHINE_RETURN) {
		msg.pages = below(p->credits + (below(20) ? 1 : 9));
		p->credits -= min_u64(msg.pages, p->credits);
	}
	say_msg(p->v.vm.channel, msg, -1);
}

static void be_bad(struct peer *p)
{
	struct machine_msg msg;
	int type;

	while ((type = hear(p->v.vm.channel, &msg, NULL)) > 0) {
		if (type == MACHINE_GRANT || type == MACHINE_DENIED)
			p->asked = false;
		if (type == MACHINE_GRANT)
			p->credits += msg.pages;
		if (type == MACHINE_RECALL && p->bent != IGNORE)
			give_back(p, below(4) ? 0 : below(p->credits + 1));
	}
	if (!p->asked && (p->bent != SQUAT || !below(4))) {
		say_credit(p->v.vm.channel, min_u64(RAM - p->credits, below(513)), below(9000));
		p->asked = true;
	}
	if (p->bent == SQUAT)
		put_pages(p, below(RAM - 400), below(400));
	if (p->bent == SQUAT && p->credits)
		give_back(p, p->credits);
	if (p->bent == STORE)
		use_store(p);
	if (p->bent == CHAOS || !below(10))
		say_anything(p);
	if (!below(8))
		put_pages(p, below(RAM - 300), below(300));
	if (!below(8))
		drop_pages(p, below(RAM - 4000), below(4000));
}

/* ---- all of it ---- */

static void begin_world(void)
{
	struct machine_config config = lab_config(&w.scene.lab, MEMORY, 0, OVERCOMMIT_ALWAYS);

	config.measure_ms = 5000;
	config.log = on_log;
	w.scene.fds = open_fds();
	lab_open(&w.scene.lab, &config);
	w.scene.control = lab_connect(&w.scene.lab);
}

int main(int argc, char **argv)
{
	unsigned int ticks = TICKS * tap_storm();

	tap_init();
	w.rng = tap_seed(argc, argv);
	begin_world();
	for (unsigned int tick = 0; tick < ticks; tick++) {
		renew();
		for (struct peer *p = w.peer; p < &w.peer[NR]; p++)
			if (!p->doomed && p->v.vm.pid > 0)
				is_honest(p) ? be_honest(p) : be_bad(p);
		lab_pass(&w.scene.lab, 1 + below(150));
	}
	tap_note("%u ticks, %u lives, %u killed when memory was out, %u of them honest", ticks,
		 w.lives, w.kills, w.of_honest);
	is(w.broken, 0, "no honest VM is killed while an adversary holds more than its due");
	ok(w.kills > w.of_honest, "adversaries are");
	ok(w.lives > NR * 10, "and others take their place");
	for (struct peer *p = w.peer; p < &w.peer[NR]; p++)
		end_life(p);
	end(&w.scene);
	return tap_done();
}
