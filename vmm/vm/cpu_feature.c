/* SPDX-License-Identifier: MIT */
/*
 * What kernels trip over, if a host has it or has it not.  Names are those of /proc/cpuinfo, and
 * all of them fit in the line of an error.  Bits: Intel SDM Vol. 2A, "CPUID"; AMD APM Vol. 3.
 */
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "cpu_feature.h"
#include "cpuid.h"

enum reg { EAX, EBX, ECX, EDX };

static const struct {
	const char *name;
	uint32_t leaf, subleaf;
	enum reg reg;
	unsigned int bit;
} features[] = {
	{ "sse3", 1, 0, ECX, 0 },
	{ "pclmulqdq", 1, 0, ECX, 1 },
	{ "fma", 1, 0, ECX, 12 },
	{ "cx16", 1, 0, ECX, 13 },
	{ "pcid", 1, 0, ECX, 17 },
	{ "sse4_1", 1, 0, ECX, 19 },
	{ "sse4_2", 1, 0, ECX, 20 },
	{ "x2apic", 1, 0, ECX, 21 },
	{ "popcnt", 1, 0, ECX, 23 },
	{ "tsc_deadline", 1, 0, ECX, 24 },
	{ "aes", 1, 0, ECX, 25 },
	{ "xsave", 1, 0, ECX, 26 },
	{ "avx", 1, 0, ECX, 28 },
	{ "rdrand", 1, 0, ECX, 30 },
	{ "fsgsbase", 7, 0, EBX, 0 },
	{ "bmi1", 7, 0, EBX, 3 },
	{ "avx2", 7, 0, EBX, 5 },
	{ "smep", 7, 0, EBX, 7 },
	{ "bmi2", 7, 0, EBX, 8 },
	{ "invpcid", 7, 0, EBX, 10 },
	{ "avx512f", 7, 0, EBX, 16 },
	{ "rdseed", 7, 0, EBX, 18 },
	{ "smap", 7, 0, EBX, 20 },
	{ "sha_ni", 7, 0, EBX, 29 },
	{ "umip", 7, 0, ECX, 2 },
	{ "pku", 7, 0, ECX, 3 },
	{ "la57", 7, 0, ECX, 16 },
	{ "xsaves", 0xd, 1, EAX, 3 },
	{ "nx", 0x80000001, 0, EDX, 20 },
	{ "pdpe1gb", 0x80000001, 0, EDX, 26 },
	{ "rdtscp", 0x80000001, 0, EDX, 27 },
};

static_assert(ARRAY_SIZE(features) <= CPU_FEATURES_MOST, "a bit for each");

/* -EINVAL, with all names. */
static int no_such(const char *word, size_t length, struct quire_error *err)
{
	char names[sizeof(err->text)] = "";
	size_t used = 0;

	for (size_t i = 0; i < ARRAY_SIZE(features) && used < sizeof(names); i++)
		used += (size_t)snprintf(names + used, sizeof(names) - used, " %s",
					 features[i].name);
	return quire_fail(err, -EINVAL, "'%.*s' is not - or + and one of%s",
			  length > 20 ? 20 : (int)length, word, names);
}

static void set(uint64_t *map, size_t i, bool on)
{
	map[i / 64] = (map[i / 64] & ~(1ULL << i % 64)) | (uint64_t)on << i % 64;
}

static bool is_set(const uint64_t *map, size_t i)
{
	return map[i / 64] >> i % 64 & 1;
}

static bool take_word(const char *word, size_t length, struct cpu_features *out)
{
	if (length < 2 || (*word != '-' && *word != '+'))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
		if (strlen(features[i].name) != length - 1 ||
		    memcmp(features[i].name, word + 1, length - 1))
			continue;
		set(out->off, i, *word == '-');
		set(out->on, i, *word == '+');
		return true;
	}
	return false;
}

int cpu_features_parse(const char *text, struct cpu_features *out, struct quire_error *err)
{
	size_t length;

	for (const char *word = text;; word += length + 1) {
		length = strcspn(word, ",");
		if (!take_word(word, length, out))
			return no_such(word, length, err);
		if (!word[length])
			return 0;
	}
}

static uint32_t *word_of(struct kvm_cpuid_entry2 *e, enum reg reg)
{
	switch (reg) {
	case EAX: return &e->eax;
	case EBX: return &e->ebx;
	case ECX: return &e->ecx;
	default: return &e->edx;
	}
}

int cpu_features_apply(const struct cpu_features *wish, struct kvm_cpuid2 *table,
		       struct quire_error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
		struct kvm_cpuid_entry2 *e =
			cpuid_find(table, features[i].leaf, features[i].subleaf);
		uint32_t bit = 1u << features[i].bit;

		if (e && is_set(wish->off, i))
			*word_of(e, features[i].reg) &= ~bit;
		if (is_set(wish->on, i) && !(e && *word_of(e, features[i].reg) & bit))
			return quire_fail(err, -EDOM,
					  "--cpu=+%s: this host's processor and KVM do not have it",
					  features[i].name);
	}
	return 0;
}

void cpu_features_left(const struct cpu_features *wish, struct kvm_cpuid2 *table, char *names,
		       size_t size)
{
	size_t used = 0;

	*names = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(features) && used < size; i++) {
		struct kvm_cpuid_entry2 *e =
			cpuid_find(table, features[i].leaf, features[i].subleaf);

		if (e && is_set(wish->off, i) &&
		    *word_of(e, features[i].reg) >> features[i].bit & 1)
			used += (size_t)snprintf(names + used, size - used, "%s%s", used ? "," : "",
						 features[i].name);
	}
}
