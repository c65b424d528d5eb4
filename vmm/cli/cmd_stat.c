/* SPDX-License-Identifier: MIT */
/* quire stat: the counters of machines or of one VM, for people and for programs. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <quire/abi.h>
#include "args.h"
#include "cmd.h"
#include "vmm/look/named.h"
#include "privileges.h"
#include "vmm/look/process.h"
#include "vmm/look/report.h"
#include "vmm/look/look.h"

const char stat_usage[] =
	"usage: quire stat [--json|--meminfo] [--machine=ADDRESS] [VM]\n"
	"       quire stat --sandbox [--json] VM\n"
	"\n"
	"Without VM: each machine's ledger and budget, and what its guests add up to.  The budget\n"
	"adds up to the page: memory = free + credits + store + overhead.  With VM: all its\n"
	"counters.  docs/stats.md explains them.\n" USAGE_VMS "\n"
	"  --json             as quire.stats/1, the form that quire run --stats writes\n"
	"  --meminfo          the machine in the form of /proc/meminfo\n"
	"  --sandbox          what the VM's launcher, its machine and the VM itself may do, by\n"
	"                     the kernel's word (docs/isolation.md).  Root sees all of it\n"
	"  --machine=ADDRESS  this machine and its guests only: @NAME or the path of its socket\n"
	"                     (default: QUIRE_MACHINE in the environment)\n"
	"\n"
	"--json and --meminfo have room for one machine: the only one that runs, or else the one\n"
	"at the default address.\n"
	"\n"
	"Exit status: 0; 2 wrong usage; 121 no such VM or machine, or it does not answer.\n";

struct stat_options {
	const char *vm;	     /* NULL: the machines are meant */
	const char *machine; /* NULL: all */
	bool json, meminfo, sandbox;
};

static int parse_options(int argc, char **argv, struct stat_options *opt, struct quire_error *err)
{
	const struct plain_option options[] = {
		{ .name = "json", .flag = &opt->json },
		{ .name = "meminfo", .flag = &opt->meminfo },
		{ .name = "sandbox", .flag = &opt->sandbox },
		{ .name = "machine", .word = &opt->machine },
	};
	int code = read_plain_options(argc, argv, options, ARRAY_SIZE(options), err);

	if (code)
		return code;
	if (argc - optind > 1)
		return quire_fail(err, -EINVAL,
				  "%s: stat shows one VM at a time; quire ps shows all",
				  argv[optind + 1]);
	opt->vm = argv[optind];
	if (opt->meminfo && (opt->json || opt->vm))
		return quire_fail(err, -EINVAL,
				  "--meminfo is a form of its own, and a machine's: "
				  "leave out %s",
				  opt->json ? "--json" : "the VM");
	if (opt->sandbox && (opt->meminfo || !opt->vm))
		return quire_fail(err, -EINVAL, "--sandbox is about one VM: %s",
				  opt->vm ? "leave out --meminfo" : "say which");
	return named_address(opt->machine, &opt->machine, err);
}

/* ---- which VM, which machine ---- */

/* Keep only the VMs that are meant. */
static int keep_named(struct roster *r, const char *word, struct quire_error *err)
{
	struct named list = { 0 };
	int code = named_add(&list, word, err);

	if (!code)
		code = roster_keep(r, &list, err);
	named_finish(&list);
	if (!code && !r->nr_vms)
		return quire_fail(err, -ENOENT, "the VMs of %s have just ended", word);
	for (unsigned int i = 0; i < r->nr_vms && !code; i++)
		if (!r->vm[i].answers)
			code = quire_fail(err, -ETIMEDOUT, "VM %s does not answer", r->vm[i].name);
	return code;
}

/* Forms that speak of one machine mean that of the VM that was asked for.  NULL: there is none. */
static const struct roster_machine *choose_machine(const struct roster *r,
						   const struct stat_options *opt)
{
	if (opt->vm)
		return r->vm[0].id ? &r->machine[r->vm[0].machine] : NULL;
	return look_machine(r);
}

