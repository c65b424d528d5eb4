/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_PLAY_STAGE_H
#define QUIRE_VMM_PLAY_STAGE_H

/*
 * A machine and guests that are started for an experiment: a `quire machine`, and a `quire run` for
 * each guest, which prints to a pipe, and so does its launcher.  `quire play` and `quire stress`
 * are made of them.  One thread does all of it.
 */
#include <quire/error.h>
#include "mmu/machine/client.h"
#include "process.h"
#include "vmm/look/ctl_client.h"

struct stage_machine {
	char address[64];
	pid_t pid; /* 0: none is running */
	int log;   /* where its log goes; -1: nowhere */
	int status;
	struct machine_client *client; /* NULL: not connected */
};

/* Start the machine with these options, and connect to it.  0 or -errno with *err. */
int stage_start_machine(struct stage_machine *m, const struct words *options,
			struct quire_error *err);

/* Has the machine ended?  Then its status is known.  True also if it was never started. */
bool stage_machine_ended(struct stage_machine *m);

/* End it in order, and hang up.  Its status; 0 if there was none. */
int stage_end_machine(struct stage_machine *m);

/* One life of a guest.  { .input = -1, .output = -1, .ctl = -1 } is one that was never started. */
struct stage_guest {
	char name[VM_NAME_MAX + 1];
	pid_t launcher; /* 0: none is running */
	int input, output;
	int ctl;    /* -1: not connected */
	bool asked; /* an answer is due there */
	bool known; /* `info` is this life's */
	struct ctl_info info;
	struct machine_vm_record account;
	uint32_t id;	/* with its machine; 0: not known */
	char line[256]; /* what it has printed of a line */
	size_t bytes;
	uint64_t heard_ns; /* when it last printed something, or was started */
	int status;	   /* of the launcher that ended; 128 + N: by signal N */
};

/* Start it: `quire run WORDS`, where one word is the --name.  0 or -errno with *err. */
int stage_start_guest(struct stage_guest *g, const struct words *words, struct quire_error *err);

/*
 * Take what it has printed, and call `take` for each line, which may have any bytes.  True: it
 * ended just now, and its status is known.
 */
bool stage_hear(struct stage_guest *g, void (*take)(void *ctx, const char *line), void *ctx);

/* Give it a line of input; no_more: and none after that. */
void stage_say(struct stage_guest *g, bool no_more);

/* End it in order, and wait for that. */
void stage_end_guest(struct stage_guest *g, void (*take)(void *ctx, const char *line), void *ctx);

/* Stop talking to its VM. */
void stage_forget(struct stage_guest *g);

/* Ask its VM for its numbers, unless it has been asked. */
void stage_ask(struct stage_guest *g);

/* Take its answer if it comes until then.  True: `info` is new. */
bool stage_take_answer(struct stage_guest *g, uint64_t until_ns);

#endif
