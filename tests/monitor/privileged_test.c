/* SPDX-License-Identifier: MIT */
/* What privileged instructions do, by their pages in the SDM, Vol. 2; and the way to long mode. */
#include <string.h>
#include "monitor_lab.h"
#include "tests/tap.h"
#include "vmm/monitor/registers.h"

static struct lab lab;
static struct monitor_state *const s = &lab.cpu.state;

/* An instruction that must be done. */
static bool done_bytes(const char *bytes, unsigned int nr)
{
	enum monitor_result ret = lab_do(&lab, bytes, nr);

	if (ret != MONITOR_DONE)
		tap_note("result %u", ret);
	if (lab_vector(&lab) >= 0)
		tap_note("exception %d", lab_vector(&lab));
	return ret == MONITOR_DONE && lab_vector(&lab) < 0;
}
#define DOES(bytes) done_bytes(bytes, sizeof(bytes) - 1)

/* One that must raise an exception, with that error code. */
static bool faults_bytes(const char *bytes, unsigned int nr, int vector, uint64_t error)
{
	uint64_t rip = s->regs.rip, flags = s->regs.rflags;
	bool good = lab_do(&lab, bytes, nr) == MONITOR_DONE && lab_vector(&lab) == vector &&
		    (vector == UD || lab_get64(&lab, s->regs.rsp) == error) &&
		    lab_get64(&lab, s->regs.rsp + (vector == UD ? 0 : 8)) == rip &&
		    lab_get64(&lab, s->regs.rsp + (vector == UD ? 16 : 24)) == (flags | FLAG_RF);

	if (!good)
		tap_note("exception %d, stack %#lx %#lx", lab_vector(&lab),
			 lab_get64(&lab, s->regs.rsp), lab_get64(&lab, s->regs.rsp + 8));
	return good;
}
#define FAULTS(bytes, vector, error) faults_bytes(bytes, sizeof(bytes) - 1, vector, error)

/* ---- into long mode ---- */

/* The privileged instructions of quill's start, one after the other. */
static void test_boot(void)
{
	lab_begin_pvh(&lab);
	lab.memory[LAB_DATA] = LAB_GDT_BYTES - 1;
	lab_put32(&lab, LAB_DATA + 2, LAB_GDT);
	ok(DOES("\x0f\x01\x15\x00\x70\x00\x00") && s->sregs.gdt.base == LAB_GDT &&
		   s->sregs.gdt.limit == LAB_GDT_BYTES - 1,
	   "lgdt, of 32 bits");
	is(lab.cpu.effects, 0, "... flushes nothing");
	s->regs.rax = 0x620;
	ok(DOES("\x0f\x22\xe0") && s->sregs.cr4 == 0x620, "mov to CR4");
	s->regs.rax = 0x8000;
	ok(DOES("\x0f\x22\xd8") && s->sregs.cr3 == 0x8000 && lab.cpu.effects == MONITOR_CR3,
	   "mov to CR3, and what was translated is void");
	s->regs.rcx = 0xc0000080;
	s->regs.rax = EFER_LME | EFER_NXE;
	ok(DOES("\x0f\x30") && s->sregs.efer == (EFER_LME | EFER_NXE), "wrmsr EFER: long mode, NX");
	s->regs.rax = 0x80010033;
	ok(DOES("\x0f\x22\xc0") && s->sregs.cr0 == 0x80010033 && lab.cpu.effects == MONITOR_MODE,
	   "mov to CR0 begins paging");
	is_hex(s->sregs.efer, EFER_LME | EFER_LMA | EFER_NXE, "... and long mode");
	is(emulate_bits(&s->sregs), 32, "the code is still of 32 bits");
	ok(DOES("\xea\x00\x50\x00\x00\x08\x00") && s->regs.rip == LAB_CODE, "ljmp");
	is(emulate_bits(&s->sregs), 64, "... to 64 bits");
	lab_put64(&lab, LAB_DATA, 0x2000 << 16 | 0xfff);
	ok(DOES("\x0f\x01\x1c\x25\x00\x70\x00\x00") && s->sregs.idt.base == LAB_IDT, "lidt");
	s->regs.rax = LAB_TR;
	ok(DOES("\x0f\x00\xd8") && s->sregs.tr.base == LAB_TSS && s->sregs.tr.limit == 0xff &&
		   s->sregs.tr.type == 0xb,
	   "ltr finds a TSS of 16 bytes");
	is_hex(lab.memory[LAB_GDT + LAB_TR + 5], 0x8b, "... and makes it busy");
	s->regs.rcx = 0xc0000100;
	s->regs.rax = 0x12345678;
	s->regs.rdx = 0x7fff;
	ok(DOES("\x0f\x30") && s->sregs.fs.base == 0x7fff12345678, "wrmsr FS_BASE");
	s->regs.rsp = LAB_DATA;
	lab_put64(&lab, LAB_DATA, LAB_CODE + 0x100);
	lab_put64(&lab, LAB_DATA + 8, LAB_CS3);
	lab_put64(&lab, LAB_DATA + 16, 0x202);
	lab_put64(&lab, LAB_DATA + 24, LAB_STACK3);
	lab_put64(&lab, LAB_DATA + 32, LAB_DS3);
	ok(DOES("\x48\xcf") && s->regs.rip == LAB_CODE + 0x100 && s->regs.rsp == LAB_STACK3 &&
		   s->regs.rflags == 0x202,
	   "iretq");
	is(emulate_cpl(&s->sregs), 3, "... to CPL 3");
	is_hex(s->sregs.ss.selector, LAB_DS3, "with its stack segment");
	ok(s->sregs.ds.unusable, "and without the kernel's data segment");
}

