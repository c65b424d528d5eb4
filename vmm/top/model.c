/* SPDX-License-Identifier: MIT */
/* The list of VMs: which are in it, in which order, and which is chosen. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "model.h"

void model_init(struct model *m, const struct watch *watch, const struct pagemap *map)
{
	*m = (struct model){ .watch = watch, .map = map, .shown = 1 };
}

void model_finish(struct model *m)
{
	free(m->row);
	m->row = NULL;
	m->nr_rows = m->room = 0;
}

const struct roster_vm *model_chosen(const struct model *m)
{
	return m->keys && m->nr_rows ? m->row[m->chosen].vm : NULL;
}

static int make_room(struct model *m, unsigned int nr)
{
	struct row *row;

	if (nr <= m->room)
		return 0;
	row = reallocarray(m->row, nr, sizeof(*row));
	if (!row)
		return -ENOMEM;
	m->row = row;
	m->room = nr;
	return 0;
}

static int compare_rows(const void *a, const void *b, void *ctx)
{
	const struct model *m = ctx;

	return columns_compare(a, b, m->sort, m->reverse);
}

/* Find the chosen VM again: by its process, or by its name, since a guest may have been reset. */
static bool find_chosen(struct model *m)
{
	for (unsigned int i = 0; i < m->nr_rows; i++)
		if (m->row[i].vm->pid == m->chosen_pid) {
			m->chosen = i;
			return true;
		}
	for (unsigned int i = 0; i < m->nr_rows; i++)
		if (!strcmp(m->row[i].vm->name, m->chosen_name)) {
			m->chosen = i;
			return true;
		}
	return false;
}

static void remember_chosen(struct model *m)
{
	const struct roster_vm *vm = model_chosen(m);

	m->chosen_pid = vm ? vm->pid : 0;
	snprintf(m->chosen_name, sizeof(m->chosen_name), "%s", vm ? vm->name : "");
}

/* Is there still such a VM, which only the filter hides? */
static bool is_hidden(const struct model *m)
{
	const struct roster *r = &m->watch->look.roster;

	for (unsigned int i = 0; i < r->nr_vms; i++)
		if (r->vm[i].pid == m->chosen_pid)
			return true;
	return false;
}

static void lose_chosen(struct model *m)
{
	if (!is_hidden(m))
		snprintf(m->message, sizeof(m->message), "%s has ended%s", m->chosen_name,
			 m->watch->away ? ", or the machine is away" : "");
	if (m->view == VIEW_MAP)
		m->view = VIEW_LIST;
	if (m->question != ASK_FILTER)
		m->question = ASK_NOTHING;
}

int model_update(struct model *m)
{
	const struct roster *r = &m->watch->look.roster;
	bool had = m->chosen_pid != 0;

	if (make_room(m, r->nr_vms))
		return -ENOMEM;
	m->nr_rows = 0;
	for (unsigned int i = 0; i < r->nr_vms; i++) {
		const struct watch_ring *ring = watch_ring_of(m->watch, &r->vm[i]);

		if (strstr(r->vm[i].name, m->filter))
			m->row[m->nr_rows++] = (struct row){
				.vm = &r->vm[i],
				.ring = ring,
				.point = ring ? watch_point(ring, 0) : NULL,
			};
	}
	if (m->nr_rows)
		qsort_r(m->row, m->nr_rows, sizeof(*m->row), compare_rows, m);
	if (had && !find_chosen(m))
		lose_chosen(m);
	if (m->chosen >= m->nr_rows)
		m->chosen = m->nr_rows ? m->nr_rows - 1 : 0;
	remember_chosen(m);
	return 0;
}
