/* SPDX-License-Identifier: MIT */
/* The counters of VMs and of their machine as JSON: see stats.h. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>
#include "vmm/print/json.h"
#include "stats.h"
#include "stats_balloon.h"
#include "stats_shadow.h"
#include "stats_end.h"
#include "stats_stall.h"
#include "stats_swap.h"

/* ---- derived numbers ---- */

uint64_t stats_resident_pages(const struct vm_info *info)
{
	uint64_t pages = info->mem.pool.pool_pages;

	for (unsigned int i = 0; i < PG_NR_STATES; i++)
		if (page_states[i].resident)
			pages += info->mem.s2.pages[i];
	return pages;
}

uint64_t stats_excess_pages(const struct machine_state *m)
{
	uint64_t used = m->credit_pages + m->store_pages + m->overhead_pages;

	return used - min_u64(used, m->settings.memory_pages);
}

uint64_t stats_exits(const struct vm_info *info)
{
	uint64_t total = 0;

	for (unsigned int r = 0; r < KVM_NR_EXITS; r++)
		total += info->exits[r];
	return total;
}

/* Makes "io" of "KVM_EXIT_IO". */
const char *stats_exit_name(uint32_t reason)
{
	static char name[64];

	if (!strcmp(kvm_exit_name(reason), "unknown"))
		snprintf(name, sizeof(name), "reason_%u", reason);
	else
		snprintf(name, sizeof(name), "%s", kvm_exit_name(reason) + strlen("KVM_EXIT_"));
	for (char *p = name; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return name;
}

const char *stats_state_name(uint32_t state)
{
	static const char *const name[VM_NR_STATES] = {
		[VM_RUNNING] = "running",     [VM_PAUSING] = "pausing", [VM_PAUSED] = "paused",
		[VM_SUSPENDED] = "suspended", [VM_ENDED] = "ended",
	};

	return state < VM_NR_STATES ? name[state] : "?";
}

const char *stats_merge_name(uint32_t mode)
{
	static const char *const name[KEEPER_NR_MODES] = {
		[KEEPER_OFF] = "off",
		[KEEPER_ZERO] = "zero",
		[KEEPER_ON] = "on",
	};

	return mode < KEEPER_NR_MODES ? name[mode] : "?";
}

const char *stats_domain(const struct vm_info *info)
{
	return info->domain[0] ? info->domain : "none";
}

const char *stats_reason_name(unsigned int reason, char blank)
{
	static char name[32];

	snprintf(name, sizeof(name), "%s", note_reason_name[reason]);
	for (char *p = name; *p; p++)
		if (!isalnum((unsigned char)*p))
			*p = blank;
	return name;
}

uint64_t stats_state_pages(const struct vm_info *info, const char *name)
{
	for (unsigned int i = 0; i < PG_NR_STATES; i++)
		if (!strcmp(page_states[i].name, name))
			return info->mem.s2.pages[i];
	return 0;
}

/* ---- the machine ---- */

static void ledger_stats(struct json *json, const struct machine_state *m)
{
	const struct machine_settings *s = &m->settings;

	json_number(json, "overcommit_mode", s->mode);
	json_number(json, "overcommit_estimate", s->guess);
	json_number(json, "overcommit_ratio_percent", s->ratio);
	if (s->limit_in_pages)
		json_pages(json, "overcommit_bytes", s->limit_pages);
	json_pages(json, "commit_limit_bytes", m->commit_limit_pages);
	json_pages(json, "committed_bytes", m->committed_pages);
	json_pages(json, "reserved_huge_bytes", s->reserved_huge_pages);
	json_pages(json, "admin_reserve_bytes", s->admin_reserve_pages);
	json_pages(json, "user_reserve_bytes", s->user_reserve_pages);
	json_number(json, "admissions", m->admissions);
	json_number(json, "refusals", m->refusals);
}

static void budget_stats(struct json *json, const struct machine_state *m)
{
	json_pages(json, "memory_bytes", m->settings.memory_pages);
	json_pages(json, "free_bytes", m->free_pages);
	json_pages(json, "credit_bytes", m->credit_pages);
	json_pages(json, "store_bytes", m->store_pages);
	json_pages(json, "overhead_bytes", m->overhead_pages);
	json_pages(json, "excess_bytes", stats_excess_pages(m));
	json_pages(json, "resident_bytes", m->resident_pages);
	json_pages(json, "swap_bytes", m->settings.swap_pages);
	json_pages(json, "swap_held_bytes", m->swap_held_pages);
	json_number(json, "store_references", m->store_references);
	json_number(json, "store_read_only", m->store_read_only);
	json_number(json, "domains", m->nr_domains);
	json_number(json, "merge_metadata_bytes", m->merge_metadata_bytes);
	json_pages(json, "min_bytes", m->min_pages);
	json_pages(json, "low_bytes", m->low_pages);
	json_pages(json, "high_bytes", m->high_pages);
	json_number(json, "oom_kills", m->oom_kills);
	json_pages(json, "reclaimed_bytes", m->reclaimed_pages);
	json_number(json, "reclaimers", m->nr_reclaimers);
	json_number(json, "suspensions", m->suspensions);
	json_number(json, "suspended", m->nr_suspended);
}

void stats_machine(struct json *json, const struct machine_state *m)
{
	long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	json_number(json, "host_memory_bytes", (uint64_t)pages * (uint64_t)bytes);
	json_number(json, "host_cpus", (uint64_t)cpus);
	if (!m)
		return;
	json_number(json, "pid", (uint64_t)m->pid);
	json_number(json, "vms", m->nr_vms);
	ledger_stats(json, m);
	budget_stats(json, m);
}

/* ---- a VM ---- */

void stats_times(struct json *json, const char *name, const struct histogram *h)
{
	char key[64];

	json_begin_object(json, name);
	for (unsigned int n = 0; n < HISTOGRAM_BUCKETS; n++) {
		if (!h->count[n])
			continue;
		snprintf(key, sizeof(key), "below_%" PRIu64 "_ns", histogram_bound(n));
		json_number(json, key, h->count[n]);
	}
	if (histogram_total(h))
		json_number(json, "longest_ns", h->longest_ns);
	json_end_object(json);
}

/* Every page is in exactly one state, so the states add up to ram_pages. */
static void page_stats(struct json *json, const struct vm_info *info)
{
	const struct stage2_counters *s2 = &info->mem.s2;
	char key[64];

	json_number(json, "ram_pages", s2->ram_pages);
	for (unsigned int i = 0; i < PG_NR_STATES; i++) {
		snprintf(key, sizeof(key), "state_%s_pages", page_states[i].name);
		json_number(json, key, s2->pages[i]);
	}
	json_pages(json, "resident_bytes", stats_resident_pages(info));
	json_pages(json, "most_resident_bytes", info->mem.most_resident_pages);
	json_number(json, "metadata_bytes", s2->metadata_bytes);
	json_number(json, "table_pages", s2->tables);
	json_number(json, "large_leaves", s2->large_leaves);
	json_number(json, "splits", s2->splits);
	json_number(json, "collapses", s2->collapses);
}

static void fault_stats(struct json *json, const struct gmem_stats *gs)
{
	json_number(json, "faults", gs->faults);
	json_number(json, "spurious_faults", gs->faults_spurious);
	json_number(json, "faulted_in_pages", gs->faulted_in_pages);
	json_number(json, "faulted_in_blocks", gs->faulted_in_blocks);
	json_number(json, "huge_fallbacks", gs->huge_fallbacks);
	json_number(json, "waiting_pages", gs->waiting_pages);
	json_number(json, "waiting_ns", gs->waiting_ns);
	stats_times(json, "credit_waits", &gs->credit_waits);
	json_number(json, "credit_wait_ns", gs->credit_wait_ns);
	json_number(json, "accessor_pages", gs->accessor_pages);
	json_number(json, "dropped_pages", gs->dropped_pages);
	json_number(json, "ballooned_pages", gs->ballooned_pages);
	json_number(json, "balloon_touches", gs->balloon_touches);
	json_number(json, "zero_read_pages", gs->zero_read_pages);
	json_number(json, "mappings", gs->mappings);
	json_number(json, "max_mappings", gs->max_mappings);
	json_number(json, "mapping_refusals", gs->mapping_refusals);
	json_number(json, "mapping_reliefs", gs->mapping_reliefs);
	json_number(json, "efaults", gs->efaults);
}

/* The names are those that Linux has for zswap. */
static void compression_stats(struct json *json, const struct gmem_stats *gs)
{
	json_pages(json, "zswap_bytes", gs->pool.pool_pages);
	json_pages(json, "zswapped_bytes", gs->pool.object_pages + gs->pool.filled_pages);
	json_number(json, "zswap_stored_bytes", gs->pool.object_bytes);
	json_number(json, "same_filled_pages", gs->pool.filled_pages);
	json_number(json, "zswpout_pages", gs->packed_pages);
	json_number(json, "zswpin_pages", gs->loaded_pages);
	json_number(json, "load_ahead_pages", gs->load_ahead_pages);
	json_number(json, "reject_compress_poor_pages", gs->unpackable_pages);
	json_number(json, "reject_remembered_pages", gs->put_off_pages);
	json_number(json, "archived_pages", gs->archived_pages);
	json_number(json, "unarchived_pages", gs->unarchived_pages);
}

/* Counts by a power of two: "below_8" says how many were from 4 to 7.  `unit` ends each name. */
static void powers(struct json *json, const char *name, const uint64_t *count, unsigned int nr,
		   const char *unit)
{
	char key[64];

	json_begin_object(json, name);
	for (unsigned int i = 0; i < nr; i++) {
		if (!count[i])
			continue;
		snprintf(key, sizeof(key), "below_%llu%s", 1ULL << i, unit);
		json_number(json, key, count[i]);
	}
	json_end_object(json);
}

/* A VM may say any number. */
static const char *tendency_name(uint32_t rule)
{
	return rule < TENDENCY_NR_RULES ? tendency_rule_name[rule] : "?";
}

static void reclaim_stats(struct json *json, const struct vm_info *info)
{
	const struct reclaimer_stats *r = &info->reclaim;
	bool on = info->reclaim_policy < RECLAIM_NR_POLICIES;

	json_text(json, "reclaim", on ? reclaim_policies[info->reclaim_policy]->name : "off");
	json_number(json, "swappiness", info->swappiness);
	json_text(json, "reclaim_tendency", tendency_name(info->tendency));
	json_number(json, "reclaim_give_passes", r->give_passes);
	json_number(json, "reclaim_given_pages", r->given_pages);
	json_number(json, "reclaim_requests", r->requests);
	json_number(json, "reclaim_direct", r->direct);
	json_number(json, "reclaim_passes", r->passes);
	json_number(json, "reclaim_chosen_pages", r->chosen_pages);
	json_number(json, "reclaim_gone_pages", r->gone_pages);
	json_number(json, "reclaim_busy_pages", r->busy_pages);
	json_number(json, "reclaim_refused_pages", r->refused_pages);
	json_number(json, "reclaim_swapped_pages", r->swapped_pages);
	json_number(json, "reclaim_spilled_pages", r->spilled_pages);
	json_number(json, "reclaim_freed_pages", r->freed_pages);
	json_number(json, "reclaim_refault_pages", r->refault_pages);
	json_number(json, "reclaim_known_pages", r->known_pages);
	json_pages(json, "working_set_bytes", r->working_set_pages);
	json_pages(json, "working_set_error_bytes", r->working_set_error_pages);
	json_number(json, "active_pages", r->active_pages);
	json_number(json, "inactive_pages", r->inactive_pages);
	json_number(json, "active_clean_pages", r->active_clean_pages);
	json_number(json, "inactive_clean_pages", r->inactive_clean_pages);
	powers(json, "page_ages", r->age_pages, RECLAIM_AGES, "_s_pages");
	powers(json, "refault_distances", r->refault_distances, RECLAIM_DISTANCES, "");
	json_number(json, "reclaim_cpu_ns", r->cpu_ns);
	json_number(json, "reclaim_metadata_bytes", r->metadata_bytes);
}

static void lock_stats(struct json *json, const struct gmem_stats *gs)
{
	char key[64];

	for (unsigned int who = 0; who < GMEM_NR_HOLDERS; who++) {
		snprintf(key, sizeof(key), "%s_waits", gmem_holder_name[who]);
		stats_times(json, key, &gs->waits[who]);
		snprintf(key, sizeof(key), "%s_holds", gmem_holder_name[who]);
		stats_times(json, key, &gs->holds[who]);
	}
}

/* Each private page has exactly one reason, so the reasons add up to state_private_pages. */
static void merge_stats(struct json *json, const struct vm_info *info)
{
	const struct keeper_stats *k = &info->merge;
	char key[64];

	json_text(json, "merge_mode", stats_merge_name(k->mode));
	json_text(json, "domain", stats_domain(info));
	json_number(json, "merge_joined", k->joined);
	json_number(json, "merged_pages", k->merged_pages);
	json_number(json, "zeroed_pages", k->zeroed_pages);
	json_number(json, "cow_breaks", info->mem.unshared_pages);
	json_number(json, "orphan_pages", info->mem.orphan_pages);
	json_number(json, "full_scans", k->full_scans);
	json_number(json, "pages_scanned", k->pages_scanned);
	json_number(json, "pages_skipped", k->pages_skipped);
	json_number(json, "pages_unshared", k->reason_pages[NOTE_UNIQUE]);
	json_number(json, "pages_volatile", k->reason_pages[NOTE_VOLATILE]);
	for (unsigned int r = 0; r < NOTE_NR_REASONS; r++) {
		snprintf(key, sizeof(key), "reason_%s_pages", stats_reason_name(r, '_'));
		json_number(json, key, k->reason_pages[r]);
	}
	json_number(json, "merge_mismatches", k->mismatches);
	json_number(json, "collapsed_blocks", k->collapsed_blocks);
	json_number(json, "merge_pages_per_second", k->pages_per_s);
	json_number(json, "watched_slots", k->watched_regions);
	json_number(json, "memory_slots", k->regions);
	json_number(json, "keeper_cpu_ns", k->cpu_ns);
	json_number(json, "keeper_metadata_bytes", k->metadata_bytes);
}

static void exit_stats(struct json *json, const struct vm_info *info)
{
	char key[80];

	json_number(json, "exits", stats_exits(info));
	json_begin_object(json, "exits_by_reason");
	for (uint32_t r = 0; r < KVM_NR_EXITS; r++) {
		if (!info->exits[r])
			continue;
		snprintf(key, sizeof(key), "%s_exits", stats_exit_name(r));
		json_number(json, key, info->exits[r]);
	}
	json_end_object(json);
	json_begin_object(json, "finished_instructions");
	for (unsigned int i = 0; i < EMULATE_NR_ROWS; i++)
		if (info->finished[i])
			json_number(json, emulate_name(i), info->finished[i]);
	json_end_object(json);
	json_number(json, "interrupted_runs", info->interrupted_runs);
	json_number(json, "mmio_on_ram_accesses", info->mmio_on_ram);
	json_number(json, "unclaimed_port_accesses", info->unclaimed_ports);
	json_number(json, "ignored_texts", info->ignored_texts);
	json_number(json, "unclaimed_mmio_accesses", info->unclaimed_mmio);
}

static void disk_stats(struct json *json, const struct vm_info *info)
{
	const struct blk_stats *d = &info->disk;

	json_number(json, "disks", info->nr_disks);
	json_number(json, "buffered_disks", info->buffered_disks);
	json_number(json, "disk_reads", d->reads);
	json_number(json, "disk_read_bytes", d->read_bytes);
	json_number(json, "disk_writes", d->writes);
	json_number(json, "disk_written_bytes", d->written_bytes);
	json_number(json, "disk_flushes", d->flushes);
	json_number(json, "disk_discards", d->discards);
	json_number(json, "disk_zeroes", d->zeroes);
	json_number(json, "disk_errors", d->errors);
	json_number(json, "disk_refusals", d->refused);
}

/* Received and sent as the guest sees it. */
static void net_stats(struct json *json, const struct vm_info *info)
{
	const struct virtio_net_stats *n = &info->net;

	json_number(json, "nets", info->nr_nets);
	json_number(json, "net_received_frames", n->rx_frames);
	json_number(json, "net_received_bytes", n->rx_bytes);
	json_number(json, "net_received_drops", n->rx_dropped);
	json_number(json, "net_sent_frames", n->tx_frames);
	json_number(json, "net_sent_bytes", n->tx_bytes);
	json_number(json, "net_sent_drops", n->tx_dropped);
}

static void time_stats(struct json *json, const struct vm_info *info)
{
	json_number(json, "setup_ns", info->setup_ns);
	json_number(json, "run_ns", info->run_ns);
	json_number(json, "monotonic_ns", info->now_ns);
	json_number(json, "cpu_ns", info->cpu_ns);
	json_number(json, "vcpu_cpu_ns", info->vcpu_cpu_ns);
}

/* A piece of the sandbox is 1 if it is on, and 0 if it is off or the host did not permit it. */
static void sandbox_stats(struct json *json, const struct vm_info *info)
{
	json_begin_object(json, "sandbox");
	for (unsigned int i = 0; i < SANDBOX_NR_PIECES; i++)
		json_number(json, sandbox_piece_name[i], info->sandbox >> i & 1);
	json_end_object(json);
}

static void account_stats(struct json *json, const struct stats_account *account)
{
	const struct machine_vm_record *record = account->record;

	if (!account->id)
		return;
	json_text(json, "machine", account->machine);
	json_number(json, "id", account->id);
	json_pages(json, "commit_bytes", record->ram_pages + record->overhead_pages);
	json_pages(json, "overhead_bytes", record->overhead_pages);
	json_pages(json, "credit_bytes", record->credit_pages);
	json_pages(json, "ram_file_bytes", record->resident_pages);
	json_number(json, "store_references", record->shared_refs);
	json_number(json, "lookup_misses", record->lookup_misses);
	json_number(json, "lookup_unproven", record->lookup_unproven);
	json_number(json, "lookup_late", record->lookup_late);
	json_signed(json, "oom_score_adj", record->oom_score_adj);
	json_pages(json, "asked_bytes", record->asked_pages);
	json_pages(json, "returned_bytes", record->reclaimed_pages);
	json_number(json, "ignores", record->ignores);
	json_number(json, "suspensions", record->suspensions);
	json_number(json, "suspended_ns", record->suspended_ns);
}

static void running_stats(struct json *json, const struct vm_info *info)
{
	json_text(json, "name", info->name);
	json_number(json, "pid", info->pid);
	json_text(json, "state", stats_state_name(info->state));
	if (info->state == VM_ENDED)
		json_number(json, "exit_status", info->exit_status);
	json_number(json, "vcpus", info->nr_vcpus);
	json_number(json, "ram_bytes", info->ram_bytes);
}

void stats_vm(struct json *json, const struct stats_vm *vm)
{
	const struct vm_info *info = vm->info;

	if (vm->end)
		stats_end(json, vm);
	else
		running_stats(json, info);
	account_stats(json, &vm->account);
	if (!info)
		return;
	page_stats(json, info);
	fault_stats(json, &info->mem);
	stats_stall(json, &info->mem);
	compression_stats(json, &info->mem);
	stats_swap(json, &info->mem);
	reclaim_stats(json, info);
	lock_stats(json, &info->mem);
	merge_stats(json, info);
	stats_balloon(json, info);
	exit_stats(json, info);
	stats_shadow(json, info);
	disk_stats(json, info);
	net_stats(json, info);
	sandbox_stats(json, info);
	time_stats(json, info);
}

void stats_members(struct json *json, const struct machine_state *machine,
		   const struct stats_vm *vm, unsigned int nr_vms)
{
	json_text(json, "schema", "quire.stats/1");
	json_begin_object(json, "machine");
	stats_machine(json, machine);
	json_end_object(json);
	json_begin_array(json, "vms");
	for (unsigned int i = 0; i < nr_vms; i++) {
		json_begin_object(json, NULL);
		stats_vm(json, &vm[i]);
		json_end_object(json);
	}
	json_end_array(json);
}

int stats_document(FILE *f, const struct machine_state *machine, const struct stats_vm *vm,
		   unsigned int nr_vms)
{
	struct json json;

	json_init(&json, f);
	json_begin_object(&json, NULL);
	stats_members(&json, machine, vm, nr_vms);
	json_end_object(&json);
	return fflush(f) || ferror(f) ? -EIO : 0;
}
