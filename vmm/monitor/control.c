/* SPDX-License-Identifier: MIT */
/* Control and debug registers, and MSRs: SDM Vol. 2, MOV to and from them, and Vol. 4. */
#include <stddef.h>
#include "registers.h"
#include "work.h"

/* Bits that change how addresses are translated. */
#define CR0_PAGING (CR0_PG | CR0_WP)
#define CR4_PAGING (CR4_PSE | CR4_PAE | CR4_PGE | CR4_LA57 | CR4_PCIDE | CR4_SMEP | CR4_SMAP)

#define CR0_KNOWN \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | \
	 CR0_PG)

static enum emulate_result bad_value(struct work *w)
{
	return emulate_fault_error(&w->e, GP, 0);
}

/* ---- control registers ---- */

/* Paging begins: with EFER.LME it is long mode (Vol. 3A, section 10.8.5). */
static enum emulate_result begin_paging(struct work *w)
{
	struct kvm_sregs *s = &w->e.sregs;

	if (!(s->efer & EFER_LME))
		return EMULATE_DONE;
	if (!(s->cr4 & CR4_PAE) || s->cs.l)
		return bad_value(w);
	s->efer |= EFER_LMA;
	return EMULATE_DONE;
}

static enum emulate_result end_paging(struct work *w)
{
	struct kvm_sregs *s = &w->e.sregs;

	if (w->e.bits == 64 || (s->cr4 & CR4_PCIDE))
		return bad_value(w);
	s->efer &= ~(uint64_t)EFER_LMA;
	return EMULATE_DONE;
}

static enum emulate_result set_cr0(struct work *w, uint64_t value)
{
	struct kvm_sregs *s = &w->e.sregs;
	uint64_t changed = (value ^ s->cr0) & CR0_KNOWN;
	enum emulate_result ret = EMULATE_DONE;

	if (value >> 32 || ((value & CR0_PG) && !(value & CR0_PE)) ||
	    ((value & CR0_NW) && !(value & CR0_CD)))
		return bad_value(w);
	if (changed & CR0_PG)
		ret = value & CR0_PG ? begin_paging(w) : end_paging(w);
	if (ret)
		return ret;
	s->cr0 = (value & CR0_KNOWN) | CR0_ET;
	w->effects |= changed & CR0_PAGING ? MONITOR_MODE : 0;
	return EMULATE_DONE;
}

/* Bit 63 says that nothing need be translated anew; to do it all the same is allowed. */
static enum emulate_result set_cr3(struct work *w, uint64_t value)
{
	struct kvm_sregs *s = &w->e.sregs;

	if (s->cr4 & CR4_PCIDE)
		value &= ~CR3_NO_FLUSH;
	if (work_long_mode(w) && value >> w->cpu->features->maxphyaddr)
		return bad_value(w);
	s->cr3 = value;
	w->effects |= MONITOR_CR3;
	return EMULATE_DONE;
}

static enum emulate_result set_cr4(struct work *w, uint64_t value)
{
	struct kvm_sregs *s = &w->e.sregs;
	uint64_t changed = value ^ s->cr4;

	if (value & ~w->cpu->features->cr4)
		return bad_value(w);
	if (work_long_mode(w) && (changed & (CR4_PAE | CR4_LA57)))
		return bad_value(w);
	if ((changed & value & CR4_PCIDE) && (!work_long_mode(w) || (s->cr3 & CR3_PCID)))
		return bad_value(w);
	s->cr4 = value;
	w->effects |= changed & CR4_PAGING ? MONITOR_MODE : 0;
	return EMULATE_DONE;
}

static enum emulate_result set_cr8(struct work *w, uint64_t value)
{
	w->e.sregs.cr8 = value;
	return value > 15 ? bad_value(w) : EMULATE_DONE;
}

static unsigned int register_bits(const struct work *w)
{
	return w->e.bits == 64 ? 8 : 4;
}

enum emulate_result mov_to_cr(struct emulation *e)
{
	struct work *w = work_of(e);
	uint64_t value = *emulate_gpr(e, e->rm);
	enum emulate_result ret = work_need_cpl(w, 0);

	if (e->bits != 64)
		value = (uint32_t)value;
	if (ret)
		return ret;
	switch (e->reg) {
	case 0: return set_cr0(w, value);
	case 2: e->sregs.cr2 = value; return EMULATE_DONE;
	case 3: return set_cr3(w, value);
	case 4: return set_cr4(w, value);
	case 8: return set_cr8(w, value);
	default: return emulate_fault(e, UD);
	}
}

