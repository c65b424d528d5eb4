/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_CPU_FEATURE_H
#define QUIRE_VMM_VM_CPU_FEATURE_H

/* Features of the guest's processor by name, to hide them or to ask for them: --cpu. */
#include <linux/kvm.h>
#include <quire/error.h>
#include <quire/types.h>

#define CPU_FEATURES_MOST 128

/* Bit n: the nth row of the table in cpu_feature.c.  All zeroes is no wish. */
struct cpu_features {
	uint64_t off[CPU_FEATURES_MOST / 64]; /* the guest does not see these */
	uint64_t on[CPU_FEATURES_MOST / 64];  /* these it has to see */
};

/*
 * Read "-cx16,+avx,..."; of a name that is there twice, the last one counts.
 * 0; -EINVAL: a word has no sign, or is none of the names, which *err lists.
 */
int cpu_features_parse(const char *text, struct cpu_features *out, struct quire_error *err);

/*
 * Take features out of a CPUID table.  0; -EDOM: the table does not have one that is asked for, and
 * *err names it.
 */
int cpu_features_apply(const struct cpu_features *features, struct kvm_cpuid2 *table,
		       struct quire_error *err);

/*
 * The names of features that are to be hidden, and that the table has all the same: some hosts' KVM
 * puts them back.  As many as fit, with commas between them; "": none.
 */
void cpu_features_left(const struct cpu_features *features, struct kvm_cpuid2 *table, char *names,
		       size_t size);

#endif
