/* SPDX-License-Identifier: MIT */
/*
 * What expressions are about: a document of quire.stats/1 of the scenario's machine and guests, as
 * `quire stat --json` makes it.  A guest that answers late has its last numbers.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "mmu/base/clock.h"
#include "vmm/look/stats.h"
#include "play.h"

#define ANSWER_NS (NS_PER_S / 10) /* all guests together have so long to answer a look */

/* ---- asking ---- */

static void take_account(void *ctx, uint32_t vm, const struct machine_vm_record *record)
{
	struct play *p = ctx;

	for (unsigned int i = 0; i < p->s->nr_guests; i++) {
		struct stage_guest *run = &p->guest[i].run;

		if (!run->launcher || !run->known || record->pid != (int32_t)run->info.vm.pid)
			continue;
		run->account = *record;
		run->id = vm;
	}
}

static void ask_machine(struct play *p)
{
	p->has_state = p->machine.client && !machine_client_get(p->machine.client, &p->state, NULL);
	for (unsigned int i = 0; i < p->s->nr_guests; i++)
		p->guest[i].run.id = 0;
	if (p->has_state && !machine_client_list(p->machine.client, take_account, p, NULL))
		return;
	machine_client_destroy(p->machine.client);
	p->machine.client = NULL;
	p->has_state = false;
}

static void ask_guests(struct play *p)
{
	uint64_t until = monotonic_ns() + ANSWER_NS;

	for (unsigned int i = 0; i < p->s->nr_guests; i++)
		stage_ask(&p->guest[i].run);
	for (unsigned int i = 0; i < p->s->nr_guests; i++)
		stage_take_answer(&p->guest[i].run, until);
}

/* ---- the document ---- */

static bool is_known(const struct play_guest *g)
{
	return g->run.launcher && g->run.known;
}

/* NULL: no memory. */
static json_t *document(const struct play *p)
{
	struct stats_vm *vm = calloc(p->s->nr_guests + 1, sizeof(*vm));
	json_t *document = NULL;
	unsigned int nr = 0;
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	for (unsigned int i = 0; vm && i < p->s->nr_guests; i++) {
		const struct stage_guest *run = &p->guest[i].run;

		if (is_known(&p->guest[i]))
			vm[nr++] = (struct stats_vm){
				.info = &run->info.vm,
				.account = { p->machine.address, run->id, &run->account },
			};
	}
	if (f && vm)
		stats_document(f, p->has_state ? &p->state : NULL, vm, nr);
	if (f && !fclose(f))
		document = json_loads(text, 0, NULL);
	free(text);
	free(vm);
	return document;
}

/* A guest that has ended; or null: it has not answered. */
static json_t *without_numbers(const struct scenario_guest *guest, const struct play_guest *g)
{
	if (g->run.launcher)
		return json_null();
	return json_pack("{s:s, s:s, s:i}", "name", guest->name, "state", "ended", "exit_status",
			 g->run.status);
}

/* The guests that were started, by name. */
static json_t *by_name(const struct play *p, const json_t *vms)
{
	json_t *all = json_object(), *vm;
	unsigned int nr = 0;

	for (unsigned int i = 0; i < p->s->nr_guests; i++) {
		const char *name = p->s->guest[i].name;

		if (!p->guest[i].started)
			continue;
		if (is_known(&p->guest[i])) {
			vm = json_incref(json_array_get(vms, nr++));
			json_object_set_new(vm, "name", json_string(name));
		} else {
			vm = without_numbers(&p->s->guest[i], &p->guest[i]);
		}
		json_object_set_new(all, name, vm);
	}
	return all;
}

int play_look(struct play *p, struct quire_error *err)
{
	json_t *all;

	ask_guests(p);
	ask_machine(p);
	all = document(p);
	if (!all)
		return quire_fail(err, -ENOMEM, "no memory for what was seen");
	json_decref(p->world_machine);
	json_decref(p->world_vms);
	p->world_machine = p->has_state ? json_incref(json_object_get(all, "machine")) : NULL;
	p->world_vms = by_name(p, json_object_get(all, "vms"));
	if (monotonic_ns() >= p->sample_ns) {
		result_sample(p->result, play_seconds(p), p->world_machine,
			      json_object_get(all, "vms"));
		p->sample_ns = monotonic_ns() + NS_PER_S / 4;
	}
	json_decref(all);
	return 0;
}

enum expr_truth play_holds(const struct play *p, const struct expr *expr, char why[EXPR_WHY])
{
	const struct expr_world world = { .machine = p->world_machine, .vms = p->world_vms };

	return expr_holds(expr, &world, why);
}
