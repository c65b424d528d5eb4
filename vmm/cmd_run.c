/* SPDX-License-Identifier: MIT */
/*
 * quire run: one guest, from its image file to its exit status.
 *
 * The order of things is chosen for its errors (arguments first, then files, then the image,
 * then the host) and for start-up time: the image is planned before KVM is opened, because
 * its kind decides on the irqchip; the device tree is built with room for two numbers that are
 * only known later, and they are filled in at the very end, the set-up time last of all.
 */
#include <errno.h>
#include <getopt.h>
#include <libfdt.h>
#include <quire/abi.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "args.h"
#include "cmd.h"
#include "console.h"
#include "ctl.h"
#include "fdt.h"
#include "image.h"
#include "stats.h"
#include "vm.h"

uint64_t process_start_ns;

#define DEFAULT_RAM (128 * MiB)
#define MAX_MODULES 64

const char run_usage[] =
	"usage: quire run [OPTION...] IMAGE [ARG...]\n"
	"\n"
	"Runs IMAGE (ELF with a PVH note, multiboot, or a flat real-mode image) in a new virtual\n"
	"machine; the ARGs are its command line.  Its serial port is standard input and output.\n"
	"\n"
	"  -m SIZE                  RAM, with K, M, G or T (default 128M)\n"
	"  -c CPUS                  virtual processors (default 1)\n"
	"  --paging=ept             who translates guest memory: the host's MMU\n"
	"  --hugepages=auto|never   may 2 MiB of guest memory be mapped as one page\n"
	"  --irqchip=auto|on|off    interrupt controllers and timer in the kernel; auto: not for\n"
	"                           ELF64 PVH images with one CPU\n"
	"  --module=FILE[,ARGS]     hand FILE to the guest as a boot module; may be repeated\n"
	"  --name=NAME              name for other commands to find it (default: the process id)\n"
	"  --stats=FILE|-           write counters as JSON at the end\n"
	"  --timeout=SECONDS        stop the guest after that time\n"
	"\n"
	"Exit status: the guest's own, 0 to 98; 99 if it gave a larger one or halted without one;\n"
	"2 wrong arguments or image; 121 host or KVM error; 122 the guest crashed (report on\n"
	"standard error); 124 timeout; 125 internal error; 129 SIGHUP, 130 Ctrl-C, 131 SIGQUIT,\n"
	"143 SIGTERM; 141 the reader of standard output went away.\n";

enum irqchip_choice { IRQCHIP_AUTO, IRQCHIP_ON, IRQCHIP_OFF };

struct run {
	/* From the arguments. */
	struct vm_config vm_config;
	enum irqchip_choice irqchip;
	const char *image_path;
	const char *stats_path;			/* NULL: none */
	const char *module_path[MAX_MODULES];	/* without ARGS */
	unsigned int nr_modules;
	char *cmdline;				/* owned */

	/* Made from them. */
	FILE *stats;
	struct image_file image;
	struct image_file module_file[MAX_MODULES];
	struct image_module module[MAX_MODULES + 1];	/* the device tree is the last */
	struct gfn_range ram[VM_MAX_RAM];
	unsigned int nr_ram;
	void *fdt;
	size_t fdt_bytes;
	struct image_plan plan;
	bool planned;
	struct vm *vm;
	struct ctl *ctl;
	char name[VM_NAME_MAX + 1];
};

/* ---- arguments ---- */

enum option_id { OPT_PAGING = 256, OPT_HUGEPAGES, OPT_IRQCHIP, OPT_MODULE, OPT_NAME, OPT_STATS,
		 OPT_TIMEOUT };

static const struct option options[] = {
	{ "paging", required_argument, NULL, OPT_PAGING },
	{ "hugepages", required_argument, NULL, OPT_HUGEPAGES },
	{ "irqchip", required_argument, NULL, OPT_IRQCHIP },
	{ "module", required_argument, NULL, OPT_MODULE },
	{ "name", required_argument, NULL, OPT_NAME },
	{ "stats", required_argument, NULL, OPT_STATS },
	{ "timeout", required_argument, NULL, OPT_TIMEOUT },
	{ 0 },
};

