/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/monitor/registers.h"
#include "cpuid.h"
#include "vm_impl.h"
#include "vm_shadow.h"

/* Tables for so many pages of RAM, twice over; but not fewer, nor more, than these. */
#define TABLES_PER_PAGE(pages) ((pages) / 64)
#define LEAST_TABLES	       1024u
#define MOST_TABLES	       65536u

static_assert(VM_MAX_VCPUS > SHADOW_MAX_VCPUS, "a VM may ask for more than there can be");

/* ---- the processor that the guest sees ---- */

#define LEAF1_ECX_PCID	  (1u << 17)
#define LEAF7_EBX_INVPCID (1u << 10)
#define LEAF7_ECX_PKU	  (3u << 3)
#define LEAF7_ECX_CET	  (1u << 7)
#define LEAF7_ECX_LA57	  (1u << 16)
#define LEAF7_EDX_IBT	  (1u << 20)
#define LEAFD_EAX_XSAVES  (1u << 3)

/* A feature, where CPUID tells of it, and the bits of CR4 that come with it. */
static const struct {
	uint32_t function;
	uint8_t reg; /* of EAX EBX ECX EDX */
	uint8_t bit;
	uint64_t cr4;
} features[] = {
	{ 1, 3, 1, 0x3 },	/* VME: VME, PVI */
	{ 1, 3, 4, 1u << 2 },	/* TSC: TSD */
	{ 1, 3, 2, 1u << 3 },	/* DE */
	{ 1, 3, 3, 1u << 4 },	/* PSE */
	{ 1, 3, 6, 1u << 5 },	/* PAE */
	{ 1, 3, 7, 1u << 6 },	/* MCE */
	{ 1, 3, 13, 1u << 7 },	/* PGE */
	{ 1, 3, 24, 3u << 9 },	/* FXSR: OSFXSR, OSXMMEXCPT */
	{ 7, 2, 2, 1u << 11 },	/* UMIP */
	{ 7, 1, 0, 1u << 16 },	/* FSGSBASE */
	{ 1, 2, 26, 1u << 18 }, /* XSAVE: OSXSAVE */
	{ 7, 1, 7, 1u << 20 },	/* SMEP */
	{ 7, 1, 20, 1u << 21 }, /* SMAP */
};

static bool has(struct kvm_cpuid2 *table, uint32_t function, uint8_t reg, uint8_t bit)
{
	const struct kvm_cpuid_entry2 *e = cpuid_find(table, function, 0);
	const uint32_t *regs = e ? &e->eax : NULL;

	return regs && (regs[reg] >> bit & 1);
}

static uint64_t allowed_cr4(struct kvm_cpuid2 *table)
{
	uint64_t cr4 = CR4_PCE;

	for (size_t i = 0; i < ARRAY_SIZE(features); i++)
		if (has(table, features[i].function, features[i].reg, features[i].bit))
			cr4 |= features[i].cr4;
	return cr4;
}

static uint64_t allowed_xcr0(struct kvm_cpuid2 *table)
{
	const struct kvm_cpuid_entry2 *e = cpuid_find(table, 0xd, 0);

	return e ? e->eax | (uint64_t)e->edx << 32 : 0;
}

static void take(struct kvm_cpuid_entry2 *e)
{
	if (e->function == 1)
		e->ecx &= ~LEAF1_ECX_PCID;
	if (e->function == 0xd && e->index == 1)
		e->eax &= ~LEAFD_EAX_XSAVES;
	if (e->function != 7 || e->index)
		return;
	e->ebx &= ~LEAF7_EBX_INVPCID;
	e->ecx &= ~(LEAF7_ECX_PKU | LEAF7_ECX_CET | LEAF7_ECX_LA57);
	e->edx &= ~LEAF7_EDX_IBT;
}

void vm_shadow_filter_cpuid(struct vm *vm)
{
	struct kvm_cpuid2 *table = vm->kvm.cpuid;

	for (uint32_t i = 0; i < table->nent; i++)
		take(&table->entries[i]);
}

void vm_shadow_set_features(struct vm *vm, struct kvm_cpuid2 *table)
{
	vm->shadow->features = (struct monitor_features){
		.cr4 = allowed_cr4(table),
		.efer = EFER_SCE | EFER_LME | EFER_LMA |
			(has(table, 0x80000001, 3, 20) ? EFER_NXE : 0),
		.xcr0 = allowed_xcr0(table),
		.maxphyaddr = vm->maxphyaddr,
		.amd = vm->amd,
		.emulate = emulate_features(cpuid_find(table, 1, 0), cpuid_find(table, 7, 0)),
	};
}

