/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include "digits.h"

/* 16: it is no digit. */
static unsigned int value_of(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned int)(c - '0');
	if (c >= 'a' && c <= 'f')
		return (unsigned int)(c - 'a') + 10;
	if (c >= 'A' && c <= 'F')
		return (unsigned int)(c - 'A') + 10;
	return 16;
}

int digits_read(const char **text, unsigned int base, uint64_t *value)
{
	const char *p = *text;
	uint64_t v = 0;

	for (; value_of(*p) < base; p++)
		if (__builtin_mul_overflow(v, base, &v) ||
		    __builtin_add_overflow(v, value_of(*p), &v))
			return -ERANGE;
	if (p == *text)
		return -EINVAL;
	*text = p;
	*value = v;
	return 0;
}
