/* SPDX-License-Identifier: MIT */
/* The monitor's memory and the switch.  world.h says how it works. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "mmu/format/x86pt.h"
#include "registers.h"
#include "world.h"

#define PAGE 4096u
#define LEAF (2u * 1024 * 1024)

/* The monitor, in offsets.  The first 2 MiB are mapped in pages, the arena in 2 MiB leaves. */
#define GDT	 0x0u
#define GDT_SIZE 0x10000u
#define IDT	 0x10000u
#define CODE	 0x11000u
#define PDPT	 0x12000u
#define PD	 0x13000u
#define PT	 0x14000u
#define CPUS	 0x20000u /* a page for each */
#define ARENA	 LEAF

static_assert(CPUS + WORLD_MAX_CPUS * PAGE <= ARENA, "there is a page for each vCPU");

#define BASE SHADOW_MONITOR_GVA

/* A vCPU's page: its TSS, the list, and its stack, which begins at the end. */
#define TSS_SIZE 104u
#define LIST	 0x80u
#define RSP0	 PAGE

struct list {
	uint64_t cr3;
	gva_t entry[WORLD_MAX_LIST];
};
static_assert(LIST + sizeof(struct list) + 0x200 <= PAGE, "the stack has room");

/*
 * The GDT has nothing but its last entries, so that a guest's own selectors are not valid.  From
 * its end: code and data of CPL 0 and 3, and a TSS for each vCPU.
 */
enum { SEG_CODE0, SEG_DATA0, SEG_CODE16, SEG_CODE32, SEG_CODE64, SEG_DATA3, NR_SEGS };
#define FIRST_SEG     (GDT_SIZE / 8 - NR_SEGS)
#define SELECTOR(seg) ((uint16_t)((FIRST_SEG + (seg)) * 8))
#define TSS_INDEX(n)  (FIRST_SEG - 2 - 2 * (n))

#define DESC_CODE0  0x00af9b000000ffffULL
#define DESC_DATA0  0x00cf93000000ffffULL
#define DESC_CODE16 0x008ffb000000ffffULL
#define DESC_CODE32 0x00cffb000000ffffULL
#define DESC_CODE64 0x00affb000000ffffULL
#define DESC_DATA3  0x00cff3000000ffffULL

#define GATE_BYTES 4u /* of code: OUT and padding */
#define NR_VECTORS 256u

#define CR0_OURS   (CR0_PE | CR0_ET | CR0_NE | CR0_WP | CR0_PG)
#define CR0_GUESTS (CR0_MP | CR0_EM | CR0_TS)

#define CR4_GUESTS (CR4_DE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_FSGS | CR4_OSXSAVE)

#define EFER_OURS (EFER_LME | EFER_LMA | EFER_NXE)

#define FLAGS_TRAPS (FLAG_IF | FLAG_IOPL) /* which CPL 3 cannot change */
#define FLAGS_NEVER (FLAG_VM | FLAG_VIF | FLAG_VIP)

struct world {
	struct world_config config;
	struct world_memory memory;
	unsigned int listed[WORLD_MAX_CPUS]; /* by an entry that is not known to be over */
	bool flushing[WORLD_MAX_CPUS];	     /* ... and whether it loads CR3 */
};

/*
 * The code at CPL 0.  world_iret has all registers of the guest but RSP.  world_flush has the list
 * in RAX and the number of its entries in RCX; RDX, RCX and RAX are on the stack.
 */
__asm__(".pushsection .rodata\n"
	".balign 4\n"
	"world_gates:\n"
	"	.rept 256\n"
	"	out %al, $0x80\n"
	"	ud2\n"
	"	.endr\n"
	"world_iret:\n"
	"	iretq\n"
	"world_flush:\n"
	"1:	test %rcx, %rcx\n"
	"	jz 2f\n"
	"	mov (%rax, %rcx, 8), %rdx\n"
	"	lock orq $0, (%rdx)\n"
	"	dec %rcx\n"
	"	jmp 1b\n"
	"2:	mov (%rax), %rcx\n"
	"	mov %rcx, %cr3\n"
	"	pop %rdx\n"
	"	pop %rcx\n"
	"	pop %rax\n"
	"	iretq\n"
	"world_lstar_trap:\n"
	"	ud2\n"
	"world_code_end:\n"
	".popsection\n");

