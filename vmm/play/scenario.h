/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_PLAY_SCENARIO_H
#define QUIRE_VMM_PLAY_SCENARIO_H

/*
 * A scenario, as its file has it: docs/play.md.
 *
 * scenario_schema.c has the schema, a table for each kind of object, and reads by it;
 * scenario_yaml.c reads what the values are.  Nothing is started before all of a file was read and
 * all that is wrong with it was said.
 */
#include <quire/error.h>
#include <stdint.h>
#include <yaml.h>
#include "expr.h"
#include "process.h"

#define SCENARIO_MAX_GUESTS 256u
#define SCENARIO_MAX_FAULTS 100u
#define SCENARIO_MAX_BYTES  (1024 * 1024)
#define SCENARIO_NEVER	    UINT64_MAX

/* ---- what is wrong ---- */

struct scenario_fault {
	unsigned int line, column; /* from 1 */
	char text[300];
};

struct scenario_faults {
	struct scenario_fault fault[SCENARIO_MAX_FAULTS]; /* in the order of the file */
	unsigned int nr;
};

/* ---- what is there ---- */

/* Which guests an action is about; their numbers in scenario.guest. */
struct scenario_targets {
	bool on[SCENARIO_MAX_GUESTS];
	bool machine;
};

struct scenario_group {
	const char *name, *image; /* of the file; image is malloc'd, where it was found */
	unsigned int line, line_of_exit;
	uint64_t count;	   /* 0: one guest, without a number */
	uint64_t start_ns; /* SCENARIO_NEVER: an action starts it */
	int args;	   /* a node of the document; 0: none */
	bool awaited;	   /* `exit` was given: the scenario waits for its guests' end */
	bool any_exit, exits[256];
	struct words options; /* of `quire run` */
};

struct scenario_guest {
	char name[48];
	unsigned int group, number; /* number: from 1; 0: none */
};

enum scenario_action {
	ACTION_WAIT, /* only its trigger counts */
	ACTION_START,
	ACTION_END,
	ACTION_STOP,
	ACTION_KILL,
	ACTION_PAUSE,
	ACTION_RESUME,
	ACTION_MERGE,
	ACTION_BALLOON,
	ACTION_RECLAIM,
	ACTION_SET,
	ACTION_MAP,
	ACTION_EXPECT,
	ACTION_ALWAYS,
	ACTION_NR
};

extern const char *const scenario_actions[ACTION_NR];

struct scenario_step {
	unsigned int line;
	uint64_t at_ns, after_ns; /* when: SCENARIO_NEVER: not given */
	struct expr *when;	  /* NULL: not given */
	uint64_t within_ns;	  /* ... and how long to wait for that at most */
	enum scenario_action action;
	bool has_action;
	struct scenario_targets on;
	bool has_vm;	  /* `vm` was given, for merge and balloon */
	char word[32];	  /* of merge, balloon and reclaim */
	struct words set; /* options of `quire machine set` */
	struct expr *check;
	uint64_t eventually_ns; /* SCENARIO_NEVER: it has to hold at once */
};

struct scenario {
	char *file;
	const char *name, *about;
	uint64_t seed, timeout_ns;
	struct words machine; /* options of `quire machine` */
	struct scenario_group *group;
	struct scenario_guest *guest;
	struct scenario_step *step;
	unsigned int nr_groups, nr_guests, nr_steps;
	yaml_document_t document; /* holds the texts */
	bool has_document;
};

/*
 * Read a file.  0; -EINVAL: *faults has what is wrong; another -errno with *err.  Finish *s in any
 * case.
 */
int scenario_read(const char *path, struct scenario *s, struct scenario_faults *faults,
		  struct quire_error *err);

void scenario_finish(struct scenario *s);

/* The words of a group's `args`, of which `$seed` and `$n` are the seed and the guest's number. */
void scenario_args(const struct scenario *s, const struct scenario_guest *guest, struct words *w);

#endif