static int add_module(struct run *run, char *arg, struct quire_error *err)
{
	char *comma = strchr(arg, ',');

	if (run->nr_modules == MAX_MODULES)
		return quire_fail(err, -EINVAL, "at most %d modules", MAX_MODULES);
	if (comma)
		*comma++ = '\0';
	if (!*arg)
		return quire_fail(err, -EINVAL, "no file name");
	run->module_path[run->nr_modules] = arg;
	run->module[run->nr_modules++].args = comma ? comma : "";
	return 0;
}

static int set_name(struct run *run, const char *name, struct quire_error *err)
{
	if (!*name || strlen(name) > VM_NAME_MAX)
		return quire_fail(err, -EINVAL, "a name has 1 to %d bytes", VM_NAME_MAX);
	snprintf(run->name, sizeof(run->name), "%s", name);
	return 0;
}

static int set_option(struct run *run, int option, char *value, struct quire_error *err)
{
	static const char *const pagings[] = { "ept" };
	static const char *const hugepages[] = { "auto", "never" };
	static const char *const irqchips[] = { "auto", "on", "off" };
	unsigned int choice = 0;
	uint64_t count = 0;
	int ret;

	switch (option) {
	case 'm':
		return parse_ram_size(value, &run->vm_config.ram_bytes, err);
	case 'c':
		ret = parse_count(value, 1, VM_MAX_VCPUS, &count, err);
		run->vm_config.nr_vcpus = (unsigned int)count;
		return ret;
	case OPT_PAGING:
		return parse_choice(value, pagings, ARRAY_SIZE(pagings), &choice, err);
	case OPT_HUGEPAGES:
		ret = parse_choice(value, hugepages, ARRAY_SIZE(hugepages), &choice, err);
		run->vm_config.hugepages = choice ? GMEM_HUGE_NEVER : GMEM_HUGE_AUTO;
		return ret;
	case OPT_IRQCHIP:
		ret = parse_choice(value, irqchips, ARRAY_SIZE(irqchips), &choice, err);
		run->irqchip = (enum irqchip_choice)choice;
		return ret;
	case OPT_MODULE:
		return add_module(run, value, err);
	case OPT_NAME:
		return set_name(run, value, err);
	case OPT_STATS:
		run->stats_path = value;
		return *value ? 0 : quire_fail(err, -EINVAL, "no file name");
	default:
		return parse_seconds(value, &run->vm_config.timeout_ns, err);
	}
}

/* "-m" or "--module", for messages. */
static const char *option_name(int option, char *buf, size_t size)
{
	snprintf(buf, size, "-%c", option);
	for (const struct option *o = options; o->name; o++)
		if (o->val == option)
			snprintf(buf, size, "--%s", o->name);
	return buf;
}

static int parse_options(struct run *run, int argc, char **argv, struct quire_error *err)
{
	struct quire_error why = { "" };
	char name[32];
	int option;

	opterr = 0;
	optind = 1;
	while ((option = getopt_long(argc, argv, "+:m:c:", options, NULL)) != -1) {
		if (option == ':')
			return quire_fail(err, -EINVAL, "%s needs a value, see quire help run",
					  argv[optind - 1]);
		if (option == '?' && optopt && optopt < 256)
			return quire_fail(err, -EINVAL, "no option -%c, see quire help run", optopt);
		if (option == '?')
			return quire_fail(err, -EINVAL, "no option %.100s, see quire help run",
					  argv[optind - 1]);
		if (set_option(run, option, optarg, &why))
			return quire_fail(err, -EINVAL, "%s: %.240s",
					  option_name(option, name, sizeof(name)), why.text);
	}
	if (optind == argc)
		return quire_fail(err, -EINVAL, "no IMAGE, see quire help run");
	if (run->vm_config.nr_vcpus > 1 && run->irqchip == IRQCHIP_OFF)
		return quire_fail(err, -EINVAL, "-c %u needs an interrupt controller to start the "
				  "other CPUs, leave --irqchip=off away", run->vm_config.nr_vcpus);
	return 0;
}

