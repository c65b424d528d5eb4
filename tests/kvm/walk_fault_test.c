/* SPDX-License-Identifier: MIT */
/*
 * What really happens when a guest reads, writes and fetches, against walk_2d()'s word.
 *
 * For each round: a fresh VM with random permissions at all levels, random CR0.WP, CR4.SMEP,
 * CR4.SMAP, EFER.NXE; then accesses at CPL 3 and CPL 0.  Each either reaches its page, the
 * right one (every page holds its own address, and code), or takes a #PF whose error code and
 * CR2 are compared.  At the end the tables' A and D bits are.  Nobody changes the tables
 * while the guest runs, so stale translations are no issue.
 *
 * Guest memory, gpa == gva below 2 MiB:
 *
 *   0x1000   PML4; entry 0 leads to the fixed mapping below, entries 1 and 2 to the tables
 *   0x2000   PDPT, PD, PT of the fixed mapping (4 KiB pages)       under test
 *   0x5000   GDT, IDT, TSS, a page each
 *   0x8000   kernel stack
 *   0x9000   payload as seen by CPL 0 and, at 0xa000, by CPL 3
 *   0x10000  tables under test
 *   0x40000  16 data pages
 *   2 MiB    6 MiB of data for 2 MiB pages
 *
 * Every data page begins with code that reports success, and holds its gpa at DATA_WORD.
 */
#include <signal.h>
#include <stdio.h>
#include "tests/tap.h"
#include "tests/format/walk_lab.h"
#include "tiny_vm.h"

#define ROUNDS 50
#define CASES  80

#define PML4	  0x1000ULL
#define FIXED	  0x2000ULL
#define GDT	  0x5000ULL
#define IDT	  0x6000ULL
#define TSS	  0x7000ULL
#define STACK_TOP 0x9000ULL
#define PAYLOAD_K 0x9000ULL
#define PAYLOAD_U 0xa000ULL
#define TABLES	  0x10000ULL
#define DATA	  0x40000ULL
#define NR_DATA	  16
#define LARGE	  (2 * MiB)
#define MEM_BYTES (8 * MiB)
#define DATA_WORD 0x800

#define SEL_CODE 0x08
#define SEL_DATA 0x10
#define SEL_UDAT 0x1b
#define SEL_UCOD 0x23

#define PORT_DONE  0x10
#define PORT_FAULT 0x11
#define PORT_OTHER 0x12

/*
 * The payload, position independent: it runs at two addresses.  Handlers end in the host,
 * which reads the stack and starts the next case from scratch.
 */
asm(".pushsection .rodata\n"
    "payload:\n"
    "payload_read:  mov (%rdi), %rax\n"
    "               out %al, $0x10\n"
    "payload_write: mov %rsi, (%rdi)\n"
    "               out %al, $0x10\n"
    "payload_fetch: jmp *%rdi\n"
    "payload_fault: mov %cr2, %rbx\n"
    "               out %al, $0x11\n"
    "payload_other: out %al, $0x12\n"
    "payload_end:\n"
    ".popsection\n");
extern const uint8_t payload[], payload_read[], payload_write[], payload_fetch[], payload_fault[],
	payload_other[], payload_end[];

static const uint8_t data_code[] = { 0xe6, PORT_DONE }; /* out %al, $PORT_DONE */

struct round {
	struct tiny t;
	struct lab copy; /* what walk_2d predicts memory to be */
	struct kvm_sregs user, kernel;
	bool reserved_bits; /* some are set in the tables */
	uint64_t next_table;
	unsigned int lost_d, lost_a, extra_a;
};

struct tally {
	unsigned int cases, ok, faults, wrong, codes;
};

/* ------------------------------------------------------------------ the guest */

static void put_gate(struct tiny *t, unsigned int vector, uint64_t handler)
{
	tiny_put(t, IDT + vector * 16,
		 (handler & 0xffff) | SEL_CODE << 16 | 0x8e00ULL << 32 |
			 (handler >> 16 & 0xffff) << 48);
	tiny_put(t, IDT + vector * 16 + 8, handler >> 32);
}

static void put_descriptors(struct tiny *t)
{
	tiny_put(t, GDT + SEL_CODE, 0x00af9b000000ffff);
	tiny_put(t, GDT + SEL_DATA, 0x00cf93000000ffff);
	tiny_put(t, GDT + (SEL_UDAT & ~7), 0x00cff3000000ffff);
	tiny_put(t, GDT + (SEL_UCOD & ~7), 0x00affb000000ffff);
	tiny_put(t, GDT + 0x28, 0x67 | (TSS & 0xffffff) << 16 | 0x8bULL << 40);
	for (unsigned int v = 0; v < 32; v++)
		put_gate(t, v, PAYLOAD_K + (uint64_t)(payload_other - payload));
	put_gate(t, 14, PAYLOAD_K + (uint64_t)(payload_fault - payload));
	memcpy(t->mem + TSS + 4, &(uint64_t){ STACK_TOP }, 8); /* RSP0 */
}

