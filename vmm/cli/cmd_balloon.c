/* SPDX-License-Identifier: MIT */
/*
 * quire balloon: how large guests are, why, and how large they shall be.
 *
 * Targets and reasons are the machine's, counters and statistics the VM's, so the command asks
 * both.  People type and read the size of the guest, as with other tools.  The machine and the VM
 * count the size of the balloon, which is RAM less the guest.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>
#include <quire/abi.h>
#include "mmu/machine/balloon_policy.h"
#include "mmu/machine/client.h"
#include "args.h"
#include "vmm/look/act.h"
#include "vmm/look/act.h"
#include "vmm/look/balloon_json.h"
#include "cmd.h"
#include "mmu/base/clock.h"
#include "vmm/look/named.h"
#include "vmm/look/report.h"
#include "vmm/look/stats_balloon.h"
#include "vmm/print/table.h"

#define WAIT_NS	       (10 * NS_PER_S)
#define LOOK_US	       20000
#define STATUS_NOT_YET 1

const char balloon_usage[] =
	"usage: quire balloon [--json] [--machine=ADDRESS]\n"
	"       quire balloon [OPTION...] VM [SIZE|auto]\n"
	"       quire balloon [OPTION...] --all SIZE|auto\n"
	"       quire balloon [--json] --why VM\n"
	"\n"
	"Without VM: the size of each guest and of its balloon.  A guest with a virtio-balloon\n"
	"driver puts pages into its balloon that it can do without, and the machine has them at\n"
	"once.  With VM: all counters of its balloon, and what the guest says of its\n"
	"memory.\n" USAGE_VMS "\n"
	"  SIZE               set by hand how much memory the guest has: at most its RAM, at\n"
	"                     least --balloon-min.  It stays so until the next SIZE or auto\n"
	"  auto               let the machine's policy decide, from now on\n"
	"  --all              all guests of this user; for root, those of all users.  Guests with\n"
	"                     --balloon=off are left out\n"
	"  --wait[=SECONDS]   return when the guest has got to SIZE, or after so many seconds\n"
	"                     (default 10)\n"
	"  --why VM           the last decisions of the policy about VM, at most 16, the newest\n"
	"                     last, each with its reason (docs/balloon.md)\n"
	"  --json             what is shown, as quire.balloon/1 (docs/stats.md)\n"
	"  --machine=ADDRESS  guests of this machine only: @NAME or the path of its socket\n"
	"                     (default: QUIRE_MACHINE in the environment)\n"
	"\n"
	"Exit status: 0; 1 the target is set, but the guest has no driver, or a broken one, or\n"
	"does not answer, or --wait was too short; 2 wrong usage, or a SIZE beyond RAM or below\n"
	"--balloon-min; 121 no such VM, it does not answer, has no machine now, or runs with\n"
	"--balloon=off.  Of several guests, the highest.\n";

struct balloon_options {
	const char *vm, *size; /* NULL: not given */
	const char *machine;   /* NULL: all that are found */
	bool all, why, wait, json;
	uint64_t wait_ns;
};

/* A VM that is meant, and its machine. */
struct subject {
	const struct roster *roster;
	const struct roster_vm *vm;
	struct machine_client *machine; /* NULL: not reached yet */
	uint64_t ram_pages;
};

static int parse_wait(struct balloon_options *o, const char *seconds, struct quire_error *err)
{
	o->wait = true;
	return seconds ? parse_seconds(seconds, &o->wait_ns, err) : 0;
}

static int take_words(int argc, char **argv, struct balloon_options *o, struct quire_error *err)
{
	char **word = argv + optind;
	int most = o->why || o->all ? 1 : 2;

	if (argc - optind > most)
		return quire_fail(err, -EINVAL, "%s: unexpected; see quire help balloon",
				  argv[argc - 1]);
	if (o->all && (o->why || !*word))
		return quire_fail(err, -EINVAL, "--all goes with a SIZE or auto");
	if (!o->all && *word)
		o->vm = *word++;
	o->size = *word;
	if (o->why && !o->vm)
		return quire_fail(err, -EINVAL, "--why: say which VM, by name or pid");
	if (o->json && o->size)
		return quire_fail(err, -EINVAL, "--json shows; set %s without it, and then look",
				  o->size);
	if (o->wait && (!o->size || !strcmp(o->size, "auto")))
		return quire_fail(err, -EINVAL, "--wait goes with a VM and a SIZE");
	return 0;
}

