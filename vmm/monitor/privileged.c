/* SPDX-License-Identifier: MIT */
/*
 * What a guest's kernel does that a processor at CPL 3 refuses: a row for each instruction.  Those
 * with functions of a few lines are here, the others in control.c, ports.c, segments.c and
 * transfer.c.
 */
#include "registers.h"
#include "work.h"

/* ---- the state of interrupts ---- */

static enum emulate_result need_iopl(struct work *w)
{
	return work_need_cpl(w, (w->e.regs.rflags & FLAG_IOPL) / (FLAG_IOPL & -FLAG_IOPL));
}

static enum emulate_result cli(struct emulation *e)
{
	enum emulate_result ret = need_iopl(work_of(e));

	if (!ret)
		e->regs.rflags &= ~(uint64_t)FLAG_IF;
	return ret;
}

static enum emulate_result sti(struct emulation *e)
{
	struct work *w = work_of(e);
	enum emulate_result ret = need_iopl(w);

	if (ret)
		return ret;
	if (!(e->regs.rflags & FLAG_IF))
		w->new.shadow_rip = e->regs.rip + e->at;
	e->regs.rflags |= FLAG_IF;
	return EMULATE_DONE;
}

static enum emulate_result hlt(struct emulation *e)
{
	struct work *w = work_of(e);

	w->halt = true;
	return work_need_cpl(w, 0);
}

static enum emulate_result interrupt(struct emulation *e)
{
	e->event = (struct emulate_event){ .vector = (uint8_t)e->imm };
	return EMULATE_TRAP;
}

static enum emulate_result int3(struct emulation *e)
{
	e->event = (struct emulate_event){ .vector = BP };
	return EMULATE_TRAP;
}

static enum emulate_result into(struct emulation *e)
{
	if (!(e->regs.rflags & FLAG_OF))
		return EMULATE_DONE;
	e->event = (struct emulate_event){ .vector = OF };
	return EMULATE_TRAP;
}

/* ---- caches ---- */

static enum emulate_result write_back(struct emulation *e)
{
	return work_need_cpl(work_of(e), 0);
}

static enum emulate_result invlpg(struct emulation *e)
{
	struct work *w = work_of(e);
	bool based = e->bits != 64 || e->segment >= SEG_FS;

	w->effects |= MONITOR_INVLPG;
	w->invlpg = e->offset + (based ? emulate_segment(e, e->segment)->base : 0);
	if (e->bits != 64)
		w->invlpg = (uint32_t)w->invlpg;
	return work_need_cpl(w, 0);
}

/* One address, one PCID, all, and all that is not global. */
static enum emulate_result invpcid(struct emulation *e)
{
	static const unsigned int effect[] = { MONITOR_INVLPG, MONITOR_CR3, MONITOR_MODE,
					       MONITOR_CR3 };
	struct work *w = work_of(e);
	uint64_t type = *emulate_gpr(e, e->reg), operand[2];
	enum emulate_result ret = work_need_cpl(w, 0);

	if (!ret)
		ret = emulate_load(e, operand, sizeof(operand));
	if (ret)
		return ret;
	if (e->bits != 64)
		type = (uint32_t)type;
	if (type >= ARRAY_SIZE(effect) || operand[0] >> 12 ||
	    (!type && !work_canonical(w, operand[1])))
		return emulate_fault_error(e, GP, 0);
	w->effects |= effect[type];
	w->invlpg = operand[1];
	return EMULATE_DONE;
}

/* ---- the rest ---- */

static enum emulate_result swapgs(struct emulation *e)
{
	struct work *w = work_of(e);
	uint64_t base = e->sregs.gs.base;
	enum emulate_result ret = work_need_cpl(w, 0);

	if (ret)
		return ret;
	e->sregs.gs.base = w->new.msr.kernel_gs_base;
	w->new.msr.kernel_gs_base = base;
	return EMULATE_DONE;
}

static enum emulate_result clac_stac(struct emulation *e)
{
	if (e->cpl)
		return emulate_fault(e, UD);
	e->regs.rflags &= ~(uint64_t)FLAG_AC;
	e->regs.rflags |= e->modrm == 0xcb ? FLAG_AC : 0;
	return EMULATE_DONE;
}

/* ---- the table ---- */

