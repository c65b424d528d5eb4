/* SPDX-License-Identifier: MIT */
/*
 * An aligned word of guest memory is read and written at once, as a processor does it: an index of
 * a ring that goes from 0x00ff to 0x0100 is never seen as 0x01ff or 0.  A C library's copy does not
 * promise that: glibc 2.36 reads two bytes as the first one, and then both.
 *
 * Our accesses are stepped through, an instruction at a time, and after each the guest acts.  The
 * bytes of its word are always all the same.  So a word with two different bytes was torn.
 */
#include <signal.h>
#include <ucontext.h>
#include <unistd.h>
#include "mmu/memory/gmem.h"
#include "tests/tap.h"

#define TRAP_FLAG 0x100
#define AT	  (3 * QUIRE_PAGE_SIZE + 64)

static struct gmem *gm;
static void (*after_each)(void);
static unsigned int bytes, steps, torn;

static uint64_t repeat(uint8_t byte)
{
	return 0x0101010101010101ULL * byte >> (64 - 8 * bytes);
}

static bool is_torn(uint64_t v)
{
	return v != repeat((uint8_t)v);
}

static void guest_writes(void)
{
	uint64_t v = repeat((uint8_t)steps);
	void *at = gmem_hva(gm, AT);

	switch (bytes) {
	case 2: *(volatile uint16_t *)at = (uint16_t)v; break;
	case 4: *(volatile uint32_t *)at = (uint32_t)v; break;
	default: *(volatile uint64_t *)at = v; break;
	}
}

static void guest_reads(void)
{
	void *at = gmem_hva(gm, AT);

	switch (bytes) {
	case 2: torn += is_torn(*(volatile uint16_t *)at); break;
	case 4: torn += is_torn(*(volatile uint32_t *)at); break;
	default: torn += is_torn(*(volatile uint64_t *)at); break;
	}
}

/* The signal that begins it is the first of those steps. */
static void on_step(int signal, siginfo_t *info, void *context)
{
	greg_t *flags = &((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL];

	(void)signal;
	(void)info;
	*flags = after_each ? *flags | TRAP_FLAG : *flags & ~TRAP_FLAG;
	if (!after_each)
		return;
	steps++;
	after_each();
}

static void begin(void (*guest)(void))
{
	steps = torn = 0;
	after_each = guest;
	raise(SIGTRAP);
}

static void end(const char *what)
{
	after_each = NULL;
	tap_note("%u steps", steps);
	ok(steps > 20 && !torn, "%u bytes are %s at once", bytes, what);
}

static void test_words(void)
{
	static const uint64_t zeroes, ones = UINT64_MAX;
	uint64_t v = 0;

	guest_write(gm, AT, &zeroes, sizeof(zeroes));
	begin(guest_writes);
	guest_read(gm, AT, &v, bytes);
	torn += is_torn(v);
	end("read");
	guest_write(gm, AT, &zeroes, sizeof(zeroes));
	begin(guest_reads);
	guest_write(gm, AT, &ones, bytes);
	end("written");
}

int main(void)
{
	static const struct gfn_range ram[] = { { 0, 64 } };
	const struct gmem_config config = { .ram = ram, .nr_ram = 1 };
	const struct sigaction action = { .sa_sigaction = on_step, .sa_flags = SA_SIGINFO };
	struct quire_error err;

	tap_init();
	if (gmem_create(&config, &gm, &err) || gmem_start(gm, &err)) {
		if (geteuid() != 0)
			tap_skip_all("%s", err.text);
		tap_bail("%s", err.text);
	}
	sigaction(SIGTRAP, &action, NULL);
	for (bytes = 2; bytes <= 8; bytes *= 2)
		test_words();
	gmem_destroy(gm);
	return tap_done();
}
