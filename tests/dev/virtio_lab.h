/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_DEV_VIRTIO_LAB_H
#define QUIRE_TESTS_DEV_VIRTIO_LAB_H

/*
 * A guest for virtio devices, in a few pages of RAM: registers through the bus, and a driver's
 * side of a virtqueue that can also be made to break the rules.
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include "vmm/dev/bus.h"
#include "vmm/dev/virtio.h"
#include "tests/tap.h"

#define LAB_BASE  0xd0000000u
#define LAB_PAGES 64u /* of which [32, 48) are a hole */

struct lab {
	uint8_t ram[LAB_PAGES * 4096];
	struct bus bus;
	atomic_uint interrupts;
	unsigned int interrupts_seen;
	atomic_uint wakes; /* both: by a vCPU and the main loop, under no lock */
	int write_error;   /* what writes fail with; 0: they do not */
	unsigned int held; /* ranges */
	int hold_error;
	unsigned int writes, far_writes; /* far: outside [used, used_end) */
	gpa_t used, used_end;
};

/* The one device under test, and what it did. */
extern struct lab lab;

/* Is [gpa, gpa + len) in one range of RAM? */
bool lab_in_ram(gpa_t gpa, size_t len);

/* As virtio_memory.write.  0 or -EFAULT. */
int lab_write(void *ctx, gpa_t gpa, const void *buf, size_t len);

/* RAM as the device sees it. */
extern const struct virtio_memory lab_memory;

/* What the device calls for an interrupt; it is counted. */
void lab_interrupt(void *ctx);

/* Has there been an interrupt since last asked? */
bool lab_interrupted(void);

/* What the device calls to have virtio_poll() called; it is counted. */
void lab_wake(void *ctx);

/* Reads a register. */
uint32_t reg(uint32_t offset);

/* Writes a register. */
void set_reg(uint32_t offset, uint32_t value);

#define R_MAGIC	       0x000
#define R_FEATURES     0x010
#define R_FEATURES_SEL 0x014
#define R_ACCEPT       0x020
#define R_ACCEPT_SEL   0x024
#define R_QUEUE	       0x030
#define R_NUM_MAX      0x034
#define R_NUM	       0x038
#define R_READY	       0x044
#define R_NOTIFY       0x050
#define R_ISR	       0x060
#define R_ACK	       0x064
#define R_STATUS       0x070
#define R_GENERATION   0x0fc
#define R_CONFIG       0x100
#define S_FEATURES_OK  8u
#define S_NEEDS_RESET  64u
#define F_INDIRECT     (1ULL << 28)
#define F_EVENT_IDX    (1ULL << 29)
#define F_VERSION_1    (1ULL << 32)

/* All features that the device offers. */
uint64_t lab_offered(void);

/* Accepts these features, without asking whether the device agrees. */
void lab_accept(uint64_t features);

/* Reset and go as far as FEATURES_OK.  False: the device did not agree. */
bool lab_negotiate(uint64_t features);

/* The driver is ready. */
void lab_driver_ok(void);

struct lab_queue {
	unsigned int n;
	uint32_t num;
	gpa_t desc, avail, used;
	uint16_t free; /* next descriptor to use, in a circle */
	uint16_t idx;  /* avail idx */
	bool event_idx;
};

/* Stores 16 bits in RAM. */
void put16(gpa_t gpa, uint16_t value);

/* The used ring's index. */
uint16_t used_idx(const struct lab_queue *q);

/* The index at which the device wants to be notified. */
uint16_t lab_avail_event(const struct lab_queue *q);

/* Head of the i-th used element. */
uint32_t used_head(const struct lab_queue *q, uint16_t i);

/* ... and how many bytes the device says that it wrote there. */
uint32_t used_len(const struct lab_queue *q, uint16_t i);

/* Tells the device where the rings of the queue are. */
void lab_set_rings(const struct lab_queue *q);

/* Rings at page `gfn` and the one behind it, zeroed; made ready. */
struct lab_queue lab_queue(unsigned int n, uint32_t num, gfn_t gfn);

#define D_NEXT	   1u
#define D_WRITE	   2u
#define D_INDIRECT 4u

/* Stores descriptor i of a table. */
void put_desc(gpa_t table, uint32_t i, gpa_t gpa, uint32_t len, uint16_t flags, uint16_t next);

/* Make `head` available. */
void lab_offer(struct lab_queue *q, uint16_t head);

/* One buffer of one segment in the next descriptor. */
uint16_t lab_add(struct lab_queue *q, gpa_t gpa, uint32_t len, uint16_t flags);

/* Notifies the device. */
void lab_kick(const struct lab_queue *q);

#endif
