/* SPDX-License-Identifier: MIT */
#include <string.h>
#include "monitor_lab.h"
#include "vmm/monitor/emulate_decode.h"
#include "vmm/monitor/registers.h"

/* ---- memory ---- */

static enum emulate_result page_fault(struct emulation *e, gva_t gva, bool write, bool present)
{
	e->event = (struct emulate_event){
		.vector = PF,
		.has_error = true,
		.error = (present ? 1 : 0) | (write ? 2 : 0) | (e->cpl == 3 ? 4 : 0),
		.cr2 = gva,
	};
	return EMULATE_FAULT;
}

static enum emulate_result check(struct emulation *e, gva_t gva, size_t len, bool write)
{
	const struct lab *lab = e->ctx;

	if ((uint64_t)((int64_t)(gva << 16) >> 16) != gva || gva + len < gva)
		return emulate_protection(e);
	for (gva_t at = align_down(gva, QUIRE_PAGE_SIZE); at < gva + len; at += QUIRE_PAGE_SIZE) {
		uint8_t page = at < LAB_BYTES ? lab->page[at / QUIRE_PAGE_SIZE] : 0;

		if (!(page & LAB_HERE))
			return page_fault(e, max_u64(at, gva), write, false);
		if ((e->cpl == 3 && !(page & LAB_USER)) || (write && !(page & LAB_WRITE)))
			return page_fault(e, max_u64(at, gva), write, true);
	}
	return EMULATE_DONE;
}

static enum emulate_result read_memory(struct emulation *e, gva_t gva, void *buf, size_t len)
{
	enum emulate_result ret = check(e, gva, len, false);

	if (!ret)
		memcpy(buf, ((struct lab *)e->ctx)->memory + gva, len);
	return ret;
}

static enum emulate_result write_memory(struct emulation *e, gva_t gva, const void *buf, size_t len)
{
	enum emulate_result ret = check(e, gva, len, true);

	if (!ret)
		memcpy(((struct lab *)e->ctx)->memory + gva, buf, len);
	return ret;
}

static const struct emulate_memory memory = {
	.read = read_memory,
	.write = write_memory,
	.fetch = read_memory,
};

/* ---- ports and MSRs ---- */

static enum emulate_result io(void *ctx, bool out, uint16_t port, unsigned int bytes, void *data,
			      unsigned int nr)
{
	struct lab *lab = ctx;

	if (lab->io_result)
		return lab->io_result;
	lab->nr_io++;
	lab->io_out = out;
	lab->io_port = port;
	lab->io_bytes = bytes;
	lab->io_count = nr;
	if (out)
		memcpy(lab->io_data, data, (size_t)bytes * nr);
	else
		memset(data, lab->port_value, (size_t)bytes * nr);
	return EMULATE_DONE;
}

static bool msr(void *ctx, bool write, uint32_t index, uint64_t *value)
{
	struct lab *lab = ctx;

	lab->msr_index = index;
	if (write)
		lab->msr_value = *value;
	else
		*value = lab->msr_value;
	return lab->msr_known;
}

static const struct monitor_bus bus = { .io = io, .msr = msr };

/* ---- tables ---- */

uint64_t lab_get64(const struct lab *lab, gva_t gva)
{
	uint64_t value;

	memcpy(&value, lab->memory + gva, sizeof(value));
	return value;
}

uint32_t lab_get32(const struct lab *lab, gva_t gva)
{
	return (uint32_t)lab_get64(lab, gva);
}

void lab_put64(struct lab *lab, gva_t gva, uint64_t value)
{
	memcpy(lab->memory + gva, &value, sizeof(value));
}

void lab_put32(struct lab *lab, gva_t gva, uint32_t value)
{
	memcpy(lab->memory + gva, &value, sizeof(value));
}

void lab_gate(struct lab *lab, unsigned int vector, unsigned int dpl, unsigned int type,
	      unsigned int ist)
{
	bool wide = lab->cpu.state.sregs.efer & EFER_LMA;
	uint64_t at = LAB_HANDLERS + 16 * vector;
	uint64_t gate = (at & 0xffff) | LAB_CS0 << 16 | (uint64_t)ist << 32 | (uint64_t)type << 40 |
			(uint64_t)dpl << 45 | 1ULL << 47 | (at >> 16) << 48;

	lab_put64(lab, LAB_IDT + vector * (wide ? 16 : 8), gate);
}

int lab_vector(const struct lab *lab)
{
	uint64_t rip = lab->cpu.state.regs.rip;

	return rip >= LAB_HANDLERS && rip < LAB_HANDLERS + 256 * 16 ?
		       (int)(rip - LAB_HANDLERS) / 16 :
		       -1;
}

static void descriptors(struct lab *lab, bool wide)
{
	static const uint64_t common[LAB_GDT_BYTES / 8] = {
		[LAB_DS0 / 8] = 0x00cf93000000ffff,  [LAB_DS3 / 8] = 0x00cff3000000ffff,
		[LAB_CS32 / 8] = 0x00cf9b000000ffff, [LAB_LDT / 8] = 0x0000820070000017,
		[LAB_TR / 8] = 0x00008900400000ff,   [LAB_GONE / 8] = 0x00cf13000000ffff,
	};

	memcpy(lab->memory + LAB_GDT, common, sizeof(common));
	lab_put64(lab, LAB_GDT + LAB_CS0, wide ? 0x00af9b000000ffff : 0x00cf9b000000ffff);
	lab_put64(lab, LAB_GDT + (LAB_CS3 & ~7u), wide ? 0x00affb000000ffff : 0x00cffb000000ffff);
	lab_put64(lab, LAB_GDT + LAB_CODE0, wide ? 0x00af9f000000ffff : 0x00cf9f000000ffff);
}