enum emulate_result mov_from_cr(struct emulation *e)
{
	struct work *w = work_of(e);
	const struct kvm_sregs *s = &e->sregs;
	const uint64_t value[16] = {
		[0] = s->cr0, [2] = s->cr2, [3] = s->cr3, [4] = s->cr4, [8] = s->cr8
	};
	enum emulate_result ret = work_need_cpl(w, 0);

	if (ret)
		return ret;
	if (e->reg == 1 || (e->reg > 4 && e->reg != 8))
		return emulate_fault(e, UD);
	work_set_gpr(w, e->rm, register_bits(w), value[e->reg]);
	return EMULATE_DONE;
}

enum emulate_result clts(struct emulation *e)
{
	enum emulate_result ret = work_need_cpl(work_of(e), 0);

	if (!ret)
		e->sregs.cr0 &= ~(uint64_t)CR0_TS;
	return ret;
}

/* LMSW can set PE, and cannot clear it. */
enum emulate_result lmsw(struct emulation *e)
{
	struct work *w = work_of(e);
	enum emulate_result ret = work_need_cpl(w, 0);
	uint16_t value = (uint16_t)*emulate_gpr(e, e->rm);

	if (!ret && emulate_in_memory(e))
		ret = emulate_load(e, &value, sizeof(value));
	if (ret)
		return ret;
	return set_cr0(w, (e->sregs.cr0 & ~0xeULL) | (value & 0xf));
}

enum emulate_result smsw(struct emulation *e)
{
	struct work *w = work_of(e);
	enum emulate_result ret = e->sregs.cr4 & CR4_UMIP ? work_need_cpl(w, 0) : EMULATE_DONE;

	if (ret)
		return ret;
	if (emulate_in_memory(e))
		return emulate_store(e, &e->sregs.cr0, 2);
	work_set_gpr(w, e->rm, work_operand_bytes(w), e->sregs.cr0);
	return EMULATE_DONE;
}

/* ---- debug registers ---- */

/* DR4 and DR5 are other names of DR6 and DR7, unless CR4.DE.  NULL: there is no such register. */
static __u64 *debug_register(struct work *w)
{
	unsigned int n = w->e.reg;

	if (n < 4)
		return &w->new.debug.db[n];
	if (n > 7 || (n < 6 && (w->e.sregs.cr4 & CR4_DE)))
		return NULL;
	return n & 1 ? &w->new.debug.dr7 : &w->new.debug.dr6;
}

static enum emulate_result may_access_debug(struct work *w, __u64 **to)
{
	enum emulate_result ret = work_need_cpl(w, 0);

	*to = debug_register(w);
	if (!*to)
		return emulate_fault(&w->e, UD);
	return !ret && (w->new.debug.dr7 &DR7_GD) ? emulate_fault(&w->e, DB) : ret;
}

enum emulate_result mov_to_dr(struct emulation *e)
{
	struct work *w = work_of(e);
	__u64 *to;
	enum emulate_result ret = may_access_debug(w, &to);
	uint64_t value = *emulate_gpr(e, e->rm);

	if (ret)
		return ret;
	if (e->bits != 64)
		value = (uint32_t)value;
	if (to == &w->new.debug.dr6)
		value = (value & 0xe00f) | 0xffff0ff0;
	else if (to == &w->new.debug.dr7)
		value = (value & 0xffff2bff) | 0x400;
	*to = value;
	w->effects |= MONITOR_DEBUG;
	return EMULATE_DONE;
}

enum emulate_result mov_from_dr(struct emulation *e)
{
	struct work *w = work_of(e);
	__u64 *from;
	enum emulate_result ret = may_access_debug(w, &from);

	if (!ret)
		work_set_gpr(w, e->rm, register_bits(w), *from);
	return ret;
}

/* ---- MSRs ---- */

#define MSR_CANONICAL 0x1u
#define MSR_TYPES     0x2u

/* Eight types of memory, of which 2 and 3 are reserved (Vol. 3A, section 12.12.2). */
static bool are_types(uint64_t value)
{
	for (unsigned int i = 0; i < 8; i++) {
		uint8_t type = (uint8_t)(value >> 8 * i);

		if (type > 7 || type == 2 || type == 3)
			return false;
	}
	return true;
}

static bool set_efer(struct work *w, uint64_t value)
{
	struct kvm_sregs *s = &w->e.sregs;

	if ((value & ~(w->cpu->features->efer | EFER_LMA)) ||
	    ((value ^ s->efer) & EFER_LME && (s->cr0 & CR0_PG)))
		return false;
	if ((value ^ s->efer) & EFER_NXE)
		w->effects |= MONITOR_MODE;
	s->efer = (value & ~(uint64_t)EFER_LMA) | (s->efer & EFER_LMA);
	return true;
}

