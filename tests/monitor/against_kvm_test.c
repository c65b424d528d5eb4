/* SPDX-License-Identifier: MIT */
/*
 * The virtual processor against KVM's: the same instruction, on the same random registers and
 * tables, by monitor_exception() and by a vCPU.  Then registers, descriptor tables and all of
 * memory must be the same, whether the instruction was done or has raised an exception.
 *
 * Where KVM emulates a kernel it does not know some of the instructions; there the case is left
 * out, and counted.  Every handler, and every place that an instruction leads to, is an OUT at
 * which the vCPU stops.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "monitor_lab.h"
#include "tests/tap.h"
#include "vmm/monitor/registers.h"

#define TABLES	 LAB_BYTES /* PML4, PDPT, PD, PT */
#define VM_BYTES (LAB_BYTES + 0x4000)
#define STOP	 "\xe6\x42" /* out $0x42, %al; the lab's TSS grants the port */
#define TARGET	 (LAB_CODE + 0x100)

static struct lab lab;
static struct monitor_state *const s = &lab.cpu.state;
static uint64_t seed;
static struct kvm_regs before;

static struct {
	int vcpu;
	struct kvm_run *run;
	uint8_t *memory;
	bool amd, in_software, in_bed;
	uint8_t maxphyaddr;
} vm;

/* ---- KVM ---- */

static void must(bool good, const char *what)
{
	if (!good)
		tap_bail("%s: %s", what, strerror(errno));
}

static void set_cpuid(int kvm)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + 256 * sizeof(c->entries[0]));

	must(c != NULL, "memory");
	c->nent = 256;
	must(!ioctl(kvm, KVM_GET_SUPPORTED_CPUID, c), "KVM_GET_SUPPORTED_CPUID");
	for (unsigned int i = 0; i < c->nent; i++) {
		if (c->entries[i].function == 0)
			vm.amd = c->entries[i].ebx == 0x68747541; /* "Auth" */
		if (c->entries[i].function == 0x80000008)
			vm.maxphyaddr = (uint8_t)c->entries[i].eax;
	}
	must(!ioctl(vm.vcpu, KVM_SET_CPUID2, c), "KVM_SET_CPUID2");
	free(c);
}

