/* SPDX-License-Identifier: MIT */
/*
 * Random 4-level tables in a real vCPU's memory: KVM_TRANSLATE and walk_2d() over an
 * identity stage 2 must find the same addresses, and none for the same gvas.
 *
 * KVM_TRANSLATE is a supervisor read without permission checks, so entries vary in address,
 * size, P and reserved bits; permissions are walk_fault_test's subject.  It marks entries
 * accessed like a processor, so what became of the tables is compared too.
 */
#include "tests/tap.h"
#include "tests/format/walk_lab.h"
#include "tiny_vm.h"

#define NR_PAGES  32
#define IMAGES	  40
#define GVAS	  250
#define MEM_BYTES (NR_PAGES * QUIRE_PAGE_SIZE)

static bool one_in(uint64_t *seed, unsigned int n)
{
	return tap_random(seed) % n == 0;
}

static uint64_t random_entry(uint64_t *seed)
{
	uint64_t r = tap_random(seed), e;

	e = r % NR_PAGES * QUIRE_PAGE_SIZE | GP | (r >> 8 & (GW | GU | GA | GD));
	if (one_in(seed, 10))
		e |= GPS; /* most misaligned: reserved bits */
	if (one_in(seed, 10))
		e = (e & 0xfff) | GPS | (tap_random(seed) & 0xffffe00000ULL & ~GiB);
	if (one_in(seed, 12))
		e |= GNX;
	if (one_in(seed, 16))
		e &= ~GP;
	if (one_in(seed, 24))
		e |= 1ULL << (52 + tap_random(seed) % 7); /* ignored bits */
	if (one_in(seed, 10))
		e |= 1 << 8; /* G; reserved in a PML4E by AMD */
	if (one_in(seed, 40))
		e ^= 1ULL << (tap_random(seed) % 64);
	if (one_in(seed, 100))
		e = tap_random(seed);
	return e;
}

struct tally {
	unsigned int cases, valid, large, wrong;
};

static void check_gva(struct tiny *t, struct lab *copy, const struct walk_cpu *cpu, uint64_t gva,
		      struct tally *n)
{
	struct walk_stage2 s2 = lab_identity();
	struct walk_memory mem = lab_memory(copy);
	struct walk_result res;
	uint64_t gpa = 0;
	bool valid = tiny_translate(t, gva, &gpa);

	walk_2d(cpu, &s2, &mem, gva, (struct walk_access){ .set_ad = true }, &res);
	n->cases++;
	n->valid += valid;
	n->large += valid && res.level1 > 1;
	if (valid == (res.outcome == WALK_OK) && (!valid || gpa == res.gpa))
		return;
	if (n->wrong++)
		return;
	tap_note("gva %#" PRIx64 ": KVM %s %#" PRIx64 ", walk_2d %s %#" PRIx64 " code %#x", gva,
		 valid ? "finds" : "does not find", gpa, walk_outcome_name(res.outcome), res.gpa,
		 res.error_code);
	for (unsigned int i = 0; i < res.nr_refs; i++) {
		const struct walk_ref *ref = &res.ref[i];

		if (ref->stage == 1)
			tap_note("  %s at %#" PRIx64 ": %#" PRIx64, ref->name, ref->addr,
				 ref->entry);
	}
}

/* One set of tables, many addresses. */
static void check_image(struct tiny *t, struct lab *copy, const struct walk_cpu *cpu,
			uint64_t *seed, struct tally *n)
{
	for (uint64_t at = 0; at < MEM_BYTES; at += 8)
		tiny_put(t, at, random_entry(seed));
	memcpy(copy->guest, t->mem, MEM_BYTES);
	for (unsigned int i = 0; i < GVAS; i++) {
		/* Canonical, everything else random. */
		uint64_t gva = (uint64_t)((int64_t)(tap_random(seed) << 16) >> 16);

		check_gva(t, copy, cpu, gva, n);
	}
}

static const char *set_registers(struct tiny *t, struct kvm_sregs *sregs)
{
	if (ioctl(t->vcpu, KVM_GET_SREGS, sregs) < 0)
		return "KVM_GET_SREGS";
	tiny_mode(sregs, &x86_4level_format, QUIRE_PAGE_SIZE);
	return ioctl(t->vcpu, KVM_SET_SREGS, sregs) < 0 ? "KVM_SET_SREGS" : NULL;
}

int main(int argc, char **argv)
{
	struct tally n = { 0 };
	struct kvm_sregs sregs;
	struct walk_cpu cpu;
	struct tiny t;
	struct lab copy;
	const char *failed;
	unsigned int changed = 0;
	uint64_t seed;

	tap_init();
	if (access("/dev/kvm", R_OK | W_OK))
		tap_skip_all("no access to /dev/kvm");
	failed = tiny_create(&t, MEM_BYTES);
	if (!failed)
		failed = set_registers(&t, &sregs);
	if (failed)
		tap_bail("%s: %s", failed, strerror(errno));
	seed = tap_seed(argc, argv);
	lab_init(&copy, MEM_BYTES, QUIRE_PAGE_SIZE);
	cpu = tiny_walk_cpu(&t, &sregs, 0);
	cpu.pages_1g = tiny_has_1g(&t, sregs.cr3, 2 * QUIRE_PAGE_SIZE);
	tap_note("%s, MAXPHYADDR %u, 1 GiB pages %s", cpu.amd ? "AMD" : "not AMD", cpu.maxphyaddr,
		 cpu.pages_1g ? "exist" : "are reserved");

	for (unsigned int i = 0; i < IMAGES; i++) {
		check_image(&t, &copy, &cpu, &seed, &n);
		changed += memcmp(t.mem, copy.guest, MEM_BYTES) != 0;
	}
	ok(n.wrong == 0,
	   "KVM_TRANSLATE and walk_2d agree on %u addresses, %u valid, %u in large"
	   " pages",
	   n.cases, n.valid, n.large);
	ok(n.valid > n.cases / 20, "enough of them were valid to mean something");
	ok(changed == 0, "both marked the same entries accessed in all %u sets of tables", IMAGES);
	lab_finish(&copy);
	tiny_destroy(&t);
	return tap_done();
}
