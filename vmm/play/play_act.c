/* SPDX-License-Identifier: MIT */
/*
 * What steps do.  Most of it other commands of quire's do, so these are executed: a scenario can do
 * what a user can who types them.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <quire/types.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "play.h"

#define PAUSE_NS (NS_PER_S / 50) /* between two looks whether a command has ended */

/* ---- starting ---- */

int play_start_machine(struct play *p, struct quire_error *err)
{
	p->machine_down = false;
	return stage_start_machine(&p->machine, &p->machine_options, err);
}

int play_start_guest(struct play *p, unsigned int i, struct quire_error *err)
{
	const struct scenario_guest *guest = &p->s->guest[i];
	const struct scenario_group *group = &p->s->group[guest->group];
	struct play_guest *g = &p->guest[i];
	struct words w = { .lost = group->options.lost };

	snprintf(g->run.name, sizeof(g->run.name), "play-%d-%.40s", (int)getpid(), guest->name);
	words_add(&w, "--machine=%s", p->machine.address);
	words_add(&w, "--name=%s", g->run.name);
	for (unsigned int k = 0; k < group->options.nr; k++)
		words_add(&w, "%s", group->options.word[k]);
	words_add(&w, "%s", group->image);
	scenario_args(p->s, guest, &w);
	g->started = true;
	g->by_us = false;
	g->last[0] = '\0';
	g->start_ns = monotonic_ns();
	return stage_start_guest(&g->run, &w, err);
}

/* ---- commands ---- */

struct errand {
	pid_t pid;
	int output;
	char *text; /* what it printed, malloc'd */
	size_t bytes, room;
};

static void read_errand(struct errand *e)
{
	char buf[4096];
	ssize_t n;

	while ((n = read(e->output, buf, sizeof(buf))) > 0) {
		if (e->bytes + (size_t)n >= e->room) {
			char *more = realloc(e->text, 2 * (e->bytes + (size_t)n) + 1);

			if (!more)
				return;
			e->text = more;
			e->room = 2 * (e->bytes + (size_t)n) + 1;
		}
		memcpy(e->text + e->bytes, buf, (size_t)n);
		e->bytes += (size_t)n;
		e->text[e->bytes] = '\0';
	}
}

static int start_errand(struct errand *e, const struct words *words, struct quire_error *err)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), out[2];

	if (null < 0 || pipe2(out, O_CLOEXEC)) {
		if (null >= 0)
			close(null);
		return quire_fail(err, -errno, "cannot start a command: %m");
	}
	e->pid = process_start(words, null, out[1], out[1]);
	close(null);
	close(out[1]);
	e->output = out[0];
	fcntl(e->output, F_SETFL, O_NONBLOCK);
	if (e->pid < 0) {
		close(e->output);
		return quire_fail(err, e->pid, "cannot start a command: %s", strerror(-e->pid));
	}
	return 0;
}

/* Its first line, which is the error if it is one. */
static void first_line(const struct errand *e, char line[EXPR_WHY])
{
	const char *text = e->text ? e->text : "it said nothing";

	snprintf(line, EXPR_WHY, "%.*s", (int)min_u64(strcspn(text, "\n"), EXPR_WHY - 1), text);
}

/*
 * Run a command while the scenario goes on.  *out, if it is not NULL, becomes what it printed,
 * malloc'd.  One that fails is a failed check.
 */
static int run_errand(struct play *p, const struct scenario_step *step, const struct words *words,
		      char **out, struct quire_error *err)
{
	struct errand e = { .text = NULL };
	int code = start_errand(&e, words, err), status = -1;
	char said[EXPR_WHY];

	if (code)
		return code;
	while (!code && !p->over && waitpid(e.pid, &status, WNOHANG) == 0) {
		read_errand(&e);
		code = play_turn(p, monotonic_ns() + PAUSE_NS, err);
	}
	if (code || p->over) {
		kill(e.pid, SIGKILL);
		waitpid(e.pid, &status, 0);
	}
	read_errand(&e);
	close(e.output);
	first_line(&e, said);
	if (!code && !p->over && status)
		play_check(p, "do", step->line, scenario_actions[step->action], false, said);
	if (!code && !status && out)
		*out = e.text;
	else
		free(e.text);
	return code;
}

/* ---- actions ---- */

/* The step's guests that run; with `all`, every guest if the step names none. */
static unsigned int add_guests(const struct play *p, const struct scenario_step *step, bool all,
			       struct words *w)
{
	unsigned int nr = 0;

	for (unsigned int i = 0; i < p->s->nr_guests; i++)
		if ((step->on.on[i] || (all && !step->has_vm)) && p->guest[i].run.launcher) {
			words_add(w, "%s", p->guest[i].run.name);
			nr++;
		}
	return nr;
}

