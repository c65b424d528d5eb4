/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/procfs.h>
#include "core_file.h"

/* ---- the state of a vCPU as QEMU has it (target/i386/arch_dump.c) ---- */

struct qemu_segment {
	uint32_t selector, limit;
	uint32_t flags; /* the second word of a descriptor, without base and limit */
	uint32_t pad;
	uint64_t base;
};

struct qemu_cpu {
	uint32_t version; /* 1 */
	uint32_t bytes;	  /* of this record; QEMU's has kernel_gs_base behind it, since 3.0 */
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp;
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t rip, rflags;
	struct qemu_segment cs, ds, es, fs, gs, ss, ldt, tr, gdt, idt;
	uint64_t cr[5];
};

/* SDM 3A, "Segment Descriptors": type at 8, S 12, DPL 13, P 15, AVL 20, L 21, D/B 22, G 23. */
static struct qemu_segment segment(const struct kvm_segment *s)
{
	return (struct qemu_segment){
		.selector = s->selector,
		.limit = s->limit,
		.flags = (uint32_t)s->type << 8 | (uint32_t)s->s << 12 | (uint32_t)s->dpl << 13 |
			 (uint32_t)s->present << 15 | (uint32_t)s->avl << 20 |
			 (uint32_t)s->l << 21 | (uint32_t)s->db << 22 | (uint32_t)s->g << 23,
		.base = s->base,
	};
}

static struct qemu_segment table(const struct kvm_dtable *t)
{
	return (struct qemu_segment){ .limit = t->limit, .base = t->base };
}

static void fill_qemu_cpu(struct qemu_cpu *out, const struct vcpu_state *cpu)
{
	const struct kvm_sregs *s = &cpu->sregs;
	const struct kvm_regs *r = &cpu->regs;

	*out = (struct qemu_cpu){
		.version = 1,
		.bytes = sizeof(*out),
		.rax = r->rax,
		.rbx = r->rbx,
		.rcx = r->rcx,
		.rdx = r->rdx,
		.rsi = r->rsi,
		.rdi = r->rdi,
		.rsp = r->rsp,
		.rbp = r->rbp,
		.r8 = r->r8,
		.r9 = r->r9,
		.r10 = r->r10,
		.r11 = r->r11,
		.r12 = r->r12,
		.r13 = r->r13,
		.r14 = r->r14,
		.r15 = r->r15,
		.rip = r->rip,
		.rflags = r->rflags,
		.cs = segment(&s->cs),
		.ds = segment(&s->ds),
		.es = segment(&s->es),
		.fs = segment(&s->fs),
		.gs = segment(&s->gs),
		.ss = segment(&s->ss),
		.ldt = segment(&s->ldt),
		.tr = segment(&s->tr),
		.gdt = table(&s->gdt),
		.idt = table(&s->idt),
		.cr = { s->cr0, 0, s->cr2, s->cr3, s->cr4 },
	};
}

/* ---- NT_PRSTATUS, as the kernel writes it for a thread ---- */

static void fill_prstatus(struct elf_prstatus *out, const struct vcpu_state *cpu, unsigned int id)
{
	const struct kvm_sregs *s = &cpu->sregs;
	const struct kvm_regs *r = &cpu->regs;
	const struct user_regs_struct regs = {
		.r15 = r->r15,
		.r14 = r->r14,
		.r13 = r->r13,
		.r12 = r->r12,
		.rbp = r->rbp,
		.rbx = r->rbx,
		.r11 = r->r11,
		.r10 = r->r10,
		.r9 = r->r9,
		.r8 = r->r8,
		.rax = r->rax,
		.rcx = r->rcx,
		.rdx = r->rdx,
		.rsi = r->rsi,
		.rdi = r->rdi,
		.orig_rax = UINT64_MAX,
		.rip = r->rip,
		.cs = s->cs.selector,
		.eflags = r->rflags,
		.rsp = r->rsp,
		.ss = s->ss.selector,
		.fs_base = s->fs.base,
		.gs_base = s->gs.base,
		.ds = s->ds.selector,
		.es = s->es.selector,
		.fs = s->fs.selector,
		.gs = s->gs.selector,
	};

	memset(out, 0, sizeof(*out));
	out->pr_pid = (pid_t)id + 1; /* no thread has number 0 */
	memcpy(out->pr_reg, &regs, sizeof(regs));
}

