/* SPDX-License-Identifier: MIT */
/* The monitor's memory: its code, tables and descriptors. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "mmu/format/x86pt.h"
#include "world_layout.h"

#define DESC_CODE0  0x00af9b000000ffffULL
#define DESC_DATA0  0x00cf93000000ffffULL
#define DESC_CODE16 0x008ffb000000ffffULL
#define DESC_CODE32 0x00cffb000000ffffULL
#define DESC_CODE64 0x00affb000000ffffULL
#define DESC_DATA3  0x00cff3000000ffffULL

/*
 * The code at CPL 0.  world_iret has all registers of the guest but RSP.  world_flush has the list
 * in RAX and the number of its entries in RCX; RDX, RCX and RAX are on the stack.  Interrupts are
 * off but in world_halt, which both may return to.
 */
__asm__(".pushsection .rodata\n"
	".globl world_gates, world_iret, world_flush, world_halt\n"
	".globl world_lstar_trap, world_acts\n"
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
	"world_halt:\n"
	"	hlt\n"
	"	jmp world_halt\n"
	"world_lstar_trap:\n"
	"	ud2\n"
	".balign 8\n"
	"world_acts:\n"
	"	in %dx, %al\n"
	"	out %al, $0x80\n"
	".balign 8\n"
	"	out %al, %dx\n"
	"	out %al, $0x80\n"
	".balign 8\n"
	"	rdmsr\n"
	"	out %al, $0x80\n"
	".balign 8\n"
	"	wrmsr\n"
	"	out %al, $0x80\n"
	"world_code_end:\n"
	".popsection\n");

extern const uint8_t world_code_end[];

gva_t world_lstar(void)
{
	return code_at(world_lstar_trap);
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
