/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target for symbols_read(): the input is the file.  Whatever it is, there are symbols
 * whose names end, or a refusal that is one line.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "vmm/cli/symbols.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static int fd = -1;
	struct quire_error err = { "" };
	struct symbols *symbols;
	uint64_t offset;
	char path[32];
	gva_t gva;

	if (fd < 0)
		fd = memfd_create("symbols", 0);
	if (ftruncate(fd, 0) || pwrite(fd, data, bytes, 0) != (ssize_t)bytes)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (symbols_read(path, &symbols, &err)) {
		if (!err.text[0] || strchr(err.text, '\n'))
			abort();
		return 0;
	}
	symbols_find(symbols, "linux_banner", &gva);
	if (!symbols_name(symbols, UINT64_MAX, &offset))
		abort();
	symbols_free(symbols);
	return 0;
}
