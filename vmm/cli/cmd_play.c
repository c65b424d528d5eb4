/* SPDX-License-Identifier: MIT */
/* quire play: scenarios (vmm/play). */
#include <errno.h>
#include <quire/abi.h>
#include <quire/types.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "vmm/play/play.h"
#include "vmm/report/folder.h"
#include "vmm/vm/signals.h"
#include "args.h"
#include "cmd.h"

#define STATUS_FAILED 1

const char play_usage[] =
	"usage: quire play [OPTION...] FILE\n"
	"\n"
	"Plays the scenario that FILE, in YAML, describes: starts a machine and guests, acts on\n"
	"them at given times, and checks what the scenario expects of their memory.  It ends by\n"
	"itself, with a verdict, and leaves no process behind, however it ends.  docs/play.md\n"
	"has the form of a scenario; docs/scenarios has some.\n"
	"\n"
	"  --check   only read FILE, and say all that is wrong with it, a line each, with the\n"
	"            line and column\n"
	"  --seed=N  instead of the scenario's: what its guests get for $seed\n"
	"  --tap     print the verdict as TAP, a test for each check\n"
	"  --json    print the result as JSON (quire.play/1), with samples of all numbers\n"
	"  --report=DIR\n"
	"            write the result into this folder, which is made if need be: result.json,\n"
	"            index.html, a page of all of it, and its pictures as SVG\n"
	"  --verbose say on standard error what is done, and what guests print\n"
	"\n"
	"Exit status: 0 all checks passed, or FILE is right; 1 a check failed; 2 wrong usage, or\n"
	"something is wrong with FILE; 121 the host cannot do it, or the machine died; 130\n"
	"Ctrl-C, 143 SIGTERM and so on.\n";

struct play_options {
	uint64_t seed;
	bool check, tap, json, verbose;
	const char *report; /* a folder; NULL: none */
};

static int parse_options(int argc, char **argv, struct play_options *o, struct quire_error *err)
{
	const struct plain_option options[] = {
		{ .name = "check", .flag = &o->check },
		{ .name = "seed", .count = &o->seed, .max = INT32_MAX },
		{ .name = "tap", .flag = &o->tap },
		{ .name = "json", .flag = &o->json },
		{ .name = "report", .word = &o->report },
		{ .name = "verbose", .flag = &o->verbose },
	};
	int code = read_plain_options(argc, argv, options, ARRAY_SIZE(options), err);

	if (code)
		return code;
	if (!argv[optind] || argv[optind + 1])
		return quire_fail(err, -EINVAL, "one FILE is needed; see quire help play");
	if (o->tap && o->json)
		return quire_fail(err, -EINVAL, "--tap and --json exclude each other");
	return 0;
}

/* Into the folder first: nobody may read standard output any more. */
static int print(const struct play_options *o, const json_t *result, struct quire_error *err)
{
	int written = o->report ? folder_write(o->report, result, err) : 0;
	int code = o->json ? result_json(stdout, result) :
		   o->tap  ? result_tap(stdout, result) :
			     result_show(stdout, result);

	if (code)
		return quire_fail(err, code, "cannot write the result: %s", strerror(-code));
	return written;
}

/* The exit status, or -errno with *err. */
static int play(const struct scenario *s, const struct play_options *o, struct quire_error *err)
{
	json_t *result = NULL;
	sigset_t blocked;
	int signals = signals_open(false, &blocked), code, shown;

	if (signals < 0)
		return quire_fail(err, signals, "cannot wait for signals: %s", strerror(-signals));
	code = play_scenario(s, signals, o->verbose, &result, err);
	close(signals);
	shown = result ? print(o, result, code < 0 ? NULL : err) : 0;
	if (!code)
		code = shown ? shown : result_failures(result) ? STATUS_FAILED : 0;
	else if (code > 0)
		code += 128;
	json_decref(result);
	return code;
}

static void print_faults(const char *file, const struct scenario_faults *faults)
{
	for (unsigned int i = 0; i < faults->nr; i++)
		fprintf(stderr, "%s:%u:%u: %s\n", file, faults->fault[i].line,
			faults->fault[i].column, faults->fault[i].text);
}

/* As play(); *usage: what failed is for the user to mend. */
static int read_and_play(const char *file, const struct play_options *o, bool *usage,
			 struct quire_error *err)
{
	struct scenario_faults *faults = calloc(1, sizeof(*faults));
	struct scenario *s = calloc(1, sizeof(*s));
	int code = -ENOMEM;

	quire_fail(err, code, "no memory");
	if (faults && s) {
		code = scenario_read(file, s, faults, err);
		*usage = code != 0;
		if (code == -EINVAL)
			print_faults(file, faults);
		if (o->seed != UINT64_MAX)
			s->seed = o->seed;
		if (!code && !o->check && o->report)
			code = folder_prepare(o->report, err);
		if (!code && !o->check)
			code = play(s, o, err);
		scenario_finish(s);
	}
	free(faults);
	free(s);
	return code;
}

int cmd_play(int argc, char **argv)
{
	struct play_options o = { .seed = UINT64_MAX };
	struct quire_error err = { "" };
	int code = parse_options(argc, argv, &o, &err);
	bool usage = code != 0;

	if (!code) {
		code = read_and_play(argv[optind], &o, &usage, &err);
		if (usage && code == -EINVAL)
			return QUIRE_STATUS_USAGE; /* each fault was said */
	}
	if (code >= 0)
		return code;
	fprintf(stderr, "quire play: %s\n", err.text);
	return usage ? QUIRE_STATUS_USAGE : QUIRE_STATUS_HOST;
}