static int parse_options(int argc, char **argv, struct balloon_options *o, struct quire_error *err)
{
	static const struct option options[] = {
		{ "all", no_argument, NULL, 'a' },	     { "why", no_argument, NULL, 'y' },
		{ "wait", optional_argument, NULL, 'w' },    { "json", no_argument, NULL, 'j' },
		{ "machine", required_argument, NULL, 'm' }, { 0 },
	};
	int c;

	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == '?')
			return unknown_option(argv, err);
		if (c == 'y')
			o->why = true;
		else if (c == 'a')
			o->all = true;
		else if (c == 'j')
			o->json = true;
		else if (c == 'm')
			o->machine = optarg;
		else if (parse_wait(o, optarg, err))
			return refused_value(options, c, err);
	}
	if (take_words(argc, argv, o, err))
		return -EINVAL;
	return named_address(o->machine, &o->machine, err);
}

/* ---- the VMs that are meant ---- */

static void warn(const char *text)
{
	fprintf(stderr, "quire balloon: %s\n", text);
}

static int find_all(struct roster *r, const char *machine, struct quire_error *err)
{
	int code = roster_find_machines(r, machine, err);

	return code ? code : roster_find_vms(r, machine != NULL, false, err);
}

/* The roster with only the VMs that are meant. */
static int find_named(struct roster *r, const struct balloon_options *o, struct quire_error *err)
{
	struct named list = { 0 };
	int code = o->all ? named_add_all(&list, err) : named_add(&list, o->vm, err);

	if (!code)
		code = find_all(r, o->machine, err);
	if (!code)
		code = roster_keep(r, &list, err);
	named_finish(&list);
	return code;
}

static const char *pages_text(uint64_t pages)
{
	return size_text(pages * QUIRE_PAGE_SIZE);
}

/* What the guest has when so many pages are in the balloon. */
static const char *guest_text(uint64_t ram, uint64_t balloon)
{
	return pages_text(ram - min_u64(balloon, ram));
}

/* ---- setting ---- */

static int parse_target(const struct subject *s, const char *size,
			struct machine_balloon_target *target, struct quire_error *err)
{
	uint64_t bytes, pages;

	*target = (struct machine_balloon_target){ .manual = strcmp(size, "auto") != 0 };
	if (!target->manual)
		return 0;
	if (parse_size(size, &bytes, NULL))
		return quire_fail(err, -EINVAL,
				  "'%.80s' is neither a size nor auto; a size is a "
				  "number and K, M, G or T",
				  size);
	pages = bytes / QUIRE_PAGE_SIZE;
	if (pages > s->ram_pages)
		return quire_fail(err, -EINVAL, "VM %s cannot have %s, its RAM is %s", s->vm->name,
				  size, pages_text(s->ram_pages));
	target->pages = s->ram_pages - pages;
	return 0;
}

/* Why the guest will not follow, or NULL. */
static const char *excuse(const struct balloon_record *b)
{
	if (b->driver == BALLOON_NO_DRIVER)
		return "has no balloon driver; the target waits for one";
	if (b->driver == BALLOON_DRIVER_BROKEN)
		return "has a balloon driver that broke the rules; the target waits for its reset";
	return b->silent_since_ns ? "does not answer; the target waits for it" : NULL;
}

static int look(const struct subject *s, struct balloon_record *b, struct quire_error *err)
{
	struct named_vm named = { .alone = true };
	struct ctl_info info;
	int fd, code;

	memcpy(named.name, s->vm->name, sizeof(named.name));
	fd = named_open(&named, err);
	if (fd < 0)
		return fd;
	code = ctl_get_info(fd, &info, err);
	close(fd);
	if (!code)
		*b = info.vm.balloon;
	return code;
}

