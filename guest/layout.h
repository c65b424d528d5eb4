/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_GUEST_LAYOUT_H
#define QUIRE_GUEST_LAYOUT_H

/*
 * Where everything is.  C, assembly and the linker script use this file, so it has only #defines.
 *
 * The image is linked and loaded at 1 MiB, and its parts lie at fixed places, because its page
 * table, GDT, IDT and TSS are assembled into it.  To build them at CPL 0 would be slow: the host
 * may emulate each instruction there, at a thousand times its cost.  The linker script asserts that
 * each place is large enough.
 *
 *   gva (== gpa for the image)        user  write exec
 *   0x000000  unmapped
 *   0x100000  nucleus text                          x    traps, boot, nucleus calls
 *   0x104000  nucleus data                    w          GDT, IDT, TSS, frames
 *   0x108000  page tables               u     w
 *   0x110000  text                      u           x
 *   0x130000  read-only data            u
 *   0x140000  stack guard, unmapped
 *   0x141000  stack, 32 KiB             u     w
 *   0x149000  data, bss                 u     w
 *   0x180000  unmapped
 *   0x200000  gpa 0 to 2 MiB again      u                where loaders leave boot data
 *   0x400000  unmapped
 *   512 GiB   direct map: all RAM       u     w          gva = DIRECT_BASE + gpa
 *     1 TiB   windows: workloads' memory, contiguous gva, 2 MiB leaves
 *  1.25 TiB   device registers      u     w
 *   1.5 TiB   scratch: what the selftest and remap map and unmap
 */
#define NUCLEUS_TEXT 0x100000
#define NUCLEUS_DATA 0x104000
#define TABLES	     0x108000
#define USER_TEXT    0x110000
#define USER_RODATA  0x130000
#define STACK_GUARD  0x140000
#define STACK_BOTTOM 0x141000
#define STACK_TOP    0x149000
#define USER_DATA    0x149000
#define IMAGE_LIMIT  0x180000
#define LOW_ALIAS    0x200000
#define LOW_BYTES    0x200000

#define DIRECT_BASE  0x08000000000
#define WINDOW_BASE  0x10000000000
#define MMIO_BASE    0x14000000000
#define SCRATCH_BASE 0x18000000000
#define DIRECT_LIMIT 0x08000000000 /* RAM above 512 GiB is left alone */

/* Selectors; the GDT is in boot.S. */
#define NUCLEUS_CS 0x08
#define USER_DS	   0x23
#define USER_CS	   0x2b
#define TSS_SEL	   0x30

#define USER_RFLAGS 0x2 /* interrupts off; IOPL 0, see tss_ports in boot.S */

/*
 * Nucleus calls: number in rdi, arguments in rsi and rdx, result in rax.  A call is a `ud2`
 * at one known address (traps.S), as neither `syscall` nor `int n` can be relied on.
 */
#define CALL_INVLPG 0 /* rsi = gva */
#define CALL_CR3    1 /* rsi = gpa of a root table */
#define CALL_PROBE  2 /* access 8 bytes at rsi: see probe() in reach.h */
#define CALL_WP	    3 /* CR0.WP = rsi */
#define CALL_HALT   4 /* stop for good */
#define CALL_DIE    5 /* empty the IDT, then go back to struct trap rsi, which faults for good */
#define CALL_VMCALL 6
#define CALL_INT3   7
#define CALL_CR4    8  /* CR4 ^= rsi; PROBE_OK, or how that faulted */
#define CALL_EFER   9  /* EFER ^= rsi */
#define CALL_RUN    10 /* call rsi at CPL 0 */
#define NR_CALLS    11

#define PROBE_OK 0x100 /* no error code has this bit */

#define VECTOR_DE  0
#define VECTOR_DB  1
#define VECTOR_BP  3
#define VECTOR_UD  6
#define VECTOR_DF  8
#define VECTOR_NP  11
#define VECTOR_SS  12
#define VECTOR_GP  13
#define VECTOR_PF  14
#define NR_VECTORS 32

#define PTE_P	0x001
#define PTE_W	0x002
#define PTE_U	0x004
#define PTE_PCD 0x010
#define PTE_A	0x020
#define PTE_D	0x040
#define PTE_PS	0x080
#define PTE_G	0x100
#define PTE_NX	0x8000000000000000

/* What the selftest's handlers note: steps, and faults within faults. */
#define TRACE_MAX  32
#define NESTED_MAX 4

/* Bytes of the frame that the CPU and the vector's stub push, from vector to ss. */
#define TRAP_FRAME_BYTES 56
/* In struct trap, fifteen registers and CR2 lie below that frame. */
#define TRAP_RIP_OFFSET (15 * 8 + 8 + 16)
#define TRAP_RSP_OFFSET (TRAP_RIP_OFFSET + 24)

#endif