/* Where an MSR is kept that this file knows, but for EFER.  NULL: it is the bus's. */
static __u64 *find_msr(struct work *w, uint32_t index, unsigned int *flags)
{
	struct kvm_sregs *s = &w->e.sregs;
	struct monitor_msrs *m = &w->new.msr;
	const struct {
		uint32_t index;
		unsigned int flags;
		__u64 *at;
	} known[] = {
		{ 0x174, 0, &m->sysenter_cs },
		{ 0x175, MSR_CANONICAL, &m->sysenter_esp },
		{ 0x176, MSR_CANONICAL, &m->sysenter_eip },
		{ 0x1a0, 0, &m->misc_enable },
		{ 0x277, MSR_TYPES, &m->pat },
		{ 0xc0000081, 0, &m->star },
		{ 0xc0000082, MSR_CANONICAL, &m->lstar },
		{ 0xc0000083, MSR_CANONICAL, &m->cstar },
		{ 0xc0000084, 0, &m->sfmask },
		{ 0xc0000100, MSR_CANONICAL, &s->fs.base },
		{ 0xc0000101, MSR_CANONICAL, &s->gs.base },
		{ 0xc0000102, MSR_CANONICAL, &m->kernel_gs_base },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(known); i++)
		if (known[i].index == index) {
			*flags = known[i].flags;
			return known[i].at;
		}
	return NULL;
}

#define MSR_EFER 0xc0000080u

static bool read_msr(struct work *w, uint32_t index, uint64_t *value)
{
	unsigned int flags;
	const __u64 *from = find_msr(w, index, &flags);

	if (index == MSR_EFER)
		*value = w->e.sregs.efer;
	else if (from)
		*value = *from;
	else
		return w->cpu->bus->msr(w->cpu->ctx, false, index, value);
	return true;
}

static bool write_msr(struct work *w, uint32_t index, uint64_t value)
{
	unsigned int flags;
	__u64 *to = find_msr(w, index, &flags);

	if (index == MSR_EFER)
		return set_efer(w, value);
	if (!to)
		return w->cpu->bus->msr(w->cpu->ctx, true, index, &value);
	if (((flags & MSR_CANONICAL) && !work_canonical(w, value)) ||
	    ((flags & MSR_TYPES) && !are_types(value)))
		return false;
	*to = value;
	return true;
}

enum emulate_result rdmsr(struct emulation *e)
{
	struct work *w = work_of(e);
	enum emulate_result ret = work_need_cpl(w, 0);
	uint64_t value;

	if (!ret && !read_msr(w, (uint32_t)e->regs.rcx, &value))
		ret = bad_value(w);
	if (ret)
		return ret;
	e->regs.rax = (uint32_t)value;
	e->regs.rdx = value >> 32;
	return EMULATE_DONE;
}

enum emulate_result wrmsr(struct emulation *e)
{
	struct work *w = work_of(e);
	uint64_t value = (uint32_t)e->regs.rax | e->regs.rdx << 32;
	enum emulate_result ret = work_need_cpl(w, 0);

	if (!ret && !write_msr(w, (uint32_t)e->regs.rcx, value))
		ret = bad_value(w);
	return ret;
}

/* SDM Vol. 1, section 13.3: x87 always, AVX with SSE, MPX and AVX-512 whole, that with AVX. */
static bool is_xcr0(const struct work *w, uint64_t value)
{
	uint64_t mpx = value & 0x18, avx512 = value & 0xe0;

	return !(value & ~w->cpu->features->xcr0) && (value & 1) && (value & 6) != 4 &&
	       (!mpx || mpx == 0x18) && (!avx512 || (avx512 == 0xe0 && (value & 4)));
}

enum emulate_result xsetbv(struct emulation *e)
{
	struct work *w = work_of(e);
	uint64_t value = (uint32_t)e->regs.rax | e->regs.rdx << 32;
	enum emulate_result ret = work_need_cpl(w, 0);

	if (!(e->sregs.cr4 & CR4_OSXSAVE))
		return emulate_fault(e, UD);
	if (ret)
		return ret;
	if ((uint32_t)e->regs.rcx || !is_xcr0(w, value))
		return bad_value(w);
	w->new.xcr0 = value;
	w->effects |= MONITOR_XCR0;
	return EMULATE_DONE;
}
