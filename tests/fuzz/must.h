/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_FUZZ_MUST_H
#define QUIRE_TESTS_FUZZ_MUST_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* What is not so is a find: the input is kept. */
static inline void must(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "%s\n", what);
	abort();
}

#endif
