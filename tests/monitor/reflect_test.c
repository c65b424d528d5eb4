/* SPDX-License-Identifier: MIT */
/* Delivery of exceptions and interrupts: SDM Vol. 3A, chapter 6. */
#include <string.h>
#include "monitor_lab.h"
#include "tests/tap.h"
#include "vmm/monitor/registers.h"

static struct lab lab;
static struct monitor_state *const s = &lab.cpu.state;

#define EXT 1u
#define IDT 2u

static enum monitor_result raise_event(uint8_t vector, bool has_error, uint32_t error, uint64_t cr2)
{
	return monitor_exception(&lab.cpu,
				 &(struct emulate_event){ vector, has_error, error, cr2 });
}

/* A fault whose delivery must end in the handler of `vector`, with `error` on the stack. */
static void ends_in(uint8_t raised, int vector, uint64_t error, const char *what)
{
	enum monitor_result ret = raise_event(raised, raised == GP || raised == PF, 0, 0x1234);

	ok(ret == MONITOR_DONE && lab_vector(&lab) == vector, "%s", what);
	is_hex(lab_get64(&lab, s->regs.rsp), error, "... with that error code");
}

/* ---- the frame ---- */

static void test_frame_from_user(void)
{
	lab_begin(&lab, true, 3);
	s->regs.rsp = LAB_STACK3 - 8;
	s->regs.rflags |= FLAG_TF | FLAG_IF | FLAG_NT;
	is(raise_event(PF, true, 7, 0x5678), MONITOR_DONE, "#PF from CPL 3");
	is(lab_vector(&lab), PF, "... is in its handler");
	is_hex(s->regs.rsp, LAB_STACK0 - 48, "RSP is that of the TSS, less six words");
	is_hex(lab_get64(&lab, LAB_STACK0 - 48), 7, "the error code");
	is_hex(lab_get64(&lab, LAB_STACK0 - 40), LAB_CODE, "RIP");
	is_hex(lab_get64(&lab, LAB_STACK0 - 32), LAB_CS3, "CS");
	is_hex(lab_get64(&lab, LAB_STACK0 - 24), FLAG_FIXED | FLAG_TF | FLAG_IF | FLAG_NT | FLAG_RF,
	       "RFLAGS, with RF");
	is_hex(lab_get64(&lab, LAB_STACK0 - 16), LAB_STACK3 - 8, "RSP");
	is_hex(lab_get64(&lab, LAB_STACK0 - 8), LAB_DS3, "SS");
	is_hex(s->regs.rflags, FLAG_FIXED, "an interrupt gate clears IF, and each TF, NT and RF");
	is_hex(s->sregs.cr2, 0x5678, "CR2");
	ok(emulate_cpl(&s->sregs) == 0 && s->sregs.cs.selector == LAB_CS0 && s->sregs.cs.l,
	   "at CPL 0, in code of 64 bits");
	ok(s->sregs.ss.selector == 0 && s->sregs.ss.unusable, "SS is null");
}

static void test_frame_from_kernel(void)
{
	lab_begin(&lab, true, 0);
	lab_gate(&lab, 7, 0, 0xf, 0);
	s->regs.rsp = LAB_STACK0 - 0x105;
	s->regs.rflags |= FLAG_IF;
	is(raise_event(NM, false, 0, 0), MONITOR_DONE, "#NM from CPL 0");
	is_hex(s->regs.rsp, LAB_STACK0 - 0x110 - 40, "RSP is aligned, and there are five words");
	is_hex(lab_get64(&lab, s->regs.rsp + 24), LAB_STACK0 - 0x105,
	       "... one of them RSP as it was");
	is_hex(s->regs.rflags, FLAG_FIXED | FLAG_IF, "a trap gate leaves IF");
	is_hex(s->sregs.ss.selector, LAB_DS0, "SS stays");
	lab_begin(&lab, true, 0);
	lab_gate(&lab, 14, 0, 0xe, 1);
	is(raise_event(PF, true, 0, 1), MONITOR_DONE, "#PF by a gate with an IST");
	is_hex(s->regs.rsp, LAB_IST - 48, "... is on that stack, also from CPL 0");
}

