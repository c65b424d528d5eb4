/* SPDX-License-Identifier: MIT */
/* The disassembly of a crashed guest's code, which is the guest's: it may be anything. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <quire/types.h>
#include "tests/tap.h"
#include "vmm/launch/listing.h"

#define ROUNDS 20

/* What listing_print() prints. */
static const char *listed(const struct code *code)
{
	static char text[16384];
	int old = dup(STDERR_FILENO), file = memfd_create("stderr", MFD_CLOEXEC);
	ssize_t n;

	if (old < 0 || file < 0 || dup2(file, STDERR_FILENO) < 0)
		tap_bail("descriptors: %s", strerror(errno));
	listing_print(stderr, code);
	dup2(old, STDERR_FILENO);
	n = pread(file, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	close(old);
	close(file);
	return text;
}

static void test_code(void)
{
	struct code code = { .rip = 0x100003, .bits = 64, .before = 3, .after = 3 };
	unsigned int lines = 0;
	const char *text;

	memcpy(code.byte + CODE_BEFORE - 3, "\x31\xc0\x90\x0f\x0b\xc3", 6);
	text = listed(&code);
	ok(strstr(text, "code, 64-bit, CPL 0:\n"), "a headline");
	code.cpu = 3;
	ok(strstr(listed(&code), "code, 64-bit, CPL 0, vCPU 3:\n"), "... which names the vCPU");
	text = listed(&code);
	ok(strstr(text, "     0000000000100000  31 c0 ") && strstr(text, "xor eax, eax"),
	   "the instructions before RIP");
	ok(strstr(text, "  => 0000000000100003  0f 0b                          ud2"),
	   "that at RIP");
	ok(strstr(text, "     0000000000100005  c3 ") && strstr(text, "ret"), "one after it");
	memset(code.byte, 0x90, sizeof(code.byte));
	code.after = CODE_AFTER;
	text = listed(&code);
	for (const char *p = text; (p = strstr(p, "90      ")); p++)
		lines++;
	is(lines, 3 + 1 + 5, "five behind it");
	memset(code.byte, 0xff, sizeof(code.byte));
	ok(strstr(listed(&code), "ff ff ff"), "bytes that are no instruction are shown");
	code.after = 0;
	ok(strstr(listed(&code), "(no memory there)"), "... and if there is none, that");
}

/* The same two bytes in each mode. */
static void test_modes(void)
{
	static const struct {
		uint32_t bits;
		const char *want;
	} mode[] = { { 16, "inc ax" }, { 32, "inc eax" }, { 64, "nop" } };

	for (size_t i = 0; i < ARRAY_SIZE(mode); i++) {
		struct code code = { .rip = 0x7c00, .bits = mode[i].bits, .after = 2 };

		memcpy(code.byte + CODE_BEFORE, "\x40\x90", 2);
		ok(strstr(listed(&code), mode[i].want), "%u bits: %s", mode[i].bits, mode[i].want);
	}
}

static void test_nonsense(void)
{
	const struct code bad[] = {
		{ .rip = 1, .bits = 65, .after = 1 },
		{ .rip = 1, .bits = 64, .cpl = 4, .after = 1 },
		{ .rip = 4096, .bits = 64, .before = CODE_BEFORE + 1, .after = 1 },
		{ .rip = 1, .bits = 64, .before = 2, .after = 1 },
		{ .rip = 1, .bits = 64, .after = CODE_AFTER + 1 },
	};
	unsigned int printed = 0;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		printed += listed(&bad[i])[0] != '\0';
	is(printed, 0, "code that makes no sense is not printed");
}

static void test_random(uint64_t seed)
{
	static const uint32_t bits[] = { 16, 32, 64 };
	unsigned int whole = 0;

	for (unsigned int i = 0; i < ROUNDS; i++) {
		uint64_t r = tap_random(&seed);
		struct code code = { .rip = r | 1UL << 40, .bits = bits[r % 3] };
		const char *text;

		code.before = (uint32_t)(r >> 8) % (CODE_BEFORE + 1);
		code.after = 1 + (uint32_t)(r >> 16) % CODE_AFTER;
		for (size_t k = 0; k < sizeof(code.byte); k++)
			code.byte[k] = (uint8_t)tap_random(&seed);
		text = listed(&code);
		whole += strstr(text, "  => ") && text[strlen(text) - 1] == '\n';
	}
	is(whole, ROUNDS, "any bytes at all are listed");
}

static void test_new(void)
{
	static const struct {
		const char *code, *want;
		uint32_t bits;
	} rows[] = {
		{ "\xf3\x48\x0f\x1e\xce", "rdsspq rsi", 64 },
		{ "\xf3\x41\x0f\x1e\xc9", "rdsspd r9d", 64 },
		{ "\xf3\x0f\x1e\xc8", "rdsspd eax", 32 },
		{ "\xf3\x0f\x1e\xfa", "endbr64", 64 },
		{ "\x0f\x01\xfd", "rdpru", 64 },
		{ "\x0f\x01\xe8", "serialize", 64 },
		{ "\xf3\x0f\x01\xe8", "setssbsy", 64 },
		{ "\x66\x0f\xae\xf1", "tpause ecx", 64 },
		{ "\xf3\x0f\xae\xf0", "umonitor rax", 64 },
		{ "\xf3\x0f\xae\xf0", "umonitor eax", 32 },
		{ "\xf2\x0f\xae\xf7", "umwait edi", 64 },
		{ "\xf3\x48\x0f\xae\xe9", "incsspq rcx", 64 },
		{ "\xf3\x0f\xae\xe9", "incsspd ecx", 64 },
		{ "\x0f\x01\xc6", "wrmsrns", 64 },
		{ "\xf3\x0f\x01\xc6", "wrmsrlist", 64 },
		{ "\xf2\x0f\x01\xc6", "rdmsrlist", 64 },
		{ "\x66\x0f\x01\xcc", "tdcall", 64 },
		{ "\xf3\x0f\x01\xea", "saveprevssp", 64 },
		{ "\xf3\x0f\x01\xec", "uiret", 64 },
		{ "\xf3\x0f\x01\xed", "testui", 64 },
		{ "\x0f\x01\xee", "rdpkru", 64 },
		{ "\xf3\x0f\x01\xee", "clui", 64 },
		{ "\x0f\x01\xef", "wrpkru", 64 },
		{ "\xf3\x0f\x01\xef", "stui", 64 },
		{ "\x0f\x01\xfc", "clzero", 64 },
		{ "\x0f\x01\xfe", "invlpgb", 64 },
		{ "\xf3\x0f\x01\xfe", "rmpadjust", 64 },
		{ "\x0f\x01\xff", "tlbsync", 64 },
		{ "\xf2\x0f\x01\xff", "pvalidate", 64 },
		{ "\xf3\x0f\x01\xff", "psmash", 64 },
		{ "\x0f\xae\xf0", "mfence", 64 },
		{ "\xf3\x0f\xc7\xf8", "rdpid rax", 64 },
		{ "\x0f\xc7\xf8", "rdseed eax", 64 },
	};
	struct code next = { .rip = 4096, .bits = 64, .after = 7 };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct code code = { .rip = 4096, .bits = rows[i].bits };

		code.after = (uint32_t)strlen(rows[i].code);
		memcpy(code.byte + CODE_BEFORE, rows[i].code, code.after);
		ok(strstr(listed(&code), rows[i].want), "%s, %u-bit", rows[i].want, rows[i].bits);
	}
	memcpy(next.byte + CODE_BEFORE, "\x0f\x01\xfd\x0f\x01\xe8\xc3", 7);
	ok(strstr(listed(&next), "     0000000000001003  0f 01 e8 ") &&
		   strstr(listed(&next), "     0000000000001006  c3 "),
	   "what is behind such an instruction has the right address");
}

int main(int argc, char **argv)
{
	tap_init();
	test_code();
	test_modes();
	test_nonsense();
	test_new();
	test_random(tap_seed(argc, argv));
	return tap_done();
}
