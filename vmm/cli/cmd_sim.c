/* SPDX-License-Identifier: MIT */
/* quire sim: replacement policies over traces, and traces to try them on. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <quire/abi.h>
#include "mmu/reclaim/pattern.h"
#include "args.h"
#include "cmd.h"
#include "sim_report.h"

const char sim_usage[] =
	"usage: quire sim replace [OPTION...] TRACE|-\n"
	"       quire sim trace --pattern=NAME [OPTION...]\n"
	"\n"
	"replace runs page-replacement policies over a trace, and says how many faults, evictions\n"
	"and write-backs each has.  TRACE has a line for each access: the page, decimal or 0xHEX,\n"
	"then r or w or nothing.  # begins a comment.  - means standard input.\n"
	"trace writes a trace.\n"
	"\n"
	"replace:\n"
	"\n"
	"  --policy=clock|lru|lfu|fifo|random|gen|opt|all\n"
	"                   which of them, or several with commas between (default all); opt\n"
	"                   knows the future, and nothing has fewer faults\n"
	"  --frames=N       the size of the memory, in pages\n"
	"  --mrc            the miss ratio for memories of 1 page up to all pages\n"
	"  --svg=FILE|-     draw that as a picture; with - to standard output, and nothing else\n"
	"  --batch=N        as under a virtual machine: N pages leave at a time, and only then\n"
	"                   the policy hears which pages were used (default: each use at once)\n"
	"  --seed=N         for random (default 1)\n"
	"  --json           print quire.sim/1 (docs/reclaim.md)\n"
	"\n"
	"trace:\n"
	"\n"
	"  --pattern=zipf|scan|random|phases|mixed\n"
	"                   which pages are accessed; phases: a working set that moves; mixed:\n"
	"                   zipf, with scans in between\n"
	"  --pages=N        how many pages there are (default 10000)\n"
	"  --length=N       how many accesses (default 1000000)\n"
	"  --writes=PERCENT how many of them are writes (default 25)\n"
	"  --seed=N         another trace of this kind (default 1)\n"
	"\n"
	"Exit status: 0; 2 wrong usage, or a trace that is none; 121 a file cannot be read or\n"
	"written, or there is no memory.\n";

/* ---- replace ---- */

struct replace_options {
	struct sim_report report;
	const char *svg;
	bool mrc, json;
};

/* The words of --policy, into report->asked. */
static int read_policies(const char *text, void *value, struct quire_error *err)
{
	struct sim_report *report = value;
	const char *words[SIM_NR_POLICIES + 1];
	char copy[128], *rest = copy, *word;
	unsigned int p;

	for (p = 0; p < SIM_NR_POLICIES; p++)
		words[p] = sim_name(p);
	words[p] = "all";
	memset(report->asked, 0, sizeof(report->asked));
	if ((size_t)snprintf(copy, sizeof(copy), "%s", text) >= sizeof(copy))
		return quire_fail(err, -EINVAL, "the list is too long");
	while ((word = strsep(&rest, ","))) {
		if (parse_choice(word, words, ARRAY_SIZE(words), &p, err))
			return -EINVAL;
		for (unsigned int i = 0; i < SIM_NR_POLICIES; i++)
			report->asked[i] |= p == i || p == SIM_NR_POLICIES;
	}
	return 0;
}

static int parse_replace(int argc, char **argv, struct replace_options *opt,
			 struct quire_error *err)
{
	uint64_t frames = 0, batch = 0;
	const struct plain_option options[] = {
		{ .name = "policy", .read = read_policies, .value = &opt->report },
		{ .name = "frames", .count = &frames, .min = 1, .max = UINT32_MAX },
		{ .name = "mrc", .flag = &opt->mrc },
		{ .name = "svg", .word = &opt->svg },
		{ .name = "batch", .count = &batch, .min = 1, .max = UINT32_MAX },
		{ .name = "seed", .count = &opt->report.sim.seed, .max = UINT64_MAX },
		{ .name = "json", .flag = &opt->json },
	};
	int code = read_plain_options(argc, argv, options, ARRAY_SIZE(options), err);

	if (code)
		return code;
	if (argc - optind != 1)
		return quire_fail(err, -EINVAL, "say which trace, a file or -; see quire help sim");
	if (!frames && !opt->mrc && !opt->svg)
		return quire_fail(err, -EINVAL,
				  "say how large the memory is: --frames=N, or --mrc for all "
				  "sizes");
	if (opt->json && opt->svg && !strcmp(opt->svg, "-"))
		return quire_fail(err, -EINVAL,
				  "--json and --svg=- both write to standard output; choose one");
	opt->report.name = argv[optind];
	opt->report.sim.frames = (uint32_t)frames;
	opt->report.sim.batch = (uint32_t)batch;
	opt->report.curve = opt->mrc || opt->svg;
	return 0;
}

