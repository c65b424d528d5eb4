/* SPDX-License-Identifier: MIT */
/*
 * C begins here, at CPL 3.  It reads what the loader says, sets up memory, runs the workload, and
 * exits with its status through the exit port, which means what QEMU's isa-debug-exit means.
 */
#include <quire/abi.h>
#include "kernel.h"
#include "memory.h"
#include "start.h"
#include "workload.h"

struct stages stage;

void quill_exit(unsigned int status)
{
	console_flush();
	outl(QUIRE_EXIT_PORT, status);
	for (;;)
		nucleus_call(CALL_HALT, 0, 0);
}

void panic(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	print("quill: panic: ");
	vprint(fmt, ap);
	print("\n");
	va_end(ap);
	quill_exit(STATUS_WRONG);
}

void quill_main(uint64_t start_info, uint64_t entry_tsc)
{
	stage.cpl3 = rdtsc();
	boot_parse(start_info, entry_tsc);
	stage.parsed = rdtsc();
	memory_init();
	stage.memory = rdtsc();
	quill_exit((unsigned int)workload_run(boot.cmdline));
}
