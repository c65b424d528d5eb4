/* SPDX-License-Identifier: MIT */
/* Multiboot images that say themselves where they go, in version 1 and 2 alike. */
#include <errno.h>
#include <inttypes.h>
#include "load.h"

/*
 * The a.out kludge.  The header is at `offset` of the file, and goes to header_addr in memory.  So
 * the byte that goes to load_addr is header_addr - load_addr bytes before the header.
 */
int load_by_addresses(struct loader *ld, uint32_t offset, const struct load_addresses *a)
{
	uint64_t file_off, bytes, mem_bytes;

	if (a->header < a->load || a->header - a->load > offset)
		return load_fail(ld, -ENOEXEC,
				 "multiboot load address %#x and header address %#x "
				 "do not match a header at offset %u: fix the header",
				 a->load, a->header, offset);
	file_off = offset - (a->header - a->load);
	bytes = ld->config->file_bytes - file_off;
	if (a->load_end) {
		if (a->load_end < a->load)
			return load_fail(ld, -ENOEXEC,
					 "multiboot load end %#x is below load "
					 "address %#x: fix the header",
					 a->load_end, a->load);
		bytes = a->load_end - a->load;
	}
	if (!load_in_file(ld, file_off, bytes))
		return load_fail(ld, -ENOEXEC,
				 "truncated: the multiboot header wants %" PRIu64 " "
				 "bytes at offset %" PRIu64 " of %" PRIu64 ": copy the file again",
				 bytes, file_off, ld->config->file_bytes);
	mem_bytes = a->bss_end ? (uint64_t)a->bss_end - a->load : bytes;
	if (a->bss_end && a->bss_end < a->load + bytes)
		return load_fail(ld, -ENOEXEC,
				 "multiboot bss end %#x is below the end of the data "
				 "at %#" PRIx64 ": fix the header",
				 a->bss_end, a->load + bytes);
	return load_segment(ld, "the multiboot image", a->load,
			    (const uint8_t *)ld->config->file + file_off, bytes, mem_bytes);
}
