/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_DIGITS_H
#define QUIRE_MMU_BASE_DIGITS_H

/*
 * Numbers are not read by strtoull(), which takes blanks, signs and prefixes that nobody meant, and
 * makes 2^64 - 1 of "-1".
 */
#include <quire/types.h>

/*
 * Read the digits at *text, of a base up to 16, into *value, and move *text past them.
 *
 * Returns 0;
 *   -EINVAL  there is no digit (nothing changed)
 *   -ERANGE  the number has more than 64 bits (nothing changed)
 */
int digits_read(const char **text, unsigned int base, uint64_t *value);

/* Does a hexadecimal number begin here, with 0x or 0X? */
static inline bool digits_are_hex(const char *text)
{
	return text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
}

#endif