/* 0: the guest has got there; STATUS_NOT_YET: it has not, and *err says why; -errno. */
static int wait_for(const struct subject *s, uint64_t pages, uint64_t ns, struct quire_error *err)
{
	uint64_t until = monotonic_ns() + ns;
	struct balloon_record b;
	int code;

	while (!(code = look(s, &b, err)) && b.actual != pages) {
		if (excuse(&b))
			return quire_fail(err, STATUS_NOT_YET, "the guest of VM %s %s", s->vm->name,
					  excuse(&b));
		if (monotonic_ns() >= until)
			return quire_fail(err, STATUS_NOT_YET,
					  "VM %s has not got there yet: %" PRIu64 " of %" PRIu64
					  " pages are in its balloon",
					  s->vm->name, b.actual, pages);
		usleep(LOOK_US);
	}
	return code;
}

static int set_size(struct subject *s, const struct balloon_options *o, struct quire_error *err)
{
	struct machine_balloon_target target;
	struct machine_balloon_state state;
	struct balloon_record b;
	int code = parse_target(s, o->size, &target, err);

	if (!code)
		code = act_reach_machine(s->roster, s->vm, &s->machine, err);
	if (!code)
		code = act_set_balloon(s->machine, s->vm, &target, &state, err);
	if (!code && o->wait)
		code = wait_for(s, target.pages, o->wait_ns, err);
	if (code)
		return code;
	code = look(s, &b, err);
	if (!code && excuse(&b))
		code = quire_fail(err, STATUS_NOT_YET, "the guest of VM %s %s", s->vm->name,
				  excuse(&b));
	if (!code)
		printf("VM %s: %s of %s, %s; target %" PRIu64 " pages in the balloon, now %" PRIu64
		       "\n",
		       s->vm->name, guest_text(s->ram_pages, state.target_pages),
		       pages_text(s->ram_pages), state.manual ? "by hand" : "by policy",
		       state.target_pages, b.actual);
	return code;
}

/* ---- showing ---- */

static int show(struct subject *s, struct quire_error *err)
{
	const struct balloon_record *b = &s->vm->info.balloon;
	struct machine_balloon_state state;
	int code = s->vm->id ? act_reach_machine(s->roster, s->vm, &s->machine, err) : 0;

	if (!code && s->vm->id)
		code = machine_client_balloon_get(s->machine, s->vm->id, &state, err);
	if (code)
		return code;
	printf("VM %s: the guest has %s of %s, and is to have %s\n", s->vm->name,
	       guest_text(s->ram_pages, b->actual), pages_text(s->ram_pages),
	       guest_text(s->ram_pages, b->target));
	report_balloon(stdout, &s->vm->info);
	if (!s->vm->id)
		return 0;
	report_group(stdout, "policy");
	report_word(stdout, "the target is", state.manual ? "set by hand" : "the policy's");
	report_count(stdout, "shares", state.shares);
	report_pages(stdout, "the guest keeps", state.min_pages);
	report_pages(stdout, "target", state.target_pages);
	return 0;
}

static void put_row(struct table *t, const struct roster_vm *vm)
{
	const struct balloon_record *b = &vm->info.balloon;
	uint64_t ram = vm->info.mem.s2.ram_pages, available;
	bool there = b->mode != BALLOON_MODE_OFF;

	table_cell(t, "%s", vm->name);
	table_cell(t, "%s", there && b->manual ? "manual" : balloon_mode_name(b->mode));
	table_cell(t, "%s", pages_text(ram));
	table_cell(t, "%s", guest_text(ram, b->actual));
	table_cell(t, "%s", there ? guest_text(ram, b->target) : "-");
	table_cell(t, "%s", there ? pages_text(b->actual) : "-");
	table_cell(t, "%s",
		   balloon_guest_stat(b, BALLOON_TAG_AVAILABLE, &available) ? size_text(available) :
									      "-");
	table_cell(t, "%s",
		   !there	      ? "-" :
		   b->silent_since_ns ? "silent" :
					balloon_driver_name(b->driver));
}

static int print_table(const struct roster *r, struct quire_error *err)
{
	static const struct {
		const char *name;
		bool right;
	} head[] = {
		{ "NAME", false },  { "MODE", false },	 { "RAM", true },	{ "GUEST", true },
		{ "TARGET", true }, { "BALLOON", true }, { "AVAILABLE", true }, { "DRIVER", false },
	};
	struct table t = { 0 };
	int code = 0;

	if (r->nr_vms == 0) {
		puts("no VM is running");
		return 0;
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(head); i++)
		table_column(&t, head[i].name, head[i].right);
	for (unsigned int i = 0; i < r->nr_vms; i++)
		if (r->vm[i].answers)
			put_row(&t, &r->vm[i]);
	if (table_print(&t, stdout))
		code = quire_fail(err, -ENOMEM, "no memory for the table");
	table_finish(&t);
	return code;
}