static void test_frame_32(void)
{
	lab_begin(&lab, false, 3);
	s->regs.rflags |= FLAG_IF;
	is(raise_event(GP, true, 0x55, 0), MONITOR_DONE, "#GP from CPL 3, in 32 bits");
	is_hex(s->regs.rsp, LAB_STACK0 - 24, "six words of 4 bytes");
	ok(lab_get32(&lab, LAB_STACK0 - 24) == 0x55 &&
		   lab_get32(&lab, LAB_STACK0 - 20) == LAB_CODE &&
		   lab_get32(&lab, LAB_STACK0 - 16) == LAB_CS3 &&
		   lab_get32(&lab, LAB_STACK0 - 12) == (FLAG_FIXED | FLAG_IF | FLAG_RF) &&
		   lab_get32(&lab, LAB_STACK0 - 8) == LAB_STACK3 &&
		   lab_get32(&lab, LAB_STACK0 - 4) == LAB_DS3,
	   "... which are error code, EIP, CS, EFLAGS, ESP and SS");
	is_hex(s->sregs.ss.selector, LAB_DS0, "SS is that of the TSS");
	lab_begin(&lab, false, 0);
	is(raise_event(UD, false, 0, 0), MONITOR_DONE, "#UD from CPL 0");
	is_hex(s->regs.rsp, LAB_STACK0 - 12, "... pushes three words");
}

/* ---- gates ---- */

static void gate_with(unsigned int vector, unsigned int byte, uint8_t value)
{
	lab_begin(&lab, true, 3);
	lab.memory[LAB_IDT + 16 * vector + byte] = value;
}

static void test_bad_gates(void)
{
	gate_with(NM, 5, 0x0e);
	ends_in(NM, NP, NM * 8 | IDT | EXT, "a gate that is not present: #NP");
	gate_with(NM, 5, 0x8c);
	ends_in(NM, GP, NM * 8 | IDT | EXT, "a gate of no such type: #GP");
	gate_with(NM, 5, 0x86);
	ends_in(NM, GP, NM * 8 | IDT | EXT, "a gate of 16 bits in long mode: #GP");
	gate_with(NM, 2, 0x00);
	ends_in(NM, GP, EXT, "a null selector: #GP");
	gate_with(NM, 2, LAB_GDT_BYTES);
	ends_in(NM, GP, LAB_GDT_BYTES | EXT, "a selector beyond the GDT: #GP with it");
	gate_with(NM, 2, LAB_DS0);
	ends_in(NM, GP, LAB_DS0 | EXT, "a data segment: #GP");
	gate_with(NM, 2, LAB_CS32);
	ends_in(NM, GP, LAB_CS32 | EXT, "code of 32 bits in long mode: #GP");
	lab_begin(&lab, true, 0);
	lab.memory[LAB_IDT + 16 * NM + 2] = LAB_CS3 & ~7u;
	ends_in(NM, GP, (LAB_CS3 & ~7u) | EXT, "a less privileged handler: #GP");
	gate_with(NM, 11, 0x80);
	ends_in(NM, GP, EXT, "a handler at an address that is not canonical: #GP");
	lab_begin(&lab, true, 3);
	s->sregs.idt.limit = 16 * 14 - 1;
	ends_in(MF, GP, MF * 8 | IDT | EXT, "a vector beyond the IDT's limit: #GP");
	lab_begin(&lab, true, 3);
	lab.memory[LAB_IDT + 16 * NM + 2] = LAB_CODE0;
	is(raise_event(NM, false, 0, 0), MONITOR_DONE, "a conforming handler");
	ok(emulate_cpl(&s->sregs) == 3 && s->regs.rsp == LAB_STACK3 - 40, "... stays at CPL 3");
}

