/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LAUNCH_DECODER_H
#define QUIRE_VMM_LAUNCH_DECODER_H

/*
 * Capstone, which takes a guest's code apart, held at arm's length.
 *
 * It takes 2 ms to load, which no VM and no other command is to pay: so it is loaded when there is
 * something to disassemble.  The bytes are the guest's: so that is done by a child, which has a
 * table of system calls of its own and can only use memory, write, and end.
 */
#include <capstone/capstone.h>
#include <stdbool.h>
#include <stdio.h>

struct decoder {
	FILE *f; /* where the text goes */
	csh cs;
	unsigned int bits; /* what it is prepared for */
	cs_insn *insn;	   /* the last instruction */
	const char *note;  /* what follows it in the line, or NULL */
	/* Of the library; all NULL: there is none. */
	__typeof__(cs_open) *open;
	__typeof__(cs_malloc) *malloc;
	__typeof__(cs_disasm_iter) *next;
};

/*
 * Have print(d, ctx) run in a child, and wait for its end.  It writes to d->f, which is f.  Where
 * there is no child, or it came to grief, print runs here, without a library.
 */
void decoder_run(FILE *f, void (*print)(struct decoder *d, void *ctx), void *ctx);

/* Prepare for code of 16, 32 or 64 bits.  False: there is no library. */
bool decoder_prepare(struct decoder *d, unsigned int bits);

/* Decode one instruction of *left bytes at *p, and go on behind it.  False: there is none. */
bool decoder_next(struct decoder *d, const uint8_t **p, size_t *left, uint64_t *address);

/* Print a line with the last instruction, or with nr bytes and a text; mark: it is at RIP. */
void decoder_print(const struct decoder *d, bool mark);
void decoder_print_bytes(const struct decoder *d, bool mark, uint64_t address, const uint8_t *byte,
			 size_t nr, const char *what);

#endif
