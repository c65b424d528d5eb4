/* SPDX-License-Identifier: MIT */
/*
 * quire walk: how a processor of the guest would translate an address, reference by reference,
 * through the guest's tables and through stage 2; and what quire would do about the outcome.
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
#include "json.h"
#include "named.h"
#include "vmm/vm/render.h"

const char walk_usage[] =
	"usage: quire walk [OPTION...] VM GVA\n"
	"\n"
	"Shows how a virtual processor of a running guest would translate a guest-virtual\n"
	"address: each memory reference through the guest's page tables and through stage 2, and\n"
	"the outcome.  Where stage 2 does not allow the access yet, it says what quire does when\n"
	"the guest makes it.  Nothing in the guest changes, accessed and dirty bits included.\n"
	"GVA is 0xHEX or a number.\n" USAGE_VM "\n"
	"  --cpu=N  with the registers of virtual processor N (default 0)\n"
	"  --write  walk as for a write instead of a read\n"
	"  --fetch  walk as for an instruction fetch instead of a read\n"
	"  --user   walk as for an access at CPL 3 instead of CPL 0\n"
	"  --json   as quire.walk/1 (docs/stats.md)\n"
	"\n"
	"Exit status: 0 the guest's access succeeds, at once or after what quire does; 1 the\n"
	"guest gets a fault, or nothing is there; 2 wrong usage, or no such virtual processor;\n"
	"121 no such VM, or it does not answer.\n";

struct walk_options {
	const char *vm;
	unsigned int cpu;
	gva_t gva;
	struct walk_access access;
	bool json;
};

#define MAX_CPU 65535

static int parse_options(int argc, char **argv, struct walk_options *opt, struct quire_error *err)
{
	static const struct option options[] = {
		{ "cpu", required_argument, NULL, 'c' }, { "write", no_argument, NULL, 'w' },
		{ "fetch", no_argument, NULL, 'f' },	 { "user", no_argument, NULL, 'u' },
		{ "json", no_argument, NULL, 'j' },	 { 0 },
	};
	uint64_t cpu = 0;
	int c;

	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			if (parse_count(optarg, 0, MAX_CPU, &cpu, err))
				return refused_value(options, c, err);
			break;
		case 'w': opt->access.write = true; break;
		case 'f': opt->access.fetch = true; break;
		case 'u': opt->access.user = true; break;
		case 'j': opt->json = true; break;
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
 * The VM waits only a moment for a vCPU to stop.  If the vCPU does not, the VM refuses to try again
 * for a second.  So the command asks again for two seconds: on a busy host the second try may help.
 */
#define STOPPED_S 2

/* What was asked of a VM, and what came of it. */
struct walked {
	struct ctl_info info;
	struct walk_result res;
	uint8_t state; /* of the page reached */
};

static int ask(int fd, const struct walk_options *opt, struct walked *w, struct quire_error *err)
{
	uint64_t deadline_ns = monotonic_ns() + STOPPED_S * NS_PER_S;
	int code;

	while ((code = ctl_get_walk(fd, opt->cpu, opt->gva, opt->access, &w->res, &w->state,
				    err)) == -ETIMEDOUT &&
	       monotonic_ns() < deadline_ns)
		usleep(100000);
	return code;
}

static int fetch(const struct walk_options *opt, struct walked *w, struct quire_error *err)
{
	int fd = named_connect(opt->vm, err), code;

	if (fd < 0)
		return fd;
	code = ctl_get_info(fd, &w->info, err);
	if (code == 0)
		code = check_cpu(opt->cpu, &w->info.vm, err);
	if (code == 0)
		code = ask(fd, opt, w, err);
	close(fd);
	return code;
}

/* ---- quire.walk/1 ---- */

static void json_reference(struct json *json, const struct walk_ref *ref)
{
	char bits[80];

	render_entry_bits(bits, sizeof(bits), ref);
	json_object(json, NULL);
	json_number(json, "stage", ref->stage);
	json_number(json, "level", ref->level);
	json_string(json, "name", ref->name);
	json_hex(json, "input", ref->input);
	json_hex(json, "address", ref->addr);
	json_hex(json, "entry", ref->entry);
	json_string(json, "bits", bits);
	json_end_object(json);
}

static uint64_t page_bytes(const struct pt_format *format, unsigned int level)
{
	if (format == &x86_32_format && level == 2)
		return 4 * MiB;
	return QUIRE_PAGE_SIZE << 9 * (level - 1);
}

static void json_outcome(struct json *json, const struct walk_result *res, uint8_t state)
{
	const char *answer = render_answer(res, state);

	json_string(json, "outcome", walk_outcome_name(res->outcome));
	json_number(json, "succeeds", render_succeeds(res, state));
	if (res->outcome == WALK_PAGE_FAULT)
		json_number(json, "error_code", res->error_code);
	if (res->outcome == WALK_VIOLATION)
		json_number(json, "qualification", res->qualification);
	if (res->outcome == WALK_OK && res->level1)
		json_number(json, "guest_page_bytes", page_bytes(res->format1, res->level1));
	if (res->outcome == WALK_OK && res->level2)
		json_number(json, "stage2_page_bytes", page_bytes(NULL, res->level2));
	if (answer)
		json_string(json, "answer", answer);
	if (res->gpa == GPA_INVALID)
		return;
	json_hex(json, "gpa", res->gpa);
	if (res->outcome == WALK_OK)
		json_hex(json, "machine_address", res->maddr);
	json_string(json, "page", render_state_text(state));
}

static void print_json(const struct walk_options *opt, const struct walked *w)
{
	const struct walk_result *res = &w->res;
	struct json json;

	json_init(&json, stdout);
	json_object(&json, NULL);
	json_string(&json, "schema", "quire.walk/1");
	json_string(&json, "name", w->info.vm.name);
	json_number(&json, "pid", w->info.vm.pid);
	json_number(&json, "vcpu", opt->cpu);
	json_string(&json, "access",
		    opt->access.write ? "write" :
		    opt->access.fetch ? "fetch" :
					"read");
	json_number(&json, "user", opt->access.user);
	json_hex(&json, "gva", opt->gva);
	json_string(&json, "paging", res->format1 ? res->format1->name : "off");
	json_outcome(&json, res, w->state);
	json_array(&json, "references");
	for (unsigned int i = 0; i < res->nr_refs && i < WALK_MAX_REFS; i++)
		json_reference(&json, &res->ref[i]);
	json_end_array(&json);
	json_end_object(&json);
}

int cmd_walk(int argc, char **argv)
{
	struct walk_options opt = { 0 };
	struct quire_error err = { "" };
	struct walked w;
	int code;

	if (parse_options(argc, argv, &opt, &err)) {
		fprintf(stderr, "quire walk: %s\n", err.text);
		return QUIRE_STATUS_USAGE;
	}
	code = fetch(&opt, &w, &err);
	if (code) {
		fprintf(stderr, "quire walk: %s\n", err.text);
		return code == -EINVAL ? QUIRE_STATUS_USAGE : QUIRE_STATUS_HOST;
	}
	if (opt.json)
		print_json(&opt, &w);
	else
		render_walk(stdout, opt.gva, &w.res, w.state);
	if (fflush(stdout)) {
		fprintf(stderr, "quire walk: cannot write: %m\n");
		return QUIRE_STATUS_HOST;
	}
	return render_succeeds(&w.res, w.state) ? 0 : 1;
}