/* ---- what only a kernel may ---- */

static const struct {
	const char *bytes;
	unsigned int nr;
	const char *name;
} privileged[] = {
	{ "\xf4", 1, "hlt" },
	{ "\xfa", 1, "cli" },
	{ "\xfb", 1, "sti" },
	{ "\x0f\x01\x13", 3, "lgdt" },
	{ "\x0f\x01\x1b", 3, "lidt" },
	{ "\x0f\x00\xd0", 3, "lldt" },
	{ "\x0f\x00\xd8", 3, "ltr" },
	{ "\x0f\x22\xc0", 3, "mov to CR0" },
	{ "\x0f\x20\xc0", 3, "mov from CR0" },
	{ "\x0f\x23\xc0", 3, "mov to DR0" },
	{ "\x0f\x21\xc0", 3, "mov from DR0" },
	{ "\x0f\x06", 2, "clts" },
	{ "\x0f\x01\xf0", 3, "lmsw" },
	{ "\x0f\x30", 2, "wrmsr" },
	{ "\x0f\x32", 2, "rdmsr" },
	{ "\x0f\x01\x3b", 3, "invlpg" },
	{ "\x66\x0f\x38\x82\x03", 5, "invpcid" },
	{ "\x0f\x08", 2, "invd" },
	{ "\x0f\x09", 2, "wbinvd" },
	{ "\x0f\x01\xf8", 3, "swapgs" },
	{ "\x48\x0f\x07", 3, "sysret" },
	{ "\xe4\x60", 2, "in" },
	{ "\xee", 1, "out" },
	{ "\x6c", 1, "insb" },
	{ "\x6f", 1, "outsl" },
};

static void test_user(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(privileged); i++) {
		lab_begin(&lab, true, 3);
		s->regs.rbx = s->regs.rdi = s->regs.rsi = LAB_DATA;
		s->msr.star = 0x0013000800000000;
		ok(faults_bytes(privileged[i].bytes, privileged[i].nr, GP, 0),
		   "%s at CPL 3 is #GP(0)", privileged[i].name);
		lab_begin(&lab, true, 0);
		s->regs.rbx = LAB_DATA;
		ok(lab_do(&lab, "\xf0", 1) == MONITOR_DONE, "a prefix alone is decoded");
		s->regs.rip = LAB_CODE + 1;
		memcpy(lab.memory + LAB_CODE + 2, privileged[i].bytes, privileged[i].nr);
		ok(lab_raise(&lab, "\xf0", 1, GP) == MONITOR_DONE && lab_vector(&lab) == UD,
		   "%s with LOCK is #UD", privileged[i].name);
	}
}

/* ---- control registers ---- */

