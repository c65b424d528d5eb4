/* SPDX-License-Identifier: MIT */
/*
 * From the command line of quire run to a struct run (run.h): defaults, options (run_options.c),
 * what these must not be together, and what follows from all of them.
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <quire/abi.h>
#include "mmu/base/machine_protocol.h"
#include "args.h"
#include "cmd.h"
#include "run_options.h"

uint64_t process_start_ns;

#define DEFAULT_RAM	(128 * MiB)
#define DEFAULT_REBOOTS 100

/* Copies cannot share a tap, nor an address. */
static int check_nets(const struct run *run, struct quire_error *err)
{
	for (unsigned int i = 0; i < run->launch.nr_nets && run->launch.copies > 1; i++) {
		if (run->launch.net[i].kind == NET_TAP)
			return quire_fail(err, -EINVAL,
					  "--net=tap:%s is for one guest, not -n %u: give each "
					  "guest a quire run and a tap of its own",
					  run->launch.net[i].tap, run->launch.copies);
		if (run->vm_config.net[i].has_mac)
			return quire_fail(err, -EINVAL,
					  "mac= is for one guest, not -n %u: without it each gets "
					  "an address of its own",
					  run->launch.copies);
	}
	return 0;
}

/* What cannot be done twice, or not be compared. */
static int check_both(const struct run *run, struct quire_error *err)
{
	if (run->launch.copies > 1)
		return quire_fail(err, -EINVAL,
				  "--paging=both is for one guest, not -n %u: their lines come in "
				  "another order each time",
				  run->launch.copies);
	if (run->launch.wait_for)
		return quire_fail(err, -EINVAL,
				  "--paging=both compares whole runs; leave out --wait-for");
	for (unsigned int i = 0; i < run->vm_config.nr_disks; i++)
		if (run->vm_config.disk[i].mode == DISK_READ_WRITE)
			return quire_fail(err, -EINVAL,
					  "--paging=both: the second run would find what the first "
					  "wrote to %.160s; give it ,ro or ,overlay",
					  run->vm_config.disk[i].path);
	return 0;
}

/* Refuse options that do not go together. */
static int check_options(const struct run *run, struct quire_error *err)
{
	struct virtio_slot slot[QUIRE_VIRTIO_SLOTS];

	if (run->vm_config.nr_vcpus > 1 && run->irqchip == IRQCHIP_OFF)
		return quire_fail(err, -EINVAL,
				  "-c %u needs an interrupt controller to start the "
				  "other CPUs, leave out --irqchip=off",
				  run->vm_config.nr_vcpus);
	if (run->balloon_min_bytes != BALLOON_MIN_DEFAULT &&
	    run->balloon_min_bytes > run->vm_config.ram_bytes)
		return quire_fail(err, -EINVAL,
				  "--balloon-min: the guest cannot keep more than its RAM, "
				  "see -m");
	for (unsigned int i = 0; i < run->vm_config.nr_disks && run->launch.copies > 1; i++)
		if (run->vm_config.disk[i].mode == DISK_READ_WRITE)
			return quire_fail(err, -EINVAL,
					  "--disk: %u guests cannot all write to %.200s; give it "
					  ",ro or ,overlay",
					  run->launch.copies, run->vm_config.disk[i].path);
	if (vm_virtio_slots(&run->vm_config, slot) > QUIRE_VIRTIO_SLOTS)
		return quire_fail(err, -EINVAL,
				  "a guest has at most %u virtio devices, the balloon's place "
				  "among them",
				  QUIRE_VIRTIO_SLOTS);
	if (check_nets(run, err) || (run->both && check_both(run, err)))
		return -EINVAL;
	if (run->launch.machine && run->launch.own_option)
		return quire_fail(err, -EINVAL,
				  "%s is for a machine of its own; use --machine=own, or change "
				  "the one at %.100s with quire machine set",
				  run->launch.own_option, run->launch.machine);
	return 0;
}

/* --machine, or else the environment. */
static void choose_machine(struct launch_config *launch)
{
	const char *named = named_machine(launch->machine);

	launch->own_machine = named && !strcmp(named, MACHINE_OWN);
	launch->machine = launch->own_machine ? NULL : named;
}

