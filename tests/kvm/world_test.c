/* SPDX-License-Identifier: MIT */
/*
 * The world switch under KVM, with shadow tables made by hand.  What the processor may still use of
 * an entry that has become weaker shows whether a flush does its work, on every kind of KVM: those
 * that translate in two dimensions, and those that make tables of their own of ours.
 *
 * The guest is one instruction and an INT3, or a privileged instruction.
 */
#include <errno.h>
#include "vmm/monitor/world.h"
#include "mmu/format/x86pt.h"
#include "tests/tap.h"
#include "tiny_vm.h"

#define RAM_BYTES (16 * MiB)
#define CODE	  0x1000u
#define DATA	  0x2000u
#define STACK	  0x2800u
#define GVA	  0x400000000ULL
#define PAGES	  512u /* of the arena */

#define LEAF_R (X86_P | X86_U | X86_A | X86_D)
#define LEAF_W (LEAF_R | X86_W)
#define TABLE  (X86_P | X86_W | X86_U | X86_A)

#define MSR_LSTAR 0xc0000082u
#define MSR_CSTAR 0xc0000083u

enum { BP = 3, UD = 6, GP = 13, PF = 14 };

#define P_W_U 7u
#define U     4u

static struct tiny tiny;
static struct world *world;
static struct world_memory arena;
static uint32_t next_table;

static struct kvm_regs regs;
static struct kvm_sregs sregs;
static struct world_trap trap;
static enum world_place place;
static maddr_t root, stale[WORLD_MAX_LIST];
static unsigned int nr_stale;

/* ---- tables by hand ---- */

static uint64_t *entry_at(maddr_t table, unsigned int index)
{
	return (uint64_t *)((uint8_t *)arena.hva + (table - arena.at)) + index;
}

static maddr_t new_table(void)
{
	if (next_table == PAGES)
		tap_bail("no table");
	return arena.at + (uint64_t)next_table++ * QUIRE_PAGE_SIZE;
}

/* The entry for gva at a level of 1 to 4, with the tables above it. */
static uint64_t *entry_of(maddr_t top, gva_t gva, unsigned int level)
{
	maddr_t table = top;

	for (unsigned int l = 4; l > level; l--) {
		uint64_t *entry = entry_at(table, gva >> (3 + 9 * l) & 511);

		if (!(*entry & X86_P))
			*entry = new_table() | TABLE;
		table = *entry & X86_ADDR_MASK;
	}
	return entry_at(table, gva >> (3 + 9 * level) & 511);
}

static maddr_t new_root(void)
{
	maddr_t top = new_table();

	*entry_at(top, SHADOW_MONITOR_SLOT) = world_pml4_entry(world);
	*entry_of(top, CODE, 1) = CODE | LEAF_R;
	*entry_of(top, DATA, 1) = DATA | LEAF_W;
	return top;
}

/* The entry has become weaker. */
static void note(const uint64_t *entry)
{
	stale[nr_stale++] = arena.at + (maddr_t)((const uint8_t *)entry - (uint8_t *)arena.hva);
}

static maddr_t page(unsigned int mib)
{
	return (maddr_t)mib * MiB;
}

/* ---- the vCPU ---- */

static void create_world(void)
{
	const struct world_config config = { .nr_cpus = 1, .nr_tables = PAGES };
	struct kvm_userspace_memory_region slot = { .slot = 1 };
	struct world_memory memory;
	struct quire_error err;

	if (world_create(&config, &world, &err))
		tap_bail("%s", err.text);
	memory = world_memory(world);
	slot.guest_phys_addr = memory.at;
	slot.memory_size = memory.bytes;
	slot.userspace_addr = (uintptr_t)memory.hva;
	if (ioctl(tiny.vm, KVM_SET_USER_MEMORY_REGION, &slot))
		tap_skip_all("no room for the monitor: %s", strerror(errno));
	arena = world_arena(world);
	root = new_root();
}

static void set_lstar(void)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} msrs = { { .nmsrs = 1 }, { .index = MSR_LSTAR, .data = world_lstar() } };

	if (ioctl(tiny.vcpu, KVM_SET_MSRS, &msrs) != 1)
		tap_bail("KVM_SET_MSRS");
}

