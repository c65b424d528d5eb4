/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_MONITOR_WORLD_LAYOUT_H
#define QUIRE_VMM_MONITOR_WORLD_LAYOUT_H

/* Where things are in the monitor: world_memory.c makes them, world.c uses them. */
#include <assert.h>
#include "world.h"

#define PAGE 4096u
#define LEAF (2u * 1024 * 1024)

/* The monitor, in offsets.  The first 2 MiB are mapped in pages, the arena in 2 MiB leaves. */
#define GDT	 0x0u
#define GDT_SIZE 0x10000u
#define IDT	 0x10000u
#define CODE	 0x11000u
#define PDPT	 0x12000u
#define PD	 0x13000u
#define PT	 0x14000u
#define CPUS	 0x20000u /* a page for each */
#define ARENA	 LEAF

static_assert(CPUS + WORLD_MAX_CPUS * PAGE <= ARENA, "there is a page for each vCPU");

#define BASE SHADOW_MONITOR_GVA

/* A vCPU's page: its TSS, the list, and its stack, which begins at the end. */
#define TSS_SIZE 104u
#define LIST	 0x80u
#define RSP0	 PAGE

struct list {
	uint64_t cr3;
	gva_t entry[WORLD_MAX_LIST];
};
static_assert(LIST + sizeof(struct list) + 0x200 <= PAGE, "the stack has room");

/*
 * The GDT has nothing but its last entries, so that a guest's own selectors are not valid.  From
 * its end: code and data of CPL 0 and 3, and a TSS for each vCPU.
 */
enum { SEG_CODE0, SEG_DATA0, SEG_CODE16, SEG_CODE32, SEG_CODE64, SEG_DATA3, NR_SEGS };
#define FIRST_SEG     (GDT_SIZE / 8 - NR_SEGS)
#define SELECTOR(seg) ((uint16_t)((FIRST_SEG + (seg)) * 8))
#define TSS_INDEX(n)  (FIRST_SEG - 2 - 2 * (n))

#define GATE_BYTES 4u /* of code: OUT and padding */
#define ACT_BYTES  8u
#define OUT_PORT   0x80u
#define NR_VECTORS 256u

struct world {
	struct world_config config;
	struct world_memory memory;
	unsigned int listed[WORLD_MAX_CPUS]; /* by an entry that is not known to be over */
	bool flushing[WORLD_MAX_CPUS];	     /* ... and whether it loads CR3 */
	bool stepping[WORLD_MAX_CPUS];	     /* TF is ours */
};

extern const uint8_t world_gates[], world_iret[], world_flush[], world_halt[], world_lstar_trap[],
	world_acts[];

static inline gva_t code_at(const uint8_t *label)
{
	return BASE + CODE + ((uintptr_t)label - (uintptr_t)world_gates);
}

static inline void *at(const struct world *w, uint64_t offset)
{
	return (uint8_t *)w->memory.hva + offset;
}

static inline uint64_t cpu_page(unsigned int cpu)
{
	return CPUS + (uint64_t)cpu * PAGE;
}

#endif
