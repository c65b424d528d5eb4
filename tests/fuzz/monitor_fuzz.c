/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: registers, descriptors, gates and stacks from the input, then instructions and
 * exceptions of the virtual processor of vmm/monitor.  What must hold whatever the guest does:
 *
 *   - the registers stay a state that a processor can be in;
 *   - a call that does not succeed changes nothing;
 *   - at CPL 3 nobody changes what only a kernel may, and the way to a lower level is through a
 *     gate, or to where the kernel has said that system calls go.
 *
 * Input: struct header, nr_records of struct record that overwrite memory, then steps: a byte that
 * says what happens, and fifteen of code.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/monitor/monitor_lab.h"
#include "vmm/monitor/registers.h"

#define STEPS 16u

struct header {
	uint8_t mode; /* 0 long, 1 CPL 3, 2 AMD, 3 SYSCALL off, 5:4 IOPL, 6 NT, 7 TF */
	uint8_t nr_records;
	uint16_t cr4;
	uint64_t gpr[4]; /* RAX, RCX, RDX, RSP */
	uint64_t star, lstar, sysenter_cs;
} __attribute__((packed));

struct record {
	uint16_t at; /* in 8 bytes, from LAB_GDT */
	uint64_t value;
} __attribute__((packed));

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct lab lab;
static struct monitor_state *const s = &lab.cpu.state;

static void check(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "monitor_fuzz: %s\n", what);
	abort();
}

static bool is_canonical(uint64_t gva)
{
	return (uint64_t)((int64_t)(gva << 16) >> 16) == gva;
}

static void load(const struct header *h)
{
	lab_begin(&lab, h->mode & 1, h->mode & 2 ? 3 : 0);
	lab.features.amd = h->mode & 4;
	s->sregs.cr4 |= h->cr4 & lab.features.cr4 & ~(uint64_t)CR4_PCIDE;
	if (h->mode & 8)
		s->sregs.efer &= ~(uint64_t)EFER_SCE;
	s->regs.rflags |= (h->mode & 0x30u) << 8 | (h->mode & 0x40 ? FLAG_NT : 0) |
			  (h->mode & 0x80 ? FLAG_TF : 0);
	s->regs.rax = h->gpr[0];
	s->regs.rcx = h->gpr[1];
	s->regs.rdx = h->gpr[2];
	s->regs.rsp = h->gpr[3] & 1 ? h->gpr[3] : s->regs.rsp - (h->gpr[3] & 0xff8);
	s->regs.rbx = s->regs.rsi = s->regs.rdi = LAB_DATA;
	s->msr.star = h->star;
	s->msr.lstar = is_canonical(h->lstar) ? h->lstar : 0;
	s->msr.sysenter_cs = h->sysenter_cs;
}

/* ---- what holds ---- */

static void check_state(void)
{
	const struct kvm_sregs *r = &s->sregs;
	unsigned int cpl = emulate_cpl(r);
	bool wide = r->efer & EFER_LMA;

	check(!(r->cr0 & CR0_PG) || (r->cr0 & CR0_PE), "paging without protection");
	check(wide == ((r->efer & EFER_LME) && (r->cr0 & CR0_PG)), "LMA is not LME and PG");
	check(!wide || (r->cr4 & CR4_PAE), "long mode without PAE");
	check(!(r->cr4 & ~lab.features.cr4), "a bit of CR4 that there is not");
	check(r->cs.s && (r->cs.type & 8) && r->cs.present, "CS is no code");
	check(r->cs.type & 4 ? r->cs.dpl <= cpl : r->cs.dpl == cpl, "CS of another level");
	check(r->ss.unusable ? wide && cpl < 3 : (r->ss.type & 0xa) == 2, "SS is no stack");
	check(r->ss.dpl == cpl, "SS of another level");
	check(s->regs.rflags & FLAG_FIXED, "the fixed flag");
	check(emulate_bits(r) != 64 || is_canonical(s->regs.rip), "RIP is not canonical");
	check(is_canonical(s->msr.lstar), "LSTAR is not canonical");
}

