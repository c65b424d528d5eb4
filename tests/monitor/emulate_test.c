/* SPDX-License-Identifier: MIT */
/*
 * Each row of the table against the processor: the same instruction, with the same random registers
 * and memory, by emulate() and by the processor at CPL 3, where this test runs.  And what cannot be
 * had there: exceptions, and code of 32 bits.
 */
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "tests/tap.h"
#include "vmm/monitor/emulate.h"
#include "vmm/monitor/registers.h"

#define ALL (EMULATE_CX16 | EMULATE_POPCNT | EMULATE_SMAP | EMULATE_SSE2)

#define FLAGS 0x8d5u /* OF SF ZF AF PF CF */
#define NR    400    /* tries of each form */
#define AREA  4096u

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 };

/* What the processor starts and ends with.  run_native knows the offsets. */
static struct {
	uint64_t gpr[16]; /* RSP is not loaded */
	uint64_t flags;
	uint64_t pad;
	uint8_t fx[512] __attribute__((aligned(16)));
} cpu;

static uint8_t *area; /* the operands */
static uint8_t *code; /* the instruction */
static uint64_t fs_base;
static uint64_t seed;

/* ---- the processor ---- */

void run_native(void *state, void *code);

/* Loads all registers, jumps to the code, which jumps back to what R15 was pushed for. */
__asm__(".text\n"
	"run_native:\n"
	"push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"push %rdi\n"
	"mov %rsi, target(%rip)\n"
	"fxrstor64 144(%rdi)\n"
	"push 128(%rdi); popf\n"
	"mov 0(%rdi), %rax; mov 8(%rdi), %rcx; mov 16(%rdi), %rdx; mov 24(%rdi), %rbx\n"
	"mov 40(%rdi), %rbp; mov 48(%rdi), %rsi\n"
	"mov 64(%rdi), %r8; mov 72(%rdi), %r9; mov 80(%rdi), %r10; mov 88(%rdi), %r11\n"
	"mov 96(%rdi), %r12; mov 104(%rdi), %r13; mov 112(%rdi), %r14; mov 120(%rdi), %r15\n"
	"mov 56(%rdi), %rdi\n"
	"call *target(%rip)\n"
	"push %rdi; mov 8(%rsp), %rdi\n"
	"mov %rax, 0(%rdi); mov %rcx, 8(%rdi); mov %rdx, 16(%rdi); mov %rbx, 24(%rdi)\n"
	"mov %rbp, 40(%rdi); mov %rsi, 48(%rdi)\n"
	"mov %r8, 64(%rdi); mov %r9, 72(%rdi); mov %r10, 80(%rdi); mov %r11, 88(%rdi)\n"
	"mov %r12, 96(%rdi); mov %r13, 104(%rdi); mov %r14, 112(%rdi); mov %r15, 120(%rdi)\n"
	"pop %rax; mov %rax, 56(%rdi)\n"
	"pushf; pop 128(%rdi)\n"
	"fxsave64 144(%rdi)\n"
	"pop %rdi\n"
	"pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"ret\n"
	".bss\n"
	".balign 8\n"
	"target: .skip 8\n"
	".text\n");

/* ---- memory, as it is ---- */

static enum emulate_result read_memory(struct emulation *e, gva_t gva, void *buf, size_t len)
{
	(void)e;
	memcpy(buf, (void *)gva, len);
	return EMULATE_DONE;
}

static enum emulate_result write_memory(struct emulation *e, gva_t gva, const void *buf, size_t len)
{
	(void)e;
	memcpy((void *)gva, buf, len);
	return EMULATE_DONE;
}

static enum emulate_result exchange_memory(struct emulation *e, gva_t gva, uint64_t old[2],
					   const uint64_t new[2])
{
	uint64_t was[2];

	(void)e;
	memcpy(was, (void *)gva, sizeof(was));
	if (!memcmp(was, old, sizeof(was)))
		memcpy((void *)gva, new, sizeof(was));
	memcpy(old, was, sizeof(was));
	return EMULATE_DONE;
}