extern const uint8_t world_gates[], world_iret[], world_flush[], world_lstar_trap[],
	world_code_end[];

static gva_t code_at(const uint8_t *label)
{
	return BASE + CODE + ((uintptr_t)label - (uintptr_t)world_gates);
}

gva_t world_lstar(void)
{
	return code_at(world_lstar_trap);
}

/* ---- the monitor ---- */

static void *at(const struct world *w, uint64_t offset)
{
	return (uint8_t *)w->memory.hva + offset;
}

static uint64_t cpu_page(unsigned int cpu)
{
	return CPUS + (uint64_t)cpu * PAGE;
}

static void make_gdt(const struct world *w)
{
	static const uint64_t segs[NR_SEGS] = { DESC_CODE0,  DESC_DATA0,  DESC_CODE16,
						DESC_CODE32, DESC_CODE64, DESC_DATA3 };
	uint64_t *gdt = at(w, GDT);

	memcpy(gdt + FIRST_SEG, segs, sizeof(segs));
	for (unsigned int i = 0; i < w->config.nr_cpus; i++) {
		gva_t tss = BASE + cpu_page(i);

		gdt[TSS_INDEX(i)] = (TSS_SIZE - 1) | (tss & 0xffffff) << 16 | 0x89ULL << 40 |
				    (tss >> 24 & 0xff) << 56;
		gdt[TSS_INDEX(i) + 1] = tss >> 32;
	}
}

/* Gates of DPL 0, so that INT n is #GP at the instruction (SDM Vol. 3A, section 6.12.1.1). */
static void make_idt(const struct world *w)
{
	uint64_t *idt = at(w, IDT);

	for (unsigned int v = 0; v < NR_VECTORS; v++) {
		gva_t gate = code_at(world_gates) + v * GATE_BYTES;

		idt[2 * v] = (gate & 0xffff) | (uint64_t)SELECTOR(SEG_CODE0) << 16 | 0x8eULL << 40 |
			     (gate >> 16 & 0xffff) << 48;
		idt[2 * v + 1] = gate >> 32;
	}
}

/* RSP0, and an I/O bitmap beyond the limit: no port is granted. */
static void make_tss(const struct world *w, unsigned int cpu)
{
	uint8_t *tss = at(w, cpu_page(cpu));
	const uint64_t rsp0 = BASE + cpu_page(cpu) + RSP0;
	const uint16_t bitmap = TSS_SIZE;

	memcpy(tss + 4, &rsp0, sizeof(rsp0));
	memcpy(tss + 102, &bitmap, sizeof(bitmap));
}

#define TABLE (X86_P | X86_W | X86_A)
#define ENTRY (TABLE | X86_D)

static void make_tables(const struct world *w)
{
	uint64_t *pdpt = at(w, PDPT), *pd = at(w, PD), *pt = at(w, PT);
	maddr_t start = w->memory.at;

	pdpt[0] = (start + PD) | TABLE;
	pd[0] = (start + PT) | TABLE;
	for (unsigned int i = 0; i < CPUS / PAGE + w->config.nr_cpus; i++)
		pt[i] = (start + (uint64_t)i * PAGE) | ENTRY;
	for (uint64_t i = 1; i < w->memory.bytes / LEAF; i++)
		pd[i] = (start + i * LEAF) | ENTRY | X86_PS;
}

