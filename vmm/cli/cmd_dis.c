/* SPDX-License-Identifier: MIT */
/* quire dis: a running guest's code, disassembled. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <quire/abi.h>
#include "args.h"
#include "cmd.h"
#include "vmm/look/named.h"
#include "vmm/launch/listing.h"
#include "vmm/vm/doing.h"
#include "where.h"

const char dis_usage[] =
	"usage: quire dis [OPTION...] VM [GVA|SYMBOL [COUNT]]\n"
	"\n"
	"Disassembles COUNT instructions (default 16, at most 4096) of a running guest, from GVA\n"
	"on; without GVA, from where the virtual processor is.\n"
	"GVA is 0xHEX or a number.\n" USAGE_VM "\n"
	"  --cpu=N  with the registers of virtual processor N (default 0)\n" USAGE_SYMBOLS "\n"
	"Exit status: 0; 1 nothing is there; 2 wrong usage, or no such virtual processor; 121 no\n"
	"such VM, or it does not answer.\n";

#define MAX_COUNT     4096
#define DEFAULT_COUNT 16
#define INSN_BYTES    15 /* at most */

struct dis_options {
	const char *vm, *where, *symbols;
	uint64_t cpu, count;
};

static int parse_options(int argc, char **argv, struct dis_options *opt, struct quire_error *err)
{
	const struct plain_option options[] = {
		{ .name = "cpu", .count = &opt->cpu, .max = UINT16_MAX },
		{ .name = "symbols", .word = &opt->symbols },
	};
	int code = read_plain_options(argc, argv, options, ARRAY_SIZE(options), err);

	if (code)
		return code;
	if (argc - optind < 1 || argc - optind > 3)
		return quire_fail(err, -EINVAL,
				  "say which VM (name or pid), which address and how many; "
				  "see quire help dis");
	opt->vm = argv[optind];
	opt->where = argv[optind + 1];
	if (argc - optind < 3)
		return 0;
	return parse_count(argv[optind + 2], 1, MAX_COUNT, &opt->count, err);
}

static const char *name_of(void *ctx, uint64_t address)
{
	return where_name(ctx, address);
}

/* The bytes of so many instructions; *byte is the caller's to free. */
static int read_code(const struct where *w, const struct dis_options *opt, struct listing_run *run,
		     uint8_t **byte, struct quire_error *err)
{
	size_t most = opt->count * INSN_BYTES;
	int code;

	*byte = malloc(most);
	if (!*byte)
		return quire_fail(err, -ENOMEM, "no memory for %zu bytes of code", most);
	code = where_read(w, run->start, *byte, most, &run->bytes, err);
	run->byte = *byte;
	run->ends = run->bytes < most;
	return code;
}

static int show(struct where *w, const struct dis_options *opt, bool *any, struct quire_error *err)
{
	struct listing_run run = { .count = (unsigned int)opt->count, .name = name_of, .ctx = w };
	struct vcpu_state cpu;
	uint8_t *byte = NULL;
	int code = ctl_get_cpu(w->fd, w->cpu, &cpu, err);

	if (code)
		return code == -ENOENT ? -EINVAL : code; /* no such vCPU is wrong usage */
	run.bits = doing_bits(&cpu);
	run.rip = doing_rip(&cpu);
	run.start = run.rip;
	if (opt->where)
		code = where_is(w, opt->where, &run.start, err);
	if (!code)
		code = read_code(w, opt, &run, &byte, err);
	if (!code)
		listing_print_run(stdout, &run);
	*any = run.bytes > 0;
	free(byte);
	return code;
}

static int dis(const struct dis_options *opt, bool *any, struct quire_error *err)
{
	int fd = named_connect(opt->vm, err), code;
	struct where w;

	if (fd < 0)
		return fd;
	code = where_begin(&w, fd, (unsigned int)opt->cpu, opt->symbols, err);
	if (!code) {
		code = show(&w, opt, any, err);
		where_end(&w);
	}
	close(fd);
	return code;
}

int cmd_dis(int argc, char **argv)
{
	struct dis_options opt = { .count = DEFAULT_COUNT };
	struct quire_error err = { "" };
	bool any = false;
	int code;

	if (parse_options(argc, argv, &opt, &err)) {
		fprintf(stderr, "quire dis: %s\n", err.text);
		return QUIRE_STATUS_USAGE;
	}
	code = dis(&opt, &any, &err);
	if (code) {
		fprintf(stderr, "quire dis: %s\n", err.text);
		return code == -EINVAL ? QUIRE_STATUS_USAGE : QUIRE_STATUS_HOST;
	}
	return any ? 0 : 1;
}
