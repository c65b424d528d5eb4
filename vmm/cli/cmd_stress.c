/* SPDX-License-Identifier: MIT */
/*
 * quire stress: overcommit, tried out.
 *
 * Guests fill their memory, go on as their pattern says, and verify every byte.  Meanwhile all are
 * asked for their numbers, several times a second, and the machine's books are checked.  When the
 * time is over all are held still and compared with the kernel's count; then each verifies all of
 * its memory, and ends; and the machine must have everything back.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <quire/abi.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "mmu/reclaim/dice.h"
#include "mmu/reclaim/reclaim.h"
#include "vmm/vm/signals.h"
#include "args.h"
#include "cmd.h"
#include "vmm/launch/installed.h"
#include "stress.h"

#define LOOK_NS	   (NS_PER_S / 4)
#define SILENCE_NS (120 * NS_PER_S) /* a guest speaks each second; after so long it is stuck */
#define KILL_NS	   NS_PER_S	    /* with --kill: about every second somebody dies */
#define AGAIN_NS   (NS_PER_S / 2)   /* who was refused comes again */

#define MIN_GUEST_BYTES (16 * MiB)
#define MAX_FACTOR	64u

#define STATUS_FAILED 1

const char stress_usage[] =
	"usage: quire stress [OPTION...]\n"
	"\n"
	"Starts a machine and guests to which it has promised more than it has.  They fill and\n"
	"use their memory and verify every byte of it, while pages are merged, put into\n"
	"balloons, compressed and swapped.  Then says in a table where the memory was and what\n"
	"that cost, and whether all was as it should be.  docs/stress.md explains it.\n"
	"\n"
	"  --guests=N       how many guests (default 4)\n"
	"  --factor=X       they are promised X times the machine's memory (default 4; 1.5\n"
	"                   if there is no swap)\n"
	"  --memory=SIZE    of the machine (default 128M)\n"
	"  --swap=SIZE      of the machine; 0: none (default: as much as is promised)\n"
	"  --swap-dir=DIR   where it is, as for quire run (default: TMPDIR, or /var/tmp; if that\n"
	"                   is in memory there is no swap)\n"
	"  --pattern=zipf|scan|random|phases\n"
	"                   which pages the guests use: some more than others; all in order,\n"
	"                   again and again; any; a part, which changes (default zipf)\n"
	"  --paging=ept|shadow|mixed\n"
	"                   as for quire run; mixed: half of the guests each (default ept)\n"
	"  --reclaim=gen|clock|lru|lfu|fifo|random|off\n"
	"                   as for quire run (default gen)\n"
	"  --seconds=S      for how long, once all guests have filled their memory (default 10).\n"
	"                   Verifying all of it at the end comes on top.  An error ends it sooner\n"
	"  --kill           kill a guest, or its quire run, with SIGKILL about every second, and\n"
	"                   start it again\n"
	"  --seed=N         other contents, other pages, other victims (default 1)\n"
	"  --spoil          change a byte in one guest, to see that this is found\n"
	"  --tap            print the verdict as TAP\n"
	"  --report=DIR     write into this folder, which is made if need be: table.csv, the\n"
	"                   table; samples.csv and memory.svg, where the memory was over time;\n"
	"                   machine.log, what the machine did\n"
	"\n"
	"Exit status: 0 all was as it should be; 1 something was not: a wrong byte, a guest that\n"
	"was killed for want of memory, numbers that do not add up, memory that did not come\n"
	"back; 2 wrong usage; 121 the host cannot do it; 130 Ctrl-C, 143 SIGTERM and so on.\n";

const char *const stress_patterns[STRESS_PATTERNS] = { "zipf", "scan", "random", "phases" };
const char *const stress_pagings[STRESS_PAGINGS] = { "ept", "shadow", "mixed" };

/* ---- options ---- */

static int read_pattern(const char *text, void *value, struct quire_error *err)
{
	return parse_choice(text, stress_patterns, STRESS_PATTERNS, value, err);
}

static int read_paging(const char *text, void *value, struct quire_error *err)
{
	return parse_choice(text, stress_pagings, STRESS_PAGINGS, value, err);
}

static int read_reclaim(const char *text, void *value, struct quire_error *err)
{
	const char *words[RECLAIM_NR_POLICIES + 1];

	for (unsigned int i = 0; i < RECLAIM_NR_POLICIES; i++)
		words[i] = reclaim_policies[i]->name;
	words[RECLAIM_NR_POLICIES] = "off";
	return parse_choice(text, words, ARRAY_SIZE(words), value, err);
}

const char *stress_reclaim(const struct stress_options *opt)
{
	return opt->reclaim < RECLAIM_NR_POLICIES ? reclaim_policies[opt->reclaim]->name : "off";
}

