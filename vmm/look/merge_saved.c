/* SPDX-License-Identifier: MIT */
/* What merging saves: see merge_saved.h. */
#include <inttypes.h>
#include <string.h>
#include "mmu/machine/client.h"
#include "merge_domains.h"
#include "merge_saved.h"
#include "stats.h"
#include "vmm/print/table.h"

static const struct roster_vm *find_vm(const struct roster *r, uint32_t pid)
{
	for (unsigned int i = 0; i < r->nr_vms; i++)
		if (r->vm[i].pid == pid && r->vm[i].id)
			return &r->vm[i];
	return NULL;
}

/* Does this VM share within this domain? */
static bool is_within(const struct merge_domain *domain, const struct roster_vm *vm)
{
	const struct machine_domain_record *d = &domain->record;

	if (vm->machine != domain->machine)
		return false;
	return d->name[0] ? !strcmp(d->name, vm->account.domain) : d->vm == vm->id;
}

static bool has_one_of(const struct merge_domain *domain, const struct roster *r,
		       const struct vm_info *const *vm, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++) {
		const struct roster_vm *found = find_vm(r, vm[i]->pid);

		if (found && is_within(domain, found))
			return true;
	}
	return false;
}

static void ask_machines(struct merge_domains *domains, const struct roster *r)
{
	for (unsigned int i = 0; i < r->nr_machines; i++) {
		struct machine_client *client;

		if (machine_client_look(r->machine[i].address, &client, NULL, NULL))
			continue;
		merge_domains_ask(domains, i, client);
		machine_client_destroy(client);
	}
}

static void add_up(const struct roster *r, const struct vm_info *const *vm, unsigned int nr,
		   struct merge_saved *out, unsigned int *unknown)
{
	struct merge_domains domains = { 0 };

	ask_machines(&domains, r);
	for (unsigned int i = 0; i < domains.nr; i++) {
		const struct machine_domain_record *d = &domains.domain[i].record;

		if (!has_one_of(&domains.domain[i], r, vm, nr))
			continue;
		out->pages += d->pages_shared + d->pages_sharing;
		out->frames += d->pages_shared;
	}
	for (unsigned int i = 0; i < nr; i++) {
		out->zero_pages += stats_state_pages(vm[i], "zero");
		*unknown += !find_vm(r, vm[i]->pid) && vm[i]->merge.joined;
	}
	merge_domains_finish(&domains);
}

int merge_saved_find(const struct vm_info *const *vm, unsigned int nr, struct merge_saved *out,
		     unsigned int *unknown, struct quire_error *err)
{
	struct roster r = { .warn = NULL };
	int code = roster_find_machines(&r, NULL, err);

	*out = (struct merge_saved){ 0 };
	*unknown = 0;
	if (!code)
		code = roster_find_vms(&r, false, false, err);
	if (!code)
		add_up(&r, vm, nr, out, unknown);
	roster_finish(&r);
	return code;
}

static const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

void merge_saved_text(FILE *f, const struct merge_saved *s, const char *word)
{
	uint64_t saved = s->pages - min_u64(s->frames, s->pages);

	fprintf(f, "%" PRIu64 " page%s %s %" PRIu64 " frame%s: %s saved; ", s->pages,
		plural(s->pages), word, s->frames, plural(s->frames),
		size_text(saved * QUIRE_PAGE_SIZE));
	fprintf(f, "%" PRIu64 " page%s of zeroes: %s saved\n", s->zero_pages, plural(s->zero_pages),
		size_text(s->zero_pages * QUIRE_PAGE_SIZE));
}
