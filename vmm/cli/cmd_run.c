/* SPDX-License-Identifier: MIT */
/*
 * quire run: its files and its image.  The options are run_options.c's.  The rest is the launcher's
 * (launch.h) and, in the process of each VM, run_vm.c's.
 *
 * The order of things is chosen for its errors: arguments first, then files, the machine, the image
 * and the host.  It is also chosen for a short start: the image is read and planned while a machine
 * of our own starts, and once for all copies.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <quire/abi.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "both.h"
#include "cmd.h"
#include "vmm/launch/installed.h"
#include "run_options.h"
#include "vmm/look/stats.h"
#include "vmm/look/stats_end.h"
#include "vmm/boot/fdt.h"
#include "vmm/vm/message.h"
#include "vmm/launch/cgroup.h"
#include "vmm/launch/detach.h"
#include "vmm/launch/image_reader.h"
#include "vmm/launch/machine_process.h"
#include "vmm/launch/run_swap.h"
#include "vmm/launch/vm_process.h"
#include "vmm/launch/vm_record.h"

/* ---- files and image ---- */

/* Open what `option` names.  *module becomes its bytes. */
static int open_module(const char *option, const char *path, struct image_file *file,
		       struct image_module *module, struct quire_error *err)
{
	struct quire_error why;
	int ret = image_open(path, file, &why);

	if (ret)
		return quire_fail(err, ret, "%s: %.300s", option, why.text);
	module->name = path;
	module->data = file->data;
	module->bytes = file->bytes;
	return 0;
}

/*
 * The counters get standard output for themselves, so that a program can read it: from here on,
 * what the guests print goes to standard error.
 */
static FILE *take_stdout(void)
{
	int fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

	if (fd < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		return NULL;
	return fdopen(fd, "w");
}

static int open_stats(struct run *run, struct quire_error *err)
{
	bool to_stdout = !strcmp(run->stats_path, "-");

	run->stats = to_stdout ? take_stdout() : fopen(run->stats_path, "we");
	if (!run->stats)
		return quire_fail(err, -errno, "--stats: cannot write %s: %s", run->stats_path,
				  strerror(errno));
	return 0;
}

static int open_nets(struct run *run, struct quire_error *err)
{
	struct quire_error why;
	int ret;

	for (unsigned int i = 0; i < run->launch.nr_nets; i++) {
		ret = net_source_open(&run->launch.net[i], &why);
		if (ret)
			return quire_fail(err, ret, "--net: %.300s", why.text);
		run->vm_config.net[i].mtu = run->launch.net[i].mtu;
	}
	return 0;
}

/* Disks that the guest may write, and that are in memory. */
static uint64_t charged_bytes(const struct vm_config *config)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < config->nr_disks; i++)
		if (config->disk[i].mode != DISK_READ_ONLY &&
		    cgroup_charges(disk_write_fd(config->open_disk[i])))
			bytes += config->open_disk[i]->bytes;
	return bytes;
}

/* From now on until the end of all VMs, the images are locked. */
static void hold_disks(struct run *run)
{
	int image[DISK_MOST];

	vm_hold_disks(&run->vm_config, image);
	run->launch.nr_disks = run->vm_config.nr_disks;
	for (unsigned int i = 0; i < run->launch.nr_disks; i++)
		run->launch.disk[i] = (struct launch_disk){ &run->vm_config.disk[i], image[i] };
}

static int open_files(struct run *run, struct quire_error *err)
{
	char *installed = installed_image(run->image_path);
	int ret = image_open(installed ? installed : run->image_path, &run->image, err);

	free(installed);
	if (!ret)
		ret = vm_open_disks(&run->vm_config, NULL, err);
	if (!ret)
		run->launch.file_bytes = charged_bytes(&run->vm_config);
	run->launch.device_bytes = vm_disks_memory(&run->vm_config);
	hold_disks(run);
	if (!ret)
		ret = run_prepare_swap(run, err);
	for (unsigned int i = 0; i < run->nr_modules && !ret; i++)
		ret = open_module("--module", run->module_path[i], &run->module_file[i],
				  &run->module[i], err);
	for (unsigned int i = 0; i < run->nr_initrds && !ret; i++)
		ret = open_module("--initrd", run->initrd_path[i], &run->initrd_file[i],
				  &run->initrd[i], err);
	return ret || !run->stats_path ? ret : open_stats(run, err);
}

/* Build the device tree.  Two of its numbers are not known yet and are 1 for now. */
static int build_fdt(struct run *run, struct quire_error *err)
{
	struct virtio_slot slot[QUIRE_VIRTIO_SLOTS];
	struct fdt_config config = {
		.ram = run->ram,
		.nr_ram = run->nr_ram,
		.nr_cpus = run->vm_config.nr_vcpus,
		.bootargs = run->cmdline,
		.tsc_khz = 1,
		.setup_ns = 1,
		.virtio = slot,
		.nr_virtio = vm_virtio_slots(&run->vm_config, slot),
	};
	int ret = fdt_build(&config, &run->fdt, &run->fdt_bytes);

	if (ret)
		return quire_fail(err, ret, "cannot build the device tree: %s", strerror(-ret));
	run->module[run->nr_modules] = (struct image_module){
		.data = run->fdt,
		.bytes = run->fdt_bytes,
		.name = "",
		.args = QUIRE_FDT_MODULE,
	};
	return 0;
}

