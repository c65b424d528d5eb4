/* SPDX-License-Identifier: MIT */
/*
 * quire machine: the arbiter of many guests' memory, in the foreground, and quire machine set,
 * which changes one that runs.  Both read the same options into the same record: what is not
 * named keeps its default, or its value.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>
#include <quire/abi.h>
#include "mmu/machine/client.h"
#include "mmu/machine/server.h"
#include "mmu/base/mib.h"
#include "mmu/base/wire.h"
#include "vmm/launch/confine.h"
#include "args.h"
#include "cmd.h"
#include "vmm/print/json.h"
#include "vmm/look/stats.h"
#include "vmm/web/web.h"

const char machine_usage[] =
	"usage: quire machine [OPTION...] --memory=SIZE\n"
	"       quire machine set [OPTION...]\n"
	"\n"
	"Serves as the memory of many guests: admits them as Linux admits mappings under\n"
	"vm.overcommit_memory, and never lets what they have resident exceed SIZE.  Runs in the\n"
	"foreground until SIGTERM or SIGINT, which stops all guests in order.  Each event is a\n"
	"line on standard error, with the time (UTC) in front and all sizes in MiB.\n"
	"\n"
	"The second form changes a machine that runs.  A limit below what is committed only stops\n"
	"new guests.  Memory below what is in use makes the machine recall what guests can spare.\n"
	"\n"
	"  --machine=ADDRESS        where it listens: @NAME or the path of a socket (default:\n"
	"                           QUIRE_MACHINE in the environment; else one abstract address\n"
	"                           for each user)\n"
	"  --memory=SIZE            its memory, at least 4M\n"
	"  --swap=SIZE              its swap, which counts in the overcommit modes as in Linux;\n"
	"                           guests with --swap-dir use no more of their files (default 0)\n"
	"  --overcommit=0|0:estimate|1|2\n"
	"                           what it refuses, as vm.overcommit_memory.  0: a guest larger\n"
	"                           than memory and swap; 0:estimate: a guest larger than what is\n"
	"                           free, as Linux before 5.2; 1: nothing; 2: what does not fit\n"
	"                           under CommitLimit (default 0)\n"
	"  --overcommit-ratio=PCT   CommitLimit as percent of memory, plus swap (default 50)\n"
	"  --overcommit-bytes=SIZE  CommitLimit as a size, plus swap\n"
	"  --reserved-huge=SIZE     memory that CommitLimit leaves out (default 0)\n"
	"  --admin-reserve=SIZE     mode 2: memory that only root may commit (default: 1/32 of\n"
	"                           memory, at most 8M)\n"
	"  --user-reserve=SIZE      mode 2: how much each launcher leaves free, at most (default:\n"
	"                           1/32 of memory, at most 128M)\n"
	"  --http=ADDR:PORT         serve a page for browsers, which shows the machine and its\n"
	"                           guests (docs/web.md).  Its address is printed at the start,\n"
	"                           with the token that its buttons need.  127.0.0.1 is for this\n"
	"                           host alone; port 0 is any that is free\n"
	"  --metrics=ADDR:PORT      serve nothing but metrics, under /metrics\n"
	"  --json                   set: print what came of it as quire.machine/1\n"
	"                           (docs/stats.md); quire stat --json only looks\n"
	"\n"
	"Exit status: 0 stopped by a signal, or set; 2 wrong usage, or a setting that makes no\n"
	"sense; 121 it cannot listen there, or no machine answers.\n";

struct machine_options {
	const char *address;		  /* NULL: the default */
	struct machine_settings settings; /* its `fields` say which of them options named */
	bool huge, admin, user;		  /* options named these reserves */
	bool json;
	struct web_config web;
};

static int set_pages(struct machine_options *o, enum machine_field field, uint64_t *pages,
		     struct quire_error *err)
{
	uint64_t bytes;
	int code = parse_size(optarg, &bytes, err);

	*pages = code ? 0 : bytes / QUIRE_PAGE_SIZE;
	o->settings.fields |= field;
	return code;
}

static int set_reserve(struct machine_options *o, uint64_t *pages, bool *named,
		       struct quire_error *err)
{
	*named = true;
	return set_pages(o, MACHINE_SET_RESERVES, pages, err);
}

static int set_mode(struct machine_options *o, struct quire_error *err)
{
	static const char *const words[] = { "0", "0:estimate", "1", "2" };
	static const enum overcommit_mode modes[] = { OVERCOMMIT_GUESS, OVERCOMMIT_GUESS,
						      OVERCOMMIT_ALWAYS, OVERCOMMIT_NEVER };
	unsigned int index = 0;
	int code = parse_choice(optarg, words, ARRAY_SIZE(words), &index, err);

	o->settings.mode = modes[index];
	o->settings.guess = index == 1 ? GUESS_ESTIMATE : GUESS_TOTAL;
	o->settings.fields |= MACHINE_SET_MODE;
	return code;
}

