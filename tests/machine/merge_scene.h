/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_MACHINE_MERGE_SCENE_H
#define QUIRE_TESTS_MACHINE_MERGE_SCENE_H

/* How a test of the machine's side of merging begins and ends: a machine, and up to three VMs. */
#include "machine_lab_tap.h"
#include "merge_lab.h"

#define PAGES 1024

static struct merge_vm a, b, c;

struct scene {
	unsigned int fds;
	struct lab lab;
	int control;
};

static inline void begin(struct scene *s, uint64_t memory)
{
	s->fds = open_fds();
	lab_open_plain(&s->lab, memory, OVERCOMMIT_ALWAYS);
	s->control = lab_connect(&s->lab);
}

static inline void end(struct scene *s)
{
	close(s->control);
	lab_step(&s->lab);
	lab_close(&s->lab, s->fds);
}

static inline uint64_t store_pages(struct scene *s)
{
	return lab_state(&s->lab).store_pages;
}

/* One domain of two VMs. */
static inline void begin_pair(struct scene *s)
{
	begin(s, GIB_PAGES);
	merge_vm_open(&s->lab, s->control, &a, "d", PAGES);
	merge_vm_open(&s->lab, s->control, &b, "d", PAGES);
}

static inline void end_pair(struct scene *s)
{
	merge_vm_close(&s->lab, &a);
	merge_vm_close(&s->lab, &b);
	is_hex(store_pages(s), 0, "when all have ended, so have their frames");
	end(s);
}

#endif
