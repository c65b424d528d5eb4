/* SPDX-License-Identifier: MIT */
#include "virtio_lab.h"

static const struct gfn_range lab_ranges[] = { { 0, 32 }, { 48, LAB_PAGES } };

struct lab lab;

bool lab_in_ram(gpa_t gpa, size_t len)
{
	return (gpa < 32 * 4096 && len <= 32 * 4096 - gpa) ||
	       (gpa >= 48 * 4096 && gpa < sizeof(lab.ram) && len <= sizeof(lab.ram) - gpa);
}

static int lab_read(void *ctx, gpa_t gpa, void *buf, size_t len)
{
	(void)ctx;
	if (!lab_in_ram(gpa, len))
		return -EFAULT;
	memcpy(buf, lab.ram + gpa, len);
	return 0;
}

int lab_write(void *ctx, gpa_t gpa, const void *buf, size_t len)
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

static int lab_hold(void *ctx, gpa_t gpa, size_t len)
{
	(void)ctx;
	if (!lab_in_ram(gpa, len))
		return -EFAULT;
	lab.held += !lab.hold_error;
	return lab.hold_error;
}

static void lab_release(void *ctx, gpa_t gpa, size_t len)
{
	(void)ctx, (void)gpa, (void)len;
	lab.held--;
}

const struct virtio_memory lab_memory = {
	.read = lab_read,
	.write = lab_write,
	.hold = lab_hold,
	.release = lab_release,
	.ram = lab_ranges,
	.nr_ram = 2,
};

void lab_interrupt(void *ctx)
{
	(void)ctx;
	lab.interrupts++;
}

bool lab_interrupted(void)
{
	unsigned int now = lab.interrupts;
	bool new = now != lab.interrupts_seen;

	lab.interrupts_seen = now;
	return new;
}

void lab_wake(void *ctx)
{
	(void)ctx;
	lab.wakes++;
}

/* ---- registers ---- */

uint32_t reg(uint32_t offset)
{
	uint32_t value = 0x5a5a5a5a;

	bus_read(&lab.bus, LAB_BASE + offset, 4, &value, 1);
	return value;
}

void set_reg(uint32_t offset, uint32_t value)
{
	bus_write(&lab.bus, LAB_BASE + offset, 4, &value, 1);
}

#define S_DRIVER_OK 4u

uint64_t lab_offered(void)
{
	uint64_t low;

	set_reg(R_FEATURES_SEL, 0);
	low = reg(R_FEATURES);
	set_reg(R_FEATURES_SEL, 1);
	return low | (uint64_t)reg(R_FEATURES) << 32;
}

void lab_accept(uint64_t features)
{
	set_reg(R_ACCEPT_SEL, 0);
	set_reg(R_ACCEPT, (uint32_t)features);
	set_reg(R_ACCEPT_SEL, 1);
	set_reg(R_ACCEPT, (uint32_t)(features >> 32));
}

bool lab_negotiate(uint64_t features)
{
	set_reg(R_STATUS, 0);
	set_reg(R_STATUS, 1);
	set_reg(R_STATUS, 3);
	lab_accept(features);
	set_reg(R_STATUS, 3 | S_FEATURES_OK);
	return reg(R_STATUS) & S_FEATURES_OK;
}

void lab_driver_ok(void)
{
	set_reg(R_STATUS, 3 | S_FEATURES_OK | S_DRIVER_OK);
}

/* ---- a queue, the driver's side ---- */

void put16(gpa_t gpa, uint16_t value)
{
	memcpy(lab.ram + gpa, &value, sizeof(value));
}

static uint16_t get16(gpa_t gpa)
{
	uint16_t value;

	memcpy(&value, lab.ram + gpa, sizeof(value));
	return value;
}

uint16_t used_idx(const struct lab_queue *q)
{
	return get16(q->used + 2);
}

uint16_t lab_avail_event(const struct lab_queue *q)
{
	return get16(q->used + 4 + 8 * q->num);
}

uint32_t used_head(const struct lab_queue *q, uint16_t i)
{
	uint32_t head;

	memcpy(&head, lab.ram + q->used + 4 + 8 * (i % q->num), sizeof(head));
	return head;
}

uint32_t used_len(const struct lab_queue *q, uint16_t i)
{
	uint32_t len;

	memcpy(&len, lab.ram + q->used + 8 + 8 * (i % q->num), sizeof(len));
	return len;
}

void lab_set_rings(const struct lab_queue *q)
{
	set_reg(R_QUEUE, q->n);
	set_reg(R_NUM, q->num);
	for (unsigned int i = 0; i < 2; i++) {
		set_reg(0x080 + 4 * i, (uint32_t)(q->desc >> 32 * i));
		set_reg(0x090 + 4 * i, (uint32_t)(q->avail >> 32 * i));
		set_reg(0x0a0 + 4 * i, (uint32_t)(q->used >> 32 * i));
	}
}

struct lab_queue lab_queue(unsigned int n, uint32_t num, gfn_t gfn)
{
	struct lab_queue q = { .n = n, .num = num, .desc = gfn << 12 };

	q.avail = q.desc + 4096 - 1024;
	q.used = q.desc + 4096;
	memset(lab.ram + q.desc, 0, 2 * 4096);
	lab_set_rings(&q);
	set_reg(R_READY, 1);
	return q;
}

void put_desc(gpa_t table, uint32_t i, gpa_t gpa, uint32_t len, uint16_t flags, uint16_t next)
{
	uint8_t *d = lab.ram + table + 16 * i;

	memcpy(d, &gpa, 8);
	memcpy(d + 8, &len, 4);
	memcpy(d + 12, &flags, 2);
	memcpy(d + 14, &next, 2);
}

void lab_offer(struct lab_queue *q, uint16_t head)
{
	put16(q->avail + 4 + 2 * (q->idx % q->num), head);
	put16(q->avail + 2, ++q->idx);
}

uint16_t lab_add(struct lab_queue *q, gpa_t gpa, uint32_t len, uint16_t flags)
{
	uint16_t head = q->free++ % q->num;

	put_desc(q->desc, head, gpa, len, flags, 0);
	lab_offer(q, head);
	return head;
}

void lab_kick(const struct lab_queue *q)
{
	set_reg(R_NOTIFY, q->n);
}
