/* SPDX-License-Identifier: MIT */
/* Counters as text: see report.h.  docs/stats.md says what each counter means. */
#include <ctype.h>
#include <inttypes.h>
#include <string.h>
#include "report.h"
#include "stats.h"
#include "stats_balloon.h"
#include "stats_shadow.h"
#include "stats_stall.h"
#include "stats_swap.h"
#include "vmm/print/table.h"

#define NAME_WIDTH 22

/* ---- lines ---- */

void report_group(FILE *f, const char *name)
{
	fprintf(f, "\n%s\n", name);
}

void report_pages(FILE *f, const char *name, uint64_t pages)
{
	fprintf(f, "  %-*s %10s  %11" PRIu64 " pages\n", NAME_WIDTH, name,
		size_text(pages * QUIRE_PAGE_SIZE), pages);
}

void report_count(FILE *f, const char *name, uint64_t count)
{
	fprintf(f, "  %-*s %10" PRIu64 "\n", NAME_WIDTH, name, count);
}

void report_seconds(FILE *f, const char *name, uint64_t ns)
{
	fprintf(f, "  %-*s %10.3f s\n", NAME_WIDTH, name, (double)ns / 1e9);
}

/* A bound of a histogram, which is a power of two: three digits are enough. */
static const char *bound_text(uint64_t ns)
{
	static char text[4][24];
	static unsigned int turn;
	char *out = text[turn++ % ARRAY_SIZE(text)];

	if (ns < 10000)
		snprintf(out, sizeof(text[0]), "%" PRIu64 " ns", ns);
	else if (ns < 10000000)
		snprintf(out, sizeof(text[0]), "%" PRIu64 " us", ns / 1000);
	else
		snprintf(out, sizeof(text[0]), "%" PRIu64 " ms", ns / 1000000);
	return out;
}

void report_times(FILE *f, const char *name, const struct histogram *h)
{
	uint64_t total = histogram_total(h);

	if (!total)
		report_count(f, name, 0);
	else
		fprintf(f, "  %-*s %10" PRIu64 "  half <%s, 99 %% <%s, longest %s\n", NAME_WIDTH,
			name, total, bound_text(histogram_percentile(h, 50)),
			bound_text(histogram_percentile(h, 99)), bound_text(h->longest_ns));
}

void report_word(FILE *f, const char *name, const char *word)
{
	fprintf(f, "  %-*s %s\n", NAME_WIDTH, name, word);
}

/* ---- sums over VMs ---- */

struct totals {
	unsigned int nr_vms, silent;
	uint64_t cpu_ns, faults, orphan_pages, pool_pages, swap_cached_pages;
	struct stage2_counters s2; /* sums; members that nobody asks for stay 0 */
};

static void add_vm(struct totals *t, const struct roster_vm *vm)
{
	const struct stage2_counters *s2 = &vm->info.mem.s2;

	t->nr_vms++;
	if (!vm->answers) {
		t->silent++;
		return;
	}
	t->cpu_ns += vm->info.cpu_ns;
	t->faults += vm->info.mem.faults;
	t->orphan_pages += vm->info.mem.orphan_pages;
	t->pool_pages += vm->info.mem.pool.pool_pages;
	t->swap_cached_pages += vm->info.mem.swap.spare_pages;
	t->s2.ram_pages += s2->ram_pages;
	t->s2.tables += s2->tables;
	t->s2.large_leaves += s2->large_leaves;
	for (unsigned int i = 0; i < PG_NR_STATES; i++)
		t->s2.pages[i] += s2->pages[i];
}

/* VMs of this machine, or (machine == nr_machines) of none. */
static struct totals sum_vms(const struct roster *r, unsigned int machine)
{
	struct totals t = { 0 };

	for (unsigned int i = 0; i < r->nr_vms; i++)
		if ((r->vm[i].id ? r->vm[i].machine : r->nr_machines) == machine)
			add_vm(&t, &r->vm[i]);
	return t;
}

static void put_states(FILE *f, const struct stage2_counters *s2, uint64_t pool_pages)
{
	uint64_t resident = pool_pages;

	report_pages(f, "RAM", s2->ram_pages);
	for (unsigned int i = 0; i < PG_NR_STATES; i++) {
		report_pages(f, page_states[i].name, s2->pages[i]);
		if (page_states[i].resident)
			resident += s2->pages[i];
	}
	report_pages(f, "  compressed to", pool_pages);
	report_pages(f, "resident", resident);
	report_pages(f, "in 2 MiB leaves", s2->large_leaves * QUIRE_BLOCK_PAGES);
	report_pages(f, "stage-2 tables", s2->tables);
}

