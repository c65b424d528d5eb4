/* SPDX-License-Identifier: MIT */
/*
 * quire why: what a guest printed last, and where each of its virtual processors is; or what became
 * of one page.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <quire/abi.h>
#include "args.h"
#include "cmd.h"
#include "vmm/look/named.h"
#include "vmm/look/stats.h"
#include "vmm/launch/listing.h"
#include "vmm/vm/doing.h"
#include "vmm/vm/render.h"
#include "where.h"
#include "why_page.h"

const char why_usage[] =
	"usage: quire why [OPTION...] VM\n"
	"       quire why [--json] VM GFN\n"
	"       quire why [--json] --gpa=GPA VM\n"
	"\n"
	"Says what a running guest printed last, and where each of its virtual processors is:\n"
	"halted, looping or running; with the walk of its instruction pointer, and the code\n"
	"there.  It looks eight times, and the guest goes on meanwhile.  Of more than four, the\n"
	"others get a line each.\n"
	"With a page's number, or an address in it, it tells that page's story: where it is and\n"
	"since when, whether the guest uses it, why it is not merged, and what the next access\n"
	"takes.\n" USAGE_VM "\n" USAGE_SYMBOLS
	"  --gpa=GPA  the page of this guest-physical address, 0xHEX or a number and K, M, G or T\n"
	"  --json     the page's story as quire.why/1 (docs/stats.md)\n"
	"\n"
	"Exit status: 0; 2 wrong usage, or no RAM there; 121 no such VM, or it does not answer.\n";

struct why_options {
	const char *vm, *symbols;
	bool page, json;
	gfn_t gfn; /* if page */
};

static int take_samples(int fd, unsigned int cpu, struct vcpu_state *sample, unsigned int nr,
			struct quire_error *err)
{
	int code = 0;

	for (unsigned int i = 0; i < nr && !code; i++) {
		if (i)
			usleep(DOING_GAP_US);
		code = ctl_get_cpu(fd, cpu, &sample[i], err);
	}
	return code;
}

static int show_walk(const struct where *w, const struct vcpu_state *state, struct quire_error *err)
{
	struct walk_access fetch = { .fetch = true, .user = doing_cpl(state) == 3 };
	struct ctl_walked walked;
	int code = where_walk(w, doing_rip(state), fetch, &walked, err);

	if (code)
		return code;
	fputs("RIP, fetch: ", stdout);
	render_walk(stdout, doing_rip(state), &walked.res, walked.state);
	return 0;
}

/* What can be read before RIP, halved until it all can. */
static int show_code(const struct where *w, const struct vcpu_state *state, struct quire_error *err)
{
	struct code code = {
		.rip = doing_rip(state),
		.bits = doing_bits(state),
		.cpl = doing_cpl(state),
		.cpu = w->cpu,
		.before = (uint32_t)min_u64(doing_rip(state), CODE_BEFORE),
	};
	uint8_t *at = code.byte + CODE_BEFORE;
	size_t got;
	int ret = where_read(w, code.rip, at, CODE_AFTER, &got, err);

	code.after = (uint32_t)got;
	for (got = 0; !ret && got < code.before; code.before /= got < code.before ? 2 : 1)
		ret = where_read(w, code.rip - code.before, at - code.before, code.before, &got,
				 err);
	if (!ret)
		listing_print(stdout, &code);
	return ret;
}

static int show_cpu(struct where *w, struct quire_error *err)
{
	struct vcpu_state sample[DOING_SAMPLES];
	unsigned int nr = w->cpu < DOING_CPUS ? DOING_SAMPLES : 1;
	const struct vcpu_state *last = &sample[nr - 1];
	int code = take_samples(w->fd, w->cpu, sample, nr, err);

	if (code == -ETIMEDOUT) {
		printf("vCPU %u: waits for memory, or for the reader of the guest's output\n",
		       w->cpu);
		return 0;
	}
	if (code)
		return code;
	doing_print(stdout, w->cpu, sample, nr, where_name(w, doing_rip(last)));
	if (w->cpu >= DOING_CPUS || !doing_anything(last))
		return 0;
	code = show_walk(w, last, err);
	return code ? code : show_code(w, last, err);
}