static void test_control(void)
{
	lab_begin(&lab, true, 0);
	s->regs.rax = CR0_PE | CR0_PG | CR0_WP;
	ok(DOES("\x0f\x22\xc0") && s->sregs.cr0 == (CR0_PE | CR0_PG | CR0_WP | CR0_ET) &&
		   lab.cpu.effects == MONITOR_MODE,
	   "CR0.WP changes translation, and ET is always set");
	s->regs.rax |= CR0_TS;
	ok(DOES("\x0f\x22\xc0") && !lab.cpu.effects, "CR0.TS does not");
	ok(DOES("\x0f\x06") && !(s->sregs.cr0 & CR0_TS), "clts clears it");
	ok(DOES("\x44\x0f\x20\xc3") && s->regs.rbx == s->sregs.cr8, "mov from CR8");
	s->regs.rax = 9;
	ok(DOES("\x44\x0f\x22\xc0") && s->sregs.cr8 == 9, "mov to CR8");
	s->regs.rax = 0xdead000;
	ok(DOES("\x0f\x22\xd0") && DOES("\x0f\x20\xd1") && s->regs.rcx == 0xdead000, "CR2 too");
	s->regs.rax = 0x1f;
	ok(DOES("\x0f\x01\xf0") && (s->sregs.cr0 & 0x1f) == 0x1f, "lmsw");
	s->regs.rax = 0;
	ok(DOES("\x0f\x01\xf0") && (s->sregs.cr0 & 0x1f) == 0x11, "... cannot clear PE");
	ok(DOES("\x0f\x01\xe1") && s->regs.rcx == s->sregs.cr0, "smsw");
}

static void wrong_value(const char *bytes, unsigned int nr, uint64_t value, const char *what)
{
	lab_begin(&lab, true, 0);
	s->regs.rax = value;
	ok(faults_bytes(bytes, nr, GP, 0), "%s is #GP(0)", what);
}
#define WRONG(bytes, value, what) wrong_value(bytes, sizeof(bytes) - 1, value, what)

static void test_wrong_values(void)
{
	WRONG("\x0f\x22\xc0", CR0_PG, "CR0.PG without PE");
	WRONG("\x0f\x22\xc0", CR0_PE | CR0_PG | CR0_NW, "CR0.NW without CD");
	WRONG("\x0f\x22\xc0", 1ULL << 40 | CR0_PE | CR0_PG, "a bit of the upper half of CR0");
	WRONG("\x0f\x22\xc0", CR0_PE, "the end of paging in code of 64 bits");
	WRONG("\x0f\x22\xd8", 1ULL << 40, "CR3 beyond the physical addresses");
	WRONG("\x0f\x22\xe0", CR4_PSE, "CR4 without PAE in long mode");
	WRONG("\x0f\x22\xe0", CR4_PAE | CR4_LA57, "a bit of CR4 that CPUID does not offer");
	WRONG("\x44\x0f\x22\xc0", 16, "CR8 above 15");
	lab_begin(&lab, true, 0);
	ok(FAULTS("\x0f\x22\xc8", UD, 0), "CR1 is #UD");
	lab_begin(&lab, true, 0);
	s->sregs.cr3 = 1;
	s->regs.rax = CR4_PAE | CR4_PCIDE;
	ok(FAULTS("\x0f\x22\xe0", GP, 0), "PCIDs with one in CR3 already: #GP(0)");
	lab_begin_pvh(&lab);
	s->sregs.efer = EFER_LME;
	s->sregs.gdt = (struct kvm_dtable){ .base = LAB_GDT, .limit = LAB_GDT_BYTES - 1 };
	s->regs.rax = CR0_PE | CR0_PG;
	is(LAB_DO(&lab, "\x0f\x22\xc0"), MONITOR_SHUTDOWN,
	   "long mode without PAE, and without an IDT: the triple fault");
	is_hex(s->sregs.cr0, CR0_PE | CR0_ET, "... and nothing has changed");
}

static void test_debug(void)
{
	lab_begin(&lab, true, 0);
	s->regs.rax = 0x1234;
	ok(DOES("\x0f\x23\xd8") && s->debug.db[3] == 0x1234 && lab.cpu.effects == MONITOR_DEBUG,
	   "mov to DR3");
	s->regs.rax = 0x1;
	ok(DOES("\x0f\x23\xf8") && s->debug.dr7 == 0x401, "mov to DR7, of which bit 10 is fixed");
	ok(DOES("\x0f\x23\xe8") && s->debug.dr7 == 0x401, "DR5 is DR7");
	s->sregs.cr4 |= CR4_DE;
	ok(FAULTS("\x0f\x23\xe8", UD, 0), "... but not with CR4.DE");
}

