/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LAUNCH_LISTING_H
#define QUIRE_VMM_LAUNCH_LISTING_H

/* Code, disassembled by a child that can do nothing else (decoder.h). */
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include "vmm/vm/code.h"

/*
 * The last part of a crash report: print the code around RIP to f, standard output or standard
 * error.  Returns when that is done.  Code that makes no sense is not printed.
 */
void listing_print(FILE *f, const struct code *code);

/* A run of code. */
struct listing_run {
	uint64_t start, rip; /* linear; rip is marked if it is there */
	unsigned int bits;   /* 16, 32 or 64 */
	unsigned int count;  /* of instructions, at most */
	const uint8_t *byte;
	size_t bytes;
	bool ends; /* no memory follows */
	/* The name of an address, "NAME" or "NAME+OFFSET"; NULL: it has none. */
	const char *(*name)(void *ctx, uint64_t address);
	void *ctx;
};

/* Print its instructions to f, a line each, with the names of symbols and of jumps' targets. */
void listing_print_run(FILE *f, const struct listing_run *run);

#endif
