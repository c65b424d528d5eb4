/* SPDX-License-Identifier: MIT */
/* What a stress starts: its machine, and each life of a guest; and what guests print. */
#include <errno.h>
#include <inttypes.h>
#include <quire/abi.h>
#include <signal.h>
#include <string.h>
#include "mmu/base/clock.h"
#include "mmu/reclaim/dice.h"
#include "stress.h"

/* ---- the machine ---- */

int stress_start_machine(struct stress *s, struct quire_error *err)
{
	struct words w = { 0 };

	words_add(&w, "--memory=%" PRIu64, s->opt.memory_bytes);
	words_add(&w, "--swap=%" PRIu64, s->opt.swap_bytes);
	words_add(&w, "--overcommit=1");
	return stage_start_machine(&s->machine, &w, err);
}

bool stress_lost_machine(struct stress *s)
{
	bool ran = s->machine.pid != 0;

	if (!stage_machine_ended(&s->machine))
		return false;
	if (ran)
		stress_fail(s, STRESS_ORDERLY, "the machine ended with status %d",
			    s->machine.status);
	return true;
}

/* ---- a guest's life ---- */

/* What the guest does; the one to be spoiled is the first, in its first life. */
static void add_workload(struct words *w, const struct stress *s, const struct stress_guest *g)
{
	words_add(w, "stress");
	words_add(w, "1000000000"); /* seconds, or until there is input */
	words_add(w, "seed=%" PRIu64, g->seed);
	words_add(w, "alike=%" PRIu64, s->opt.seed);
	words_add(w, "pattern=%s", stress_patterns[s->opt.pattern]);
	words_add(w, "writes=30");
	words_add(w, "packs=80");
	words_add(w, "fill=1");
	words_add(w, "balloon=1");
	words_add(w, "every=1");
	if (s->opt.spoil && g->index == 0 && g->lives == 1)
		words_add(w, "spoil=1");
}

static void begin_life(const struct stress *s, struct stress_guest *g)
{
	uint64_t state = s->opt.seed + g->index * 1000003ull + g->lives * 7919ull;

	g->lives++;
	snprintf(g->run.name, sizeof(g->run.name), "stress-%d-%u.%u", (int)getpid(), g->index + 1,
		 g->lives);
	g->seed = dice_roll(&state) >> 1;
	g->spoke = g->ready = g->verified = g->shot = false;
	g->trouble[0] = '\0';
}

int stress_start_guest(struct stress *s, struct stress_guest *g, struct quire_error *err)
{
	bool mixed = s->opt.paging == STRESS_PAGINGS - 1;
	struct words w = { 0 };

	begin_life(s, g);
	words_add(&w, "--machine=%s", s->machine.address);
	words_add(&w, "--name=%s", g->run.name);
	words_add(&w, "--domain=stress");
	words_add(&w, "--paging=%s", stress_pagings[mixed ? g->index % 2 : s->opt.paging]);
	words_add(&w, "--reclaim=%s", stress_reclaim(&s->opt));
	if (s->opt.swap_dir)
		words_add(&w, "--swap-dir=%s", s->opt.swap_dir);
	words_add(&w, "-m");
	words_add(&w, "%" PRIu64, s->opt.guest_bytes);
	words_add(&w, "%s", s->image);
	add_workload(&w, s, g);
	return stage_start_guest(&g->run, &w, err);
}

/* ---- what it prints ---- */

static void take_numbers(struct stress_guest *g, uint64_t operations, uint64_t pause_us)
{
	g->now.of[STRESS_OPERATIONS] = operations;
	if (!g->held)
		g->now.of[STRESS_PAUSE_US] = max_u64(g->now.of[STRESS_PAUSE_US], pause_us);
}

/* The first such line, and, as a guest has two lines for a wrong byte, the second. */
static void take_trouble(struct stress_guest *g, const char *line)
{
	size_t used = strlen(g->trouble);

	if (!used)
		snprintf(g->trouble, sizeof(g->trouble), "%.200s", line);
	else if (!strncmp(line, "stress: wrong ", 14))
		snprintf(g->trouble + used, sizeof(g->trouble) - used, "; %s", line + 14);
}

/* stage_hear's */
static void take_line(void *ctx, const char *line)
{
	struct stress_guest *g = ctx;
	uint64_t operations, pause;

	if (sscanf(line, "stress: filled=%*u operations=%" SCNu64 " pause_us=%" SCNu64, &operations,
		   &pause) == 2 ||
	    sscanf(line, "stress: operations=%" SCNu64 " longest_us=%" SCNu64, &operations,
		   &pause) == 2)
		take_numbers(g, operations, pause);
	else if (!strcmp(line, "stress: ready"))
		g->ready = true;
	else if (!strncmp(line, "stress: writes=", 15))
		g->verified = true;
	else if (!strncmp(line, "stress: seed=", 13))
		g->spoke = true;
	else
		take_trouble(g, line);
}

void stress_hear(struct stress_guest *g)
{
	if (stage_hear(&g->run, take_line, g))
		stress_bury(g);
}

/* ---- its end ---- */

void stress_ask_to_end(struct stress_guest *g)
{
	stage_say(&g->run, false);
}

void stress_shoot(struct stress *s)
{
	struct stress_guest *target[STRESS_MAX_GUESTS], *g;
	bool launcher = dice_below(&s->dice, 3) == 0;
	unsigned int nr = 0;

	for (unsigned int i = 0; i < s->opt.guests; i++)
		if (s->guest[i].run.launcher && s->guest[i].run.known && !s->guest[i].shot)
			target[nr++] = &s->guest[i];
	if (!nr)
		return;
	g = target[dice_below(&s->dice, nr)];
	g->shot = true;
	kill(launcher ? g->run.launcher : (pid_t)g->run.info.vm.pid, SIGKILL);
}

void stress_end_all(struct stress *s)
{
	int status;

	for (unsigned int i = 0; i < s->opt.guests; i++)
		if (s->guest[i].run.launcher)
			kill(s->guest[i].run.launcher, SIGTERM);
	for (unsigned int i = 0; i < s->opt.guests; i++) {
		if (!s->guest[i].run.launcher)
			continue;
		stage_end_guest(&s->guest[i].run, take_line, &s->guest[i]);
		stress_bury(&s->guest[i]);
	}
	status = stage_end_machine(&s->machine);
	if (status)
		stress_fail(s, STRESS_ORDERLY, "the machine ended with status %d", status);
}