/* ---- MSRs ---- */

static void test_msrs(void)
{
	static const uint32_t kept[] = { 0x174,	     0x175,	 0x176,	     0xc0000081,
					 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100,
					 0xc0000101, 0xc0000102, 0x1a0 };
	bool good = true;

	lab_begin(&lab, true, 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(kept); i++) {
		s->regs.rcx = kept[i];
		s->regs.rax = 0x10000 + i;
		s->regs.rdx = 0x7ff0;
		good &= DOES("\x0f\x30");
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(kept); i++) {
		s->regs.rcx = kept[i];
		good &= DOES("\x0f\x32") && s->regs.rax == 0x10000 + i && s->regs.rdx == 0x7ff0;
	}
	ok(good, "MSRs that are kept here");
	ok(s->sregs.gs.base == 0x7ff000010008 && s->msr.lstar == 0x7ff000010004, "... and where");
	s->regs.rcx = 0x277;
	s->regs.rax = 0x00070406;
	s->regs.rdx = 0x00070406;
	ok(DOES("\x0f\x30") && s->msr.pat == 0x0007040600070406, "PAT");
	s->regs.rcx = 0x10;
	lab.msr_known = true;
	ok(DOES("\x0f\x30") && lab.msr_index == 0x10, "others are asked of the bus");
	lab.msr_known = false;
	ok(FAULTS("\x0f\x32", GP, 0), "what it does not know is #GP(0)");
	lab_begin(&lab, true, 0);
	s->regs.rcx = 0x277;
	s->regs.rax = 0x02070406;
	ok(FAULTS("\x0f\x30", GP, 0), "a type of memory that there is not, in PAT: #GP(0)");
	lab_begin(&lab, true, 0);
	s->regs.rcx = 0xc0000082;
	s->regs.rdx = 0x8000;
	ok(FAULTS("\x0f\x30", GP, 0), "LSTAR that is not canonical");
	lab_begin(&lab, true, 0);
	s->regs.rcx = 0xc0000080;
	s->regs.rax = EFER_LME | 0x1000;
	ok(FAULTS("\x0f\x30", GP, 0), "a bit of EFER that CPUID does not offer");
	lab_begin(&lab, true, 0);
	s->regs.rcx = 0xc0000080;
	s->regs.rax = 0;
	ok(FAULTS("\x0f\x30", GP, 0), "EFER.LME cannot change while paging is on");
	lab_begin(&lab, true, 0);
	s->regs.rcx = 0xc0000080;
	s->regs.rax = EFER_LME | EFER_NXE;
	ok(DOES("\x0f\x30") && lab.cpu.effects == MONITOR_MODE && (s->sregs.efer & EFER_LMA),
	   "NXE changes translation, and LMA stays");
	s->msr.kernel_gs_base = 0x1111;
	s->sregs.gs.base = 0x2222;
	ok(DOES("\x0f\x01\xf8") && s->sregs.gs.base == 0x1111 && s->msr.kernel_gs_base == 0x2222,
	   "swapgs");
	s->sregs.cr4 |= CR4_OSXSAVE;
	s->regs.rcx = s->regs.rdx = 0;
	s->regs.rax = 3;
	ok(DOES("\x0f\x01\xd1") && s->xcr0 == 3 && lab.cpu.effects == MONITOR_XCR0, "xsetbv");
	s->regs.rax = 5;
	ok(FAULTS("\x0f\x01\xd1", GP, 0), "... with AVX and without SSE: #GP(0)");
}

/* ---- flushes and interrupts ---- */

