/* SPDX-License-Identifier: MIT */
/*
 * quire walk: how a processor of the guest would translate an address, reference by reference,
 * through the guest's tables and through stage 2; and what quire would do about the outcome.
 * Beside it, of a guest on shadow tables, what its processor walks.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>
#include <quire/abi.h>
#include "args.h"
#include "cmd.h"
#include "vmm/print/json.h"
#include "vmm/look/named.h"
#include "walk_shadow.h"
#include "where.h"
#include "vmm/vm/render.h"

const char walk_usage[] =
	"usage: quire walk [OPTION...] VM GVA|SYMBOL\n"
	"\n"
	"Shows how a virtual processor of a running guest would translate a guest-virtual\n"
	"address: each memory reference through the guest's page tables and through stage 2, and\n"
	"the outcome.  Where stage 2 does not allow the access yet, it says what quire does when\n"
	"the guest makes it.  Of a guest on shadow tables, it also shows the entries that the\n"
	"processor walks in fact, and what they stand for.  Nothing in the guest changes,\n"
	"accessed and dirty bits included.\n"
	"GVA is 0xHEX or a number.\n" USAGE_VM "\n"
	"  --cpu=N  with the registers of virtual processor N (default 0)\n"
	"  --write  walk as for a write instead of a read\n"
	"  --fetch  walk as for an instruction fetch instead of a read\n"
	"  --user   walk as for an access at CPL 3 instead of CPL 0\n" USAGE_SYMBOLS "  --bytes=N\n"
	"           also show the first N bytes that are there, 1 to 4096\n"
	"  --json   as quire.walk/1 (docs/stats.md)\n"
	"\n"
	"Exit status: 0 the guest's access succeeds, at once or after what quire does; 1 the\n"
	"guest gets a fault, or nothing is there; 2 wrong usage, or no such virtual processor;\n"
	"121 no such VM, or it does not answer.\n";

struct walk_options {
	const char *vm;
	uint64_t cpu;
	const char *where;   /* a GVA, or a symbol ... */
	const char *symbols; /* ... of this file, or NULL */
	struct walk_access access;
	uint64_t bytes; /* to be shown */
	bool json;
};

#define MAX_BYTES 4096

