/* SPDX-License-Identifier: MIT */
/*
 * quire merge: what merging comes to, and steering it.
 *
 * Changes go to each VM that is meant.  Each failure is one line, and one failure is enough for
 * the status.  A VM that ends meanwhile is a failure only if a word meant it alone.
 *
 * `now` asks all VMs for a pass at once and waits for all of them, because what one VM finds is
 * often what another has just looked up.  It goes round again as long as a round gained something.
 * It goes round twice in any case: to the first round, what was written since the last pass is
 * volatile.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <quire/abi.h>
#include "args.h"
#include "cmd.h"
#include "vmm/look/merge_saved.h"
#include "vmm/look/merge_totals.h"
#include "merge_who.h"
#include "vmm/look/named.h"
#include "vmm/look/stats.h"
#include "vmm/print/table.h"

#define MIN_ROUNDS  2
#define MAX_ROUNDS  8
#define LOOK_US	    10000  /* the first wait for the end of a pass */
#define LOOK_MAX_US 200000 /* each wait is twice the last one, up to this */

const char merge_usage[] =
	"usage: quire merge [--json] [--machine=ADDRESS]\n"
	"       quire merge on|zero|off|now VM...\n"
	"       quire merge on|zero|off|now --all|--domain=NAME\n"
	"       quire merge --who VM GFN\n"
	"\n"
	"Without VM: what merging gains over all guests of this user and their machines, under\n"
	"KSM's names; for all private pages why they are not merged; and each domain\n"
	"(docs/stats.md).\n" USAGE_VMS "\n"
	"  on, zero, off      merge equal pages, only pages of zeroes, or nothing.  zero and off\n"
	"                     make merged pages private again as far as memory allows, and say\n"
	"                     what became of them\n"
	"  now                scan all pages that may have changed, now: at least two passes, at\n"
	"                     most eight, until nothing more merges; says what it gained.  Guests\n"
	"                     with merging off are left out\n"
	"  --all              all guests of this user; for root, those of all users\n"
	"  --domain=NAME      all guests that merge within this domain\n"
	"  --json             the totals as JSON (quire.merge/1)\n"
	"  --machine=ADDRESS  the totals of this machine and its guests only: @NAME or the path\n"
	"                     of its socket (default: QUIRE_MACHINE in the environment)\n"
	"  --who VM GFN       list every page that shares the frame of page number GFN (its\n"
	"                     address / 4096, decimal or 0xHEX): a line for each guest, its name\n"
	"                     and the numbers of its pages\n"
	"\n"
	"Exit status: 0; 1 nobody shares the page of --who; 2 wrong usage, or no RAM there; 121 a\n"
	"VM does not exist, does not answer, or ended meanwhile although it was named.\n";

struct merge_options {
	const char *who, *machine, *domain; /* NULL: not given */
	bool json, all;
};

/* ---- the VMs that are meant ---- */

struct target {
	char name[VM_NAME_MAX + 1];
	bool alone; /* as in struct named_vm */
	int fd;	    /* -1: has failed, or gone */
	uint64_t ticket;
	bool waiting; /* for a pass to reach the ticket */
	struct vm_info start, now;
};