static bool same_tables(const struct monitor_state *a, const struct monitor_state *b)
{
	const struct kvm_sregs *x = &a->sregs, *y = &b->sregs;

	return x->cr0 == y->cr0 && x->cr3 == y->cr3 && x->cr4 == y->cr4 && x->cr8 == y->cr8 &&
	       x->efer == y->efer && !memcmp(&x->gdt, &y->gdt, sizeof(x->gdt)) &&
	       !memcmp(&x->idt, &y->idt, sizeof(x->idt)) && x->tr.base == y->tr.base &&
	       x->ldt.base == y->ldt.base && !memcmp(&a->msr, &b->msr, sizeof(a->msr)) &&
	       a->xcr0 == b->xcr0;
}

/* Is RIP where a gate leads? */
static bool in_a_handler(const struct monitor_state *before)
{
	unsigned int bytes = before->sregs.efer & EFER_LMA ? 16 : 8;

	for (unsigned int v = 0; v < 256; v++) {
		uint64_t low = lab_get64(&lab, LAB_IDT + v * bytes), high = 0;
		uint64_t rip = (low & 0xffff) | (low >> 32 & 0xffff0000);

		if (bytes == 16)
			high = lab_get64(&lab, LAB_IDT + v * bytes + 8) << 32;
		if ((low >> 40 & 0xe) == 6)
			rip &= 0xffff;
		if ((rip | high) == s->regs.rip)
			return true;
	}
	return false;
}

static void check_user(const struct monitor_state *before)
{
	const struct monitor_msrs *m = &before->msr;
	unsigned int iopl = before->regs.rflags >> 12 & 3;
	uint64_t kept = FLAG_IOPL | (iopl < 3 ? FLAG_IF : 0), rip = s->regs.rip;

	check(same_tables(before, s), "a user changed what is the kernel's");
	if (emulate_cpl(&s->sregs) == 3)
		check((before->regs.rflags & kept) == (s->regs.rflags & kept) ||
			      in_a_handler(before),
		      "a user changed IF or IOPL");
	else
		check(rip == m->lstar || rip == m->cstar || rip == (uint32_t)m->star ||
			      rip == m->sysenter_eip || in_a_handler(before),
		      "a user chose where the kernel goes on");
}

static void step(uint8_t what, const uint8_t *code)
{
	static const uint8_t vectors[] = { GP, GP, GP, UD, BP, DB, PF, DE };
	uint8_t vector = vectors[what & 7];
	struct emulate_event event = { vector, vector == GP || vector == PF, what >> 3, what };
	gva_t rip = emulate_rip(&s->regs, &s->sregs);
	struct monitor_state before;
	enum monitor_result ret;

	if (rip < LAB_VOID - EMULATE_MAX_BYTES)
		memcpy(lab.memory + rip, code, EMULATE_MAX_BYTES);
	before = *s;
	if (what == 0xff)
		ret = monitor_interrupt(&lab.cpu, code[0]);
	else
		ret = monitor_exception(&lab.cpu, &event);
	check(lab.cpu.row <= MONITOR_NR_ROWS, "a row that there is not");
	if (ret == MONITOR_DONE || ret == MONITOR_HALT) {
		check_state();
		if (emulate_cpl(&before.sregs) == 3)
			check_user(&before);
		return;
	}
	check(ret == MONITOR_SHUTDOWN || ret == MONITOR_UNKNOWN, "a result that cannot be");
	s->sregs.cr2 = before.sregs.cr2;
	s->debug.dr6 = before.debug.dr6;
	check(!memcmp(s, &before, sizeof(before)) || lab.cpu.row < MONITOR_NR_ROWS,
	      "a call that did not succeed changed the state");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct header h;
	struct record r;

	if (size < sizeof(h))
		return 0;
	memcpy(&h, data, sizeof(h));
	data += sizeof(h);
	size -= sizeof(h);
	load(&h);
	for (unsigned int i = 0; i < h.nr_records && size >= sizeof(r); i++) {
		memcpy(&r, data, sizeof(r));
		data += sizeof(r);
		size -= sizeof(r);
		lab_put64(&lab, LAB_GDT + r.at % ((LAB_VOID - LAB_GDT) / 8) * 8, r.value);
	}
	for (unsigned int i = 0; i < STEPS && size > EMULATE_MAX_BYTES; i++) {
		step(data[0], data + 1);
		data += 1 + EMULATE_MAX_BYTES;
		size -= 1 + EMULATE_MAX_BYTES;
	}
	return 0;
}
