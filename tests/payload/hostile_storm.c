/* SPDX-License-Identifier: MIT */
/*
 * Random code, step by step.  It is over at an exception, after so many steps, or before an
 * instruction whose result may be another elsewhere, or that could end the guest.
 */
#include "hostile.h"

#define MOST_STEPS 12
#define CODE_BYTES 24
#define WORDS	   64 /* of data and of stack, that each piece begins with */
#define GENERAL	   15 /* registers, the first of struct cpu */
#define GROUP	   16 /* pieces of code in a line */

static unsigned int steps, level;
static uint64_t hash;

static void mix(uint64_t value)
{
	hash = (hash ^ value) * 0x9e3779b97f4a7c15;
	hash ^= hash >> 29;
}

static int is_prefix(uint8_t byte)
{
	return byte == 0x66 || byte == 0x67 || byte == 0xf0 || byte == 0xf2 || byte == 0xf3 ||
	       byte == 0x2e || byte == 0x36 || byte == 0x3e || byte == 0x26 || byte == 0x64 ||
	       byte == 0x65 || (byte & 0xf0) == 0x40;
}

/* Opcodes after 0f: what shows the host's processor, its time, or its descriptors. */
static int is_odd(uint8_t opcode, uint8_t modrm)
{
	switch (opcode) {
	case 0x00: case 0x02: case 0x03: /* sldt ... verw, lar, lsl */
	case 0x05: case 0x07: case 0x31: case 0x33: case 0x34: case 0x35: case 0xa0: case 0xa2:
	case 0xa8:
	case 0x0b: case 0xb9: case 0xff: /* #UD, whose length is seen */
	case 0x37: case 0xc7: case 0x38: case 0x3a: case 0xae: case 0x0d: case 0x18: case 0x1a:
	case 0x1b: case 0x1e:
	case 0xb2: case 0xb4: case 0xb5: case 0x0f: case 0x0e:
		return 1;
	case 0x01: return (modrm >> 6) == 3 || (modrm & 0x20) == 0 || level == 0;
	case 0x06: case 0x20: case 0x21: case 0x22: case 0x23: case 0x30: case 0x32:
		return level == 0;
	}
	return 0;
}

/* Is what is at RIP not to be executed? */
static int is_refused(const uint8_t *code)
{
	while (is_prefix(*code))
		code++;
	switch (*code) {
	case 0x0f: return is_odd(code[1], code[2]);
	case 0x8c: case 0x8e: case 0x9c: case 0x9d: case 0xcf: /* selectors, flags */
	case 0xc4: case 0xc5: case 0x62: case 0x8f: /* AVX, XOP */
	case 0x9b: case 0xd8: case 0xd9: case 0xda: case 0xdb: case 0xdc: case 0xdd: case 0xde:
	case 0xdf: /* the FPU keeps state */
		return 1;
	case 0xff: return (code[1] & 0x38) == 0x18 || (code[1] & 0x38) == 0x28;
	case 0xcc: case 0xcd: /* not every host knows them as they are */
		return 1;
	case 0xcb: case 0xca: case 0xf4: case 0x6c: case 0x6d: case 0x6e: case 0x6f: case 0xe4:
	case 0xe5: case 0xe6: case 0xe7: case 0xec: case 0xed: case 0xee: case 0xef:
		return level == 0;
	}
	return 0;
}

static int step(struct cpu *cpu)
{
	if (++steps > MOST_STEPS || cpu->rip < CODE || cpu->rip >= CODE + 2 * CODE_BYTES)
		return 0;
	cpu->rflags |= 0x100;
	return !is_refused((const uint8_t *)cpu->rip);
}