struct targets {
	struct target *vm;
	unsigned int nr;
	bool by_words; /* not by --all or --domain */
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

/* Go on without this VM. */
static void drop(struct target *vm)
{
	close(vm->fd);
	vm->fd = -1;
	vm->waiting = false;
}

static void lose(struct targets *t, struct target *vm, int code, const char *why)
{
	if (vm->alone || code != -ECONNRESET)
		complain(t, "%s: %s", vm->name, why);
	drop(vm);
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

static void add_target(struct targets *t, const struct named_vm *named)
{
	struct target *vm = &t->vm[t->nr];
	struct quire_error why;

	*vm = (struct target){ .alone = named->alone, .fd = named_open(named, &why) };
	if (vm->fd < 0) {
		if (named->alone || vm->fd != -ECONNREFUSED)
			complain(t, "%s", why.text);
		return;
	}
	memcpy(vm->name, named->name, sizeof(vm->name));
	t->nr++;
	if (ask_info(t, vm, &vm->start))
		vm->now = vm->start;
}

static void keep_domain(struct targets *t, const char *domain)
{
	unsigned int kept = 0;

	for (unsigned int i = 0; i < t->nr; i++) {
		struct target *vm = &t->vm[i];

		if (vm->fd >= 0 && !strcmp(vm->start.domain, domain))
			t->vm[kept++] = *vm;
		else if (vm->fd >= 0)
			close(vm->fd);
	}
	t->nr = kept;
	if (!kept)
		complain(t, "no VM merges in domain '%s'; quire merge lists the domains", domain);
}

static void read_words(struct targets *t, char **words, struct named *list)
{
	struct quire_error why;

	t->by_words = true;
	for (; *words; words++)
		if (named_add(list, *words, &why))
			complain(t, "%s", why.text);
}

static int find_targets(struct targets *t, const struct merge_options *opt, char **words,
			struct quire_error *err)
{
	struct named list = { 0 };
	int code = 0;

	if (*words)
		read_words(t, words, &list);
	else
		code = named_add_all(&list, err);
	t->vm = code ? NULL : calloc(list.nr + 1, sizeof(*t->vm));
	if (!code && !t->vm)
		code = quire_fail(err, -ENOMEM, "no memory for %u VMs", list.nr);
	for (unsigned int i = 0; i < list.nr && !code; i++)
		add_target(t, &list.vm[i]);
	named_finish(&list);
	if (!code && opt->domain)
		keep_domain(t, opt->domain);
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

/* Look how far all are; how many are still waited for. */
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

/* Have each VM make a pass, and wait until all have. */
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

/* What all VMs that are still there have gained since the start. */
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

/* With merging off, a pass would make pages private again, which nobody asked for. */
static void leave_out_off(struct targets *t)
{
	for (unsigned int i = 0; i < t->nr; i++) {
		struct target *vm = &t->vm[i];

		if (vm->fd < 0 || vm->start.merge.mode != KEEPER_OFF)
			continue;
		printf("%s is left out: merging is off there; quire merge on %s switches it on\n",
		       vm->name, vm->name);
		drop(vm);
	}
}

/* For VMs that were named, another line has said why there is none left. */
static void say_nobody(const struct targets *t)
{
	if (!t->by_words && !t->status)
		puts("there is no VM to merge");
}

/* What all this saves now.  Nobody else may share some of the pages that were merged. */
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

/* Pages that are merged, and may not be in this mode. */
static uint64_t undue_pages(const struct vm_info *info, enum keeper_mode mode)
{
	return stats_state_pages(info, "shared") +
	       (mode == KEEPER_OFF ? stats_state_pages(info, "zero") : 0);
}

/* Count them over all VMs that are still there; returns how many VMs these are. */
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

/* Switch to off or zero.  Of zero there is something to say only if anything was shared. */
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
	printf("made %" PRIu64 " pages private again, with %s of frames of their own\n", undone,
	       size_text(undone * QUIRE_PAGE_SIZE));
	if (left)
		printf("left %" PRIu64 " pages merged until they are written: there is no memory "
		       "for %s of frames of their own\n",
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

/* Acting on everybody's guests has to be asked for. */
static int check_targets(const struct merge_options *opt, char **words, struct quire_error *err)
{
	unsigned int ways = (*words != NULL) + opt->all + (opt->domain != NULL);

	if (!ways)
		return quire_fail(err, -EINVAL,
				  "say which VMs, by name or pid, or --all, or --domain=NAME");
	if (ways > 1)
		return quire_fail(err, -EINVAL,
				  "choose one of VMs by name, --all and --domain=NAME");
	return 0;
}

static int act(const struct merge_options *opt, char **argv, struct quire_error *err)
{
	struct targets t = { 0 };
	int action = parse_action(argv[0], err), code;

	if (action < 0 || check_targets(opt, argv + 1, err))
		return QUIRE_STATUS_USAGE;
	code = find_targets(&t, opt, argv + 1, err);
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
	const struct plain_option options[] = {
		{ .name = "json", .flag = &opt->json },	      { .name = "who", .word = &opt->who },
		{ .name = "machine", .word = &opt->machine }, { .name = "all", .flag = &opt->all },
		{ .name = "domain", .word = &opt->domain },
	};
	int code = read_plain_options(argc, argv, options, ARRAY_SIZE(options), err);

	if (code)
		return code;
	if ((opt->json || opt->machine) && (opt->who || optind < argc))
		return quire_fail(err, -EINVAL, "%s is for the totals; leave out the rest",
				  opt->json ? "--json" : "--machine");
	if ((opt->all || opt->domain) && (opt->who || optind == argc))
		return quire_fail(err, -EINVAL, "%s goes with on, zero, off or now",
				  opt->all ? "--all" : "--domain");
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
	return optind < argc ? act(&opt, argv + optind, err) : show_totals(&opt, err);
}

int cmd_merge(int argc, char **argv)
{
	struct quire_error err = { "" };
	int status = run(argc, argv, &err);

	if (err.text[0])
		fprintf(stderr, "quire merge: %s\n", err.text);
	return status;
}
