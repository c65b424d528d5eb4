/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_GUEST_ZIPF_H
#define QUIRE_GUEST_ZIPF_H

/*
 * Ranks with a probability proportional to 1 / (rank + 1)^s.
 *
 * They are drawn by binary search in the cumulated weights, eight bytes a rank.  Powers come from
 * the x87, which has the logarithm that a kernel without libm lacks.
 */
#include <stdbool.h>
#include <stdint.h>

struct zipf {
	uint64_t nr;
	double *cumulated; /* in a window of its own */
};

/* For nr ranks, at least 1; s in thousandths.  False: there is no room. */
bool zipf_init(struct zipf *z, uint64_t nr, uint64_t s);

/* A rank in [0, nr). */
uint64_t zipf_draw(const struct zipf *z, uint64_t *state);

#endif
