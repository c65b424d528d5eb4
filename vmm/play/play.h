/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_PLAY_PLAY_H
#define QUIRE_VMM_PLAY_PLAY_H

/*
 * Playing a scenario.
 *
 * play.c does the steps one after the other, and while a step waits, it takes turns: who has ended,
 * who is to start, what everybody's numbers are, and whether what has to hold always still holds.
 * play_look.c asks for the numbers, and play_act.c does what a step says.  All is done by one
 * thread, and every process dies with it.
 */
#include <quire/error.h>
#include "result.h"
#include "scenario.h"
#include "stage.h"

/* A guest of the scenario, in its present life. */
struct play_guest {
	struct stage_guest run;
	bool started; /* it had a life */
	bool by_us;   /* this life was ended by a step */
	uint64_t start_ns, end_ns;
	char last[256]; /* the last line that it printed */
};

struct play {
	const struct scenario *s;
	bool verbose;
	struct play_guest *guest; /* as s->guest */
	struct stage_machine machine;
	struct words machine_options; /* those of the scenario, as steps have changed them */
	bool machine_down;	      /* a step ended it */
	struct machine_state state;
	bool has_state;

	json_t *result;
	size_t nr_checks;		   /* that it has to have */
	json_t *world_machine, *world_vms; /* of the last look; machine: NULL if there is none */
	bool *watched;			   /* by step: `always` that still holds */
	int signals;			   /* a descriptor */
	uint64_t start_ns, look_ns, sample_ns;
	const struct scenario_step *step; /* that is done now; NULL: before or after all */
	const char *waits;		  /* for what: for the message of a timeout */
	bool over;			  /* it failed so that it cannot go on */
};

/*
 * Play it.  signals: a descriptor of signals_open(); a signal ends the scenario.  *result, which
 * the caller frees, is what came of it.
 *
 * 0: it was played, and the result has its verdict; the number of a signal; or -errno with *err.
 * In these cases, too, there is a result, if there was memory for one.
 */
int play_scenario(const struct scenario *s, int signals, bool verbose, json_t **result,
		  struct quire_error *err);

/* ---- among the files of this room ---- */

/* Seconds since the scenario began. */
double play_seconds(const struct play *p);

/* Take a turn, which ends at until_ns at the latest.  0; a signal's number; -errno with *err. */
int play_turn(struct play *p, uint64_t until_ns, struct quire_error *err);

/* Note what is done, and say it if that is wanted. */
__attribute__((format(printf, 3, 4))) void play_note(struct play *p, unsigned int line,
						     const char *fmt, ...);

/* Note a check. */
void play_check(struct play *p, const char *kind, unsigned int line, const char *text, bool ok,
		const char *value);

/* ---- play_look.c ---- */

/* Ask the machine and the guests, and make the world of the answers.  0 or -ENOMEM with *err. */
int play_look(struct play *p, struct quire_error *err);

/* Does it hold now?  As expr_holds(). */
enum expr_truth play_holds(const struct play *p, const struct expr *expr, char why[EXPR_WHY]);

/* ---- play_act.c ---- */

int play_start_machine(struct play *p, struct quire_error *err);
int play_start_guest(struct play *p, unsigned int i, struct quire_error *err);

/* Do what the step says.  As play_turn(). */
int play_act(struct play *p, const struct scenario_step *step, struct quire_error *err);

#endif
