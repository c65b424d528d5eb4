/* SPDX-License-Identifier: MIT */
/*
 * KVM's slots and their dirty logs, under a guest that does nothing but write one page after
 * the other: what it writes is in the log, what it does not is not.
 */
#include <errno.h>
#include "vmm/vm/kvm.h"
#include "tests/tap.h"
#include "tiny_vm.h"

#define RAM_BYTES (130 * MiB) /* three slots, the last of 2 MiB */
#define RAM_PAGES (RAM_BYTES / QUIRE_PAGE_SIZE)
#define CODE	  0x1000u
#define TABLES	  0x10000u /* PML4, PDPT, PD: identity, in 2 MiB pages */
#define WORDS	  (64 * MiB / QUIRE_PAGE_SIZE / 64)

/* next: mov [rdi], al; add rdi, rsi; dec rcx; jnz next; hlt */
static const uint8_t code[] = { 0x88, 0x07, 0x48, 0x01, 0xf7, 0x48, 0xff, 0xc9, 0x75, 0xf6, 0xf4 };

static struct gmem *gm;
static struct kvm kvm;
static struct tiny tiny; /* only its vCPU */

static const struct gfn_range ram[] = { { 0, RAM_PAGES } };

static void create(void)
{
	struct gmem_config config = { .ram = ram, .nr_ram = 1, .hugepages = GMEM_HUGE_AUTO };
	struct quire_error err;
	int bytes;

	if (kvm_init(&kvm, false, &err))
		tap_skip_all("%s", err.text);
	if (gmem_create(&config, &gm, &err) || gmem_start(gm, &err))
		tap_skip_all("%s", err.text);
	if (kvm_set_memory(&kvm, gm, &err))
		tap_bail("%s", err.text);
	tiny = (struct tiny){ .kvm = kvm.fd, .vm = kvm.vm_fd };
	tiny.vcpu = ioctl(kvm.vm_fd, KVM_CREATE_VCPU, 0);
	bytes = ioctl(kvm.fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	tiny.run = bytes > 0 ? tiny_map((size_t)bytes, MAP_SHARED, tiny.vcpu) : NULL;
	if (!tiny.run || !tiny_cpuid(&tiny))
		tap_bail("no vCPU");
}

static void put_entry(gpa_t gpa, uint64_t entry)
{
	if (guest_write(gm, gpa, &entry, sizeof(entry)))
		tap_bail("guest_write");
}

static void place_guest(void)
{
	put_entry(TABLES, (TABLES + 0x1000) | 7);
	put_entry(TABLES + 0x1000, (TABLES + 0x2000) | 7);
	for (uint64_t i = 0; i < 512; i++)
		put_entry(TABLES + 0x2000 + 8 * i, i << 21 | 0x87);
	if (guest_write(gm, CODE, code, sizeof(code)))
		tap_bail("guest_write");
}

/* The guest writes `nr` pages from gfn on, every `step`th. */
static void guest_writes(gfn_t gfn, uint64_t nr, uint64_t step)
{
	struct kvm_regs regs = { .rip = CODE,
				 .rflags = 2,
				 .rdi = gfn_to_gpa(gfn) + 8,
				 .rsi = step * QUIRE_PAGE_SIZE,
				 .rcx = nr };
	struct kvm_sregs sregs;

	if (ioctl(tiny.vcpu, KVM_GET_SREGS, &sregs))
		tap_bail("KVM_GET_SREGS");
	tiny_mode(&sregs, &x86_4level_format, TABLES);
	if (ioctl(tiny.vcpu, KVM_SET_SREGS, &sregs) || ioctl(tiny.vcpu, KVM_SET_REGS, &regs))
		tap_bail("cannot set registers");
	while (ioctl(tiny.vcpu, KVM_RUN, 0) && (errno == EINTR || errno == EFAULT))
		;
	if (tiny.run->exit_reason != KVM_EXIT_HLT)
		tap_bail("exit %u", tiny.run->exit_reason);
}

/* ---- logs ---- */

static uint64_t bitmap[WORDS];

static void fetch(unsigned int slot)
{
	memset(bitmap, 0xaa, sizeof(bitmap));
	if (kvm_slot_fetch(&kvm, slot, bitmap))
		tap_bail("KVM_GET_DIRTY_LOG: %s", strerror(errno));
}

static bool logged(unsigned int slot, gfn_t gfn)
{
	uint64_t bit = gfn - kvm_slot_range(&kvm, slot).start;

	return bitmap[bit / 64] >> bit % 64 & 1;
}

/* Pages in the log that are not among these `nr` of them. */
static unsigned int others(unsigned int slot, gfn_t gfn, uint64_t nr, uint64_t step)
{
	struct gfn_range r = kvm_slot_range(&kvm, slot);
	unsigned int count = 0;

	for (gfn_t g = r.start; g < r.end; g++)
		if (logged(slot, g) && (g < gfn || g >= gfn + nr * step || (g - gfn) % step))
			count++;
	return count;
}

static unsigned int missing(unsigned int slot, gfn_t gfn, uint64_t nr, uint64_t step)
{
	unsigned int count = 0;

	for (uint64_t i = 0; i < nr; i++)
		count += !logged(slot, gfn + i * step);
	return count;
}

static void test_sizes(void)
{
	static const struct {
		uint64_t ram, slot;
	} size[] = {
		{ QUIRE_PAGE_SIZE, 64 * MiB },
		{ 128 * MiB, 64 * MiB },
		{ GiB, 64 * MiB },
		{ GiB + QUIRE_PAGE_SIZE, 128 * MiB },
		{ 64 * GiB, 4 * GiB },
		{ 1ULL << 44, 1ULL << 40 },
		{ 1ULL << 48, 1ULL << 42 },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(size); i++)
		is_hex(kvm_slot_bytes(size[i].ram), size[i].slot, "slots of %#llx bytes of RAM",
		       (unsigned long long)size[i].ram);
	is(kvm.nr_slots, 3, "130 MiB are three slots");
	is(kvm_slot_range(&kvm, 1).start, 64 * MiB / QUIRE_PAGE_SIZE,
	   "the second begins at 64 MiB");
	is(kvm_slot_range(&kvm, 1).end, 128 * MiB / QUIRE_PAGE_SIZE, "... and ends at 128 MiB");
	is(kvm_slot_range(&kvm, 2).end, RAM_PAGES, "the last one ends with RAM");
}

static void test_log(void)
{
	const gfn_t start = 64 * MiB / QUIRE_PAGE_SIZE + 700;

	guest_writes(start, 300, 1);
	ok(kvm_slot_fetch(&kvm, 1, bitmap) == -ENOENT, "a slot that is not watched has no log");
	ok(kvm_slot_log(&kvm, 1, true) == 0 && kvm_slot_log(&kvm, 1, true) == 0, "watch it, twice");
	fetch(1);
	is(others(1, 0, 0, 1), 0, "what was written before is not in the log");
	guest_writes(start, 100, 3);
	fetch(1);
	is(missing(1, start, 100, 3), 0, "what the guest writes is");
	is(others(1, start, 100, 3), 0, "and nothing else");
	fetch(1);
	is(others(1, 0, 0, 1), 0, "a write is reported once");
	guest_writes(start + 3, 2, 3);
	fetch(1);
	ok(!missing(1, start + 3, 2, 3) && !others(1, start + 3, 2, 3),
	   "a page that was reported and is written again is reported again");
	guest_writes(start + 5000, 40, 1);
	fetch(1);
	ok(!missing(1, start + 5000, 40, 1) && !others(1, start + 5000, 40, 1),
	   "so are pages that the guest had never touched");
}

static void test_others(void)
{
	const gfn_t first = 64 * MiB / QUIRE_PAGE_SIZE;
	uint8_t bytes[3 * QUIRE_PAGE_SIZE] = { 1 };

	fetch(1);
	ok(guest_write(gm, gfn_to_gpa(first + 1000), bytes, sizeof(bytes)) == 0, "we write");
	guest_writes(first - 2, 2, 1);
	fetch(1);
	is(others(1, 0, 0, 1), 0, "neither what we write nor another slot's is in the log");
	guest_writes(RAM_PAGES - 1, 1, 1);
	ok(kvm_slot_log(&kvm, 2, true) == 0, "watch the last slot");
	guest_writes(RAM_PAGES - 1, 1, 1);
	fetch(2);
	ok(!missing(2, RAM_PAGES - 1, 1, 1) && !others(2, RAM_PAGES - 1, 1, 1),
	   "its last page is the last of its log");
}

static void test_off(void)
{
	const gfn_t start = 64 * MiB / QUIRE_PAGE_SIZE + 100;

	guest_writes(start, 10, 1);
	ok(kvm_slot_log(&kvm, 1, false) == 0 && kvm_slot_log(&kvm, 1, false) == 0,
	   "end watching, twice");
	ok(kvm_slot_fetch(&kvm, 1, bitmap) == -ENOENT, "then there is no log");
	guest_writes(start, 20, 1);
	ok(kvm_slot_log(&kvm, 1, true) == 0, "watch it again");
	fetch(1);
	is(others(1, 0, 0, 1), 0, "and it begins empty");
	guest_writes(start + 7, 1, 1);
	fetch(1);
	ok(!missing(1, start + 7, 1, 1) && !others(1, start + 7, 1, 1), "and works as before");
}

int main(void)
{
	tap_init();
	create();
	place_guest();
	test_sizes();
	test_log();
	test_others();
	test_off();
	is(gmem_audit(gm, NULL, NULL), 0, "guest memory is as it should be");
	munmap(tiny.run, (size_t)ioctl(kvm.fd, KVM_GET_VCPU_MMAP_SIZE, 0));
	close(tiny.vcpu);
	gmem_destroy(gm);
	kvm_finish(&kvm);
	return tap_done();
}
