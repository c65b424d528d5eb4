/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_TOP_TOP_H
#define QUIRE_VMM_TOP_TOP_H

/* quire top: machines and VMs, again and again. */
#include <quire/error.h>
#include "model.h"

struct top_options {
	const char *address; /* of the machine; NULL: as look_take() chooses */
	uint64_t interval_ns;
	unsigned int sort; /* enum column_id */
	bool reverse, colour;
	const char *filter; /* "": none */
};

/*
 * Show it on the terminal until somebody leaves.  0; a signal's number: it ended by that; -ENOTTY:
 * there is no terminal for it; or another -errno.  Negative numbers come with *err.
 */
int top_run(const struct top_options *opt, struct quire_error *err);

/*
 * Write `frames` frames as text to standard output, an interval apart, with an empty line between
 * them.  The first one comes after an interval, because rates need two looks.  0, or -errno with
 * *err; also if the machine is away at the end.
 */
int top_batch(const struct top_options *opt, uint64_t frames, struct quire_error *err);

#endif