/* Pages of the fixed mapping are accessed and dirty from the start: not what is tested. */
static void put_fixed_mapping(struct tiny *t)
{
	uint64_t flags = GP | GW | GU | GA;

	tiny_put(t, PML4, FIXED | flags);
	tiny_put(t, FIXED, (FIXED + 0x1000) | flags);
	tiny_put(t, FIXED + 0x1000, (FIXED + 0x2000) | flags);
	for (uint64_t gva = GDT; gva <= PAYLOAD_U; gva += QUIRE_PAGE_SIZE)
		tiny_put(t, FIXED + 0x2000 + (gva >> 12) * 8,
			 gva | GP | GW | GA | GD | (gva == PAYLOAD_U ? GU : 0));
	memcpy(t->mem + PAYLOAD_K, payload, (size_t)(payload_end - payload));
	memcpy(t->mem + PAYLOAD_U, payload, (size_t)(payload_end - payload));
}

static void put_data(struct tiny *t)
{
	for (uint64_t gpa = DATA; gpa < MEM_BYTES; gpa += QUIRE_PAGE_SIZE) {
		memcpy(t->mem + gpa, data_code, sizeof(data_code));
		tiny_put(t, gpa + DATA_WORD, gpa);
	}
}

/* ------------------------------------------------------------------ tables under test */

static bool one_in(uint64_t *seed, unsigned int n)
{
	return tap_random(seed) % n == 0;
}

/* Permissions that mostly allow, or nothing interesting would be reached below. */
static uint64_t random_flags(const struct round *r, uint64_t *seed, bool leaf)
{
	uint64_t flags = tap_random(seed) & (GA | (leaf ? GD : 0));

	flags |= one_in(seed, 14) ? 0 : GP;
	flags |= one_in(seed, 6) ? 0 : GW;
	flags |= one_in(seed, 6) ? 0 : GU;
	flags |= one_in(seed, 10) ? GNX : 0;
	/* Reserved, unless all physical address bits exist. */
	if (r->reserved_bits && r->t.maxphyaddr < 52 && one_in(seed, 25))
		flags |= 1ULL << 51;
	return flags;
}

/*
 * A table with two entries in use, or four in a page table, which random_gva() selects; a
 * third of the PDEs map 2 MiB pages.
 */
static void random_table(struct round *r, uint64_t *seed, uint64_t table, unsigned int level)
{
	for (unsigned int i = 0; i < (level == 1 ? 4 : 2); i++) {
		uint64_t to = r->next_table;

		if (level == 1) {
			to = DATA + tap_random(seed) % NR_DATA * QUIRE_PAGE_SIZE;
		} else if (level == 2 && one_in(seed, 3)) {
			to = (LARGE + tap_random(seed) % 3 * LARGE) | GPS;
			to |= r->reserved_bits && one_in(seed, 12) ? 1ULL << 13 : 0;
		} else {
			r->next_table += QUIRE_PAGE_SIZE;
			random_table(r, seed, to, level - 1);
		}
		tiny_put(&r->t, table + i * 8, to | random_flags(r, seed, level == 1 || to & GPS));
	}
}

static void random_tables(struct round *r, uint64_t *seed)
{
	r->next_table = TABLES;
	for (unsigned int i = 1; i <= 2; i++) {
		uint64_t to = r->next_table;

		r->next_table += QUIRE_PAGE_SIZE;
		random_table(r, seed, to, 3);
		/* Reserved by AMD, ignored by Intel. */
		to |= r->reserved_bits && one_in(seed, 10) ? 1 << 8 : 0;
		tiny_put(&r->t, PML4 + i * 8, to | random_flags(r, seed, false));
	}
}

static uint64_t random_gva(uint64_t *seed)
{
	uint64_t r = tap_random(seed);

	return (1 + (r & 1)) << 39 | (r >> 1 & 1) << 30 | (r >> 2 & 1) << 21 | (r >> 3 & 3) << 12;
}

/* ------------------------------------------------------------------ running it */

static void segment(struct kvm_segment *s, unsigned int selector)
{
	s->selector = selector;
	s->dpl = selector & 3;
}