static void test_flushes(void)
{
	lab_begin(&lab, true, 0);
	s->regs.rsi = 0x12345678;
	ok(DOES("\x0f\x01\x3e") && lab.cpu.effects == MONITOR_INVLPG &&
		   lab.cpu.invlpg == 0x12345678,
	   "invlpg says which page");
	s->sregs.gs.base = 0x1000;
	ok(DOES("\x65\x0f\x01\x7e\x10") && lab.cpu.invlpg == 0x12346688,
	   "... with base and offset");
	ok(DOES("\x0f\x09") && !lab.cpu.effects, "wbinvd");
	s->regs.rsi = LAB_DATA;
	lab_put64(&lab, LAB_DATA + 8, 0x77000);
	s->regs.rax = 0;
	ok(DOES("\x66\x0f\x38\x82\x06") && lab.cpu.effects == MONITOR_INVLPG &&
		   lab.cpu.invlpg == 0x77000,
	   "invpcid of an address");
	s->regs.rax = 2;
	ok(DOES("\x66\x0f\x38\x82\x06") && lab.cpu.effects == MONITOR_MODE, "... of everything");
	s->regs.rax = 4;
	ok(FAULTS("\x66\x0f\x38\x82\x06", GP, 0), "... of a type that there is not: #GP(0)");
}

static void test_interrupts(void)
{
	lab_begin(&lab, true, 0);
	ok(DOES("\xfb") && (s->regs.rflags & FLAG_IF) && !monitor_interruptible(&lab.cpu),
	   "sti, and no interrupt before the next instruction");
	is(LAB_DO(&lab, "\xf4"), MONITOR_HALT, "hlt");
	ok(s->regs.rip == LAB_CODE + 2 && monitor_interruptible(&lab.cpu),
	   "... which an interrupt may end");
	ok(DOES("\xfa") && !monitor_interruptible(&lab.cpu), "cli");
	lab_begin(&lab, true, 3);
	s->regs.rflags |= FLAG_IOPL;
	ok(DOES("\xfb") && (s->regs.rflags & FLAG_IF), "sti at CPL 3, with IOPL 3");
	lab_begin(&lab, true, 0);
	ok(DOES("\x0f\x01\xcb") && (s->regs.rflags & FLAG_AC), "stac");
	ok(DOES("\x0f\x01\xca") && !(s->regs.rflags & FLAG_AC), "clac");
}

/* ---- system calls ---- */

/* Selectors of CS and SS, and RIP and RSP, after a system call instruction. */
static bool arrives(uint16_t cs, uint16_t ss, uint64_t rip, uint64_t rsp)
{
	return s->sregs.cs.selector == cs && s->sregs.cs.dpl == (cs & 3) &&
	       s->sregs.ss.selector == ss && s->sregs.ss.dpl == (cs & 3) && s->regs.rip == rip &&
	       s->regs.rsp == rsp;
}

static void begin_call(unsigned int cpl)
{
	lab_begin(&lab, true, cpl);
	s->msr.star = 0x0013000800000000;
	s->msr.lstar = s->msr.sysenter_eip = LAB_CODE + 0x200;
	s->msr.sfmask = FLAG_IF;
	s->msr.sysenter_cs = LAB_CS0;
	s->msr.sysenter_esp = LAB_IST;
	s->regs.rflags |= FLAG_IF;
	s->regs.rcx = s->regs.rdx = LAB_CODE + 0x100;
	s->regs.r11 = FLAG_FIXED | FLAG_IF;
}

static void test_system_calls(void)
{
	begin_call(3);
	ok(DOES("\x0f\x05") && arrives(0x08, 0x10, LAB_CODE + 0x200, LAB_STACK3), "syscall");
	ok(s->regs.rcx == LAB_CODE + 2 && s->regs.r11 == (FLAG_FIXED | FLAG_IF) &&
		   s->regs.rflags == FLAG_FIXED,
	   "... RCX and R11 say whence, and flags are masked");
	begin_call(0);
	ok(DOES("\x48\x0f\x07") && arrives(0x23, 0x1b, LAB_CODE + 0x100, LAB_STACK0), "sysretq");
	begin_call(3);
	ok(DOES("\x0f\x34") && arrives(0x08, 0x10, LAB_CODE + 0x200, LAB_IST) &&
		   s->regs.rflags == FLAG_FIXED,
	   "sysenter");
	begin_call(0);
	ok(DOES("\x48\x0f\x35") && arrives(0x2b, 0x33, LAB_CODE + 0x100, LAB_CODE + 0x100),
	   "sysexit to 64 bits");
	begin_call(0);
	ok(DOES("\x0f\x35") && arrives(0x1b, 0x23, LAB_CODE + 0x100, LAB_CODE + 0x100),
	   "sysexit to 32 bits");
	begin_call(3);
	s->sregs.efer &= ~(uint64_t)EFER_SCE;
	ok(FAULTS("\x0f\x05", UD, 0), "syscall without EFER.SCE: #UD");
}