static int read_trace(struct sim_report *report, struct trace *t, struct quire_error *err)
{
	bool standard_input = !strcmp(report->name, "-");
	FILE *f = standard_input ? stdin : fopen(report->name, "re");
	int code;

	if (!f)
		return quire_fail(err, -EIO, "cannot read %s: %m", report->name);
	if (standard_input)
		report->name = "standard input";
	code = trace_read(t, f, report->name, err);
	if (!standard_input)
		fclose(f);
	report->trace = t;
	return code;
}

static int run_policies(struct sim_report *r, struct quire_error *err)
{
	int code = 0;

	r->nr_points = r->curve ? sim_points(r->trace->nr_pages, r->frames) : 0;
	for (unsigned int p = 0; p < SIM_NR_POLICIES && !code; p++) {
		r->sim.policy = p;
		if (r->asked[p] && r->sim.frames)
			code = sim_run(r->trace, &r->sim, &r->result[p], err);
		if (r->asked[p] && !code)
			code = sim_curve(r->trace, &r->sim, r->frames, r->nr_points, r->faults[p],
					 err);
	}
	return code;
}

static int write_svg(const struct replace_options *opt, struct quire_error *err)
{
	FILE *f = fopen(opt->svg, "we");
	struct stat st;
	bool regular, failed;

	if (!f)
		return quire_fail(err, -EIO, "cannot write %s: %m", opt->svg);
	regular = fstat(fileno(f), &st) == 0 && S_ISREG(st.st_mode);
	sim_report_svg(f, &opt->report);
	failed = ferror(f);
	if (!fclose(f) && !failed)
		return 0;
	if (regular)
		unlink(opt->svg); /* half a picture is none; a device stays */
	return quire_fail(err, -EIO, "cannot write %s: %m", opt->svg);
}

static int show(const struct replace_options *opt, struct quire_error *err)
{
	int code = 0;

	if (opt->svg && !strcmp(opt->svg, "-")) {
		sim_report_svg(stdout, &opt->report);
		return 0;
	}
	if (opt->svg)
		code = write_svg(opt, err);
	if (!code && opt->json)
		sim_report_json(stdout, &opt->report);
	else if (!code && sim_report_text(stdout, &opt->report))
		code = quire_fail(err, -ENOMEM, "no memory for the table");
	return code;
}

static int replace(int argc, char **argv, struct quire_error *err)
{
	struct replace_options opt = { .report = { .sim = { .seed = 1 } } };
	struct trace t = { 0 };
	int code;

	memset(opt.report.asked, 1, sizeof(opt.report.asked));
	code = parse_replace(argc, argv, &opt, err);
	if (!code)
		code = read_trace(&opt.report, &t, err);
	if (!code)
		code = run_policies(&opt.report, err);
	if (!code)
		code = show(&opt, err);
	trace_finish(&t);
	return code;
}

/* ---- trace ---- */

static int read_pattern(const char *text, void *value, struct quire_error *err)
{
	return parse_choice(text, pattern_names, PATTERN_KINDS, value, err);
}

static int make_trace(int argc, char **argv, struct quire_error *err)
{
	uint64_t pages = 10000, writes = 25;
	struct pattern pattern = { .kind = PATTERN_KINDS, .length = 1000000, .seed = 1 };
	const struct plain_option options[] = {
		{ .name = "pattern", .read = read_pattern, .value = &pattern.kind },
		{ .name = "pages", .count = &pages, .min = 1, .max = PATTERN_MAX_PAGES },
		{ .name = "length", .count = &pattern.length, .min = 1, .max = UINT64_MAX },
		{ .name = "writes", .count = &writes, .max = 100 },
		{ .name = "seed", .count = &pattern.seed, .max = UINT64_MAX },
	};
	int code = read_plain_options(argc, argv, options, ARRAY_SIZE(options), err);

	if (code)
		return code;
	if (optind < argc)
		return quire_fail(err, -EINVAL, "%s: unexpected; see quire help sim", argv[optind]);
	if (pattern.kind == PATTERN_KINDS)
		return quire_fail(err, -EINVAL, "say which pattern: --pattern=zipf, for instance");
	pattern.nr_pages = (uint32_t)pages;
	pattern.write_percent = (uint32_t)writes;
	return pattern_write(&pattern, stdout, err);
}

int cmd_sim(int argc, char **argv)
{
	struct quire_error err = { "" };
	int code;

	if (argc > 1 && !strcmp(argv[1], "replace")) {
		argv[1] = argv[0]; /* errors say which help to read */
		code = replace(argc - 1, argv + 1, &err);
	} else if (argc > 1 && !strcmp(argv[1], "trace")) {
		argv[1] = argv[0];
		code = make_trace(argc - 1, argv + 1, &err);
	} else {
		code = quire_fail(&err, -EINVAL, "say replace or trace; see quire help sim");
	}
	if (!code && (fflush(stdout) || ferror(stdout)))
		code = quire_fail(&err, -EIO, "cannot write to standard output: %m");
	if (!code)
		return 0;
	fprintf(stderr, "quire sim: %s\n", err.text);
	return code == -EINVAL ? QUIRE_STATUS_USAGE : QUIRE_STATUS_HOST;
}
