/* SPDX-License-Identifier: MIT */
/* quire events: what machines decide, and why. */
#include <errno.h>
#include <string.h>
#include <quire/abi.h>
#include "args.h"
#include "cmd.h"
#include "mmu/machine/client.h"
#include "vmm/look/event_json.h"
#include "vmm/look/look.h"

#define WAIT_MS 30000 /* then a follower asks again */

const char events_usage[] =
	"usage: quire events [--follow] [--machine=ADDRESS] [VM]\n"
	"\n"
	"What a machine has decided, and what has happened to its guests: a JSON object in a\n"
	"line of its own for each event, quire.event/1, with the reason and the numbers.  The\n"
	"machine keeps the last 1024.  docs/metrics.md lists them.  With VM: only what is about\n"
	"it, by its name, the NAME of several guests NAME-1, NAME-2 and so on, or its pid.  It\n"
	"may have ended.\n"
	"\n"
	"  --follow           go on until the machine ends; an event of kind `lost` says how\n"
	"                     many were missed, because they were not read in time\n"
	"  --machine=ADDRESS  this machine: @NAME or the path of its socket (default:\n"
	"                     QUIRE_MACHINE in the environment; else the only machine that\n"
	"                     runs, or the one at the default address)\n"
	"\n"
	"Exit status: 0; 2 wrong usage; 121 no such machine, or it does not answer; with\n"
	"--follow 0 when the machine has ended.\n";

struct events_options {
	const char *machine, *vm;
	bool follow;
};

static int read_options(int argc, char **argv, struct events_options *opt, struct quire_error *err)
{
	const struct plain_option options[] = {
		{ .name = "follow", .flag = &opt->follow },
		{ .name = "machine", .word = &opt->machine },
	};
	int code = read_plain_options(argc, argv, options, ARRAY_SIZE(options), err);

	if (!code && argc - optind > 1)
		code = quire_fail(err, -EINVAL, "%s: name one VM, or none", argv[optind + 1]);
	if (!code)
		opt->vm = argv[optind];
	return code ? code : named_address(opt->machine, &opt->machine, err);
}

/* ---- which machine ---- */

static void warn(const char *text)
{
	fprintf(stderr, "quire events: %s\n", text);
}

static int connect_to(const char *address, struct machine_client **out, struct quire_error *err)
{
	struct roster roster = { .warn = warn };
	const struct roster_machine *machine;
	int code;

	if (address)
		return machine_client_look(address, out, NULL, err);
	code = roster_find_machines(&roster, NULL, err);
	machine = code ? NULL : look_machine(&roster);
	if (!code && machine)
		code = machine_client_look(machine->address, out, NULL, err);
	else if (!code && !roster.nr_machines)
		code = quire_fail(err, -ENOENT, "no machine is running");
	else if (!code)
		code = quire_fail(err, -EINVAL,
				  "%u machines are running, among them %s and %s: choose one with "
				  "--machine=",
				  roster.nr_machines, roster.machine[0].address,
				  roster.machine[1].address);
	roster_finish(&roster);
	return code;
}

/* ---- telling ---- */

struct telling {
	const char *vm; /* NULL: all */
	uint64_t next;	/* sequence number; 0: not known yet */
};

static void tell(void *ctx, const struct machine_event *e)
{
	struct telling *t = ctx;

	if (t->next && e->seq > t->next)
		event_json_lost(stdout, t->next, e->seq);
	t->next = e->seq + 1;
	if (!t->vm || event_is_of(e, t->vm))
		event_json(stdout, e);
}

/* Tell what there is from *from on.  0, or -errno with *err. */
static int tell_all(struct machine_client *machine, struct telling *t, uint64_t *from,
		    struct quire_error *err)
{
	uint64_t before;
	int code;

	do {
		before = *from;
		code = machine_client_events(machine, from, 0, tell, t, err);
	} while (!code && *from != before && !ferror(stdout));
	return code;
}

static int follow(struct machine_client *machine, struct telling *t, uint64_t *from,
		  struct quire_error *err)
{
	int code = 0;

	while (!code && !fflush(stdout))
		code = machine_client_events(machine, from, WAIT_MS, tell, t, err);
	return code == -ECONNRESET ? 0 : code;
}

static int show(const struct events_options *opt, struct quire_error *err)
{
	struct telling telling = { .vm = opt->vm };
	struct machine_client *machine;
	uint64_t from = 0;
	int code = connect_to(opt->machine, &machine, err);

	if (code)
		return code;
	code = tell_all(machine, &telling, &from, err);
	if (!code && opt->follow)
		code = follow(machine, &telling, &from, err);
	machine_client_destroy(machine);
	return code;
}

int cmd_events(int argc, char **argv)
{
	struct events_options opt = { 0 };
	struct quire_error err = { "" };
	int code = read_options(argc, argv, &opt, &err);

	if (!code)
		code = show(&opt, &err);
	if (!code)
		return 0;
	fprintf(stderr, "quire events: %s\n", err.text);
	return code == -EINVAL ? QUIRE_STATUS_USAGE : QUIRE_STATUS_HOST;
}
