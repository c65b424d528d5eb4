/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_PLAY_AMOUNT_H
#define QUIRE_VMM_PLAY_AMOUNT_H

/* Amounts as scenarios have them: decimal digits, perhaps with a fraction, and perhaps a unit. */

enum amount_kind {
	AMOUNT_PLAIN,
	AMOUNT_SIZE,  /* K, M, G, T: powers of 1024; the value is bytes */
	AMOUNT_SHARE, /* %: the value is a fraction */
	AMOUNT_TIME,  /* ns, us, ms, s, min: the value is nanoseconds */
};

struct amount {
	double value;
	enum amount_kind kind;
};

/* Read the amount at text.  Its end; NULL: there is none, or its unit does not exist. */
const char *amount_read(const char *text, struct amount *out);

#endif
