/* SPDX-License-Identifier: MIT */
/*
 * Virtio's transport and queues, rule by rule, each kept and broken, with a device that takes what
 * it gets and a driver that can do wrong.
 */
#include <stdio.h>
#include <stdlib.h>
#include "virtio_lab.h"

/* ---- a device that takes buffers, reads them, and returns or keeps them ---- */

static struct echo {
	struct virtio *virtio;
	struct virtq_chain chain;
	unsigned int served, taken, segments, started, resets;
	unsigned int queues; /* at the last start */
	uint64_t features;
	char text[64]; /* what was readable of the last buffer */
	int text_bytes;
	const char *write; /* for the driver, in two pieces; NULL: nothing */
	int written;
	bool keep;     /* take, but do not return */
	int turns;     /* buffers a serve; then VIRTIO_MORE */
	bool look;     /* at the interrupt and the configuration while serving */
	uint32_t seen; /* of the interrupt then, before it was acknowledged */
	uint32_t config[4];
	unsigned int armed; /* queues announced to arm */
} echo;

static const struct gfn_range *next_ram; /* what the next device takes for RAM; NULL: what is */

static uint64_t echo_features(void *dev)
{
	(void)dev;
	return 0x5;
}

static void echo_config_read(void *dev, uint32_t offset, void *buf, uint32_t len)
{
	(void)dev;
	memset(buf, 0, len);
	if (offset + len <= sizeof(echo.config))
		memcpy(buf, (char *)echo.config + offset, len);
}

static void echo_config_write(void *dev, uint32_t offset, const void *buf, uint32_t len)
{
	(void)dev;
	if (offset + len <= sizeof(echo.config))
		memcpy((char *)echo.config + offset, buf, len);
}

static void echo_start(void *dev, uint64_t features, unsigned int queues)
{
	(void)dev;
	echo.started++;
	echo.features = features;
	echo.queues = queues;
}

static int echo_serve(void *dev, unsigned int n)
{
	struct virtq *q = virtio_queue(echo.virtio, n);
	int ret;

	(void)dev;
	echo.served++;
	if (echo.look) { /* with the device's lock: who took it again would be stopped by lock() */
		echo.seen = reg(R_ISR);
		set_reg(R_ACK, echo.seen);
		set_reg(R_CONFIG + 4, 0x1234);
		echo.look = reg(R_CONFIG + 4) == 0x1234 && !reg(R_ISR);
	}
	for (int turn = 0; turn < echo.turns; turn++) {
		struct virtq_cursor at = { 0 };

		ret = virtq_next(q, &echo.chain);
		if (ret <= 0)
			return ret;
		echo.taken++;
		echo.segments += echo.chain.nr;
		echo.text_bytes = virtq_read(q, &echo.chain, &at, echo.text, sizeof(echo.text));
		if (echo.text_bytes < 0)
			return echo.text_bytes;
		if (echo.write) {
			uint32_t len = (uint32_t)strlen(echo.write);
			struct virtq_cursor to = { 0 };

			echo.written = virtq_write(q, &echo.chain, &to, echo.write, 1);
			echo.written += virtq_write(q, &echo.chain, &to, echo.write + 1, len - 1);
		}
		ret = echo.keep ? 0 : virtq_push(q, echo.chain.head, 0);
		if (ret)
			return ret;
	}
	return VIRTIO_MORE;
}

static void echo_reset(void *dev)
{
	(void)dev;
	echo.resets++;
}

static bool echo_async(void *dev, unsigned int n)
{
	(void)dev;
	return n == 1;
}

static void on_arm(void *ctx, unsigned int n, bool on)
{
	(void)ctx;
	echo.armed = on ? echo.armed | 1u << n : echo.armed & ~(1u << n);
}

static const struct virtio_ops echo_ops = {
	.name = "echo",
	.device_id = 42,
	.nr_queues = 2,
	.features = echo_features,
	.config_read = echo_config_read,
	.config_write = echo_config_write,
	.start = echo_start,
	.serve = echo_serve,
	.reset = echo_reset,
	.async = echo_async,
};

static void create_as(const struct virtio_ops *ops)
{
	struct virtio_config config = {
		.mem = lab_memory,
		.base = LAB_BASE,
		.interrupt = lab_interrupt,
		.arm = on_arm,
		.wake = lab_wake,
	};

	if (next_ram) {
		config.mem.ram = next_ram;
		config.mem.nr_ram = 1;
	}
	virtio_destroy(echo.virtio);
	lab = (struct lab){ .used_end = sizeof(lab.ram) };
	echo = (struct echo){ .turns = 1000 };
	if (virtio_create(ops, NULL, &config, &lab.bus, &echo.virtio))
		tap_bail("cannot create the device");
}

