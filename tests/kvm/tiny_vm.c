/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include "tiny_vm.h"

#define TINY_CPUID_ENTRIES 256

bool tiny_cpuid(struct tiny *t)
{
	struct kvm_cpuid2 *cpuid;
	bool done;

	cpuid = calloc(1, sizeof(*cpuid) + TINY_CPUID_ENTRIES * sizeof(cpuid->entries[0]));
	if (!cpuid)
		return false;
	cpuid->nent = TINY_CPUID_ENTRIES;
	t->maxphyaddr = 36; /* what a processor without the leaf has */
	done = ioctl(t->kvm, KVM_GET_SUPPORTED_CPUID, cpuid) == 0 &&
	       ioctl(t->vcpu, KVM_SET_CPUID2, cpuid) == 0;
	for (uint32_t i = 0; done && i < cpuid->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		if (e->function == 0x80000008)
			t->maxphyaddr = e->eax & 0xff;
		if (e->function == 0) /* "AuthenticAMD", "HygonGenuine" */
			t->amd = e->ecx == 0x444d4163 || e->ecx == 0x656e6975;
	}
	free(cpuid);
	return done;
}

void tiny_mode(struct kvm_sregs *s, const struct pt_format *format, uint64_t cr3)
{
	struct kvm_segment code = {
		.limit = -1u, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1
	};
	bool is_long = format->nr_levels >= 4;
	struct kvm_segment data = {
		.limit = -1u, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1
	};

	s->cr0 = 0x80010033; /* PG WP NE ET MP PE */
	s->cr3 = cr3;
	s->cr4 = format == &x86_32_format ? 0x10 : 0x20; /* PSE; PAE */
	if (format == &x86_5level_format)
		s->cr4 |= 1 << 12;	   /* LA57 */
	s->efer = is_long ? 0xd00 : 0x800; /* NXE LMA LME */
	s->cs = code;
	s->cs.l = is_long;
	s->cs.db = !is_long;
	s->ds = s->es = s->fs = s->gs = s->ss = data;
}

void tiny_destroy(struct tiny *t)
{
	if (t->run)
		munmap(t->run, t->run_bytes);
	if (t->vcpu >= 0)
		close(t->vcpu);
	if (t->vm >= 0)
		close(t->vm);
	if (t->kvm >= 0)
		close(t->kvm);
	if (t->mem)
		munmap(t->mem, t->mem_bytes);
}

void *tiny_map(size_t bytes, int flags, int fd)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

const char *tiny_create(struct tiny *t, size_t mem_bytes)
{
	struct kvm_userspace_memory_region slot = { .memory_size = mem_bytes };
	int bytes;

	*t = (struct tiny){ .kvm = -1, .vm = -1, .vcpu = -1, .mem_bytes = mem_bytes };
	t->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (t->kvm < 0)
		return "open /dev/kvm";
	t->vm = ioctl(t->kvm, KVM_CREATE_VM, 0);
	if (t->vm < 0)
		return "KVM_CREATE_VM";
	ioctl(t->vm, KVM_SET_TSS_ADDR, 0xfffbd000); /* Intel without unrestricted guest */
	t->mem = tiny_map(mem_bytes, MAP_SHARED | MAP_ANONYMOUS, -1);
	if (!t->mem)
		return "mmap guest memory";
	slot.userspace_addr = (uintptr_t)t->mem;
	if (ioctl(t->vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
		return "KVM_SET_USER_MEMORY_REGION";
	t->vcpu = ioctl(t->vm, KVM_CREATE_VCPU, 0);
	if (t->vcpu < 0)
		return "KVM_CREATE_VCPU";
	bytes = ioctl(t->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (bytes < 0)
		return "KVM_GET_VCPU_MMAP_SIZE";
	t->run_bytes = (size_t)bytes;
	t->run = tiny_map(t->run_bytes, MAP_SHARED, t->vcpu);
	if (!t->run)
		return "mmap kvm_run";
	return tiny_cpuid(t) ? NULL : "KVM_SET_CPUID2";
}

void tiny_put(struct tiny *t, uint64_t gpa, uint64_t value)
{
	memcpy(t->mem + gpa, &value, 8);
}

struct walk_cpu tiny_walk_cpu(const struct tiny *t, const struct kvm_sregs *s, uint64_t rflags)
{
	return (struct walk_cpu){ .cr0 = s->cr0,
				  .cr3 = s->cr3,
				  .cr4 = s->cr4,
				  .efer = s->efer,
				  .ac = rflags >> 18 & 1,
				  .maxphyaddr = t->maxphyaddr,
				  .amd = t->amd };
}

bool tiny_translate(struct tiny *t, uint64_t gva, uint64_t *gpa)
{
	struct kvm_translation tr = { .linear_address = gva };

	if (ioctl(t->vcpu, KVM_TRANSLATE, &tr) < 0)
		return false;
	*gpa = tr.physical_address;
	return tr.valid;
}

bool tiny_has_1g(struct tiny *t, uint64_t cr3, uint64_t pdpt)
{
	uint64_t gpa = 0;
	bool has;

	tiny_put(t, cr3 + 8 * 8, pdpt | 7);
	tiny_put(t, pdpt, 0x87);
	has = tiny_translate(t, 8ULL << 39 | 0x123456, &gpa) && gpa == 0x123456;
	tiny_put(t, cr3 + 8 * 8, 0);
	tiny_put(t, pdpt, 0);
	return has;
}
