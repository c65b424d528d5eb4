/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LOOK_METRICS_TABLE_H
#define QUIRE_VMM_LOOK_METRICS_TABLE_H

/* Which metric a member of quire.stats/1 becomes. */

enum metric_type {
	METRIC_GAUGE,
	METRIC_COUNTER,	  /* "_total" follows the name */
	METRIC_HISTOGRAM, /* the member is an object of times */
	METRIC_STATES,	  /* a series for each state of a VM: 1 for the one that it is in */
	METRIC_INFO,	  /* a label of the one series 1 that all such rows make; "_info" follows */
};

struct metric {
	/*
	 * The member's path: "machine.free_bytes", "vm.shadow.fills".  "{label}" stands for one or
	 * more characters but dots, which become the value of that label.  A member belongs to the
	 * first row that fits.
	 */
	const char *member;
	const char *name; /* of the metric, with its unit; rows of one name follow each other */
	enum metric_type type;
	const char *help; /* one line; of the first row of that name */
};

extern const struct metric metrics_table[];
extern const unsigned int metrics_rows;

#endif