static void test_bad_stacks(void)
{
	lab_begin(&lab, true, 3);
	lab_put64(&lab, LAB_TSS + 4, 1ULL << 60);
	lab_gate(&lab, SS, 0, 0xe, 1);
	ends_in(NM, SS, EXT, "RSP0 that is not canonical: #SS");
	lab_begin(&lab, true, 3);
	lab_put64(&lab, LAB_TSS + 4, LAB_VOID + 0x100);
	lab_gate(&lab, PF, 0, 0xe, 1);
	ends_in(NM, PF, 2, "RSP0 in nothing: #PF, of a write at CPL 0");
	is_hex(s->sregs.cr2, LAB_VOID + 0x100 - 8, "... at the first word of the frame");
	lab_begin(&lab, true, 3);
	s->sregs.tr.limit = 20;
	lab_gate(&lab, NM, 0, 0xe, 1);
	ends_in(NM, TS, (LAB_TR & 0xfffc) | EXT, "an IST beyond the TSS: #TS");
	lab_begin(&lab, false, 3);
	lab_put32(&lab, LAB_TSS + 8, LAB_DS3);
	is(raise_event(NM, false, 0, 0), MONITOR_SHUTDOWN, "an SS0 for CPL 3 lets nothing through");
}

/* ---- INT n ---- */

static void test_software(void)
{
	lab_begin(&lab, true, 3);
	lab_gate(&lab, 0x80, 3, 0xe, 0);
	ok(LAB_DO(&lab, "\xcd\x80") == MONITOR_DONE && lab_vector(&lab) == 0x80,
	   "int 0x80 by a gate of DPL 3");
	is_hex(lab_get64(&lab, s->regs.rsp), LAB_CODE + 2, "... returns behind it");
	is_hex(lab_get64(&lab, s->regs.rsp + 16), FLAG_FIXED, "... without RF");
	lab_begin(&lab, true, 3);
	ok(lab_raise(&lab, "\xcd\x81", 2, UD) == MONITOR_DONE && lab_vector(&lab) == GP,
	   "int 0x81 by a gate of DPL 0, where it comes as #UD: #GP");
	is_hex(lab_get64(&lab, s->regs.rsp), 0x81 * 8 | IDT, "... of the gate, without EXT");
	is_hex(lab_get64(&lab, s->regs.rsp + 8), LAB_CODE, "... at the instruction");
	lab_begin(&lab, true, 0);
	ok(LAB_DO(&lab, "\xcd\x0d") == MONITOR_DONE && s->regs.rsp == LAB_STACK0 - 40,
	   "int 13 pushes no error code");
	lab_begin(&lab, true, 3);
	lab_gate(&lab, BP, 3, 0xe, 0);
	ok(LAB_DO(&lab, "\xcc") == MONITOR_DONE && lab_vector(&lab) == BP &&
		   lab_get64(&lab, s->regs.rsp) == LAB_CODE + 1,
	   "int3 that comes as #GP");
	lab_begin(&lab, true, 3);
	lab_gate(&lab, BP, 3, 0xe, 0);
	s->regs.rip++;
	ok(raise_event(BP, false, 0, 0) == MONITOR_DONE && lab_vector(&lab) == BP &&
		   lab_get64(&lab, s->regs.rsp) == LAB_CODE + 1,
	   "int3 that comes as #BP");
	lab_begin(&lab, true, 3);
	s->regs.rip++;
	ends_in(BP, GP, BP * 8 | IDT, "... by a gate of DPL 0: #GP");
	is_hex(lab_get64(&lab, s->regs.rsp + 8), LAB_CODE, "... at the instruction");
}

