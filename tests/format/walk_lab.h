/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_FORMAT_WALK_LAB_H
#define QUIRE_TESTS_FORMAT_WALK_LAB_H

/*
 * What the tests of the walk share: two flat arrays, guest memory by machine address and
 * stage-2 tables by table address, with the callbacks that walk_2d() wants.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "mmu/format/walk.h"

#define LAB_CR0_PE    (1ULL << 0)
#define LAB_CR0_WP    (1ULL << 16)
#define LAB_CR0_PG    (1ULL << 31)
#define LAB_CR4_PSE   (1ULL << 4)
#define LAB_CR4_PAE   (1ULL << 5)
#define LAB_CR4_LA57  (1ULL << 12)
#define LAB_CR4_PCIDE (1ULL << 17)
#define LAB_CR4_SMEP  (1ULL << 20)
#define LAB_CR4_SMAP  (1ULL << 21)
#define LAB_EFER_LME  (1ULL << 8)
#define LAB_EFER_LMA  (1ULL << 10)
#define LAB_EFER_NXE  (1ULL << 11)

/* Guest entry bits. */
#define GP  0x1ULL
#define GW  0x2ULL
#define GU  0x4ULL
#define GA  0x20ULL
#define GD  0x40ULL
#define GPS 0x80ULL
#define GNX (1ULL << 63)

/* Stage-2 entry bits. */
#define ER   0x1ULL
#define EW   0x2ULL
#define EX   0x4ULL
#define EWB  0x30ULL
#define EPS  0x80ULL
#define ERWX (ER | EW | EX)

struct lab {
	uint8_t *guest, *ept;
	uint64_t guest_bytes, ept_bytes;
	unsigned int updates; /* calls of set_bits that stored */
};

/* Allocates both images, all zeroes. */
void lab_init(struct lab *lab, uint64_t guest_bytes, uint64_t ept_bytes);

/* Frees both images. */
void lab_finish(struct lab *lab);

/* As walk_memory.read: an entry of `bytes` bytes of the guest image.  0 or -errno. */
int lab_read(void *ctx, maddr_t addr, unsigned int bytes, uint64_t *value);

/* As walk_memory.set_bits, on the guest image.  0, or -EAGAIN if it changed meanwhile. */
int lab_set_bits(void *ctx, maddr_t addr, unsigned int bytes, uint64_t value, uint64_t bits);

/* As walk_stage2.read, on the EPT image.  0 or -errno. */
int lab_read_ept(void *ctx, uint64_t addr, const struct pt_level *lv, uint64_t *entry);

/* A stage 2 that maps each page to itself. */
struct walk_stage2 lab_identity(void);

/* The guest image as the memory that a walk reads. */
struct walk_memory lab_memory(struct lab *lab);

/* The EPT image as a stage 2 whose root is at address 0. */
struct walk_stage2 lab_stage2(struct lab *lab, const struct pt_format *format);

/* Stores an entry of 4 or 8 bytes. */
void lab_put(uint8_t *image, uint64_t addr, unsigned int bytes, uint64_t value);

/* Loads an entry of 4 or 8 bytes. */
uint64_t lab_get(const uint8_t *image, uint64_t addr, unsigned int bytes);

/* Registers for a guest in the mode of format (NULL: paging off), everything sensible on. */
struct walk_cpu lab_cpu(const struct pt_format *format, uint64_t cr3);

/*
 * Map address addr at address to in image, with a leaf of the given level: a table of fmt at
 * root, more tables taken from *next on, upper entries made with table_bits, the leaf with
 * leaf_bits.  Returns the leaf's address in image.
 */
uint64_t lab_map(uint8_t *image, const struct pt_format *fmt, uint64_t root, uint64_t *next,
		 uint64_t addr, uint64_t to, unsigned int level, uint64_t table_bits,
		 uint64_t leaf_bits);

#endif
