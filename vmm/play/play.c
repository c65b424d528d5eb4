/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <quire/types.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "play.h"

#define LOOK_NS	  (NS_PER_S / 10)
#define SETTLE_NS (20 * NS_PER_S) /* what is on its way back to the machine has so long */

double play_seconds(const struct play *p)
{
	return (double)(monotonic_ns() - p->start_ns) / 1e9;
}

void play_note(struct play *p, unsigned int line, const char *fmt, ...)
{
	char text[EXPR_MAX_LENGTH + 64];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	result_event(p->result, play_seconds(p), line, text);
	if (p->verbose)
		fprintf(stderr, "%7.2f s  line %u: %s\n", play_seconds(p), line, text);
}

void play_check(struct play *p, const char *kind, unsigned int line, const char *text, bool ok,
		const char *value)
{
	struct result_check check = {
		.kind = kind, .text = text, .line = line, .at_s = play_seconds(p), .ok = ok
	};

	snprintf(check.value, sizeof(check.value), "%s", value);
	result_check(p->result, &check);
	p->nr_checks++;
	if (p->verbose)
		fprintf(stderr, "%7.2f s  line %u: %s %s: %s (%s)\n", check.at_s, line, kind, text,
			ok ? "ok" : "FAILED", value);
}

/* ---- turns ---- */

struct speaker {
	struct play *p;
	unsigned int i;
};

/* stage_hear's */
static void take_line(void *ctx, const char *line)
{
	const struct speaker *who = ctx;
	struct play_guest *g = &who->p->guest[who->i];
	json_t *clean = result_text(line);
	const char *text = clean ? json_string_value(clean) : "";

	snprintf(g->last, sizeof(g->last), "%s", text);
	if (who->p->verbose)
		fprintf(stderr, "%7.2f s  %s| %s\n", play_seconds(who->p),
			who->p->s->guest[who->i].name, text);
	json_decref(clean);
}

/* "web.1 ends with status 0 or 120", as its group says. */
static void say_exits(const struct scenario_group *group, const char *name, char *text, size_t size)
{
	size_t used = (size_t)snprintf(text, size, "%s ends with ", name);
	bool first = true;

	if (group->any_exit)
		snprintf(text + used, size - used, "any status");
	for (unsigned int status = 0; status < 256 && !group->any_exit; status++) {
		if (!group->exits[status] || used + 16 > size)
			continue;
		used += (size_t)snprintf(text + used, size - used, "%s%u",
					 first ? "status " : " or ", status);
		first = false;
	}
}

/* A guest has ended.  Did it end as its group says? */
static void judge(struct play *p, unsigned int i)
{
	const struct scenario_guest *guest = &p->s->guest[i];
	const struct scenario_group *group = &p->s->group[guest->group];
	struct play_guest *g = &p->guest[i];
	int status = g->run.status;
	char text[200], value[300];

	g->end_ns = monotonic_ns();
	play_note(p, group->line, "%s ended with status %d", guest->name, status);
	result_guest(p->result, guest->name, group->name, (double)(g->start_ns - p->start_ns) / 1e9,
		     g->by_us ? -1 : play_seconds(p), status);
	if (g->by_us)
		return;
	say_exits(group, guest->name, text, sizeof(text));
	snprintf(value, sizeof(value), "status %d%s%s", status, *g->last ? ": " : "", g->last);
	play_check(p, "exit", group->awaited ? group->line_of_exit : group->line, text,
		   group->any_exit || (status < 256 && group->exits[status]), value);
}

static int tend_guests(struct play *p, struct quire_error *err)
{
	uint64_t now = monotonic_ns() - p->start_ns;
	int code = 0;

	for (unsigned int i = 0; i < p->s->nr_guests && !code; i++) {
		uint64_t start_ns = p->s->group[p->s->guest[i].group].start_ns;
		struct speaker who = { p, i };

		if (stage_hear(&p->guest[i].run, take_line, &who))
			judge(p, i);
		if (!p->guest[i].started && start_ns != SCENARIO_NEVER && start_ns <= now)
			code = play_start_guest(p, i, err);
	}
	return code;
}

static int tend_machine(struct play *p, struct quire_error *err)
{
	if (!stage_machine_ended(&p->machine) || p->machine_down)
		return 0;
	return quire_fail(err, -EIO, "the machine ended with status %d, and nobody told it to",
			  p->machine.status);
}