static void open_vm(void)
{
	struct kvm_userspace_memory_region slot = { .memory_size = VM_BYTES };
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), fd;

	if (kvm < 0)
		tap_skip_all("no access to /dev/kvm");
	fd = ioctl(kvm, KVM_CREATE_VM, 0);
	must(fd >= 0, "KVM_CREATE_VM");
	vm.memory = mmap(NULL, VM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(vm.memory != MAP_FAILED, "mmap");
	slot.userspace_addr = (uint64_t)vm.memory;
	must(!ioctl(fd, KVM_SET_USER_MEMORY_REGION, &slot), "KVM_SET_USER_MEMORY_REGION");
	(void)ioctl(fd, KVM_SET_TSS_ADDR, 0xfffbd000UL);
	vm.vcpu = ioctl(fd, KVM_CREATE_VCPU, 0);
	must(vm.vcpu >= 0, "KVM_CREATE_VCPU");
	vm.run = mmap(NULL, (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE,
		      MAP_SHARED, vm.vcpu, 0);
	must(vm.run != MAP_FAILED, "mmap");
	set_cpuid(kvm);
	vm.in_bed = tap_deviates("details");
	vm.in_software = !access("/sys/module/kvm_pvm", F_OK);
}

/* The lab's permissions, as page tables. */
static void make_tables(void)
{
	uint64_t *table = (uint64_t *)(vm.memory + TABLES), *pt = table + 3 * 512;

	memset(table, 0, 0x4000);
	for (unsigned int i = 0; i < 3; i++)
		table[i * 512] = (TABLES + (i + 1) * 0x1000) | 0x27;
	for (unsigned int i = 0; i < LAB_BYTES / 4096; i++)
		if (lab.page[i] & LAB_HERE)
			pt[i] = (uint64_t)i << 12 | 0x61 | (lab.page[i] & LAB_WRITE ? 2 : 0) |
				(lab.page[i] & LAB_USER ? 4 : 0);
}

static const uint32_t msr_index[] = { 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084,
				      0xc0000102, 0x174,      0x175,	  0x176 };
#define NR_MSRS ARRAY_SIZE(msr_index)

/* As struct kvm_msrs. */
struct msrs {
	uint32_t nr, pad;
	struct kvm_msr_entry entry[NR_MSRS];
};

static __u64 *lab_msr(unsigned int i)
{
	struct monitor_msrs *m = &s->msr;
	__u64 *const at[NR_MSRS] = { &m->star,	       &m->lstar,	   &m->cstar,
				     &m->sfmask,       &m->kernel_gs_base, &m->sysenter_cs,
				     &m->sysenter_esp, &m->sysenter_eip };

	return at[i];
}

static void load_vcpu(void)
{
	struct kvm_vcpu_events events = { 0 };
	struct kvm_debugregs debug = s->debug;
	struct kvm_sregs sregs;
	struct msrs msrs = { .nr = NR_MSRS };

	must(!ioctl(vm.vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	s->sregs.apic_base = sregs.apic_base;
	sregs = s->sregs;
	memset(sregs.interrupt_bitmap, 0, sizeof(sregs.interrupt_bitmap));
	must(!ioctl(vm.vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
	must(!ioctl(vm.vcpu, KVM_SET_REGS, &s->regs), "KVM_SET_REGS");
	must(!ioctl(vm.vcpu, KVM_SET_VCPU_EVENTS, &events), "KVM_SET_VCPU_EVENTS");
	must(!ioctl(vm.vcpu, KVM_SET_DEBUGREGS, &debug), "KVM_SET_DEBUGREGS");
	for (unsigned int i = 0; i < NR_MSRS; i++)
		msrs.entry[i] =
			(struct kvm_msr_entry){ .index = msr_index[i], .data = *lab_msr(i) };
	must(ioctl(vm.vcpu, KVM_SET_MSRS, &msrs) == NR_MSRS, "KVM_SET_MSRS");
	memcpy(vm.memory, lab.memory, LAB_BYTES);
	make_tables();
}

/* ---- comparison ---- */

static bool differs(const char *what, uint64_t got, uint64_t want)
{
	if (got != want)
		tap_note("%s: %#lx here, which is in exception %d, and %#lx by KVM; RAX was %#llx, "
			 "RCX %#llx",
			 what, got, lab_vector(&lab), want, before.rax, before.rcx);
	return got != want;
}

/* What a null or legacy segment has in its hidden part, nobody sees. */
static bool segment_differs(const char *name, const struct kvm_segment *a,
			    const struct kvm_segment *b)
{
	bool wide = s->sregs.efer & EFER_LMA, null = !(b->selector & 0xfffc);

	if (differs(name, a->selector, b->selector))
		return true;
	if (!null && (!wide || a->s == 0) &&
	    (differs(name, a->base, b->base) || differs(name, a->limit, b->limit)))
		return true;
	return !null && (differs(name, a->l, b->l) || differs(name, a->db, b->db));
}

static bool sregs_differ(const struct kvm_sregs *a, const struct kvm_sregs *b)
{
	return differs("CR0", a->cr0 & ~(uint64_t)CR0_NE, b->cr0 & ~(uint64_t)CR0_NE) ||
	       differs("CR2", a->cr2, b->cr2) || differs("CR3", a->cr3, b->cr3) ||
	       differs("CR4", a->cr4, b->cr4) || differs("CR8", a->cr8, b->cr8) ||
	       differs("EFER", a->efer, b->efer) ||
	       differs("GDTR base", a->gdt.base, b->gdt.base) ||
	       differs("GDTR limit", a->gdt.limit, b->gdt.limit) ||
	       differs("IDTR base", a->idt.base, b->idt.base) ||
	       differs("IDTR limit", a->idt.limit, b->idt.limit) ||
	       segment_differs("CS", &a->cs, &b->cs) || segment_differs("SS", &a->ss, &b->ss) ||
	       segment_differs("DS", &a->ds, &b->ds) || segment_differs("ES", &a->es, &b->es) ||
	       segment_differs("FS", &a->fs, &b->fs) || segment_differs("GS", &a->gs, &b->gs) ||
	       segment_differs("TR", &a->tr, &b->tr) || segment_differs("LDTR", &a->ldt, &b->ldt) ||
	       differs("CS's level", emulate_cpl(a), emulate_cpl(b));
}

static bool regs_differ(struct kvm_regs a, struct kvm_regs b)
{
	/* Some KVMs have gone past the OUT already. */
	if (b.rip == a.rip + 2)
		b.rip = a.rip;
	a.rflags &= ~(uint64_t)FLAG_RF;
	b.rflags &= ~(uint64_t)FLAG_RF;
	for (unsigned int i = 0; i < sizeof(a) / 8; i++) {
		static const char *const name[] = { "RAX", "RBX", "RCX", "RDX", "RSI", "RDI",
						    "RSP", "RBP", "R8",	 "R9",	"R10", "R11",
						    "R12", "R13", "R14", "R15", "RIP", "RFLAGS" };

		if (differs(name[i], ((__u64 *)&a)[i], ((__u64 *)&b)[i]))
			return true;
	}
	return false;
}

static bool memory_differs(void)
{
	for (unsigned int at = 0; at < LAB_BYTES; at += 4) {
		uint32_t here = lab_get32(&lab, at), there;

		memcpy(&there, vm.memory + at, sizeof(there));
		if (vm.in_bed && here == (there | FLAG_RF))
			continue;
		if (here != there) {
			tap_note("memory at %#x", at);
			return differs("there", here, there);
		}
	}
	return false;
}

static bool state_differs(void)
{
	struct kvm_debugregs debug;
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	struct msrs msrs = { .nr = NR_MSRS };

	must(!ioctl(vm.vcpu, KVM_GET_SREGS, &sregs) && !ioctl(vm.vcpu, KVM_GET_REGS, &regs) &&
		     !ioctl(vm.vcpu, KVM_GET_DEBUGREGS, &debug),
	     "registers");
	for (unsigned int i = 0; i < NR_MSRS; i++)
		msrs.entry[i].index = msr_index[i];
	must(ioctl(vm.vcpu, KVM_GET_MSRS, &msrs) == NR_MSRS, "KVM_GET_MSRS");
	for (unsigned int i = 0; i < NR_MSRS; i++)
		if (differs("an MSR", *lab_msr(i), msrs.entry[i].data))
			return true;
	return sregs_differ(&s->sregs, &sregs) || regs_differ(s->regs, regs) || memory_differs() ||
	       differs("DR0", s->debug.db[0], debug.db[0]) ||
	       differs("DR7", s->debug.dr7, debug.dr7);
}

/* ---- cases ---- */

static uint64_t random_of(uint64_t n)
{
	return tap_random(&seed) % n;
}

static uint64_t one_of(const uint64_t *list, unsigned int nr)
{
	return list[random_of(nr)];
}
#define ONE_OF(...) \
	one_of((const uint64_t[]){ __VA_ARGS__ }, \
	       sizeof((const uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t))

static uint64_t some_selector(void)
{
	return ONE_OF(0, vm.in_bed ? 0 : 3, LAB_CS0, LAB_DS0, LAB_DS3, LAB_CS3, LAB_CS3 & ~3u,
		      LAB_CS32, LAB_CODE0, LAB_CODE0 | 3, LAB_LDT, LAB_TR, vm.in_bed ? 0 : LAB_GONE,
		      LAB_GDT_BYTES, 4, LAB_DS0 | 3, LAB_DS0 | 4, 0xfff8);
}

/* Now and then one that is not canonical, which QEMU lets through. */
static uint64_t some_target(void)
{
	return ONE_OF(TARGET, TARGET, TARGET, vm.in_bed ? TARGET : 1ULL << 50);
}

/* For code of a level and a data segment that fits it, most often. */
static void random_frame(gva_t at, size_t bytes, bool with_flags)
{
	static const uint64_t pair[][2] = {
		{ LAB_CS0, LAB_DS0 }, { LAB_CS3, LAB_DS3 }, { LAB_CS32, LAB_DS0 }, { LAB_CS0, 0 }
	};
	const uint64_t *p = pair[random_of(4)];
	uint64_t word[5] = { bytes == 8 ? some_target() : TARGET, p[0],
			     FLAG_FIXED | ONE_OF(0, FLAG_IF, FLAG_IOPL, FLAG_AC | FLAG_ID, 0x8d5),
			     LAB_DATA + 0x800, p[1] };

	if (random_of(3) == 0)
		word[1] = some_selector();
	if (random_of(3) == 0)
		word[4] = some_selector();
	if (vm.in_bed && word[1] == LAB_CS32 && !(word[4] & ~3ULL))
		word[4] = LAB_DS0; /* QEMU lets code of 32 bits have no stack */
	for (unsigned int i = 0; i < 5; i++) {
		if (i == 2 && !with_flags)
			continue;
		memcpy(lab.memory + at, &word[i], bytes);
		at += bytes;
	}
}

static void frame_q(void)
{
	random_frame(s->regs.rsp, 8, true);
}

static void frame_d(void)
{
	random_frame(s->regs.rsp, 4, true);
}

static void far_q(void)
{
	random_frame(s->regs.rsp, 8, false);
}

static void far_d(void)
{
	random_frame(s->regs.rsp, 4, false);
}

/* A far pointer in memory. */
static void pointer(void)
{
	uint64_t selector = ONE_OF(LAB_CS0, LAB_CS32, some_selector(), some_selector());

	lab_put32(&lab, LAB_DATA, TARGET);
	memcpy(lab.memory + LAB_DATA + 4, &selector, 2);
}

static void selector_in_ax(void)
{
	s->regs.rax = tap_random(&seed) << 16 | some_selector();
}

/* KVM takes TR from an LDT for #GP(0). */
static void gdt_selector_in_ax(void)
{
	s->regs.rax = some_selector() & ~4ULL;
	if (vm.in_bed && !(s->regs.rax & ~3ULL))
		s->regs.rax = LAB_TR; /* QEMU loads it */
}

static void selector_on_stack(void)
{
	lab_put64(&lab, s->regs.rsp, some_selector());
}

static void pseudo_descriptor(void)
{
	lab_put64(&lab, LAB_DATA, random_of(0x10000) | random_of(1 << 30) << 16);
	lab_put64(&lab, LAB_DATA + 8, ONE_OF(0, vm.in_bed ? 0 : 0x1234));
}

static void cr0(void)
{
	s->regs.rax = s->sregs.cr0 ^ ONE_OF(0, CR0_TS, CR0_MP, CR0_EM, CR0_WP, CR0_AM, CR0_NW,
					    CR0_PE, CR0_NW | CR0_CD);
	if (s->sregs.efer & EFER_LMA)
		s->regs.rax ^= ONE_OF(0, 0, 0, CR0_PG);
}

static void cr3(void)
{
	s->regs.rax = s->sregs.efer & EFER_LMA ?
			      ONE_OF(TABLES, TABLES | 0x18, TABLES | 1ULL << 60) :
			      tap_random(&seed) & 0xffffffff;
}

static void cr4(void)
{
	s->regs.rax = s->sregs.cr4 ^
		      ONE_OF(0, CR4_PSE, CR4_PGE, CR4_DE, CR4_TSD, CR4_OSFXSR, 1ULL << 15);
	if (s->sregs.efer & EFER_LMA)
		s->regs.rax ^= ONE_OF(0, 0, CR4_PAE);
}

static void cr8(void)
{
	s->regs.rax = random_of(20);
}

static void dr7(void)
{
	s->regs.rax = ONE_OF(0, 0x400, vm.in_bed ? 0 : 0xc000);
}

static void small(void)
{
	s->regs.rax = random_of(16) | (random_of(2) ? 1 : 0);
}

static void an_msr(void)
{
	s->regs.rcx = ONE_OF(0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101,
			     0xc0000102, 0x174, 0x175, 0x176);
	s->regs.rax = (uint32_t)tap_random(&seed);
	s->regs.rdx = ONE_OF(0, 0x7fff, vm.in_bed ? 0 : 0x80000000, 0xffff8000);
	if (s->regs.rcx == 0xc0000084)
		s->regs.rdx = 0;
	if (s->regs.rcx < 0x200) /* how wide those of SYSENTER are is the vendor's affair */
		s->regs.rdx = 0;
	if (s->regs.rcx == 0x174)
		s->regs.rax &= 0xffff;
}

static void efer(void)
{
	s->regs.rcx = 0xc0000080;
	s->regs.rax = s->sregs.efer ^ ONE_OF(0, EFER_SCE, EFER_LME, EFER_LMA, 0x2);
	s->regs.rdx = ONE_OF(0, 0, 1);
}

static void calls(void)
{
	s->msr.star = (uint64_t)ONE_OF(LAB_CS0, LAB_CS0 | 3) << 32 |
		      (uint64_t)ONE_OF(LAB_DS0 | 3, LAB_DS0) << 48;
	s->msr.lstar = s->msr.cstar = s->msr.sysenter_eip = TARGET;
	s->msr.sysenter_cs = ONE_OF(0, LAB_CS0, LAB_CS0 | 3);
	s->msr.sysenter_esp = LAB_IST;
	s->msr.sfmask = ONE_OF(0, FLAG_IF, 0x8d5);
	s->regs.rcx = s->regs.rdx = some_target();
	s->regs.r11 = FLAG_FIXED | ONE_OF(0, FLAG_IF, FLAG_IOPL, 0x8d5, 1ULL << 40);
	if (random_of(4) == 0)
		s->sregs.efer &= ~(uint64_t)EFER_SCE;
}

static void soft_gate(void)
{
	lab_gate(&lab, 0x80, (unsigned int)ONE_OF(0, 3), (unsigned int)ONE_OF(0xe, 0xf, 0xc, 0x5),
		 (unsigned int)ONE_OF(0, 0, 1));
}

#define LONG 1u
#define OLD  2u
#define BOTH 3u
/* Where KVM itself does what a kernel does, or runs its users with descriptors of its own, these
 * are not the processor's: at any level, or at CPL 3. */
#define HARD 4u
#define USER 8u
#define ODD  16u /* QEMU has another vendor's system calls, and error codes of INT of its own */

/* RBX is LAB_DATA.  Code of 64 and of 32 bits has the same bytes, but for REX. */
static const struct form {
	const char *name, *bytes;
	unsigned int nr, modes;
	void (*prepare)(void);
} forms[] = {
#define FORM(name, bytes, modes, prepare) \
	{ \
		name, bytes, sizeof(bytes) - 1, modes, prepare \
	}
	FORM("lgdt", "\x0f\x01\x13", BOTH, pseudo_descriptor),
	FORM("lidt", "\x0f\x01\x1b", BOTH, pseudo_descriptor),
	FORM("sgdt", "\x0f\x01\x03", BOTH, NULL),
	FORM("sidt", "\x0f\x01\x0b", BOTH, NULL),
	FORM("lldt", "\x0f\x00\xd0", BOTH, selector_in_ax),
	FORM("ltr", "\x0f\x00\xd8", BOTH, gdt_selector_in_ax),
	FORM("sldt", "\x0f\x00\xc0", BOTH, NULL),
	FORM("str", "\x0f\x00\x0b", BOTH, NULL),
	FORM("str 64", "\x48\x0f\x00\xc8", LONG, NULL),
	FORM("smsw", "\x0f\x01\xe0", BOTH, NULL),
	FORM("lmsw", "\x0f\x01\xf0", BOTH, small),
	FORM("mov to CR0", "\x0f\x22\xc0", BOTH, cr0),
	FORM("mov to CR2", "\x0f\x22\xd0", BOTH, NULL),
	FORM("mov to CR3", "\x0f\x22\xd8", BOTH, cr3),
	FORM("mov to CR4", "\x0f\x22\xe0", BOTH, cr4),
	FORM("mov to CR8", "\x44\x0f\x22\xc0", LONG, cr8),
	FORM("mov from CR0", "\x0f\x20\xc1", BOTH, NULL),
	FORM("mov from CR4", "\x41\x0f\x20\xe1", LONG, NULL),
	FORM("mov from CR1", "\x0f\x20\xc9", BOTH, NULL),
	FORM("mov to DR0", "\x0f\x23\xc0", BOTH, NULL),
	FORM("mov to DR7", "\x0f\x23\xf8", BOTH, dr7),
	FORM("mov from DR7", "\x0f\x21\xf9", BOTH, NULL),
	FORM("clts", "\x0f\x06", BOTH, NULL),
	FORM("wrmsr", "\x0f\x30", LONG, an_msr),
	FORM("rdmsr", "\x0f\x32", LONG, an_msr),
	FORM("wrmsr EFER", "\x0f\x30", LONG, efer),
	FORM("invlpg", "\x0f\x01\x3b", BOTH, NULL),
	FORM("wbinvd", "\x0f\x09", BOTH, NULL),
	FORM("cli", "\xfa", BOTH, NULL),
	FORM("swapgs", "\x0f\x01\xf8", LONG, NULL),
	FORM("iretq", "\x48\xcf", LONG | HARD, frame_q),
	FORM("iretd", "\xcf", BOTH | HARD, frame_d),
	FORM("lretq", "\x48\xcb", LONG | HARD, far_q),
	FORM("lret", "\xcb", BOTH | HARD, far_d),
	FORM("lret 8", "\xca\x08\x00", BOTH | HARD, far_d),
	FORM("ljmp", "\xff\x2b", BOTH | USER, pointer),
	FORM("lcall", "\xff\x1b", BOTH | USER, pointer),
	FORM("mov to DS", "\x8e\xd8", BOTH | USER, selector_in_ax),
	FORM("mov to SS", "\x8e\xd0", BOTH | USER, selector_in_ax),
	FORM("mov to CS", "\x8e\xc8", BOTH, selector_in_ax),
	FORM("pop FS", "\x0f\xa1", BOTH | USER, selector_on_stack),
	FORM("pop DS", "\x1f", OLD, selector_on_stack),
	FORM("lss", "\x0f\xb2\x03", BOTH | USER, pointer),
	FORM("lfs", "\x0f\xb4\x03", BOTH | USER, pointer),
	FORM("les", "\xc4\x03", OLD, pointer),
	FORM("syscall", "\x0f\x05", LONG | HARD | ODD, calls),
	FORM("sysretq", "\x48\x0f\x07", LONG | HARD, calls),
	FORM("sysret", "\x0f\x07", LONG | HARD, calls),
	FORM("sysenter", "\x0f\x34", BOTH | HARD | ODD, calls),
	FORM("sysexit", "\x0f\x35", BOTH | HARD | ODD, calls),
	FORM("int 0x80", "\xcd\x80", BOTH | HARD | ODD, soft_gate),
	FORM("int3", "\xcc", BOTH | HARD | ODD, NULL),
};

static void randomize(const struct form *f, bool wide, unsigned int cpl)
{
	__u64 *reg = (__u64 *)&s->regs;

	lab_begin(&lab, wide, cpl);
	lab.features.maxphyaddr = vm.maxphyaddr;
	lab.features.amd = vm.amd;
	lab.features.cr4 |= CR4_TSD;
	for (unsigned int i = 0; i < 16; i++)
		if (i != 6) /* RSP */
			reg[i] = wide ? tap_random(&seed) : (uint32_t)tap_random(&seed);
	s->regs.rsp = LAB_DATA + 0x400;
	s->regs.rbx = LAB_DATA;
	s->regs.rflags = FLAG_FIXED | (tap_random(&seed) & 0x8d5);
	s->sregs.cr3 = wide ? TABLES : 0;
	s->sregs.cr0 |= wide && random_of(2) ? CR0_WP : 0;
	s->debug.dr6 = 0xffff0ff0;
	if (tap_deviates("busy-tss"))
		s->sregs.tr.type = 0x9; /* else it grants CPL 3 no ports */
	s->debug.dr7 = 0x400;
	for (unsigned int i = 0; i < 256; i++)
		memcpy(lab.memory + LAB_HANDLERS + 16 * i, STOP, 2);
	if (!wide)
		memset(lab.page, LAB_HERE | LAB_USER | LAB_WRITE, sizeof(lab.page));
	memcpy(lab.memory + LAB_CODE, f->bytes, f->nr);
	memcpy(lab.memory + LAB_CODE + f->nr, STOP, 2);
	memcpy(lab.memory + TARGET, STOP, 2);
	if (f->prepare)
		f->prepare();
}

enum verdict { SAME, OTHER, LEFT_OUT };

/* A guest that has shut down is in a state of KVM's choice. */
static enum verdict compare(void)
{
	struct emulate_event event = { .vector = GP, .has_error = true };
	enum monitor_result ret;

	load_vcpu();
	before = s->regs;
	vm.run->cr8 = s->sregs.cr8;
	if (ioctl(vm.vcpu, KVM_RUN, 0))
		return LEFT_OUT;
	if (vm.run->exit_reason == KVM_EXIT_INTERNAL_ERROR)
		return LEFT_OUT;
	ret = monitor_exception(&lab.cpu, &event);
	if (ret == MONITOR_UNKNOWN)
		return LEFT_OUT;
	if (vm.run->exit_reason == KVM_EXIT_SHUTDOWN || ret == MONITOR_SHUTDOWN)
		return differs("shutdown", ret == MONITOR_SHUTDOWN,
			       vm.run->exit_reason == KVM_EXIT_SHUTDOWN) ?
			       OTHER :
			       SAME;
	if (vm.run->exit_reason != KVM_EXIT_IO)
		return LEFT_OUT;
	return state_differs() ? OTHER : SAME;
}

static void try_form(const struct form *f, bool wide, unsigned int cpl)
{
	unsigned int tries = tap_deviates("slow") ? 20 : 100, same = 0, left_out = 0;
	enum verdict verdict = SAME;

	if (vm.in_bed && (f->modes & ODD)) {
		tap_skip("%s at CPL %u: QEMU goes its own way", f->name, cpl);
		return;
	}
	if (vm.in_software && ((f->modes & HARD) || ((f->modes & USER) && cpl))) {
		tap_skip("%s at CPL %u: this KVM is no processor", f->name, cpl);
		return;
	}
	for (unsigned int i = 0; i < tries && verdict != OTHER; i++) {
		randomize(f, wide, cpl);
		verdict = compare();
		same += verdict == SAME;
		left_out += verdict == LEFT_OUT;
	}
	if (left_out == tries)
		tap_skip("%s at CPL %u: this KVM does not do it", f->name, cpl);
	else
		ok(verdict != OTHER && same,
		   "%s at CPL %u, %u bits: %u times the same, %u left out", f->name, cpl,
		   wide ? 64 : 32, same, left_out);
}

int main(int argc, char **argv)
{
	tap_init();
	seed = tap_seed(argc, argv);
	open_vm();
	for (unsigned int i = 0; i < ARRAY_SIZE(forms); i++) {
		for (unsigned int cpl = 0; cpl <= 3; cpl += 3)
			if (forms[i].modes & LONG)
				try_form(&forms[i], true, cpl);
		if (forms[i].modes & OLD)
			try_form(&forms[i], false, 0);
	}
	return tap_done();
}
