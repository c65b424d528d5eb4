/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_SWAP_SWAP_FILE_H
#define QUIRE_MMU_SWAP_SWAP_FILE_H

#include <quire/error.h>
#include "swap.h"

/*
 * Make a swap file without a name in `dir`, of so many bytes, all holes: for direct input and
 * output, where the file system has that.  *unit is what a swap area on it is to have.
 *
 * Returns its descriptor; or -errno with *err: the directory is not there, may not be written, or
 * is in memory (-EINVAL).
 */
int swap_file_make(const char *dir, uint64_t bytes, uint32_t *unit, struct quire_error *err);

/*
 * How much memory a VM process needs for a swap area of so many pages, at worst: an entry for each
 * and bits for its space, and buffers.
 */
#define SWAP_MEMORY_BYTES(pages) ((pages)*24 + (4ULL << 20))

#endif
