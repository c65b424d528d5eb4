/* SPDX-License-Identifier: MIT */
/* virtio-console, driven by hand: input, output, the window's size, and drivers that misbehave. */
#include <unistd.h>
#include "vmm/dev/virtio_console.h"
#include "virtio_lab.h"

#define DATA   0x8000u
#define RX     0
#define TX     1
#define F_SIZE 1ULL

static struct rig {
	struct virtio_console *console;
	struct virtio_memory memory;
	char out[8192];
	size_t nr_out;
	unsigned int spaces, cues;
	bool unwanted; /* nobody wants output any more */
} r;

static struct lab_queue rx, tx;

static bool transmit(void *ctx, const void *data, size_t bytes)
{
	(void)ctx;
	if (r.unwanted || bytes > sizeof(r.out) - r.nr_out)
		return false;
	memcpy(r.out + r.nr_out, data, bytes);
	r.nr_out += bytes;
	return true;
}

static void space(void *ctx)
{
	(void)ctx;
	r.spaces++;
}

static void cue(void *ctx)
{
	(void)ctx;
	r.cues++;
}

static void create(void)
{
	struct virtio_console_config config = {
		.virtio.mem = lab_memory,
		.virtio.base = LAB_BASE,
		.transmit = transmit,
		.space = space,
		.virtio.interrupt = lab_interrupt,
		.virtio.cue = cue,
		.virtio.wake = lab_wake,
	};

	virtio_console_destroy(r.console);
	memset(&lab, 0, sizeof(lab));
	memset(&r, 0, sizeof(r));
	if (virtio_console_create(&config, &lab.bus, &r.console))
		tap_bail("cannot create the device");
}

static void drive(void)
{
	lab_negotiate(F_VERSION_1 | F_SIZE);
	rx = lab_queue(RX, 16, 0);
	tx = lab_queue(TX, 16, 2);
	lab_driver_ok();
}

static void start(void)
{
	create();
	drive();
}

static void type(const char *text)
{
	virtio_console_receive(r.console, text, strlen(text));
}

static void registers(void)
{
	create();
	is(reg(0x008), 3, "it is a console");
	is_hex(lab_offered() & 0xffffff, F_SIZE, "it has a size, and one port");
	virtio_console_resize(r.console, 80, 25);
	is_hex(reg(R_CONFIG), 80 | 25 << 16, "the size is columns and rows");
	is_hex(reg(R_CONFIG + 4), 0, "the rest of the configuration is 0");
	set_reg(R_CONFIG, 0x12345678);
	is_hex(reg(R_CONFIG), 80 | 25 << 16, "and cannot be written");
	ok(!lab_interrupted(), "nobody is told before there is a driver");
	drive();
	virtio_console_resize(r.console, 132, 50);
	ok(lab_interrupted() && reg(R_ISR) == 2, "then a new size is a configuration interrupt");
	is_hex(reg(R_CONFIG), 132 | 50 << 16, "... and can be read");
}

static void output(void)
{
	start();
	memcpy(lab.ram + DATA, "hello, world", 12);
	lab_add(&tx, DATA, 12, 0);
	lab_kick(&tx);
	ok(r.nr_out == 12 && !memcmp(r.out, "hello, world", 12), "a buffer is printed at once");
	ok(used_idx(&tx) == 1 && lab_interrupted(), "and comes back");
	put_desc(tx.desc, 4, DATA, 5, D_NEXT, 5);
	put_desc(tx.desc, 5, DATA + 7, 5, D_NEXT, 6);
	put_desc(tx.desc, 6, DATA + 64, 4, D_WRITE, 0);
	lab_offer(&tx, 4);
	lab_kick(&tx);
	ok(r.nr_out == 22 && !memcmp(r.out + 12, "helloworld", 10), "its readable segments are");
	ok(!lab.ram[DATA + 64], "nothing is written");
	memset(lab.ram + DATA, 'x', 5000);
	lab_add(&tx, DATA, 5000, 0);
	lab_kick(&tx);
	ok(r.nr_out == 5022 && r.out[5021] == 'x', "a long one is printed whole");
	r.unwanted = true;
	lab_add(&tx, DATA, 5000, 0);
	lab_kick(&tx);
	ok(r.nr_out == 5022 && used_idx(&tx) == 3 && !virtio_console_serve(r.console),
	   "when nobody wants output any more, a turn ends at once");
}

