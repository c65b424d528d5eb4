/* SPDX-License-Identifier: MIT */
/*
 * Disassembly around RIP.  x86 instructions cannot be read backwards, so the listing tries where to
 * begin: at the earliest of the bytes before RIP from which decoding arrives exactly at RIP.  It
 * shows the last few instructions of that.
 *
 * Where there is no Capstone, or no process to be had, the bytes are shown as they are.
 */
#include <capstone/capstone.h>
#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "launch_impl.h"
#include "listing.h"
#include "vmm/vm/sandbox.h"

#define SHOW_BEFORE 4
#define SHOW_AFTER  5
#define CPU_SECONDS 2

#define TEXT_OF(x) #x
#define LIBRARY(x) "libcapstone.so." TEXT_OF(x)

struct listing {
	const struct code *code;
	const uint8_t *at; /* the byte of rip */
	csh cs;
	cs_insn *insn;
	/* Of the library; all NULL: there is none. */
	__typeof__(cs_open) *open;
	__typeof__(cs_malloc) *malloc;
	__typeof__(cs_disasm_iter) *next;
};

static bool load(struct listing *l)
{
	void *library = dlopen(LIBRARY(CS_API_MAJOR), RTLD_NOW | RTLD_LOCAL);

	if (!library)
		return false;
	l->open = (__typeof__(l->open))dlsym(library, "cs_open");
	l->malloc = (__typeof__(l->malloc))dlsym(library, "cs_malloc");
	l->next = (__typeof__(l->next))dlsym(library, "cs_disasm_iter");
	return l->open && l->malloc && l->next;
}

static bool prepare(struct listing *l)
{
	cs_mode mode = l->code->bits == 64 ? CS_MODE_64 :
		       l->code->bits == 32 ? CS_MODE_32 :
					     CS_MODE_16;

	if (!l->next || l->open(CS_ARCH_X86, mode, &l->cs) != CS_ERR_OK)
		return false;
	l->insn = l->malloc(l->cs);
	return l->insn != NULL;
}

static void print_bytes(uint64_t address, const uint8_t *byte, size_t nr, const char *what)
{
	char text[3 * 16 + 1] = "";

	for (size_t i = 0; i < nr && i < 16; i++)
		snprintf(text + 3 * i, 4, "%02x ", byte[i]);
	fprintf(stderr, "%016" PRIx64 "  %-30s %s\n", address, text, what);
}

static void print_insn(const struct listing *l)
{
	const cs_insn *insn = l->insn;
	char what[sizeof(insn->mnemonic) + sizeof(insn->op_str) + 1];

	snprintf(what, sizeof(what), "%s %s", insn->mnemonic, insn->op_str);
	fputs(insn->address == l->code->rip ? "  => " : "     ", stderr);
	print_bytes(insn->address, insn->bytes, insn->size, what);
}

/* Decode the `before` bytes before RIP.  Returns how many instructions they are; -1: not whole. */
static int count_to_rip(const struct listing *l, size_t before)
{
	const uint8_t *p = l->at - before;
	uint64_t address = 0;
	int nr = 0;

	while (before && l->next(l->cs, &p, &before, &address, l->insn))
		nr++;
	return before ? -1 : nr;
}

/* Print the instructions before RIP that were likely executed. */
static void print_before(const struct listing *l)
{
	size_t before = l->code->before;
	const uint8_t *p;
	uint64_t address;
	int nr = -1;

	while (before && (nr = count_to_rip(l, before)) <= 0)
		before--;
	p = l->at - before;
	address = l->code->rip - before;
	while (nr-- > 0 && l->next(l->cs, &p, &before, &address, l->insn))
		if (nr < SHOW_BEFORE)
			print_insn(l);
}

/* False: there is no instruction at RIP. */
static bool print_after(const struct listing *l)
{
	uint64_t address = l->code->rip;
	size_t left = l->code->after;
	const uint8_t *p = l->at;
	int nr = 0;

	while (nr <= SHOW_AFTER && l->next(l->cs, &p, &left, &address, l->insn)) {
		print_insn(l);
		nr++;
	}
	return nr > 0;
}

static void print(struct listing *l)
{
	const struct code *code = l->code;
	bool ready = prepare(l);

	fprintf(stderr, "code, %u-bit, CPL %u:\n", code->bits, code->cpl);
	if (!code->after) {
		fprintf(stderr, "  => %016" PRIx64 "  (no memory there)\n", code->rip);
		return;
	}
	if (ready)
		print_before(l);
	if (ready && print_after(l))
		return;
	fputs("  => ", stderr);
	print_bytes(code->rip, l->at, code->after < 15 ? code->after : 15,
		    ready ? "(no valid instruction)" : "");
}

static _Noreturn void be_disassembler(struct listing *l)
{
	static char buffer[8192];
	const struct rlimit cpu = { CPU_SECONDS, CPU_SECONDS };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	launch_close_all_but(-1, -1);
	if (!load(l))
		l->next = NULL;
	setvbuf(stderr, buffer, _IOFBF, sizeof(buffer));
	setrlimit(RLIMIT_CPU, &cpu);
	sandbox_helper(SANDBOX_CODE, 0);
	print(l);
	fflush(stderr);
	_exit(0);
}

static bool is_sound(const struct code *code)
{
	return (code->bits == 16 || code->bits == 32 || code->bits == 64) && code->cpl <= 3 &&
	       code->before <= CODE_BEFORE && code->before <= code->rip &&
	       code->after <= CODE_AFTER;
}

void listing_print(const struct code *code)
{
	struct listing l = { .code = code, .at = code->byte + CODE_BEFORE };
	int status = 0;
	pid_t pid;

	if (!is_sound(code))
		return;
	pid = fork();
	if (!pid)
		be_disassembler(&l);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (pid < 0 || status)
		print(&l);
}