/* `append` (may be NULL) and the ARGs, joined by blanks; malloc'd. */
static char *join_args(const char *append, char **args)
{
	size_t bytes = append ? strlen(append) + 1 : 1;
	char *line, *end;

	for (char **a = args; *a; a++)
		bytes += strlen(*a) + 1;
	line = end = malloc(bytes);
	if (!line)
		return NULL;
	end += sprintf(line, "%s", append ? append : "");
	for (char **a = args; *a; a++)
		end += sprintf(end, "%s%s", end == line ? "" : " ", *a);
	return line;
}

static void configure_ledger(struct run *run)
{
	struct ledger_config asked = run->launch.ledger, *ledger = &run->launch.ledger;
	uint64_t host = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t bytes = run->machine_bytes ? run->machine_bytes : host;

	ledger_defaults(ledger, bytes / QUIRE_PAGE_SIZE, run->swap_bytes / QUIRE_PAGE_SIZE);
	ledger->mode = asked.mode;
	ledger->guess = asked.guess;
	ledger->limit_in_pages = asked.limit_in_pages;
	ledger->limit_pages = asked.limit_pages;
	if (run->ratio >= 0)
		ledger->ratio = (uint32_t)run->ratio;
}

/* What the balloon leaves the guest at least, in whole pages. */
static uint64_t balloon_min_pages(const struct run *run)
{
	uint64_t bytes = run->balloon_min_bytes == BALLOON_MIN_DEFAULT ?
				 run->vm_config.ram_bytes / 4 :
				 run->balloon_min_bytes;

	return (bytes + QUIRE_PAGE_SIZE - 1) / QUIRE_PAGE_SIZE;
}

static void configure_launch(struct run *run)
{
	struct launch_config *launch = &run->launch;

	configure_ledger(run);
	launch->name = run->name;
	launch->domain = run->domain;
	launch->ram_bytes = run->vm_config.ram_bytes;
	launch->nr_vcpus = run->vm_config.nr_vcpus;
	launch->timeout_ns = run->vm_config.timeout_ns;
	launch->balloon_min_pages = balloon_min_pages(run);
	launch->ctx = run;
}

static void set_defaults(struct run *run)
{
	run->start_ns = process_start_ns;
	run->vm_config = (struct vm_config){
		.ram_bytes = DEFAULT_RAM,
		.nr_vcpus = 1,
		.merge = KEEPER_ON,
		.reclaim = RECLAIM_GEN,
		.swappiness = SWAPPINESS_DEFAULT,
		.balloon = BALLOON_MODE_AUTO,
	};
	run->launch.copies = 1;
	run->launch.max_reboots = DEFAULT_REBOOTS;
	run->launch.balloon = BALLOON_MODE_AUTO;
	run->launch.shares = MACHINE_SHARES_DEFAULT;
	run->balloon_min_bytes = BALLOON_MIN_DEFAULT;
	run->ratio = -1;
	run->vm_config.vga_text = true;
}

int run_parse(struct run *run, int argc, char **argv, struct quire_error *err)
{
	int ret;

	set_defaults(run);
	ret = run_read_options(run, argc, argv, err);
	if (ret)
		return ret;
	if (optind == argc)
		return quire_fail(err, -EINVAL, "no IMAGE, see quire help run");
	choose_machine(&run->launch);
	ret = check_options(run, err);
	if (ret)
		return ret;
	run->image_path = argv[optind];
	run->cmdline = join_args(run->append, argv + optind + 1);
	if (!run->cmdline)
		return quire_fail(err, -ENOMEM, "no memory for the guest's command line");
	configure_launch(run);
	return 0;
}

void run_set_default_names(struct run *run)
{
	if (!run->name[0])
		snprintf(run->name, sizeof(run->name), "%d", getpid());
	/* No other run has this domain: a pid comes again, but not with the same start. */
	if (!run->domain[0] && !run->domain_none)
		snprintf(run->domain, sizeof(run->domain), "run-%d-%llx", getpid(),
			 (unsigned long long)run->start_ns);
}