/* What the guest uses of it, once that has been estimated. */
static void put_working_set(FILE *f, const struct reclaimer_stats *r)
{
	if (!r->working_set_error_pages)
		return;
	report_pages(f, "working set", r->working_set_pages);
	report_pages(f, "  more or less", r->working_set_error_pages);
}

/* Private pages as Linux sorts those of a process, once memory was short. */
static void put_ages(FILE *f, const struct reclaimer_stats *r)
{
	if (!r->passes)
		return;
	report_pages(f, "active", r->active_pages);
	report_pages(f, "  clean", r->active_clean_pages);
	report_pages(f, "inactive", r->inactive_pages);
	report_pages(f, "  clean", r->inactive_clean_pages);
}

/* Shared pages whose frames no machine counts are rare: they have a line only if there are any. */
static void put_orphans(FILE *f, uint64_t pages)
{
	if (pages)
		report_pages(f, "of a dead machine", pages);
}

static void put_totals(FILE *f, const struct totals *t)
{
	fprintf(f, "\n%u VM%s", t->nr_vms, t->nr_vms == 1 ? "" : "s");
	if (t->silent)
		fprintf(f, ", of which %u %s not answer", t->silent,
			t->silent == 1 ? "does" : "do");
	fputc('\n', f);
	put_states(f, &t->s2, t->pool_pages);
	put_orphans(f, t->orphan_pages);
	report_count(f, "faults", t->faults);
	report_seconds(f, "processor time", t->cpu_ns);
}

/* ---- a machine ---- */

static void put_ledger(FILE *f, const struct machine_state *m)
{
	const struct machine_settings *s = &m->settings;
	static const char *const mode[] = {
		"0, refuse what is obviously too much",
		"1, refuse nothing",
		"2, refuse what is over the limit",
	};

	report_group(f, "ledger");
	fprintf(f, "  %-*s %s%s\n", NAME_WIDTH, "overcommit mode",
		s->mode < ARRAY_SIZE(mode) ? mode[s->mode] : "?",
		s->mode == 0 && s->guess ? " (estimate)" : "");
	report_pages(f, "committed", m->committed_pages);
	report_pages(f, "commit limit", m->commit_limit_pages);
	if (s->limit_in_pages)
		report_pages(f, "  set to", s->limit_pages);
	else
		fprintf(f, "  %-*s %10" PRIu32 " %%\n", NAME_WIDTH, "  ratio of memory", s->ratio);
	report_pages(f, "admin reserve", s->admin_reserve_pages);
	report_pages(f, "user reserve", s->user_reserve_pages);
	report_count(f, "admitted", m->admissions);
	report_count(f, "refused", m->refusals);
}

/* The first line is the sum of the next four; docs/overcommit.md explains them. */
static void put_budget(FILE *f, const struct machine_state *m)
{
	report_group(f, "budget: memory = free + credits + store + overhead");
	report_pages(f, "memory", m->settings.memory_pages);
	report_pages(f, "free", m->free_pages);
	report_pages(f, "credits", m->credit_pages);
	report_pages(f, "store", m->store_pages);
	if (!m->store_read_only)
		report_word(f, "  its files", "memfds, which are not read-only");
	report_pages(f, "overhead", m->overhead_pages);
	if (stats_excess_pages(m))
		report_pages(f, "excess over memory", stats_excess_pages(m));
	report_pages(f, "resident", m->resident_pages);
	report_pages(f, "swap", m->settings.swap_pages);
	report_pages(f, "  in the hands of VMs", m->swap_held_pages);
	report_pages(f, "watermark min", m->min_pages);
	report_pages(f, "watermark low", m->low_pages);
	report_pages(f, "watermark high", m->high_pages);
	report_pages(f, "reclaimed from VMs", m->reclaimed_pages);
	report_count(f, "suspensions", m->suspensions);
	report_count(f, "OOM kills", m->oom_kills);
}

void report_machine(FILE *f, const struct roster *r, unsigned int machine)
{
	const struct roster_machine *m = &r->machine[machine];
	struct totals t = sum_vms(r, machine);

	fprintf(f, "machine %s, pid %" PRId32 "\n", m->address, m->state.pid);
	put_ledger(f, &m->state);
	put_budget(f, &m->state);
	put_totals(f, &t);
}