static int show_all(const struct balloon_options *o, struct quire_error *err)
{
	struct roster r = { .warn = warn };
	int code = find_all(&r, o->machine, err);

	if (!code && o->json)
		balloon_json(stdout, &r, false);
	else if (!code)
		code = print_table(&r, err);
	roster_finish(&r);
	return code;
}

static int show_why(struct subject *s, struct quire_error *err)
{
	struct machine_decision decision[BALLOON_LOG_SIZE];
	unsigned int nr;
	char text[512];
	int code = act_reach_machine(s->roster, s->vm, &s->machine, err);

	if (!code)
		code = balloon_decisions(s->machine, s->vm->id, decision, &nr, err);
	if (code)
		return code;
	if (!nr)
		printf("nothing was decided about VM %s yet\n", s->vm->name);
	while (nr--) {
		const struct machine_decision *d = &decision[nr];
		uint64_t ago = d->now_ns - min_u64(d->what.last_ns, d->now_ns);

		balloon_describe(&d->what, text, sizeof(text));
		printf("%8.1f s ago  %s\n", (double)ago / 1e9, text);
	}
	return 0;
}

static int do_one(const struct roster *r, const struct roster_vm *vm,
		  const struct balloon_options *o, struct quire_error *err)
{
	struct subject s = { .roster = r, .vm = vm, .ram_pages = vm->info.mem.s2.ram_pages };
	int code = act_check_balloon(vm, err);

	if (!code)
		code = o->why ? show_why(&s, err) : o->size ? set_size(&s, o, err) : show(&s, err);
	machine_client_destroy(s.machine);
	return code;
}

static int status_of(int code)
{
	return code == -EINVAL ? QUIRE_STATUS_USAGE : code >= 0 ? code : QUIRE_STATUS_HOST;
}

/* With --json there is a document only if there is something to say of each VM. */
static int show_json(const struct roster *r, const struct balloon_options *o)
{
	struct quire_error err;

	for (unsigned int i = 0; i < r->nr_vms; i++) {
		struct subject s = { .roster = r, .vm = &r->vm[i] };
		int code = act_check_balloon(s.vm, &err);

		if (!code && o->why)
			code = act_reach_machine(r, s.vm, &s.machine, &err);
		machine_client_destroy(s.machine);
		if (code) {
			warn(err.text);
			return status_of(code);
		}
	}
	balloon_json(stdout, r, o->why);
	return 0;
}

/* Each VM is tried, whatever became of those before it.  The highest status. */
static int do_each(const struct roster *r, const struct balloon_options *o)
{
	struct quire_error err;
	int status = 0;

	for (unsigned int i = 0; i < r->nr_vms; i++) {
		const struct roster_vm *vm = &r->vm[i];
		int code;

		if (i && !o->size)
			putchar('\n');
		if (o->all && vm->answers && vm->info.balloon.mode == BALLOON_MODE_OFF) {
			printf("VM %s is left out: it was started with --balloon=off\n", vm->name);
			continue;
		}
		code = do_one(r, vm, o, &err);
		if (code)
			warn(err.text);
		if (status_of(code) > status)
			status = status_of(code);
	}
	return status;
}

static int run(const struct balloon_options *o, struct quire_error *err)
{
	struct roster r = { .warn = warn };
	int code = find_named(&r, o, err), status = status_of(code);

	if (!code && o->json)
		status = show_json(&r, o);
	else if (!code && !r.nr_vms)
		puts("no VM is running");
	else if (!code)
		status = do_each(&r, o);
	else
		warn(err->text);
	roster_finish(&r);
	return status;
}

int cmd_balloon(int argc, char **argv)
{
	struct balloon_options o = { .wait_ns = WAIT_NS };
	struct quire_error err = { "" };
	int code = parse_options(argc, argv, &o, &err);

	if (!code && (o.vm || o.all))
		return run(&o, &err);
	if (!code)
		code = show_all(&o, &err);
	if (code)
		warn(err.text);
	return status_of(code);
}