static struct kvm_segment segment(uint16_t selector, uint8_t type, bool wide)
{
	return (struct kvm_segment){
		.limit = UINT32_MAX,
		.selector = selector,
		.type = type,
		.present = 1,
		.dpl = selector & 3,
		.s = 1,
		.g = 1,
		.l = wide && type == 0xb,
		.db = !(wide && type == 0xb),
	};
}

static void tss(struct lab *lab, bool wide)
{
	if (wide) {
		lab_put64(lab, LAB_TSS + 4, LAB_STACK0);
		lab_put64(lab, LAB_TSS + 36, LAB_IST);
	} else {
		lab_put32(lab, LAB_TSS + 4, LAB_STACK0);
		lab_put32(lab, LAB_TSS + 8, LAB_DS0);
	}
	lab->memory[LAB_TSS + 102] = 0x68; /* the bitmap grants the ports 0x40 to 0x47 */
	memset(lab->memory + LAB_TSS + 0x68, 0xff, 0x98);
	lab->memory[LAB_TSS + 0x68 + 8] = 0;
	lab->cpu.state.sregs.tr = (struct kvm_segment){
		.base = LAB_TSS, .limit = 0xff, .selector = LAB_TR, .type = 0xb, .present = 1
	};
}

static void begin(struct lab *lab)
{
	static const unsigned int kernels[] = { LAB_GDT, LAB_IDT, LAB_TSS, LAB_SECRET };

	memset(lab, 0, sizeof(*lab));
	lab->features = (struct monitor_features){
		.cr4 = CR4_PAE | CR4_PSE | CR4_PGE | CR4_UMIP | CR4_OSXSAVE | CR4_SMEP | CR4_DE |
		       CR4_OSFXSR | CR4_PCIDE | 0x400,
		.efer = EFER_SCE | EFER_LME | EFER_NXE,
		.xcr0 = 7,
		.maxphyaddr = 40,
		.emulate = LAB_FEATURES,
	};
	lab->cpu.memory = &memory;
	lab->cpu.bus = &bus;
	lab->cpu.features = &lab->features;
	lab->cpu.ctx = lab;
	for (unsigned int i = 1; i < LAB_VOID / 4096; i++)
		lab->page[i] = LAB_USER | LAB_WRITE | LAB_HERE;
	for (unsigned int i = 0; i < ARRAY_SIZE(kernels); i++)
		lab->page[kernels[i] / 4096] = LAB_WRITE | LAB_HERE;
	lab->page[LAB_IDT / 4096 + 1] = LAB_WRITE | LAB_HERE;
	lab->cpu.state.shadow_rip = UINT64_MAX;
	lab->cpu.state.regs.rflags = FLAG_FIXED;
	lab->cpu.state.regs.rip = LAB_CODE;
}

void lab_begin(struct lab *lab, bool long_mode, unsigned int cpl)
{
	struct kvm_sregs *s = &lab->cpu.state.sregs;
	uint16_t data = cpl ? LAB_DS3 : LAB_DS0;

	begin(lab);
	s->cr0 = CR0_PE | CR0_ET | (long_mode ? CR0_PG : 0);
	s->cr4 = long_mode ? CR4_PAE : 0;
	s->efer = long_mode ? EFER_LME | EFER_LMA | EFER_SCE : 0;
	s->cs = segment(cpl ? LAB_CS3 : LAB_CS0, 0xb, long_mode);
	s->ds = s->es = s->ss = s->fs = s->gs = segment(data, 3, long_mode);
	s->ldt.unusable = 1;
	s->gdt = (struct kvm_dtable){ .base = LAB_GDT, .limit = LAB_GDT_BYTES - 1 };
	s->idt = (struct kvm_dtable){ .base = LAB_IDT, .limit = long_mode ? 0xfff : 0x7ff };
	lab->cpu.state.regs.rsp = cpl ? LAB_STACK3 : LAB_STACK0;
	descriptors(lab, long_mode);
	tss(lab, long_mode);
	for (unsigned int v = 0; v < 256; v++)
		lab_gate(lab, v, 0, 0xe, 0);
}

void lab_begin_pvh(struct lab *lab)
{
	struct kvm_sregs *s = &lab->cpu.state.sregs;

	begin(lab);
	descriptors(lab, true);
	s->cr0 = CR0_PE | CR0_ET;
	s->cs = segment(LAB_CS0, 0xb, false);
	s->ds = s->es = s->ss = s->fs = s->gs = segment(LAB_DS0, 3, false);
	s->ldt.unusable = 1;
	s->tr = (struct kvm_segment){ .limit = 0x67, .selector = 0x18, .type = 0xb, .present = 1 };
}

enum monitor_result lab_raise(struct lab *lab, const char *bytes, unsigned int nr, uint8_t vector)
{
	const struct kvm_sregs *s = &lab->cpu.state.sregs;
	gva_t rip = emulate_rip(&lab->cpu.state.regs, s);
	struct emulate_event event = { .vector = vector, .has_error = vector == GP };

	memcpy(lab->memory + rip, bytes, nr);
	return monitor_exception(&lab->cpu, &event);
}

enum monitor_result lab_do(struct lab *lab, const char *bytes, unsigned int nr)
{
	return lab_raise(lab, bytes, nr, GP);
}