void report_others(FILE *f, const struct roster *r)
{
	struct totals t = sum_vms(r, r->nr_machines);

	if (t.nr_vms == 0)
		return;
	fputs("guests whose machine is not found here; --machine=ADDRESS names it\n", f);
	put_totals(f, &t);
}

/* ---- a VM ---- */

static void put_account(FILE *f, const struct roster_vm *vm)
{
	const struct machine_vm_record *account = &vm->account;

	report_group(f, "account with the machine");
	report_pages(f, "committed", account->ram_pages + account->overhead_pages);
	report_pages(f, "credits", account->credit_pages);
	report_pages(f, "overhead", account->overhead_pages);
	report_pages(f, "RAM file", account->resident_pages);
	fprintf(f, "  %-*s %10" PRId32 "\n", NAME_WIDTH, "OOM score adjustment",
		account->oom_score_adj);
	if (account->asked_pages)
		report_pages(f, account->ignores ? "asked for, ignores it" : "asked for",
			     account->asked_pages);
	if (account->suspensions)
		report_count(f, "suspensions", account->suspensions);
}

static void put_faults(FILE *f, const struct gmem_stats *gs)
{
	report_group(f, "page faults");
	report_count(f, "faults", gs->faults);
	report_count(f, "  spurious", gs->faults_spurious);
	report_pages(f, "brought in", gs->faulted_in_pages);
	report_count(f, "  as 2 MiB blocks", gs->faulted_in_blocks);
	report_count(f, "  not for want of one", gs->huge_fallbacks);
	report_times(f, "waited for memory", &gs->credit_waits);
	report_seconds(f, "  in all", gs->credit_wait_ns);
	if (gs->waiting_pages)
		fprintf(f, "  %-*s %10" PRIu64 ", the first for %.3f s\n", NAME_WIDTH, "  wait now",
			gs->waiting_pages, (double)gs->waiting_ns / 1e9);
	report_pages(f, "by our own accesses", gs->accessor_pages);
	report_pages(f, "given back", gs->dropped_pages);
	report_count(f, "EFAULTs repaired", gs->efaults);
}

/* What the reclaimer did.  Distances of refaults are counted by powers of two. */
static void put_reclaim(FILE *f, const struct vm_info *info)
{
	const struct reclaimer_stats *r = &info->reclaim;
	bool on = info->reclaim_policy < RECLAIM_NR_POLICIES;
	uint64_t half = 0;
	unsigned int d = 0;

	report_group(f, "reclaim");
	report_word(f, "policy", on ? reclaim_policies[info->reclaim_policy]->name : "off");
	report_count(f, "asked by the machine", r->requests);
	report_count(f, "for waiting accesses", r->direct);
	report_count(f, "samples of all of RAM", r->passes);
	report_pages(f, "need no frame", r->given_pages);
	report_pages(f, "chosen to leave", r->chosen_pages);
	report_pages(f, "  compressed", r->gone_pages);
	report_pages(f, "  swapped out", r->swapped_pages);
	report_pages(f, "  used again just then", r->busy_pages);
	report_pages(f, "  have no other place", r->refused_pages);
	report_pages(f, "on from pool to swap", r->spilled_pages);
	report_pages(f, "came back", r->refault_pages);
	while (d < RECLAIM_DISTANCES && 2 * (half += r->refault_distances[d]) < r->refault_pages)
		d++;
	if (r->refault_pages)
		fprintf(f, "  %-*s %10s after <%" PRIu64 " others had been chosen\n", NAME_WIDTH,
			"  half of them", "", (uint64_t)1 << d);
}

static const char *holder_text(unsigned int who, const char *what)
{
	static char text[64];

	snprintf(text, sizeof(text), "%s %s", gmem_holder_name[who], what);
	for (char *p = text; *p; p++)
		*p = *p == '_' ? ' ' : *p;
	return text;
}

static void put_lock(FILE *f, const struct gmem_stats *gs)
{
	report_group(f, "lock of guest memory: who waited for it, and held it");
	for (unsigned int who = 0; who < GMEM_NR_HOLDERS; who++)
		report_times(f, holder_text(who, "waits"), &gs->waits[who]);
	for (unsigned int who = 0; who < GMEM_NR_HOLDERS; who++)
		report_times(f, holder_text(who, "holds"), &gs->holds[who]);
}