static int read_memory(const char *text, void *value, struct quire_error *err)
{
	return parse_machine_size(text, value, err);
}

static int read_size(const char *text, void *value, struct quire_error *err)
{
	return parse_size(text, value, err);
}

static int read_seconds(const char *text, void *value, struct quire_error *err)
{
	return parse_seconds(text, value, err);
}

/* In thousandths. */
static int read_factor(const char *text, void *value, struct quire_error *err)
{
	uint64_t billionths = 0;

	if (parse_seconds(text, &billionths, NULL) || billionths > MAX_FACTOR * NS_PER_S)
		return quire_fail(err, -EINVAL,
				  "'%.40s' is no factor, use a number up to %u, as 4 or 1.5", text,
				  MAX_FACTOR);
	*(uint64_t *)value = billionths / NS_PER_MS;
	return 0;
}

/* How large each guest is, in whole blocks. */
static int share_out(struct stress_options *o, uint64_t factor, struct quire_error *err)
{
	uint64_t all = o->memory_bytes / 1000 * factor;

	o->guest_bytes = all / o->guests / (2 * MiB) * (2 * MiB);
	if (o->guest_bytes < MIN_GUEST_BYTES)
		return quire_fail(err, -EINVAL,
				  "that is %" PRIu64 " MiB for each guest, and one needs %" PRIu64
				  "; use "
				  "fewer --guests, or more --memory or --factor",
				  o->guest_bytes / MiB, (uint64_t)(MIN_GUEST_BYTES / MiB));
	if (o->guest_bytes > PARSE_MAX_RAM)
		return quire_fail(err, -ERANGE, "that is too much for one guest");
	return 0;
}

static bool is_in_memory(const char *dir)
{
	struct statfs fs;

	return statfs(dir, &fs) || fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC;
}

/* Where swap files are to be, if there is swap and a place for it.  Who asks for swap needs one. */
static int choose_place(struct stress_options *o, struct quire_error *err)
{
	const char *tmp = getenv("TMPDIR");
	const char *usual = tmp && *tmp ? tmp : "/var/tmp";

	if (!o->swap_dir && !is_in_memory(usual))
		o->swap_dir = usual;
	if (!o->swap_bytes)
		o->swap_dir = NULL;
	if (!o->swap_dir && o->swap_bytes && o->swap_bytes != UINT64_MAX)
		return quire_fail(err, -EINVAL,
				  "--swap: %.200s is in memory or not there; name a directory on a "
				  "disk by --swap-dir",
				  usual);
	return 0;
}

static int parse_options(int argc, char **argv, struct stress_options *o, struct quire_error *err)
{
	uint64_t factor = 0;
	const struct plain_option options[] = {
		{ .name = "guests", .count = &o->guests, .min = 1, .max = STRESS_MAX_GUESTS },
		{ .name = "factor", .read = read_factor, .value = &factor },
		{ .name = "memory", .read = read_memory, .value = &o->memory_bytes },
		{ .name = "swap", .read = read_size, .value = &o->swap_bytes },
		{ .name = "swap-dir", .word = &o->swap_dir },
		{ .name = "pattern", .read = read_pattern, .value = &o->pattern },
		{ .name = "paging", .read = read_paging, .value = &o->paging },
		{ .name = "reclaim", .read = read_reclaim, .value = &o->reclaim },
		{ .name = "seconds", .read = read_seconds, .value = &o->run_ns },
		{ .name = "kill", .flag = &o->kill },
		{ .name = "seed", .count = &o->seed, .max = INT64_MAX },
		{ .name = "spoil", .flag = &o->spoil },
		{ .name = "tap", .flag = &o->tap },
		{ .name = "report", .word = &o->report },
	};
	int code = read_plain_options(argc, argv, options, ARRAY_SIZE(options), err);

	if (code)
		return code;
	if (argv[optind])
		return quire_fail(err, -EINVAL, "%s: unexpected; see quire help stress",
				  argv[optind]);
	code = choose_place(o, err);
	if (code)
		return code;
	code = share_out(o, factor ? factor : o->swap_dir ? 4000 : 1500, err);
	if (!code && o->swap_bytes == UINT64_MAX)
		o->swap_bytes = o->swap_dir ? o->guest_bytes * o->guests : 0;
	return code;
}

/* ---- the end of a guest ---- */

/* Nothing could be started at all, which is not the guests' fault. */
static bool never_began(const struct stress_guest *g)
{
	return g->lives == 1 && !g->spoke &&
	       (g->run.status == QUIRE_STATUS_HOST || g->run.status == QUIRE_STATUS_REFUSED ||
		g->run.status == QUIRE_STATUS_USAGE);
}