static void create(void)
{
	create_as(&echo_ops);
}

/* A running device with queue 0 of `num` at page 0; data may be at page 8. */
static struct lab_queue start(uint64_t features, uint32_t num)
{
	struct lab_queue q;

	create();
	if (!lab_negotiate(features | F_VERSION_1))
		tap_bail("cannot negotiate");
	q = lab_queue(0, num, 0);
	q.event_idx = features & F_EVENT_IDX;
	lab_driver_ok();
	lab.interrupts = lab.interrupts_seen = echo.served = 0;
	return q;
}

#define DATA 0x8000u

static bool needs_reset(const char *why)
{
	const char *error = virtio_error(echo.virtio);

	if (error && strcmp(error, why))
		tap_note("got \"%s\"", error);
	return (reg(R_STATUS) & S_NEEDS_RESET) && error && !strcmp(error, why);
}

/* ---- the transport ---- */

static void identity(void)
{
	uint8_t byte = 0x5a;

	create();
	is_hex(reg(R_MAGIC), 0x74726976, "the magic value says virt");
	is_hex(reg(0x004), 2, "version 2");
	is_hex(reg(0x008), 42, "the device's id");
	is_hex(lab_offered(), 0x5 | F_INDIRECT | F_EVENT_IDX | F_VERSION_1,
	       "features in two halves");
	set_reg(R_FEATURES_SEL, 2);
	is_hex(reg(R_FEATURES), 0, "there is no third half");
	is(reg(R_NUM_MAX), 256, "queue 0 has up to 256 buffers");
	set_reg(R_QUEUE, 2);
	is(reg(R_NUM_MAX), 0, "queue 2 does not exist");
	is_hex(reg(0x0b0), ~0u, "no shared memory");
	bus_read(&lab.bus, LAB_BASE, 1, &byte, 1);
	is_hex(byte, 0, "a byte of a register reads as zero");
	bus_read(&lab.bus, LAB_BASE + R_CONFIG + 1, 1, &byte, 1);
	is_hex(byte, 0, "a byte of the configuration is its own");
	byte = 0x77;
	bus_write(&lab.bus, LAB_BASE + R_CONFIG + 5, 1, &byte, 1);
	is_hex(echo.config[1], 0x7700, "... and can be written alone");
	bus_write(&lab.bus, LAB_BASE + R_STATUS, 1, &byte, 1);
	is_hex(reg(R_STATUS), 0, "a byte written to a register does nothing");
}

static void negotiation(void)
{
	create();
	ok(!lab_negotiate(0x5), "without VERSION_1 there is no FEATURES_OK");
	ok(!lab_negotiate(F_VERSION_1 | 0x2), "nor with a feature that was not offered");
	ok(!lab_negotiate(F_VERSION_1 | 1ULL << 63), "nor with bit 63");
	set_reg(R_STATUS, 0);
	lab_accept(F_VERSION_1);
	set_reg(R_ACCEPT_SEL, 2);
	set_reg(R_ACCEPT, 1);
	set_reg(R_STATUS, 3 | S_FEATURES_OK);
	is_hex(reg(R_STATUS), 3, "nor with a bit above 63");
	set_reg(R_STATUS, 7);
	is_hex(reg(R_STATUS), 3, "DRIVER_OK needs FEATURES_OK");
	lab_queue(0, 8, 0);
	is(reg(R_READY), 0, "and so do queues");
	ok(lab_negotiate(F_VERSION_1 | 0x4), "a subset is fine");
	lab_accept(F_VERSION_1 | 0x1);
	lab_queue(0, 8, 0);
	is(reg(R_READY), 1, "then a queue can be made ready");
	lab_driver_ok();
	ok(echo.started == 1 && echo.queues == 1, "DRIVER_OK starts the device with its queues");
	is_hex(echo.features, F_VERSION_1 | 0x4, "features written after FEATURES_OK do not count");
	ok(echo.served == 1, "and serves what was kicked before");
	lab_driver_ok();
	ok(echo.started == 1, "DRIVER_OK again does nothing");
	set_reg(R_STATUS, 1);
	is_hex(reg(R_STATUS), 0xf, "status bits do not go away singly");
	set_reg(R_STATUS, 0xf | S_NEEDS_RESET);
	is_hex(reg(R_STATUS), 0xf, "a driver cannot set NEEDS_RESET");
	set_reg(R_STATUS, 0);
	ok(reg(R_STATUS) == 0 && reg(R_READY) == 0 && !virtio_running(echo.virtio),
	   "0 resets status and queues");
}

