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

static const struct gfn_range lab_ranges[] = { { 0, 32 }, { 48, LAB_PAGES } };

static struct lab {
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
} lab;

static inline bool lab_in_ram(gpa_t gpa, size_t len)
{
	return (gpa < 32 * 4096 && len <= 32 * 4096 - gpa) ||
	       (gpa >= 48 * 4096 && gpa < sizeof(lab.ram) && len <= sizeof(lab.ram) - gpa);
}

static inline int lab_read(void *ctx, gpa_t gpa, void *buf, size_t len)
{
	(void)ctx;
	if (!lab_in_ram(gpa, len))
		return -EFAULT;
	memcpy(buf, lab.ram + gpa, len);
	return 0;
}

static inline int lab_write(void *ctx, gpa_t gpa, const void *buf, size_t len)
{
	(void)ctx;
	if (!lab_in_ram(gpa, len))
		return -EFAULT;
	if (lab.write_error)
		return lab.write_error;
	lab.writes++;
	lab.far_writes += gpa < lab.used || gpa + len > lab.used_end;
	memcpy(lab.ram + gpa, buf, len);
	return 0;
}

static inline int lab_hold(void *ctx, gpa_t gpa, size_t len)
{
	(void)ctx;
	if (!lab_in_ram(gpa, len))
		return -EFAULT;
	lab.held += !lab.hold_error;
	return lab.hold_error;
}

static inline void lab_release(void *ctx, gpa_t gpa, size_t len)
{
	(void)ctx, (void)gpa, (void)len;
	lab.held--;
}

static const struct virtio_memory lab_memory = {
	.read = lab_read,
	.write = lab_write,
	.hold = lab_hold,
	.release = lab_release,
	.ram = lab_ranges,
	.nr_ram = 2,
};

static inline void lab_interrupt(void *ctx)
{
	(void)ctx;
	lab.interrupts++;
}

/* Has there been an interrupt since last asked? */
static inline bool lab_interrupted(void)
{
	unsigned int now = lab.interrupts;
	bool new = now != lab.interrupts_seen;

	lab.interrupts_seen = now;
	return new;
}

static inline void lab_wake(void *ctx)
{
	(void)ctx;
	lab.wakes++;
}

/* ---- registers ---- */

static inline uint32_t reg(uint32_t offset)
{
	uint32_t value = 0x5a5a5a5a;

	bus_read(&lab.bus, LAB_BASE + offset, 4, &value, 1);
	return value;
}

static inline void set_reg(uint32_t offset, uint32_t value)
{
	bus_write(&lab.bus, LAB_BASE + offset, 4, &value, 1);
}

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

#define S_FEATURES_OK 8u
#define S_DRIVER_OK   4u
#define S_NEEDS_RESET 64u

#define F_INDIRECT  (1ULL << 28)
#define F_EVENT_IDX (1ULL << 29)
#define F_VERSION_1 (1ULL << 32)

static inline uint64_t lab_offered(void)
{
	uint64_t low;

	set_reg(R_FEATURES_SEL, 0);
	low = reg(R_FEATURES);
	set_reg(R_FEATURES_SEL, 1);
	return low | (uint64_t)reg(R_FEATURES) << 32;
}

static inline void lab_accept(uint64_t features)
{
	set_reg(R_ACCEPT_SEL, 0);
	set_reg(R_ACCEPT, (uint32_t)features);
	set_reg(R_ACCEPT_SEL, 1);
	set_reg(R_ACCEPT, (uint32_t)(features >> 32));
}

/* Reset and go as far as FEATURES_OK.  False: the device did not agree. */
static inline bool lab_negotiate(uint64_t features)
{
	set_reg(R_STATUS, 0);
	set_reg(R_STATUS, 1);
	set_reg(R_STATUS, 3);
	lab_accept(features);
	set_reg(R_STATUS, 3 | S_FEATURES_OK);
	return reg(R_STATUS) & S_FEATURES_OK;
}

static inline void lab_driver_ok(void)
{
	set_reg(R_STATUS, 3 | S_FEATURES_OK | S_DRIVER_OK);
}

/* ---- a queue, the driver's side ---- */

struct lab_queue {
	unsigned int n;
	uint32_t num;
	gpa_t desc, avail, used;
	uint16_t free; /* next descriptor to use, in a circle */
	uint16_t idx;  /* avail idx */
	bool event_idx;
};

static inline void put16(gpa_t gpa, uint16_t value)
{
	memcpy(lab.ram + gpa, &value, sizeof(value));
}

static inline uint16_t get16(gpa_t gpa)
{
	uint16_t value;

	memcpy(&value, lab.ram + gpa, sizeof(value));
	return value;
}

static inline uint16_t used_idx(const struct lab_queue *q)
{
	return get16(q->used + 2);
}

static inline uint16_t lab_avail_event(const struct lab_queue *q)
{
	return get16(q->used + 4 + 8 * q->num);
}

/* Head of the i-th used element. */
static inline uint32_t used_head(const struct lab_queue *q, uint16_t i)
{
	uint32_t head;

	memcpy(&head, lab.ram + q->used + 4 + 8 * (i % q->num), sizeof(head));
	return head;
}

static inline void lab_set_rings(const struct lab_queue *q)
{
	set_reg(R_QUEUE, q->n);
	set_reg(R_NUM, q->num);
	for (unsigned int i = 0; i < 2; i++) {
		set_reg(0x080 + 4 * i, (uint32_t)(q->desc >> 32 * i));
		set_reg(0x090 + 4 * i, (uint32_t)(q->avail >> 32 * i));
		set_reg(0x0a0 + 4 * i, (uint32_t)(q->used >> 32 * i));
	}
}

/* Rings at page `gfn` and the one behind it, zeroed; made ready. */
static inline struct lab_queue lab_queue(unsigned int n, uint32_t num, gfn_t gfn)
{
	struct lab_queue q = { .n = n, .num = num, .desc = gfn << 12 };

	q.avail = q.desc + 4096 - 1024;
	q.used = q.desc + 4096;
	memset(lab.ram + q.desc, 0, 2 * 4096);
	lab_set_rings(&q);
	set_reg(R_READY, 1);
	return q;
}

#define D_NEXT	   1u
#define D_WRITE	   2u
#define D_INDIRECT 4u

static inline void put_desc(gpa_t table, uint32_t i, gpa_t gpa, uint32_t len, uint16_t flags,
			    uint16_t next)
{
	uint8_t *d = lab.ram + table + 16 * i;

	memcpy(d, &gpa, 8);
	memcpy(d + 8, &len, 4);
	memcpy(d + 12, &flags, 2);
	memcpy(d + 14, &next, 2);
}

/* Make `head` available. */
static inline void lab_offer(struct lab_queue *q, uint16_t head)
{
	put16(q->avail + 4 + 2 * (q->idx % q->num), head);
	put16(q->avail + 2, ++q->idx);
}

/* One buffer of one segment in the next descriptor. */
static inline uint16_t lab_add(struct lab_queue *q, gpa_t gpa, uint32_t len, uint16_t flags)
{
	uint16_t head = q->free++ % q->num;

	put_desc(q->desc, head, gpa, len, flags, 0);
	lab_offer(q, head);
	return head;
}

static inline void lab_kick(const struct lab_queue *q)
{
	set_reg(R_NOTIFY, q->n);
}

#endif