static int act_command(struct play *p, const struct scenario_step *step, struct quire_error *err)
{
	bool steers = step->action == ACTION_MERGE || step->action == ACTION_BALLOON;
	struct words w = { 0 };

	words_add(&w, "%s", scenario_actions[step->action]);
	if (step->action == ACTION_MERGE)
		words_add(&w, "%s", step->word);
	if (!steers || step->action == ACTION_MERGE) {
		if (add_guests(p, step, steers, &w))
			return run_errand(p, step, &w, NULL, err);
		play_check(p, "do", step->line, scenario_actions[step->action], false,
			   "no such guest runs");
		return 0;
	}
	/* quire balloon takes one guest at a time */
	for (unsigned int i = 0; i < p->s->nr_guests; i++) {
		struct words one = { 0 };
		int code;

		if ((step->has_vm && !step->on.on[i]) || !p->guest[i].run.launcher)
			continue;
		words_add(&one, "balloon");
		words_add(&one, "%s", p->guest[i].run.name);
		words_add(&one, "%s", step->word);
		code = run_errand(p, step, &one, NULL, err);
		if (code)
			return code;
	}
	return 0;
}

static int act_set(struct play *p, const struct scenario_step *step, struct quire_error *err)
{
	struct words w = { 0 };

	words_add(&w, "machine");
	words_add(&w, "set");
	words_add(&w, "--machine=%s", p->machine.address);
	for (unsigned int i = 0; i < step->set.nr; i++) {
		words_add(&w, "%s", step->set.word[i]);
		/* One that is started again is to be as this one is: the last word counts. */
		words_add(&p->machine_options, "%s", step->set.word[i]);
	}
	return run_errand(p, step, &w, NULL, err);
}

static int map_guest(struct play *p, const struct scenario_step *step, unsigned int i,
		     struct quire_error *err)
{
	struct words w = { 0 };
	char *text = NULL;
	json_t *map;
	int code;

	words_add(&w, "map");
	words_add(&w, "--json");
	words_add(&w, "%s", p->guest[i].run.name);
	code = run_errand(p, step, &w, &text, err);
	map = text ? json_loads(text, 0, NULL) : NULL;
	free(text);
	if (map) {
		json_object_set_new(map, "name", json_string(p->s->guest[i].name));
		result_map(p->result, play_seconds(p), p->s->guest[i].name, map);
	}
	return code;
}

static int act_map(struct play *p, const struct scenario_step *step, struct quire_error *err)
{
	int code = 0;

	for (unsigned int i = 0; i < p->s->nr_guests && !code; i++)
		if (step->on.on[i] && p->guest[i].run.launcher)
			code = map_guest(p, step, i, err);
	return code;
}

static int act_start(struct play *p, const struct scenario_step *step, struct quire_error *err)
{
	int code = 0;

	if (step->on.machine && p->machine.pid)
		play_check(p, "do", step->line, "start machine", false, "it runs already");
	else if (step->on.machine)
		code = play_start_machine(p, err);
	for (unsigned int i = 0; i < p->s->nr_guests && !code; i++) {
		if (!step->on.on[i])
			continue;
		if (p->guest[i].run.launcher)
			play_check(p, "do", step->line, "start", false, "it runs already");
		else
			code = play_start_guest(p, i, err);
	}
	return code;
}

static void act_end(struct play *p, const struct scenario_step *step)
{
	for (unsigned int i = 0; i < p->s->nr_guests; i++)
		if (step->on.on[i])
			stage_say(&p->guest[i].run, true);
}

/* SIGTERM lets a machine end its guests. */
static void end_machine(struct play *p, int signal)
{
	if (!p->machine.pid)
		return;
	p->machine_down = true;
	kill(p->machine.pid, signal);
	for (unsigned int i = 0; i < p->s->nr_guests; i++)
		p->guest[i].by_us |= signal == SIGTERM;
}

/* A SIGKILL is for the process that is the VM; its quire run then says what became of it. */
static void end_guest(struct play_guest *g, int signal)
{
	if (!g->run.launcher)
		return;
	g->by_us = true;
	kill(signal == SIGKILL && g->run.known ? (pid_t)g->run.info.vm.pid : g->run.launcher,
	     signal);
}

static bool still_there(const struct play *p, const struct scenario_step *step)
{
	for (unsigned int i = 0; i < p->s->nr_guests; i++)
		if (step->on.on[i] && p->guest[i].run.launcher)
			return true;
	return step->on.machine && p->machine.pid;
}

/* Returns when those that are to end have done so. */
static int act_signal(struct play *p, const struct scenario_step *step, struct quire_error *err)
{
	int signal = step->action == ACTION_KILL ? SIGKILL : SIGTERM, code = 0;

	for (unsigned int i = 0; i < p->s->nr_guests; i++)
		if (step->on.on[i])
			end_guest(&p->guest[i], signal);
	if (step->on.machine)
		end_machine(p, signal);
	while (!code && !p->over && still_there(p, step))
		code = play_turn(p, monotonic_ns() + PAUSE_NS, err);
	return code;
}

int play_act(struct play *p, const struct scenario_step *step, struct quire_error *err)
{
	switch (step->action) {
	case ACTION_START: return act_start(p, step, err);
	case ACTION_END: act_end(p, step); return 0;
	case ACTION_STOP:
	case ACTION_KILL: return act_signal(p, step, err);
	case ACTION_PAUSE:
	case ACTION_RESUME:
	case ACTION_MERGE:
	case ACTION_RECLAIM:
	case ACTION_BALLOON: return act_command(p, step, err);
	case ACTION_SET: return act_set(p, step, err);
	case ACTION_MAP: return act_map(p, step, err);
	default: return 0;
	}
}
