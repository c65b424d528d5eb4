/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_STRESS_H
#define QUIRE_VMM_CLI_STRESS_H

/*
 * quire stress: a machine, guests that were promised more than it has, and a verdict.
 *
 * cmd_stress.c decides what happens when.  stress_process.c says what is started, and hears what
 * guests print; stress_look.c asks the machine and the VMs, as quire stat does, and audits the
 * answers; stress_show.c and stress_svg.c tell people.  All is done by one thread.
 */
#include <quire/error.h>
#include <stdio.h>
#include <sys/types.h>
#include "vmm/play/stage.h"

#define STRESS_MAX_GUESTS 256u

struct stress_options {
	uint64_t guests, seed, swap_bytes;
	uint64_t memory_bytes, guest_bytes; /* of the machine; of each guest */
	uint64_t run_ns;
	unsigned int pattern; /* an index into stress_patterns */
	unsigned int paging;  /* ... into stress_pagings */
	unsigned int reclaim; /* ... into reclaim_policies; their number: off */
	bool kill, spoil, tap;
	const char *report;   /* a folder; NULL: none */
	const char *swap_dir; /* ... for the guests' swap; NULL: there is no swap */
};

#define STRESS_PATTERNS 4u
#define STRESS_PAGINGS	3u
extern const char *const stress_patterns[STRESS_PATTERNS];
extern const char *const stress_pagings[STRESS_PAGINGS];

/* The word that --reclaim was. */
const char *stress_reclaim(const struct stress_options *opt);

/* What is known of a guest, or of all, at some moment: those up to POOL are pages. */
enum stress_number {
	STRESS_RAM,
	STRESS_PROMISED, /* with its overhead */
	STRESS_RESIDENT,
	STRESS_ABSENT, /* this and the next seven add up to RAM */
	STRESS_PRIVATE,
	STRESS_SHARED,
	STRESS_ZERO,
	STRESS_BALLOONED,
	STRESS_COMPRESSED,
	STRESS_ARCHIVED,
	STRESS_SWAPPED,
	STRESS_POOL,	   /* what the compressed ones take */
	STRESS_LOADS,	   /* touches that loaded a page from the pool or from swap */
	STRESS_STALL_NS,   /* `some` of its vCPUs waited for memory (stall.h) */
	STRESS_OPERATIONS, /* of the guest, by its own word ... */
	STRESS_PAUSE_US,   /* ... and the longest that one of them took */
	STRESS_NR_NUMBERS
};

struct stress_numbers {
	uint64_t of[STRESS_NR_NUMBERS];
};

/* A guest lives again if it was killed on purpose; each life is another VM of another name. */
struct stress_guest {
	unsigned int index, lives;
	struct stage_guest run;
	uint64_t seed;

	struct stress_numbers now, past; /* of this life; counts of the lives before */
	struct stress_numbers first;	 /* of all lives, when all were ready ... */
	struct stress_numbers last;	 /* ... and when they were asked to end */
	bool held;			 /* it was held still: that is no pause of its own */

	bool spoke;    /* its guest runs */
	bool ready;    /* in this life all its pages were written once */
	bool verified; /* it said so at its end */
	bool shot;     /* this life was ended on purpose */
	bool again;    /* it has ended, and is to live again */
	uint64_t ended_ns;
	char trouble[400]; /* what it said of any; "": nothing */
};

enum stress_phase { STRESS_FILLING, STRESS_RUNNING, STRESS_ENDING };

struct stress_sample {
	uint64_t ns; /* since the start */
	unsigned int running;
	struct machine_state machine;
	struct stress_numbers sum;
};

enum stress_check {
	STRESS_VERIFIED,
	STRESS_NO_OOM,
	STRESS_BOOKS,
	STRESS_KERNEL,
	STRESS_EMPTY,
	STRESS_ORDERLY,
	STRESS_NR_CHECKS
};

struct stress {
	struct stress_options opt;
	char *image;
	struct stage_machine machine;
	struct machine_state state;
	struct stress_guest *guest;
	uint64_t dice, kill_ns; /* when the next one is killed; 0: not decided yet */
	enum stress_phase phase;
	/* When the machine was there, when all guests were ready, when they were asked to end. */
	uint64_t start_ns, begin_ns, end_ns;

	struct stress_sample *sample; /* malloc'd */
	unsigned int nr_samples, room;

	char failed[STRESS_NR_CHECKS][480]; /* why; "": it did not */
};

/* ---- stress_process.c ---- */

/* Start the machine, and connect to it.  0 or -errno with *err. */
int stress_start_machine(struct stress *s, struct quire_error *err);

/* Start a life of a guest.  0 or -errno with *err. */
int stress_start_guest(struct stress *s, struct stress_guest *g, struct quire_error *err);

/* Take what a guest has printed; and note if it has ended, with its status. */
void stress_hear(struct stress_guest *g);

/* Has the machine ended? */
bool stress_lost_machine(struct stress *s);

/* Ask a guest to verify its memory and end. */
void stress_ask_to_end(struct stress_guest *g);

/* End the VM of one of the guests, or its launcher, by SIGKILL. */
void stress_shoot(struct stress *s);

/* End whatever runs, in order as far as possible.  It can be called at any time. */
void stress_end_all(struct stress *s);

/* ---- stress_look.c ---- */

/* Note why a check failed; the first reason stays. */
__attribute__((format(printf, 3, 4))) void stress_fail(struct stress *s, enum stress_check check,
						       const char *fmt, ...);

/* Ask all for their numbers, note a sample, and check the machine's books.  0 or -errno. */
int stress_look(struct stress *s, struct quire_error *err);

/* Hold all guests still, and compare what they and the machine say with the kernel's count. */
void stress_audit(struct stress *s);

/* After the last guest: does the machine have everything back? */
void stress_check_empty(struct stress *s);

/* A life is over: it has nothing any more, and what it did is added to its past. */
void stress_bury(struct stress_guest *g);

/* All numbers of a guest, with those of its past lives. */
struct stress_numbers stress_sum(const struct stress_guest *g);

/* The numbers b, with counts from a on. */
struct stress_numbers stress_between(const struct stress_numbers *a,
				     const struct stress_numbers *b);

/* Add numbers; of pauses the longest stays. */
void stress_add(struct stress_numbers *to, const struct stress_numbers *from);

/* ---- stress_show.c ---- */

/* On a terminal, one line that is written again and again; and its end. */
void stress_progress(const struct stress *s);
void stress_progress_end(const struct stress *s);

/* The verdict: tables and lines, or TAP.  0 or -ENOMEM. */
int stress_verdict(const struct stress *s);

/* Write the folder of --report.  0 or -errno with *err. */
int stress_report(const struct stress *s, struct quire_error *err);

/* ---- stress_svg.c ---- */

/* Where the guests' memory was, over time. */
void stress_svg(FILE *f, const struct stress *s);

#endif