static void interrupts(void)
{
	struct lab_queue q = start(0, 8);
	uint32_t generation = reg(R_GENERATION);

	lab_add(&q, DATA, 4, 0);
	lab_kick(&q);
	ok(lab.interrupts == 1 && reg(R_ISR) == 1, "a returned buffer interrupts");
	lab_add(&q, DATA, 4, 0);
	lab_kick(&q);
	ok(lab.interrupts == 2 && reg(R_ISR) == 1,
	   "and so does the next, although the first was not acknowledged");
	virtio_config_changed(echo.virtio);
	ok(lab.interrupts == 3 && reg(R_ISR) == 3, "and a configuration change");
	ok(reg(R_GENERATION) != generation, "and another generation");
	set_reg(R_ACK, 1);
	is_hex(reg(R_ISR), 2, "what is acknowledged goes, what is not stays");
	set_reg(R_ACK, 2);
	ok(lab.interrupts == 3 && reg(R_ISR) == 0, "an acknowledgement is no interrupt");
	put16(q.avail, 1);
	lab_add(&q, DATA, 4, 0);
	lab_kick(&q);
	ok(used_idx(&q) == 3 && lab.interrupts == 3, "NO_INTERRUPT is respected");
	virtio_config_changed(echo.virtio);
	set_reg(R_STATUS, 0);
	ok(lab.interrupts == 4 && reg(R_ISR) == 0, "a reset takes the reason back");
	virtio_config_changed(echo.virtio);
	ok(lab.interrupts == 4 && reg(R_ISR) == 0, "without a driver a change interrupts nobody");
}

/* ---- buffers ---- */

static void chains(void)
{
	struct lab_queue q = start(F_INDIRECT, 8);

	memcpy(lab.ram + DATA, "hello, world", 12);
	put_desc(q.desc, 3, DATA, 5, D_NEXT, 1);
	put_desc(q.desc, 1, ~0ULL, 0, D_NEXT, 7);
	put_desc(q.desc, 7, DATA + 5, 7, D_NEXT, 0);
	put_desc(q.desc, 0, DATA + 100, 9, D_WRITE, 0);
	lab_offer(&q, 3);
	lab_kick(&q);
	ok(echo.taken == 1 && echo.segments == 4, "a chain of four, one of them empty and nowhere");
	ok(echo.text_bytes == 12 && !memcmp(echo.text, "hello, world", 12),
	   "its readable bytes in order, and no others");
	ok(used_idx(&q) == 1 && used_head(&q, 0) == 3, "it is returned by its head");

	put_desc(0x9000, 0, DATA, 5, D_NEXT, 2);
	put_desc(0x9000, 2, DATA + 5, 7, 0, 0);
	put_desc(q.desc, 5, 0x9000, 48, D_INDIRECT | D_WRITE, 0);
	put_desc(q.desc, 4, DATA, 1, D_NEXT, 5);
	lab_offer(&q, 4);
	lab_kick(&q);
	ok(echo.taken == 2 && echo.segments == 7 && echo.text_bytes == 13,
	   "descriptors and then an indirect table, whose write flag says nothing");
	ok(reg(R_ISR) == 1 && !(reg(R_STATUS) & S_NEEDS_RESET), "all is well");

	for (unsigned int i = 0; i < 256; i++)
		put_desc(0x9000, i, DATA, 1, i < 255 ? D_NEXT : 0, (uint16_t)(i + 1));
	put_desc(q.desc, 0, 0x9000, 4096, D_INDIRECT, 0);
	lab_offer(&q, 0);
	echo.segments = 0;
	lab_kick(&q);
	ok(echo.segments == 256, "an indirect table of 256 is taken whole");
}

static void wrap(void)
{
	struct lab_queue q = start(0, 4);

	for (unsigned int i = 0; i < 70000; i++) {
		lab_add(&q, DATA, 1, 0);
		lab_kick(&q);
		set_reg(R_ACK, 1);
	}
	ok(echo.taken == 70000 && used_idx(&q) == (uint16_t)70000,
	   "70000 buffers go through a queue of 4");
	ok(lab.interrupts == 70000, "each with an interrupt");
}