int world_create(const struct world_config *config, struct world **out, struct quire_error *err)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		return quire_fail(err, -ENOMEM, "no memory for the monitor");
	w->config = *config;
	w->memory.at = SHADOW_MONITOR_BASE;
	w->memory.bytes = ARENA + ((uint64_t)config->nr_tables * PAGE + LEAF - 1) / LEAF * LEAF;
	assert(config->nr_cpus <= WORLD_MAX_CPUS && w->memory.bytes <= 512ULL * LEAF);
	w->memory.hva = mmap(NULL, w->memory.bytes, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (w->memory.hva == MAP_FAILED) {
		free(w);
		return quire_fail(err, -ENOMEM, "no address space for the monitor");
	}
	make_gdt(w);
	make_idt(w);
	memcpy(at(w, CODE), world_gates, code_at(world_code_end) - code_at(world_gates));
	for (unsigned int i = 0; i < config->nr_cpus; i++)
		make_tss(w, i);
	make_tables(w);
	*out = w;
	return 0;
}

void world_destroy(struct world *w)
{
	if (w)
		munmap(w->memory.hva, w->memory.bytes);
	free(w);
}

struct world_memory world_memory(const struct world *w)
{
	return w->memory;
}

struct world_memory world_arena(const struct world *w)
{
	return (struct world_memory){
		.hva = at(w, ARENA),
		.at = w->memory.at + ARENA,
		.bytes = w->memory.bytes - ARENA,
	};
}

uint64_t world_pml4_entry(const struct world *w)
{
	return (w->memory.at + PDPT) | TABLE;
}

/* ---- the real registers ---- */

static struct kvm_segment flat(unsigned int seg)
{
	bool code = seg != SEG_DATA0 && seg != SEG_DATA3;
	uint8_t dpl = seg > SEG_DATA0 ? 3 : 0;

	return (struct kvm_segment){
		.limit = UINT32_MAX,
		.selector = SELECTOR(seg) | dpl,
		.type = code ? 0xb : 0x3,
		.present = 1,
		.dpl = dpl,
		.db = !code,
		.s = 1,
		.l = code,
		.g = 1,
	};
}

void world_start(const struct world *w, unsigned int cpu, struct kvm_sregs *s)
{
	(void)w;
	s->cs = flat(SEG_CODE0);
	s->ss = flat(SEG_DATA0);
	s->ds = s->es = s->fs = s->gs = flat(SEG_DATA3);
	s->tr = (struct kvm_segment){
		.base = BASE + cpu_page(cpu),
		.limit = TSS_SIZE - 1,
		.selector = (uint16_t)(TSS_INDEX(cpu) * 8),
		.type = 0xb,
		.present = 1,
	};
	s->ldt = (struct kvm_segment){ .unusable = 1 };
	s->gdt = (struct kvm_dtable){ .base = BASE + GDT, .limit = GDT_SIZE - 1 };
	s->idt = (struct kvm_dtable){ .base = BASE + IDT, .limit = NR_VECTORS * 16 - 1 };
	s->cr0 = CR0_OURS;
	s->cr4 = CR4_PAE;
	s->efer = EFER_OURS;
}

static unsigned int virtual_cpl(const struct kvm_sregs *s)
{
	return s->cs.selector & 3;
}

/* An alignment check is for the guest's user alone; so is CR4.TSD. */
static uint64_t real_cr0(const struct kvm_sregs *s)
{
	return CR0_OURS | (s->cr0 & CR0_GUESTS) | (virtual_cpl(s) == 3 ? s->cr0 & CR0_AM : 0);
}

static uint64_t real_cr4(const struct world *w, const struct kvm_sregs *s)
{
	return CR4_PAE | (w->config.umip ? CR4_UMIP : 0) | (s->cr4 & CR4_GUESTS) |
	       (virtual_cpl(s) == 3 ? s->cr4 & CR4_TSD : 0);
}

static bool is_long(const struct kvm_sregs *s)
{
	return s->efer & EFER_LMA;
}

