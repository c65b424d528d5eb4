/* SPDX-License-Identifier: MIT */
/*
 * What really happens when a guest reads, writes and fetches, against walk_2d()'s word.
 *
 * In each mode of paging that KVM runs here, for each round: a fresh VM with random permissions at
 * all levels, random CR0.WP, CR4.SMEP, CR4.SMAP, EFER.NXE; then accesses at CPL 3 and CPL 0.
 * Each either reaches its page, the right one (every page holds its own address, and code), or
 * takes a #PF whose error code and CR2 are compared.  At the end the tables' A and D bits are.
 * Nobody changes the tables while the guest runs, so stale translations are no issue.
 *
 * Guest memory:
 *
 *   0        16 data pages
 *   0x10000  the root table; entry 0 leads to the fixed mapping, entries 1 and 2 to what is tested
 *   0x11000  tables of the fixed mapping, in which gva == gpa
 *   0x16000  GDT, IDT, TSS, a page each
 *   0x19000  kernel stack
 *   0x1a000  payload as seen by CPL 0 and, at 0x1b000, by CPL 3
 *   0x20000  tables under test
 *   2 MiB    6 MiB of data for large pages
 *
 * Every data page begins with code that reports success, and holds its gpa at DATA_WORD.
 */
#include <signal.h>
#include <stdio.h>
#include "tests/tap.h"
#include "tests/format/walk_lab.h"
#include "tiny_vm.h"

#define CASES 80

#define DATA	  0ULL
#define NR_DATA	  16
#define ROOT	  0x10000ULL
#define FIXED	  0x11000ULL
#define GDT	  0x16000ULL
#define IDT	  0x17000ULL
#define TSS	  0x18000ULL
#define STACK_TOP 0x1a000ULL
#define PAYLOAD_K 0x1a000ULL
#define PAYLOAD_U 0x1b000ULL
#define TABLES	  0x20000ULL
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
 * which reads the stack and starts the next case from scratch.  As 32-bit code the bytes do the
 * same with 32-bit registers, once a prefix has become a decrement of EAX.
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

static const struct mode {
	const struct pt_format *format;
	unsigned int rounds;
} modes[] = {
	{ &x86_4level_format, 20 },
	{ &x86_5level_format, 10 },
	{ &x86_pae_format, 10 },
	{ &x86_32_format, 10 },
};

struct round {
	struct tiny t;
	const struct pt_format *format;
	struct lab copy; /* what walk_2d predicts memory to be */
	struct kvm_sregs user, kernel;
	bool reserved_bits; /* some are set in the tables */
	bool pages_1g;
	uint64_t next_table;
	unsigned int lost_d, lost_a, extra_a;
};

struct tally {
	unsigned int cases, ok, faults, wrong, codes, huge;
};

/* ------------------------------------------------------------------ the guest */

static bool is_long(const struct round *r)
{
	return r->format->nr_levels >= 4;
}

/* The first eight bytes of a 64-bit gate are a 32-bit gate. */
static void put_gate(struct round *r, unsigned int vector, uint64_t handler)
{
	tiny_put(&r->t, IDT + vector * (is_long(r) ? 16 : 8),
		 (handler & 0xffff) | SEL_CODE << 16 | 0x8e00ULL << 32 |
			 (handler >> 16 & 0xffff) << 48);
}

static void put_descriptors(struct round *r)
{
	struct tiny *t = &r->t;

	tiny_put(t, GDT + SEL_CODE, is_long(r) ? 0x00af9b000000ffff : 0x00cf9b000000ffff);
	tiny_put(t, GDT + SEL_DATA, 0x00cf93000000ffff);
	tiny_put(t, GDT + (SEL_UDAT & ~7), 0x00cff3000000ffff);
	tiny_put(t, GDT + (SEL_UCOD & ~7), is_long(r) ? 0x00affb000000ffff : 0x00cffb000000ffff);
	tiny_put(t, GDT + 0x28, 0x67 | (TSS & 0xffffff) << 16 | 0x8bULL << 40);
	for (unsigned int v = 0; v < 32; v++)
		put_gate(r, v, PAYLOAD_K + (uint64_t)(payload_other - payload));
	put_gate(r, 14, PAYLOAD_K + (uint64_t)(payload_fault - payload));
	/* RSP0; or ESP0, and SS0 after it. */
	memcpy(t->mem + TSS + 4, &(uint64_t){ STACK_TOP }, 8);
	if (!is_long(r))
		t->mem[TSS + 8] = SEL_DATA;
}

/* Pages of the fixed mapping are accessed and dirty from the start: not what is tested. */
static void put_fixed_mapping(struct round *r)
{
	const struct pt_format *format = r->format;
	uint8_t *mem = r->t.mem;
	uint64_t next = FIXED;

	for (uint64_t gva = GDT; gva <= PAYLOAD_U; gva += QUIRE_PAGE_SIZE)
		lab_map(mem, format, ROOT, &next, gva, gva, 1, GP | GW | GU | GA,
			GP | GW | GA | GD | (gva == PAYLOAD_U ? GU : 0));
	if (format->level[0].no_accessed) /* all else in it is reserved */
		lab_put(mem, ROOT, 8, FIXED | GP);
	memcpy(mem + PAYLOAD_K, payload, (size_t)(payload_end - payload));
	memcpy(mem + PAYLOAD_U, payload, (size_t)(payload_end - payload));
}