static uint64_t some_value(void)
{
	uint64_t r = random_next();

	switch (r >> 60) {
	case 0: case 1: case 2: case 3: case 4: return DATA + (r & 0x1f8);
	case 5: return STACK + (r & 0x1f8);
	case 6: return ABSENT - 4 + (r & 7);
	case 7: return r & 0xff;
	case 8: return FAR + (r & 0xffff);
	case 9: return 0x7ffffffffff0 + (r & 15);
	case 10: return -(r & 0xff);
	case 11: return CODE + (r & 0xfff);
	}
	return random_next();
}

/* Now and then the beginning of what a user may not do. */
static void make_code(uint8_t *code)
{
	static const uint8_t special[][3] = {
		{ 0xfa }, { 0xfb }, { 0x0f, 0x08 }, { 0x0f, 0x09 }, { 0xcc },
		{ 0xf1 }, { 0xf0, 0xfa }, { 0x0f, 0x01, 0x3b },
		{ 0x0f, 0x20, 0xc0 }, { 0xf4 }, { 0x0f, 0x32 }, { 0xe6, 0x44 }, { 0x0f, 0x06 },
		{ 0x48, 0x8b, 0x03 }, { 0x48, 0x89, 0x13 }, { 0x48, 0xa5 }, { 0xf3, 0xa4 },
		{ 0x48, 0xff, 0xc0 }, { 0x50 }, { 0x59 }, { 0xff, 0xd0 }, { 0xc3 }, { 0xc9 },
	};
	const uint8_t *s = special[random_next() % NR(special)];
	unsigned int at = random_next() % 8;

	for (unsigned int i = 0; i < CODE_BYTES; i++)
		code[i] = (uint8_t)(random_next() >> 32);
	for (unsigned int i = CODE_BYTES; i < 2 * CODE_BYTES; i++)
		code[i] = 0xcc;
	for (unsigned int i = 0; i < 3 && s[i]; i++)
		code[at + i] = s[i];
}

static void piece(void)
{
	uint64_t *data = (uint64_t *)DATA, *stack = (uint64_t *)STACK;
	struct cpu cpu;

	for (unsigned int i = 0; i < WORDS; i++)
		data[i] = stack[i] = i % 8 ? i : DATA + 16 * i;
	make_code((uint8_t *)CODE);
	begin(&cpu, level);
	for (unsigned int i = 0; i < GENERAL; i++)
		((uint64_t *)&cpu)[i] = some_value();
	cpu.rsp = random_next() % 8 ? STACK + 8 * (WORDS / 2) : some_value();
	cpu.rflags = 0x102 | (random_next() & 0xcd5);
	steps = 0;
	if (is_refused((const uint8_t *)CODE))
		return;
	on_step = step;
	run(&cpu);
	on_step = NULL;
	seen.rflags &= 0xfff;
	for (unsigned int i = 0; i < sizeof(seen) / 8; i++)
		mix(((uint64_t *)&seen)[i]);
	mix(seen.vector == PF ? seen_cr2 : 0);
	mix(steps);
	for (unsigned int i = 0; i < WORDS; i++)
		mix(data[i] + 3 * stack[i]);
}

static uint64_t number(const char **words)
{
	uint64_t n = 0;

	while (**words == ' ')
		++*words;
	while (**words >= '0' && **words <= '9')
		n = n * 10 + (uint64_t)(*(*words)++ - '0');
	return n;
}

void storm(const char *words)
{
	uint64_t seed, count, first;

	level = (unsigned int)number(&words);
	seed = number(&words);
	count = number(&words);
	first = number(&words);
	for (uint64_t i = first; i < count; i++) {
		random_seed(seed * 1000003 + i);
		piece();
		if (i % GROUP < GROUP - 1 && !first)
			continue;
		print("up to");
		print_hex(i);
		print(" hash");
		print_hex(hash);
		if (first) {
			print(", code");
			print_hex(__builtin_bswap64(*(uint64_t *)CODE));
			print_hex(__builtin_bswap64(*(uint64_t *)(CODE + 8)));
		}
		print(", the last is");
		print_seen();
		hash = 0;
	}
}
