/* SPDX-License-Identifier: MIT */
/* Traces for tests. */
#include <stdlib.h>
#include <string.h>
#include "tests/tap.h"
#include "trace_lab.h"

int lab_trace_read(struct trace *t, const char *text, size_t bytes, struct quire_error *err)
{
	FILE *f = fmemopen((void *)text, bytes ? bytes : 1, "r");
	int code;

	if (!f)
		tap_bail("cannot make a stream");
	if (!bytes)
		getc(f);
	code = trace_read(t, f, "lab", err);
	fclose(f);
	return code;
}

void lab_trace(struct trace *t, const char *text)
{
	struct quire_error err = { "" };

	if (lab_trace_read(t, text, strlen(text), &err))
		tap_bail("%s", err.text);
}

void lab_random_trace(struct trace *t, uint64_t length, unsigned int nr_pages, uint64_t *seed)
{
	char *text = malloc(length * 16 + 1), *p = text;

	if (!text)
		tap_bail("no memory");
	for (uint64_t i = 0; i < length; i++) {
		uint64_t r = tap_random(seed);
		unsigned int among = r & 1 ? nr_pages : nr_pages / 8 + 1;

		p += sprintf(p, "%u %c\n", (unsigned int)(r >> 8) % among, r & 2 ? 'w' : 'r');
	}
	lab_trace(t, text);
	free(text);
}
