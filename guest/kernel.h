/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_GUEST_KERNEL_H
#define QUIRE_GUEST_KERNEL_H

/*
 * The kernel's own services: what the loader said, traps and nucleus calls, console, clock, and
 * how the guest ends.
 */
#include "layout.h"
#include "runtime.h"

/* What the loader handed over; filled by boot_parse() and never changed after. */

#define MAX_RAM_RANGES 32
#define MAX_VIRTIO     16
#define CMDLINE_BYTES  1024

struct ram_range {
	uint64_t start, end; /* gpa, half-open, page aligned */
};

struct mmio_range {
	uint64_t start, end; /* gpa, half-open */
};

struct boot_info {
	struct ram_range ram[MAX_RAM_RANGES]; /* as the loader listed them */
	unsigned int nr_ram;
	struct mmio_range virtio[MAX_VIRTIO]; /* registers of virtio-mmio devices */
	unsigned int nr_virtio;
	unsigned int nr_cpus;
	char cmdline[CMDLINE_BYTES];
	uint32_t tree_bytes; /* 0: no device tree */
	uint32_t tsc_khz;    /* 0: not told */
	uint64_t setup_ns;   /* exec of the VMM to our first instruction; 0: not told */
	bool text_port;	     /* QUIRE_CONSOLE_PORT is there */
	bool wait_port;	     /* QUIRE_WAIT_PORT is there */
	uint64_t entry_tsc;  /* at pvh_entry */
};
extern struct boot_info boot;

/* Read the PVH start info at gpa start_info and the device tree if there is one. */
void boot_parse(uint64_t start_info, uint64_t entry_tsc);

/* Take what the flattened device tree at blob says; false if it is not a sound tree. */
bool tree_parse(const void *blob, struct boot_info *info);

/* Traps (traps.S, trap.c). */

struct trap {
	uint64_t rax, rbx, rcx, rdx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t cr2;
	uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

/* Every trap goes here first.  True: it is dealt with, and *trap says where to go on. */
extern bool (*volatile trap_hook)(struct trap *trap);

/* Run fn(arg).  True if it trapped; then guard_trap says how.  Calls do not nest. */
bool guarded(void (*fn)(uint64_t), uint64_t arg);
extern struct trap guard_trap;

uint64_t nucleus_call(uint64_t number, uint64_t a, uint64_t b);

/* Console (console.c). */

void console_putc(char c);
void console_flush(void);     /* send the buffer out */
bool console_has_input(void); /* would console_getc() not wait? */
int console_getc(void);	      /* flushes, then waits for a byte */

/* Clock (clock.c): the TSC, whose frequency is found on first use. */

uint32_t clock_khz(void);
uint64_t clock_ns(uint64_t cycles);
uint64_t clock_deadline(uint64_t seconds); /* a TSC value */

#define CLOCK_NEVER UINT64_MAX

/*
 * Wait until the TSC reaches deadline or there is a cue.  It may also return for no reason, so
 * callers look again.  Gives the processor back where there is a wait port (abi.h).
 */
void clock_wait(uint64_t deadline);

/* A number that is not 0, and that no other guest gets. */
uint64_t random_seed(void);

/* The end (start.c). */

void quill_exit(unsigned int status) __attribute__((noreturn));
void panic(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));

#endif