static int set_ratio(struct machine_options *o, struct quire_error *err)
{
	uint64_t ratio = 0;
	int code = parse_count(optarg, 0, UINT32_MAX, &ratio, err);

	o->settings.ratio = (uint32_t)ratio;
	o->settings.fields |= MACHINE_SET_RATIO;
	return code;
}

static int set_option(struct machine_options *o, int c, struct quire_error *err)
{
	struct machine_settings *s = &o->settings;
	uint64_t bytes;

	switch (c) {
	case 'a': o->address = optarg; return 0;
	case 'j': o->json = true; return 0;
	case 'm':
		if (parse_machine_size(optarg, &bytes, err))
			return -EINVAL;
		return set_pages(o, MACHINE_SET_MEMORY, &s->memory_pages, err);
	case 'w': return set_pages(o, MACHINE_SET_SWAP, &s->swap_pages, err);
	case 'o': return set_mode(o, err);
	case 'r': return set_ratio(o, err);
	case 'b': return set_pages(o, MACHINE_SET_LIMIT, &s->limit_pages, err);
	case 'H': return set_reserve(o, &s->reserved_huge_pages, &o->huge, err);
	case 'A': return set_reserve(o, &s->admin_reserve_pages, &o->admin, err);
	case 'h': o->web.http = optarg; return 0;
	case 'M': o->web.metrics = optarg; return 0;
	case 'U': return set_reserve(o, &s->user_reserve_pages, &o->user, err);
	}
	return -EINVAL;
}

static int parse_options(int argc, char **argv, struct machine_options *o, struct quire_error *err)
{
	static const struct option options[] = {
		{ "machine", required_argument, NULL, 'a' },
		{ "memory", required_argument, NULL, 'm' },
		{ "swap", required_argument, NULL, 'w' },
		{ "overcommit", required_argument, NULL, 'o' },
		{ "overcommit-ratio", required_argument, NULL, 'r' },
		{ "overcommit-bytes", required_argument, NULL, 'b' },
		{ "reserved-huge", required_argument, NULL, 'H' },
		{ "admin-reserve", required_argument, NULL, 'A' },
		{ "user-reserve", required_argument, NULL, 'U' },
		{ "http", required_argument, NULL, 'h' },
		{ "metrics", required_argument, NULL, 'M' },
		{ "json", no_argument, NULL, 'j' },
		{ 0 },
	};
	const uint32_t both = MACHINE_SET_RATIO | MACHINE_SET_LIMIT;
	int c;

	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == '?')
			return unknown_option(argv, err);
		if (set_option(o, c, err))
			return refused_value(options, c, err);
	}
	if (optind != argc)
		return quire_fail(err, -EINVAL, "%s: unexpected; see quire help machine",
				  argv[optind]);
	if ((o->settings.fields & both) == both)
		return quire_fail(err, -EINVAL,
				  "--overcommit-ratio and --overcommit-bytes are two "
				  "ways to set one limit; choose one");
	return named_address(o->address, &o->address, err);
}

/* Reserves that no option named get these values, in pages. */
static void complete_reserves(struct machine_options *o, uint64_t huge, uint64_t admin,
			      uint64_t user)
{
	struct machine_settings *s = &o->settings;

	s->reserved_huge_pages = o->huge ? s->reserved_huge_pages : huge;
	s->admin_reserve_pages = o->admin ? s->admin_reserve_pages : admin;
	s->user_reserve_pages = o->user ? s->user_reserve_pages : user;
}

static struct ledger_config to_config(struct machine_options *o)
{
	const struct machine_settings *s = &o->settings;
	struct ledger_config c;

	ledger_defaults(&c, s->memory_pages, s->swap_pages);
	complete_reserves(o, 0, c.admin_reserve_pages, c.user_reserve_pages);
	c.mode = s->mode;
	c.guess = s->guess;
	c.ratio = s->fields & MACHINE_SET_RATIO ? s->ratio : c.ratio;
	c.limit_in_pages = s->fields & MACHINE_SET_LIMIT;
	c.limit_pages = s->limit_pages;
	c.reserved_huge_pages = s->reserved_huge_pages;
	c.admin_reserve_pages = s->admin_reserve_pages;
	c.user_reserve_pages = s->user_reserve_pages;
	return c;
}

/* Each line has the time in front (UTC), so that logs of several machines can be sorted. */
static void log_line(void *ctx, const char *line)
{
	struct timespec now;
	char text[32];
	struct tm tm;

	(void)ctx;
	clock_gettime(CLOCK_REALTIME, &now);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", gmtime_r(&now.tv_sec, &tm));
	fprintf(stderr, "%s.%03ldZ machine: %s\n", text, now.tv_nsec / 1000000, line);
}

