/* SPDX-License-Identifier: MIT */
/* quire: one binary, subcommands. */
#include <errno.h>
#include <signal.h>
#include <fcntl.h>
#include <quire/abi.h>
#include <quire/types.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "vmm/cli/cmd.h"
#include "mmu/base/clock.h"

static const struct command commands[] = {
	{ "run", cmd_run, "run a guest image in a new virtual machine", run_usage },
	{ "top", cmd_top, "show machines and guests all the time", top_usage },
	{ "ps", cmd_ps, "list the running guests", ps_usage },
	{ "stat", cmd_stat, "show the counters of a machine or a guest", stat_usage },
	{ "metrics", cmd_metrics, "write the counters for Prometheus", metrics_usage },
	{ "events", cmd_events, "tell what machines decide, and why", events_usage },
	{ "kill", cmd_kill, "end running guests", kill_usage },
	{ "pause", cmd_pause, "keep guests from running", pause_usage },
	{ "resume", cmd_resume, "let paused guests go on", resume_usage },
	{ "merge", cmd_merge, "show what merging gains, and steer it", merge_usage },
	{ "balloon", cmd_balloon, "show the guests' balloons, and set their size", balloon_usage },
	{ "reclaim", cmd_reclaim, "compress or swap out what guests do not use", reclaim_usage },
	{ "map", cmd_map, "show the state of a running guest's pages", map_usage },
	{ "walk", cmd_walk, "translate a guest address, reference by reference", walk_usage },
	{ "dump", cmd_dump, "write a guest's memory to a file", dump_usage },
	{ "dis", cmd_dis, "disassemble a running guest's code", dis_usage },
	{ "why", cmd_why, "say where a guest's processors are, or tell a page's story", why_usage },
	{ "trace", cmd_trace, "record which pages a guest touches", trace_usage },
	{ "machine", cmd_machine, "serve as the memory of many guests", machine_usage },
	{ "play", cmd_play, "play a scenario, and check what it expects", play_usage },
	{ "stress", cmd_stress, "try overcommit out, and verify every byte", stress_usage },
	{ "report", cmd_report, "show many results of scenarios at once", report_usage },
	{ "sim", cmd_sim, "compare page-replacement policies over a trace", sim_usage },
};

static int help(void)
{
	puts("quire runs guests and shows what becomes of every page of their memory.\n"
	     "\n"
	     "usage: quire COMMAND [ARG...]\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		printf("  %-8s %s\n", commands[i].name, commands[i].summary);
	puts("  help     this text, or `quire help COMMAND`; also COMMAND --help\n"
	     "\n"
	     "quire version (also --version, -V) prints the version.  Errors are one line on\n"
	     "standard error.");
	return 0;
}

static const struct command *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(name, commands[i].name))
			return &commands[i];
	return NULL;
}

static int unknown(const char *name)
{
	fprintf(stderr, "quire: no command '%s', see quire help\n", name);
	return QUIRE_STATUS_USAGE;
}

static bool is_one_of(const char *arg, const char *a, const char *b)
{
	return !strcmp(arg, a) || !strcmp(arg, b);
}

static int help_command(const char *name)
{
	const struct command *command = find(name);

	if (!strcmp(name, "help") || !strcmp(name, "version") || is_one_of(name, "--help", "-h"))
		return help();
	if (!command)
		return unknown(name);
	fputs(command->usage, stdout);
	return 0;
}

static int refuse(const char *word)
{
	fprintf(stderr, "quire: %s: unexpected, see quire help\n", word);
	return QUIRE_STATUS_USAGE;
}

/* argv[0] is `version` or an option that means it. */
static int version(int argc, char **argv)
{
	if (argc > 1 && is_one_of(argv[1], "--help", "-h"))
		return help();
	if (argc > 1)
		return refuse(argv[1]);
	puts("quire " QUIRE_VERSION);
	return 0;
}

/* Behind `run` the words may be the guest's; only the first one is surely not. */
static bool asks_for_help(const struct command *command, int argc, char **argv)
{
	int words = command->run == cmd_run && argc > 1 ? 1 : argc;

	for (int i = 0; i < words && strcmp(argv[i], "--"); i++)
		if (is_one_of(argv[i], "--help", "-h"))
			return true;
	return false;
}

/* A closed standard descriptor would be the next file opened: /dev/kvm as stdout. */
static int open_standard_descriptors(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_WRONLY : O_RDONLY) != fd)
			return -errno;
	return 0;
}

static int dispatch(int argc, char **argv)
{
	const struct command *command;

	if (argc < 2) {
		fputs("quire: no command, see quire help\n", stderr);
		return QUIRE_STATUS_USAGE;
	}
	if (is_one_of(argv[1], "version", "--version") || !strcmp(argv[1], "-V"))
		return version(argc - 1, argv + 1);
	if (is_one_of(argv[1], "help", "--help") || !strcmp(argv[1], "-h")) {
		if (argc > 3)
			return refuse(argv[3]);
		return argc > 2 ? help_command(argv[2]) : help();
	}
	command = find(argv[1]);
	if (!command)
		return unknown(argv[1]);
	if (asks_for_help(command, argc - 2, argv + 2))
		return help_command(argv[1]);
	return command->run(argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
	int status;

	process_start_ns = monotonic_ns();
	signal(SIGXFSZ, SIG_IGN); /* a file too large is an error like any other */
	if (open_standard_descriptors())
		return QUIRE_STATUS_HOST;
	if (!cmd_is_part(argc, argv, &status))
		status = dispatch(argc, argv);
	if (fflush(stdout) && !status) {
		fprintf(stderr, "quire: cannot write to standard output: %s\n", strerror(errno));
		return QUIRE_STATUS_HOST;
	}
	return status;
}