/* What its end says of it. */
static void judge(struct stress *s, struct stress_guest *g)
{
	if (!strncmp(g->trouble, "stress: wrong", 13))
		stress_fail(s, STRESS_VERIFIED, "%s: %s", g->run.name, g->trouble);
	else if (g->shot || g->run.status == QUIRE_STATUS_REFUSED)
		return;
	else if (g->run.status == QUIRE_STATUS_OOM)
		stress_fail(s, STRESS_NO_OOM, "%s", g->trouble);
	else if (g->run.status || !g->verified)
		stress_fail(s, STRESS_VERIFIED, "%s ended with status %d: %s", g->run.name,
			    g->run.status,
			    g->trouble[0] ? g->trouble : "it said nothing of trouble");
	else if (s->phase != STRESS_ENDING)
		stress_fail(s, STRESS_VERIFIED, "%s ended before it was told to", g->run.name);
}

/* Note if it has ended.  If it shall live again it is started again, unless all shall end. */
static int tend(struct stress *s, struct stress_guest *g, struct quire_error *err)
{
	bool ran = g->run.launcher != 0;

	stress_hear(g);
	if (g->run.launcher && monotonic_ns() - g->run.heard_ns > SILENCE_NS) {
		stress_fail(s, STRESS_VERIFIED, "%s has said nothing for %llu s", g->run.name,
			    SILENCE_NS / NS_PER_S);
		g->shot = true;
		kill(g->run.launcher, SIGKILL);
	}
	if (g->run.launcher)
		return 0;
	if (ran) {
		if (never_began(g))
			return quire_fail(err, -EIO, "%s",
					  g->trouble[0] ? g->trouble : "a guest does not start");
		judge(s, g);
		g->again = g->shot || g->run.status == QUIRE_STATUS_REFUSED;
		g->ended_ns = monotonic_ns();
	}
	if (s->phase == STRESS_ENDING || !g->again || monotonic_ns() - g->ended_ns < AGAIN_NS)
		return 0;
	g->again = false;
	return stress_start_guest(s, g, err);
}

static int tend_all(struct stress *s, struct quire_error *err)
{
	int code = 0;

	for (unsigned int i = 0; i < s->opt.guests && !code; i++)
		code = tend(s, &s->guest[i], err);
	return code;
}

/* ---- the run ---- */

/* Wait until somebody says something, but no longer.  The number of a signal; 0: none came. */
static int await(const struct stress *s, int signals, uint64_t until_ns)
{
	struct pollfd fds[STRESS_MAX_GUESTS + 1] = { { .fd = signals, .events = POLLIN } };
	struct signalfd_siginfo info;
	unsigned int nr = 1;

	for (unsigned int i = 0; i < s->opt.guests; i++)
		if (s->guest[i].run.output >= 0)
			fds[nr++] =
				(struct pollfd){ .fd = s->guest[i].run.output, .events = POLLIN };
	poll(fds, nr, poll_ms(monotonic_ns(), until_ns));
	if (read(signals, &info, sizeof(info)) == sizeof(info))
		return (int)info.ssi_signo;
	return 0;
}

static void kill_one(struct stress *s)
{
	if (!s->opt.kill || monotonic_ns() < s->kill_ns)
		return;
	if (s->kill_ns)
		stress_shoot(s);
	s->kill_ns = monotonic_ns() + KILL_NS / 2 + dice_below(&s->dice, KILL_NS);
}

/* How many run, or have been ready in this life. */
static unsigned int nr_guests(const struct stress *s, bool ready)
{
	unsigned int nr = 0;

	for (unsigned int i = 0; i < s->opt.guests; i++)
		nr += ready ? s->guest[i].ready : s->guest[i].run.launcher != 0;
	return nr;
}

static bool has_failed(const struct stress *s)
{
	for (unsigned int i = 0; i < STRESS_NR_CHECKS; i++)
		if (s->failed[i][0])
			return true;
	return false;
}

static bool is_over(const struct stress *s)
{
	switch (s->phase) {
	case STRESS_FILLING: return nr_guests(s, true) == s->opt.guests || has_failed(s);
	case STRESS_RUNNING: return monotonic_ns() - s->begin_ns >= s->opt.run_ns || has_failed(s);
	case STRESS_ENDING: return nr_guests(s, false) == 0;
	}
	return true;
}

static int look(struct stress *s, struct quire_error *err)
{
	int code = stress_lost_machine(s) ? quire_fail(err, -EIO, "the machine has ended") :
					    stress_look(s, err);

	if (!code)
		stress_progress(s);
	return code;
}

/* A phase.  0; the number of a signal that came; -errno with *err. */
static int go_through(struct stress *s, enum stress_phase phase, int signals,
		      struct quire_error *err)
{
	uint64_t next_ns = 0;
	int code = 0;

