/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_SIM_REPORT_H
#define QUIRE_VMM_CLI_SIM_REPORT_H

/* What `quire sim replace` found out, and how it is shown. */
#include <stdio.h>
#include "mmu/reclaim/simulate.h"

struct sim_report {
	const char *name; /* of the trace */
	const struct trace *trace;
	struct sim sim; /* of all of them; frames 0: no run, only a curve */
	bool curve;
	uint32_t frames[SIM_MAX_POINTS]; /* of the curve */
	unsigned int nr_points;
	/* By policy: of those that were asked for. */
	bool asked[SIM_NR_POLICIES];
	struct sim_result result[SIM_NR_POLICIES];
	uint64_t faults[SIM_NR_POLICIES][SIM_MAX_POINTS];
};

/* Tables for people.  0 or -ENOMEM. */
int sim_report_text(FILE *f, const struct sim_report *report);

/* The same as quire.sim/1 (docs/reclaim.md). */
void sim_report_json(FILE *f, const struct sim_report *report);

/* The curve as a picture, SVG 1.1 with styles for light and dark. */
void sim_report_svg(FILE *f, const struct sim_report *report);

#endif