static void event_index(void)
{
	struct lab_queue q = start(F_EVENT_IDX, 4);
	unsigned int missed = 0;

	is(lab_avail_event(&q), 0, "the first buffer is asked for");
	put16(q.avail + 4 + 2 * q.num, 2); /* used_event: tell me at the third */
	for (unsigned int i = 0; i < 3; i++) {
		lab_add(&q, DATA, 1, 0);
		lab_kick(&q);
		missed += lab_avail_event(&q) != q.idx;
	}
	ok(lab.interrupts == 1, "of three buffers only the third interrupts");
	ok(missed == 0, "the next is asked for each time");
	missed = 0;
	for (unsigned int i = 0; i < 70000; i++) {
		put16(q.avail + 4 + 2 * q.num, i % 2 ? q.idx : (uint16_t)(q.idx - 1));
		lab_add(&q, DATA, 1, 0);
		lab_kick(&q);
		missed += lab_avail_event(&q) != q.idx;
	}
	ok(lab.interrupts == 1 + 35000 && missed == 0, "and so on around 65536");
	put16(q.avail + 4 + 2 * q.num, q.idx + 1);
	for (unsigned int i = 0; i < 3; i++)
		lab_add(&q, DATA, 1, 0);
	lab_kick(&q);
	ok(lab.interrupts == 1 + 35000 + 1, "an index passed among several interrupts once");
}

/* ---- rules of queues, broken ---- */

static bool bad_ring(uint32_t num, gpa_t desc, gpa_t avail, gpa_t used, const char *why)
{
	struct lab_queue q = { .num = num, .desc = desc, .avail = avail, .used = used };

	create();
	lab_negotiate(F_VERSION_1);
	lab_set_rings(&q);
	set_reg(R_READY, 1);
	return reg(R_READY) == 0 && needs_reset(why) && lab.writes == 0;
}

static void bad_rings(void)
{
	static const char *const size = "a queue size that is not a power of two up to 256";
	static const char *const align = "a misaligned ring", *const ram = "a ring outside RAM";

	ok(bad_ring(0, 0, 0x1000, 0x2000, size), "a queue of none");
	ok(bad_ring(6, 0, 0x1000, 0x2000, size), "of six");
	ok(bad_ring(512, 0, 0x1000, 0x2000, size), "of 512");
	ok(bad_ring(0x80000000, 0, 0x1000, 0x2000, size), "of 2^31");
	ok(bad_ring(8, 8, 0x1000, 0x2000, align), "descriptors not at 16");
	ok(bad_ring(8, 0, 0x1001, 0x2000, align), "an avail ring not at 2");
	ok(bad_ring(8, 0, 0x1000, 0x2002, align), "a used ring not at 4");
	ok(bad_ring(8, 0x1ffc0, 0x1000, 0x2000, ram), "descriptors across the end of RAM");
	ok(bad_ring(8, 0, 0x20000, 0x2000, ram), "an avail ring in the hole");
	ok(bad_ring(8, 0, 0x1000, 0xfffffffffffffffcULL, ram), "a used ring that wraps");
	ok(bad_ring(8, 0, 0x1000, 0x10002000ULL << 32, ram), "a used ring far away");
	create();
	lab_negotiate(F_VERSION_1);
	lab.write_error = -EDQUOT;
	lab_queue(0, 8, 0);
	ok(needs_reset("the host has no memory for the ring"), "no memory for the used ring");
}

static void write_chain(struct lab_queue *q, uint32_t len0, uint16_t flags0, gpa_t gpa1,
			uint32_t len1, uint16_t flags1)
{
	put_desc(q->desc, 0, DATA, len0, flags0, 1);
	put_desc(q->desc, 1, gpa1, len1, flags1, 0);
	lab_offer(q, 0);
	lab_kick(q);
}