static enum emulate_result load_fpu(struct emulation *e)
{
	(void)e;
	return EMULATE_DONE;
}

static const struct emulate_memory memory = { read_memory, write_memory, exchange_memory, load_fpu,
					      NULL };

/* ---- one try ---- */

/* Opcode bytes of a form, and its ModRM. */
struct form {
	const char *name;
	uint8_t prefix, opcode;
	bool wide, locked;
	uint8_t extension; /* 8: ModRM.reg is a register; else reg */
	bool memory, registers;
	bool aligned; /* to 16 bytes */
};

static const struct form forms[] = {
	{ "popcnt", 0xf3, 0xb8, false, false, 8, true, true, false },
	{ "popcnt", 0xf3, 0xb8, true, false, 8, true, true, false },
	{ "cmpxchg16b", 0, 0xc7, true, false, 1, true, false, true },
	{ "cmpxchg16b", 0, 0xc7, true, true, 1, true, false, true },
	{ "movss", 0xf3, 0x10, false, false, 8, true, true, false },
	{ "movss", 0xf3, 0x11, false, false, 8, true, true, false },
	{ "movsd", 0xf2, 0x10, false, false, 8, true, true, false },
	{ "movsd", 0xf2, 0x11, false, false, 8, true, true, false },
	{ "movlps", 0, 0x12, false, false, 8, true, true, false },
	{ "movlps", 0, 0x13, false, false, 8, true, false, false },
	{ "movhps", 0, 0x16, false, false, 8, true, true, false },
	{ "movhps", 0, 0x17, false, false, 8, true, false, false },
	{ "movlpd", 0x66, 0x12, false, false, 8, true, false, false },
	{ "movlpd", 0x66, 0x13, false, false, 8, true, false, false },
	{ "movhpd", 0x66, 0x16, false, false, 8, true, false, false },
	{ "movhpd", 0x66, 0x17, false, false, 8, true, false, false },
	{ "movd", 0x66, 0x6e, false, false, 8, true, true, false },
	{ "movd", 0x66, 0x7e, false, false, 8, true, true, false },
	{ "movd", 0x66, 0x6e, true, false, 8, true, true, false },
	{ "movd", 0x66, 0x7e, true, false, 8, true, true, false },
	{ "movq", 0xf3, 0x7e, false, false, 8, true, true, false },
	{ "movq_store", 0x66, 0xd6, false, false, 8, true, true, false },
	{ "xorps", 0, 0x57, false, false, 8, true, true, true },
	{ "xorpd", 0x66, 0x57, false, false, 8, true, true, true },
	{ "pxor", 0x66, 0xef, false, false, 8, true, true, true },
};

static uint64_t random_of(uint64_t n)
{
	return tap_random(&seed) % n;
}

static unsigned int put32(unsigned int at, uint64_t value)
{
	uint32_t low = (uint32_t)value;

	memcpy(code + at, &low, sizeof(low));
	return at + 4;
}

/* A general register other than RSP. */
static unsigned int some_register(void)
{
	unsigned int n = (unsigned int)random_of(16);

	return n == RSP ? RAX : n;
}