static void put_data(struct tiny *t)
{
	for (uint64_t gpa = DATA; gpa < MEM_BYTES; gpa += QUIRE_PAGE_SIZE) {
		if (gpa == DATA + NR_DATA * QUIRE_PAGE_SIZE)
			gpa = LARGE;
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
static uint64_t random_flags(const struct round *r, uint64_t *seed, const struct pt_level *lv,
			     bool leaf)
{
	uint64_t flags = tap_random(seed) & (GA | (leaf ? GD : 0));

	flags |= one_in(seed, 14) ? 0 : GP;
	if (lv->no_accessed)
		return flags & GP;
	flags |= one_in(seed, 6) ? 0 : GW;
	flags |= one_in(seed, 6) ? 0 : GU;
	if (r->format->entry_bytes < 8)
		return flags;
	flags |= one_in(seed, 10) ? GNX : 0;
	/* Reserved, unless all physical address bits exist. */
	if (r->reserved_bits && r->t.maxphyaddr < 52 && one_in(seed, 25))
		flags |= 1ULL << 51;
	/* Reserved by AMD, ignored by Intel. */
	if (r->reserved_bits && lv->level >= 4 && one_in(seed, 10))
		flags |= 1 << 8;
	return flags;
}

/* A large page of level lv, or 0: the entry is to be a table. */
static uint64_t random_large_page(const struct round *r, uint64_t *seed, const struct pt_level *lv)
{
	uint64_t span = pt_span(lv), to = 0;

	if (!lv->may_leaf || (lv->level > 2 && !r->pages_1g) || !one_in(seed, 3))
		return 0;
	if (lv->level == 2)
		to = span + tap_random(seed) % (MEM_BYTES / span - 1) * span;
	if (r->reserved_bits && one_in(seed, 12))
		to |= r->format->entry_bytes == 8 ? 1 << 13 : 1 << 21;
	return to | GPS;
}

/*
 * A table of the format's level `at`.  Of a root, entries 1 and 2 are in use, of a page table the
 * first four, of others the first two: random_gva() selects these.  A third of the entries that
 * may be large pages are.
 */
static void random_table(struct round *r, uint64_t *seed, uint64_t table, unsigned int at)
{
	const struct pt_level *lv = &r->format->level[at];
	unsigned int first = at == 0, nr = lv->level == 1 ? 4 : 2;

	for (unsigned int i = first; i < first + nr; i++) {
		uint64_t to = random_large_page(r, seed, lv);
		bool leaf = to || lv->level == 1;

		if (lv->level == 1) {
			to = DATA + tap_random(seed) % NR_DATA * QUIRE_PAGE_SIZE;
		} else if (!to) {
			to = r->next_table;
			r->next_table += QUIRE_PAGE_SIZE;
			random_table(r, seed, to, at + 1);
		}
		lab_put(r->t.mem, table + i * r->format->entry_bytes, r->format->entry_bytes,
			to | random_flags(r, seed, lv, leaf));
	}
}

static uint64_t random_gva(const struct round *r, uint64_t *seed)
{
	const struct pt_level *lv = r->format->level;
	uint64_t bits = tap_random(seed), gva = (1 + (bits & 1)) << lv[0].shift;

	for (unsigned int i = 1; i < r->format->nr_levels; i++)
		gva |= (bits >> 2 * i & (lv[i].level == 1 ? 3 : 1)) << lv[i].shift;
	return gva;
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
	tiny_mode(k, r->format, ROOT);
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
	k->tr = (struct kvm_segment){ .base = TSS, .limit = 0x67, .selector = 0x28, .present = 1 };
	k->tr.type = tap_deviates("busy-tss") ? 9 : 11;
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

/* Where an exception leaves it, in bytes below the top of the stack. */
static unsigned int error_code_at(const struct round *r, struct walk_access a)
{
	if (is_long(r))
		return 6 * 8;
	return (a.user ? 6 : 4) * 4;
}

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
	memcpy(&out->error_code, r->t.mem + STACK_TOP - error_code_at(r, a), 4);
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

static struct walk_cpu walk_cpu_of(const struct round *r, bool ac)
{
	struct walk_cpu cpu = tiny_walk_cpu(&r->t, &r->kernel, ac ? 1 << 18 : 0);

	cpu.pages_1g = r->pages_1g;
	return cpu;
}

static const char *one_case(struct round *r, uint64_t *seed, struct tally *n)
{
	uint64_t kind = tap_random(seed), gva = random_gva(r, seed), word;
	struct walk_access a = { .write = kind % 3 == 1,
				 .fetch = kind % 3 == 2,
				 .user = kind >> 8 & 1,
				 .set_ad = true };
	uint64_t at = gva + (a.fetch ? 0 : DATA_WORD);
	bool ac = kind >> 9 & 1;
	struct walk_cpu cpu = walk_cpu_of(r, ac);
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
	n->huge += want.outcome == WALK_OK && want.level1 == 3;
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
	unsigned int bytes = r->format->entry_bytes;

	for (uint64_t at = start; at < end; at += bytes) {
		uint64_t got = lab_get(r->t.mem, at, bytes);
		uint64_t want = lab_get(r->copy.guest, at, bytes);

		if ((got ^ want) & GD)
			r->lost_d++;
		if (~got & want & GA)
			r->lost_a++;
		if (got & ~want & GA)
			r->extra_a++;
	}
}

static const char *set_up(struct round *r, uint64_t *seed)
{
	const char *failed = tiny_create(&r->t, MEM_BYTES);

	if (failed)
		return failed;
	put_descriptors(r);
	put_fixed_mapping(r);
	put_data(&r->t);
	r->next_table = TABLES;
	random_table(r, seed, ROOT, 0);
	return set_registers(r, seed);
}

static const char *one_round(struct round *r, uint64_t *seed, struct tally *n)
{
	const char *failed = set_up(r, seed);

	if (failed)
		return failed;
	lab_init(&r->copy, MEM_BYTES, QUIRE_PAGE_SIZE);
	memcpy(r->copy.guest, r->t.mem, MEM_BYTES);
	for (unsigned int i = 0; i < CASES && !failed; i++)
		failed = one_case(r, seed, n);
	compare_tables(r, ROOT + r->format->entry_bytes, FIXED);
	compare_tables(r, TABLES, r->next_table);
	lab_finish(&r->copy);
	return failed;
}

/*
 * Can KVM run this mode?  Not all back ends can run all: with their registers the guest does an
 * access to the fixed mapping, at CPL 0 and 3.
 */
static const char *mode_fails(struct round *r, uint64_t *seed)
{
	const char *failed = set_up(r, seed);
	struct outcome out;

	for (int user = 0; user < 2 && !failed; user++)
		failed = run_once(r, PAYLOAD_U, (struct walk_access){ .user = user }, true, &out);
	if (!failed && out.port != PORT_DONE)
		failed = "an access to what is mapped";
	tiny_destroy(&r->t);
	return failed;
}

static void one_mode(const struct mode *mode, struct round *r, uint64_t *seed)
{
	const char *name = mode->format->name, *failed;
	struct tally n = { 0 };

	r->format = mode->format;
	r->lost_d = r->lost_a = r->extra_a = 0;
	failed = mode_fails(r, seed);
	if (failed) {
		tap_skip("%s: this KVM does not run it: %s: %s", name, failed, strerror(errno));
		return;
	}
	for (unsigned int i = 0; i < mode->rounds; i++) {
		failed = one_round(r, seed, &n);
		if (failed)
			tap_bail("%s, round %u: %s: %s", name, i, failed, strerror(errno));
		tiny_destroy(&r->t);
	}
	ok(n.wrong == 0,
	   "%s: the guest met what walk_2d predicted in %u cases: %u accesses, %u faults", name,
	   n.cases, n.ok, n.faults);
	ok(n.ok > n.cases / 10 && n.faults > n.cases / 10, "there were enough of both");
	if (is_long(r) && r->pages_1g)
		ok(n.huge > 0, "there were pages of 1 GiB, for %u accesses", n.huge);
	else if (is_long(r))
		tap_skip("1 GiB pages are reserved here");
	tap_note("%d different error codes", __builtin_popcount(n.codes));
	ok(r->lost_d == 0, "dirty bits are where walk_2d sets them");
	ok(r->lost_a == 0, "accessed bits are wherever walk_2d sets them");
	tap_note("%u entries accessed beyond those", r->extra_a);
}

static bool find_pages_1g(void)
{
	struct kvm_sregs sregs;
	struct tiny t;
	const char *failed = tiny_create(&t, MEM_BYTES);
	bool has;

	if (failed || ioctl(t.vcpu, KVM_GET_SREGS, &sregs) < 0)
		tap_bail("%s: %s", failed ? failed : "KVM_GET_SREGS", strerror(errno));
	tiny_mode(&sregs, &x86_4level_format, ROOT);
	has = ioctl(t.vcpu, KVM_SET_SREGS, &sregs) == 0 && tiny_has_1g(&t, ROOT, FIXED);
	tiny_destroy(&t);
	return has;
}

int main(int argc, char **argv)
{
	struct round r = { 0 };
	uint64_t seed;

	tap_init();
	if (access("/dev/kvm", R_OK | W_OK))
		tap_skip_all("no access to /dev/kvm");
	seed = tap_seed(argc, argv);
	alarm(250); /* a vCPU that hangs is a failure, not a wait */
	r.reserved_bits = !tap_deviates("reserved-bits");
	r.pages_1g = find_pages_1g();
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		one_mode(&modes[i], &r, &seed);
	return tap_done();
}
