/* SPDX-License-Identifier: MIT */
/* quire metrics: the counters as text for Prometheus. */
#include <errno.h>
#include <string.h>
#include <quire/abi.h>
#include "args.h"
#include "cmd.h"
#include "vmm/look/look.h"
#include "vmm/look/metrics.h"

const char metrics_usage[] =
	"usage: quire metrics [--text] [--machine=ADDRESS]\n"
	"\n"
	"The counters of a machine and its guests, once, as OpenMetrics text: what quire stat\n"
	"--json says, under the names and in the units that Prometheus wants.  docs/metrics.md\n"
	"lists them.  quire machine --metrics=ADDR:PORT serves the same.\n"
	"\n"
	"  --text             in the text format 0.0.4 of Prometheus, as node_exporter reads it\n"
	"                     from files\n"
	"  --machine=ADDRESS  this machine and its guests only: @NAME or the path of its socket\n"
	"                     (default: QUIRE_MACHINE in the environment; else the only machine\n"
	"                     that runs, or the one at the default address, and all guests)\n"
	"\n"
	"Exit status: 0; 2 wrong usage; 121 no such machine, or it does not answer.\n";

static void warn(const char *text)
{
	fprintf(stderr, "quire metrics: %s\n", text);
}

static int look_and_write(const char *address, enum metrics_form form, struct quire_error *err)
{
	struct look look;
	int code = look_take(&look, address, warn, err);

	if (code)
		return code;
	code = metrics_write(stdout, form, &look, err);
	look_finish(&look);
	return code;
}

static int read_options(int argc, char **argv, const char **machine, bool *text,
			struct quire_error *err)
{
	const struct plain_option options[] = {
		{ .name = "text", .flag = text },
		{ .name = "machine", .word = machine },
	};
	int code = read_plain_options(argc, argv, options, ARRAY_SIZE(options), err);

	if (!code && argc > optind)
		code = quire_fail(err, -EINVAL, "%s: metrics are of all guests", argv[optind]);
	return code ? code : named_address(*machine, machine, err);
}

int cmd_metrics(int argc, char **argv)
{
	struct quire_error err = { "" };
	const char *machine = NULL;
	bool text = false;
	int code = read_options(argc, argv, &machine, &text, &err);

	if (!code)
		code = look_and_write(machine, text ? METRICS_TEXT : METRICS_OPENMETRICS, &err);
	if (!code)
		return 0;
	fprintf(stderr, "quire metrics: %s\n", err.text);
	return code == -EINVAL ? QUIRE_STATUS_USAGE : QUIRE_STATUS_HOST;
}