/* Write the instruction to code, and set registers so that its operand is where it should be. */
static unsigned int assemble(const struct form *f)
{
	uint64_t operand = (uint64_t)area + random_of(AREA - 32);
	unsigned int at = 0, reg = f->extension == 8 ? some_register() : f->extension;
	unsigned int rm = some_register(), index = some_register(),
		     mod = (unsigned int)random_of(3);
	unsigned int scale = (unsigned int)random_of(4);
	bool in_register = f->registers && random_of(4) == 0;
	/* 0: base; 1: base and index; 2: RIP; 3: no base, below 4 GiB; and FS with each of them */
	unsigned int kind = (unsigned int)random_of(4);
	bool fs = kind < 2 && random_of(4) == 0;
	int64_t disp = mod == 0 ? 0 :
		       mod == 1 ? (int8_t)random_of(256) :
				  (int32_t)random_of(1 << 20);
	uint8_t rex;

	if (f->aligned)
		operand &= ~15ULL;
	if (f->extension == 1) /* RAX to RBX are operands */
		rm = R8 + (rm & 3), index = R8 + 4 + (index & 3);
	if (rm == index)
		index = rm == R8 ? R8 + 1 : R8;
	if ((kind < 2 || in_register) && (rm & 7) == 5 && mod == 0)
		mod = 1, disp = 0;
	rex = (uint8_t)(0x40 | (f->wide ? 8 : 0) | (reg & 8 ? 4 : 0));
	if (in_register || kind < 2)
		rex |= rm & 8 ? 1 : 0;
	if (!in_register && kind == 1)
		rex |= index & 8 ? 2 : 0;
	if (fs && !in_register)
		code[at++] = 0x64;
	else if (random_of(8) == 0)
		code[at++] = 0x3e; /* DS: means nothing */
	if (f->locked)
		code[at++] = 0xf0;
	if (f->prefix == 0xf3 && f->opcode == 0xb8 && random_of(3) == 0)
		code[at++] = 0x66; /* popcnt of 16 bits */
	if (f->prefix)
		code[at++] = f->prefix;
	if (rex != 0x40 || random_of(2))
		code[at++] = rex;
	code[at++] = 0x0f;
	code[at++] = f->opcode;
	if (in_register) {
		code[at++] = (uint8_t)(0xc0 | (reg & 7) << 3 | (rm & 7));
	} else if (kind == 0 && (rm & 7) != 4) {
		code[at++] = (uint8_t)(mod << 6 | (reg & 7) << 3 | (rm & 7));
		cpu.gpr[rm] = operand - (uint64_t)disp - (fs ? fs_base : 0);
	} else if (kind <= 1) {
		bool with_index = kind == 1;

		code[at++] = (uint8_t)(mod << 6 | (reg & 7) << 3 | 4);
		code[at++] = (uint8_t)(scale << 6 | (with_index ? index & 7 : 4) << 3 | (rm & 7));
		cpu.gpr[index] = random_of(1 << 20);
		cpu.gpr[rm] = operand - (uint64_t)disp - (fs ? fs_base : 0) -
			      (with_index ? cpu.gpr[index] << scale : 0);
	} else if (kind == 2) {
		code[at++] = (uint8_t)((reg & 7) << 3 | 5);
		return put32(at, operand - (uint64_t)(code + at + 4));
	} else {
		code[at++] = (uint8_t)((reg & 7) << 3 | 4);
		code[at++] = 0x25;
		return put32(at, operand);
	}
	if (!in_register && mod == 1)
		code[at++] = (uint8_t)disp;
	else if (!in_register && mod == 2)
		at = put32(at, (uint64_t)disp);
	return at;
}

static void randomize(const struct form *f)
{
	for (unsigned int i = 0; i < AREA / 8; i++)
		((uint64_t *)area)[i] = random_of(4) ? tap_random(&seed) : 0;
	for (unsigned int i = 0; i < 16; i++)
		cpu.gpr[i] = random_of(8) ? tap_random(&seed) : 0;
	for (unsigned int i = 160; i < 416; i++)
		cpu.fx[i] = (uint8_t)tap_random(&seed);
	cpu.flags = (tap_random(&seed) & FLAGS) | 2;
	if (f->extension == 1 && random_of(2)) /* every other comparison succeeds */
		for (unsigned int i = 0; i < AREA / 16; i++) {
			((uint64_t *)area)[2 * i] = cpu.gpr[RAX];
			((uint64_t *)area)[2 * i + 1] = cpu.gpr[RDX];
		}
}

static struct emulation emulation_of(unsigned int bytes)
{
	struct emulation e = {
		.memory = &memory,
		.bits = 64,
		.cpl = 0,
		.features = ALL,
		.nr_bytes = bytes,
		.sregs = { .cr0 = CR0_MP | CR0_NE, .cr4 = CR4_OSFXSR, .fs.base = fs_base },
	};
	const uint64_t *g = cpu.gpr;

