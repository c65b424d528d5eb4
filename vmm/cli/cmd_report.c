/* SPDX-License-Identifier: MIT */
/* quire report: many results of scenarios in one table and one page (vmm/report). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <quire/abi.h>
#include <quire/types.h>
#include "vmm/report/gather.h"
#include "vmm/report/page.h"
#include "args.h"
#include "cmd.h"

#define STATUS_FAILED 1

const char report_usage[] =
	"usage: quire report [--json] [--html=FILE] DIR...\n"
	"\n"
	"Reads the results of scenarios that quire play --report wrote, on this machine or on\n"
	"others, and shows them in one table.  DIR is such a folder, or has some below it; or it\n"
	"is a file.  Of each that did not pass, of each file that is no result and of each DIR\n"
	"without one it says why, in a line.\n"
	"\n"
	"  --json       print quire.report/1 (docs/play.md) instead of the table\n"
	"  --html=FILE  write all results as one page, too, with a chart of each\n"
	"\n"
	"Exit status: 0 all passed; 1 one did not, or is no result; 2 wrong usage; 121 the table\n"
	"or the page cannot be written.\n";

struct report_options {
	bool json;
	const char *html; /* NULL: no page */
};

static int parse_options(int argc, char **argv, struct report_options *o, struct quire_error *err)
{
	const struct plain_option options[] = {
		{ .name = "json", .flag = &o->json },
		{ .name = "html", .word = &o->html },
	};
	int code = read_plain_options(argc, argv, options, ARRAY_SIZE(options), err);

	if (!code && optind == argc)
		return quire_fail(err, -EINVAL, "say where the results are; see quire help report");
	return code;
}

static int write_page(const char *path, const struct gathered *all, struct quire_error *err)
{
	FILE *f = fopen(path, "we");
	bool failed;

	if (!f)
		return quire_fail(err, -EIO, "cannot write %.300s: %m", path);
	page_of_all(f, all);
	failed = ferror(f);
	if (fclose(f) || failed)
		return quire_fail(err, -EIO, "cannot write %.300s: %m", path);
	return 0;
}

static int report(const struct report_options *o, char **paths, struct gathered *all,
		  struct quire_error *err)
{
	int code = 0;

	for (; *paths && !code; paths++)
		code = gather_add(all, *paths, err);
	if (code)
		return code;
	gather_sort(all);
	code = o->json ? gather_json(stdout, all) : gather_show(stdout, all);
	if (code)
		return quire_fail(err, code, "cannot show the results: %s", strerror(-code));
	return o->html ? write_page(o->html, all, err) : 0;
}

int cmd_report(int argc, char **argv)
{
	struct report_options o = { 0 };
	struct gathered all = { 0 };
	struct quire_error err = { "" };
	int code = parse_options(argc, argv, &o, &err), status;
	bool usage = code != 0;

	if (!code)
		code = report(&o, argv + optind, &all, &err);
	status = gather_passed(&all) ? 0 : STATUS_FAILED;
	gather_finish(&all);
	if (!code)
		return status;
	fprintf(stderr, "quire report: %s\n", err.text);
	return usage ? QUIRE_STATUS_USAGE : QUIRE_STATUS_HOST;
}
