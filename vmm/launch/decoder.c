/* SPDX-License-Identifier: MIT */
#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "decoder.h"
#include "launch_impl.h"
#include "new_insn.h"
#include "vmm/vm/sandbox.h"

#define CPU_SECONDS 2

#define TEXT_OF(x) #x
#define LIBRARY(x) "libcapstone.so." TEXT_OF(x)

static void load(struct decoder *d)
{
	void *library = dlopen(LIBRARY(CS_API_MAJOR), RTLD_NOW | RTLD_LOCAL);

	if (!library)
		return;
	d->open = (__typeof__(d->open))dlsym(library, "cs_open");
	d->malloc = (__typeof__(d->malloc))dlsym(library, "cs_malloc");
	d->next = (__typeof__(d->next))dlsym(library, "cs_disasm_iter");
}

bool decoder_prepare(struct decoder *d, unsigned int bits)
{
	cs_mode mode = bits == 64 ? CS_MODE_64 : bits == 32 ? CS_MODE_32 : CS_MODE_16;

	if (!d->open || !d->malloc || !d->next || d->open(CS_ARCH_X86, mode, &d->cs) != CS_ERR_OK)
		return false;
	d->insn = d->malloc(d->cs);
	d->bits = bits;
	return d->insn != NULL;
}

bool decoder_next(struct decoder *d, const uint8_t **p, size_t *left, uint64_t *address)
{
	struct new_insn n;

	if (!new_insn(*p, *left, d->bits == 64, &n))
		return d->next(d->cs, p, left, address, d->insn);
	d->insn->address = *address;
	d->insn->size = (uint16_t)n.bytes;
	memcpy(d->insn->bytes, *p, n.bytes);
	snprintf(d->insn->mnemonic, sizeof(d->insn->mnemonic), "%s", n.name);
	snprintf(d->insn->op_str, sizeof(d->insn->op_str), "%s", n.operand);
	*p += n.bytes;
	*left -= n.bytes;
	*address += n.bytes;
	return true;
}

void decoder_print_bytes(const struct decoder *d, bool mark, uint64_t address, const uint8_t *byte,
			 size_t nr, const char *what)
{
	char text[3 * 16 + 1] = "";

	for (size_t i = 0; i < nr && i < 16; i++)
		snprintf(text + 3 * i, 4, "%02x ", byte[i]);
	fprintf(d->f, "%s%016" PRIx64 "  %-30s %s\n", mark ? "  => " : "     ", address, text,
		what);
}

void decoder_print(const struct decoder *d, bool mark)
{
	const cs_insn *insn = d->insn;
	char what[sizeof(insn->mnemonic) + sizeof(insn->op_str) + 200];

	snprintf(what, sizeof(what), "%s %s%s%.190s%s", insn->mnemonic, insn->op_str,
		 d->note ? " <" : "", d->note ? d->note : "", d->note ? ">" : "");
	decoder_print_bytes(d, mark, insn->address, insn->bytes, insn->size, what);
}

static _Noreturn void be_decoder(struct decoder *d, void (*print)(struct decoder *d, void *ctx),
				 void *ctx)
{
	static char buffer[65536];
	const struct rlimit cpu = { CPU_SECONDS, CPU_SECONDS };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	launch_close_all_but(-1);
	load(d);
	setvbuf(d->f, buffer, _IOFBF, sizeof(buffer));
	setrlimit(RLIMIT_CPU, &cpu);
	sandbox_helper(SANDBOX_CODE, 0);
	print(d, ctx);
	_exit(fflush(d->f) != 0);
}

void decoder_run(FILE *f, void (*print)(struct decoder *d, void *ctx), void *ctx)
{
	struct decoder d = { .f = f };
	int status = 0;
	pid_t pid;

	fflush(f);
	pid = fork();
	if (!pid)
		be_decoder(&d, print, ctx);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (pid < 0 || status)
		print(&d, ctx);
}
