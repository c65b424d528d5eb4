/* SPDX-License-Identifier: MIT */
/*
 * From the loader to CPL 3.
 *
 * The PVH note names pvh_entry: 32-bit protected mode, flat segments, paging off, the gpa of
 * the start info in EBX.  Some thirty instructions lead from there to C, because every table that
 * they need is already in the image:
 *
 *   1. load the GDT, CR4 (PAE, SSE), CR3, EFER (long mode, NX), CR0 (paging, WP);
 *   2. far jump to 64-bit code, load the IDT and the task register;
 *   3. point FS at a block with the stack protector's canary at %fs:0x28, which libfdt needs: it
 *      is compiled with -fstack-protector;
 *   4. iretq to user_entry at CPL 3.
 *
 * The TSS's I/O bitmap grants CPL 3 the few ports that it drives.  This works on every host.
 * IOPL 3 would do on hardware, but some emulated iretq loses it.
 *
 * The page tables assembled here have their accessed and dirty bits set, so that no walk has to
 * set them.
 */
#include "layout.h"

#define MSR_EFER    0xc0000080
#define EFER_LME    0x100
#define EFER_NXE    0x800
#define MSR_FS_BASE 0xc0000100
#define CR0_BOOT    0x80010033	/* PG WP NE ET MP PE */
#define CR4_BOOT    0x620	/* PAE OSFXSR OSXMMEXCPT */

#define LEAF_U_W    (PTE_P | PTE_W | PTE_U | PTE_A | PTE_D | PTE_NX)
#define LEAF_U_R    (PTE_P | PTE_U | PTE_A | PTE_NX)
#define LEAF_U_X    (PTE_P | PTE_U | PTE_A)
#define LEAF_S_W    (PTE_P | PTE_W | PTE_A | PTE_D | PTE_NX)
#define LEAF_S_X    (PTE_P | PTE_A)
#define TABLE	    (PTE_P | PTE_W | PTE_U | PTE_A)

	.section .note.pvh, "a", @note
	.balign	4
	.long	4, 4, 18		/* name size, descriptor size, XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.long	pvh_entry

	.section .nucleus.text, "ax", @progbits
	.code32
	.globl	pvh_entry
pvh_entry:
	rdtsc				/* the first moment that the guest sees */
	mov	%eax, %esi
	mov	%edx, %edi
	lgdt	gdt_pointer
	mov	$CR4_BOOT, %eax
	mov	%eax, %cr4
	mov	$pml4, %eax
	mov	%eax, %cr3
	mov	$MSR_EFER, %ecx
	mov	$(EFER_LME | EFER_NXE), %eax
	xor	%edx, %edx
	wrmsr
	mov	$CR0_BOOT, %eax
	mov	%eax, %cr0
	ljmp	$NUCLEUS_CS, $long_mode

	.code64
long_mode:
	lidt	idt_pointer
	mov	$TSS_SEL, %eax
	ltr	%ax
	mov	$MSR_FS_BASE, %ecx
	mov	$canary_block, %eax
	xor	%edx, %edx
	wrmsr
	mov	$boot_frame, %esp
	iretq

/* CPL 3: the TSC is in edi:esi, the start info in ebx. */
	.section .text.user_entry, "ax", @progbits
user_entry:
	mov	%esi, %esi
	shl	$32, %rdi
	or	%rdi, %rsi
	mov	%ebx, %edi
	xor	%ebp, %ebp
	call	quill_main		/* (start info gpa, TSC at entry); does not return */
	ud2

	.section .nucleus.data, "aw", @progbits
/* At NUCLEUS_DATA itself, because the descriptor below splits its address into pieces. */
	.globl	tss, idt
tss:
	.long	0
	.quad	trap_stack_top		/* rsp0 */
	.fill	22, 4, 0
	.word	0, tss_ports - tss
