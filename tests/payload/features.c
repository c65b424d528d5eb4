/* SPDX-License-Identifier: MIT */
/*
 * For Linux, with what it says of its processor: features FLAG...  Does an instruction of each
 * feature and names those that fault.  Flags whose instructions are the kernel's are left out.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define RET "\xc3"

/* Operands are registers, or at RDI, or as RAX and RCX are: an address of 64 bytes, and 0. */
static const struct feature {
	const char *flag, *code;
	size_t bytes;
} features[] = {
#define ROW(flag, code) { flag, code RET, sizeof(code RET) - 1 }
	ROW("fpu", "\xd9\xe8"),
	ROW("tsc", "\x0f\x31"),
	ROW("cx8", "\x0f\xc7\x0f"),
	ROW("cmov", "\x0f\x44\xc0"),
	ROW("mmx", "\x0f\x6f\xc0"),
	ROW("mmxext", "\x0f\xea\xc0"),
	ROW("3dnow", "\x0f\x0f\xc0\x9e"),
	ROW("3dnowext", "\x0f\x0f\xc0\x0c"),
	ROW("fxsr", "\x0f\xae\x07"),
	ROW("clflush", "\x0f\xae\x3f"),
	ROW("sse", "\x0f\x58\xc0"),
	ROW("sse2", "\x66\x0f\x58\xc0"),
	ROW("pni", "\xf2\x0f\x7c\xc0"),
	ROW("ssse3", "\x66\x0f\x38\x00\xc0"),
	ROW("sse4_1", "\x66\x0f\x38\x17\xc0"),
	ROW("sse4_2", "\xf2\x0f\x38\xf0\xc0"),
	ROW("sse4a", "\x66\x0f\x79\xc1"),
	ROW("cx16", "\x48\x0f\xc7\x0f"),
	ROW("popcnt", "\xf3\x0f\xb8\xc0"),
	ROW("abm", "\xf3\x0f\xbd\xc0"),
	ROW("movbe", "\x0f\x38\xf0\x07"),
	ROW("aes", "\x66\x0f\x38\xdc\xc0"),
	ROW("pclmulqdq", "\x66\x0f\x3a\x44\xc0\x00"),
	ROW("sha_ni", "\x0f\x38\xc8\xc0"),
	ROW("gfni", "\x66\x0f\x38\xcf\xc0"),
	ROW("rdrand", "\x0f\xc7\xf0"),
	ROW("rdseed", "\x0f\xc7\xf8"),
	ROW("rdtscp", "\x0f\x01\xf9"),
	ROW("rdpid", "\xf3\x0f\xc7\xf8"),
	ROW("rdpru", "\x0f\x01\xfd"),
	ROW("fsgsbase", "\xf3\x48\x0f\xae\xc0"),
	ROW("adx", "\x66\x0f\x38\xf6\xc0"),
	ROW("bmi1", "\xc4\xe2\x78\xf2\xc0"),
	ROW("bmi2", "\xc4\xe2\x7b\xf5\xc0"),
	ROW("lahf_lm", "\x9f"),
	ROW("nopl", "\x0f\x1f\x00"),
	ROW("3dnowprefetch", "\x0f\x0d\x0f"),
	ROW("clflushopt", "\x66\x0f\xae\x3f"),
	ROW("clwb", "\x66\x0f\xae\x37"),
	ROW("clzero", "\x0f\x01\xfc"),
	ROW("cldemote", "\x0f\x1c\x07"),
	ROW("movdiri", "\x0f\x38\xf9\x07"),
	ROW("serialize", "\x0f\x01\xe8"),
	ROW("waitpkg", "\xf3\x0f\xae\xf0"),
	ROW("mwaitx", "\x0f\x01\xfa"),
	ROW("ospke", "\x0f\x01\xee"),
	ROW("xsave", "\x0f\x01\xd0"),
	ROW("avx", "\xc5\xfc\x58\xc0"),
	ROW("avx2", "\xc5\xfd\xfe\xc0"),
	ROW("fma", "\xc4\xe2\x7d\x98\xc0"),
	ROW("f16c", "\xc4\xe2\x7d\x13\xc0"),
	ROW("vaes", "\xc4\xe2\x7d\xdc\xc0"),
	ROW("vpclmulqdq", "\xc4\xe3\x7d\x44\xc0\x00"),
};

static sigjmp_buf faulted;

static void on_fault(int sig)
{
	siglongjmp(faulted, sig);
}

/* The signal that it ends in; 0: none. */
static int signal_of(const struct feature *f, void *code, void *operand)
{
	int sig = sigsetjmp(faulted, 1);
	unsigned long a = (unsigned long)operand, c = 0, d = 0;

	if (sig)
		return sig;
	memcpy(code, f->code, f->bytes);
	/* What it pushes is below the red zone. */
	__asm__ volatile("lea -128(%%rsp), %%rsp; call *%[code]; lea 128(%%rsp), %%rsp; fninit"
			 : "+a"(a), "+c"(c), "+d"(d)
			 : [code] "r"(code), "D"(operand)
			 : "rbx", "cc", "memory", "xmm0", "xmm1", "st");
	return 0;
}

int main(int argc, char **argv)
{
	static const int signals[] = { SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGTRAP };
	void *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned int tried = 0, faults = 0;

	if (page == MAP_FAILED)
		return 1;
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		signal(signals[i], on_fault);
	for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++)
		for (int k = 1; k < argc; k++) {
			int sig = strcmp(argv[k], features[i].flag) ?
					  0 :
					  signal_of(&features[i], page, (char *)page + 4096);

			tried += !strcmp(argv[k], features[i].flag);
			faults += sig != 0;
			if (sig)
				printf("fault: %s, signal %d\n", argv[k], sig);
		}
	printf("features: %u tried, %u faults\n", tried, faults);
	return faults != 0;
}