/* What was to hold always, and does not. */
static void watch(struct play *p)
{
	char why[EXPR_WHY];

	for (unsigned int i = 0; i < p->s->nr_steps; i++) {
		const struct scenario_step *step = &p->s->step[i];

		if (!p->watched[i] || play_holds(p, step->check, why) != EXPR_FALSE)
			continue;
		p->watched[i] = false;
		play_check(p, "always", step->line, step->check->source, false, why);
	}
}

static int look(struct play *p, struct quire_error *err)
{
	int code = play_look(p, err);

	p->look_ns = monotonic_ns() + LOOK_NS;
	if (!code)
		watch(p);
	return code;
}

/* Wait until somebody says something, but no longer.  The number of a signal; 0: none came. */
static int await(const struct play *p, uint64_t until_ns)
{
	struct pollfd fds[SCENARIO_MAX_GUESTS + 1] = { { .fd = p->signals, .events = POLLIN } };
	struct signalfd_siginfo info;
	unsigned int nr = 1;

	for (unsigned int i = 0; i < p->s->nr_guests; i++)
		if (p->guest[i].run.output >= 0 && p->guest[i].run.launcher)
			fds[nr++] = (struct pollfd){ p->guest[i].run.output, POLLIN, 0 };
	poll(fds, nr, poll_ms(monotonic_ns(), until_ns));
	/* One that has closed its output and has not ended is no reason to go round and round. */
	for (unsigned int i = 1; i < nr; i++)
		if (fds[i].revents & POLLHUP)
			usleep(1000);
	if (read(p->signals, &info, sizeof(info)) == sizeof(info))
		return (int)info.ssi_signo;
	return 0;
}

static void check_time(struct play *p)
{
	char text[80], value[EXPR_WHY];

	if (p->over || monotonic_ns() - p->start_ns < p->s->timeout_ns)
		return;
	p->over = true;
	snprintf(text, sizeof(text), "the scenario ends within %.3g s",
		 (double)p->s->timeout_ns / 1e9);
	snprintf(value, sizeof(value), "it waits: %.180s", p->waits ? p->waits : "?");
	play_check(p, "timeout", p->step ? p->step->line : 0, text, false, value);
}

int play_turn(struct play *p, uint64_t until_ns, struct quire_error *err)
{
	int code = tend_machine(p, err);

	if (!code)
		code = tend_guests(p, err);
	if (!code && monotonic_ns() >= p->look_ns)
		code = look(p, err);
	check_time(p);
	return code ? code : await(p, min_u64(until_ns, p->look_ns));
}

/* ---- steps ---- */

/* Wait until the expression holds.  *holds: it did, in time; why: what decided. */
static int wait_for(struct play *p, const struct expr *expr, uint64_t within_ns, bool *holds,
		    char why[EXPR_WHY], struct quire_error *err)
{
	uint64_t until = within_ns == SCENARIO_NEVER ? UINT64_MAX : monotonic_ns() + within_ns;
	int code = look(p, err);

	p->waits = expr->source;
	while (!code) {
		*holds = play_holds(p, expr, why) == EXPR_TRUE;
		if (*holds || p->over || monotonic_ns() >= until)
			break;
		code = play_turn(p, min_u64(until, p->look_ns), err);
	}
	return code;
}

static int wait_until(struct play *p, uint64_t until_ns, struct quire_error *err)
{
	int code = 0;

	p->waits = "for the time of the next step";
	while (!code && !p->over && monotonic_ns() < until_ns)
		code = play_turn(p, until_ns, err);
	return code;
}

/* A `when` that does not come ends the scenario: what follows has not its meaning. */
static int wait_when(struct play *p, const struct scenario_step *step, struct quire_error *err)
{
	char why[EXPR_WHY] = "";
	bool holds = false;
	int code = wait_for(p, step->when, step->within_ns, &holds, why, err);

	if (code)
		return code;
	play_check(p, "when", step->line, step->when->source, holds, why);
	p->over |= !holds;
	return 0;
}

static int wait_trigger(struct play *p, const struct scenario_step *step, struct quire_error *err)
{
	if (step->when)
		return wait_when(p, step, err);
	if (step->at_ns != SCENARIO_NEVER)
		return wait_until(p, p->start_ns + step->at_ns, err);
	if (step->after_ns != SCENARIO_NEVER)
		return wait_until(p, monotonic_ns() + step->after_ns, err);
	return 0;
}

