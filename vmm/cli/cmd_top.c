/* SPDX-License-Identifier: MIT */
/* quire top: machines and guests on the terminal, all the time. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <quire/abi.h>
#include "args.h"
#include "cmd.h"
#include "mmu/base/clock.h"
#include "vmm/print/colour.h"
#include "vmm/top/top.h"

const char top_usage[] =
	"usage: quire top [OPTION...]\n"
	"\n"
	"Shows, again and again, where the machine's memory is, and a line for each running\n"
	"guest: its state, how many of its pages are in which state, what happens to them a\n"
	"second, and how that was in the last minutes.  Keys sort and filter the list, show the\n"
	"map of a guest's pages, pause and resume it, set its balloon, merge, and kill; h says\n"
	"which.  A machine that goes away is shown again when it is back.\n"
	"\n"
	"  --once             print one frame as text, with all guests, and end\n"
	"  --batch=N          print N frames, with an empty line between them\n"
	"  --interval=SECONDS  from look to look: 0.1 to 3600 (default 1)\n"
	"  --sort=COLUMN      sort by name, state, ram, resident, faults, merges, unshares,\n"
	"                     balloon, evictions, loads or stall (default name)\n"
	"  --reverse          the other way round: numbers from the smallest on\n"
	"  --filter=TEXT      only guests with this in their names\n"
	"  --color=auto|always|never\n"
	"                     whether it has colours (default auto: on a terminal, unless\n"
	"                     NO_COLOR is set); without them the letters say as much\n"
	"  --machine=ADDRESS  this machine and its guests only: @NAME or the path of its socket\n"
	"                     (default: QUIRE_MACHINE in the environment)\n"
	"\n"
	"A frame that is no terminal's is as wide as COLUMNS in the environment says, or 80\n"
	"columns.\n"
	"\n"
	"Exit status: 0; 2 wrong usage, or no terminal; 121 with --once and --batch: the machine\n"
	"does not answer in the end; 129, 130, 131, 143: ended by a signal.\n";

static const char *const colours[] = { "auto", "always", "never" };

static int read_colour(const char *text, void *value, struct quire_error *err)
{
	unsigned int which = 0;
	int code = parse_choice(text, colours, ARRAY_SIZE(colours), &which, err);

	if (!code && which)
		*(bool *)value = which == 1;
	return code;
}

static int read_column(const char *text, void *value, struct quire_error *err)
{
	const char *names[NR_COLUMNS];
	unsigned int column[NR_COLUMNS], nr = 0, which;
	int code;

	for (unsigned int i = 0; i < NR_COLUMNS; i++)
		if (column_sorts(i)) {
			names[nr] = column_name(i);
			column[nr++] = i;
		}
	code = parse_choice(text, names, nr, &which, err);
	if (!code)
		*(unsigned int *)value = column[which];
	return code;
}

static int read_interval(const char *text, void *value, struct quire_error *err)
{
	uint64_t ns;
	int code = parse_seconds(text, &ns, err);

	if (!code && (ns < NS_PER_S / 10 || ns > 3600 * NS_PER_S))
		code = quire_fail(err, -ERANGE, "%.60s: from 0.1 to 3600 seconds", text);
	if (!code)
		*(uint64_t *)value = ns;
	return code;
}

/* *frames: how many frames are to be printed; 0: it is for the terminal. */
static int parse_options(int argc, char **argv, struct top_options *opt, uint64_t *frames,
			 struct quire_error *err)
{
	bool once = false;
	const struct plain_option options[] = {
		{ .name = "once", .flag = &once },
		{ .name = "batch", .count = frames, .min = 1, .max = UINT64_MAX },
		{ .name = "interval", .read = read_interval, .value = &opt->interval_ns },
		{ .name = "sort", .read = read_column, .value = &opt->sort },
		{ .name = "reverse", .flag = &opt->reverse },
		{ .name = "filter", .word = &opt->filter },
		{ .name = "color", .read = read_colour, .value = &opt->colour },
		{ .name = "machine", .word = &opt->address },
	};
	int code = read_plain_options(argc, argv, options, ARRAY_SIZE(options), err);

	if (code)
		return code;
	if (optind < argc)
		return quire_fail(err, -EINVAL,
				  "%s: unexpected; --filter=TEXT chooses guests by their names",
				  argv[optind]);
	if (once && *frames)
		return quire_fail(err, -EINVAL, "--once is --batch=1: give one of them");
	*frames = once ? 1 : *frames;
	return named_address(opt->address, &opt->address, err);
}

int cmd_top(int argc, char **argv)
{
	struct top_options opt = { .interval_ns = NS_PER_S,
				   .filter = "",
				   .colour = colour_wanted() };
	struct quire_error err = { "" };
	uint64_t frames = 0;
	int code = parse_options(argc, argv, &opt, &frames, &err);

	if (!code)
		code = frames ? top_batch(&opt, frames, &err) : top_run(&opt, &err);
	if (code < 0)
		fprintf(stderr, "quire top: %s\n", err.text);
	if (code > 0)
		return 128 + code;
	return !code				  ? 0 :
	       code == -EINVAL || code == -ENOTTY ? QUIRE_STATUS_USAGE :
						    QUIRE_STATUS_HOST;
}
