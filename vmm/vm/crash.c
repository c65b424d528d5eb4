/* SPDX-License-Identifier: MIT */
/* Crash reports.  crash.h says what they contain, and that they believe nothing. */
#include <inttypes.h>
#include <string.h>
#include "crash.h"
#include "doing.h"
#include "message.h"
#include "render.h"
#include "vm_impl.h"

#define CR0_PG (1u << 31)

#define MAX_PAGES 16

#define DISK_NS (NS_PER_S / 4) /* a report waits so long for pages in a swap file */

static const struct bit_name cr0_bits[] = {
	{ 1u << 0, "PE" },  { 1u << 1, "MP" },	{ 1u << 2, "EM" },  { 1u << 3, "TS" },
	{ 1u << 4, "ET" },  { 1u << 5, "NE" },	{ 1u << 16, "WP" }, { 1u << 18, "AM" },
	{ 1u << 29, "NW" }, { 1u << 30, "CD" }, { 1u << 31, "PG" },
};

static const struct bit_name cr4_bits[] = {
	{ 1u << 0, "VME" },	  { 1u << 1, "PVI" },	      { 1u << 2, "TSD" },
	{ 1u << 3, "DE" },	  { 1u << 4, "PSE" },	      { 1u << 5, "PAE" },
	{ 1u << 6, "MCE" },	  { 1u << 7, "PGE" },	      { 1u << 8, "PCE" },
	{ 1u << 9, "OSFXSR" },	  { 1u << 10, "OSXMMEXCPT" }, { 1u << 11, "UMIP" },
	{ 1u << 12, "LA57" },	  { 1u << 13, "VMXE" },	      { 1u << 14, "SMXE" },
	{ 1u << 16, "FSGSBASE" }, { 1u << 17, "PCIDE" },      { 1u << 18, "OSXSAVE" },
	{ 1u << 20, "SMEP" },	  { 1u << 21, "SMAP" },	      { 1u << 22, "PKE" },
	{ 1u << 23, "CET" },	  { 1u << 24, "PKS" },
};

static const struct bit_name efer_bits[] = {
	{ 1u << 0, "SCE" },  { 1u << 8, "LME" },   { 1u << 10, "LMA" },
	{ 1u << 11, "NXE" }, { 1u << 12, "SVME" }, { 1u << 14, "FFXSR" },
};

static const struct bit_name rflags_bits[] = {
	{ 1u << 0, "CF" },  { 1u << 2, "PF" },	  { 1u << 4, "AF" },  { 1u << 6, "ZF" },
	{ 1u << 7, "SF" },  { 1u << 8, "TF" },	  { 1u << 9, "IF" },  { 1u << 10, "DF" },
	{ 1u << 11, "OF" }, { 3u << 12, "IOPL" }, { 1u << 14, "NT" }, { 1u << 16, "RF" },
	{ 1u << 17, "VM" }, { 1u << 18, "AC" },	  { 1u << 21, "ID" },
};

/* A report that is being printed. */
struct report {
	FILE *f;
	struct vm *vm;
	const struct vcpu_state *state;
	struct walk_cpu cpu;
	unsigned int bits;	  /* 16, 32 or 64: how code is decoded */
	bool user;		  /* at CPL 3 */
	gva_t rip;		  /* linear: CS base added */
	struct walk_result fetch; /* the walk of RIP */
	gpa_t page[MAX_PAGES];	  /* pages that walks touched */
	unsigned int nr_pages;
	uint64_t until_ns; /* pages that are swapped are waited for until then */
};

/* ---- guest memory ---- */

/*
 * Read up to len bytes at gva, as the supervisor may read them.  Returns how many were read: the
 * first page that does not translate, or that the disk does not give back in time, ends it.
 */
static size_t read_gva(const struct report *r, gva_t gva, uint8_t *buf, size_t len)
{
	struct walk_cpu cpu = r->cpu;
	struct walk_result res;
	size_t done = 0;

	cpu.ac = true; /* so the supervisor may read user code */
	while (done < len) {
		size_t n = min_u64(len - done, QUIRE_PAGE_SIZE - (gva + done) % QUIRE_PAGE_SIZE);

		if (gmem_walk(r->vm->gm, &cpu, gva + done, (struct walk_access){ 0 }, &res) !=
			    WALK_OK ||
		    guest_peek(r->vm->gm, res.gpa, buf + done, n, r->until_ns) != (ssize_t)n)
			break;
		done += n;
	}
	return done;
}

/* ---- registers ---- */

