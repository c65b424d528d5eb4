/* SPDX-License-Identifier: MIT */
/*
 * warm MIB: use that much memory and give it back, in huge pages where possible.
 *
 * A host that is itself a virtual machine gets its memory lazily, and may have it taken away
 * while it is free; the first use of a page then costs tens of microseconds.  Run before each
 * measurement, so that both sides find free memory that was in use a moment ago.
 */
#include <err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <quire/types.h>

int main(int argc, char **argv)
{
	size_t bytes = (argc > 1 ? strtoull(argv[1], NULL, 0) : 0) * MiB;
	char *p;

	if (!bytes)
		errx(2, "usage: warm MIB");
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		err(1, "mmap");
	madvise(p, bytes, MADV_HUGEPAGE);
	memset(p, 1, bytes);
	return 0;
}
