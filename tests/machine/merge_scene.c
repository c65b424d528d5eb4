/* SPDX-License-Identifier: MIT */
#include "merge_scene.h"

struct merge_vm a, b, c;

void begin(struct scene *s, uint64_t memory)
{
	s->fds = open_fds();
	lab_open_plain(&s->lab, memory, OVERCOMMIT_ALWAYS);
	s->control = lab_connect(&s->lab);
}

void end(struct scene *s)
{
	close(s->control);
	lab_step(&s->lab);
	lab_close(&s->lab, s->fds);
}

uint64_t store_pages(struct scene *s)
{
	return lab_state(&s->lab).store_pages;
}

void begin_pair(struct scene *s)
{
	begin(s, GIB_PAGES);
	merge_vm_open(&s->lab, s->control, &a, "d", PAGES);
	merge_vm_open(&s->lab, s->control, &b, "d", PAGES);
}

void end_pair(struct scene *s)
{
	merge_vm_close(&s->lab, &a);
	merge_vm_close(&s->lab, &b);
	is(store_pages(s), 0, "when all have ended, so have their frames");
	end(s);
}
