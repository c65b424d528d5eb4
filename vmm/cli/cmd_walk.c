/* SPDX-License-Identifier: MIT */
/*
 * quire walk: how a processor of the guest would translate an address, reference by
 * reference, through the guest's tables and ours.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>
#include <quire/abi.h>
#include "args.h"
#include "cmd.h"
#include "mmu/base/clock.h"
#include "ctl_client.h"
#include "vmm/vm/render.h"

const char walk_usage[] =
	"usage: quire walk [--cpu=N] [--write|--fetch] [--user] VM GVA\n"
	"\n"
	"Shows how a vCPU of a running guest would translate a guest-virtual address: each memory\n"
	"reference through the guest's page tables and through stage 2, and the outcome.  Changes\n"
	"nothing in the guest.  VM is the name or the pid of a quire run; GVA is 0xHEX or a\n"
	"number.\n"
	"\n"
	"  --cpu=N  with the registers of vCPU N (0)\n"
	"  --write  as a write (a read)\n"
	"  --fetch  as an instruction fetch\n"
	"  --user   as CPL 3 (CPL 0)\n"
	"\n"
	"Exit status: 0 the access is allowed; 1 it is refused; 2 wrong usage, or no such\n"
	"vCPU; 121 no such VM, or it does not answer.\n";

struct walk_options {
	const char *vm;
	unsigned int cpu;
	gva_t gva;
	struct walk_access access;
};

#define MAX_CPU 65535

static int parse_options(int argc, char **argv, struct walk_options *opt, struct quire_error *err)
{
	static const struct option options[] = {
		{ "cpu", required_argument, NULL, 'c' },
		{ "write", no_argument, NULL, 'w' },
		{ "fetch", no_argument, NULL, 'f' },
		{ "user", no_argument, NULL, 'u' },
		{ 0 },
	};
	uint64_t cpu = 0;
	int c;

	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			if (parse_count(optarg, 0, MAX_CPU, &cpu, err))
				return -EINVAL;
			break;
		case 'w': opt->access.write = true; break;
		case 'f': opt->access.fetch = true; break;
		case 'u': opt->access.user = true; break;
		default: return unknown_option(argv, err);
		}
	}
	if (opt->access.write && opt->access.fetch)
		return quire_fail(err, -EINVAL, "--write and --fetch are two accesses; choose one");
	if (argc - optind != 2)
		return quire_fail(err, -EINVAL,
				  "say which VM (name or pid) and which address; "
				  "see quire help walk");
	opt->vm = argv[optind];
	opt->cpu = (unsigned int)cpu;
	return parse_address(argv[optind + 1], &opt->gva, err);
}

static int check_cpu(unsigned int cpu, const struct vm_info *vm, struct quire_error *err)
{
	if (cpu < vm->nr_vcpus)
		return 0;
	if (vm->nr_vcpus == 1)
		return quire_fail(err, -EINVAL, "VM %s has no vCPU %u, only vCPU 0", vm->name, cpu);
	return quire_fail(err, -EINVAL, "VM %s has no vCPU %u, only vCPUs 0 to %u", vm->name, cpu,
			  vm->nr_vcpus - 1);
}

/*
 * The VM's main loop waits for a vCPU a moment only, and after one that did not stop not again for
 * a second; on a busy host it may take one more of these moments.
 */
#define STOPPED_S 2

static int ask(int fd, const struct walk_options *opt, struct walk_result *res, uint8_t *state,
	       struct quire_error *err)
{
	uint64_t deadline_ns = monotonic_ns() + STOPPED_S * NS_PER_S;
	int code;

	while ((code = ctl_get_walk(fd, opt->cpu, opt->gva, opt->access, res, state, err)) ==
		       -ETIMEDOUT &&
	       monotonic_ns() < deadline_ns)
		usleep(100000);
	return code;
}

static int fetch(const struct walk_options *opt, struct walk_result *res, uint8_t *state,
		 struct quire_error *err)
{
	int fd = ctl_connect(opt->vm, err), code;
	struct ctl_info info;

	if (fd < 0)
		return fd;
	code = ctl_get_info(fd, &info, err);
	if (code == 0)
		code = check_cpu(opt->cpu, &info.vm, err);
	if (code == 0)
		code = ask(fd, opt, res, state, err);
	close(fd);
	return code;
}

/* What render_walk says of the page reached when it has the guest memory at hand. */
static void print_state(uint8_t byte)
{
	unsigned int state = byte & ~GMEM_STATE_LARGE;

	if (state < PG_NR_STATES)
		printf("  page: %s%s\n", page_states[state].name,
		       byte & GMEM_STATE_LARGE ? ", in a 2 MiB leaf" : "");
}

int cmd_walk(int argc, char **argv)
{
	struct walk_options opt = { 0 };
	struct quire_error err = { "" };
	struct walk_result res;
	uint8_t state;
	int code;

	if (parse_options(argc, argv, &opt, &err)) {
		fprintf(stderr, "quire walk: %s\n", err.text);
		return QUIRE_STATUS_USAGE;
	}
	code = fetch(&opt, &res, &state, &err);
	if (code) {
		fprintf(stderr, "quire walk: %s\n", err.text);
		return code == -EINVAL ? QUIRE_STATUS_USAGE : QUIRE_STATUS_HOST;
	}
	render_walk(stdout, opt.gva, &res, NULL);
	print_state(state);
	if (fflush(stdout)) {
		fprintf(stderr, "quire walk: cannot write: %m\n");
		return QUIRE_STATUS_HOST;
	}
	return res.outcome == WALK_OK ? 0 : 1;
}
