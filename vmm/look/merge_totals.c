/* SPDX-License-Identifier: MIT */
/*
 * Totals of merging: see merge_totals.h.
 *
 * A VM knows its own pages, and a machine knows the frames that its VMs share.  Only a machine can
 * tell an operator how many pages are equal to pages of another domain.  It does not tell a VM,
 * which would learn what others have.
 */
#include <errno.h>
#include <inttypes.h>
#include "mmu/machine/client.h"
#include "vmm/print/json.h"
#include "merge_saved.h"
#include "merge_totals.h"
#include "report.h"
#include "stats.h"
#include "vmm/print/table.h"

/* ---- sums ---- */

static void add_keeper(struct merge_totals *t, const struct keeper_stats *k)
{
	t->vms[k->mode]++;
	t->pages_scanned += k->pages_scanned;
	t->pages_skipped += k->pages_skipped;
	t->full_scans += k->full_scans;
	t->merged_pages += k->merged_pages;
	t->zeroed_pages += k->zeroed_pages;
	t->mismatches += k->mismatches;
	t->collapsed_blocks += k->collapsed_blocks;
	t->cpu_ns += k->cpu_ns;
	t->metadata_bytes += k->metadata_bytes;
}

static void add_vm(struct merge_totals *t, const struct vm_info *info)
{
	add_keeper(t, &info->merge);
	t->zero_pages += stats_state_pages(info, "zero");
	t->orphan_pages += info->mem.orphan_pages;
	t->cow_breaks += info->mem.unshared_pages;
	t->private_pages += info->mem.s2.pages[PG_PRIVATE];
	if (info->merge.mode == KEEPER_OFF)
		t->off_pages += info->mem.s2.pages[PG_PRIVATE];
	else
		for (unsigned int r = 0; r < NOTE_NR_REASONS; r++)
			t->reason_pages[r] += info->merge.reason_pages[r];
}

/* A unique page that another domain has too counts as "other domain" instead. */
static void add_elsewhere(struct merge_totals *t, struct machine_client *client,
			  const struct roster_vm *vm)
{
	uint64_t pages;

	if (!vm->answers || vm->info.merge.mode == KEEPER_OFF ||
	    machine_client_elsewhere(client, vm->id, &pages, NULL))
		return;
	pages = min_u64(pages, vm->info.merge.reason_pages[NOTE_UNIQUE]);
	t->other_domain_pages += pages;
	t->reason_pages[NOTE_UNIQUE] -= pages;
}

static void add_machine(struct merge_totals *t, const struct roster *r, unsigned int machine)
{
	const struct machine_state *state = &r->machine[machine].state;
	struct machine_client *client;

	t->pages_shared += state->store_pages;
	t->pages_sharing +=
		state->store_references - min_u64(state->store_references, state->store_pages);
	t->metadata_bytes += state->merge_metadata_bytes;
	if (machine_client_look(r->machine[machine].address, &client, NULL, NULL))
		return;
	merge_domains_ask(&t->domains, machine, client);
	for (unsigned int i = 0; i < r->nr_vms; i++)
		if (r->vm[i].id && r->vm[i].machine == machine)
			add_elsewhere(t, client, &r->vm[i]);
	machine_client_destroy(client);
}

int merge_totals(const struct roster *r, struct merge_totals *out)
{
	*out = (struct merge_totals){ 0 };
	for (unsigned int i = 0; i < r->nr_vms; i++) {
		const struct roster_vm *vm = &r->vm[i];

		if (vm->answers)
			add_vm(out, &vm->info);
		else
			out->silent++;
		out->elsewhere += vm->answers && !vm->id && vm->info.merge.joined;
	}
	for (unsigned int i = 0; i < r->nr_machines; i++)
		add_machine(out, r, i);
	return out->domains.failed ? -ENOMEM : 0;
}

void merge_totals_finish(struct merge_totals *t)
{
	merge_domains_finish(&t->domains);
}

/* The memory that merging saves, less the memory that finding equal pages takes. */
static int64_t profit(const struct merge_totals *t)
{
	return (int64_t)((t->pages_sharing + t->zero_pages) * QUIRE_PAGE_SIZE - t->metadata_bytes);
}

/* ---- forms ---- */

static void put_profit(FILE *f, int64_t bytes)
{
	report_group(f, "balance");
	fprintf(f, "  %-22s %s%s  %" PRId64 " bytes\n", "general_profit_bytes",
		bytes < 0 ? "-" : "", size_text((uint64_t)(bytes < 0 ? -bytes : bytes)), bytes);
}

static void put_reasons(FILE *f, const struct merge_totals *t)
{
	report_group(f, "private pages, and why they are not merged");
	for (unsigned int r = 0; r < NOTE_NR_REASONS; r++) {
		report_pages(f, stats_reason_name(r, ' '), t->reason_pages[r]);
		if (r == NOTE_UNIQUE)
			report_pages(f, "other domain", t->other_domain_pages);
	}
	report_pages(f, "merging is off", t->off_pages);
	report_pages(f, "private", t->private_pages);
}

