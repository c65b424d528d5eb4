/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_MACHINE_RECLAIM_LAB_H
#define QUIRE_TESTS_MACHINE_RECLAIM_LAB_H

/* A machine with VMs that hear what they are to free, and free it, or not, as the test says. */
#include "machine_lab_tap.h"

#define RAM (128 * MIB_PAGES) /* of each VM */

struct vm {
	struct lab_vm lab;
	struct reclaim_record says;
	uint64_t resident; /* pages of its RAM */
	uint64_t asked;	   /* as the machine said last, less what was returned */
	unsigned int asks; /* RECLAIMs heard */
	uint64_t granted;  /* by the last GRANT */
	unsigned int grants;
	bool still; /* it is to stand still */
	bool waits; /* for a GRANT, if the test has set it */
};

struct world {
	struct lab lab;
	int control;
	unsigned int fds;
	struct machine_state s; /* at the beginning: for the watermarks */
};

/* Creates a machine with so many pages; ends the VMs and destroys it. */
void reclaim_open(struct world *w, uint64_t memory);
void reclaim_close(struct world *w, struct vm *vm, unsigned int nr);

/* Sends vm->says. */
void reclaim_say(struct world *w, struct vm *vm);

/* Hears what there is.  The type of the last message that was of no such thing. */
int reclaim_hear(struct vm *vm);

/* Takes so many credits, which the machine must have, and makes them resident. */
void reclaim_take(struct world *w, struct vm *vm, uint64_t pages);

/* A VM with a process, so many credits, all of them resident, and a reclaimer that could free. */
void reclaim_admit(struct world *w, struct vm *vm, uint64_t credits, struct machine_admit admit);

/* The same with these shares and nothing else to say. */
void reclaim_start(struct world *w, struct vm *vm, uint64_t credits, uint32_t shares);

/* Frees so many pages, and gives their credits back. */
void reclaim_free(struct world *w, struct vm *vm, uint64_t pages);

/* The machine's free pages. */
uint64_t reclaim_free_now(struct world *w);

/* Memory is at min, and vm needs `need` pages. */
void reclaim_run_out(struct world *w, struct vm *vm, uint64_t need);

/* What the machine knows of vm. */
struct machine_vm_record reclaim_record_of(struct world *w, const struct vm *vm);

#endif
