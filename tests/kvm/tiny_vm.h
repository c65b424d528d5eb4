/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_KVM_TINY_VM_H
#define QUIRE_TESTS_KVM_TINY_VM_H

/*
 * The smallest VM that can be asked how it translates addresses: one memslot at gpa 0,
 * one vCPU with paging on, the ioctls bare.  It shares nothing with vmm/, because it serves to
 * check what vmm/ and mmu/ believe.
 */
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "mmu/format/walk.h"

struct tiny {
	int kvm, vm, vcpu;
	struct kvm_run *run;
	size_t run_bytes;
	uint8_t *mem; /* guest memory; gpa is the offset */
	size_t mem_bytes;
	uint8_t maxphyaddr; /* of the CPUID the guest got */
	bool amd;	    /* ... and its vendor: AMD or Hygon */
};

/* Give the guest the CPUID that KVM supports, and note what decides about reserved bits. */
bool tiny_cpuid(struct tiny *t);

/* The registers that tests start from in the mode of this format of tables, which are at cr3. */
void tiny_mode(struct kvm_sregs *s, const struct pt_format *format, uint64_t cr3);

/* Unmaps and closes all; a tiny that is all zeroes is fine. */
void tiny_destroy(struct tiny *t);

/* mmap(2) for reading and writing; NULL: it failed. */
void *tiny_map(size_t bytes, int flags, int fd);

/* Returns NULL, or what could not be done (errno says why); destroy in any case. */
const char *tiny_create(struct tiny *t, size_t mem_bytes);

/* Stores a 64-bit entry. */
void tiny_put(struct tiny *t, uint64_t gpa, uint64_t value);

/* The registers as walk_2d() takes them. */
struct walk_cpu tiny_walk_cpu(const struct tiny *t, const struct kvm_sregs *s, uint64_t rflags);

/* KVM_TRANSLATE; false if KVM finds no address. */
bool tiny_translate(struct tiny *t, uint64_t gva, uint64_t *gpa);

/*
 * Are 1 GiB pages reserved for this guest?  CPUID does not tell: with two-dimensional paging
 * the processor decides, whatever CPUID says, and other back ends refuse them.  So try one,
 * on tables at cr3 that the vCPU uses; they are left empty.
 */
bool tiny_has_1g(struct tiny *t, uint64_t cr3, uint64_t pdpt);

#endif