static void start(void)
{
	struct kvm_sregs real;

	if (ioctl(tiny.vcpu, KVM_GET_SREGS, &real))
		tap_bail("KVM_GET_SREGS");
	sregs = real;
	sregs.cr0 = 0x80010033;
	sregs.efer = 0x500;
	sregs.cs = (struct kvm_segment){ .selector = 0x8, .l = 1, .present = 1 };
	regs = (struct kvm_regs){ .rflags = 2 };
	world_start(world, 0, &real);
	real.cr3 = root;
	if (ioctl(tiny.vcpu, KVM_SET_SREGS, &real))
		tap_bail("KVM_SET_SREGS: %s", strerror(errno));
	tiny.run->s.regs.sregs = real;
	set_lstar();
}

/* Run the guest until it traps, or waits for an interrupt.  Returns the vector, or -1. */
static int go_by(gva_t rip, enum world_way way)
{
	struct world_entry entry = {
		.regs = &regs,
		.sregs = &sregs,
		.root = root,
		.stale = stale,
		.nr_stale = nr_stale,
		.way = way,
	};

	regs.rip = rip;
	regs.rsp = STACK;
	tiny.run->kvm_valid_regs = WORLD_VALID_REGS;
	world_enter(world, 0, tiny.run, &entry);
	nr_stale = 0;
	do {
		if (ioctl(tiny.vcpu, KVM_RUN, 0) && errno != EINTR)
			tap_bail("KVM_RUN: %s", strerror(errno));
		place = world_leave(world, 0, tiny.run, &regs, &sregs, &trap);
	} while (place != WORLD_TRAPPED && tiny.run->exit_reason == KVM_EXIT_INTR);
	if (place == WORLD_TRAPPED)
		return trap.vector;
	if (way != WORLD_HALT)
		tap_note("exit %u at %#llx", tiny.run->exit_reason, tiny.run->s.regs.regs.rip);
	return -1;
}

static int go(gva_t rip)
{
	return go_by(rip, WORLD_RUN);
}

/*
 * INT n is #GP with the gate in its error code, as the gates' DPL is 0.  Which gate QEMU's
 * processor says wrongly in long mode; who wants to know looks at the instruction.
 */
static bool at_gate(int vector)
{
	return vector == GP && (trap.error & 7) == 2;
}

/* INT3 is that, or #BP; or #UD where KVM has it so. */
static bool at_int3(int vector, gva_t rip)
{
	return (at_gate(vector) && regs.rip == rip) || (vector == BP && regs.rip == rip + 1) ||
	       (vector == UD && regs.rip == rip);
}

/* ---- instructions ---- */

enum { READ = CODE, WRITE = CODE + 16, JUMP = CODE + 32, OTHER = CODE + 48 };

static void place_code(void)
{
	memcpy(tiny.mem + READ, "\x48\x8b\x13\xcc", 4);	 /* mov (%rbx), %rdx; int3 */
	memcpy(tiny.mem + WRITE, "\x48\x89\x13\xcc", 4); /* mov %rdx, (%rbx); int3 */
	memcpy(tiny.mem + JUMP, "\xff\xe3", 2);		 /* jmp *%rbx */
	for (unsigned int i = 2; i < 16; i++) {
		tiny_put(&tiny, page(i), i);
		tiny_put(&tiny, page(i) + QUIRE_PAGE_SIZE, 100 + i);
	}
}

static bool reads(gva_t gva, uint64_t want)
{
	regs.rbx = gva;
	return at_int3(go(READ), READ + 3) && regs.rdx == want;
}

static bool writes(gva_t gva, uint64_t value)
{
	regs.rbx = gva;
	regs.rdx = value;
	return at_int3(go(WRITE), WRITE + 3);
}

static bool faults(gva_t rip, gva_t gva, uint32_t error)
{
	regs.rbx = gva;
	return go(rip) == PF && trap.cr2 == gva && trap.error == error;
}

static int does(const char *code, size_t bytes)
{
	memcpy(tiny.mem + OTHER, code, bytes);
	memcpy(tiny.mem + OTHER + bytes, "\xcc", 1);
	return go(OTHER);
}

/* ---- tests ---- */

