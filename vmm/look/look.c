/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include "mmu/base/clock.h"
#include "look.h"

const struct roster_machine *look_machine(const struct roster *r)
{
	if (r->nr_machines == 1)
		return &r->machine[0];
	for (unsigned int i = 0; i < r->nr_machines; i++)
		if (r->machine[i].is_default)
			return &r->machine[i];
	return NULL;
}

int look_take(struct look *out, const char *address, void (*warn)(const char *text),
	      struct quire_error *err)
{
	int code;

	*out = (struct look){ .roster.warn = warn, .at_ns = monotonic_ns() };
	code = roster_find_machines(&out->roster, address, err);
	if (!code)
		code = roster_find_vms(&out->roster, address != NULL, false, err);
	if (code)
		look_finish(out);
	else
		out->machine = look_machine(&out->roster);
	return code;
}

void look_finish(struct look *look)
{
	roster_finish(&look->roster);
	look->machine = NULL;
}

struct stats_vm look_stats(const struct roster *r, const struct roster_vm *vm)
{
	struct stats_vm stats = { .info = &vm->info };

	if (vm->id)
		stats.account = (struct stats_account){
			.machine = r->machine[vm->machine].address,
			.id = vm->id,
			.record = &vm->account,
		};
	return stats;
}

int look_document(FILE *f, const struct roster *r, const struct roster_machine *machine)
{
	struct stats_vm *vm = calloc(r->nr_vms + 1, sizeof(*vm));
	unsigned int nr = 0;
	int code;

	if (!vm)
		return -ENOMEM;
	for (unsigned int i = 0; i < r->nr_vms; i++)
		if (r->vm[i].answers)
			vm[nr++] = look_stats(r, &r->vm[i]);
	code = stats_document(f, machine ? &machine->state : NULL, vm, nr);
	free(vm);
	return code;
}
