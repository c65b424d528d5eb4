/* SPDX-License-Identifier: MIT */
/* virtio-rng: how much a buffer gets, and from whom; drivers that ask too much. */
#include "vmm/dev/rng.h"
#include "virtio_lab.h"

#define DATA 0x8000u

static struct rng *rng;
static struct lab_queue queue;
static unsigned int asked;
static bool empty;

/* Random numbers that can be told: the nth time, all n. */
static bool on_random(void *buf, size_t len)
{
	asked++;
	memset(buf, (int)asked, len);
	return !empty;
}

static void start(void)
{
	const struct rng_config config = {
		.virtio.mem = lab_memory,
		.virtio.base = LAB_BASE,
		.random = on_random,
		.virtio.interrupt = lab_interrupt,
		.virtio.wake = lab_wake,
	};

	rng_destroy(rng);
	lab = (struct lab){ .used_end = sizeof(lab.ram) };
	asked = 0;
	empty = false;
	if (rng_create(&config, &lab.bus, &rng) || !lab_negotiate(F_VERSION_1))
		tap_bail("no device");
	queue = lab_queue(0, 64, 0);
	lab_driver_ok();
}

static bool holds(gpa_t gpa, uint8_t byte, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		if (lab.ram[gpa + i] != byte)
			return false;
	return true;
}

static void amounts(void)
{
	start();
	is_hex(reg(0x008), 4, "the device's id is 4");
	set_reg(R_QUEUE, 1);
	is(reg(R_NUM_MAX), 0, "it has one queue");
	set_reg(R_QUEUE, 0);
	lab_add(&queue, DATA, 100, D_WRITE);
	lab_kick(&queue);
	ok(used_idx(&queue) == 1 && used_len(&queue, 0) == 100, "a buffer of 100 bytes gets 100");
	ok(holds(DATA, 1, 100) && !lab.ram[DATA + 100], "... and no more");
	ok(lab_interrupted(), "... with an interrupt");
	lab_add(&queue, DATA, 0x8000, D_WRITE);
	lab_kick(&queue);
	is(used_len(&queue, 1), 4096, "one of 32 KiB gets 4096");
	ok(holds(DATA, 2, 4096) && !lab.ram[DATA + 4096], "... and no more");
	lab_add(&queue, DATA, 8, 0);
	lab_kick(&queue);
	is(used_len(&queue, 2), 0, "one that is only read gets nothing");
	empty = true;
	lab_add(&queue, DATA, 8, D_WRITE);
	lab_kick(&queue);
	is(used_len(&queue, 3), 0, "and so does one for which the host has nothing");
	is(asked, 3, "the host is asked no more than it has to");
}

static void turns(void)
{
	start();
	for (unsigned int i = 0; i < 40; i++)
		lab_add(&queue, DATA, 0x8000, D_WRITE);
	lab.wakes = 0;
	lab_kick(&queue);
	is(asked, 16, "a vCPU is kept for 16 buffers");
	ok(lab.wakes == 1, "... and the main loop is told of the others");
	for (unsigned int i = 0; i < 4; i++)
		rng_poll(rng);
	is(used_idx(&queue), 40, "which it serves");
	ok(!rng_poll(rng), "... to the last");
}

static void hostile(void)
{
	start();
	lab_add(&queue, 0x20000, 8, D_WRITE);
	lab_kick(&queue);
	ok((reg(R_STATUS) & S_NEEDS_RESET) && !strcmp(rng_error(rng), "a buffer outside RAM"),
	   "a buffer where no RAM is breaks the device");
	start();
	lab_add(&queue, DATA, 8, D_WRITE);
	lab_kick(&queue);
	is(used_len(&queue, 0), 8, "a reset mends it");
}

/*
 * Rings over each other: what the device writes changes what it reads next.  A turn ends all the
 * same, and after a reset the device works.
 */
static void rings_over_rings(void)
{
	static const struct {
		gpa_t avail, used;
		const char *what;
	} row[] = {
		{ 0x1000, 0x1000, "available and used rings" },
		{ 0x1000, 0x0ffc, "entries and the available index" },
		{ 0x0000, 0x1000, "available ring and descriptors" },
		{ 0x1000, 0x0000, "used ring and descriptors" },
		{ 0x0000, 0x0000, "all of them" },
		{ DATA, DATA, "two rings and a buffer" },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(row); i++) {
		unsigned int turn = 0;

		start();
		lab_negotiate(F_VERSION_1);
		for (unsigned int k = 0; k < 64; k++)
			put_desc(0, k, DATA, 64, D_WRITE, 0);
		queue = (struct lab_queue){ .num = 64, .avail = row[i].avail, .used = row[i].used };
		lab_set_rings(&queue);
		set_reg(R_READY, 1);
		lab_driver_ok();
		put16(queue.avail + 2, 5);
		lab_kick(&queue);
		while (turn < 1000 && rng_poll(rng))
			turn++;
		ok(asked <= 16 * (turn + 2), "%s: a turn has its end", row[i].what);
		start();
		lab_add(&queue, DATA, 8, D_WRITE);
		lab_kick(&queue);
		is(used_len(&queue, 0), 8, "... and a reset mends it");
	}
}

int main(void)
{
	tap_init();
	amounts();
	turns();
	rings_over_rings();
	hostile();
	rng_destroy(rng);
	return tap_done();
}
