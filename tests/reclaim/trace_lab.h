/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_RECLAIM_TRACE_LAB_H
#define QUIRE_TESTS_RECLAIM_TRACE_LAB_H

#include "mmu/reclaim/trace.h"

/* Read a text as a trace. */
int lab_trace_read(struct trace *t, const char *text, size_t bytes, struct quire_error *err);

/* The same for one that must be good. */
void lab_trace(struct trace *t, const char *text);

/* A trace at random: so many accesses to at most nr_pages pages, half of them to few. */
void lab_random_trace(struct trace *t, uint64_t length, unsigned int nr_pages, uint64_t *seed);

#endif