/* Each run of merged pages takes mappings, and the kernel limits how many a process may have. */
static void put_mappings(FILE *f, const struct gmem_stats *gs)
{
	report_count(f, "mappings", gs->mappings);
	report_count(f, "  at most", gs->max_mappings);
	report_count(f, "  refused to runs", gs->mapping_refusals);
	report_count(f, "  won by un-sharing", gs->mapping_reliefs);
	if (gs->mapping_refusals)
		fputs("  some pages were not merged because vm.max_map_count is too small for it\n",
		      f);
}

static void put_merging(FILE *f, const struct vm_info *info)
{
	const struct keeper_stats *k = &info->merge;

	report_group(f, "merging");
	report_word(f, "mode", stats_merge_name(k->mode));
	report_word(f, "domain", stats_domain(info));
	report_count(f, "pages merged", k->merged_pages);
	report_count(f, "pages found to be zero", k->zeroed_pages);
	report_count(f, "pages written again", info->mem.unshared_pages);
	put_orphans(f, info->mem.orphan_pages);
	report_count(f, "passes over RAM", k->full_scans);
	report_count(f, "pages looked at", k->pages_scanned);
	report_count(f, "  a second, now", k->pages_per_s);
	report_count(f, "pages passed over", k->pages_skipped);
	report_count(f, "mismatches", k->mismatches);
	report_count(f, "2 MiB put together", k->collapsed_blocks);
	put_mappings(f, &info->mem);
	report_group(f, "private pages, and why they are not merged");
	for (unsigned int r = 0; r < NOTE_NR_REASONS; r++)
		report_pages(f, stats_reason_name(r, ' '), k->reason_pages[r]);
}

static void put_exits(FILE *f, const struct vm_info *info)
{
	report_group(f, "exits");
	report_count(f, "exits", stats_exits(info));
	for (uint32_t reason = 0; reason < KVM_NR_EXITS; reason++) {
		char name[80];

		if (!info->exits[reason])
			continue;
		snprintf(name, sizeof(name), "  %s", stats_exit_name(reason));
		report_count(f, name, info->exits[reason]);
	}
	for (unsigned int i = 0; i < EMULATE_NR_ROWS; i++) {
		char name[80];

		if (!info->finished[i])
			continue;
		snprintf(name, sizeof(name), "finished %s", emulate_name(i));
		report_count(f, name, info->finished[i]);
	}
	report_count(f, "interrupted", info->interrupted_runs);
	report_count(f, "MMIO on RAM", info->mmio_on_ram);
	report_count(f, "unclaimed ports", info->unclaimed_ports);
	report_count(f, "ignored texts", info->ignored_texts);
	report_count(f, "unclaimed MMIO", info->unclaimed_mmio);
}

static void put_disks(FILE *f, const struct vm_info *info)
{
	const struct blk_stats *d = &info->disk;

	if (!info->nr_disks)
		return;
	report_group(f, "disks");
	report_count(f, "disks", info->nr_disks);
	report_count(f, "  in the page cache", info->buffered_disks);
	report_count(f, "reads", d->reads);
	fprintf(f, "  %-*s %10s\n", NAME_WIDTH, "  of", size_text(d->read_bytes));
	report_count(f, "writes", d->writes);
	fprintf(f, "  %-*s %10s\n", NAME_WIDTH, "  of", size_text(d->written_bytes));
	report_count(f, "flushes", d->flushes);
	report_count(f, "discards", d->discards);
	report_count(f, "zeroes", d->zeroes);
	report_count(f, "errors", d->errors);
	report_count(f, "refused", d->refused);
}

static void put_nets(FILE *f, const struct vm_info *info)
{
	const struct virtio_net_stats *n = &info->net;

	if (!info->nr_nets)
		return;
	report_group(f, "networks");
	report_count(f, "network cards", info->nr_nets);
	report_count(f, "received frames", n->rx_frames);
	fprintf(f, "  %-*s %10s\n", NAME_WIDTH, "  of", size_text(n->rx_bytes));
	report_count(f, "  dropped", n->rx_dropped);
	report_count(f, "sent frames", n->tx_frames);
	fprintf(f, "  %-*s %10s\n", NAME_WIDTH, "  of", size_text(n->tx_bytes));
	report_count(f, "  dropped", n->tx_dropped);
}