static int parse_options(int argc, char **argv, struct walk_options *opt, struct quire_error *err)
{
	const struct plain_option options[] = {
		{ .name = "cpu", .count = &opt->cpu, .max = UINT16_MAX },
		{ .name = "bytes", .count = &opt->bytes, .min = 1, .max = MAX_BYTES },
		{ .name = "symbols", .word = &opt->symbols },
		{ .name = "write", .flag = &opt->access.write },
		{ .name = "fetch", .flag = &opt->access.fetch },
		{ .name = "user", .flag = &opt->access.user },
		{ .name = "json", .flag = &opt->json },
	};
	int code = read_plain_options(argc, argv, options, ARRAY_SIZE(options), err);

	if (code)
		return code;
	if (opt->access.write && opt->access.fetch)
		return quire_fail(err, -EINVAL, "--write and --fetch are two accesses; choose one");
	if (argc - optind != 2)
		return quire_fail(err, -EINVAL,
				  "say which VM (name or pid) and which address; "
				  "see quire help walk");
	opt->vm = argv[optind];
	opt->where = argv[optind + 1];
	return 0;
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

/* What was asked of a VM, and what came of it. */
struct walked {
	struct ctl_info info;
	gva_t gva;
	char name[192]; /* of it, among the symbols; or "" */
	uint64_t slide; /* of the symbols */
	struct ctl_walked at;
	uint8_t byte[MAX_BYTES];
	size_t bytes; /* that could be read */
};

static int look(const struct where *where, const struct walk_options *opt, struct walked *w,
		struct quire_error *err)
{
	const char *name;
	int code = where_is(where, opt->where, &w->gva, err);

	if (code)
		return code;
	name = where_name(where, w->gva);
	snprintf(w->name, sizeof(w->name), "%s", name ? name : "");
	w->slide = where->slide;
	code = where_walk(where, w->gva, opt->access, &w->at, err);
	if (code || !opt->bytes)
		return code;
	return where_read(where, w->gva, w->byte, opt->bytes, &w->bytes, err);
}

static int fetch(const struct walk_options *opt, struct walked *w, struct quire_error *err)
{
	int fd = named_connect(opt->vm, err), code;
	struct where where;

	if (fd < 0)
		return fd;
	code = ctl_get_info(fd, &w->info, err);
	if (code == 0)
		code = check_cpu((unsigned int)opt->cpu, &w->info.vm, err);
	if (code == 0)
		code = where_begin(&where, fd, (unsigned int)opt->cpu, opt->symbols, err);
	if (code == 0) {
		code = look(&where, opt, w, err);
		where_end(&where);
	}
	close(fd);
	return code;
}

/* ---- quire.walk/1 ---- */

static void json_reference(struct json *json, const struct walk_ref *ref)
{
	char bits[80];

	render_entry_bits(bits, sizeof(bits), ref);
	json_begin_object(json, NULL);
	json_number(json, "stage", ref->stage);
	json_number(json, "level", ref->level);
	json_text(json, "name", ref->name);
	json_hex(json, "input", ref->input);
	json_hex(json, "address", ref->addr);
	json_hex(json, "entry", ref->entry);
	json_text(json, "bits", bits);
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

	json_text(json, "outcome", walk_outcome_name(res->outcome));
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
		json_text(json, "answer", answer);
	if (res->gpa == GPA_INVALID)
		return;
	json_hex(json, "gpa", res->gpa);
	if (res->outcome == WALK_OK)
		json_hex(json, "machine_address", res->maddr);
	json_text(json, "page", render_state_text(state));
}

static void json_bytes(struct json *json, const struct walked *w)
{
	char text[2 * MAX_BYTES + 1] = "";

	for (size_t i = 0; i < w->bytes; i++)
		snprintf(text + 2 * i, 3, "%02x", w->byte[i]);
	json_text(json, "bytes", text);
}

static void print_json(const struct walk_options *opt, const struct walked *w)
{
	const struct walk_result *res = &w->at.res;
	struct json json;

	json_init(&json, stdout);
	json_begin_object(&json, NULL);
	json_text(&json, "schema", "quire.walk/1");
	json_text(&json, "name", w->info.vm.name);
	json_number(&json, "pid", w->info.vm.pid);
	json_number(&json, "vcpu", opt->cpu);
	json_text(&json, "access",
		  opt->access.write ? "write" :
		  opt->access.fetch ? "fetch" :
				      "read");
	json_number(&json, "user", opt->access.user);
	json_hex(&json, "gva", w->gva);
	if (w->name[0])
		json_text(&json, "symbol", w->name);
	if (opt->symbols)
		json_hex(&json, "slide", w->slide);
	json_text(&json, "paging", res->format1 ? res->format1->name : "off");
	json_outcome(&json, res, w->at.state);
	if (opt->bytes)
		json_bytes(&json, w);
	json_begin_array(&json, "references");
	for (unsigned int i = 0; i < res->nr_refs && i < WALK_MAX_REFS; i++)
		json_reference(&json, &res->ref[i]);
	json_end_array(&json);
	walk_shadow_json(&json, &w->at, opt->access);
	json_end_object(&json);
}

/* ---- text ---- */

/* Sixteen bytes a line, as hexdump -C has them. */
static void print_bytes(const struct walked *w)
{
	for (size_t at = 0; at < w->bytes; at += 16) {
		size_t n = min_u64(16, w->bytes - at);

		printf("  %016" PRIx64 " ", w->gva + at);
		for (size_t i = 0; i < 16; i++)
			printf(i < n ? " %02x" : "   ", w->byte[at + i % n]);
		fputs("  |", stdout);
		for (size_t i = 0; i < n; i++)
			putchar(isprint(w->byte[at + i]) ? w->byte[at + i] : '.');
		puts("|");
	}
}

static void print_text(const struct walk_options *opt, const struct walked *w)
{
	if (w->name[0] && w->slide)
		printf("%s is gva %#" PRIx64 ": the kernel moved by %#" PRIx64 "\n", w->name,
		       w->gva, w->slide);
	else if (w->name[0])
		printf("%s is gva %#" PRIx64 "\n", w->name, w->gva);
	render_walk(stdout, w->gva, &w->at.res, w->at.state);
	walk_shadow_text(stdout, &w->at, opt->access);
	print_bytes(w);
	if (w->bytes < opt->bytes)
		printf("  %zu of %" PRIu64 " bytes are there\n", w->bytes, opt->bytes);
}

int cmd_walk(int argc, char **argv)
{
	struct walk_options opt = { 0 };
	struct quire_error err = { "" };
	static struct walked w;
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
		print_text(&opt, &w);
	if (fflush(stdout)) {
		fprintf(stderr, "quire walk: cannot write: %m\n");
		return QUIRE_STATUS_HOST;
	}
	return render_succeeds(&w.at.res, w.at.state) ? 0 : 1;
}
