/* SPDX-License-Identifier: MIT */
/*
 * KVM's memory slots, and what the guest wrote in each.
 *
 * KVM watches writes slot by slot.  While it keeps a dirty log of a slot, it maps the slot's memory
 * in pages of 4 KiB, however the host maps it, and write-protects each page whose bit was fetched.
 * So RAM is cut into slots, and a slot is watched only as long as somebody wants to know.  After
 * that, KVM maps 2 MiB again by and by.  Each slot takes some 20 us at the start and at the end of
 * a VM, so there are at most about MANY_SLOTS.
 *
 * The log is of the old kind, without KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2.  One call copies the
 * bitmap, clears it and protects the pages again, so no write is missed between two calls.  The log
 * has what the guest's processors wrote, also when KVM emulated the instruction.  It has nothing of
 * what we write through the alias.
 *
 * To begin or end watching is a change of the slot.  It waits for vCPUs to leave KVM's memory code,
 * where a vCPU may be until its page has come.  So only the keeper does it, with no lock held.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include "kvm.h"

#define SLOT_BYTES (64 * MiB)
#define MAX_BYTES  (1ULL << 42) /* KVM's limit is 2^31 - 1 pages */
#define MANY_SLOTS 16u		/* if there would be more, make them larger */

uint64_t kvm_slot_bytes(uint64_t ram_bytes)
{
	uint64_t bytes = SLOT_BYTES;

	while (bytes * MANY_SLOTS < ram_bytes && bytes < MAX_BYTES)
		bytes *= 2;
	return bytes;
}

static int set_slot(const struct kvm *kvm, const struct kvm_userspace_memory_region *slot)
{
	struct kvm_userspace_memory_region region = *slot;

	return ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) ? -errno : 0;
}

static int add_slot(struct kvm *kvm, const struct gmem *gm, gpa_t gpa, uint64_t bytes,
		    struct quire_error *err)
{
	struct kvm_userspace_memory_region *slot = &kvm->slot[kvm->nr_slots];
	int ret;

	*slot = (struct kvm_userspace_memory_region){
		.slot = kvm->nr_slots,
		.guest_phys_addr = gpa < kvm->low ? SHADOW_LOW_RAM + gpa : gpa,
		.memory_size = bytes,
		.userspace_addr = (uintptr_t)gmem_hva(gm, gpa),
	};
	ret = set_slot(kvm, slot);
	if (ret)
		return quire_fail(err, ret,
				  "KVM: ioctl(SET_USER_MEMORY_REGION) of %#llx bytes at "
				  "gpa %#llx failed: %s",
				  (unsigned long long)bytes, (unsigned long long)gpa,
				  strerror(-ret));
	kvm->nr_slots++;
	return 0;
}

/* A slot ends at a multiple of `bytes`, at the end of its range, or where low RAM ends. */
static gpa_t slot_end(const struct kvm *kvm, gpa_t gpa, gpa_t end, uint64_t bytes)
{
	end = min_u64(end, align_down(gpa, bytes) + bytes);
	return gpa < kvm->low ? min_u64(end, kvm->low) : end;
}

int kvm_set_memory(struct kvm *kvm, const struct gmem *gm, struct quire_error *err)
{
	unsigned int nr, slots = kvm->low ? 1 : 0;
	const struct gfn_range *ram = gmem_ram(gm, &nr);
	uint64_t pages = 0, bytes;

	for (unsigned int i = 0; i < nr; i++)
		pages += ram[i].end - ram[i].start;
	bytes = kvm_slot_bytes(gfn_to_gpa(pages));
	for (unsigned int i = 0; i < nr; i++)
		slots += (unsigned int)((gfn_to_gpa(ram[i].end) - 1) / bytes -
					gfn_to_gpa(ram[i].start) / bytes) +
			 1;
	kvm->slot = calloc(slots, sizeof(*kvm->slot));
	if (!kvm->slot)
		return quire_fail(err, -ENOMEM, "no memory for %u memory slots", slots);
	for (unsigned int i = 0; i < nr; i++) {
		gpa_t end = gfn_to_gpa(ram[i].end), next;

		for (gpa_t gpa = gfn_to_gpa(ram[i].start); gpa < end; gpa = next) {
			int ret;

			next = slot_end(kvm, gpa, end, bytes);
			ret = add_slot(kvm, gm, gpa, next - gpa, err);
			if (ret)
				return ret;
		}
	}
	return 0;
}

