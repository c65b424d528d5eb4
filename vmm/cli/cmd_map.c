/* SPDX-License-Identifier: MIT */
/*
 * quire map: the state of every page of a running guest, as a picture.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <quire/abi.h>
#include "args.h"
#include "cmd.h"
#include "vmm/look/ctl_client.h"
#include "vmm/print/colour.h"
#include "vmm/print/map_json.h"
#include "vmm/print/mapview.h"
#include "vmm/look/named.h"
#include "vmm/print/table.h"

const char map_usage[] =
	"usage: quire map [OPTION...] VM\n"
	"\n"
	"Shows the state of every page of a running guest's memory, as text: a glyph for each\n"
	"page if that fits on a screen, else a glyph for several pages, and under it the exact\n"
	"counts.\n" USAGE_VM "\n"
	"  --range=RANGE  only this part of guest-physical memory: START+LENGTH or START-END,\n"
	"                 each 0xHEX or a number and K, M, G or T; widened to whole pages\n"
	"  --color=auto|always|never\n"
	"                 whether the text has colours (default auto: on a terminal, unless\n"
	"                 NO_COLOR is set)\n"
	"  --json         as quire.map/1 (docs/stats.md): the counts, and each run of pages in\n"
	"                 one state\n"
	"  --png=FILE|-   also write an image, a square for each page; with - it goes to standard\n"
	"                 output, and there is no text\n"
	"  --scale=N      each page is a square of N by N pixels in the image, 1 to 64 (default:\n"
	"                 so that the picture fits in some 768 pixels each way)\n"
	"\n"
	"Exit status: 0; 2 wrong usage; 121 no such VM, or it does not answer, or output cannot\n"
	"be written.\n";

struct map_options {
	const char *vm;
	const char *png; /* NULL: no image; "-": to stdout, and nothing else */
	bool json;
	uint64_t scale; /* pixels a side of a page in the image; 0: chosen */
	bool ranged;
	gfn_t start, end;    /* if ranged */
	unsigned int colour; /* an index of colours[] */
};

static const char *const colours[] = { "auto", "always", "never" };

static int read_range(const char *text, void *value, struct quire_error *err)
{
	struct map_options *opt = value;
	gpa_t start, end;
	int code = parse_range(text, &start, &end, err);

	if (code)
		return code;
	opt->ranged = true;
	opt->start = gpa_to_gfn(start);
	opt->end = gpa_to_gfn(end - 1) + 1;
	return 0;
}

static int read_colour(const char *text, void *value, struct quire_error *err)
{
	return parse_choice(text, colours, ARRAY_SIZE(colours), value, err);
}

static int parse_options(int argc, char **argv, struct map_options *opt, struct quire_error *err)
{
	const struct plain_option options[] = {
		{ .name = "png", .word = &opt->png },
		{ .name = "scale", .count = &opt->scale, .min = 1, .max = MAPVIEW_PNG_MAX_SCALE },
		{ .name = "range", .read = read_range, .value = opt },
		{ .name = "json", .flag = &opt->json },
		{ .name = "color", .read = read_colour, .value = &opt->colour },
	};
	int code = read_plain_options(argc, argv, options, ARRAY_SIZE(options), err);

	if (code)
		return code;
	if (opt->scale && !opt->png)
		return quire_fail(err, -EINVAL, "--scale is for an image: say --png=FILE too");
	if (argc - optind != 1)
		return quire_fail(err, -EINVAL, "say which VM, by name or pid; see quire help map");
	if (opt->json && opt->png && !strcmp(opt->png, "-"))
		return quire_fail(err, -EINVAL,
				  "--json and --png=- both write to standard output; choose one");
	opt->vm = argv[optind];
	return 0;
}

/* The range that was asked for, as far as there is memory; without one, all memory. */
static int choose_range(const struct map_options *opt, const struct ctl_info *info,
			struct mapview *view, struct quire_error *err)
{
	gfn_t end = info->ram[info->nr_ram - 1].end;

	view->start = opt->ranged ? opt->start : 0;
	if (view->start >= end)
		return quire_fail(err, -EINVAL,
				  "%#" PRIx64 " is past the end of RAM (%#" PRIx64 ")",
				  gfn_to_gpa(view->start), gfn_to_gpa(end));
	view->nr = (opt->ranged ? min_u64(opt->end, end) : end) - view->start;
	return 0;
}

