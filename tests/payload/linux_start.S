/* SPDX-License-Identifier: MIT */
/*
 * The file of a guest that boots as a bzImage does (Documentation/arch/x86/boot.rst): an empty boot
 * sector with the setup header at its end, and one sector more before the kernel.  Assembled for 64
 * bits it has a 64-bit entry, and its 32-bit one only says so.
 */
#define PREFERRED 0x1000000

#ifdef __x86_64__
#define XLOADFLAGS 1
#else
#define XLOADFLAGS 0
#endif

	.section .setup, "ax"
	.org	0x1f1
	.byte	1			/* setup_sects */
	.word	0
	.long	kernel_paragraphs	/* syssize */
	.word	0, 0, 0, 0xaa55
	.byte	0xeb, header_end - . - 1
	.ascii	"HdrS"
	.word	0x20f
	.long	0
	.word	0, version - 0x200	/* the section begins at 0 */
	.byte	0, 1			/* loadflags: loaded high */
	.word	0
	.long	0x100000, 0, 0, 0	/* code32_start, ramdisk, bootsect_kludge */
	.word	0
	.byte	0, 0
	.long	0, 0x7fffffff, 0x200000	/* command line, initrd_addr_max, kernel_alignment */
	.byte	1, 21			/* relocatable, min_alignment */
	.word	XLOADFLAGS
	.long	255, 0			/* cmdline_size */
	.quad	0
	.long	0, 0			/* payload */
	.quad	0, PREFERRED
	.long	0x100000, 0, 0		/* init_size */
header_end:
version: .asciz	"0.1 hello of the tests"
	.org	0x400

	.section .head, "ax"
	.globl	start
start:
#ifdef __x86_64__
	.code32
	movb	$1, %al
	movw	$0xf4, %dx
	outb	%al, %dx
1:	hlt
	jmp	1b
	.org	0x200
	.code64
	leaq	stack(%rip), %rsp
	movw	%cs, %di
	movzwl	%di, %edi
	xchgq	%rdi, %rsi		/* hello(boot_params, cs) */
	call	hello
#else
	.code32
	movl	$stack, %esp
	pushl	%cs
	pushl	%esi
	call	hello
#endif

	.bss
	.balign	16
	.skip	4096
stack:
	.section .note.GNU-stack, "", @progbits