void report_vm(FILE *f, const struct roster *r, const struct roster_vm *vm)
{
	const struct vm_info *info = &vm->info;

	fprintf(f, "VM %s, pid %" PRIu32 ": %s, %" PRIu32 " vCPU%s", vm->name, vm->pid,
		stats_state_name(info->state), info->nr_vcpus, info->nr_vcpus == 1 ? "" : "s");
	if (vm->id)
		fprintf(f, "; number %" PRIu32 " of machine %s", vm->id,
			r->machine[vm->machine].address);
	fputc('\n', f);
	report_group(f, "memory");
	put_states(f, &info->mem.s2, info->mem.pool.pool_pages);
	put_working_set(f, &info->reclaim);
	put_ages(f, &info->reclaim);
	report_pages(f, "resident at most", info->mem.most_resident_pages);
	fprintf(f, "  %-*s %10s\n", NAME_WIDTH, "stage-2 metadata",
		size_text(info->mem.s2.metadata_bytes));
	report_count(f, "2 MiB leaves split", info->mem.s2.splits);
	report_count(f, "2 MiB leaves made", info->mem.s2.collapses);
	if (vm->id)
		put_account(f, vm);
	put_faults(f, &info->mem);
	report_stall(f, &info->mem);
	put_reclaim(f, info);
	report_swap(f, &info->mem);
	put_lock(f, &info->mem);
	put_merging(f, info);
	report_balloon(f, info);
	put_exits(f, info);
	report_shadow(f, info);
	put_disks(f, info);
	put_nets(f, info);
	report_group(f, "time");
	report_seconds(f, "up", info->run_ns);
	report_seconds(f, "set-up", info->setup_ns);
	report_seconds(f, "processor time", info->cpu_ns);
	report_seconds(f, "  of vCPUs", info->vcpu_cpu_ns);
	report_seconds(f, "  of the keeper", info->merge.cpu_ns);
}

/* ---- /proc/meminfo ---- */

static void put_kb(FILE *f, const char *name, uint64_t pages)
{
	char label[64];

	snprintf(label, sizeof(label), "%s:", name);
	fprintf(f, "%-15s %8" PRIu64 " kB\n", label, pages * (QUIRE_PAGE_SIZE / KiB));
}

/* The kernel's name for pages in this state, or ours if the kernel has no such state. */
static const char *meminfo_name(unsigned int state)
{
	static char name[32];

	if (state == PG_PRIVATE)
		return "AnonPages";
	if (state == PG_COMPRESSED)
		return "Zswapped";
	snprintf(name, sizeof(name), "%s", page_states[state].name);
	name[0] = (char)toupper((unsigned char)name[0]);
	return name;
}

void report_meminfo(FILE *f, const struct roster *r, unsigned int machine)
{
	const struct machine_state *m = &r->machine[machine].state;
	struct totals t = sum_vms(r, machine);
	uint64_t held = m->credit_pages + m->store_pages;
	uint64_t unspent = held - min_u64(m->resident_pages, held);
	uint64_t usable = m->free_pages + unspent;

	put_kb(f, "MemTotal", m->settings.memory_pages);
	put_kb(f, "MemFree", m->free_pages);
	put_kb(f, "MemAvailable", usable - min_u64(m->low_pages, usable));
	put_kb(f, "Credits", m->credit_pages);
	put_kb(f, "Store", m->store_pages);
	put_kb(f, "Overhead", m->overhead_pages);
	put_kb(f, "Excess", stats_excess_pages(m));
	put_kb(f, "SwapCached", t.swap_cached_pages);
	put_kb(f, "SwapTotal", m->settings.swap_pages);
	put_kb(f, "SwapFree",
	       m->settings.swap_pages - min_u64(m->swap_held_pages, m->settings.swap_pages));
	put_kb(f, "Zswap", t.pool_pages);
	for (unsigned int i = 0; i < PG_NR_STATES; i++)
		put_kb(f, meminfo_name(i), t.s2.pages[i]);
	put_kb(f, "PageTables", t.s2.tables);
	put_kb(f, "CommitLimit", m->commit_limit_pages);
	put_kb(f, "Committed_AS", m->committed_pages);
	put_kb(f, "AnonHugePages", t.s2.large_leaves * QUIRE_BLOCK_PAGES);
	put_kb(f, "GuestTotal", t.s2.ram_pages);
}