static void test_interrupt(void)
{
	lab_begin(&lab, true, 3);
	s->regs.rflags |= FLAG_IF;
	ok(monitor_interruptible(&lab.cpu), "IF lets interrupts through");
	ok(monitor_interrupt(&lab.cpu, 0x30) == MONITOR_DONE && lab_vector(&lab) == 0x30,
	   "an interrupt, although the gate has DPL 0");
	is_hex(lab_get64(&lab, s->regs.rsp + 16), FLAG_FIXED | FLAG_IF, "... RF is as it was");
	ok(!monitor_interruptible(&lab.cpu), "... and the next one waits");
	lab_begin(&lab, true, 3);
	lab.memory[LAB_IDT + 16 * 0x30 + 5] = 0x0e;
	ok(monitor_interrupt(&lab.cpu, 0x30) == MONITOR_DONE && lab_vector(&lab) == NP &&
		   lab_get64(&lab, s->regs.rsp) == (0x30 * 8 | IDT | EXT),
	   "an interrupt whose gate is not present: #NP with EXT");
}

/* ---- double and triple faults ---- */

/* The gates of both vectors are not present: which exception arrives? */
static int after(uint8_t first, bool software)
{
	lab_begin(&lab, true, 3);
	lab.memory[LAB_IDT + 16 * first + 5] = software ? 0x6e : 0x0e;
	if (software) {
		char bytes[] = { (char)0xcd, (char)first };

		(void)lab_do(&lab, bytes, 2);
	} else {
		(void)raise_event(first, false, 0, 0);
	}
	return lab_vector(&lab);
}

static void test_double(void)
{
	static const struct {
		uint8_t first;
		int second;
	} pairs[] = {
		{ DE, DF }, { DB, NP }, { BP, NP }, { OF, NP }, { 5, NP },  { NM, NP },
		{ TS, DF }, { SS, DF }, { GP, DF }, { PF, DF }, { MF, NP }, { 17, NP },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(pairs); i++)
		if (pairs[i].first != BP && pairs[i].first != OF)
			is(after(pairs[i].first, false), pairs[i].second,
			   "#NP at the delivery of exception %u", pairs[i].first);
	is(after(GP, true), NP, "#NP at the delivery of int 13");
	lab_begin(&lab, true, 3);
	lab.memory[LAB_IDT + 16 * PF + 5] = 0x0e;
	ends_in(PF, DF, 0, "#PF, then #NP: #DF");
	is_hex(s->sregs.cr2, 0x1234, "... with the first one's CR2");
	/* The GDT is where nothing is: #GP needs it, too. */
	lab_begin(&lab, true, 3);
	s->sregs.gdt.base = LAB_VOID;
	is(raise_event(GP, true, 0, 0), MONITOR_SHUTDOWN, "no GDT: the triple fault");
	is_hex(s->sregs.cr2, LAB_VOID + LAB_CS0, "... CR2 says where it should be");
	ok(s->regs.rip == LAB_CODE && emulate_cpl(&s->sregs) == 3, "... the rest is as it was");
	lab_begin(&lab, true, 3);
	s->sregs.idt.limit = 0;
	is(raise_event(UD, false, 0, 0), MONITOR_SHUTDOWN, "an empty IDT: the triple fault");
	lab_begin(&lab, true, 3);
	s->sregs.idt.base = 1ULL << 60;
	is(raise_event(UD, false, 0, 0), MONITOR_SHUTDOWN, "an IDT at no canonical address");
	lab_begin(&lab, true, 3);
	lab.memory[LAB_IDT + 16 * NP + 5] = 0x0e;
	lab.memory[LAB_IDT + 16 * NM + 5] = 0x0e;
	ends_in(NM, DF, 0, "#NM, #NP, and #NP again: #DF");
	lab_begin(&lab, true, 3);
	lab_put64(&lab, LAB_TSS + 4, LAB_VOID + 0x100);
	is(raise_event(NM, false, 0, 0), MONITOR_SHUTDOWN, "no stack for anything");
	lab_gate(&lab, DF, 0, 0xe, 1);
	ends_in(NM, DF, 0, "... but with an IST for #DF");
}

/* ---- single steps ---- */