static_assert(sizeof(elf_gregset_t) == sizeof(struct user_regs_struct), "one order of registers");

/* ---- the file ---- */

static size_t note_bytes(const char *name, size_t bytes)
{
	return sizeof(Elf64_Nhdr) + align_up(strlen(name) + 1, 4) + align_up(bytes, 4);
}

static uint8_t *put_note(uint8_t *to, const char *name, uint32_t type, const void *desc,
			 size_t bytes)
{
	Elf64_Nhdr note = { (uint32_t)strlen(name) + 1, (uint32_t)bytes, type };
	uint8_t *end = to + note_bytes(name, bytes);

	memcpy(to, &note, sizeof(note));
	to += sizeof(note);
	memcpy(to, name, note.n_namesz);
	memcpy(to + align_up(note.n_namesz, 4), desc, bytes);
	return end;
}

static size_t all_note_bytes(const struct core_file *core)
{
	size_t cpu = note_bytes("CORE", sizeof(struct elf_prstatus)) +
		     note_bytes("QEMU", sizeof(struct qemu_cpu));

	return core->nr_cpus * cpu +
	       (core->vmcoreinfo ? note_bytes("VMCOREINFO", core->vmcoreinfo_bytes) : 0);
}

static void put_notes(const struct core_file *core, uint8_t *to)
{
	struct elf_prstatus prstatus;
	struct qemu_cpu qemu;

	for (unsigned int i = 0; i < core->nr_cpus; i++) {
		fill_prstatus(&prstatus, &core->cpu[i], i);
		to = put_note(to, "CORE", NT_PRSTATUS, &prstatus, sizeof(prstatus));
	}
	for (unsigned int i = 0; i < core->nr_cpus; i++) {
		fill_qemu_cpu(&qemu, &core->cpu[i]);
		to = put_note(to, "QEMU", 0, &qemu, sizeof(qemu));
	}
	if (core->vmcoreinfo)
		put_note(to, "VMCOREINFO", 0, core->vmcoreinfo, core->vmcoreinfo_bytes);
}

static void put_segments(const struct core_file *core, Elf64_Phdr *phdr, uint64_t notes,
			 uint64_t offset)
{
	*phdr++ = (Elf64_Phdr){
		.p_type = PT_NOTE,
		.p_offset = notes,
		.p_filesz = all_note_bytes(core),
		.p_align = 4,
	};
	for (unsigned int i = 0; i < core->nr_ram; i++) {
		uint64_t gpa = gfn_to_gpa(core->ram[i].start);
		uint64_t bytes = gfn_to_gpa(core->ram[i].end) - gpa;

		*phdr++ = (Elf64_Phdr){
			.p_type = PT_LOAD,
			.p_flags = PF_R | PF_W | PF_X,
			.p_offset = offset,
			.p_vaddr = gpa,
			.p_paddr = gpa,
			.p_filesz = bytes,
			.p_memsz = bytes,
			.p_align = 0, /* as QEMU: otherwise crash takes it for a netdump */
		};
		offset += bytes;
	}
}

void *core_file_head(const struct core_file *core, size_t *bytes)
{
	size_t notes = sizeof(Elf64_Ehdr) + (1 + core->nr_ram) * sizeof(Elf64_Phdr);
	uint8_t *head;

	*bytes = align_up(notes + all_note_bytes(core), QUIRE_PAGE_SIZE);
	head = calloc(1, *bytes);
	if (!head)
		return NULL;
	*(Elf64_Ehdr *)head = (Elf64_Ehdr){
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			     EV_CURRENT },
		.e_type = ET_CORE,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_phoff = sizeof(Elf64_Ehdr),
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = (Elf64_Half)(1 + core->nr_ram),
	};
	put_segments(core, (Elf64_Phdr *)(head + sizeof(Elf64_Ehdr)), notes, *bytes);
	put_notes(core, head + notes);
	return head;
}