	memcpy(e.byte, code, bytes);
	memcpy(e.fpu.xmm, cpu.fx + 160, sizeof(e.fpu.xmm));
	e.regs = (struct kvm_regs){
		.rax = g[0],
		.rcx = g[1],
		.rdx = g[2],
		.rbx = g[3],
		.rsp = g[4],
		.rbp = g[5],
		.rsi = g[6],
		.rdi = g[7],
		.r8 = g[8],
		.r9 = g[9],
		.r10 = g[10],
		.r11 = g[11],
		.r12 = g[12],
		.r13 = g[13],
		.r14 = g[14],
		.r15 = g[15],
		.rip = (uint64_t)code,
		.rflags = cpu.flags,
	};
	return e;
}

static bool same(const struct emulation *e, unsigned int bytes)
{
	const struct kvm_regs *r = &e->regs;
	const uint64_t g[16] = { r->rax, r->rcx, r->rdx, r->rbx, r->rsp, r->rbp, r->rsi, r->rdi,
				 r->r8,	 r->r9,	 r->r10, r->r11, r->r12, r->r13, r->r14, r->r15 };

	return !memcmp(g, cpu.gpr, sizeof(g)) && (r->rflags & FLAGS) == (cpu.flags & FLAGS) &&
	       !memcmp(e->fpu.xmm, cpu.fx + 160, sizeof(e->fpu.xmm)) &&
	       r->rip == (uint64_t)code + bytes;
}

/* The same twice: emulated, and by the processor. */
static bool agree(const struct form *f)
{
	static uint8_t before[AREA], after[AREA];
	struct emulation e;
	unsigned int bytes;
	bool good;

	randomize(f);
	bytes = assemble(f);
	code[bytes] = 0xc3;
	e = emulation_of(bytes);
	memcpy(before, area, AREA);
	if (emulate(&e) != EMULATE_DONE || strcmp(emulate_name(e.row), f->name))
		return false;
	memcpy(after, area, AREA);
	memcpy(area, before, AREA);
	run_native(&cpu, code);
	good = same(&e, bytes) && !memcmp(area, after, AREA);
	if (!good)
		tap_note("%s, after %u bytes: %02x %02x %02x %02x %02x %02x %02x", f->name, bytes,
			 code[0], code[1], code[2], code[3], code[4], code[5], code[6]);
	return good;
}

static void test_against_processor(void)
{
	for (unsigned int i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		unsigned int good = 0;

		while (good < NR && agree(&forms[i]))
			good++;
		is(good, NR, "%s %02x%s%s: emulation and processor agree", forms[i].name,
		   forms[i].opcode, forms[i].wide ? ", REX.W" : "",
		   forms[i].locked ? ", LOCK" : "");
	}
}

/* ---- what CPL 3 cannot have ---- */

static struct emulation of_bytes(const char *bytes, unsigned int nr)
{
	memcpy(code, bytes, nr);
	memset(&cpu, 0, sizeof(cpu));
	return emulation_of(nr);
}
#define OF(bytes) of_bytes(bytes, sizeof(bytes) - 1)

static void faults(struct emulation e, unsigned int vector, const char *what)
{
	struct kvm_regs before = e.regs;

	ok(emulate(&e) == EMULATE_FAULT && e.event.vector == vector &&
		   !memcmp(&before, &e.regs, sizeof(before)),
	   "%s: exception %u, and nothing has changed", what, vector);
}

#define STAC "\x0f\x01\xcb"
#define CLAC "\x0f\x01\xca"
#define PXOR "\x66\x0f\xef\xc9"
#define CX16 "\x48\x0f\xc7\x0f" /* at RDI */