static bool wants_irqchip(const struct run *run, const struct image_outline *outline)
{
	if (run->irqchip != IRQCHIP_AUTO)
		return run->irqchip == IRQCHIP_ON;
	return outline->kind != IMAGE_PVH64 || outline->kernel.is_linux ||
	       run->vm_config.nr_vcpus > 1;
}

/*
 * Build ACPI's tables for a guest with an interrupt controller.  Others have nothing of what they
 * describe, and are spared the page.
 */
static void build_acpi(struct run *run, struct image_config *config)
{
	const struct acpi_config acpi = {
		.nr_cpus = run->vm_config.nr_vcpus,
		.virtio = config->virtio,
		.nr_virtio = config->nr_virtio,
	};

	if (!run->vm_config.irqchip)
		return;
	config->acpi = run->acpi;
	config->acpi_bytes = acpi_build(&acpi, run->acpi);
}

/* A Linux kernel gets random numbers, unless its other devices leave no room for them. */
static void choose_rng(struct run *run, const struct image_outline *outline)
{
	struct virtio_slot slot[QUIRE_VIRTIO_SLOTS];

	if (run->rng != RNG_AUTO)
		return;
	run->vm_config.rng = outline->kernel.is_linux;
	if (vm_virtio_slots(&run->vm_config, slot) > QUIRE_VIRTIO_SLOTS)
		run->vm_config.rng = false;
}

static int plan_image(struct run *run, struct quire_error *err)
{
	struct virtio_slot slot[QUIRE_VIRTIO_SLOTS];
	struct image_config config = {
		.file = run->image.data,
		.file_bytes = run->image.bytes,
		.name = run->image_path,
		.cmdline = run->cmdline,
		.virtio_console = run->vm_config.virtio_console,
		.text_screen = run->vm_config.vga_text,
		.virtio = slot,
		.nr_virtio = vm_virtio_slots(&run->vm_config, slot),
		.module = run->module,
		.nr_modules = run->nr_modules + 1,
		.initrd = run->initrd,
		.nr_initrds = run->nr_initrds,
		.ram = run->ram,
		.nr_ram = run->nr_ram,
	};
	struct image_outline *outline;
	int ret;

	run->nr_ram = vm_ram_layout(run->vm_config.ram_bytes, run->ram);
	ret = build_fdt(run, err);
	if (ret)
		return ret;
	config.nr_ram = run->nr_ram;
	outline = malloc(sizeof(*outline));
	if (!outline)
		return quire_fail(err, -ENOMEM, "no memory");
	ret = image_reader_run(&config, run->sandbox, outline, err);
	if (!ret) {
		run->vm_config.irqchip = wants_irqchip(run, outline);
		choose_rng(run, outline);
		config.nr_virtio = vm_virtio_slots(&run->vm_config, slot);
		build_acpi(run, &config);
		ret = image_plan(&config, outline, &run->plan, err);
	}
	run->planned = !ret;
	free(outline);
	return ret;
}

/* In the form that Linux's virtio_mmio.device= has. */
static void say_devices(const struct run *run)
{
	struct virtio_slot slot[QUIRE_VIRTIO_SLOTS];
	unsigned int nr = vm_virtio_slots(&run->vm_config, slot);

	for (unsigned int i = 0; i < nr; i++)
		message("virtio %s: %" PRIu64 "@%#" PRIx64 ":%u", slot[i].name, slot[i].bytes,
			slot[i].base, slot[i].irq);
}

/* -v: what the image is, what the guest is told, and where its devices are. */
static void say_plan(const struct run *run)
{
	const struct image_plan *plan = &run->plan;
	const char *version = plan->kernel.version;

	message("%s: %s%s%s, entered at %#" PRIx64, run->image_path, image_kind_name(plan->kind),
		*version ? ", version " : "", version, plan->entry);
	message("%s: command line \"%s\"", run->image_path, plan->cmdline);
	say_devices(run);
}

/* With this module KVM emulates all that a guest does outside of user mode; there, IF is on. */
#define SLOW_KVM "/sys/module/kvm_pvm"

static void warn_of_host(const struct run *run)
{
	if (!run->plan.kernel.is_linux || access(SLOW_KVM, F_OK))
		return;
	if (run->vm_config.paging == VM_PAGING_SHADOW)
		message("this host's KVM shows a guest on shadow tables interrupts as on when they "
			"are off: a Linux kernel stops at its first timer interrupt; "
			"docs/shadow.md says why");
	else
		message("this host's KVM emulates a guest's kernel, a thousand times slower and "
			"without some instructions: it takes many minutes, or crashes; "
			"docs/images.md says how to run it in an emulated machine");
}