#define ONE ROW_NO_MODRM
#define ANY ROW_ANY_PREFIX
#define MEM (ROW_ANY_PREFIX | ROW_MEMORY)
#define REG (ROW_ANY_PREFIX | ROW_REGISTER)
#define OLD ROW_LEGACY
#define JMP ROW_JUMP

/* clang-format off */
static const struct emulate_row rows[MONITOR_NR_ROWS] = {
	/* name	     prefix map   opcode      modrm	  flags */
	{ "lgdt",	0, 0x0f, 0x01, 0xff, 0x10, 0x38, MEM, 0, load_table },
	{ "lidt",	0, 0x0f, 0x01, 0xff, 0x18, 0x38, MEM, 0, load_table },
	{ "lldt",	0, 0x0f, 0x00, 0xff, 0x10, 0x38, ANY, 0, lldt_ltr },
	{ "ltr",	0, 0x0f, 0x00, 0xff, 0x18, 0x38, ANY, 0, lldt_ltr },
	{ "mov_to_cr",	0, 0x0f, 0x22, 0xff, 0,    0,	 REG, 0, mov_to_cr },
	{ "mov_from_cr", 0, 0x0f, 0x20, 0xff, 0,   0,	 REG, 0, mov_from_cr },
	{ "mov_to_dr",	0, 0x0f, 0x23, 0xff, 0,    0,	 REG, 0, mov_to_dr },
	{ "mov_from_dr", 0, 0x0f, 0x21, 0xff, 0,   0,	 REG, 0, mov_from_dr },
	{ "clts",	0, 0x0f, 0x06, 0xff, 0,    0,	 ONE, 0, clts },
	{ "lmsw",	0, 0x0f, 0x01, 0xff, 0x30, 0x38, ANY, 0, lmsw },
	{ "wrmsr",	0, 0x0f, 0x30, 0xff, 0,    0,	 ONE, 0, wrmsr },
	{ "rdmsr",	0, 0x0f, 0x32, 0xff, 0,    0,	 ONE, 0, rdmsr },
	{ "xsetbv",	0, 0x0f, 0x01, 0xff, 0xd1, 0xff, 0,   0, xsetbv },
	{ "invlpg",	0, 0x0f, 0x01, 0xff, 0x38, 0x38, MEM, 0, invlpg },
	{ "invpcid", 0x66, 0x0f38, 0x82, 0xff, 0,  0,	 ROW_MEMORY, EMULATE_INVPCID, invpcid },
	{ "invd",	0, 0x0f, 0x08, 0xff, 0,    0,	 ONE, 0, write_back },
	{ "wbinvd",	0, 0x0f, 0x09, 0xff, 0,    0,	 ONE, 0, write_back },
	{ "hlt",	0, 0,	 0xf4, 0xff, 0,    0,	 ONE, 0, hlt },
	{ "cli",	0, 0,	 0xfa, 0xff, 0,    0,	 ONE, 0, cli },
	{ "sti",	0, 0,	 0xfb, 0xff, 0,    0,	 ONE, 0, sti },
	{ "clac",	0, 0x0f, 0x01, 0xff, 0xca, 0xff, 0,   EMULATE_SMAP, clac_stac },
	{ "stac",	0, 0x0f, 0x01, 0xff, 0xcb, 0xff, 0,   EMULATE_SMAP, clac_stac },
	{ "in",		0, 0,	 0xe4, 0xfe, 0,    0,	 ONE | ROW_IMM8, 0, port_in },
	{ "in",		0, 0,	 0xec, 0xfe, 0,    0,	 ONE, 0, port_in },
	{ "out",	0, 0,	 0xe6, 0xfe, 0,    0,	 ONE | ROW_IMM8, 0, port_out },
	{ "out",	0, 0,	 0xee, 0xfe, 0,    0,	 ONE, 0, port_out },
	{ "ins",	0, 0,	 0x6c, 0xfe, 0,    0,	 ONE | JMP, 0, port_ins },
	{ "outs",	0, 0,	 0x6e, 0xfe, 0,    0,	 ONE | JMP, 0, port_outs },
	{ "iret",	0, 0,	 0xcf, 0xff, 0,    0,	 ONE | JMP, 0, iret },
	{ "int",	0, 0,	 0xcd, 0xff, 0,    0,	 ONE | ROW_IMM8, 0, interrupt },
	{ "int3",	0, 0,	 0xcc, 0xff, 0,    0,	 ONE, 0, int3 },
	{ "into",	0, 0,	 0xce, 0xff, 0,    0,	 ONE | OLD, 0, into },
	{ "ljmp",	0, 0,	 0xea, 0xff, 0,    0,	 ONE | JMP | OLD | ROW_FAR, 0, far_jump },
	{ "ljmp",	0, 0,	 0xff, 0xff, 0x28, 0x38, MEM | JMP, 0, far_jump },
	{ "lcall",	0, 0,	 0x9a, 0xff, 0,    0,	 ONE | JMP | OLD | ROW_FAR, 0, far_call },
	{ "lcall",	0, 0,	 0xff, 0xff, 0x18, 0x38, MEM | JMP, 0, far_call },
	{ "lret",	0, 0,	 0xcb, 0xff, 0,    0,	 ONE | JMP, 0, far_return },
	{ "lret",	0, 0,	 0xca, 0xff, 0,    0,	 ONE | JMP | ROW_IMM16, 0, far_return },
	{ "mov_seg",	0, 0,	 0x8e, 0xff, 0,    0,	 ANY, 0, mov_segment },
	{ "pop_seg",	0, 0,	 0x07, 0xff, 0,    0,	 ONE | OLD, 0, pop_segment }, /* ES */
	{ "pop_seg",	0, 0,	 0x17, 0xff, 0,    0,	 ONE | OLD, 0, pop_segment }, /* SS */
	{ "pop_seg",	0, 0,	 0x1f, 0xff, 0,    0,	 ONE | OLD, 0, pop_segment }, /* DS */
	{ "pop_seg",	0, 0x0f, 0xa1, 0xf7, 0,    0,	 ONE, 0, pop_segment }, /* FS, GS */
	{ "les",	0, 0,	 0xc4, 0xff, 0,    0,	 MEM | OLD, 0, load_far_pointer },
	{ "lds",	0, 0,	 0xc5, 0xff, 0,    0,	 MEM | OLD, 0, load_far_pointer },
	{ "lss",	0, 0x0f, 0xb2, 0xff, 0,    0,	 MEM, 0, load_far_pointer },
	{ "lfs",	0, 0x0f, 0xb4, 0xff, 0,    0,	 MEM, 0, load_far_pointer },
	{ "lgs",	0, 0x0f, 0xb5, 0xff, 0,    0,	 MEM, 0, load_far_pointer },
	{ "swapgs",	0, 0x0f, 0x01, 0xff, 0xf8, 0xff, ROW_LONG, 0, swapgs },
	{ "syscall",	0, 0x0f, 0x05, 0xff, 0,    0,	 ONE | JMP, 0, system_call },
	{ "sysret",	0, 0x0f, 0x07, 0xff, 0,    0,	 ONE | JMP, 0, sysret },
	{ "sysenter",	0, 0x0f, 0x34, 0xff, 0,    0,	 ONE | JMP, 0, sysenter },
	{ "sysexit",	0, 0x0f, 0x35, 0xff, 0,    0,	 ONE | JMP, 0, sysexit },
	{ "sgdt",	0, 0x0f, 0x01, 0xff, 0x00, 0x38, MEM, 0, store_table },
	{ "sidt",	0, 0x0f, 0x01, 0xff, 0x08, 0x38, MEM, 0, store_table },
	{ "sldt",	0, 0x0f, 0x00, 0xff, 0x00, 0x38, ANY, 0, sldt_str },
	{ "str",	0, 0x0f, 0x00, 0xff, 0x08, 0x38, ANY, 0, sldt_str },
	{ "smsw",	0, 0x0f, 0x01, 0xff, 0x20, 0x38, ANY, 0, smsw },
};
/* clang-format on */

const char *monitor_name(unsigned int row)
{
	return rows[row].name;
}

static enum emulate_result do_row(struct work *w, struct monitor_cpu *cpu)
{
	enum emulate_result ret;

	work_begin(w, cpu);
	emulate_fetch(&w->e);
	ret = emulate_by(&w->e, rows, MONITOR_NR_ROWS);
	cpu->row = w->e.row;
	return ret;
}

enum emulate_result monitor_emulate(struct monitor_cpu *cpu, struct emulate_event *event,
				    unsigned int *bytes, bool *halt)
{
	struct work w;
	enum emulate_result ret = do_row(&w, cpu);

	if (ret == EMULATE_DONE)
		work_commit(&w);
	*event = w.e.event;
	*bytes = w.e.at;
	*halt = w.halt;
	return ret;
}
