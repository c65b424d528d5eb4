/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_ERROR_H
#define QUIRE_ERROR_H

/*
 * One line for the user.  Library code returns -errno and, where a number says too little,
 * fills one of these: what was tried, what went wrong, what to do about it.  Nothing in the
 * libraries prints; main() and the tests do, once.
 */
#include <stdarg.h>
#include <stdio.h>

struct quire_error {
	char text[320]; /* no newline, no trailing stop */
};

/* Fill *err (may be NULL) and return code, so that "return quire_fail(...)" reads well. */
__attribute__((format(printf, 3, 4))) static inline int quire_fail(struct quire_error *err,
								   int code, const char *fmt, ...)
{
	if (err) {
		va_list ap;

		va_start(ap, fmt);
		vsnprintf(err->text, sizeof(err->text), fmt, ap);
		va_end(ap);
	}
	return code;
}

#endif