static int expect(struct play *p, const struct scenario_step *step, struct quire_error *err)
{
	bool eventually = step->eventually_ns != SCENARIO_NEVER, holds = false;
	char why[EXPR_WHY] = "";
	int code = wait_for(p, step->check, eventually ? step->eventually_ns : 0, &holds, why, err);

	if (!code)
		play_check(p, eventually ? "eventually" : "expect", step->line, step->check->source,
			   holds, why);
	return code;
}

/* What a step does, as a line for people. */
static void say_step(struct play *p, const struct scenario_step *step)
{
	char names[200] = "";
	size_t used = 0;

	if (step->on.machine)
		used += (size_t)snprintf(names, sizeof(names), " machine");
	for (unsigned int i = 0; i < p->s->nr_guests && used < 120; i++)
		if (step->on.on[i])
			used += (size_t)snprintf(names + used, sizeof(names) - used, " %s",
						 p->s->guest[i].name);
	play_note(p, step->line, "%s%s%s%s%s", scenario_actions[step->action],
		  *step->word ? " " : "", step->word, names, used >= 120 ? " ..." : "");
}

static int do_step(struct play *p, const struct scenario_step *step, struct quire_error *err)
{
	int code = wait_trigger(p, step, err);

	if (code || p->over)
		return code;
	p->waits = scenario_actions[step->action];
	switch (step->action) {
	case ACTION_WAIT: return 0;
	case ACTION_EXPECT: return expect(p, step, err);
	case ACTION_ALWAYS: p->watched[step - p->s->step] = true; return look(p, err);
	default: say_step(p, step); return play_act(p, step, err);
	}
}

/* ---- the whole ---- */

/* A guest for whose end the scenario waits; or that would be ended before it is there. */
static bool is_awaited(const struct play *p)
{
	for (unsigned int i = 0; i < p->s->nr_guests; i++) {
		const struct scenario_group *group = &p->s->group[p->s->guest[i].group];
		const struct play_guest *g = &p->guest[i];

		if (group->awaited &&
		    (g->run.launcher || (!g->started && group->start_ns != SCENARIO_NEVER)))
			return true;
		if (g->run.launcher && !g->run.known && p->machine.pid)
			return true;
	}
	return false;
}

static int wait_for_ends(struct play *p, struct quire_error *err)
{
	int code = 0;

	p->step = NULL;
	p->waits = "for guests to be there, or to end";
	while (!code && !p->over && is_awaited(p))
		code = play_turn(p, monotonic_ns() + LOOK_NS, err);
	return code;
}

static int play_all(struct play *p, struct quire_error *err)
{
	int code = play_start_machine(p, err);

	p->start_ns = p->look_ns = p->sample_ns = monotonic_ns();
	if (!code)
		code = tend_guests(p, err);
	for (unsigned int i = 0; i < p->s->nr_steps && !code && !p->over; i++) {
		p->step = &p->s->step[i];
		code = do_step(p, p->step, err);
	}
	if (!code)
		code = wait_for_ends(p, err);
	if (!code && !p->over)
		code = look(p, err);
	for (unsigned int i = 0; i < p->s->nr_steps && !code; i++)
		if (p->watched[i])
			play_check(p, "always", p->s->step[i].line, p->s->step[i].check->source,
				   true, "it did");
	return code;
}

static bool is_empty(const struct machine_state *m)
{
	return !m->nr_vms && !m->committed_pages && !m->credit_pages && !m->overhead_pages &&
	       !m->store_pages && !m->swap_held_pages;
}

/* After the last guest: does the machine have everything back? */
static void check_empty(struct play *p)
{
	uint64_t until = monotonic_ns() + SETTLE_NS;
	struct machine_state m = { .nr_vms = 0 };
	struct quire_error err = { "" };
	char value[EXPR_WHY];
	int code;

	if (!p->machine.client)
		return;
	do {
		code = machine_client_get(p->machine.client, &m, &err);
	} while (!code && !is_empty(&m) && monotonic_ns() < until && !usleep(20000));
	snprintf(value, sizeof(value),
		 "%u guests, %" PRIu64 " pages promised, %" PRIu64 " granted, %" PRIu64
		 " in stores, %" PRIu64 " of swap",
		 m.nr_vms, m.committed_pages, m.credit_pages, m.store_pages, m.swap_held_pages);
	play_check(p, "end", 0, "the machine has everything back", !code && is_empty(&m),
		   code ? err.text : value);
}