static void test_single_step(void)
{
	lab_begin(&lab, true, 0);
	s->regs.rflags |= FLAG_TF;
	s->regs.rsi = 0x7000;
	ok(LAB_DO(&lab, "\x0f\x01\x3e") == MONITOR_DONE && lab_vector(&lab) == DB,
	   "TF over an emulated instruction: #DB behind it");
	is_hex(lab_get64(&lab, s->regs.rsp), LAB_CODE + 3, "... which returns behind it");
	is_hex(lab_get64(&lab, s->regs.rsp + 16), FLAG_FIXED | FLAG_TF, "... with TF, without RF");
	ok(s->debug.dr6 & DR6_BS, "DR6 says why");
	ok(lab.cpu.effects == MONITOR_INVLPG && lab.cpu.invlpg == 0x7000, "the flush is not lost");
}

static void test_guarded(void)
{
	lab_begin(&lab, true, 0);
	s->debug.dr7 = 0x2400;
	ok(LAB_DO(&lab, "\x0f\x23\xf0") == MONITOR_DONE && lab_vector(&lab) == DB,
	   "DR7.GD: mov to DR6 is #DB");
	is_hex(lab_get64(&lab, s->regs.rsp), LAB_CODE, "... which returns to it");
	ok(s->debug.dr6 & DR6_BD, "DR6 says why");
	is_hex(s->debug.dr7, 0x400, "the handler is not guarded from them");
}

static void test_unknown(void)
{
	lab_begin(&lab, true, 0);
	ok(lab_raise(&lab, "\x0f\x0b", 2, UD) == MONITOR_DONE && lab_vector(&lab) == UD &&
		   lab.cpu.row == MONITOR_NR_ROWS,
	   "ud2 is reflected as it is");
	lab_begin(&lab, true, 0);
	s->regs.rip = LAB_VOID - 1;
	ok(lab_raise(&lab, "\x0f", 1, GP) == MONITOR_DONE && lab_vector(&lab) == PF &&
		   s->sregs.cr2 == LAB_VOID,
	   "half an instruction, whose other half is not there: #PF");
	lab_begin(&lab, true, 0);
	s->sregs.cs.l = 0;
	is(LAB_DO(&lab, "\xf4"), MONITOR_UNKNOWN, "code of 16 bits is not known");
}

/* The real tables are not the guest's: what they say of a selector is no fault of the guest. */
static void test_selectors(void)
{
	static const uint8_t vectors[] = { TS, NP, SS };

	for (unsigned int i = 0; i < ARRAY_SIZE(vectors); i++) {
		lab_begin(&lab, true, 0);
		s->regs.rsp = LAB_DATA;
		lab_put64(&lab, LAB_DATA, LAB_CODE + 0x100);
		lab_put64(&lab, LAB_DATA + 8, LAB_CS3);
		lab_put64(&lab, LAB_DATA + 16, FLAG_FIXED);
		lab_put64(&lab, LAB_DATA + 24, LAB_STACK3);
		lab_put64(&lab, LAB_DATA + 32, LAB_DS3);
		ok(lab_raise(&lab, "\x48\xcf", 2, vectors[i]) == MONITOR_DONE &&
			   s->regs.rip == LAB_CODE + 0x100,
		   "iretq that the real processor refused by exception %u is done", vectors[i]);
		lab_begin(&lab, true, 0);
		ok(lab_raise(&lab, "\x90", 1, vectors[i]) == MONITOR_DONE &&
			   lab_vector(&lab) == vectors[i],
		   "... and of what is not privileged the exception is reflected");
	}
}

int main(void)
{
	tap_init();
	test_frame_from_user();
	test_frame_from_kernel();
	test_frame_32();
	test_bad_gates();
	test_bad_stacks();
	test_software();
	test_interrupt();
	test_double();
	test_single_step();
	test_guarded();
	test_selectors();
	test_unknown();
	return tap_done();
}
