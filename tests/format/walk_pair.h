/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_FORMAT_WALK_PAIR_H
#define QUIRE_TESTS_FORMAT_WALK_PAIR_H

/*
 * walk_2d() beside the naive model of walk_model.h, each with a memory of its own.  A comparison
 * covers the whole result and what became of memory.
 */
#include <stdio.h>
#include "tests/tap.h"
#include "walk_lab.h"
#include "walk_model.h"

/* The code's memory and the model's: same content before each walk, and after. */
struct pair {
	struct lab lab; /* what walk_2d() works on */
	uint8_t *twin;	/* the model's guest memory */
	struct walk_cpu cpu;
	struct walk_access access;
	uint64_t gva;
	bool stage2;
	struct walk_stage2 s2;
	struct walk_memory mem;
	struct walk_result res;
	struct model model;
	uint64_t cases, mismatches;
	uint64_t outcomes[WALK_AGAIN + 1];
};

/* Allocates two equal memories, one for the walk and one for the model. */
void pair_init(struct pair *p, uint64_t guest_bytes, uint64_t ept_bytes);

/* Frees both. */
void pair_finish(struct pair *p);

/* Stores the same entry in both. */
void put_both(struct pair *p, uint64_t addr, unsigned int bytes, uint64_t value);

/* One case: both walk, both are compared.  Only the first mismatch is printed. */
void compare(struct pair *p);

/* Do both memories agree?  Cheap enough only now and then, or for a few words. */
void compare_memory(struct pair *p);

/* One assertion: all that was compared so far agreed. */
void conclude(struct pair *p, const char *what);

#endif