/* ---- forms ---- */

static int print_json(const struct roster *r, const struct roster_machine *machine,
		      struct quire_error *err)
{
	int code = look_document(stdout, r, machine);

	return code ? quire_fail(err, code, "cannot write: %s", strerror(-code)) : 0;
}

static int print_meminfo(const struct roster *r, const struct roster_machine *machine,
			 struct quire_error *err)
{
	if (machine) {
		report_meminfo(stdout, r, (unsigned int)(machine - r->machine));
		return 0;
	}
	if (r->nr_machines == 0)
		return quire_fail(err, -ENOENT, "no machine is running");
	return quire_fail(err, -EINVAL,
			  "%u machines are running, among them %s and %s: choose one "
			  "with --machine=",
			  r->nr_machines, r->machine[0].address, r->machine[1].address);
}

static struct privileged_vm processes_of(const struct roster *r, const struct roster_vm *vm)
{
	pid_t pid = (pid_t)vm->pid;

	return (struct privileged_vm){
		.info = &vm->info,
		.pid = { [PRIVILEGED_LAUNCHER] = process_parent(pid),
			 [PRIVILEGED_MACHINE] = vm->id ? r->machine[vm->machine].state.pid : 0,
			 [PRIVILEGED_VM] = pid },
	};
}

static int print_sandbox(const struct roster *r, bool json, struct quire_error *err)
{
	struct privileged_vm *vm = calloc(r->nr_vms, sizeof(*vm));
	int code = vm ? 0 : -ENOMEM;

	for (unsigned int i = 0; i < r->nr_vms && !code; i++) {
		vm[i] = processes_of(r, &r->vm[i]);
		if (json)
			continue;
		if (i)
			putchar('\n');
		code = privileges_print(stdout, &vm[i]);
	}
	if (!code && json)
		privileges_json(stdout, vm, r->nr_vms);
	free(vm);
	return code ? quire_fail(err, code, "no memory for %u VMs", r->nr_vms) : 0;
}

static void print_text(const struct roster *r, const struct stat_options *opt)
{
	for (unsigned int i = 0; opt->vm && i < r->nr_vms; i++) {
		if (i)
			putchar('\n');
		report_vm(stdout, r, &r->vm[i]);
	}
	if (opt->vm)
		return;
	for (unsigned int i = 0; i < r->nr_machines; i++) {
		if (i)
			putchar('\n');
		report_machine(stdout, r, i);
	}
	if (r->nr_machines && r->nr_vms && !r->vm[r->nr_vms - 1].id)
		putchar('\n');
	report_others(stdout, r);
	if (r->nr_machines == 0 && r->nr_vms == 0)
		puts("no machine and no VM is running");
}

static int show(struct roster *r, const struct stat_options *opt, struct quire_error *err)
{
	int code = opt->vm ? keep_named(r, opt->vm, err) : 0;

	if (code)
		return code;
	if (opt->sandbox)
		return print_sandbox(r, opt->json, err);
	if (opt->json)
		return print_json(r, choose_machine(r, opt), err);
	if (opt->meminfo)
		return print_meminfo(r, choose_machine(r, opt), err);
	print_text(r, opt);
	return 0;
}

static void warn(const char *text)
{
	fprintf(stderr, "quire stat: %s\n", text);
}

static int find_and_show(const struct stat_options *opt, struct quire_error *err)
{
	struct look look;
	int code = look_take(&look, opt->machine, warn, err);

	if (code)
		return code;
	code = show(&look.roster, opt, err);
	look_finish(&look);
	return code;
}

int cmd_stat(int argc, char **argv)
{
	struct stat_options opt = { 0 };
	struct quire_error err = { "" };
	int code = parse_options(argc, argv, &opt, &err);

	if (!code)
		code = find_and_show(&opt, &err);
	if (!code)
		return 0;
	fprintf(stderr, "quire stat: %s\n", err.text);
	return code == -EINVAL ? QUIRE_STATUS_USAGE : QUIRE_STATUS_HOST;
}
