/* SPDX-License-Identifier: MIT */
/*
 * The small workloads: idle waits, echo copies console input to the console, exit exits.
 */
#include "workload.h"

int idle_run(struct args *a)
{
	uint64_t seconds = args_number(a);

	if (!args_done(a))
		return STATUS_USAGE;
	print("idle: seconds=%lu\n", seconds);
	pause_until(clock_deadline(seconds));
	return STATUS_OK;
}

/* A line without its end, cut to what fits. */
static void read_line(char *line, size_t bytes)
{
	size_t n = 0;

	for (;;) {
		int c = console_getc();

		if (c == '\n' || c == '\r')
			break;
		if (n < bytes - 1)
			line[n++] = (char)c;
	}
	line[n] = 0;
}

/* Lines are copied until one says "quit". */
int echo_run(struct args *a)
{
	char line[256];

	if (!args_done(a))
		return STATUS_USAGE;
	print("echo: ready\n");
	for (;;) {
		read_line(line, sizeof(line));
		if (!strcmp(line, "quit"))
			return STATUS_OK;
		print("%s\n", line);
	}
}

int exit_run(struct args *a)
{
	uint64_t status = args_number(a);

	return args_done(a) ? (int)status : STATUS_USAGE;
}