static void input(void)
{
	start();
	type("early");
	ok(lab.wakes > 0, "input wakes the device's thread");
	ok(!virtio_console_serve(r.console) && !used_idx(&rx), "without a buffer it is kept");
	lab_add(&rx, DATA, 3, D_WRITE);
	lab_kick(&rx);
	ok(!used_idx(&rx), "a buffer is not filled by the vCPU that brings it");
	virtio_console_serve(r.console);
	ok(used_idx(&rx) == 1 && used_len(&rx, 0) == 3 && !memcmp(lab.ram + DATA, "ear", 4),
	   "but by the thread, and not beyond its end");
	ok(r.spaces > 0 && lab_interrupted(), "there is space again, and the driver knows");
	lab_add(&rx, DATA, 64, D_WRITE);
	lab_add(&rx, DATA + 64, 64, D_WRITE);
	lab_kick(&rx);
	virtio_console_serve(r.console);
	ok(used_idx(&rx) == 2 && used_len(&rx, 1) == 2 && !memcmp(lab.ram + DATA, "ly", 2),
	   "the rest is in the next one, and one stays for what comes later");
	type("later");
	virtio_console_serve(r.console);
	ok(used_idx(&rx) == 3 && !memcmp(lab.ram + DATA + 64, "later", 5), "... as it does");
}

static void much_input(void)
{
	static char many[VIRTIO_CONSOLE_RX_BYTES];
	uint32_t bytes = 0;
	bool right = true;

	start();
	for (size_t i = 0; i < sizeof(many); i++)
		many[i] = (char)(i * 7 % 251);
	is(virtio_console_space(r.console), sizeof(many), "there is room for 4 KiB of input");
	virtio_console_receive(r.console, many, sizeof(many));
	is(virtio_console_space(r.console), 0, "and then none");
	for (uint16_t i = 0; bytes < sizeof(many) && i < 16; i++) {
		lab_add(&rx, DATA, 1500, D_WRITE);
		lab_kick(&rx);
		virtio_console_serve(r.console);
		right = right && !memcmp(lab.ram + DATA, many + bytes, used_len(&rx, i));
		bytes += used_len(&rx, i);
	}
	ok(right && bytes == sizeof(many), "all of it comes, in order");
	is(virtio_console_space(r.console), sizeof(many), "and its room is free");
}

static void restart(void)
{
	start();
	type("kept");
	set_reg(R_STATUS, 0);
	ok(!virtio_console_running(r.console) && !virtio_console_serve(r.console),
	   "after a reset there is no driver");
	drive();
	lab_add(&rx, DATA, 64, D_WRITE);
	lab_kick(&rx);
	virtio_console_serve(r.console);
	ok(used_idx(&rx) == 1 && !memcmp(lab.ram + DATA, "kept", 4),
	   "what was typed meanwhile is for the next one");
}

/* What a guest that resets itself leaves behind. */
static void unread(void)
{
	char got[VIRTIO_CONSOLE_RX_BYTES] = "";

	start();
	type("input");
	lab_add(&rx, DATA, 2, D_WRITE);
	lab_kick(&rx);
	virtio_console_serve(r.console);
	is(virtio_console_take(r.console, got, sizeof(got)), 3, "what the driver has not got ...");
	ok(!memcmp(got, "put", 3), "... can be taken");
	is(virtio_console_take(r.console, got, sizeof(got)), 0, "... once");
	is(virtio_console_space(r.console), sizeof(got), "... and its room is free");
}

static void rudeness(void)
{
	start();
	type("abc");
	put_desc(rx.desc, 0, DATA, 8, 0, 0);
	lab_offer(&rx, 0);
	put_desc(rx.desc, 1, DATA, 8, D_WRITE, 0);
	lab_offer(&rx, 1);
	lab_kick(&rx);
	virtio_console_serve(r.console);
	ok(used_idx(&rx) == 2 && !used_len(&rx, 0) && used_len(&rx, 1) == 3 &&
		   !memcmp(lab.ram + DATA, "abc", 3),
	   "a buffer that cannot be written comes back empty, and loses no input");
	type("abc");
	lab.write_error = -EDQUOT;
	lab_add(&rx, DATA, 8, D_WRITE);
	lab_kick(&rx);
	virtio_console_serve(r.console);
	ok(reg(R_STATUS) & S_NEEDS_RESET, "without memory the device stops");
	start();
	type("abc");
	lab_add(&rx, 40 * 4096, 8, D_WRITE);
	lab_kick(&rx);
	virtio_console_serve(r.console);
	ok(reg(R_STATUS) & S_NEEDS_RESET, "as for a buffer outside RAM");
	virtio_console_resize(r.console, 1, 1);
	drive();
	lab_add(&rx, DATA, 8, D_WRITE);
	lab_kick(&rx);
	virtio_console_serve(r.console);
	ok(used_idx(&rx) == 1 && !memcmp(lab.ram + DATA, "abc", 3), "and works after a reset");
}

int main(void)
{
	tap_init();
	alarm(60); /* a device that goes round and round shall not be waited for */
	registers();
	output();
	input();
	much_input();
	restart();
	unread();
	rudeness();
	virtio_console_destroy(r.console);
	return tap_done();
}
