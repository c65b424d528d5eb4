/* SPDX-License-Identifier: MIT */
/* VMs at their end, as JSON: see stats_end.h. */
#include <inttypes.h>
#include <string.h>
#include "vmm/print/json.h"
#include "stats_end.h"

struct stats_vm stats_of_end(const struct launch_end *end, uint32_t nr_vcpus, uint64_t ram_bytes)
{
	struct stats_vm vm = {
		.info = end->info,
		.end = end,
		.nr_vcpus = nr_vcpus,
		.ram_bytes = ram_bytes,
	};

	if (end->gone)
		vm.account = (struct stats_account){
			.machine = end->machine,
			.id = end->id,
			.record = &end->gone->last,
		};
	return vm;
}

/* ---- refused ---- */

/* Mode 1 has no limit, and numbers without a limit are left out. */
static void put_ledger(struct json *json, const struct machine_refusal *r)
{
	json_number(json, "overcommit_mode", r->mode);
	json_pages(json, "request_bytes", r->request_pages);
	json_pages(json, "committed_bytes", r->committed_pages);
	if (r->allowed_pages < MACHINE_PAGES_MAX)
		json_pages(json, "allowed_bytes", r->allowed_pages);
	if (r->mode != OVERCOMMIT_NEVER || r->limit_pages >= MACHINE_PAGES_MAX)
		return;
	json_pages(json, "commit_limit_bytes", r->limit_pages);
	json_pages(json, "admin_reserve_bytes", r->admin_reserve_pages);
	json_pages(json, "user_reserve_bytes", r->user_reserve_pages);
}

static void put_budget(struct json *json, const struct machine_refusal *r)
{
	json_pages(json, "request_bytes", r->request_pages);
	json_pages(json, "free_bytes", r->free_pages);
	json_pages(json, "min_bytes", r->min_pages);
}

static void put_refusal(struct json *json, const struct launch_end *end)
{
	const struct machine_refusal *r = end->refusal;

	json_begin_object(json, "refused");
	json_text(json, "by",
		  r->book == MACHINE_LEDGER ? "ledger" :
		  r->book == MACHINE_BUDGET ? "budget" :
					      "machine");
	json_text(json, "text", end->text);
	if (r->book == MACHINE_LEDGER)
		put_ledger(json, r);
	else if (r->book == MACHINE_BUDGET)
		put_budget(json, r);
	json_end_object(json);
}

/* ---- killed ---- */

static const char *killer(const struct launch_end *end)
{
	if (end->gone && end->gone->reason == MACHINE_OOM)
		return "out of memory";
	if (end->gone && end->gone->reason == MACHINE_MISBEHAVED)
		return "broke the rules";
	if (end->gone && end->gone->reason == MACHINE_EXCEEDED)
		return "exceeded its charge";
	return end->overdue ? "overdue" : "signal";
}

static void put_kill(struct json *json, const struct launch_end *end)
{
	const struct machine_gone *gone = end->gone;
	char signal[32];

	snprintf(signal, sizeof(signal), "SIG%s",
		 sigabbrev_np(end->signal) ? sigabbrev_np(end->signal) : "?");
	json_begin_object(json, "killed");
	json_text(json, "why", killer(end));
	json_text(json, "signal", signal);
	if (gone && gone->reason == MACHINE_OOM) {
		json_signed(json, "badness", gone->badness);
		json_pages(json, "held_bytes",
			   max_u64(gone->had.resident_pages, gone->had.credit_pages));
		json_pages(json, "store_alone_bytes", gone->had.alone_pages);
		json_pages(json, "store_share_bytes", gone->had.share_pages);
		json_pages(json, "needed_bytes", gone->need_pages);
		json_pages(json, "free_bytes", gone->free_pages);
		json_pages(json, "min_bytes", gone->min_pages);
	}
	json_end_object(json);
}

/* ---- all ---- */

void stats_end(struct json *json, const struct stats_vm *vm)
{
	static const char *const state[] = {
		[LAUNCH_NOT_STARTED] = "not started",
		[LAUNCH_REFUSED] = "refused",
		[LAUNCH_KILLED] = "killed",
		[LAUNCH_ENDED] = "ended",
	};
	const struct launch_end *end = vm->end;

	json_text(json, "name", end->name);
	if (end->pid)
		json_number(json, "pid", (uint64_t)end->pid);
	json_text(json, "state", state[end->how]);
	if (end->how != LAUNCH_NOT_STARTED || end->status)
		json_number(json, "exit_status", (uint64_t)end->status);
	json_number(json, "vcpus", vm->nr_vcpus);
	json_number(json, "ram_bytes", vm->ram_bytes);
	if (end->how == LAUNCH_REFUSED)
		put_refusal(json, end);
	if (end->how == LAUNCH_KILLED)
		put_kill(json, end);
}