struct gfn_range kvm_slot_range(const struct kvm *kvm, unsigned int slot)
{
	gpa_t start = kvm->low && !slot ? 0 : kvm->slot[slot].guest_phys_addr;

	return (struct gfn_range){
		gpa_to_gfn(start),
		gpa_to_gfn(start + kvm->slot[slot].memory_size),
	};
}

int kvm_slot_log(struct kvm *kvm, unsigned int slot, bool on)
{
	struct kvm_userspace_memory_region changed = kvm->slot[slot];
	int ret;

	changed.flags = on ? KVM_MEM_LOG_DIRTY_PAGES : 0;
	if (changed.flags == kvm->slot[slot].flags)
		return 0;
	ret = set_slot(kvm, &changed);
	if (!ret)
		kvm->slot[slot] = changed;
	return ret;
}

int kvm_slot_fetch(const struct kvm *kvm, unsigned int slot, uint64_t *bitmap)
{
	struct kvm_dirty_log log = { .slot = slot, .dirty_bitmap = bitmap };

	return ioctl(kvm->vm_fd, KVM_GET_DIRTY_LOG, &log) ? -errno : 0;
}

/* ---- what only a guest on shadow tables has ---- */

/* After those of RAM: the monitor, the zeroes, a slot that means nothing, segments of the store. */
enum { SLOT_MONITOR, SLOT_ZEROES, SLOT_SPARE, SLOT_SEGMENTS };

#define SPARE_AT (SHADOW_ZERO_PAGE + GiB)

static int set_other(const struct kvm *kvm, uint32_t slot, maddr_t at, const void *hva,
		     uint64_t bytes, uint32_t flags)
{
	const struct kvm_userspace_memory_region region = {
		.slot = kvm->nr_slots + slot,
		.flags = flags,
		.guest_phys_addr = at,
		.memory_size = bytes,
		.userspace_addr = (uintptr_t)hva,
	};

	return set_slot(kvm, &region);
}

int kvm_set_real_memory(const struct kvm *kvm, const struct gmem *gm, uint64_t bytes,
			struct quire_error *err)
{
	struct kvm_userspace_memory_region region = {
		.memory_size = bytes,
		.userspace_addr = (uintptr_t)gmem_hva(gm, 0),
	};

	return ioctl(kvm->real_fd, KVM_SET_USER_MEMORY_REGION, &region) ?
		       quire_fail(err, -errno, "KVM: ioctl(SET_USER_MEMORY_REGION) failed: %s",
				  strerror(errno)) :
		       0;
}

int kvm_set_monitor(struct kvm *kvm, const struct world_memory *monitor, const void *zeroes,
		    struct quire_error *err)
{
	int ret = set_other(kvm, SLOT_MONITOR, monitor->at, monitor->hva, monitor->bytes, 0);

	kvm->zeroes = zeroes;
	if (!ret)
		ret = set_other(kvm, SLOT_ZEROES, SHADOW_ZERO_PAGE, zeroes, QUIRE_PAGE_SIZE,
				KVM_MEM_READONLY);
	if (!ret)
		ret = set_other(kvm, SLOT_SPARE, SPARE_AT, zeroes, QUIRE_PAGE_SIZE,
				KVM_MEM_READONLY);
	return ret ? quire_fail(err, ret,
				"KVM: ioctl(SET_USER_MEMORY_REGION) of the monitor failed: %s",
				strerror(-ret)) :
		     0;
}

int kvm_set_segment(struct kvm *kvm, maddr_t at, const void *hva, uint64_t bytes)
{
	uint32_t slot = SLOT_SEGMENTS + (uint32_t)((at - SHADOW_STORE_BASE) / bytes);

	return set_other(kvm, slot, at, hva, hva ? bytes : 0, KVM_MEM_READONLY);
}

int kvm_forget_tables(const struct kvm *kvm)
{
	int ret = set_other(kvm, SLOT_SPARE, SPARE_AT, kvm->zeroes, 0, KVM_MEM_READONLY);

	return ret ? ret :
		     set_other(kvm, SLOT_SPARE, SPARE_AT, kvm->zeroes, QUIRE_PAGE_SIZE,
			       KVM_MEM_READONLY);
}
