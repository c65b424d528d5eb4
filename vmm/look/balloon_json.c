/* SPDX-License-Identifier: MIT */
/* quire balloon --json: quire.balloon/1, which docs/stats.md describes. */
#include <errno.h>
#include "mmu/machine/balloon_policy.h"
#include "balloon_json.h"
#include "vmm/print/json.h"
#include "stats_balloon.h"

int balloon_decisions(struct machine_client *machine, uint32_t vm, struct machine_decision *out,
		      unsigned int *nr, struct quire_error *err)
{
	int code = 0;

	*nr = 0;
	while (!code && *nr < BALLOON_LOG_SIZE) {
		code = machine_client_balloon_why(machine, vm, *nr, &out[*nr], err);
		*nr += !code;
	}
	return code == -ENOENT ? 0 : code;
}

static void put_decision(struct json *json, const struct machine_decision *decision)
{
	const struct balloon_decision *d = &decision->what;
	const char *reason = balloon_reason_name(d->reason);
	char text[512];

	json_begin_object(json, NULL);
	json_text(json, "reason", reason ? reason : "?");
	if (reason) {
		balloon_describe(d, text, sizeof(text));
		json_text(json, "text", text);
	}
	json_number(json, "ago_ns", decision->now_ns - min_u64(d->last_ns, decision->now_ns));
	json_number(json, "ticks", d->ticks);
	json_number(json, "from_pages", d->from_pages);
	json_number(json, "to_pages", d->to_pages);
	json_number(json, "actual_pages", d->actual_pages);
	json_number(json, "resident_pages", d->resident_pages);
	json_number(json, "available_pages", d->available_pages);
	json_number(json, "active_pages", d->active_pages);
	json_number(json, "margin_pages", d->margin_pages);
	json_number(json, "limit_pages", d->limit_pages);
	json_number(json, "charge_pages", d->charge_pages);
	json_number(json, "shares", d->shares);
	json_number(json, "machine_free_pages", d->free_pages);
	json_number(json, "machine_wants_pages", d->short_pages);
	json_number(json, "quiet_ns", d->quiet_ns);
	json_end_object(json);
}

/* The newest last, as in the text. */
static void put_decisions(struct json *json, struct machine_client *machine, uint32_t vm)
{
	struct machine_decision decision[BALLOON_LOG_SIZE];
	unsigned int nr;

	if (balloon_decisions(machine, vm, decision, &nr, NULL))
		return;
	json_begin_array(json, "decisions");
	while (nr--)
		put_decision(json, &decision[nr]);
	json_end_array(json);
}

static void put_policy(struct json *json, const struct machine_balloon_state *state)
{
	json_begin_object(json, "policy");
	json_number(json, "manual", state->manual);
	json_number(json, "shares", state->shares);
	json_number(json, "min_pages", state->min_pages);
	json_number(json, "target_pages", state->target_pages);
	json_end_object(json);
}

/* A machine that ends meanwhile is as one that is not found. */
static void put_machine(struct json *json, const struct roster *r, const struct roster_vm *vm,
			bool why)
{
	const char *address = r->machine[vm->machine].address;
	struct machine_balloon_state state;
	struct machine_client *machine;

	json_text(json, "machine", address);
	json_number(json, "id", vm->id);
	if (machine_client_look(address, &machine, NULL, NULL))
		return;
	if (!machine_client_balloon_get(machine, vm->id, &state, NULL)) {
		put_policy(json, &state);
		if (why)
			put_decisions(json, machine, vm->id);
	}
	machine_client_destroy(machine);
}

static void put_vm(struct json *json, const struct roster *r, const struct roster_vm *vm, bool why)
{
	const struct balloon_record *b = &vm->info.balloon;
	uint64_t ram = vm->info.mem.s2.ram_pages;

	json_begin_object(json, NULL);
	json_text(json, "name", vm->name);
	json_number(json, "pid", vm->pid);
	json_number(json, "ram_pages", ram);
	json_number(json, "guest_pages", ram - min_u64(b->actual, ram));
	stats_balloon(json, &vm->info);
	if (vm->id)
		put_machine(json, r, vm, why);
	json_end_object(json);
}

void balloon_json(FILE *f, const struct roster *r, bool why)
{
	struct json json;

	json_init(&json, f);
	json_begin_object(&json, NULL);
	json_text(&json, "schema", "quire.balloon/1");
	json_begin_array(&json, "vms");
	for (unsigned int i = 0; i < r->nr_vms; i++)
		if (r->vm[i].answers)
			put_vm(&json, r, &r->vm[i], why);
	json_end_array(&json);
	json_end_object(&json);
}
