/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LAUNCH_RUN_H
#define QUIRE_VMM_LAUNCH_RUN_H

/*
 * What quire run was asked for, and what was made of it before there is any VM.  run_options.c and
 * cmd_run.c fill it in, in the launcher.  A VM's process gets what it needs of it (vm_record.h), of
 * which run_vm.c makes a VM.
 */
#include "vmm/boot/acpi.h"
#include "vmm/boot/image.h"
#include "launch.h"
#include "vmm/vm/sandbox.h"
#include "vmm/vm/vm.h"

#define RUN_MAX_MODULES	    64
#define BALLOON_MIN_DEFAULT UINT64_MAX

enum keys_choice { KEYS_AUTO, KEYS_RAW, KEYS_SIGNALS };
enum rng_choice { RNG_AUTO, RNG_ON, RNG_OFF };
enum irqchip_choice { IRQCHIP_AUTO, IRQCHIP_ON, IRQCHIP_OFF };

struct run {
	/* From the arguments. */
	struct launch_config launch;
	struct vm_config vm_config;
	enum irqchip_choice irqchip;
	enum rng_choice rng;
	enum keys_choice keys;
	enum sandbox_mode sandbox;
	const char *image_path;
	uint64_t start_ns;			  /* CLOCK_MONOTONIC when the command began */
	const char *stats_path;			  /* NULL: none */
	const char *module_path[RUN_MAX_MODULES]; /* without ARGS */
	unsigned int nr_modules;
	const char *initrd_path[RUN_MAX_MODULES];
	unsigned int nr_initrds;
	const char *append; /* goes before the ARGs; NULL: nothing */
	bool verbose;
	bool both;     /* run it in each mode, one after the other (vmm/cli/both.h) */
	char *cmdline; /* owned */
	char name[VM_NAME_MAX + 1];
	char domain[VM_DOMAIN_MAX + 1]; /* "" with domain_none: each VM's own */
	bool domain_none;
	uint64_t balloon_min_bytes;	    /* BALLOON_MIN_DEFAULT: not named */
	uint64_t machine_bytes, swap_bytes; /* machine_bytes 0: all of the host's */
	int ratio;			    /* -1: the default */

	/* Made from them. */
	FILE *stats; /* NULL: none */
	struct image_file image;
	struct image_file module_file[RUN_MAX_MODULES];
	struct image_module module[RUN_MAX_MODULES + 1]; /* the device tree is the last */
	struct image_file initrd_file[RUN_MAX_MODULES];
	struct image_module initrd[RUN_MAX_MODULES];
	struct gfn_range ram[VM_MAX_RAM];
	unsigned int nr_ram;
	void *fdt;
	size_t fdt_bytes;
	uint8_t acpi[ACPI_MAX_BYTES];
	struct image_plan plan;
	bool planned;
	struct both_end *both_end; /* one of both runs: where its end is noted; else NULL */

	struct disk_kept disk[DISK_MOST]; /* in a VM's process */
};

/* What differs from copy to copy, in a VM's process. */
struct launch_seat {
	const char *name;
	bool alone;	       /* there is no other copy: standard input is the guest's */
	int leash;	       /* the connection to the launcher (leash.h) */
	int channel;	       /* the connection to the machine; the VM closes it */
	uint64_t credit_pages; /* the credits that it starts with */
	uint64_t reboots;      /* as in vm_process.h */
	uint64_t timeout_since_ns;
	const char *input; /* that the guest had not read when it reset itself; and how much: */
	size_t input_bytes;
	bool begun_key; /* of a key of ours the first half came (escape.h) */
	enum launch_cgroup cgroup;
	struct vm_info *info; /* it leaves its counters here at its end; NULL: nowhere */
};

/* A VM process, from its seat to its exit status. */
int run_vm(struct run *run, const struct launch_seat *seat);

#endif
