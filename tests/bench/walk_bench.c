/* SPDX-License-Identifier: MIT */
/*
 * One warm two-dimensional walk, 4-level guest tables over 4-level stage-2 tables with 4 KiB
 * leaves (24 recorded references), against KVM_TRANSLATE for the same address on the same
 * guest tables.  The peer's figure includes its ioctl: that is what asking it costs.  Prints
 * key=value lines; medians of RUNS runs, interleaved so that both see the same machine.
 */
#include <stdio.h>
#include "mmu/base/clock.h"
#include "tests/format/walk_lab.h"
#include "tests/kvm/tiny_vm.h"

#define RUNS	   15
#define WALKS	   100000
#define TRANSLATES 2000
#define MEM_BYTES  (1 * MiB)
#define GVA	   0x7f1234567123ULL
#define CR3	   0x1000

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, size_t n)
{
	qsort(v, n, sizeof(*v), compare_doubles);
	return v[n / 2];
}

/* Guest tables for GVA, and stage 2 mapping all of guest memory to itself in 4 KiB pages. */
static void build(struct lab *lab)
{
	uint64_t next = CR3 + QUIRE_PAGE_SIZE;

	lab_map(lab->guest, &x86_4level_format, CR3, &next, GVA, 0x80000, 1, GP | GW | GU | GA,
		GP | GW | GU | GA | GD);
	next = QUIRE_PAGE_SIZE;
	for (uint64_t gpa = 0; gpa < MEM_BYTES; gpa += QUIRE_PAGE_SIZE)
		lab_map(lab->ept, &ept4_format, 0, &next, gpa, gpa, 1, ERWX, ERWX | EWB);
}

static double time_walks(struct lab *lab, bool set_ad, struct walk_result *res)
{
	struct walk_cpu cpu = lab_cpu(&x86_4level_format, CR3);
	struct walk_stage2 s2 = lab_stage2(lab, &ept4_format);
	struct walk_memory mem = lab_memory(lab);
	struct walk_access access = { .user = true, .set_ad = set_ad };
	uint64_t start = monotonic_ns();

	for (int i = 0; i < WALKS; i++)
		walk_2d(&cpu, &s2, &mem, GVA, access, res);
	return (double)(monotonic_ns() - start) / WALKS;
}

static double time_translates(struct tiny *t, uint64_t *gpa)
{
	uint64_t start = monotonic_ns();

	for (int i = 0; i < TRANSLATES; i++)
		if (!tiny_translate(t, GVA, gpa))
			*gpa = GPA_INVALID;
	return (double)(monotonic_ns() - start) / TRANSLATES;
}

/* A vCPU with the same guest memory, or why there is none. */
static const char *start_peer(struct tiny *t, const struct lab *lab)
{
	const char *failed = tiny_create(t, MEM_BYTES);
	struct kvm_sregs sregs;

	if (failed)
		return failed;
	memcpy(t->mem, lab->guest, MEM_BYTES);
	if (ioctl(t->vcpu, KVM_GET_SREGS, &sregs) < 0)
		return "KVM_GET_SREGS";
	tiny_mode(&sregs, &x86_4level_format, CR3);
	return ioctl(t->vcpu, KVM_SET_SREGS, &sregs) < 0 ? "KVM_SET_SREGS" : NULL;
}

int main(void)
{
	double walk[RUNS], walk_ad[RUNS], translate[RUNS], ours, peer;
	struct walk_result res;
	struct tiny t;
	struct lab lab;
	const char *failed;
	uint64_t gpa = 0;

	lab_init(&lab, MEM_BYTES, MEM_BYTES);
	build(&lab);
	failed = start_peer(&t, &lab);
	for (int i = -1; i < RUNS; i++) { /* run -1 warms up */
		int k = i < 0 ? 0 : i;

		walk[k] = time_walks(&lab, false, &res);
		walk_ad[k] = time_walks(&lab, true, &res);
		if (!failed)
			translate[k] = time_translates(&t, &gpa);
	}
	ours = median(walk, RUNS);
	printf("walk_refs=%u\n", res.nr_refs);
	printf("walk_2d_ns=%.1f\n", ours);
	printf("walk_2d_min_ns=%.1f\n", walk[0]);
	printf("walk_2d_set_ad_ns=%.1f\n", median(walk_ad, RUNS));
	if (failed) {
		printf("kvm_translate_skipped=\"%s: %s\"\n", failed, strerror(errno));
	} else {
		peer = median(translate, RUNS);
		printf("kvm_translate_ns=%.1f\n", peer);
		printf("kvm_translate_min_ns=%.1f\n", translate[0]);
		printf("walk_2d_speedup=%.1f\n", peer / ours);
	}
	tiny_destroy(&t);
	lab_finish(&lab);
	/* A figure for the wrong answer is worth nothing. */
	return res.outcome != WALK_OK || res.nr_refs != 24 || (!failed && gpa != res.gpa);
}