static const char *set_registers(struct round *r, uint64_t *seed)
{
	struct kvm_sregs *k = &r->kernel;

	if (ioctl(r->t.vcpu, KVM_GET_SREGS, k) < 0)
		return "KVM_GET_SREGS";
	tiny_long_mode(k, PML4);
	if (one_in(seed, 3))
		k->cr0 &= ~LAB_CR0_WP;
	if (one_in(seed, 2))
		k->cr4 |= LAB_CR4_SMEP;
	if (one_in(seed, 2))
		k->cr4 |= LAB_CR4_SMAP;
	if (r->reserved_bits && one_in(seed, 4)) /* NX is reserved then */
		k->efer &= ~LAB_EFER_NXE;
	k->gdt.base = GDT;
	k->gdt.limit = 0x37;
	k->idt.base = IDT;
	k->idt.limit = 32 * 16 - 1;
	k->tr = (struct kvm_segment){
		.base = TSS, .limit = 0x67, .selector = 0x28, .type = 11, .present = 1
	};
	/* A processor without SMEP or SMAP says so here. */
	if (ioctl(r->t.vcpu, KVM_SET_SREGS, k) < 0) {
		k->cr4 &= ~(LAB_CR4_SMEP | LAB_CR4_SMAP);
		if (ioctl(r->t.vcpu, KVM_SET_SREGS, k) < 0)
			return "KVM_SET_SREGS";
	}
	r->user = *k;
	segment(&r->user.cs, SEL_UCOD);
	segment(&r->user.ss, SEL_UDAT);
	segment(&r->user.ds, SEL_UDAT);
	segment(&r->user.es, SEL_UDAT);
	return NULL;
}

struct outcome {
	unsigned int port;
	uint32_t error_code;
	uint64_t cr2, rax;
};

static const char *run_once(struct round *r, uint64_t gva, struct walk_access a, bool ac,
			    struct outcome *out)
{
	uint64_t base = a.user ? PAYLOAD_U : PAYLOAD_K;
	const uint8_t *stub = a.fetch ? payload_fetch : a.write ? payload_write : payload_read;
	struct kvm_regs regs = {
		.rip = base + (uint64_t)(stub - payload),
		.rsp = STACK_TOP,
		.rflags = 0x3002 | (ac ? 1 << 18 : 0), /* IOPL 3: `out` at CPL 3 */
		.rdi = gva + (a.fetch ? 0 : DATA_WORD),
		.rsi = gva,
	};
	struct kvm_run *run = r->t.run;

	if (ioctl(r->t.vcpu, KVM_SET_SREGS, a.user ? &r->user : &r->kernel) < 0)
		return "KVM_SET_SREGS";
	if (ioctl(r->t.vcpu, KVM_SET_REGS, &regs) < 0)
		return "KVM_SET_REGS";
	if (ioctl(r->t.vcpu, KVM_RUN, 0) < 0)
		return "KVM_RUN";
	if (run->exit_reason != KVM_EXIT_IO) {
		errno = 0;
		tap_note("exit reason %u at gva %#" PRIx64, run->exit_reason, gva);
		return "KVM_RUN: not an exit for I/O";
	}
	out->port = run->io.port;
	/* The `out` is finished on the next entry; have that over before registers are set. */
	run->immediate_exit = 1;
	ioctl(r->t.vcpu, KVM_RUN, 0);
	run->immediate_exit = 0;
	if (ioctl(r->t.vcpu, KVM_GET_REGS, &regs) < 0)
		return "KVM_GET_REGS";
	out->rax = regs.rax;
	out->cr2 = regs.rbx;
	memcpy(&out->error_code, r->t.mem + STACK_TOP - 48, 4);
	return NULL;
}

static bool agrees(struct round *r, const struct walk_result *want, const struct outcome *got,
		   uint64_t gva, struct walk_access a)
{
	uint64_t word;

	if (want->outcome == WALK_PAGE_FAULT)
		return got->port == PORT_FAULT && got->error_code == want->error_code &&
		       got->cr2 == gva;
	if (want->outcome != WALK_OK || got->port != PORT_DONE)
		return false;
	memcpy(&word, r->t.mem + want->maddr, 8);
	if (a.write)
		return word == (gva & ~0xfffULL); /* rsi */
	return a.fetch || got->rax == word;
}

