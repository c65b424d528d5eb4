/* SPDX-License-Identifier: MIT */
/*
 * What the balloon's driver is asked, and answers: target, statistics, hints; silence;
 * notifications.
 */
#include "vmm/dev/balloon_pace.h"
#include "balloon_lab.h"

/* ---- the target, statistics, silence ---- */

static void target(void)
{
	uint32_t generation;

	start(0, 3);
	generation = reg(R_GENERATION);
	ok(!balloon_set_target(r.balloon, 10) && lab.interrupts == 1 && reg(R_ISR) == 2,
	   "a target interrupts the driver");
	ok(reg(R_GENERATION) != generation && config(TARGET) == 10, "which reads it");
	ok(!balloon_set_target(r.balloon, 10) && lab.interrupts == 1, "the same again does not");
	ok(balloon_set_target(r.balloon, 49) == -EINVAL && config(TARGET) == 10,
	   "more than all of RAM is refused");
	set_reg(R_CONFIG + ACTUAL, 7);
	set_reg(R_CONFIG + TARGET, 99);
	set_reg(R_CONFIG + CMD_ID, 99);
	set_reg(R_CONFIG + 16, 99);
	balloon_record(r.balloon, &info);
	ok(info.target == 10 && info.actual == 7 && config(CMD_ID) == 0 && config(16) == 0,
	   "a driver writes actual, and nothing that is not its own");
	set_reg(R_STATUS, 0);
	balloon_record(r.balloon, &info);
	ok(info.target == 10 && info.actual == 0, "a reset empties the balloon, the target stays");
	r.now = 5000;
	drive(0, 3);
	r.now += BALLOON_SILENT_NS;
	balloon_record(r.balloon, &info);
	ok(info.silent_since_ns == 5000, "a driver that never looks at the target is silent");
	SEND(0, 20);
	balloon_record(r.balloon, &info);
	ok(info.silent_since_ns == 0, "until it inflates something");
	balloon_set_target(r.balloon, 11);
	config(TARGET);
	r.now += BALLOON_SILENT_NS;
	balloon_record(r.balloon, &info);
	ok(info.silent_since_ns == 0, "one that reads the target is not, whatever it does then");
}

static void statistics(void)
{
	create(false);
	ok(balloon_refresh(r.balloon) == -ENOTCONN, "without a driver there is nobody to ask");
	ok(balloon_tick(r.balloon) == UINT64_MAX, "nor anything to time");
	lab.wakes = 0;
	drive(F(STATS_VQ), 7);
	ok(lab.wakes > 0, "a driver wakes the main loop");
	is(balloon_tick(r.balloon), 1000 + 1000000000, "which asks for statistics in a second");
	send_stats(5, 100);
	ok(info.nr_stats == 5 && info.stats_ns == 1000 && info.stat[0].tag == 4 &&
		   info.stat[0].value == 100 && info.stat[4].tag == 999 &&
		   info.stat[4].value == 104,
	   "statistics are kept, unknown ones too, with their time");
	ok(!strcmp(balloon_stat_name(4), "free_memory") && !balloon_stat_name(999) &&
		   !strcmp(balloon_stat_name(15), "direct_reclaims"),
	   "known ones have names");
	ok(used_idx(&queue[2]) == 0, "their buffer is held");
	balloon_tick(r.balloon);
	ok(used_idx(&queue[2]) == 0, "until it is time");
	r.now += 1000000000;
	balloon_tick(r.balloon);
	ok(used_idx(&queue[2]) == 1 && (reg(R_ISR) & 1), "then it is returned, with an interrupt");
	r.now += BALLOON_SILENT_NS - 1;
	balloon_tick(r.balloon);
	balloon_record(r.balloon, &info);
	ok(info.silent_since_ns == 0, "a driver has some time to answer");
	r.now++;
	balloon_record(r.balloon, &info);
	is(info.silent_since_ns, 1000 + 1000000000, "after that it is silent, since then");
	send_stats(6, 200);
	ok(info.silent_since_ns == 0 && info.nr_stats == 5 && info.stat[0].value == 205,
	   "it answers; of a tag that comes twice the last counts");
	send_stats(1, 300);
	ok(used_idx(&queue[2]) == 2 && info.nr_stats == 1 && info.driver == BALLOON_DRIVER,
	   "of two buffers the older is returned");
}

