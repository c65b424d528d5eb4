/* SPDX-License-Identifier: MIT */
/*
 * quire merge: what merging comes to, and steering it.
 *
 * Changes go to each VM named, or to all that answer; each failure is one line, and one is enough
 * for the status.  A VM that ends while others are waited for is no failure unless it was named.
 *
 * `now` asks all VMs for a pass at once and waits for all of them, because what one finds is often
 * what another has just looked up.  So it goes round again, as long as a round gained something;
 * and once in any case: to the first round, what was written since the last pass is volatile.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <quire/abi.h>
#include "args.h"
#include "cmd.h"
#include "merge_saved.h"
#include "merge_totals.h"
#include "merge_who.h"
#include "stats.h"
#include "table.h"

#define MIN_ROUNDS  2
#define MAX_ROUNDS  8
#define LOOK_US	    10000  /* between two looks whether a pass is over ... */
#define LOOK_MAX_US 200000 /* ... growing to that */

const char merge_usage[] =
	"usage: quire merge [--json] [--machine=ADDRESS]\n"
	"       quire merge on|zero|off|now [VM...]\n"
	"       quire merge --who VM GFN\n"
	"\n"
	"Alone: what merging comes to over all VMs of this user and their machines, under KSM's\n"
	"names, for all private pages why they are not merged, and each domain (docs/stats.md).\n"
	"\n"
	"  on, zero, off  merge equal pages, only pages of zeroes, or nothing: these VMs, by name\n"
	"                 or pid, or all; zero and off make merged pages private again, as far as\n"
	"                 memory allows, and say what became of them\n"
	"  now            look at all pages that may have changed, now, twice, and on while that\n"
	"                 gains something, and say what it gained; when it returns the passes are\n"
	"                 over\n"
	"  --json         the totals as JSON, exact and in stable form\n"
	"  --machine=ADDRESS\n"
	"                 the totals of this machine and its VMs only: @NAME or the path of its\n"
	"                 socket\n"
	"  --who VM GFN   every page that shares the frame of this one (its gpa / 4096): a line\n"
	"                 for each VM, with its name and the pages' numbers\n"
	"\n"
	"Exit status: 0; 1 the page of --who is not shared; 2 wrong usage, or no RAM there; 121\n"
	"one of the VMs does not exist or does not answer, or one that was named ended\n"
	"meanwhile.\n";

/* ---- the VMs that are meant ---- */

struct target {
	char name[VM_NAME_MAX + 1]; /* as it was named */
	int fd;			    /* -1: has failed, or gone */
	uint64_t ticket;
	bool waiting; /* for a pass to reach the ticket */
	struct vm_info start, now;
};

struct targets {
	struct target *vm;
	unsigned int nr;
	bool named; /* each VM by its name: all have to be there */
	int status;
};