/* A device that is broken by this, stops, and works again after a reset. */
static void bad_chain(const char *what, const char *why, uint32_t len0, uint16_t flags0, gpa_t gpa1,
		      uint32_t len1, uint16_t flags1)
{
	struct lab_queue q = start(F_INDIRECT, 4);
	bool stopped;

	write_chain(&q, len0, flags0, gpa1, len1, flags1);
	stopped = needs_reset(why) && reg(R_ISR) == 2 && lab_interrupted() && used_idx(&q) == 0;
	set_reg(R_ACK, 2);
	lab_add(&q, DATA, 1, 0);
	lab_kick(&q);
	stopped &= echo.taken == 0 && !lab_interrupted();
	lab_negotiate(F_VERSION_1);
	q = lab_queue(0, 4, 0);
	lab_driver_ok();
	lab_add(&q, DATA, 1, 0);
	lab_kick(&q);
	ok(stopped && used_idx(&q) == 1 && !virtio_error(echo.virtio), "%s", what);
}

static void bad_chains(void)
{
	static const char *const outside = "a buffer outside RAM";

	bad_chain("a loop", "a chain that is a loop", 1, D_NEXT, DATA, 1, D_NEXT);
	bad_chain("a buffer outside RAM", outside, 1, D_NEXT, 0x20000, 1, 0);
	bad_chain("... across its end", outside, 1, D_NEXT, 0x1ffff, 2, 0);
	bad_chain("... that wraps around", outside, 1, D_NEXT, ~0ULL, 2, 0);
	bad_chain("... of 4 GiB - 1", outside, 0xffffffff, 0, 0, 0, 0);
	bad_chain("readable behind writable", "a readable segment behind a writable one", 1,
		  D_NEXT | D_WRITE, DATA, 1, 0);
	bad_chain("an indirect table with a next", "an indirect table with a next descriptor", 1,
		  D_NEXT, DATA, 16, D_INDIRECT | D_NEXT);
	bad_chain("an indirect table of 0", "an indirect table of a wrong size", 1, D_NEXT, DATA, 0,
		  D_INDIRECT);
	bad_chain("an indirect table of 17", "an indirect table of a wrong size", 1, D_NEXT, DATA,
		  17, D_INDIRECT);
	bad_chain("an indirect table of 257 entries", "an indirect table of a wrong size", 1,
		  D_NEXT, DATA, 4112, D_INDIRECT);
	bad_chain("an indirect table of 2^28 entries", "an indirect table of a wrong size", 1,
		  D_NEXT, DATA, 0xfffffff0, D_INDIRECT);
	bad_chain("an indirect table outside RAM", "an indirect table outside RAM", 1, D_NEXT,
		  0x20000, 16, D_INDIRECT);
}

static void bad_tables(void)
{
	static const struct gfn_range vast = { 0, 1 << 20 };
	struct lab_queue q = start(F_INDIRECT, 4);

	put_desc(DATA, 0, DATA, 16, D_INDIRECT, 0);
	write_chain(&q, 1, D_NEXT, DATA, 16, D_INDIRECT);
	ok(needs_reset("an indirect table within one"), "a table that names itself");
	q = start(F_INDIRECT, 4);
	put_desc(DATA, 0, DATA, 1, D_NEXT, 2);
	write_chain(&q, 1, D_NEXT, DATA, 32, D_INDIRECT);
	ok(needs_reset("a descriptor beyond its table"), "an index beyond an indirect table");
	q = start(F_INDIRECT, 4);
	put_desc(DATA, 0, DATA, 1, D_NEXT, 1);
	put_desc(DATA, 1, DATA, 1, D_NEXT, 0);
	write_chain(&q, 1, D_NEXT, DATA, 32, D_INDIRECT);
	ok(needs_reset("a chain that is a loop"), "a loop in an indirect table");
	q = start(F_INDIRECT, 4);
	for (unsigned int i = 0; i < 256; i++)
		put_desc(0x9000, i, DATA, 1, i < 255 ? D_NEXT : 0, (uint16_t)(i + 1));
	write_chain(&q, 1, D_NEXT, 0x9000, 4096, D_INDIRECT);
	ok(needs_reset("a buffer of too many segments"), "257 segments");
	q = start(0, 4);
	write_chain(&q, 1, D_NEXT, DATA, 16, D_INDIRECT);
	ok(needs_reset("an indirect table that was not negotiated"), "a table out of the blue");
	q = start(F_INDIRECT, 4);
	for (unsigned int i = 0; i < 256; i++)
		put_desc(0x9000, i, 0, 0x20000, i < 255 ? D_NEXT : 0, (uint16_t)(i + 1));
	put_desc(q.desc, 0, 0x9000, 4096, D_INDIRECT, 0);
	lab_offer(&q, 0);
	lab_kick(&q);
	ok(echo.taken == 1, "32 MiB of overlapping segments are allowed");
	next_ram = &vast;
	q = start(F_INDIRECT, 4);
	next_ram = NULL;
	put_desc(0x9000, 0, 0, 0xffffffff, D_WRITE | D_NEXT, 1);
	put_desc(0x9000, 1, 0, 2, D_WRITE, 0);
	put_desc(q.desc, 0, 0x9000, 32, D_INDIRECT, 0);
	lab_offer(&q, 0);
	lab_kick(&q);
	ok(needs_reset("a buffer of more than 4 GiB"), "4 GiB and a byte are not");
}