tss_ports:				/* a clear bit grants the port */
	.fill	0x40 / 8, 1, 0xff
	.byte	0xf0			/* 0x40-0x43: PIT */
	.fill	(0x60 - 0x48) / 8, 1, 0xff
	.byte	0xef			/* 0x64: keyboard controller, for a reset */
	.fill	(0xf0 - 0x68) / 8, 1, 0xff
	.byte	0x0f			/* 0xf4-0xf7: exit port */
	.fill	(0x3f8 - 0xf8) / 8, 1, 0xff
	.byte	0x00			/* 0x3f8-0x3ff: UART */
	.fill	(0x4f0 - 0x400) / 8, 1, 0xff
	.byte	0x00			/* 0x4f0-0x4f3: text port, 0x4f4-0x4f7: wait port */
	.byte	0xff			/* the CPU reads two bytes at a time */
tss_end:

	.balign	16
gdt:
	.quad	0
	.quad	0x00af9b000000ffff	/* 0x08 nucleus code */
	.quad	0x00cf93000000ffff	/* 0x10 nucleus data */
	.quad	0
	.quad	0x00cff3000000ffff	/* 0x20 user data */
	.quad	0x00affb000000ffff	/* 0x28 user code */
	.word	tss_end - tss - 1		/* 0x30 TSS */
	.word	NUCLEUS_DATA & 0xffff
	.byte	(NUCLEUS_DATA >> 16) & 0xff, 0x89, 0, NUCLEUS_DATA >> 24
	.quad	0
gdt_end:

/* Vector v's stub is at NUCLEUS_TEXT + 16 v.  Only #BP may be raised by an instruction. */
	.balign	16
idt:
	.set	vector, 0
	.rept	NR_VECTORS
	.word	(NUCLEUS_TEXT + 16 * vector) & 0xffff, NUCLEUS_CS
	.if	vector == VECTOR_BP
	.word	0xee00
	.else
	.word	0x8e00
	.endif
	.word	NUCLEUS_TEXT >> 16
	.quad	0
	.set	vector, vector + 1
	.endr
idt_end:

/* What iretq pops on the way to CPL 3.  Nothing writes to these frames. */
	.balign	16
boot_frame:
	.quad	user_entry, USER_CS, USER_RFLAGS, STACK_TOP, USER_DS
	.globl	upcall_frame
upcall_frame:
	.quad	upcall_entry, USER_CS, USER_RFLAGS, upcall_stack_top, USER_DS

gdt_pointer:
	.word	gdt_end - gdt - 1
	.quad	gdt
idt_pointer:
	.word	idt_end - idt - 1
	.quad	idt
	.globl	no_idt
no_idt:
	.word	0
	.quad	0

	.section .tables, "aw", @progbits
	.balign	4096
	.globl	pml4, direct_pdpt, direct_pd
pml4:
	.quad	image_pdpt + TABLE
	.quad	direct_pdpt + TABLE
	.fill	510, 8, 0
image_pdpt:
	.quad	image_pd + TABLE
	.fill	511, 8, 0
image_pd:
	.quad	image_pt + TABLE
	.quad	LEAF_U_R + PTE_PS	/* LOW_ALIAS: gpa 0 */
	.fill	510, 8, 0

	.macro	leaves until, flags
	.rept	(\until - page) >> 12
	.quad	page + (\flags)
	.set	page, page + 0x1000
	.endr
	.endm

image_pt:
	.fill	NUCLEUS_TEXT >> 12, 8, 0
	.set	page, NUCLEUS_TEXT
	leaves	NUCLEUS_DATA, LEAF_S_X
	leaves	TABLES, LEAF_S_W
	leaves	USER_TEXT, LEAF_U_W
	leaves	USER_RODATA, LEAF_U_X
	leaves	STACK_GUARD, LEAF_U_R
	.quad	0
	.set	page, page + 0x1000
	leaves	IMAGE_LIMIT, LEAF_U_W
	.fill	512 - (IMAGE_LIMIT >> 12), 8, 0

/* The direct map is filled at CPL 3 (paging.c); its first GiB needs a table to start with. */
direct_pdpt:
	.fill	512, 8, 0
direct_pd:
	.fill	512, 8, 0

	.section .bss.stacks, "aw", @nobits
	.balign	16
	.globl	trap_stack_top, upcall_stack_top
	.skip	4096
trap_stack_top:
	.skip	16384
upcall_stack_top:

	.section .data.canary, "aw", @progbits
	.balign	8
canary_block:
	.fill	5, 8, 0
	.quad	0xff0a0d00c0ffee00	/* %fs:0x28 */

	.section .note.GNU-stack, "", @progbits