static void test_round_trip(void)
{
	regs.r15 = 0x1234;
	/* First: a KVM that has to map the IDT while it delivers INT3 loses the RIP of that. */
	ok(faults(READ, GVA, U), "a read of what is not mapped is #PF");
	ok(reads(DATA, 0), "the guest runs, and INT3 comes out");
	is_hex(regs.r15, 0x1234, "a register is kept");
	is_hex(regs.rsp, STACK, "RSP is the guest's");
	regs.rbx = SHADOW_MONITOR_GVA;
	ok(go(READ) == PF && trap.cr2 == SHADOW_MONITOR_GVA && regs.rip == READ,
	   "the monitor is not the guest's to read");
	ok(go(WRITE) == PF && regs.rip == WRITE, "... nor to write");
}

static void test_stronger(void)
{
	uint64_t *entry = entry_of(root, GVA, 1);

	*entry = page(2) | LEAF_R;
	ok(reads(GVA, 2), "an entry of a new table is found without a flush");
	*entry_of(root, GVA + QUIRE_PAGE_SIZE, 1) = page(3) | LEAF_R;
	ok(reads(GVA + QUIRE_PAGE_SIZE, 3), "... and one of a table that is in use");
	ok(faults(WRITE, GVA, P_W_U), "what may be read may not be written");
	*entry |= X86_W;
	ok(writes(GVA, 2), "what may be written now needs no flush");
}

static void test_weaker(void)
{
	uint64_t *entry = entry_of(root, GVA, 1);

	ok(writes(GVA, 2), "a page can be written");
	*entry &= ~X86_W;
	note(entry);
	ok(faults(WRITE, GVA, P_W_U), "... and cannot after it was protected");
	*entry = page(5) | LEAF_W;
	note(entry);
	ok(reads(GVA, 5), "another address counts after the flush");
	*entry = 0;
	note(entry);
	ok(faults(READ, GVA, U), "an entry that is gone is gone after the flush");
	*entry = page(6) | LEAF_W;
	ok(reads(GVA, 6), "... and can come back");
	regs.rbx = GVA;
	go(JUMP);
	*entry |= X86_NX;
	note(entry);
	ok(faults(JUMP, GVA, U | 1 | 16), "what has become NX cannot be executed");
}

static void test_large(void)
{
	gva_t gva = GVA + 2 * MiB;
	uint64_t *entry = entry_of(root, gva, 2);
	maddr_t table = new_table();

	*entry = page(8) | LEAF_W | X86_PS;
	ok(reads(gva + QUIRE_PAGE_SIZE, 108) && writes(gva + 2 * QUIRE_PAGE_SIZE, 1),
	   "a 2 MiB leaf is used");
	for (unsigned int i = 0; i < 512; i++)
		*entry_at(table, i) = (page(8) + i * QUIRE_PAGE_SIZE) | LEAF_R;
	*entry_at(table, 1) = 0;
	*entry = table | TABLE;
	note(entry);
	ok(reads(gva, 8), "a table in its place is used");
	ok(faults(READ, gva + QUIRE_PAGE_SIZE, U), "... with a page that is not there");
	ok(faults(WRITE, gva + 2 * QUIRE_PAGE_SIZE, P_W_U), "... and those that are read-only");
	*entry = page(10) | LEAF_W | X86_PS;
	note(entry);
	ok(reads(gva + QUIRE_PAGE_SIZE, 110) && writes(gva + 2 * QUIRE_PAGE_SIZE, 1),
	   "a leaf in place of the table is used");
}

/* A table that is freed: its entries are noted one by one before it is used again. */
static void test_reuse(void)
{
	gva_t gva = GVA + 4 * MiB, other = GVA + 8 * GiB;
	uint64_t *above = entry_of(root, gva, 2);
	maddr_t table;

	*entry_of(root, gva, 1) = page(12) | LEAF_R;
	*entry_of(root, gva + 5 * QUIRE_PAGE_SIZE, 1) = page(13) | LEAF_R;
	ok(reads(gva, 12) && reads(gva + 5 * QUIRE_PAGE_SIZE, 13), "a table is used");
	table = *above & X86_ADDR_MASK;
	*above = 0;
	note(above);
	ok(faults(READ, gva, U), "... and is not when it is not linked any more");
	for (unsigned int i = 0; i < 512; i += 5) {
		*entry_at(table, i) = 0;
		if (nr_stale < 2)
			note(entry_at(table, i));
	}
	*entry_at(table, 2) = page(14) | LEAF_R | X86_PS;
	*entry_of(root, other, 3) = table | TABLE;
	ok(reads(other + 4 * MiB + QUIRE_PAGE_SIZE, 114), "it can be a table of another level");
	ok(faults(READ, other + 10 * MiB, U), "... without its old entries");
	ok(faults(READ, gva, U), "... while the old address stays empty");
}

