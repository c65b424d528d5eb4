/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include "audit.h"

void audit_fault(struct audit *a, const char *format, ...)
{
	char text[160];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	a->faults++;
	if (a->report)
		a->report(a->ctx, text);
}

void audit_expect(struct audit *a, uint64_t books, uint64_t truth, const char *what)
{
	if (books != truth)
		audit_fault(a, "%s: %" PRIu64 " by the books, %" PRIu64 " in truth", what, books,
			    truth);
}
