/* SPDX-License-Identifier: MIT */
#include "asset.h"

/* The assembler reads the file, by its path from the root of the tree. */
#define ASSET(name, file) \
	__asm__(".pushsection .rodata\n" \
		".global " #name "_start, " #name "_end\n" #name \
		"_start: .incbin \"vmm/web/page/" file "\"\n" #name "_end: .byte 0\n" \
		".popsection\n"); \
	extern const char name##_start[], name##_end[]; \
	const struct web_asset name = { name##_start, name##_end }

ASSET(web_page_html, "page.html");
ASSET(web_page_css, "page.css");
ASSET(web_page_js, "page.js");
