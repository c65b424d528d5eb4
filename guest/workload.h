/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_GUEST_WORKLOAD_H
#define QUIRE_GUEST_WORKLOAD_H

/*
 * Workloads: what the guest does, chosen by the first word of the command line.
 */
#include "kernel.h"

/* Exit statuses. */
#define STATUS_OK	 0
#define STATUS_WRONG	 1 /* a wrong byte, or a failed test */
#define STATUS_USAGE	 2
#define STATUS_NO_ROOM	 3 /* the guest has not enough memory for the pages asked for */
#define STATUS_NO_DEVICE 4 /* there is no device that can do what is asked for */

#define MAX_ARGS 32

/* The words after the workload's name.  Every one must be asked for, or args_done() objects. */
struct args {
	char *word[MAX_ARGS];
	unsigned int n, positional;
	uint32_t used; /* bit i: word[i] has been asked for */
	bool bad;
};

/* The next word, NULL if there is none; the next number (decimal or 0x), bad if none. */
const char *args_word(struct args *a);
uint64_t args_number(struct args *a);

/* name=NUMBER, name=TEXT, or what to take otherwise; a bare word. */
uint64_t args_key(struct args *a, const char *name, uint64_t otherwise);
const char *args_text(struct args *a, const char *name, const char *otherwise);
bool args_flag(struct args *a, const char *name);

/* Was everything there and understood? */
bool args_done(const struct args *a);

/* Run the workload that cmdline names; its exit status. */
int workload_run(const char *cmdline);

/* Print what is missing; STATUS_NO_ROOM. */
int no_room(uint64_t pages);

int hello_run(struct args *a);
int selftest_run(struct args *a);
int fill_run(struct args *a);
int hold_run(struct args *a);
int churn_run(struct args *a);
int peek_run(struct args *a);
int touch_run(struct args *a);
int visit_run(struct args *a);
int zipf_run(struct args *a);
int stress_run(struct args *a);
int locked_run(struct args *a);
int remap_run(struct args *a);
int tables_run(struct args *a);
int mmutest_run(struct args *a);
int balloon_run(struct args *a);
int report_run(struct args *a);
int evil_balloon_run(struct args *a);
int disk_run(struct args *a);
int idle_run(struct args *a);
int echo_run(struct args *a);
int hvc_run(struct args *a);
int net_run(struct args *a);
int exit_run(struct args *a);
int crash_run(struct args *a);

/*
 * Page contents that depend on (seed, index) only; different indices differ in every word.
 * CONTENT_ZERO is the page of zeroes.  With CONTENT_PACKS in its index a page has each word four
 * times, so that it can be compressed to about two fifths; others cannot be compressed.
 */
#define CONTENT_ZERO  UINT64_MAX
#define CONTENT_PACKS (1ULL << 62)

void content_write(uint64_t *page, uint64_t seed, uint64_t index);

/* Print the first wrong word as "name: wrong ..." and return false, if there is one. */
bool content_check(const char *name, const uint64_t *page, uint64_t seed, uint64_t index);

/* ... of all words but this one. */
bool content_check_but(const char *name, const uint64_t *page, uint64_t seed, uint64_t index,
		       uint64_t word);

/* One word of such a page. */
uint64_t content_word(uint64_t seed, uint64_t index, uint64_t word);

/* A seed like no other for every salt; with salt 0 the seed itself. */
static inline uint64_t salted(uint64_t seed, uint64_t salt)
{
	return seed ^ mix(salt);
}

/* The line that every workload prints for a wrong word. */
void report_wrong(const char *name, const volatile uint64_t *at, uint64_t want, uint64_t got);

/* Send waiting output out and wait until the TSC reaches deadline. */
void pause_until(uint64_t deadline);

/* The same, or until there is a byte of input, which it takes; at a wait port, which hears it. */
void pause_for_input(uint64_t deadline);

#endif