static unsigned int code_segment(const struct kvm_sregs *s)
{
	if (is_long(s) && s->cs.l)
		return SEG_CODE64;
	return s->cs.db ? SEG_CODE32 : SEG_CODE16;
}

const char *world_refuses(const struct kvm_sregs *s)
{
	if (!(s->cr0 & CR0_PE))
		return "it is in real mode";
	if (is_long(s) && s->cs.l)
		return NULL;
	if (s->cs.base || (s->ss.base && !s->ss.unusable) || (s->ds.base && !s->ds.unusable) ||
	    (s->es.base && !s->es.unusable))
		return "it has a segment that does not begin at 0";
	return NULL;
}

/* Bring the real registers up to date.  Returns whether any has changed. */
static bool set_sregs(const struct world *w, struct kvm_sregs *real, const struct kvm_sregs *s)
{
	struct kvm_sregs new = *real;

	new.cs = flat(SEG_CODE0);
	new.ss = flat(SEG_DATA0);
	new.cr0 = real_cr0(s);
	new.cr4 = real_cr4(w, s);
	if (!is_long(s) || !s->cs.l)
		new.ds = new.es = flat(SEG_DATA3);
	if (new.fs.base != s->fs.base)
		new.fs = flat(SEG_DATA3);
	if (new.gs.base != s->gs.base)
		new.gs = flat(SEG_DATA3);
	new.fs.base = s->fs.base;
	new.gs.base = s->gs.base;
	if (new.cr0 == real->cr0 &&new.cr4 == real->cr4 &&new.fs.base ==
	    real->fs.base &&new.gs.base == real->gs.base &&new.cs.selector ==
	    real->cs.selector &&new.ds.selector == real->ds.selector &&new.es.selector ==
	    real->es.selector)
		return false;
	*real = new;
	return true;
}

/* ---- into the guest ---- */

unsigned int world_room(const struct world *w, unsigned int cpu)
{
	return WORLD_MAX_LIST - w->listed[cpu];
}

/* An entry that was not over is part of this one. */
static void add_to_list(struct world *w, unsigned int cpu, const struct world_entry *e)
{
	struct list *list = at(w, cpu_page(cpu) + LIST);

	if (e->forgotten)
		w->listed[cpu] = 0;
	assert(e->nr_stale <= world_room(w, cpu));
	for (unsigned int i = 0; i < e->nr_stale; i++)
		list->entry[w->listed[cpu]++] = BASE + (e->stale[i] - w->memory.at);
	list->cr3 = e->root;
	w->flushing[cpu] |= e->forgotten || e->nr_stale;
}

void world_enter(struct world *w, unsigned int cpu, struct kvm_run *run,
		 const struct world_entry *e)
{
	struct kvm_regs *regs = &run->s.regs.regs;
	const uint64_t frame[] = {
		e->regs->rdx,
		e->regs->rcx,
		e->regs->rax,
		e->regs->rip,
		SELECTOR(code_segment(e->sregs)) | 3,
		(e->regs->rflags & ~(uint64_t)((3u << 12) | FLAGS_NEVER)) | FLAG_FIXED,
		e->regs->rsp,
		SELECTOR(SEG_DATA3) | 3,
	};
	const uint64_t top = cpu_page(cpu) + RSP0;

	add_to_list(w, cpu, e);
	w->flushing[cpu] |= run->s.regs.sregs.cr3 != e->root;
	memcpy(at(w, top - sizeof(frame)), frame, sizeof(frame));
	*regs = *e->regs;
	regs->rflags = FLAG_FIXED;
	regs->rip = code_at(world_iret);
	regs->rsp = BASE + top - 5 * sizeof(uint64_t);
	if (w->flushing[cpu]) {
		regs->rip = code_at(world_flush);
		regs->rsp = BASE + top - sizeof(frame);
		regs->rax = BASE + cpu_page(cpu) + LIST;
		regs->rcx = w->listed[cpu];
	}
	run->kvm_dirty_regs |= KVM_SYNC_X86_REGS;
	if (set_sregs(w, &run->s.regs.sregs, e->sregs))
		run->kvm_dirty_regs |= KVM_SYNC_X86_SREGS;
}