static void test_supervisor(void)
{
	struct emulation e = OF(STAC);

	ok(emulate(&e) == EMULATE_DONE && (e.regs.rflags & 1 << 18), "stac sets AC");
	e = OF(CLAC);
	e.regs.rflags |= 1 << 18 | 1 << 16;
	ok(emulate(&e) == EMULATE_DONE && !(e.regs.rflags & (1 << 18 | 1 << 16)),
	   "clac clears it, and each instruction RF");
	e = OF("\xcc");
	ok(emulate(&e) == EMULATE_TRAP && e.event.vector == 3 && e.regs.rip == (uint64_t)code + 1,
	   "int3 is a trap");
	e = OF("\xcc");
	e.cpl = 3;
	ok(emulate(&e) == EMULATE_UNKNOWN, "... whose gate nobody has looked at, at CPL 3");
	e = OF("\x9b");
	ok(emulate(&e) == EMULATE_DONE && e.regs.rip == (uint64_t)code + 1, "fwait");
}

static void test_exceptions(void)
{
	struct emulation e = OF(STAC);

	e.cpl = 3;
	faults(e, 6, "stac at CPL 3");
	e = OF(STAC);
	e.features &= ~EMULATE_SMAP;
	faults(e, 6, "stac without SMAP");
	faults(OF("\xf0" STAC), 6, "stac with LOCK");
	e = OF("\xf3\x0f\xb8\xc9");
	e.features &= ~EMULATE_POPCNT;
	faults(e, 6, "popcnt that CPUID does not offer");
	e = OF(CX16);
	e.features &= ~EMULATE_CX16;
	faults(e, 6, "cmpxchg16b that CPUID does not offer");
	e = OF(CX16);
	e.regs.rdi = (uint64_t)area + 8;
	faults(e, 13, "cmpxchg16b misaligned");
	e = OF("\x66\x0f\xef\x0f");
	e.regs.rdi = (uint64_t)area + 8;
	faults(e, 13, "pxor misaligned");
	e = OF(PXOR);
	e.sregs.cr0 |= CR0_TS;
	faults(e, 7, "pxor with CR0.TS");
	e = OF(PXOR);
	e.sregs.cr4 = 0;
	faults(e, 6, "pxor without CR4.OSFXSR");
	faults(OF("\x66\x0f\x12\xc9"), 6, "movlpd between registers");
	e = OF("\x9b");
	e.sregs.cr0 |= CR0_TS;
	faults(e, 7, "fwait with CR0.TS and MP");
	e = OF("\x9b");
	e.fpu.fsw = 0x80;
	faults(e, 16, "fwait with an exception of the x87");
	e = OF("\xf3\x0f\x10");
	e.beyond = EMULATE_FAULT;
	e.beyond_event = (struct emulate_event){ .vector = 14, .has_error = true };
	faults(e, 14, "an instruction of which a part cannot be fetched");
	faults(OF("\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x66\x0f\xef\x0c\x25"), 13,
	       "an instruction of more than 15 bytes");
}

static void test_unknown(void)
{
	struct emulation e;
	static const char *const bytes[] = { "\x0f\x0b\x90", "\x0f\x01\xd0", "\x0f\xc7\x0f",
					     "\xf2\x0f\xb8\xc9", "\x0f\xef\xc9" };

	for (unsigned int i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) {
		e = of_bytes(bytes[i], 3 + (i == 3));
		ok(emulate(&e) == EMULATE_UNKNOWN && e.row == EMULATE_NR_ROWS,
		   "%02x %02x %02x is not in the table", code[0], code[1], code[2]);
	}
	e = OF(PXOR);
	e.bits = 16;
	is(emulate(&e), EMULATE_UNKNOWN, "nor is code of 16 bits");
}

/* movss [ebp + 4], in a segment that ends below it or does not. */
static struct emulation of_32(uint32_t limit)
{
	struct emulation e = OF("\xf3\x0f\x10\x4d\x04");

	e.bits = 32;
	e.regs.rip = 0xfffffffe;
	e.regs.rbp = 0x20;
	e.sregs.ss = (struct kvm_segment){
		.base = (uint32_t)(uintptr_t)area, .limit = limit, .type = 3, .present = 1, .db = 1
	};
	((uint32_t *)area)[9] = 0x12345678;
	return e;
}