static void bad_avail(void)
{
	struct lab_queue q = start(0, 4);

	lab_offer(&q, 4);
	lab_kick(&q);
	ok(needs_reset("a descriptor beyond its table"), "a head beyond the table");
	q = start(0, 4);
	put16(q.avail + 2, 5);
	lab_kick(&q);
	ok(needs_reset("more buffers than the queue has"),
	   "an avail index 5 ahead in a queue of 4");
	q = start(0, 4);
	put16(q.avail + 2, 0xffff);
	lab_kick(&q);
	ok(needs_reset("more buffers than the queue has"), "an avail index that goes back");
	q = start(0, 4);
	echo.keep = true;
	for (unsigned int i = 0; i < 4; i++)
		lab_add(&q, DATA, 1, 0);
	lab_kick(&q);
	ok(echo.taken == 4 && !virtio_error(echo.virtio), "a device may hold all buffers");
	lab_add(&q, DATA, 1, 0);
	lab_kick(&q);
	ok(needs_reset("more buffers than the queue has"), "a fifth while it holds four");
}

static void out_of_turn(void)
{
	struct lab_queue q;

	create();
	lab_negotiate(F_VERSION_1);
	q = lab_queue(0, 4, 0);
	lab_add(&q, DATA, 1, 0);
	lab_kick(&q);
	ok(echo.served == 0, "a kick before DRIVER_OK is not served");
	lab_driver_ok();
	ok(used_idx(&q) == 1, "but at DRIVER_OK");
	set_reg(R_NOTIFY, 1);
	set_reg(R_NOTIFY, 2);
	set_reg(R_NOTIFY, 0xffffffff);
	ok(echo.served == 1, "kicks of queues that are not ready, or not there, are ignored");
	set_reg(R_QUEUE, 0);
	set_reg(R_NUM, 3);
	set_reg(0x080, 0x1234);
	lab_add(&q, DATA, 1, 0);
	lab_kick(&q);
	ok(used_idx(&q) == 2, "a queue in use cannot be moved");
	set_reg(R_READY, 0);
	is(reg(R_READY), 1, "nor stopped, but by a reset");

	q = start(0, 4);
	echo.keep = true;
	lab_add(&q, DATA, 1, 0);
	lab_kick(&q);
	echo.keep = false;
	lab_negotiate(F_VERSION_1);
	q = lab_queue(0, 4, 4);
	lab_driver_ok();
	for (unsigned int i = 0; i < 4; i++)
		lab_add(&q, DATA, 1, 0);
	lab_kick(&q);
	ok(used_idx(&q) == 4 && !virtio_error(echo.virtio),
	   "a reset in the middle frees what the device held");
	set_reg(R_STATUS, 0x80 | 0xf);
	lab_add(&q, DATA, 1, 0);
	lab_kick(&q);
	ok(used_idx(&q) == 4, "a driver that says FAILED is not served");
}