static void test_roots(void)
{
	maddr_t first = root, second = new_root();
	unsigned int good = 0;
	uint64_t *entry;

	entry = entry_of(second, GVA, 1);
	*entry = page(13) | LEAF_R;
	for (unsigned int i = 0; i < 4; i++) {
		root = second;
		good += reads(GVA, 13);
		root = first;
		good += reads(GVA + QUIRE_PAGE_SIZE, 3);
	}
	is(good, 8, "two roots take turns");
	*entry = 0;
	note(entry);
	ok(reads(GVA + QUIRE_PAGE_SIZE, 3), "the first root runs while the second becomes weaker");
	root = second;
	ok(faults(READ, GVA, U), "... and the second knows it");
	root = first;
}

static void test_random(uint64_t seed)
{
	gva_t gva = GVA + 16 * MiB;
	uint64_t *entry = entry_of(root, gva, 1);
	unsigned int bad = 0;

	for (unsigned int i = 0; i < 100; i++) {
		unsigned int to = 2 + tap_random(&seed) % 14;
		bool write = tap_random(&seed) % 2;

		*entry = page(to) | (write ? LEAF_W : LEAF_R);
		note(entry);
		tiny_put(&tiny, page(to) + 16, i);
		bad += !reads(gva + 16, i);
		bad += write ? !writes(gva + 24, i) : !faults(WRITE, gva + 24, P_W_U);
	}
	is(bad, 0, "100 changes of an entry are seen, each by a read and a write");
}

/* What is privileged traps, whatever KVM makes of CPL 3. */
static void test_privileged(void)
{
	static const struct {
		const char *name, *code;
		size_t bytes;
	} list[] = {
		{ "CLI", "\xfa", 1 },
		{ "OUT", "\xe6\x44", 2 },
		{ "OUT to the port of the gates", "\xe6\x80", 2 },
		{ "MOV from CR3", "\x0f\x20\xd8", 3 },
		{ "HLT", "\xf4", 1 },
		{ "RDMSR", "\x0f\x32", 2 },
		{ "LGDT", "\x0f\x01\x14\x24", 4 },
		{ "IRETQ to a selector that is not there", "\x48\xcf", 2 },
		{ "MOV to DS of a selector that is not there", "\x8e\xd8", 2 },
	};
	int vector;

	regs.rax = 0x20;
	for (unsigned int i = 0; i < ARRAY_SIZE(list); i++) {
		vector = does(list[i].code, list[i].bytes);
		ok(vector == GP && regs.rip == OTHER, "%s is #GP", list[i].name);
	}
	regs.rcx = 0x5678;
	vector = does("\x0f\x05", 2);
	ok(vector == UD && regs.rip == OTHER, "SYSCALL is #UD");
	vector = does("\xcd\x80", 2);
	ok(at_gate(vector) || vector == UD, "INT 80h is #GP with a gate in the error code, or #UD");
	is_hex(regs.rip, OTHER, "... at the instruction");
}

/* Code of 32 bits, and a segment base. */
static void test_segments(void)
{
	sregs.cs.l = 0;
	sregs.cs.db = 1;
	does("\xb8\x78\x56\x34\x12\x40", 6); /* mov $0x12345678, %eax; inc %eax */
	is_hex(regs.rax, 0x12345679, "code of 32 bits runs as such");
	sregs.cs.l = 1;
	sregs.cs.db = 0;
	sregs.fs.base = page(7);
	does("\x64\x48\x8b\x04\x25\x00\x10\x00\x00", 9); /* mov %fs:0x1000, %rax */
	*entry_of(root, page(7) + QUIRE_PAGE_SIZE, 1) = (page(7) + QUIRE_PAGE_SIZE) | LEAF_R;
	does("\x64\x48\x8b\x04\x25\x00\x10\x00\x00", 9);
	is_hex(regs.rax, 107, "FS has the guest's base");
	is_hex(sregs.fs.base, page(7), "... and keeps it");
}

