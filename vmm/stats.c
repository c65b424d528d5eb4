/* SPDX-License-Identifier: MIT */
/* What a run cost and did: see stats.h. */
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "json.h"
#include "stats.h"
#include "vm_impl.h"

static void machine_stats(struct json *json)
{
	long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	json_number(json, "host_memory_bytes", (uint64_t)pages * (uint64_t)bytes);
	json_number(json, "host_cpus", (uint64_t)cpus);
}

/* Every page is in exactly one state: the states sum to ram_pages. */
static void page_stats(struct json *json, const struct gmem_stats *gs)
{
	uint64_t resident = 0;
	char key[64];

	json_number(json, "ram_pages", gs->s2.ram_pages);
	for (unsigned int i = 0; i < PG_NR_STATES; i++) {
		snprintf(key, sizeof(key), "state_%s_pages", page_states[i].name);
		json_number(json, key, gs->s2.pages[i]);
		if (page_states[i].resident)
			resident += gs->s2.pages[i];
	}
	json_number(json, "resident_bytes", resident * QUIRE_PAGE_SIZE);
	json_number(json, "metadata_bytes", gs->s2.metadata_bytes);
	json_number(json, "table_pages", gs->s2.tables);
	json_number(json, "large_leaves", gs->s2.large_leaves);
	json_number(json, "splits", gs->s2.splits);
	json_number(json, "collapses", gs->s2.collapses);
}

static void fault_stats(struct json *json, const struct gmem_stats *gs)
{
	json_number(json, "faults", gs->faults);
	json_number(json, "spurious_faults", gs->faults_spurious);
	json_number(json, "faulted_in_pages", gs->faulted_in_pages);
	json_number(json, "faulted_in_blocks", gs->faulted_in_blocks);
	json_number(json, "ahead_blocks", gs->ahead_blocks);
	json_number(json, "huge_fallbacks", gs->huge_fallbacks);
	json_number(json, "accessor_pages", gs->accessor_pages);
	json_number(json, "dropped_pages", gs->dropped_pages);
	json_number(json, "efaults", gs->efaults);
}

/* "KVM_EXIT_IO" as "io_exits". */
static void exit_stats(struct json *json, const uint64_t *exits)
{
	for (uint32_t i = 0; i < KVM_NR_EXITS; i++) {
		char key[64];

		if (!exits[i])
			continue;
		snprintf(key, sizeof(key), "%s_exits", kvm_exit_name(i) + strlen("KVM_EXIT_"));
		if (!strcmp(kvm_exit_name(i), "unknown"))
			snprintf(key, sizeof(key), "reason_%u_exits", i);
		for (char *p = key; *p; p++)
			*p = (char)tolower((unsigned char)*p);
		json_number(json, key, exits[i]);
	}
}

static void vcpu_stats(struct json *json, struct vm *vm)
{
	uint64_t exits[KVM_NR_EXITS] = { 0 }, total = 0, interrupts = 0, on_ram = 0;

	for (unsigned int i = 0; i < vm->nr_vcpus; i++) {
		for (unsigned int r = 0; r < KVM_NR_EXITS; r++) {
			exits[r] += vm->vcpu[i].exits[r];
			total += vm->vcpu[i].exits[r];
		}
		interrupts += vm->vcpu[i].interrupts;
		on_ram += vm->vcpu[i].mmio_on_ram;
	}
	json_number(json, "exits", total);
	json_object(json, "exits_by_reason");
	exit_stats(json, exits);
	json_end_object(json);
	json_number(json, "interrupted_runs", interrupts);
	json_number(json, "mmio_on_ram_accesses", on_ram);
	json_number(json, "unclaimed_port_accesses", atomic_load(&vm->ports.unclaimed));
	json_number(json, "ignored_texts", text_port_ignored(vm->text_port));
	json_number(json, "unclaimed_mmio_accesses", atomic_load(&vm->mmio.unclaimed));
}

void vm_stats(struct vm *vm, struct json *json)
{
	struct gmem_stats gs;

	gmem_stats(vm->gm, &gs);
	json_string(json, "name", vm->name);
	json_number(json, "exit_status", (uint64_t)vm->status);
	json_number(json, "vcpus", vm->nr_vcpus);
	json_number(json, "ram_bytes", vm->config.ram_bytes);
	page_stats(json, &gs);
	fault_stats(json, &gs);
	vcpu_stats(json, vm);
	json_number(json, "setup_ns", vm->setup_ns);
	json_number(json, "run_ns", vm->run_ns);
}

int stats_write(FILE *f, struct vm *vm)
{
	struct json json;

	json_init(&json, f);
	json_object(&json, NULL);
	json_string(&json, "schema", "quire.stats/1");
	json_object(&json, "machine");
	machine_stats(&json);
	json_end_object(&json);
	json_array(&json, "vms");
	json_object(&json, NULL);
	vm_stats(vm, &json);
	json_end_object(&json);
	json_end_array(&json);
	json_end_object(&json);
	return fflush(f) || ferror(f) ? -EIO : 0;
}