/* The ARGs joined by blanks; malloc'd. */
static char *join_args(char **args)
{
	size_t bytes = 1;
	char *line, *end;

	for (char **a = args; *a; a++)
		bytes += strlen(*a) + 1;
	line = end = malloc(bytes);
	if (!line)
		return NULL;
	*line = '\0';
	for (char **a = args; *a; a++)
		end += sprintf(end, "%s%s", a == args ? "" : " ", *a);
	return line;
}

static int parse_args(struct run *run, int argc, char **argv, struct quire_error *err)
{
	int ret = parse_options(run, argc, argv, err);

	if (ret)
		return ret;
	run->image_path = argv[optind];
	run->cmdline = join_args(argv + optind + 1);
	if (!run->cmdline)
		return quire_fail(err, -ENOMEM, "no memory for the guest's command line");
	if (!run->name[0])
		snprintf(run->name, sizeof(run->name), "%d", getpid());
	run->vm_config.name = run->name;
	return 0;
}

/* ---- files and image ---- */

static int open_files(struct run *run, struct quire_error *err)
{
	int ret = image_open(run->image_path, &run->image, err);

	for (unsigned int i = 0; i < run->nr_modules && !ret; i++) {
		ret = image_open(run->module_path[i], &run->module_file[i], err);
		run->module[i].data = run->module_file[i].data;
		run->module[i].bytes = run->module_file[i].bytes;
	}
	if (ret || !run->stats_path)
		return ret;
	run->stats = strcmp(run->stats_path, "-") ? fopen(run->stats_path, "we") : stdout;
	if (!run->stats)
		return quire_fail(err, -errno, "--stats: cannot write %s: %s", run->stats_path,
				  strerror(errno));
	return 0;
}

/* The device tree; the two numbers that are not known yet are 1 for now. */
static int build_fdt(struct run *run, struct quire_error *err)
{
	struct fdt_config config = {
		.ram = run->ram,
		.nr_ram = run->nr_ram,
		.nr_cpus = run->vm_config.nr_vcpus,
		.bootargs = run->cmdline,
		.tsc_khz = 1,
		.setup_ns = 1,
	};
	int ret = fdt_build(&config, &run->fdt, &run->fdt_bytes);

	if (ret)
		return quire_fail(err, ret, "cannot build the device tree: %s", strerror(-ret));
	run->module[run->nr_modules] = (struct image_module){
		.data = run->fdt, .bytes = run->fdt_bytes, .args = QUIRE_FDT_MODULE,
	};
	return 0;
}

static int plan_image(struct run *run, struct quire_error *err)
{
	struct image_config config = {
		.file = run->image.data,
		.file_bytes = run->image.bytes,
		.name = run->image_path,
		.cmdline = run->cmdline,
		.module = run->module,
		.nr_modules = run->nr_modules + 1,
		.ram = run->ram,
		.nr_ram = run->nr_ram,
	};
	int ret;

	run->nr_ram = vm_ram_layout(run->vm_config.ram_bytes, run->ram);
	ret = build_fdt(run, err);
	if (ret)
		return ret;
	config.nr_ram = run->nr_ram;
	ret = image_plan(&config, &run->plan, err);
	run->planned = !ret;
	return ret;
}

/* ---- the VM ---- */

static bool wants_irqchip(const struct run *run)
{
	if (run->irqchip != IRQCHIP_AUTO)
		return run->irqchip == IRQCHIP_ON;
	return run->plan.kind != IMAGE_PVH64 || run->vm_config.nr_vcpus > 1;
}

static void set_tsc_khz(struct run *run)
{
	int node = fdt_path_offset(run->fdt, "/hypervisor");
	uint32_t khz = vm_tsc_khz(run->vm);

	if (khz)
		fdt_setprop_inplace_u32(run->fdt, node, "quire,tsc-khz", khz);
	else
		fdt_nop_property(run->fdt, node, "quire,tsc-khz");
}

