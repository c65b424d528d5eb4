/* SPDX-License-Identifier: MIT */
/*
 * How long is an instruction?  The decoder of the virtual processor and Capstone take the same
 * random prefixes, operands and immediates apart, around each privileged opcode.
 */
#include <string.h>
#include "monitor_lab.h"
#include "tests/tap.h"
#include "vmm/launch/decoder.h"

#define TRIES 20000u

static struct lab lab;
static uint64_t seed;

static const char *const opcodes[] = {
	"\x0f\x20", "\x0f\x21", "\x0f\x22", "\x0f\x23", "\x0f\x30", "\x0f\x32", "\x0f\x06",
	"\x0f\x09", "\x0f\x01", "\xf4",	    "\xfa",	"\xfb",	    "\xe4",	"\xe7",
	"\xec",	    "\xef",	"\x6c",	    "\x6f",	"\xcf",	    "\xcd",	"\xcc",
	"\xea",	    "\xff",	"\x9a",	    "\xcb",	"\xca",	    "\x8e",	"\x1f",
	"\x0f\xa1", "\x0f\xb2", "\x0f\x05", "\x0f\x07",
};

static unsigned int assemble(uint8_t *code, bool wide)
{
	static const uint8_t prefixes[] = { 0x66, 0x2e, 0x64, 0x65, 0x3e, 0xf2, 0xf3 };
	const char *opcode = opcodes[tap_random(&seed) % ARRAY_SIZE(opcodes)];
	unsigned int at = 0;

	for (unsigned int i = tap_random(&seed) % 3; i; i--)
		code[at++] = prefixes[tap_random(&seed) % ARRAY_SIZE(prefixes)];
	if (wide && tap_random(&seed) % 4 == 0)
		code[at++] = 0x67;
	if (wide && tap_random(&seed) % 2)
		code[at++] = (uint8_t)(0x40 | tap_random(&seed) % 16);
	memcpy(code + at, opcode, strlen(opcode));
	for (at += (unsigned int)strlen(opcode); at < EMULATE_MAX_BYTES; at++)
		code[at] = (uint8_t)tap_random(&seed);
	return at;
}

/* The length by the virtual processor.  0: it does not know the instruction. */
static unsigned int length(const uint8_t *code, bool wide)
{
	struct emulate_event event;
	unsigned int bytes;
	bool halt;

	lab_begin(&lab, wide, 0);
	memcpy(lab.memory + LAB_CODE, code, EMULATE_MAX_BYTES);
	(void)monitor_emulate(&lab.cpu, &event, &bytes, &halt);
	return lab.cpu.row < MONITOR_NR_ROWS ? bytes : 0;
}

static void compare(struct decoder *d, void *ctx)
{
	bool wide = *(const bool *)ctx;
	unsigned int known = 0;

	if (!decoder_prepare(d, wide ? 64 : 32)) {
		fputs("none", d->f);
		return;
	}
	for (unsigned int i = 0; i < TRIES; i++) {
		uint8_t code[EMULATE_MAX_BYTES];
		const uint8_t *p = code;
		size_t left = assemble(code, wide);
		uint64_t address = 0;
		unsigned int here = length(code, wide);

		if (!here || !d->next(d->cs, &p, &left, &address, d->insn))
			continue;
		known++;
		if (here == d->insn->size)
			continue;
		fprintf(d->f, "%u bytes here, %u of %s %s: %02x %02x %02x %02x %02x\n", here,
			d->insn->size, d->insn->mnemonic, d->insn->op_str, code[0], code[1],
			code[2], code[3], code[4]);
		return;
	}
	fprintf(d->f, "%s", known > TRIES / 4 ? "" : "hardly any is known\n");
}

static void test_lengths(bool wide)
{
	FILE *f = tmpfile();
	char line[200] = "";

	if (!f)
		tap_bail("no temporary file");
	decoder_run(f, compare, &wide);
	rewind(f);
	(void)!fgets(line, sizeof(line), f);
	if (!strcmp(line, "none"))
		tap_skip("no Capstone");
	else if (!ok(!line[0], "instructions of %u bits are as long as Capstone says",
		     wide ? 64 : 32))
		tap_note("%s", line);
	fclose(f);
}

int main(int argc, char **argv)
{
	tap_init();
	seed = tap_seed(argc, argv);
	test_lengths(true);
	test_lengths(false);
	return tap_done();
}