static void complain(struct targets *t, const char *fmt, ...)
{
	va_list ap;

	fputs("quire merge: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	t->status = QUIRE_STATUS_HOST;
}

/* This one is out. */
static void lose(struct targets *t, struct target *vm, int code, const char *why)
{
	if (t->named || code != -ECONNRESET)
		complain(t, "%s: %s", vm->name, why);
	close(vm->fd);
	vm->fd = -1;
	vm->waiting = false;
}

static bool ask_info(struct targets *t, struct target *vm, struct vm_info *out)
{
	struct quire_error err;
	struct ctl_info info;
	int code = ctl_get_info(vm->fd, &info, &err);

	if (code)
		lose(t, vm, code, err.text);
	else
		*out = info.vm;
	return !code;
}

static void add_target(struct targets *t, const char *name, int fd)
{
	struct target *vm = &t->vm[t->nr++];

	snprintf(vm->name, sizeof(vm->name), "%s", name);
	vm->fd = fd;
	if (ask_info(t, vm, &vm->start))
		vm->now = vm->start;
}

static int find_named(struct targets *t, unsigned int nr, char **names, struct quire_error *err)
{
	t->named = true;
	t->vm = calloc(nr, sizeof(*t->vm));
	if (!t->vm)
		return quire_fail(err, -ENOMEM, "no memory for %u VMs", nr);
	for (unsigned int i = 0; i < nr; i++) {
		struct quire_error why;
		int fd = ctl_connect(names[i], &why);

		if (fd < 0)
			complain(t, "%s", why.text);
		else
			add_target(t, names[i], fd);
	}
	return 0;
}

static int find_all(struct targets *t, struct quire_error *err)
{
	struct roster r = { .warn = NULL };
	int code = roster_find_vms(&r, false, false, err);

	t->vm = code ? NULL : calloc(r.nr_vms + 1, sizeof(*t->vm));
	if (!code && !t->vm)
		code = quire_fail(err, -ENOMEM, "no memory for %u VMs", r.nr_vms);
	for (unsigned int i = 0; i < r.nr_vms && !code; i++) {
		int fd = r.vm[i].answers ? ctl_open(r.vm[i].name, CTL_PATIENCE_S) : -EAGAIN;

		if (fd >= 0)
			add_target(t, r.vm[i].name, fd);
		else if (fd == -EAGAIN)
			complain(t, "%s: the VM does not answer", r.vm[i].name);
	}
	roster_finish(&r);
	return code;
}

static void finish(struct targets *t)
{
	for (unsigned int i = 0; i < t->nr; i++)
		if (t->vm[i].fd >= 0)
			close(t->vm[i].fd);
	free(t->vm);
}

/* ---- passes ---- */

static void request_pass(struct targets *t, struct target *vm)
{
	struct quire_error err;
	int code = ctl_merge_now(vm->fd, &vm->ticket, &err);

	if (code)
		lose(t, vm, code, err.text);
	else
		vm->waiting = true;
}

/* Who is still waited for? */
static unsigned int look(struct targets *t)
{
	unsigned int waiting = 0;

	for (unsigned int i = 0; i < t->nr; i++) {
		struct target *vm = &t->vm[i];

		if (!vm->waiting || !ask_info(t, vm, &vm->now))
			continue;
		vm->waiting = vm->now.merge_passes < vm->ticket;
		waiting += vm->waiting;
	}
	return waiting;
}

/* One pass of each, and its end. */
static void pass(struct targets *t)
{
	unsigned int us = LOOK_US;

	for (unsigned int i = 0; i < t->nr; i++)
		if (t->vm[i].fd >= 0)
			request_pass(t, &t->vm[i]);
	while (look(t)) {
		usleep(us);
		us = us * 2 < LOOK_MAX_US ? us * 2 : LOOK_MAX_US;
	}
}

/* ---- now ---- */

struct gain {
	uint64_t merged, zeroed;
	unsigned int vms;
};

/* Since the start, of all that are still there. */
static struct gain gained(const struct targets *t)
{
	struct gain g = { 0 };

	for (unsigned int i = 0; i < t->nr; i++) {
		const struct target *vm = &t->vm[i];

		if (vm->fd < 0)
			continue;
		g.merged += vm->now.merge.merged_pages - vm->start.merge.merged_pages;
		g.zeroed += vm->now.merge.zeroed_pages - vm->start.merge.zeroed_pages;
		g.vms++;
	}
	return g;
}

/* A pass where merging is off would un-share, which nobody asked for. */
static void leave_out_off(struct targets *t)
{
	for (unsigned int i = 0; i < t->nr; i++) {
		struct target *vm = &t->vm[i];

		if (vm->fd >= 0 && vm->start.merge.mode == KEEPER_OFF)
			lose(t, vm, t->named ? -EINVAL : -ECONNRESET,
			     "merging is off; quire merge on switches it on");
	}
}

/* Of those that were named it has been said what was the matter. */
static void say_nobody(const struct targets *t)
{
	if (!t->named)
		puts("no VM to do that with");
}

/* What all this comes to now; of the pages above some may have been shared by nobody else. */
static void say_saved(struct targets *t)
{
	const struct vm_info **vm = calloc(t->nr, sizeof(*vm));
	struct quire_error err = { "no memory" };
	struct merge_saved saved;
	unsigned int nr = 0, unknown;

	for (unsigned int i = 0; i < t->nr && vm; i++)
		if (t->vm[i].fd >= 0)
			vm[nr++] = &t->vm[i].now;
	if (!vm || merge_saved_find(vm, nr, &saved, &unknown, &err)) {
		complain(t, "cannot say what is saved: %s", err.text);
	} else {
		merge_saved_text(stdout, &saved, "now share");
		if (unknown)
			printf("of %u VM%s the machine is not found here, and what they share is "
			       "not in this\n",
			       unknown, unknown == 1 ? "" : "s");
	}
	free(vm);
}

static void merge_now(struct targets *t)
{
	struct gain g = gained(t), before;
	unsigned int rounds = 0;

	leave_out_off(t);
	do {
		before = g;
		pass(t);
		g = gained(t);
		rounds++;
	} while (g.vms && rounds < MAX_ROUNDS &&
		 (rounds < MIN_ROUNDS || g.merged + g.zeroed > before.merged + before.zeroed));
	if (!g.vms) {
		say_nobody(t);
		return;
	}
	printf("merged %" PRIu64 " pages and found %" PRIu64
	       " of zeroes, in %u pass%s of %u VM%s\n",
	       g.merged, g.zeroed, rounds, rounds == 1 ? "" : "es", g.vms, g.vms == 1 ? "" : "s");
	say_saved(t);
}

/* ---- on, zero, off ---- */

static void set_mode(struct targets *t, enum keeper_mode mode)
{
	for (unsigned int i = 0; i < t->nr; i++) {
		struct target *vm = &t->vm[i];
		struct quire_error err;
		int code = vm->fd < 0 ? 0 : ctl_set_merge(vm->fd, mode, &err);

		if (code)
			lose(t, vm, code, err.text);
	}
}

/* Pages that are merged and shall not be in this mode. */
static uint64_t undue_pages(const struct vm_info *info, enum keeper_mode mode)
{
	return stats_state_pages(info, "shared") +
	       (mode == KEEPER_OFF ? stats_state_pages(info, "zero") : 0);
}

/* Of all that are there; how many these are. */
static unsigned int count_undue(const struct targets *t, enum keeper_mode mode, uint64_t *undone,
				uint64_t *left)
{
	unsigned int vms = 0;

	*undone = *left = 0;
	for (unsigned int i = 0; i < t->nr; i++) {
		const struct target *vm = &t->vm[i];
		uint64_t was = undue_pages(&vm->start, mode), is = undue_pages(&vm->now, mode);

		if (vm->fd < 0)
			continue;
		vms++;
		*left += is;
		*undone += was - min_u64(is, was);
	}
	return vms;
}

/* To off, or to zero, of which there is something to say only if anything was shared. */
static void switch_down(struct targets *t, enum keeper_mode mode)
{
	uint64_t left, undone;
	unsigned int vms;

	set_mode(t, mode);
	count_undue(t, mode, &undone, &left);
	if (mode == KEEPER_OFF || left)
		pass(t);
	vms = count_undue(t, mode, &undone, &left);
	if (!vms)
		say_nobody(t);
	if (!vms || (mode != KEEPER_OFF && !undone && !left))
		return;
	printf("made %" PRIu64 " pages (%s) private again\n", undone,
	       size_text(undone * QUIRE_PAGE_SIZE));
	if (left)
		printf("left %" PRIu64
		       " pages (%s) merged until they are written: there is no memory "
		       "for them\n",
		       left, size_text(left * QUIRE_PAGE_SIZE));
}

/* ---- the command ---- */

enum action { ACTION_OFF, ACTION_ZERO, ACTION_ON, ACTION_NOW, NR_ACTIONS };

/* An enum action, or -EINVAL. */
static int parse_action(const char *text, struct quire_error *err)
{
	static const char *const name[NR_ACTIONS] = { "off", "zero", "on", "now" };

	for (unsigned int i = 0; i < NR_ACTIONS; i++)
		if (!strcmp(text, name[i]))
			return (int)i;
	return quire_fail(err, -EINVAL,
			  "'%.80s' is not known, use on, zero, off or now, and then the "
			  "VMs; see quire help merge",
			  text);
}

static int act(int argc, char **argv, struct quire_error *err)
{
	struct targets t = { 0 };
	int action = parse_action(argv[0], err), code;

	if (action < 0)
		return QUIRE_STATUS_USAGE;
	code = argc > 1 ? find_named(&t, (unsigned int)argc - 1, argv + 1, err) : find_all(&t, err);
	if (!code && action == ACTION_NOW)
		merge_now(&t);
	else if (!code && action == ACTION_ON)
		set_mode(&t, KEEPER_ON);
	else if (!code)
		switch_down(&t, action == ACTION_OFF ? KEEPER_OFF : KEEPER_ZERO);
	finish(&t);
	return code ? QUIRE_STATUS_HOST : t.status;
}

static void warn(const char *text)
{
	fprintf(stderr, "quire merge: %s\n", text);
}

struct merge_options {
	const char *who, *machine;
	bool json;
};

static int print_totals(const struct roster *r, bool json, struct quire_error *err)
{
	struct merge_totals totals;
	int code = merge_totals(r, &totals);

	if (!code && json)
		merge_totals_json(stdout, &totals, r);
	else if (!code)
		code = merge_totals_text(stdout, &totals, r);
	merge_totals_finish(&totals);
	return code ? quire_fail(err, code, "no memory for the domains") : 0;
}

static int show_totals(const struct merge_options *opt, struct quire_error *err)
{
	struct roster roster = { .warn = warn };
	int code = roster_find_machines(&roster, opt->machine, err);

	if (!code)
		code = roster_find_vms(&roster, opt->machine != NULL, false, err);
	if (!code)
		code = print_totals(&roster, opt->json, err);
	roster_finish(&roster);
	return code ? QUIRE_STATUS_HOST : 0;
}

static int parse_options(int argc, char **argv, struct merge_options *opt, struct quire_error *err)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "who", required_argument, NULL, 'w' },
		{ "machine", required_argument, NULL, 'm' },
		{ 0 },
	};
	int c;

	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == '?')
			return unknown_option(argv, err);
		switch (c) {
		case 'j': opt->json = true; break;
		case 'm': opt->machine = optarg; break;
		case 'w': opt->who = optarg; break;
		}
	}
	if ((opt->json || opt->machine) && (opt->who || optind < argc))
		return quire_fail(err, -EINVAL, "%s is for the totals, without anything else",
				  opt->json ? "--json" : "--machine");
	if (opt->who && argc - optind != 1)
		return quire_fail(err, -EINVAL,
				  "--who takes a VM and one page's number: "
				  "quire merge --who VM GFN");
	return named_address(opt->machine, &opt->machine, err);
}

static int run(int argc, char **argv, struct quire_error *err)
{
	struct merge_options opt = { 0 };

	if (parse_options(argc, argv, &opt, err))
		return QUIRE_STATUS_USAGE;
	if (opt.who)
		return merge_who(opt.who, argv[optind], err);
	return optind < argc ? act(argc - optind, argv + optind, err) : show_totals(&opt, err);
}

int cmd_merge(int argc, char **argv)
{
	struct quire_error err = { "" };
	int status = run(argc, argv, &err);

	if (err.text[0])
		fprintf(stderr, "quire merge: %s\n", err.text);
	return status;
}