/* ---- the end ---- */

/* launch_config.write_stats */
static int write_stats(void *ctx, const struct machine_state *machine, const struct launch_end *end,
		       unsigned int nr)
{
	struct stats_vm *vm = calloc(nr, sizeof(*vm));
	const struct run *run = ctx;
	int ret;

	if (!vm)
		return -ENOMEM;
	for (unsigned int i = 0; i < nr; i++)
		vm[i] = stats_of_end(&end[i], run->vm_config.nr_vcpus, run->vm_config.ram_bytes);
	ret = stats_document(run->stats, machine, vm, nr);
	free(vm);
	return ret;
}

static int close_stats(struct run *run, int status)
{
	FILE *f = run->stats;
	bool failed;

	run->stats = NULL;
	if (!f)
		return status;
	failed = ferror(f);
	if (!fclose(f) && !failed)
		return status;
	message("--stats: cannot write %s: %s", run->stats_path, strerror(errno));
	return status ? status : QUIRE_STATUS_HOST;
}

static void finish(struct run *run)
{
	if (run->planned)
		image_plan_finish(&run->plan);
	for (unsigned int i = 0; i < run->nr_modules; i++)
		image_close(&run->module_file[i]);
	for (unsigned int i = 0; i < run->nr_initrds; i++)
		image_close(&run->initrd_file[i]);
	image_close(&run->image);
	for (unsigned int i = 0; i < run->launch.nr_nets; i++)
		net_source_close(&run->launch.net[i]);
	for (unsigned int i = 0; i < run->launch.nr_disks; i++)
		close(run->launch.disk[i].image);
	if (run->stats)
		fclose(run->stats);
	free(run->fdt);
	free(run->cmdline);
}

static int prepare(struct run *run, int argc, char **argv, struct quire_error *err)
{
	int ret = run_parse(run, argc, argv, err);

	if (!ret)
		ret = open_files(run, err);
	return ret ? ret : open_nets(run, err);
}

/* Are all keys the guest's?  A whole system knows what to do with Ctrl-C. */
static bool wants_raw(const struct run *run)
{
	if (run->keys != KEYS_AUTO)
		return run->keys == KEYS_RAW;
	return run->vm_config.virtio_console || run->plan.kernel.is_linux;
}

/* Is the request wrong, can the host not do it, or is quire at fault? */
static int status_of(int error)
{
	switch (error) {
	case -ENOMEM:
	case -EPERM:
	case -EINTR: return QUIRE_STATUS_HOST;
	case -ECHILD: return QUIRE_STATUS_INTERNAL;
	default: return QUIRE_STATUS_USAGE;
	}
}

/* launch_config.complete */
static int complete(void *ctx, struct quire_error *err)
{
	struct run *run = ctx;
	int ret = plan_image(run, err);

	if (ret)
		return status_of(ret);
	if (run->verbose)
		say_plan(run);
	warn_of_host(run);
	run->launch.raw = wants_raw(run);
	return vm_record_make(run, err);
}

/* Run to the end or, with --wait-for, until the guests have printed the text. */
static int run_to_its_end(struct run *run)
{
	int status, ret = run->launch.wait_for ? detach(&run->launch.caller, &status) : 0;

	if (ret < 0) {
		message("--wait-for: cannot start a process: %s", strerror(-ret));
		return QUIRE_STATUS_HOST;
	}
	if (ret)
		return status;
	run_set_default_names(run);
	run->launch.bounded = run->sandbox != SANDBOX_OFF;
	run->launch.strict = run->sandbox == SANDBOX_STRICT;
	if (run->stats)
		run->launch.write_stats = write_stats;
	run->launch.complete = complete;
	status = launch(&run->launch);
	vm_record_finish(run);
	return close_stats(run, status);
}

int cmd_run(int argc, char **argv)
{
	struct run *run = calloc(1, sizeof(*run));
	struct quire_error err = { "" };
	int ret, status;

	if (!run) {
		message("no memory");
		return QUIRE_STATUS_HOST;
	}
	ret = prepare(run, argc, argv, &err);
	if (ret) {
		message("%s", err.text);
		status = status_of(ret);
	} else if (run->both) {
		status = close_stats(run, both_run(run, run_to_its_end));
	} else {
		status = run_to_its_end(run);
	}
	finish(run);
	free(run);
	return status;
}

bool cmd_is_part(int argc, char **argv, int *status)
{
	if (argc == 2 && !strcmp(argv[0], VM_PROCESS_NAME))
		*status = vm_process(argv[1]);
	else if (argc == 1 && !strcmp(argv[0], MACHINE_PROCESS_NAME))
		*status = machine_process();
	else
		return false;
	return true;
}