static void statistics_limits(void)
{
	start(F(STATS_VQ), 7);
	for (unsigned int i = 0; i < 100; i++)
		put16(LIST + 10 * i, (uint16_t)i);
	lab_add(&queue[2], LIST, 1005, 0);
	lab_kick(&queue[2]);
	balloon_record(r.balloon, &info);
	ok(info.nr_stats == BALLOON_MAX_STATS && info.stat[31].tag == 31,
	   "a hundred statistics: the first 32 are kept");
	balloon_refresh(r.balloon);
	balloon_tick(r.balloon);
	ok(used_idx(&queue[2]) == 1, "and asked for again");
	set_reg(R_STATUS, 0);
	ok(balloon_tick(r.balloon) == UINT64_MAX, "without a driver there is nothing to time");
}

/* ---- how often the driver is asked (balloon_pace.h) ---- */

static struct balloon_pace pace;
static uint64_t clock_s;

/* The seconds until the driver is asked again, by one who looks when he was told to. */
static uint64_t period(const struct balloon_record *is)
{
	uint64_t since = clock_s;

	do
		clock_s = (pace.next_ns + 999999999) / 1000000000;
	while (!balloon_pace_look(&pace, is, false, pace.next_ns));
	return clock_s - since;
}

static void begin(const struct balloon_record *is)
{
	pace = (struct balloon_pace){
		.shortest_ns = 1000000000,
		.longest_ns = 9000000000,
		.ram_pages = 1280,
	};
	clock_s = 100;
	balloon_pace_look(&pace, is, false, clock_s * 1000000000);
}

/* A guest that was quiet for a minute changes so: in how many seconds is it asked? */
static uint64_t after(struct balloon_record change, bool stirred)
{
	struct balloon_record is = { .target = 5, .nr_stats = 2, .stat = { { 4, 99 }, { 2, 7 } } };

	begin(&is);
	while (clock_s < 160)
		period(&is);
	balloon_pace_look(&pace, &change, stirred, clock_s * 1000000000);
	return period(&change);
}

static void paces(void)
{
	struct balloon_record is = { .target = 5, .nr_stats = 2, .stat = { { 4, 99 }, { 2, 7 } } };
	uint64_t periods[7];

	begin(&is);
	for (unsigned int i = 0; i < 7; i++)
		periods[i] = period(&is);
	ok(periods[0] == 1 && periods[1] == 1 && periods[2] == 2 && periods[3] == 4 &&
		   periods[4] == 8 && periods[5] == 9 && periods[6] == 9,
	   "a guest in which nothing changes is asked ever more rarely");
	is(after(is, false), 9, "... and goes on to be");
	is(after(is, true), 1, "pages that it touches are a change");
	is.target = 6;
	is(after(is, false), 1, "... and a new target");
	is.target = 5;
	is.actual = 1;
	is(after(is, false), 1, "... and pages that it takes back or gives");
	is.actual = 0;
	is.stat[1].value++;
	is(after(is, false), 1, "... and a sign of need");
	is.stat[1].value--;
	is.stat[0].value = 99 + 11 * 4096;
	is(after(is, false), 1, "... and memory that is free, or no longer");
	is.stat[0].value = 99 + 10 * 4096;
	is(after(is, false), 9, "... but not a little of it");
}

/* The time of a pause is nobody's silence. */
static void pauses(void)
{
	start(F(STATS_VQ), 7);
	send_stats(1, 1);
	r.now = 5000;
	balloon_set_target(r.balloon, 10);
	balloon_refresh(r.balloon);
	r.now += BALLOON_SILENT_NS - 1000;
	balloon_pause(r.balloon, true);
	r.now += 10 * BALLOON_SILENT_NS;
	balloon_record(r.balloon, &info);
	ok(info.silent_since_ns == 0, "a paused driver is not silent");
	balloon_set_target(r.balloon, 11);
	balloon_pause(r.balloon, true);
	balloon_pause(r.balloon, false);
	balloon_record(r.balloon, &info);
	ok(info.silent_since_ns == 0, "nor is one that has just gone on");
	r.now += 1000;
	balloon_record(r.balloon, &info);
	is(info.silent_since_ns, 5000 + 10 * BALLOON_SILENT_NS,
	   "what was left of its time before is left after");
	start(0, 3);
	balloon_pause(r.balloon, true);
	r.now += BALLOON_SILENT_NS;
	balloon_set_target(r.balloon, 12);
	r.now += BALLOON_SILENT_NS;
	balloon_record(r.balloon, &info);
	ok(info.silent_since_ns == 0, "a target set in a pause");
	balloon_pause(r.balloon, false);
	balloon_pause(r.balloon, false);
	r.now += BALLOON_SILENT_NS - 1;
	balloon_record(r.balloon, &info);
	ok(info.silent_since_ns == 0, "is asked at its end");
	r.now++;
	balloon_record(r.balloon, &info);
	ok(info.silent_since_ns == r.now - BALLOON_SILENT_NS, "and silence begins there");
}

