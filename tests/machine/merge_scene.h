/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_MACHINE_MERGE_SCENE_H
#define QUIRE_TESTS_MACHINE_MERGE_SCENE_H

/* How a test of the machine's side of merging begins and ends: a machine, and up to three VMs. */
#include "machine_lab_tap.h"
#include "merge_lab.h"

#define PAGES 1024

/* The scene's VMs. */
extern struct merge_vm a, b, c;

struct scene {
	unsigned int fds;
	struct lab lab;
	int control;
};

/* Creates a machine with so many pages, and connects to it. */
void begin(struct scene *s, uint64_t memory);

/* Disconnects and destroys the machine; asserts that nothing is left. */
void end(struct scene *s);

/* Pages in the machine's store. */
uint64_t store_pages(struct scene *s);

/* One domain of two VMs. */
void begin_pair(struct scene *s);

/* Ends both VMs and the machine. */
void end_pair(struct scene *s);

#endif
