/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stdio.h>
#include "message.h"

static char prefix[96] = "quire";

void message_set_name(const char *name)
{
	snprintf(prefix, sizeof(prefix), "quire: %s", name);
}

const char *message_prefix(void)
{
	return prefix;
}

void message(const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, "%s: %s\n", prefix, text);
}