static void print_registers(const struct report *r)
{
	const struct kvm_regs *g = &r->state->regs;
	const struct {
		const char *name;
		uint64_t value;
	} reg[] = {
		{ "rax", g->rax }, { "rbx", g->rbx }, { "rcx", g->rcx }, { "rdx", g->rdx },
		{ "rsi", g->rsi }, { "rdi", g->rdi }, { "rbp", g->rbp }, { "rsp", g->rsp },
		{ "r8", g->r8 },   { "r9", g->r9 },   { "r10", g->r10 }, { "r11", g->r11 },
		{ "r12", g->r12 }, { "r13", g->r13 }, { "r14", g->r14 }, { "r15", g->r15 },
	};
	char flags[80];

	render_bits(flags, sizeof(flags), g->rflags, rflags_bits, ARRAY_SIZE(rflags_bits));
	fprintf(r->f, "  rip %016llx  rflags %08llx %s\n", g->rip, g->rflags, flags);
	for (unsigned int i = 0; i < ARRAY_SIZE(reg); i++)
		fprintf(r->f, "%s%-3s %016" PRIx64 "%s", i % 4 ? "  " : "  ", reg[i].name,
			reg[i].value, i % 4 == 3 ? "\n" : "");
}

static void print_segment(const struct report *r, const char *name, const struct kvm_segment *s)
{
	if (s->unusable) {
		fprintf(r->f, "  %-4s %04x unusable\n", name, s->selector);
		return;
	}
	fprintf(r->f, "  %-4s %04x base %016llx limit %08x %s dpl %u type %x%s%s\n", name,
		s->selector, s->base, s->limit,
		!s->s	    ? "system" :
		s->type & 8 ? "code" :
			      "data",
		s->dpl, s->type,
		s->l  ? " 64-bit" :
		s->db ? " 32-bit" :
			" 16-bit",
		s->present ? "" : " not present");
}

static void print_segments(const struct report *r)
{
	const struct kvm_sregs *s = &r->state->sregs;

	print_segment(r, "cs", &s->cs);
	print_segment(r, "ss", &s->ss);
	print_segment(r, "ds", &s->ds);
	print_segment(r, "es", &s->es);
	print_segment(r, "fs", &s->fs);
	print_segment(r, "gs", &s->gs);
	print_segment(r, "tr", &s->tr);
	fprintf(r->f, "  gdt  base %016llx limit %04x   idt  base %016llx limit %04x\n",
		s->gdt.base, s->gdt.limit, s->idt.base, s->idt.limit);
}

static void print_control(const struct report *r, const char *name, uint64_t value,
			  const struct bit_name *names, unsigned int nr)
{
	char bits[160];

	render_bits(bits, sizeof(bits), value, names, nr);
	fprintf(r->f, "  %-4s %016" PRIx64 "%s%s\n", name, value, bits[0] ? " " : "", bits);
}

static void print_controls(const struct report *r)
{
	const struct kvm_sregs *s = &r->state->sregs;

	print_control(r, "cr0", s->cr0, cr0_bits, ARRAY_SIZE(cr0_bits));
	print_control(r, "cr2", s->cr2, NULL, 0);
	print_control(r, "cr3", s->cr3, NULL, 0);
	print_control(r, "cr4", s->cr4, cr4_bits, ARRAY_SIZE(cr4_bits));
	print_control(r, "efer", s->efer, efer_bits, ARRAY_SIZE(efer_bits));
}

/* ---- code ---- */

/* What can be read before RIP, halved until it all can. */
static void read_code(const struct report *r, unsigned int cpu, struct code *code)
{
	uint8_t *at = code->byte + CODE_BEFORE;
	size_t before = min_u64(r->rip, CODE_BEFORE);

	*code = (struct code){ .rip = r->rip, .bits = r->bits, .cpl = r->user ? 3 : 0, .cpu = cpu };
	code->after = (uint32_t)read_gva(r, r->rip, at, CODE_AFTER);
	while (before && read_gva(r, r->rip - before, at - before, before) < before)
		before /= 2;
	code->before = (uint32_t)before;
}

/* ---- walks ---- */

static void note_page(struct report *r, gpa_t gpa)
{
	gpa = align_down(gpa, QUIRE_PAGE_SIZE);
	for (unsigned int i = 0; i < r->nr_pages; i++)
		if (r->page[i] == gpa)
			return;
	if (r->nr_pages < MAX_PAGES)
		r->page[r->nr_pages++] = gpa;
}

static void note_pages(struct report *r, const struct walk_result *res)
{
	for (unsigned int i = 0; i < res->nr_refs && i < WALK_MAX_REFS; i++)
		if (res->ref[i].stage == 1)
			note_page(r, res->ref[i].addr);
	if (res->gpa != GPA_INVALID)
		note_page(r, res->gpa);
}