static void end_guests(struct play *p)
{
	for (unsigned int i = 0; i < p->s->nr_guests; i++) {
		struct speaker who = { p, i };

		if (stage_hear(&p->guest[i].run, take_line, &who))
			judge(p, i);
		if (p->guest[i].run.launcher)
			kill(p->guest[i].run.launcher, SIGTERM);
	}
	for (unsigned int i = 0; i < p->s->nr_guests; i++) {
		struct speaker who = { p, i };

		if (!p->guest[i].run.launcher)
			continue;
		p->guest[i].by_us = true;
		stage_end_guest(&p->guest[i].run, take_line, &who);
		judge(p, i);
	}
}

static void end_all(struct play *p, bool checks)
{
	end_guests(p);
	if (checks)
		check_empty(p);
	stage_end_machine(&p->machine);
}

/* The first check that failed, as a reason. */
static void first_failure(const json_t *result, char reason[EXPR_WHY])
{
	const json_t *checks = json_object_get(result, "checks");

	for (size_t i = 0; i < json_array_size(checks); i++) {
		const json_t *check = json_array_get(checks, i);

		if (json_is_true(json_object_get(check, "ok")))
			continue;
		snprintf(reason, EXPR_WHY, "line %d: %.80s: %.100s",
			 (int)json_integer_value(json_object_get(check, "line")),
			 json_string_value(json_object_get(check, "text")),
			 json_string_value(json_object_get(check, "value")));
		return;
	}
}

/* Are all checks there, also one that failed? */
static bool is_whole(const struct play *p)
{
	return json_array_size(json_object_get(p->result, "checks")) == p->nr_checks;
}

static void conclude(struct play *p, int code, const struct quire_error *err)
{
	enum result_verdict verdict = code > 0			 ? RESULT_INTERRUPTED :
				      code < 0			 ? RESULT_ERROR :
				      result_failures(p->result) ? RESULT_FAIL :
								   RESULT_PASS;
	char reason[EXPR_WHY] = "";

	if (code > 0)
		snprintf(reason, sizeof(reason), "by %s", strsignal(code));
	else if (code < 0)
		snprintf(reason, sizeof(reason), "%.190s", err->text);
	else
		first_failure(p->result, reason);
	result_end(p->result, verdict, reason, play_seconds(p));
}

static int prepare(struct play *p, struct quire_error *err)
{
	const struct scenario *s = p->s;

	p->guest = calloc(s->nr_guests + 1, sizeof(*p->guest));
	p->watched = calloc(s->nr_steps + 1, sizeof(*p->watched));
	p->result = result_new(s->name, s->file, s->seed);
	if (!p->guest || !p->watched || !p->result)
		return quire_fail(err, -ENOMEM, "no memory for the scenario");
	if (s->about)
		json_object_set_new(p->result, "about", json_string(s->about));
	for (unsigned int i = 0; i < s->nr_guests; i++)
		p->guest[i].run.input = p->guest[i].run.output = p->guest[i].run.ctl = -1;
	for (unsigned int i = 0; i < s->machine.nr; i++)
		words_add(&p->machine_options, "%s", s->machine.word[i]);
	snprintf(p->machine.address, sizeof(p->machine.address), "@quire/machine/play-%d",
		 (int)getpid());
	p->start_ns = monotonic_ns();
	return 0;
}

int play_scenario(const struct scenario *s, int signals, bool verbose, json_t **result,
		  struct quire_error *err)
{
	struct play p = { .s = s, .signals = signals, .verbose = verbose, .machine.log = -1 };
	int code = prepare(&p, err);

	if (!code) {
		code = play_all(&p, err);
		end_all(&p, !code);
		if (!code && !is_whole(&p))
			code = quire_fail(err, -ENOMEM, "no memory for all checks");
		conclude(&p, code, err);
	}
	json_decref(p.world_machine);
	json_decref(p.world_vms);
	free(p.guest);
	free(p.watched);
	*result = p.result;
	return code;
}
