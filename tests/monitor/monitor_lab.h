/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_MONITOR_LAB_H
#define QUIRE_TESTS_MONITOR_LAB_H

/*
 * A virtual processor in a small memory, whose pages have permissions of their own in place of page
 * tables.  It starts like a guest's kernel that has set itself up: GDT, IDT with a gate for each
 * vector, TSS, in long mode or in protected mode of 32 bits.
 */
#include "vmm/monitor/cpu.h"

#define LAB_BYTES 0x20000u

/* Where things are. */
#define LAB_GDT	   0x1000u
#define LAB_IDT	   0x2000u
#define LAB_TSS	   0x4000u
#define LAB_CODE   0x5000u
#define LAB_DATA   0x7000u
#define LAB_STACK0 0x9000u /* the kernel's, downwards */
#define LAB_IST	   0xb000u
#define LAB_STACK3 0xd000u
#define LAB_SECRET 0xe000u  /* of the kernel */
#define LAB_VOID   0x10000u /* up to LAB_BYTES: not present */

/* Handlers: of vector v at LAB_HANDLERS + 16 v. */
#define LAB_HANDLERS 0x6000u

/* Selectors. */
#define LAB_CS0	      0x08u /* 64 bits, or 32 */
#define LAB_DS0	      0x10u
#define LAB_DS3	      0x1bu
#define LAB_CS3	      0x23u /* 64 bits, or 32 */
#define LAB_CS32      0x28u /* CPL 0, of 32 bits */
#define LAB_CODE0     0x30u /* conforming */
#define LAB_LDT	      0x38u
#define LAB_TR	      0x48u /* 16 bytes in long mode, as the LDT */
#define LAB_GONE      0x58u /* data, not present */
#define LAB_GDT_BYTES 0x60u

#define LAB_USER  0x1u /* page permissions; the kernel may do all to a page that is present */
#define LAB_WRITE 0x2u
#define LAB_HERE  0x4u

#define LAB_FEATURES (EMULATE_SMAP | EMULATE_INVPCID)

struct lab {
	struct monitor_cpu cpu;
	struct monitor_features features;
	uint8_t memory[LAB_BYTES];
	uint8_t page[LAB_BYTES / 4096];

	/* What ports and MSRs were asked for; reads of ports give `port_value` + the port. */
	unsigned int nr_io;
	bool io_out;
	uint16_t io_port;
	unsigned int io_bytes, io_count;
	uint8_t io_data[1024];
	uint8_t port_value;
	uint32_t msr_index;
	uint64_t msr_value;
	bool msr_known;
	enum emulate_result io_result;
};

/* Begin at CPL 0 or 3, at LAB_CODE. */
void lab_begin(struct lab *lab, bool long_mode, unsigned int cpl);

/* Begin as an image does that was started by PVH: 32 bits, no tables. */
void lab_begin_pvh(struct lab *lab);

/* Put an instruction where RIP is, and let it raise #GP (or another vector). */
enum monitor_result lab_do(struct lab *lab, const char *bytes, unsigned int nr);
enum monitor_result lab_raise(struct lab *lab, const char *bytes, unsigned int nr, uint8_t vector);
#define LAB_DO(lab, bytes) lab_do(lab, bytes, sizeof(bytes) - 1)

/* 8 or 4 bytes at gva. */
uint64_t lab_get64(const struct lab *lab, gva_t gva);
uint32_t lab_get32(const struct lab *lab, gva_t gva);
void lab_put64(struct lab *lab, gva_t gva, uint64_t value);
void lab_put32(struct lab *lab, gva_t gva, uint32_t value);

/* A gate of the IDT: its DPL, type (0xe or 0xf) and IST. */
void lab_gate(struct lab *lab, unsigned int vector, unsigned int dpl, unsigned int type,
	      unsigned int ist);

/* The vector in whose handler the processor is; -1: in none. */
int lab_vector(const struct lab *lab);

#endif
