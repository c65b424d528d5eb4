/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_MEMORY_WAITING_LAB_H
#define QUIRE_TESTS_MEMORY_WAITING_LAB_H

/* Threads that touch a page each, and wait for credits. */
#include <pthread.h>
#include "share_lab.h"

#define PATIENCE_MS 20000

/* What on_failure(), an on_host_failure (gmem.h), was told last, and how often. */
extern atomic_int failures, failed_err;
extern atomic_ulong failed_gpa;
void on_failure(void *ctx, gpa_t gpa, int err);

/* The counters of guest memory. */
struct gmem_stats stats(void);

/* A thread that touches one page. */
struct toucher {
	pthread_t thread;
	gfn_t gfn;
	bool write;
	atomic_bool done;
};
void toucher_start(struct toucher *t, gfn_t gfn, bool write);

/* It has its page, or gets it within PATIENCE_MS. */
bool toucher_is_done(struct toucher *t);

/* Wait for its end. */
void toucher_end(struct toucher *t);

/* So many pages wait, or come to within PATIENCE_MS. */
bool await_waiting(uint64_t nr);

#endif