static void test_32_bits(void)
{
	struct emulation e = of_32(0x27);

	ok(emulate(&e) == EMULATE_DONE && e.fpu.xmm[1][0] == 0x12345678 && e.regs.rip == 3,
	   "32 bits: the base of the segment counts, and RIP wraps");
	faults(of_32(0x26), 12, "beyond the stack segment's limit");
	e = of_32(0x27);
	e.byte[2] = 0x11;
	e.sregs.ss.type = 1;
	faults(e, 12, "a write to a read-only one");
}

/* Code is fetched a page at a time, up to the first that is not there. */
static struct {
	gva_t gva[4];
	size_t len[4];
	unsigned int nr, most;
} fetches;

static enum emulate_result fetch_memory(struct emulation *e, gva_t gva, void *buf, size_t len)
{
	(void)e;
	if (fetches.nr == fetches.most)
		return EMULATE_FAULT;
	fetches.gva[fetches.nr] = gva;
	fetches.len[fetches.nr++] = len;
	memset(buf, (int)fetches.nr, len);
	return EMULATE_DONE;
}

static struct emulation fetched(uint64_t rip, unsigned int most)
{
	static const struct emulate_memory code_memory = { .fetch = fetch_memory };
	struct emulation e = { .memory = &code_memory, .regs.rip = rip };

	e.sregs.cr0 = 1;
	e.sregs.efer = EFER_LMA;
	e.sregs.cs.l = 1;
	fetches.nr = 0;
	fetches.most = most;
	emulate_fetch(&e);
	return e;
}

static void test_fetch(void)
{
	struct emulation e = fetched(0x5000, 4);

	ok(fetches.nr == 1 && fetches.gva[0] == 0x5000 && e.nr_bytes == 15 && !e.beyond,
	   "15 bytes are fetched");
	e = fetched(0x5ffd, 4);
	ok(fetches.nr == 2 && fetches.len[0] == 3 && fetches.gva[1] == 0x6000 &&
		   fetches.len[1] == 12,
	   "... from two pages");
	ok(e.byte[2] == 1 && e.byte[3] == 2 && e.nr_bytes == 15, "... one behind the other");
	e = fetched(0x5ffd, 1);
	ok(e.nr_bytes == 3 && e.beyond == EMULATE_FAULT, "... or what the first one has");
}

static void test_modes(void)
{
	struct kvm_sregs s = { .cr0 = 1, .cs = { .selector = 0x1b, .db = 1 } };
	struct kvm_regs r = { .rip = 0xfffffff8 };

	is(emulate_cpl(&s), 3, "the CPL is that of CS");
	is(emulate_bits(&s), 32, "32 bits");
	s.cs.base = 0x10;
	is_hex(emulate_rip(&r, &s), 8, "RIP with a base wraps there");
	s.cs.l = 1;
	is(emulate_bits(&s), 32, "CS.L means nothing in legacy mode");
	s.efer = EFER_LMA;
	is(emulate_bits(&s), 64, "64 bits");
	is_hex(emulate_rip(&r, &s), 0xfffffff8, "... where CS has no base");
	s.cs.l = s.cs.db = 0;
	is(emulate_bits(&s), 16, "16 bits");
	s = (struct kvm_sregs){ .cs = { .selector = 0x1b, .db = 1 } };
	is(emulate_cpl(&s), 0, "real mode has CPL 0");
	is(emulate_bits(&s), 16, "... and 16 bits");
}

int main(int argc, char **argv)
{
	tap_init();
	seed = tap_seed(argc, argv);
	area = mmap(NULL, 2 * AREA, PROT_READ | PROT_WRITE | PROT_EXEC,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (area == MAP_FAILED)
		tap_bail("no memory");
	code = area + AREA;
	syscall(SYS_arch_prctl, 0x1003 /* ARCH_GET_FS */, &fs_base);
	__asm__ volatile("fxsave64 %0" : "=m"(cpu.fx));
	test_against_processor();
	test_supervisor();
	test_exceptions();
	test_unknown();
	test_32_bits();
	test_fetch();
	test_modes();
	return tap_done();
}
