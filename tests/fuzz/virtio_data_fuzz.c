/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target for virtio devices that move data, the console and the network card.  The first
 * byte of an input says which.  The rest is a program of register accesses, buffers, changes of RAM
 * and what comes from outside meanwhile.  Whatever it is,
 *
 *   the device stays within RAM and its own memory, which the sanitizers watch;
 *   a turn ends, and so do turns of which nothing new is told;
 *   a reset brings a device that works: it moves data both ways.
 */
#include <sys/socket.h>
#include <unistd.h>
#include "vmm/dev/net_link.h"
#include "vmm/dev/virtio_console.h"
#include "vmm/dev/virtio_net.h"
#include "must.h"
#include "virtio_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#define RX     0
#define TX     1
#define DATA   0x8000u
#define FRAME  60u /* bytes of the frame that revive() sends both ways */
#define HEADER 12u
#define TURNS  64u

/* ---- the devices ---- */

static struct virtio_console *console;
static struct virtio_net *net;
static int link_fd, peer;
static size_t printed;
static struct lab_queue queue[2];

static bool transmit(void *ctx, const void *data, size_t bytes)
{
	(void)ctx;
	(void)data;
	printed += bytes;
	return printed % 7 || bytes < 100;
}

static void nothing(void *ctx)
{
	(void)ctx;
}

static void create_console(void)
{
	const struct virtio_console_config config = {
		.virtio.mem = lab_memory,
		.virtio.base = LAB_BASE,
		.transmit = transmit,
		.space = nothing,
		.virtio.interrupt = lab_interrupt,
		.virtio.wake = nothing,
	};

	must(!virtio_console_create(&config, &lab.bus, &console), "cannot create the console");
}

static bool serve_console(void)
{
	return virtio_console_serve(console);
}

static void outside_console(const uint8_t *data, size_t bytes)
{
	virtio_console_receive(console, data, min_u64(bytes, virtio_console_space(console)));
	if (bytes)
		virtio_console_resize(console, data[0], (uint16_t)bytes);
}

static bool moves_console(void)
{
	return printed > 0;
}

static void destroy_console(void)
{
	virtio_console_destroy(console);
}

static void create_net(bool stream)
{
	struct virtio_net_config config = {
		.virtio.mem = lab_memory,
		.virtio.base = LAB_BASE,
		.stream = stream,
		.mtu = 1500,
		.virtio.interrupt = lab_interrupt,
		.virtio.wake = nothing,
		.on_gone = nothing,
	};
	int pair[2], kind = (stream ? SOCK_STREAM : SOCK_SEQPACKET) | SOCK_NONBLOCK;

	must(!socketpair(AF_UNIX, kind, 0, pair), "no socket pair");
	config.fd = link_fd = pair[0];
	peer = pair[1];
	must(!virtio_net_create(&config, &lab.bus, &net), "cannot create the card");
}

static void create_tap(void)
{
	create_net(false);
}

static void create_stream(void)
{
	create_net(true);
}

static bool serve_net(void)
{
	return virtio_net_serve(net);
}

static void outside_net(const uint8_t *data, size_t bytes)
{
	static uint8_t got[NET_FRAME_MAX];

	if (bytes && write(peer, data, bytes) < 0)
		return;
	if (read(peer, got, sizeof(got)) < 0)
		return;
}

/* As much as was in the way has been read by now. */
static bool moves_net(void)
{
	struct virtio_net_stats stats;

	virtio_net_stats(net, &stats);
	return stats.tx_frames + stats.tx_dropped > 0;
}

static void destroy_net(void)
{
	virtio_net_destroy(net);
	close(link_fd);
	close(peer);
}

static const struct kind {
	void (*create)(void);
	bool (*serve)(void);
	void (*outside)(const uint8_t *data, size_t bytes); /* this came in */
	bool (*moves)(void);				    /* has a buffer gone out? */
	void (*destroy)(void);
} kinds[] = {
	{ create_console, serve_console, outside_console, moves_console, destroy_console },
	{ create_tap, serve_net, outside_net, moves_net, destroy_net },
	{ create_stream, serve_net, outside_net, moves_net, destroy_net },
};

/* ---- the input ---- */

static void start_driver(uint64_t features)
{
	if (!lab_negotiate((features & lab_offered()) | F_VERSION_1))
		return;
	queue[RX] = lab_queue(RX, 16, 0);
	queue[TX] = lab_queue(TX, 16, 2);
	lab_driver_ok();
}

static void put_buffer(struct input *in)
{
	unsigned int how = (unsigned int)input_take(in, 1);

	input_buffer(in, &queue[how >> 7], how);
}

static void from_outside(struct input *in, const struct kind *kind)
{
	size_t bytes = min_u64(input_take(in, 1), in->bytes);

	kind->outside(in->data, bytes);
	in->data += bytes;
	in->bytes -= bytes;
}

/* A device that is told of nothing new comes to an end. */
static void serve(const struct kind *kind)
{
	for (unsigned int i = 0; kind->serve(); i++)
		must(i < TURNS, "a turn without end");
}

/* After all that, a reset and a well-behaved driver. */
static void revive(const struct kind *kind)
{
	lab.write_error = 0;
	printed = 0;
	start_driver(F_VERSION_1);
	memset(lab.ram + DATA, 0, HEADER + FRAME);
	lab_add(&queue[TX], DATA, HEADER + FRAME, 0);
	lab_kick(&queue[TX]);
	for (unsigned int i = 0; i < TURNS && !used_idx(&queue[TX]); i++) {
		kind->outside(NULL, 0);
		serve(kind);
	}
	must(used_idx(&queue[TX]) == 1 || printed, "a reset device does not send");
	must(kind->moves(), "what was sent went nowhere");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input in = { data, bytes };
	const struct kind *kind = &kinds[input_take(&in, 1) % 3];

	memset(queue, 0, sizeof(queue));
	memset(&lab, 0, sizeof(lab));
	printed = 0;
	kind->create();
	while (in.bytes) {
		switch (input_take(&in, 1) % 8) {
		case 0: start_driver(input_take(&in, 4) | F_INDIRECT | F_EVENT_IDX); break;
		case 1:
		case 2: put_buffer(&in); break;
		case 3: input_ram(&in); break;
		case 4: input_register(&in, true, set_reg); break;
		case 5: input_register(&in, false, set_reg); break;
		case 6: from_outside(&in, kind); break;
		default: lab.write_error = input_take(&in, 1) % 16 ? 0 : -EDQUOT; serve(kind);
		}
	}
	revive(kind);
	kind->destroy();
	return 0;
}