/* ---- ports ---- */

static void test_ports(void)
{
	lab_begin(&lab, true, 0);
	s->regs.rax = 0x1122334455667788;
	ok(DOES("\xe6\x80") && lab.io_out && lab.io_port == 0x80 && lab.io_bytes == 1 &&
		   lab.io_data[0] == 0x88,
	   "out to a port in the instruction");
	s->regs.rdx = 0xffff03f8;
	ok(DOES("\x66\xef") && lab.io_port == 0x3f8 && lab.io_bytes == 2, "out of 16 bits to DX");
	lab.port_value = 0x5a;
	ok(DOES("\xec") && s->regs.rax == 0x112233445566775a, "inb changes AL");
	ok(DOES("\x66\xed") && s->regs.rax == 0x1122334455665a5a, "inw AX");
	ok(DOES("\xed") && s->regs.rax == 0x5a5a5a5a, "inl clears the upper half of RAX");
	lab.io_result = EMULATE_HOST;
	is(LAB_DO(&lab, "\xec"), MONITOR_HOST, "a port that ends the VM");
	lab_begin(&lab, true, 3);
	ok(DOES("\xe4\x43") && lab.io_port == 0x43, "at CPL 3 by the bitmap");
	ok(FAULTS("\xe5\x45", GP, 0), "... but not beyond what it grants");
	lab_begin(&lab, true, 3);
	s->regs.rdx = 0xf000;
	ok(FAULTS("\xec", GP, 0), "... nor where it has ended");
	lab_begin(&lab, true, 3);
	s->regs.rflags |= FLAG_IOPL;
	ok(DOES("\xe4\x60"), "with IOPL 3 any port");
}

static void test_strings(void)
{
	lab_begin(&lab, true, 0);
	s->regs.rsi = LAB_DATA;
	s->regs.rcx = 5;
	s->regs.rdx = 0x3f8;
	memcpy(lab.memory + LAB_DATA, "hello", 5);
	ok(DOES("\xf3\x6e") && lab.nr_io == 1 && lab.io_count == 5 &&
		   !memcmp(lab.io_data, "hello", 5),
	   "rep outsb, in one piece");
	ok(!s->regs.rcx && s->regs.rsi == LAB_DATA + 5 && s->regs.rip == LAB_CODE + 2,
	   "... RCX is 0, RSI and RIP are behind it");
	s->regs.rcx = 3000;
	s->regs.rsi = LAB_DATA;
	ok(DOES("\xf3\x6e") && lab.io_count == 1024 && s->regs.rcx == 1976 &&
		   s->regs.rip == LAB_CODE + 2,
	   "a long one leaves RIP where it is");
	s->regs.rcx = 0;
	ok(DOES("\xf3\x6e") && lab.nr_io == 2 && s->regs.rip == LAB_CODE + 4, "none at all");
	s->regs.rdi = LAB_DATA + 8;
	s->regs.rflags |= FLAG_DF;
	lab.port_value = 0x77;
	ok(DOES("\x6d") && s->regs.rdi == LAB_DATA + 4 &&
		   lab_get32(&lab, LAB_DATA + 8) == 0x77777777,
	   "insl downwards");
	lab_begin(&lab, true, 0);
	s->regs.rdi = LAB_VOID - 2;
	s->regs.rcx = 4;
	ok(DOES("\xf3\x6c") && lab.nr_io == 1 && lab.io_count == 2 && s->regs.rcx == 2 &&
		   s->regs.rdi == LAB_VOID && s->regs.rip == LAB_CODE,
	   "rep insb goes as far as there is memory");
	ok(LAB_DO(&lab, "\xf3\x6c") == MONITOR_DONE && lab_vector(&lab) == PF && lab.nr_io == 1,
	   "... then it is #PF, and the port has not been read");
	is_hex(s->sregs.cr2, LAB_VOID, "... where the memory ends");
	is_hex(lab_get64(&lab, s->regs.rsp) & 2, 2, "... of a write");
}

int main(void)
{
	tap_init();
	test_boot();
	test_user();
	test_control();
	test_wrong_values();
	test_debug();
	test_msrs();
	test_flushes();
	test_interrupts();
	test_system_calls();
	test_ports();
	test_strings();
	return tap_done();
}
