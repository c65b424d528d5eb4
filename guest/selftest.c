/* SPDX-License-Identifier: MIT */
/*
 * selftest: does the machine under us behave as a machine should?
 *
 * It prints TAP.  All tests must pass alike on hardware, under quire with any kind of paging, and
 * under other hypervisors.  Where one of these may rightly differ, the test says SKIP.
 */
#include "selftest.h"
#include "workload.h"

static unsigned int run, failed;

static void result(bool pass, const char *fmt, va_list ap)
{
	run++;
	failed += !pass;
	print("%sok %u - ", pass ? "" : "not ", run);
	vprint(fmt, ap);
	print("\n");
}

void tap_ok(bool pass, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	result(pass, fmt, ap);
	va_end(ap);
	console_flush();
}

void tap_hex(uint64_t got, uint64_t want, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	result(got == want, fmt, ap);
	va_end(ap);
	if (got != want)
		print("# got 0x%lx, want 0x%lx\n", got, want);
	console_flush();
}

void tap_skip(const char *why, const char *fmt, ...)
{
	va_list ap;

	print("ok %u - ", ++run);
	va_start(ap, fmt);
	vprint(fmt, ap);
	va_end(ap);
	print(" # SKIP %s\n", why);
}

void access_read(uint64_t gva)
{
	(void)*(volatile uint8_t *)gva;
}

void access_write(uint64_t gva)
{
	*(volatile uint8_t *)gva = 0xc3; /* `ret`, so that a fetch may follow */
}

void access_fetch(uint64_t gva)
{
	__asm__ volatile("call *%0" ::"r"(gva) : "memory");
}

uint64_t try_access(void (*access)(uint64_t), uint64_t gva)
{
	if (!guarded(access, gva))
		return NO_FAULT;
	if (guard_trap.vector == VECTOR_PF && guard_trap.cr2 == gva)
		return guard_trap.error;
	return guard_trap.vector << 16;
}

pte_t *scratch_map(uint64_t gva, uint64_t entry)
{
	pte_t *pte = pte_find(pml4, gva, 1, true);

	*pte = entry;
	tlb_flush_page((void *)gva);
	return pte;
}

int selftest_run(struct args *a)
{
	uint64_t pages = args_key(a, "pages", UINT64_MAX);

	if (!args_done(a))
		return STATUS_USAGE;
	selftest_traps();
	selftest_permissions();
	selftest_translation();
	selftest_rights();
	selftest_tlb();
	selftest_events();
	selftest_buddy();
	selftest_slab();
	selftest_frames();
	selftest_ram(pages);
	print("1..%u\n", run);
	return failed ? STATUS_WRONG : STATUS_OK;
}