/* ---- hints ---- */

static void hint_command(uint32_t id)
{
	put_list(LIST, &id, 1);
	lab_add(&queue[2], LIST, 4, 0);
	lab_kick(&queue[2]);
}

static void hint(gfn_t gfn, uint32_t pages)
{
	lab_add(&queue[2], gfn << 12, pages << 12, D_WRITE);
	lab_kick(&queue[2]);
}

static enum balloon_hinting hinting(void)
{
	balloon_record(r.balloon, &info);
	return info.hinting;
}

static void hints(void)
{
	create(false);
	ok(balloon_hint_start(r.balloon) == -ENOTCONN, "a round needs a driver");
	drive(F(FREE_PAGE_HINT), 7);
	hint(20, 2);
	did("", "a hint without a round says nothing");
	r.armed = false;
	ok(balloon_hint_start(r.balloon) == -EPERM && config(CMD_ID) == 0,
	   "a round needs the dirty log");
	r.armed = true;
	lab.interrupts = 0;
	ok(!balloon_hint_start(r.balloon) && config(CMD_ID) == 2 && lab.interrupts == 1 &&
		   hinting() == BALLOON_HINT_ASKED,
	   "a round is a command id, and an interrupt");
	hint(20, 2);
	did("", "a hint before the id is repeated says nothing");
	hint_command(2);
	hint(20, 2);
	hint(25, 1);
	did("H20+2 H25+1 ", "after it, it counts");
	ok(hinting() == BALLOON_HINT_RUNNING && info.hinted == 3, "and is counted");
	hint_command(77);
	hint(20, 2);
	did("", "hints for another round say nothing");
	hint_command(2);
	hint(20, 1);
	hint_command(0);
	hint(21, 1);
	did("H20+1 ", "STOP ends them");
	ok(hinting() == BALLOON_HINT_ENDED, "which is known");
	hint_command(2);
	hint(20, 1);
	did("", "for this round");
	ok(!balloon_hint_start(r.balloon) && config(CMD_ID) == 3, "the next has another id");
	hint_command(2);
	hint(20, 1);
	did("", "the old id does not begin it");
	hint_command(3);
	r.armed = false;
	hint(20, 1);
	did("", "without the dirty log no hint counts");
	r.armed = true;
	balloon_hint_stop(r.balloon);
	hint(20, 1);
	ok(config(CMD_ID) == 0 && hinting() == BALLOON_HINT_OFF, "the host may stop");
	did("", "and does not listen any more");
	balloon_hint_start(r.balloon);
	balloon_hint_done(r.balloon);
	ok(config(CMD_ID) == 1 && hinting() == BALLOON_HINT_OFF, "or be done");
	ok(used_idx(&queue[2]) == queue[2].idx, "every buffer was returned");
}

/* ---- the rest ---- */

static void notifications(void)
{
	static const uint32_t pfn = 20;

	create(true);
	drive(F(REPORTING), 7);
	is(r.announced, 5, "asynchronously only the queues that take pages away");
	lab_add(&queue[0], put_list(LIST, &pfn, 1), 4, 0);
	balloon_notify(r.balloon, 0);
	did("", "its notification");
	balloon_tick(r.balloon);
	did("I20+1 ", "is the main loop's to serve");
	ok(lab_interrupted(), "with an interrupt");
	set_reg(R_STATUS, 0);
	is(r.announced, 0, "a reset takes that back");
}
int main(void)
{
	tap_init();
	target();
	statistics();
	statistics_limits();
	paces();
	pauses();
	hints();
	notifications();
	balloon_destroy(r.balloon);
	return tap_done();
}