static int show_tail(int fd, struct quire_error *err)
{
	struct tail tail;
	int code = ctl_get_tail(fd, &tail, err);

	if (!code)
		tail_print(stdout, &tail);
	return code;
}

static int show_vm(int fd, const struct vm_info *vm, const char *symbols, struct quire_error *err)
{
	struct where w;
	int code = where_begin(&w, fd, 0, symbols, err);

	if (code)
		return code;
	printf("VM %s, pid %u: %s, %u vCPU%s\n", vm->name, vm->pid, stats_state_name(vm->state),
	       vm->nr_vcpus, vm->nr_vcpus > 1 ? "s" : "");
	code = show_tail(fd, err);
	for (w.cpu = 0; w.cpu < vm->nr_vcpus && !code; w.cpu++)
		code = show_cpu(&w, err);
	where_end(&w);
	return code;
}

static int show_page(int fd, const struct vm_info *vm, const struct why_options *opt,
		     struct quire_error *err)
{
	struct ctl_story story;
	int code = ctl_get_story(fd, opt->gfn, &story, err);

	if (code == -EFAULT)
		return quire_fail(err, -EINVAL, "VM %s has no RAM at page %#llx (gpa %#llx)",
				  vm->name, (unsigned long long)opt->gfn,
				  (unsigned long long)gfn_to_gpa(opt->gfn));
	if (code)
		return code;
	if (opt->json)
		why_page_json(stdout, vm, &story);
	else
		why_page_text(stdout, vm, &story);
	return 0;
}

static int why(const struct why_options *opt, struct quire_error *err)
{
	int fd = named_connect(opt->vm, err), code;
	struct ctl_info info;

	if (fd < 0)
		return fd;
	code = ctl_get_info(fd, &info, err);
	if (!code)
		code = opt->page ? show_page(fd, &info.vm, opt, err) :
				   show_vm(fd, &info.vm, opt->symbols, err);
	close(fd);
	return code;
}

static int read_gpa(const char *text, void *value, struct quire_error *err)
{
	struct why_options *opt = value;
	gpa_t gpa = 0;
	int code = parse_address(text, &gpa, err);

	opt->page = true;
	opt->gfn = gpa_to_gfn(gpa);
	return code;
}

static int parse_options(int argc, char **argv, struct why_options *opt, struct quire_error *err)
{
	const struct plain_option options[] = {
		{ .name = "symbols", .word = &opt->symbols },
		{ .name = "gpa", .read = read_gpa, .value = opt },
		{ .name = "json", .flag = &opt->json },
	};
	int code = read_plain_options(argc, argv, options, ARRAY_SIZE(options), err), words;

	if (code)
		return code;
	words = argc - optind;
	if (words < 1 || words > (opt->page ? 1 : 2))
		return quire_fail(err, -EINVAL,
				  "say which VM (name or pid), and one page if it is about "
				  "that; see quire help why");
	opt->vm = argv[optind];
	if (words == 2) {
		code = parse_gfn(argv[optind + 1], &opt->gfn, err);
		opt->page = true;
	}
	if (!code && opt->json && !opt->page)
		return quire_fail(err, -EINVAL, "--json is for a page: say which, by its number");
	if (!code && opt->symbols && opt->page)
		return quire_fail(err, -EINVAL, "--symbols does not go with a page");
	return code;
}

int cmd_why(int argc, char **argv)
{
	struct why_options opt = { 0 };
	struct quire_error err = { "" };
	int code;

	if (parse_options(argc, argv, &opt, &err)) {
		fprintf(stderr, "quire why: %s\n", err.text);
		return QUIRE_STATUS_USAGE;
	}
	code = why(&opt, &err);
	if (!code && !fflush(stdout))
		return 0;
	fflush(stdout);
	fprintf(stderr, "quire why: %s\n", code ? err.text : "cannot write");
	return code == -EINVAL ? QUIRE_STATUS_USAGE : QUIRE_STATUS_HOST;
}