static void show_walk(struct report *r, gva_t gva, const struct walk_result *res)
{
	uint8_t state = res->gpa == GPA_INVALID ? PG_NR_STATES : render_state(r->vm->gm, res->gpa);

	render_walk(r->f, gva, res, state);
}

static void show_stack(struct report *r, gva_t gva, const struct walk_result *res)
{
	uint8_t state = res->gpa == GPA_INVALID ? PG_NR_STATES : render_state(r->vm->gm, res->gpa);
	const char *answer = render_answer(res, state);

	fprintf(r->f, "RSP, read: gva %#" PRIx64 ": %s%s%s\n", gva, walk_outcome_name(res->outcome),
		answer ? ": " : "", answer ? answer : "");
}

static void print_walks(struct report *r)
{
	const struct kvm_sregs *s = &r->state->sregs;
	struct walk_access read = { .user = r->user };
	struct walk_result res;
	gva_t stack = r->state->regs.rsp + (r->bits == 64 ? 0 : s->ss.base);

	fputs("RIP, fetch: ", r->f);
	show_walk(r, r->rip, &r->fetch);
	note_pages(r, &r->fetch);
	if (s->cr0 & CR0_PG) {
		gmem_walk(r->vm->gm, &r->cpu, s->cr2, read, &res);
		fputs("CR2, read: ", r->f);
		show_walk(r, s->cr2, &res);
		note_pages(r, &res);
	}
	gmem_walk(r->vm->gm, &r->cpu, stack, read, &res);
	show_stack(r, stack, &res);
	note_pages(r, &res);
}

static void print_pages(const struct report *r)
{
	fputs("pages of guest memory on the way:\n", r->f);
	for (unsigned int i = 0; i < r->nr_pages; i++)
		fprintf(r->f, "  gpa %012" PRIx64 "  %s\n", r->page[i],
			render_state_text(render_state(r->vm->gm, r->page[i])));
}

/* ---- the report ---- */

static void look_at_cpu(struct report *r)
{
	struct walk_access fetch = { .fetch = true };

	r->until_ns = monotonic_ns() + DISK_NS;
	vcpu_walk_cpu(r->vm, r->state, &r->cpu);
	r->bits = doing_bits(r->state);
	r->user = doing_cpl(r->state) == 3;
	r->rip = doing_rip(r->state);
	fetch.user = r->user;
	gmem_walk(r->vm->gm, &r->cpu, r->rip, fetch, &r->fetch);
}

/* Does RIP translate, but to no memory? */
static bool fetches_outside_ram(const struct report *r)
{
	struct stage2_page page;

	if (r->fetch.outcome != WALK_OK && r->fetch.outcome != WALK_VIOLATION &&
	    r->fetch.outcome != WALK_NO_MEMORY)
		return false;
	return r->fetch.gpa != GPA_INVALID &&
	       gmem_lookup(r->vm->gm, gpa_to_gfn(r->fetch.gpa), &page);
}

static void print_headline(const struct report *r, const struct crash *crash)
{
	fprintf(r->f, "%s: guest crashed: vCPU %u: ", message_prefix(), crash->cpu);
	if (!crash->no_state && fetches_outside_ram(r))
		fprintf(r->f, "instruction fetch outside RAM at gpa %#" PRIx64 " (%s)\n",
			r->fetch.gpa, crash->what);
	else
		fprintf(r->f, "%s%s%s%s\n", crash->what, crash->hint[0] ? " (" : "", crash->hint,
			crash->hint[0] ? ")" : "");
}

static void print_data(const struct report *r, const struct crash *crash)
{
	if (!crash->nr_data)
		return;
	fputs("KVM's data:", r->f);
	for (unsigned int i = 0; i < crash->nr_data && i < CRASH_MAX_DATA; i++)
		fprintf(r->f, " %#" PRIx64, crash->data[i]);
	fputc('\n', r->f);
}

void crash_report(FILE *f, struct vm *vm, const struct crash *crash, struct code *code)
{
	struct report r = { .f = f, .vm = vm, .state = &crash->state };

	*code = (struct code){ 0 };
	if (!crash->no_state)
		look_at_cpu(&r);
	print_headline(&r, crash);
	print_data(&r, crash);
	if (crash->no_state) {
		fprintf(f, "registers: %s\n", crash->no_state);
		return;
	}
	fputs("registers:\n", f);
	print_registers(&r);
	print_segments(&r);
	print_controls(&r);
	print_walks(&r);
	print_pages(&r);
	read_code(&r, crash->cpu, code);
}

void crash_code(struct vm *vm, unsigned int cpu, const struct vcpu_state *state, struct code *code)
{
	struct report r = { .vm = vm, .state = state };

	look_at_cpu(&r);
	read_code(&r, cpu, code);
}