static void deferral(void)
{
	struct lab_queue q = start(0, 8), q1;

	echo.turns = 2;
	for (unsigned int i = 0; i < 5; i++)
		lab_add(&q, DATA, 1, 0);
	lab_kick(&q);
	ok(used_idx(&q) == 2 && lab.wakes == 1, "a device that has had enough wakes the main loop");
	is(lab.held, 1, "for which the used ring is held");
	ok(virtio_poll(echo.virtio) && used_idx(&q) == 4, "and which goes on");
	ok(!virtio_poll(echo.virtio) && used_idx(&q) == 5, "and comes to the end");
	ok(!virtio_poll(echo.virtio), "there is nothing more to do");

	create();
	lab_negotiate(F_VERSION_1);
	q = lab_queue(0, 8, 0);
	q1 = lab_queue(1, 8, 4);
	ok(echo.armed == 0, "nothing is armed before DRIVER_OK");
	lab_driver_ok();
	is(echo.armed, 2, "then what the device calls async");
	lab_add(&q1, DATA, 1, 0);
	virtio_defer(echo.virtio, 1);
	ok(!virtio_poll(echo.virtio) && used_idx(&q1) == 1 && lab_interrupted(),
	   "a notification by another way is served, with an interrupt");
	lab_add(&q, ~0ULL, 1, 0);
	lab_kick(&q);
	is(echo.armed, 2, "a broken device stays armed, as the main loop may not change that");
	virtio_defer(echo.virtio, 1);
	is(lab.held, 2, "and holds its rings");
	set_reg(R_STATUS, 0);
	ok(!virtio_poll(echo.virtio), "a reset forgets what was deferred");
	is(echo.armed, 0, "disarms it");
	is(lab.held, 0, "and lets go of the rings");
	lab_negotiate(F_VERSION_1);
	q = lab_queue(0, 8, 0);
	is(lab.held, 1, "a queue that is set up holds its ring");
	set_reg(R_READY, 0);
	is(lab.held, 0, "until it is taken down");
	lab.hold_error = -ENOSPC;
	lab_queue(0, 8, 0);
	ok((reg(R_STATUS) & S_NEEDS_RESET) && !reg(R_READY),
	   "if it cannot be held there is no queue");
	set_reg(R_STATUS, 0);
	is(lab.held, 0, "nor anything to let go of");
}

/* What a vCPU polls must not wait for the main loop, which may serve a queue for long. */
static void no_wait(void)
{
	struct lab_queue q = start(0, 8);

	lab_add(&q, DATA, 1, 0);
	lab_kick(&q);
	echo.look = true;
	lab_add(&q, DATA, 1, 0);
	lab_kick(&q);
	is(echo.seen, 1, "the interrupt can be looked at while a queue is served");
	ok(echo.look, "... and acknowledged, and the configuration read and written");
}

/* What the device writes goes to the writable segments, in order, and no further. */
static void writing(void)
{
	struct lab_queue q = start(0, 8);

	echo.write = "abcdefghij";
	put_desc(q.desc, 0, DATA, 2, D_NEXT, 1);
	put_desc(q.desc, 1, DATA + 16, 3, D_NEXT | D_WRITE, 2);
	put_desc(q.desc, 2, DATA + 32, 0, D_NEXT | D_WRITE, 3);
	put_desc(q.desc, 3, DATA + 48, 5, D_WRITE, 0);
	memcpy(lab.ram + DATA, "zz", 2);
	lab_offer(&q, 0);
	lab_kick(&q);
	is(echo.written, 8, "a chain with 8 writable bytes takes 8");
	ok(!memcmp(lab.ram + DATA, "zz", 2), "what is readable stays");
	ok(!memcmp(lab.ram + DATA + 16, "abc", 4) && !memcmp(lab.ram + DATA + 48, "defgh", 6),
	   "the rest is filled in order, and nothing behind it");
	is(virtq_bytes(&echo.chain, true), 8, "... as many bytes as it was asked about");
	is(virtq_bytes(&echo.chain, false), 2, "and two were to be read");
}

static void own_thread(void)
{
	static struct virtio_ops ops;
	struct lab_queue q;

	ops = echo_ops;
	ops.own_thread = ~0u;
	create_as(&ops);
	lab_negotiate(F_VERSION_1);
	q = lab_queue(0, 8, 0);
	lab_add(&q, DATA, 8, 0);
	lab_driver_ok();
	is(echo.served, 0,
	   "a device with a thread of its own is not served by the vCPU that starts");
	ok(lab.wakes > 0, "... but woken");
	virtio_serve(echo.virtio);
	is(echo.taken, 1, "then its thread serves");
	lab_add(&q, DATA, 8, 0);
	lab_kick(&q);
	is(echo.taken, 1, "nor by one that notifies");
	virtio_serve(echo.virtio);
	is(echo.taken, 2, "but by the thread");
	ok(!virtio_serve(echo.virtio) && echo.served == 2, "which has no more to do");
}

int main(void)
{
	tap_init();
	identity();
	negotiation();
	interrupts();
	chains();
	wrap();
	event_index();
	bad_rings();
	bad_chains();
	bad_tables();
	bad_avail();
	out_of_turn();
	deferral();
	no_wait();
	writing();
	own_thread();
	virtio_destroy(echo.virtio);
	return tap_done();
}