/* ---- out of the guest ---- */

/* CPL 3 can load FS and GS with a null selector, or write their bases by CR4.FSGSBASE. */
static void take_segment(struct kvm_segment *virtual, const struct kvm_segment *real)
{
	virtual->base = real->base;
	if (real->selector <= 3)
		virtual->selector = real->selector;
}

static void take_registers(const struct kvm_run *run, struct kvm_regs *regs,
			   struct kvm_sregs *sregs)
{
	uint64_t kept = regs->rflags & (FLAGS_TRAPS | FLAGS_NEVER);

	*regs = run->s.regs.regs;
	regs->rflags = (regs->rflags & ~(uint64_t)(FLAGS_TRAPS | FLAGS_NEVER)) | kept;
	take_segment(&sregs->fs, &run->s.regs.sregs.fs);
	take_segment(&sregs->gs, &run->s.regs.sregs.gs);
}

/* What the gate's stack has: the error code, if there is one, and the frame. */
static void take_frame(const struct world *w, unsigned int cpu, uint64_t kept,
		       struct kvm_regs *regs, struct world_trap *trap)
{
	bool has_error = trap->vector < 32 && (ERROR_VECTORS >> trap->vector & 1);
	uint64_t frame[6];

	memcpy(frame, at(w, cpu_page(cpu) + RSP0 - sizeof(frame)), sizeof(frame));
	trap->error = has_error ? (uint32_t)frame[0] : 0;
	regs->rip = frame[1];
	regs->rflags = (frame[3] & ~(uint64_t)(FLAGS_TRAPS | FLAGS_NEVER)) | kept;
	regs->rsp = frame[4];
}

/* SYSCALL that jumped instead of being #UD: it has put RIP and RFLAGS aside. */
static void undo_syscall(struct kvm_regs *regs, struct world_trap *trap)
{
	const uint64_t syscall_bytes = 2;

	*trap = (struct world_trap){ .vector = UD };
	regs->rip = regs->rcx - syscall_bytes;
}

/* A selector that the guest has loaded is none of ours: some KVMs say so by another exception. */
static bool is_selector(const struct world_trap *trap)
{
	return trap->error && trap->vector >= TS && trap->vector <= SS;
}

static enum world_place in_gate(const struct world *w, unsigned int cpu, uint64_t kept,
				const struct kvm_run *run, struct kvm_regs *regs,
				struct world_trap *trap)
{
	*trap = (struct world_trap){
		.vector = (uint8_t)((run->s.regs.regs.rip - code_at(world_gates)) / GATE_BYTES),
		.cr2 = run->s.regs.sregs.cr2,
	};
	take_frame(w, cpu, kept, regs, trap);
	if (trap->vector == PF && regs->rip == world_lstar())
		undo_syscall(regs, trap);
	if (is_selector(trap))
		trap->vector = GP;
	return WORLD_TRAPPED;
}

enum world_place world_leave(struct world *w, unsigned int cpu, const struct kvm_run *run,
			     struct kvm_regs *regs, struct kvm_sregs *sregs,
			     struct world_trap *trap)
{
	const struct kvm_sregs *real = &run->s.regs.sregs;
	uint64_t kept = regs->rflags & (FLAGS_TRAPS | FLAGS_NEVER);
	gva_t rip = run->s.regs.regs.rip;

	if (!(real->cs.selector & 3) && rip >= code_at(world_iret))
		return WORLD_ENTERING;
	w->listed[cpu] = 0;
	w->flushing[cpu] = false;
	take_registers(run, regs, sregs);
	if (real->cs.selector & 3)
		return WORLD_IN_GUEST;
	return in_gate(w, cpu, kept, run, regs, trap);
}