/* TF is the guest's, and IF is what it believes. */
static void test_flags(void)
{
	regs.rflags = 0x302;
	is(does("\x90\x90", 2), 1, "TF makes #DB after an instruction");
	is_hex(regs.rip, OTHER + 1, "... the first");
	is_hex(regs.rflags & 0x300, 0x300, "TF and IF are as they were");
	regs.rflags = 0x2 | 3 << 12;
	ok(does("\xe6\x44", 2) == GP, "the guest's IOPL grants no port");
	is_hex(regs.rflags >> 12 & 3, 3, "... and is kept");
	regs.rflags = 2;
}

/* One instruction, or none: without interrupt controllers HLT comes out. */
static void test_ways(void)
{
	memcpy(tiny.mem + OTHER, "\x90\x90\xcc", 3);
	regs.rflags = 0x202;
	is(go_by(OTHER, WORLD_STEP), 1, "a step ends in #DB");
	is_hex(regs.rip, OTHER + 1, "... after an instruction");
	is_hex(regs.rflags & 0x300, 0x200, "... without TF, and IF is as it was");
	ok(!trap.interrupt, "... and is no interrupt");
	is(go_by(OTHER, WORLD_HALT), -1, "a guest that waits does not run");
	is(tiny.run->exit_reason, KVM_EXIT_HLT, "... but halts");
	ok(place == WORLD_ENTERING && regs.rip == OTHER, "... and is where it was");
	ok(at_int3(go(OTHER), OTHER + 2), "... from where it goes on");
	regs.rflags = 2;
}

static bool acts(enum world_act act, struct kvm_regs *r)
{
	world_act(0, tiny.run, act, r);
	if (ioctl(tiny.vcpu, KVM_RUN, 0))
		return false;
	*r = tiny.run->s.regs.regs;
	return world_has_acted(tiny.run);
}

/* MSRs that each KVM has, and one that none has. */
static void test_acts(void)
{
	struct kvm_regs r = { .rcx = MSR_LSTAR };

	ok(acts(WORLD_RDMSR, &r) && (uint32_t)r.rax == (uint32_t)world_lstar() &&
		   r.rdx == world_lstar() >> 32,
	   "RDMSR at CPL 0");
	r = (struct kvm_regs){ .rcx = MSR_CSTAR, .rax = 0x1234 };
	ok(acts(WORLD_WRMSR, &r), "WRMSR");
	r = (struct kvm_regs){ .rcx = MSR_CSTAR };
	ok(acts(WORLD_RDMSR, &r) && r.rax == 0x1234, "... which is kept");
	r = (struct kvm_regs){ .rcx = 0x12345678 };
	ok(!acts(WORLD_RDMSR, &r), "one that is not there");
	ok(at_int3(does("\x90", 1), OTHER + 1), "the guest goes on");
}

/* Which vectors of exceptions an interrupt may have. */
static void test_vectors(void)
{
	static const uint8_t plain[] = { 0, 1, 2, 3, 4, 5, 6, 7, 16, 18, 19 };
	unsigned int as_interrupt = 0;

	for (unsigned int v = 0; v < 256; v++)
		as_interrupt += world_is_interrupt((uint8_t)v, false);
	for (unsigned int i = 0; i < ARRAY_SIZE(plain); i++)
		as_interrupt += world_is_interrupt(plain[i], false) ? 1000 : 1;
	is(as_interrupt, 256, "all vectors without error code are interrupts, but for some");
	ok(!world_is_interrupt(8, true) && world_is_interrupt(8, false),
	   "a double fault has one, line 0 of an 8259 with a BIOS's vectors has none");
}

int main(int argc, char **argv)
{
	const char *why;

	tap_init();
	why = tiny_create(&tiny, RAM_BYTES);
	if (why)
		tap_skip_all("%s: %s", why, strerror(errno));
	create_world();
	place_code();
	start();
	test_round_trip();
	test_stronger();
	test_weaker();
	test_large();
	test_reuse();
	test_roots();
	test_random(tap_seed(argc, argv));
	test_privileged();
	test_segments();
	test_flags();
	test_ways();
	test_acts();
	test_vectors();
	tiny_destroy(&tiny);
	world_destroy(world);
	return tap_done();
}