	s->phase = phase;
	while (!code && !is_over(s)) {
		if (monotonic_ns() >= next_ns) {
			code = look(s, err);
			next_ns = monotonic_ns() + LOOK_NS;
		}
		if (!code)
			code = tend_all(s, err);
		if (!code && phase == STRESS_RUNNING)
			kill_one(s);
		if (!code)
			code = await(s, signals, next_ns);
	}
	return code;
}

static int start_all(struct stress *s, struct quire_error *err)
{
	int code = stress_start_machine(s, err);

	s->start_ns = monotonic_ns();
	for (unsigned int i = 0; i < s->opt.guests && !code; i++)
		code = stress_start_guest(s, &s->guest[i], err);
	return code;
}

static void begin_run(struct stress *s)
{
	s->begin_ns = monotonic_ns();
	for (unsigned int i = 0; i < s->opt.guests; i++)
		s->guest[i].first = stress_sum(&s->guest[i]);
}

static void end_run(struct stress *s)
{
	s->end_ns = monotonic_ns();
	for (unsigned int i = 0; i < s->opt.guests; i++)
		s->guest[i].last = stress_sum(&s->guest[i]);
	stress_audit(s);
	for (unsigned int i = 0; i < s->opt.guests; i++)
		stress_ask_to_end(&s->guest[i]);
}

/* From the first process to the last.  As go_through(). */
static int run_all(struct stress *s, int signals, struct quire_error *err)
{
	int code = start_all(s, err);

	if (!code)
		code = go_through(s, STRESS_FILLING, signals, err);
	begin_run(s);
	if (!code)
		code = go_through(s, STRESS_RUNNING, signals, err);
	if (!code) {
		end_run(s);
		code = go_through(s, STRESS_ENDING, signals, err);
	}
	if (!code)
		stress_check_empty(s);
	stress_progress_end(s);
	stress_end_all(s);
	return code;
}

/* ---- the command ---- */

static int prepare(struct stress *s, struct quire_error *err)
{
	char path[4096];

	s->image = installed_quill();
	if (!s->image)
		return quire_fail(err, -ENOENT,
				  "there is no quill.elf beside the program; use make, or make "
				  "install");
	s->guest = calloc(s->opt.guests, sizeof(*s->guest));
	if (!s->guest)
		return quire_fail(err, -ENOMEM, "no memory for %" PRIu64 " guests", s->opt.guests);
	for (unsigned int i = 0; i < s->opt.guests; i++) {
		s->guest[i].index = i;
		s->guest[i].run.input = s->guest[i].run.output = s->guest[i].run.ctl = -1;
	}
	s->dice = s->opt.seed;
	snprintf(s->machine.address, sizeof(s->machine.address), "@quire/machine/stress-%d",
		 (int)getpid());
	if (!s->opt.report)
		return 0;
	if (mkdir(s->opt.report, 0777) && errno != EEXIST)
		return quire_fail(err, -errno, "cannot make %.200s: %m", s->opt.report);
	snprintf(path, sizeof(path), "%s/machine.log", s->opt.report);
	s->machine.log = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	return s->machine.log < 0 ? quire_fail(err, -errno, "cannot write %.200s: %m", path) : 0;
}

static void finish(struct stress *s)
{
	if (s->machine.log >= 0)
		close(s->machine.log);
	free(s->image);
	free(s->guest);
	free(s->sample);
}

/* The exit status, or -errno with *err. */
static int stress(struct stress *s, struct quire_error *err)
{
	sigset_t blocked;
	int signals = signals_open(false, &blocked), code;

	if (signals < 0)
		return quire_fail(err, signals, "cannot wait for signals: %s", strerror(-signals));
	code = run_all(s, signals, err);
	close(signals);
	if (code)
		return code < 0 ? code : 128 + code;
	code = stress_verdict(s) ? quire_fail(err, -ENOMEM, "no memory for the table") : 0;
	if (!code && s->opt.report)
		code = stress_report(s, err);
	return code ? code : has_failed(s) ? STATUS_FAILED : 0;
}

int cmd_stress(int argc, char **argv)
{
	struct stress s = {
		.opt = { .guests = 4,
			 .seed = 1,
			 .reclaim = RECLAIM_GEN,
			 .memory_bytes = 128 * MiB,
			 .swap_bytes = UINT64_MAX,
			 .run_ns = 10 * NS_PER_S },
		.machine = { .log = -1 },
	};
	struct quire_error err = { "" };
	int code = parse_options(argc, argv, &s.opt, &err);
	bool usage = code != 0;

	if (!code)
		code = prepare(&s, &err);
	if (!code)
		code = stress(&s, &err);
	finish(&s);
	if (code >= 0)
		return code;
	fprintf(stderr, "quire stress: %s\n", err.text);
	return usage ? QUIRE_STATUS_USAGE : QUIRE_STATUS_HOST;
}