static const char *one_case(struct round *r, uint64_t *seed, struct tally *n)
{
	uint64_t kind = tap_random(seed), gva = random_gva(seed), word;
	struct walk_access a = { .write = kind % 3 == 1,
				 .fetch = kind % 3 == 2,
				 .user = kind >> 8 & 1,
				 .set_ad = true };
	uint64_t at = gva + (a.fetch ? 0 : DATA_WORD);
	bool ac = kind >> 9 & 1;
	struct walk_cpu cpu = tiny_walk_cpu(&r->t, &r->kernel, ac ? 1 << 18 : 0);
	struct walk_stage2 s2 = lab_identity();
	struct walk_memory mem = lab_memory(&r->copy);
	struct outcome got = { 0 };
	struct walk_result want;
	const char *failed;

	walk_2d(&cpu, &s2, &mem, at, a, &want);
	failed = run_once(r, gva, a, ac, &got);
	if (failed)
		return failed;
	n->cases++;
	n->ok += want.outcome == WALK_OK;
	n->faults += want.outcome == WALK_PAGE_FAULT;
	if (want.outcome == WALK_PAGE_FAULT)
		n->codes |= 1u << want.error_code;
	if (agrees(r, &want, &got, at, a)) {
		/* Restore what the write overwrote. */
		word = want.maddr - DATA_WORD;
		if (a.write && want.outcome == WALK_OK)
			memcpy(r->t.mem + want.maddr, &word, 8);
		return NULL;
	}
	if (n->wrong++)
		return NULL;
	tap_note("%s %s of %#" PRIx64 ", cr0 %#" PRIx64 " cr4 %#" PRIx64 " efer %#" PRIx64 " ac %d",
		 a.user ? "user" : "supervisor",
		 a.write ? "write" :
		 a.fetch ? "fetch" :
			   "read",
		 at, cpu.cr0, cpu.cr4, cpu.efer, ac);
	tap_note("  guest: %s code %#x cr2 %#" PRIx64 " rax %#" PRIx64,
		 got.port == PORT_DONE	? "done" :
		 got.port == PORT_FAULT ? "#PF" :
					  "exception",
		 got.error_code, got.cr2, got.rax);
	tap_note("  walk_2d: %s code %#x maddr %#" PRIx64, walk_outcome_name(want.outcome),
		 want.error_code, want.maddr);
	for (unsigned int i = 0; i < want.nr_refs; i++)
		if (want.ref[i].stage == 1)
			tap_note("  %s %#" PRIx64, want.ref[i].name, want.ref[i].entry);
	return NULL;
}

/*
 * D must be as predicted, and so must A where it is predicted set.  A processor may mark
 * entries accessed that it met on the way to a fault or by speculation, so A alone in excess
 * is not counted as an error.
 */
static void compare_tables(struct round *r, uint64_t start, uint64_t end)
{
	for (uint64_t at = start; at < end; at += 8) {
		uint64_t got = lab_get(r->t.mem, at, 8), want = lab_get(r->copy.guest, at, 8);

		if ((got ^ want) & GD)
			r->lost_d++;
		if (~got & want & GA)
			r->lost_a++;
		if (got & ~want & GA)
			r->extra_a++;
	}
}

static const char *one_round(struct round *r, uint64_t *seed, struct tally *n)
{
	const char *failed = tiny_create(&r->t, MEM_BYTES);

	if (failed)
		return failed;
	put_descriptors(&r->t);
	put_fixed_mapping(&r->t);
	put_data(&r->t);
	random_tables(r, seed);
	failed = set_registers(r, seed);
	if (failed)
		return failed;
	lab_init(&r->copy, MEM_BYTES, QUIRE_PAGE_SIZE);
	memcpy(r->copy.guest, r->t.mem, MEM_BYTES);
	for (unsigned int i = 0; i < CASES && !failed; i++)
		failed = one_case(r, seed, n);
	compare_tables(r, PML4 + 8, FIXED);
	compare_tables(r, TABLES, r->next_table);
	lab_finish(&r->copy);
	return failed;
}

int main(int argc, char **argv)
{
	struct round r = { 0 };
	struct tally n = { 0 };
	uint64_t seed;

	tap_init();
	if (access("/dev/kvm", R_OK | W_OK))
		tap_skip_all("no access to /dev/kvm");
	seed = tap_seed(argc, argv);
	alarm(100); /* a vCPU that hangs is a failure, not a wait */
	r.reserved_bits = !tap_deviates("reserved-bits");
	for (unsigned int i = 0; i < ROUNDS; i++) {
		const char *failed = one_round(&r, &seed, &n);

		if (failed)
			tap_bail("round %u: %s: %s", i, failed, strerror(errno));
		tiny_destroy(&r.t);
	}
	ok(n.wrong == 0, "the guest met what walk_2d predicted in %u cases: %u accesses, %u faults",
	   n.cases, n.ok, n.faults);
	ok(n.ok > n.cases / 10 && n.faults > n.cases / 10, "there were enough of both");
	tap_note("%d different error codes", __builtin_popcount(n.codes));
	ok(r.lost_d == 0, "dirty bits are where walk_2d sets them");
	ok(r.lost_a == 0, "accessed bits are wherever walk_2d sets them");
	tap_note("%u entries accessed beyond those", r.extra_a);
	return tap_done();
}
