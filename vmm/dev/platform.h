/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_DEV_PLATFORM_H
#define QUIRE_VMM_DEV_PLATFORM_H

/*
 * What kernels take for granted in a PC and ask without looking for it first: power-off and reset,
 * the PM timer, the CMOS clock.  docs/platform.md has the ports.
 *
 * As in bus.h, any vCPU's thread may call.  What is shared is one byte or word, and atomic: guests
 * exclude their own processors from one another here, as they have to on a PC.
 */
#include <quire/types.h>
#include <stdatomic.h>

struct bus;

/* ---- power-off and reset ---- */

#define PM1_BYTES   6
#define POWER_PORTS 3

struct power;
struct power_port;

/* From a port of power_ports.c to the VM's power. */
struct power_wire {
	const struct power *power;
	const struct power_port *port;
};

struct power {
	void (*off)(void *ctx);
	void (*reset)(void *ctx);
	void (*panic)(void *ctx); /* the guest's kernel has panicked */
	void *ctx;

	/* The devices' own; zero at first. */
	struct power_wire wire[POWER_PORTS];
	atomic_uchar pm1[PM1_BYTES]; /* status, enable, control */
	atomic_uchar command;	     /* that the keyboard controller waits for a byte of; 0: none */
	atomic_uchar answer;	     /* the keyboard controller's ... */
	atomic_bool answered;	     /* ... which the guest has not read yet */
	atomic_uchar settings;	     /* the keyboard controller's command byte */
};

/*
 * Put on the bus: ACPI's PM1 registers and PM timer at QUIRE_PM_PORT; QUIRE_RESET_PORT, port 0x92
 * and QEMU's device pvpanic at QUIRE_PANIC_PORT (its docs/specs/pvpanic.txt); and the keyboard
 * controller.  *power stays the caller's.  Each function: 0 or bus_add()'s error.
 */
int pm_add(struct bus *ports, struct power *power);
int power_ports_add(struct bus *ports, struct power *power);
int i8042_add(struct bus *ports, struct power *power);

/* ---- the clock ---- */

#define CMOS_BYTES 128

struct cmos {
	uint64_t (*utc_ns)(void); /* since the epoch */
	atomic_uchar index;
	atomic_uchar byte[CMOS_BYTES]; /* the time is not kept */
};

/*
 * Put a clock on the bus at QUIRE_CMOS_PORT.  *cmos stays the caller's; this sets it up, with the
 * sizes of RAM where a BIOS leaves them.  0 or bus_add()'s error.
 */
int cmos_add(struct bus *ports, struct cmos *cmos, const struct gfn_range *ram, unsigned int nr_ram,
	     unsigned int nr_cpus);

#endif
