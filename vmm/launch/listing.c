/* SPDX-License-Identifier: MIT */
/*
 * Disassembly: of a run of code, and around RIP.  x86 instructions cannot be read backwards, so the
 * listing around RIP tries where to begin: at the earliest of the bytes before RIP from which
 * decoding arrives exactly at RIP.  It shows the last few instructions of that.
 *
 * Where there is no Capstone, or no process to be had, the bytes are shown as they are.
 */
#include <inttypes.h>
#include <string.h>
#include "decoder.h"
#include "listing.h"

#define SHOW_BEFORE 4
#define SHOW_AFTER  5

/* ---- around RIP ---- */

struct around {
	const struct code *code;
	const uint8_t *at; /* the byte of rip */
};

/* Decode the `before` bytes before RIP.  Returns how many instructions they are; -1: not whole. */
static int count_to_rip(struct decoder *d, const struct around *a, size_t before)
{
	const uint8_t *p = a->at - before;
	uint64_t address = 0;
	int nr = 0;

	while (before && decoder_next(d, &p, &before, &address))
		nr++;
	return before ? -1 : nr;
}

/* Print the instructions before RIP that were likely executed. */
static void print_before(struct decoder *d, const struct around *a)
{
	size_t before = a->code->before;
	const uint8_t *p;
	uint64_t address;
	int nr = -1;

	while (before && (nr = count_to_rip(d, a, before)) <= 0)
		before--;
	p = a->at - before;
	address = a->code->rip - before;
	while (nr-- > 0 && decoder_next(d, &p, &before, &address))
		if (nr < SHOW_BEFORE)
			decoder_print(d, false);
}

/* False: there is no instruction at RIP. */
static bool print_after(struct decoder *d, const struct around *a)
{
	uint64_t address = a->code->rip;
	size_t left = a->code->after;
	const uint8_t *p = a->at;
	int nr = 0;

	while (nr <= SHOW_AFTER && decoder_next(d, &p, &left, &address))
		decoder_print(d, !nr++);
	return nr > 0;
}

static void print_around(struct decoder *d, void *ctx)
{
	const struct around *a = ctx;
	const struct code *code = a->code;
	bool ready = decoder_prepare(d, code->bits);

	fprintf(d->f, "code, %u-bit, CPL %u", code->bits, code->cpl);
	if (code->cpu)
		fprintf(d->f, ", vCPU %u", code->cpu);
	fputs(":\n", d->f);
	if (!code->after) {
		fprintf(d->f, "  => %016" PRIx64 "  (no memory there)\n", code->rip);
		return;
	}
	if (ready)
		print_before(d, a);
	if (ready && print_after(d, a))
		return;
	decoder_print_bytes(d, true, code->rip, a->at, code->after < 15 ? code->after : 15,
			    ready ? "(no valid instruction)" : "");
}

static bool is_sound(const struct code *code)
{
	return (code->bits == 16 || code->bits == 32 || code->bits == 64) && code->cpl <= 3 &&
	       code->before <= CODE_BEFORE && code->before <= code->rip &&
	       code->after <= CODE_AFTER;
}

void listing_print(FILE *f, const struct code *code)
{
	struct around a = { code, code->byte + CODE_BEFORE };

	if (is_sound(code))
		decoder_run(f, print_around, &a);
}

/* ---- a run of code ---- */

/* The name of what a jump or a call goes to: an operand that is an address and nothing else. */
static const char *target_name(const struct listing_run *run, const cs_insn *insn)
{
	uint64_t target;
	int end = 0;

	if (insn->mnemonic[0] != 'j' && strncmp(insn->mnemonic, "call", 4))
		return NULL;
	if (sscanf(insn->op_str, "0x%" SCNx64 "%n", &target, &end) != 1 || insn->op_str[end])
		return NULL;
	return run->name(run->ctx, target);
}

/* The name of an address, on a line of its own: where a symbol begins, and in the first line. */
static void print_name(const struct decoder *d, const struct listing_run *run, uint64_t address)
{
	const char *name = run->name(run->ctx, address);

	if (name && (address == run->start || !strchr(name, '+')))
		fprintf(d->f, "%s:\n", name);
}

static void print_run(struct decoder *d, void *ctx)
{
	const struct listing_run *run = ctx;
	bool ready = decoder_prepare(d, run->bits);
	uint64_t address = run->start;
	const uint8_t *p = run->byte;
	size_t left = run->bytes;

	for (unsigned int i = 0; i < run->count && left; i++) {
		bool mark = address == run->rip;

		print_name(d, run, address);
		if (ready && decoder_next(d, &p, &left, &address)) {
			d->note = target_name(run, d->insn);
			decoder_print(d, mark);
			continue;
		}
		if (run->ends && left < 15 && ready)
			break; /* the rest of an instruction is where no memory is */
		decoder_print_bytes(d, mark, address, p, 1, ready ? "(no valid instruction)" : "");
		address++;
		p++;
		left--;
	}
	if (run->ends && left < 15)
		fprintf(d->f, "     %016" PRIx64 "  (no memory there)\n", run->start + run->bytes);
}

void listing_print_run(FILE *f, const struct listing_run *run)
{
	decoder_run(f, print_run, (void *)run);
}
