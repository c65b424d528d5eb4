/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_SYMBOLS_H
#define QUIRE_VMM_CLI_SYMBOLS_H

/*
 * Names for a guest's addresses, out of a file: the symbol table of an ELF file (vmlinux,
 * quill.elf; 64 or 32 bits), or lines "ADDRESS TYPE NAME" as in System.map and /proc/kallsyms.
 *
 * The file is a stranger's, so nothing in it is believed: each offset, size and link is checked,
 * and each name ends where its section does.
 */
#include <quire/error.h>
#include <quire/types.h>

struct symbols;

/*
 * Read a file.  0; or -errno with a line in *err:
 *   -EINVAL  it is neither of the two, it has no symbols, or its addresses are all 0 (kallsyms,
 *            read without privilege)
 *   -EFBIG   its tables are larger than SYMBOLS_MAX_BYTES
 * or what open() and read() say.
 */
#define SYMBOLS_MAX_BYTES (512 * MiB)
int symbols_read(const char *path, struct symbols **out, struct quire_error *err);

/* NULL is fine. */
void symbols_free(struct symbols *symbols);

/* The address of the symbol of this name; of several, the lowest.  -ENOENT: there is none. */
int symbols_find(const struct symbols *symbols, const char *name, gva_t *address);

/*
 * The name of the last symbol at or below the address, as bytes for a terminal: what does not print
 * is a '?'.  *offset becomes how far behind it the address is.  The text is in a static buffer.
 * NULL: there is none.
 */
const char *symbols_name(const struct symbols *symbols, gva_t address, uint64_t *offset);

#endif
