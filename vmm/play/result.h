/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_PLAY_RESULT_H
#define QUIRE_VMM_PLAY_RESULT_H

/*
 * What came of a scenario: one JSON object, quire.play/1, which docs/play.md describes.
 *
 * It is built as a tree of jansson's, from the start of the scenario on, and everything that shows
 * a result reads that tree: the table, TAP, JSON, and the report with its pictures.  A result that
 * was read back from a file is the same.  Times are seconds since the scenario began.
 *
 * In texts, those of guests too, everything is UTF-8 that a terminal can be shown.  What cannot be
 * added for want of memory is left out; whoever builds a result counts its checks.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum result_verdict {
	RESULT_PASS,
	RESULT_FAIL,	    /* a check failed */
	RESULT_ERROR,	    /* the scenario could not be played to its end */
	RESULT_INTERRUPTED, /* a signal ended it */
	RESULT_NR_VERDICTS
};

extern const char *const result_verdicts[RESULT_NR_VERDICTS];

/* What the scenario demands, and what came of it. */
struct result_check {
	const char *kind; /* `expect`, `eventually`, `always` or `exit` */
	const char *text;
	unsigned int line; /* of the scenario's file */
	double at_s;	   /* when it was decided */
	bool ok;
	char value[200]; /* what was there: "123 >= 456", or why nothing was */
};

/*
 * A text as results have it, for json_decref(); NULL: no memory.  JSON has no other bytes than
 * UTF-8, and whoever reads a result may have a terminal: text with anything else, such as a guest's
 * last words, becomes ASCII with ? for it.
 */
json_t *result_text(const char *text);

/* A new result, without a verdict yet; NULL: no memory.  Free it with json_decref(). */
json_t *result_new(const char *name, const char *file, uint64_t seed);

/* Note what the scenario did. */
void result_event(json_t *result, double t_s, unsigned int line, const char *text);

void result_check(json_t *result, const struct result_check *check);

/*
 * Note a sample: the members of a document of quire.stats/1 that samples have.  Its VMs have the
 * scenario's names already.  `machine` of it may be NULL: there is none now.
 */
void result_sample(json_t *result, double t_s, const json_t *machine, const json_t *vms);

/* Note a picture of a VM's memory, an object of quire.map/1, which becomes the result's. */
void result_map(json_t *result, double t_s, const char *vm, json_t *map);

/* Note how a guest ended; end_s < 0: its scenario ended it. */
void result_guest(json_t *result, const char *name, const char *group, double start_s, double end_s,
		  int status);

/* The last word.  reason: why it is no RESULT_PASS; "" otherwise. */
void result_end(json_t *result, enum result_verdict verdict, const char *reason, double seconds);

/* How many checks failed. */
unsigned int result_failures(const json_t *result);

/* Write it: for people, as TAP, and as JSON.  0; -EIO: f could not be written; -ENOMEM. */
int result_show(FILE *f, const json_t *result);
int result_tap(FILE *f, const json_t *result);
int result_json(FILE *f, const json_t *result);

#endif