/* ---- memory ---- */

static void on_stale(void *ctx, const struct shadow_stale *stale)
{
	flush_stale(((struct vm_shadow *)ctx)->flush, stale);
}

static int on_segment(void *ctx, maddr_t at, const void *hva, uint64_t bytes)
{
	return kvm_set_segment(&((struct vm_shadow *)ctx)->vm->kvm, at, hva, bytes);
}

struct gmem_shadow vm_shadow_memory(struct vm *vm)
{
	struct world_memory arena = world_arena(vm->shadow->world);

	return (struct gmem_shadow){
		.arena = arena.hva,
		.arena_maddr = arena.at,
		.arena_pages = (uint32_t)(arena.bytes / QUIRE_PAGE_SIZE),
		.monitor_entry = world_pml4_entry(vm->shadow->world),
		.maxphyaddr = vm->maxphyaddr,
		.flush = on_stale,
		.segment = on_segment,
		.ctx = vm->shadow,
	};
}

int vm_shadow_set_memory(struct vm *vm, struct quire_error *err)
{
	struct world_memory monitor = world_memory(vm->shadow->world);

	int ret = kvm_set_monitor(&vm->kvm, &monitor, gmem_shadow_zeroes(), err);

	return ret || vm->kvm.real_fd < 0 ?
		       ret :
		       kvm_set_real_memory(&vm->kvm, vm->gm, vcpu_real_bytes(vm), err);
}

/* ---- its life ---- */

static void kick(void *ctx, unsigned int cpu)
{
	struct vm *vm = ctx;

	vcpu_kick(&vm->vcpu[cpu], VCPU_FLUSH);
}

static int forget(void *ctx)
{
	return kvm_forget_tables(&((struct vm *)ctx)->kvm);
}

/* What cannot be on shadow tables is said here. */
static int check(const struct vm *vm, struct quire_error *err)
{
	gpa_t end = gfn_to_gpa(vm->ram[vm->nr_ram - 1].end);

	if (vm->config.nr_vcpus > SHADOW_MAX_VCPUS)
		return quire_fail(err, -EDOM, "--paging=shadow: at most %u vCPUs",
				  SHADOW_MAX_VCPUS);
	if (end > SHADOW_GUEST_END)
		return quire_fail(err, -EDOM, "--paging=shadow: at most %llu GiB of memory",
				  (SHADOW_GUEST_END - (QUIRE_GAP_END - QUIRE_GAP_START)) / GiB);
	if (SHADOW_STORE_BASE >> vm->maxphyaddr)
		return quire_fail(err, -EDOM,
				  "--paging=shadow: this processor's %u bits of physical address "
				  "are too few",
				  vm->maxphyaddr);
	return 0;
}

static struct flush *create_flush(struct vm *vm)
{
	const struct flush_config config = {
		.nr_cpus = vm->config.nr_vcpus,
		.max_list = WORLD_MAX_LIST,
		.kick = kick,
		.forget = forget,
		.ctx = vm,
	};

	return flush_create(&config);
}

int vm_shadow_create(struct vm *vm, struct quire_error *err)
{
	uint64_t tables = TABLES_PER_PAGE(vm->config.ram_bytes / QUIRE_PAGE_SIZE);
	const struct world_config config = {
		.nr_cpus = vm->config.nr_vcpus,
		.nr_tables = (uint32_t)min_u64(max_u64(tables, LEAST_TABLES), MOST_TABLES),
		.umip = has(vm->kvm.cpuid, 7, 2, 2),
	};
	int ret = check(vm, err);

	if (ret)
		return ret;
	vm->shadow = calloc(1, sizeof(*vm->shadow));
	if (!vm->shadow)
		return quire_fail(err, -ENOMEM, "no memory for shadow tables");
	vm->shadow->vm = vm;
	vm->shadow->flush = create_flush(vm);
	if (!vm->shadow->flush)
		return quire_fail(err, -ENOMEM, "no memory for shadow tables");
	vm->kvm.low = SHADOW_LOW_END;
	if (vm->config.nr_vcpus > 1)
		ret = kvm_create_real(&vm->kvm, err);
	return ret ? ret : world_create(&config, &vm->shadow->world, err);
}

void vm_shadow_destroy(struct vm *vm)
{
	if (!vm->shadow)
		return;
	flush_destroy(vm->shadow->flush);
	world_destroy(vm->shadow->world);
	free(vm->shadow);
	vm->shadow = NULL;
}