/* As late as can be: write the device tree again, now with the time all this took. */
static int set_setup_time(struct run *run, struct quire_error *err)
{
	int node = fdt_path_offset(run->fdt, "/hypervisor"), ret;

	for (unsigned int i = 0; i < run->plan.nr_segments; i++) {
		const struct image_segment *s = &run->plan.segment[i];

		if (s->data != run->fdt)
			continue;
		fdt_setprop_inplace_u64(run->fdt, node, "quire,setup-ns",
					monotonic_ns() - run->vm_config.start_ns);
		ret = guest_write(vm_gmem(run->vm), s->gpa, run->fdt, run->fdt_bytes);
		if (ret)
			return quire_fail(err, ret, "cannot write the device tree: %s",
					  strerror(-ret));
	}
	return 0;
}

/* -EDOM: the name is at fault. */
static int listen_as(struct run *run, struct quire_error *err)
{
	int ret = ctl_create(run->name, &run->ctl, err);

	return ret == -EADDRINUSE || ret == -EINVAL ? -EDOM : ret;
}

static int make_vm(struct run *run, struct quire_error *err)
{
	int ret;

	run->vm_config.irqchip = wants_irqchip(run);
	ret = vm_create(&run->vm_config, &run->vm, err);
	if (ret)
		return ret;
	set_tsc_khz(run);
	ret = image_place(&run->plan, vm_gmem(run->vm), err);
	if (!ret)
		ret = vm_set_start(run->vm, &run->plan, err);
	if (!ret)
		ret = listen_as(run, err);
	if (!ret)
		ret = set_setup_time(run, err);
	return ret;
}

/* ---- the end ---- */

static int write_stats(struct run *run, int status)
{
	struct vm_info info;
	struct stats_vm vm = { .info = &info };
	int ret;

	if (!run->stats)
		return status;
	vm_info(run->vm, &info);
	ret = stats_document(run->stats, NULL, &vm, 1);
	if (run->stats != stdout && fclose(run->stats))
		ret = -EIO;
	run->stats = NULL;
	if (!ret)
		return status;
	fprintf(stderr, "quire: --stats: cannot write %s: %s\n", run->stats_path, strerror(errno));
	return status ? status : QUIRE_STATUS_HOST;
}

static void finish(struct run *run)
{
	ctl_destroy(run->ctl);
	vm_destroy(run->vm);
	if (run->planned)
		image_plan_finish(&run->plan);
	for (unsigned int i = 0; i < run->nr_modules; i++)
		image_close(&run->module_file[i]);
	image_close(&run->image);
	if (run->stats && run->stats != stdout)
		fclose(run->stats);
	free(run->fdt);
	free(run->cmdline);
}

/* A mistake in the request, or a host that cannot? */
static int failure_status(int code)
{
	return code == -ENOMEM ? QUIRE_STATUS_HOST : QUIRE_STATUS_USAGE;
}

static int prepare(struct run *run, int argc, char **argv, struct quire_error *err)
{
	int ret = parse_args(run, argc, argv, err);

	if (!ret)
		ret = open_files(run, err);
	if (!ret)
		ret = plan_image(run, err);
	if (ret)
		return failure_status(ret);
	ret = make_vm(run, err);
	if (!ret)
		return 0;
	return ret == -EDOM ? QUIRE_STATUS_USAGE : QUIRE_STATUS_HOST;
}

int cmd_run(int argc, char **argv)
{
	struct quire_error err = { "" };
	struct run *run = calloc(1, sizeof(*run));
	int status;

	if (!run) {
		fputs("quire: no memory\n", stderr);
		return QUIRE_STATUS_HOST;
	}
	run->vm_config = (struct vm_config){
		.ram_bytes = DEFAULT_RAM, .nr_vcpus = 1, .start_ns = process_start_ns,
	};
	status = prepare(run, argc, argv, &err);
	if (status) {
		fprintf(stderr, "quire: %s\n", err.text);
	} else {
		status = vm_run(run->vm, run->ctl);
		status = write_stats(run, status);
		if (vm_is_stuck(run->vm)) {
			fflush(NULL);
			_exit(status);
		}
	}
	finish(run);
	free(run);
	return status;
}
