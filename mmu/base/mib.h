/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_MIB_H
#define QUIRE_MMU_BASE_MIB_H

#include <quire/types.h>

/*
 * Pages as MiB with one decimal and the unit: "819.2 MiB".  What is not nothing never reads as
 * nothing: below 0.05 MiB it is "<0.1 MiB".  The text is in a static buffer, which is used again
 * after fifteen more calls.  Not thread-safe.
 */
const char *mib_text(uint64_t pages);

#endif