/* The settings in one line, for the log and for `quire machine set`. */
static const char *settings_text(const struct machine_state *s)
{
	static char text[160];

	snprintf(text, sizeof(text), "memory %s, swap %s, mode %u, CommitLimit %s, committed %s",
		 mib_text(s->settings.memory_pages), mib_text(s->settings.swap_pages),
		 s->settings.mode, mib_text(s->commit_limit_pages), mib_text(s->committed_pages));
	return text;
}

/* Each guest takes four descriptors here. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

/* Readable once SIGTERM or SIGINT has come; or -errno. */
static int stop_signals(void)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int serve(struct machine *m, const char *address, struct quire_error *err)
{
	int code, stop = stop_signals();
	struct machine_state s;
	char name[64], line[256];

	if (stop < 0)
		return quire_fail(err, stop, "cannot wait for signals: %s", strerror(-stop));
	code = machine_listen(m, address, err);
	if (!code) {
		machine_get_state(m, &s);
		snprintf(line, sizeof(line), "ready at %s, %s",
			 wire_address_name(address, name, sizeof(name)), settings_text(&s));
		log_line(NULL, line);
		confine_machine(m);
		code = machine_run(m, stop);
		if (code)
			quire_fail(err, code, "cannot go on: %s", strerror(-code));
	}
	close(stop);
	return code;
}

/* The observer ends with us: what it is held by stays open.  *news: -1 if there is none. */
static int start_observer(struct machine_options *o, int *news, struct quire_error *err)
{
	struct web_process observer = { .news = -1 };
	int code = 0;

	if (o->web.http || o->web.metrics) {
		o->web.machine = o->address;
		o->web.log = log_line;
		code = web_start(&o->web, &observer, err);
	}
	*news = observer.news;
	return code;
}

static int create(const struct machine_config *config, int news, struct machine **out,
		  struct quire_error *err)
{
	int code = machine_create(config, out, err);

	if (code || news < 0)
		return code;
	code = machine_adopt_news(*out, news);
	if (code) {
		quire_fail(err, code, "cannot poll a pipe: %s", strerror(-code));
		machine_destroy(*out);
	}
	return code;
}

static int run_machine(struct machine_options *o, struct quire_error *err)
{
	struct machine_config config = { .log = log_line };
	struct machine *m;
	int code, news;

	if (o->json)
		return quire_fail(err, -EINVAL, "--json goes with quire machine set");
	if (!(o->settings.fields & MACHINE_SET_MEMORY))
		return quire_fail(err, -EINVAL,
				  "say how much memory the machine has: --memory=SIZE");
	config.ledger = to_config(o);
	raise_descriptor_limit();
	close_range(STDERR_FILENO + 1, ~0u, 0);
	tzset();
	code = start_observer(o, &news, err);
	if (!code)
		code = create(&config, news, &m, err);
	if (code)
		return code;
	signal(SIGCHLD, SIG_IGN); /* the starter may end before us, and nobody waits for it */
	code = serve(m, o->address, err);
	machine_destroy(m);
	return code;
}

static void print_settings(const struct machine_options *o, const struct machine_state *s)
{
	struct json json;
	char name[64];

	if (!o->json) {
		printf("%s\n", settings_text(s));
		return;
	}
	json_init(&json, stdout);
	json_begin_object(&json, NULL);
	json_text(&json, "schema", "quire.machine/1");
	json_text(&json, "address", wire_address_name(o->address, name, sizeof(name)));
	stats_machine(&json, s);
	json_end_object(&json);
}

static int set_machine(struct machine_options *o, struct quire_error *err)
{
	struct machine_client *client;
	struct machine_state s;
	int code;

	if (!o->settings.fields)
		return quire_fail(err, -EINVAL, "nothing to set; see quire help machine");
	if (o->web.http || o->web.metrics)
		return quire_fail(err, -EINVAL,
				  "--http and --metrics are for a machine that starts");
	code = machine_client_connect(o->address, &client, err);
	if (code)
		return code;
	code = machine_client_get(client, &s, err);
	if (!code) {
		complete_reserves(o, s.settings.reserved_huge_pages, s.settings.admin_reserve_pages,
				  s.settings.user_reserve_pages);
		code = machine_client_set(client, &o->settings, &s, err);
	}
	machine_client_destroy(client);
	if (!code)
		print_settings(o, &s);
	return code;
}

int cmd_machine(int argc, char **argv)
{
	bool set = argc > 1 && !strcmp(argv[1], "set");
	struct machine_options options = { 0 };
	struct quire_error err = { "" };
	int code = parse_options(argc - set, argv + set, &options, &err);

	if (!code)
		code = set ? set_machine(&options, &err) : run_machine(&options, &err);
	if (!code)
		return 0;
	fprintf(stderr, "quire machine: %s\n", err.text);
	return code == -EINVAL ? QUIRE_STATUS_USAGE : QUIRE_STATUS_HOST;
}