/* Ask the VM who it is, and for the states of these pages.  The caller frees *states. */
static int fetch(const struct map_options *opt, struct ctl_info *info, struct mapview *view,
		 uint8_t **states, struct quire_error *err)
{
	int fd = named_connect(opt->vm, err), code;

	if (fd < 0)
		return fd;
	code = ctl_get_info(fd, info, err);
	if (code == 0)
		code = choose_range(opt, info, view, err);
	if (code == 0) {
		*states = malloc(view->nr);
		view->states = *states;
		code = *states ? ctl_get_map(fd, view->start, view->nr, *states, err) :
				 quire_fail(err, -ENOMEM, "no memory for %" PRIu64 " states",
					    view->nr);
	}
	close(fd);
	return code;
}

static bool in_colour(const struct map_options *opt)
{
	if (strcmp(colours[opt->colour], "auto"))
		return !strcmp(colours[opt->colour], "always");
	return colour_wanted();
}

static void print_text(const struct vm_info *vm, const struct mapview *view, bool colour)
{
	printf("VM %s, pid %u: %u vCPU%s; stage 2: %" PRIu64 " tables, %" PRIu64
	       " 2 MiB leaves; %" PRIu64 " faults\n\n",
	       vm->name, vm->pid, vm->nr_vcpus, vm->nr_vcpus == 1 ? "" : "s", vm->mem.s2.tables,
	       vm->mem.s2.large_leaves, vm->mem.faults);
	mapview_text(stdout, view, mapview_scale(view, MAPVIEW_GLYPHS), colour);
}

static int draw(FILE *f, const struct map_options *opt, const struct vm_info *vm,
		const struct mapview *view, struct quire_error *err)
{
	char title[80];

	snprintf(title, sizeof(title), "VM %s: %s of RAM", vm->name, size_text(vm->ram_bytes));
	return mapview_png(f, view, title, (unsigned int)opt->scale, err);
}

static int write_png(const struct map_options *opt, const struct vm_info *vm,
		     const struct mapview *view, struct quire_error *err)
{
	const char *path = opt->png;
	FILE *f = fopen(path, "we");
	struct stat st;
	bool regular;
	int code;

	if (!f)
		return quire_fail(err, -errno, "cannot write %s: %m", path);
	regular = fstat(fileno(f), &st) == 0 && S_ISREG(st.st_mode);
	code = draw(f, opt, vm, view, err);
	if (fclose(f) && code == 0)
		code = quire_fail(err, -EIO, "cannot write %s: %m", path);
	if (code < 0 && regular)
		unlink(path); /* half an image is none; a device stays */
	return code;
}

static int show(const struct map_options *opt, const struct ctl_info *info,
		const struct mapview *view, struct quire_error *err)
{
	int code = 0;

	if (opt->png && strcmp(opt->png, "-") == 0)
		return draw(stdout, opt, &info->vm, view, err);
	if (opt->png)
		code = write_png(opt, &info->vm, view, err);
	if (code == 0 && opt->json)
		map_json(stdout, &info->vm, view);
	else if (code == 0)
		print_text(&info->vm, view, in_colour(opt));
	return code == 0 && fflush(stdout) ? quire_fail(err, -EIO, "cannot write: %m") : code;
}

int cmd_map(int argc, char **argv)
{
	struct map_options opt = { 0 };
	struct quire_error err = { "" };
	struct mapview view = { 0 };
	uint8_t *states = NULL;
	struct ctl_info info;
	int code, status = QUIRE_STATUS_USAGE;

	code = parse_options(argc, argv, &opt, &err);
	if (code == 0) {
		code = fetch(&opt, &info, &view, &states, &err);
		status = code == -EINVAL ? QUIRE_STATUS_USAGE : QUIRE_STATUS_HOST;
	}
	if (code == 0)
		code = show(&opt, &info, &view, &err);
	free(states);
	if (code == 0)
		return 0;
	fprintf(stderr, "quire map: %s\n", err.text);
	return status;
}
