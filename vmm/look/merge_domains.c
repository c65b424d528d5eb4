/* SPDX-License-Identifier: MIT */
/*
 * Domains: see merge_domains.h.
 *
 * A domain without a name belongs to one VM.  The table shows the VM's name for it, in parentheses.
 */
#include <inttypes.h>
#include <stdlib.h>
#include "mmu/machine/client.h"
#include "vmm/print/json.h"
#include "merge_domains.h"
#include "report.h"
#include "vmm/print/table.h"

static void take(void *ctx, uint32_t id, const struct machine_domain_record *record)
{
	struct merge_domains *d = ctx;
	struct merge_domain *domain = reallocarray(d->domain, d->nr + 1, sizeof(*domain));

	if (!domain) {
		d->failed = true;
		return;
	}
	d->domain = domain;
	domain += d->nr++;
	*domain = (struct merge_domain){ d->machine, id, *record };
	domain->record.name[MACHINE_NAME_MAX] = '\0';
}

void merge_domains_ask(struct merge_domains *d, unsigned int machine, struct machine_client *client)
{
	d->machine = machine;
	machine_client_domains(client, take, d, NULL);
}

void merge_domains_finish(struct merge_domains *d)
{
	free(d->domain);
	*d = (struct merge_domains){ 0 };
}

/*
 * The domain's name; "-" if what the machine says is no name, so that a terminal is safe from it.
 */
static const char *name_of(const struct merge_domain *domain)
{
	return ctl_name_is_good(domain->record.name) ? domain->record.name : "-";
}

/* The VM to which a domain without a name belongs. */
static const char *owner_of(const struct merge_domain *domain, const struct roster *r)
{
	for (unsigned int i = 0; i < r->nr_vms; i++)
		if (r->vm[i].id == domain->record.vm && r->vm[i].machine == domain->machine)
			return r->vm[i].name;
	return "-";
}

static void put_head(struct table *t, const struct roster *r)
{
	static const char *const number[] = {
		"VMS",	   "SHARED",   "SHARING",   "SAVED", "WAITING",
		"LOOKUPS", "PROMOTED", "NO MEMORY", "INDEX", "STORE",
	};

	if (r->nr_machines > 1)
		table_column(t, "MACHINE", false);
	table_column(t, "DOMAIN", false);
	for (unsigned int i = 0; i < ARRAY_SIZE(number); i++)
		table_column(t, number[i], true);
}

static void put_row(struct table *t, const struct merge_domain *domain, const struct roster *r)
{
	const struct machine_domain_record *d = &domain->record;

	if (r->nr_machines > 1)
		table_cell(t, "%s", roster_short_address(&r->machine[domain->machine]));
	if (d->name[0])
		table_cell(t, "%s", name_of(domain));
	else
		table_cell(t, "(%s)", owner_of(domain, r));
	table_cell(t, "%" PRIu32, d->members);
	table_cell(t, "%" PRIu64, d->pages_shared);
	table_cell(t, "%" PRIu64, d->pages_sharing);
	table_cell(t, "%s", size_text(d->pages_sharing * QUIRE_PAGE_SIZE));
	table_cell(t, "%" PRIu64, d->hints);
	table_cell(t, "%" PRIu64, d->lookups);
	table_cell(t, "%" PRIu64, d->promotions);
	table_cell(t, "%" PRIu64, d->no_memory);
	table_cell(t, "%s", size_text(d->index_bytes));
	table_cell(t, "%s", size_text(d->store_bytes));
}

int merge_domains_text(FILE *f, const struct merge_domains *d, const struct roster *r)
{
	struct table t = { 0 };
	int code;

	if (!d->nr)
		return 0;
	report_group(f, "domains");
	put_head(&t, r);
	for (unsigned int i = 0; i < d->nr; i++)
		put_row(&t, &d->domain[i], r);
	code = table_print(&t, f);
	table_finish(&t);
	return code;
}

static void put_object(struct json *json, const struct merge_domain *domain, const struct roster *r)
{
	const struct machine_domain_record *d = &domain->record;

	json_begin_object(json, NULL);
	json_text(json, "machine", r->machine[domain->machine].address);
	json_number(json, "id", domain->id);
	if (d->name[0])
		json_text(json, "name", name_of(domain));
	else
		json_text(json, "vm", owner_of(domain, r));
	json_number(json, "vms", d->members);
	json_number(json, "pages_shared", d->pages_shared);
	json_number(json, "pages_sharing", d->pages_sharing);
	json_pages(json, "saved_bytes", d->pages_sharing);
	json_number(json, "waiting_pages", d->hints);
	json_number(json, "lookup_pages", d->lookups);
	json_number(json, "promoted_pages", d->promotions);
	json_number(json, "no_memory_pages", d->no_memory);
	json_number(json, "collision_pages", d->collisions);
	json_number(json, "archived_pages", d->archived);
	json_number(json, "archive_pages", d->archives);
	json_number(json, "index_metadata_bytes", d->index_bytes);
	json_number(json, "store_metadata_bytes", d->store_bytes);
	json_end_object(json);
}

void merge_domains_json(struct json *json, const struct merge_domains *d, const struct roster *r)
{
	json_begin_array(json, "domains");
	for (unsigned int i = 0; i < d->nr; i++)
		put_object(json, &d->domain[i], r);
	json_end_array(json);
}