int merge_totals_text(FILE *f, const struct merge_totals *t, const struct roster *r)
{
	struct merge_saved saved = { .pages = t->pages_shared + t->pages_sharing,
				     .frames = t->pages_shared,
				     .zero_pages = t->zero_pages };

	fprintf(f, "%u VM%s merge%s, %u only pages of zeroes, %u not at all", t->vms[KEEPER_ON],
		t->vms[KEEPER_ON] == 1 ? "" : "s", t->vms[KEEPER_ON] == 1 ? "s" : "",
		t->vms[KEEPER_ZERO], t->vms[KEEPER_OFF]);
	if (t->silent)
		fprintf(f, "; %u %s not answer", t->silent, t->silent == 1 ? "does" : "do");
	fputc('\n', f);
	merge_saved_text(f, &saved, "share");
	if (t->elsewhere)
		fprintf(f,
			"of %u the machine is not found here, and what they share is not counted; "
			"see --machine\n",
			t->elsewhere);
	report_group(f, "now");
	report_pages(f, "pages_shared", t->pages_shared);
	report_pages(f, "pages_sharing", t->pages_sharing);
	report_pages(f, "zero_pages", t->zero_pages);
	report_pages(f, "orphan_pages", t->orphan_pages);
	report_pages(f, "pages_unshared", t->reason_pages[NOTE_UNIQUE] + t->other_domain_pages);
	report_pages(f, "pages_volatile", t->reason_pages[NOTE_VOLATILE]);
	put_profit(f, profit(t));
	report_group(f, "so far");
	report_count(f, "full_scans", t->full_scans);
	report_count(f, "pages_scanned", t->pages_scanned);
	report_count(f, "pages_skipped", t->pages_skipped);
	report_count(f, "merged_pages", t->merged_pages);
	report_count(f, "zeroed_pages", t->zeroed_pages);
	report_count(f, "cow_breaks", t->cow_breaks);
	report_count(f, "merge_mismatches", t->mismatches);
	report_count(f, "collapsed_blocks", t->collapsed_blocks);
	report_seconds(f, "processor time", t->cpu_ns);
	put_reasons(f, t);
	return merge_domains_text(f, &t->domains, r);
}

static void json_reasons(struct json *json, const struct merge_totals *t)
{
	char key[64];

	json_number(json, "private_pages", t->private_pages);
	for (unsigned int r = 0; r < NOTE_NR_REASONS; r++) {
		snprintf(key, sizeof(key), "reason_%s_pages", stats_reason_name(r, '_'));
		json_number(json, key, t->reason_pages[r]);
	}
	json_number(json, "reason_other_domain_pages", t->other_domain_pages);
	json_number(json, "reason_off_pages", t->off_pages);
}

void merge_totals_json(FILE *f, const struct merge_totals *t, const struct roster *r)
{
	struct json json;

	json_init(&json, f);
	json_begin_object(&json, NULL);
	json_text(&json, "schema", "quire.merge/1");
	json_number(&json, "vms_on", t->vms[KEEPER_ON]);
	json_number(&json, "vms_zero", t->vms[KEEPER_ZERO]);
	json_number(&json, "vms_off", t->vms[KEEPER_OFF]);
	json_number(&json, "vms_silent", t->silent);
	json_number(&json, "vms_elsewhere", t->elsewhere);
	json_number(&json, "pages_shared", t->pages_shared);
	json_number(&json, "pages_sharing", t->pages_sharing);
	json_number(&json, "zero_pages", t->zero_pages);
	json_number(&json, "orphan_pages", t->orphan_pages);
	json_number(&json, "pages_unshared", t->reason_pages[NOTE_UNIQUE] + t->other_domain_pages);
	json_number(&json, "pages_volatile", t->reason_pages[NOTE_VOLATILE]);
	json_signed(&json, "general_profit_bytes", profit(t));
	json_number(&json, "full_scans", t->full_scans);
	json_number(&json, "pages_scanned", t->pages_scanned);
	json_number(&json, "pages_skipped", t->pages_skipped);
	json_number(&json, "merged_pages", t->merged_pages);
	json_number(&json, "zeroed_pages", t->zeroed_pages);
	json_number(&json, "cow_breaks", t->cow_breaks);
	json_number(&json, "merge_mismatches", t->mismatches);
	json_number(&json, "collapsed_blocks", t->collapsed_blocks);
	json_number(&json, "keeper_cpu_ns", t->cpu_ns);
	json_number(&json, "merge_metadata_bytes", t->metadata_bytes);
	json_reasons(&json, t);
	merge_domains_json(&json, &t->domains, r);
	json_end_object(&json);
}
