/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_BOTH_OUTPUT_H
#define QUIRE_VMM_CLI_BOTH_OUTPUT_H

/* What two runs of one image printed: is it the same, and where does it begin to differ? */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct both_text {
	const char *bytes;
	size_t nr;
};

struct both_difference {
	bool differs;
	bool numbers;		/* nothing but decimal numbers, and blanks beside them, differ */
	uint64_t line;		/* the first that differs, from 1 on */
	struct both_text at[2]; /* that line of each, without its end; bytes NULL: there is none */
};

void both_compare(const struct both_text text[2], struct both_difference *out);

#endif
