/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_BOTH_H
#define QUIRE_VMM_CLI_BOTH_H

/*
 * quire run --paging=both: the same image on shadow tables and without, and what differs.
 *
 * The runs are one after the other.  So neither takes processors or memory from the other, and a
 * name, a tap or an overlay is free again when the second one begins.  The mode that refuses more
 * images goes first.
 *
 * Each run is a launcher of its own, a child of the process that was asked.  That one reads
 * standard input before, gives it to both, shows what the first run prints, and compares what the
 * second does.
 */
#include "vmm/launch/run.h"
#include "vmm/look/stats.h"

/* One of the two runs, at its end. */
struct both_side {
	int status;	/* of the run */
	int output;	/* the file with what it printed */
	uint64_t bytes; /* how much that is */
	const struct both_end *end;
};

/* What a launcher leaves to whom it is a child of, in memory that both have. */
struct both_end {
	bool told; /* the rest is there, as launch_config.write_stats got it */
	struct launch_end end;
	struct vm_info info;
	struct machine_gone gone;
	struct machine_refusal refusal;
	char name[VM_NAME_MAX + 1], address[128], text[sizeof(struct quire_error)];
	bool has_machine;
	struct machine_state machine;
};

/*
 * Run both, and tell what differs.  `one` runs what *run says to its end, in a process of its own,
 * and returns the exit status.  Returns the exit status of the command.
 */
int both_run(struct run *run, int (*one)(struct run *run));

#endif
