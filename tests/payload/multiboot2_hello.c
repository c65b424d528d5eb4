/* SPDX-License-Identifier: MIT */
/* A multiboot 2 guest: prints the tags that it was given, and exits with status 11. */
#include "hello.h"

#define EAX 0x36d76289

_Noreturn void hello(uint32_t eax, const uint8_t *info);

__asm__(".pushsection .multiboot, \"a\"\n"
	".balign 8\n"
	"header: .long 0xe85250d6, 0, header_end - header\n"
	"	.long -(0xe85250d6 + header_end - header)\n"
	"	.word 1, 0\n" /* it wants to know: command line, memory map */
	"	.long 16, 1, 6\n"
	"	.word 4, 1\n" /* a console, if there is one */
	"	.long 12, 1, 0\n"
	"	.word 3, 0\n" /* the entry */
	"	.long 12, start, 0\n"
	"	.word 0, 0\n"
	"	.long 8\n"
	"header_end: .popsection\n"
	".pushsection .text\n"
	".globl start\n"
	"start: movl $stack, %esp\n"
	"	pushl %ebx\n"
	"	pushl %eax\n"
	"	call hello\n"
	".popsection\n"
	".pushsection .bss\n"
	".balign 16\n"
	".skip 4096\n"
	"stack: .popsection\n");

static uint32_t word(const uint8_t *at)
{
	return *(const uint32_t *)at;
}

static void put_tag(const uint8_t *tag)
{
	switch (word(tag)) {
	case 1:
		put("cmdline=");
		put((const char *)tag + 8);
		break;
	case 3:
		say("module: bytes=", word(tag + 12) - word(tag + 8));
		put(" string=");
		put((const char *)tag + 16);
		break;
	case 4: say("mem_upper=", word(tag + 12)); break;
	case 6: say("mmap: entries=", (word(tag + 4) - 16) / word(tag + 8)); break;
	case 15: say("acpi: xsdt=", word(tag + 8 + 24)); break;
	default: return;
	}
	put("\n");
}

_Noreturn void hello(uint32_t eax, const uint8_t *info)
{
	const uint8_t *tag = info + 8;

	if (eax != EAX)
		quit(1);
	put("multiboot2\n");
	for (; word(tag); tag += (word(tag + 4) + 7) & ~7u)
		put_tag(tag);
	quit(tag + 8 == info + word(info) ? 11 : 2);
}
