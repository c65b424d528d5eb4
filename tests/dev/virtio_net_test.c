/* SPDX-License-Identifier: MIT */
/*
 * virtio-net, driven by hand, with both kinds of link: a stream of frames with their lengths, and
 * a descriptor that takes and gives whole frames, as a tap does.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "vmm/dev/net_link.h"
#include "vmm/dev/virtio_net.h"
#include "virtio_lab.h"

#define DATA   0x8000u
#define RX     0
#define TX     1
#define HEADER 12u
#define F_MAC  (1ULL << 5)
#define F_BITS (F_MAC | 1ULL << 3 | 1ULL << 16)

static struct rig {
	struct virtio_net *net;
	int peer;
	unsigned int gone;
} r = { .peer = -1 };

static int link_fd = -1;
static struct lab_queue rx, tx;

static void on_gone(void *ctx)
{
	(void)ctx;
	r.gone++;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* A pair of datagram sockets stands in for a tap: it has the same boundaries. */
static void create(bool stream)
{
	struct virtio_net_config config = {
		.virtio.mem = lab_memory,
		.virtio.base = LAB_BASE,
		.stream = stream,
		.mtu = 1500,
		.mac = { 2, 1, 2, 3, 4, 5 },
		.virtio.interrupt = lab_interrupt,
		.virtio.wake = lab_wake,
		.on_gone = on_gone,
	};
	int pair[2];

	virtio_net_destroy(r.net);
	close_fd(&r.peer);
	close_fd(&link_fd);
	memset(&lab, 0, sizeof(lab));
	memset(&r, 0, sizeof(r));
	if (socketpair(AF_UNIX, (stream ? SOCK_STREAM : SOCK_SEQPACKET) | SOCK_NONBLOCK, 0, pair))
		tap_bail("no socket pair");
	link_fd = config.fd = pair[0];
	r.peer = pair[1];
	if (virtio_net_create(&config, &lab.bus, &r.net))
		tap_bail("cannot create the device");
}

static void drive(void)
{
	lab_negotiate(F_VERSION_1 | F_BITS);
	rx = lab_queue(RX, 16, 0);
	tx = lab_queue(TX, 16, 2);
	lab_driver_ok();
	virtio_net_serve(r.net);
}

static void start(bool stream)
{
	create(stream);
	drive();
}

static void serve(const struct lab_queue *q)
{
	lab_kick(q);
	while (virtio_net_serve(r.net))
		;
}

/* The peer sends a frame of `bytes` times `fill`. */
static void peer_sends(bool stream, uint32_t bytes, uint8_t fill)
{
	static uint8_t frame[4 + 70000];
	uint32_t length = htonl(bytes), at = stream ? 0 : 4;

	memcpy(frame, &length, 4);
	memset(frame + 4, fill, bytes);
	if (write(r.peer, frame + at, 4 + bytes - at) != (ssize_t)(4 + bytes - at))
		tap_bail("the peer cannot send");
}

/* What the peer has: the length of a frame of `fill`s, or -1. */
static int peer_has(bool stream, uint8_t fill)
{
	static uint8_t got[4 + 70000];
	uint8_t *frame = got + (stream ? 4 : 0);
	uint32_t length;
	ssize_t n = read(r.peer, got, sizeof(got)), bytes = stream ? n - 4 : n;

	if (bytes <= 0)
		return -1;
	memcpy(&length, got, 4);
	if (stream && ntohl(length) != bytes)
		return -2;
	for (ssize_t i = 0; i < bytes; i++)
		if (frame[i] != fill)
			return -3;
	return (int)bytes;
}

static void guest_sends(uint32_t bytes, uint8_t fill)
{
	memset(lab.ram + DATA, 0, HEADER);
	memset(lab.ram + DATA + HEADER, fill, bytes);
	lab_add(&tx, DATA, HEADER + bytes, 0);
}

static struct virtio_net_stats stats(void)
{
	struct virtio_net_stats s;

	virtio_net_stats(r.net, &s);
	return s;
}

static void registers(void)
{
	create(true);
	is(reg(0x008), 1, "it is a network card");
	is_hex(lab_offered() & 0xfffffff, F_BITS, "with a MAC, a status and an MTU, and no more");
	is_hex(reg(R_CONFIG), 0x03020102, "the MAC's bytes are in order");
	is_hex(reg(R_CONFIG + 4), 0x00010504, "and the link is up");
	is_hex(reg(R_CONFIG + 8), 1500u << 16 | 1, "one pair of queues, and the MTU");
}

static void frames(bool stream, const char *kind)
{
	uint8_t header[HEADER] = { [10] = 1 };

	start(stream);
	ok(!virtio_net_events(r.net), "%s: nothing is read before there is a buffer", kind);
	guest_sends(60, 'a');
	ok(peer_has(stream, 'a') == -1, "%s: a vCPU only offers a frame", kind);
	serve(&tx);
	is(peer_has(stream, 'a'), 60, "%s: the thread sends it, without the header", kind);
	ok(used_idx(&tx) == 1, "%s: and its buffer comes back", kind);
	put_desc(tx.desc, 4, DATA, 7, D_NEXT, 5);
	put_desc(tx.desc, 5, DATA + 7, HEADER - 7 + 50, D_NEXT, 6);
	put_desc(tx.desc, 6, DATA + HEADER + 50, 10, 0, 0);
	lab_offer(&tx, 4);
	serve(&tx);
	is(peer_has(stream, 'a'), 60, "%s: its pieces may be any", kind);
	peer_sends(stream, 100, 'b');
	lab_add(&rx, DATA, 2048, D_WRITE);
	serve(&rx);
	ok(used_idx(&rx) == 1 && !memcmp(lab.ram + DATA, header, HEADER) &&
		   lab.ram[DATA + HEADER] == 'b' && lab.ram[DATA + HEADER + 99] == 'b' &&
		   !lab.ram[DATA + HEADER + 100],
	   "%s: a frame comes with a header that says one buffer", kind);
	is(used_len(&rx, 0), HEADER + 100, "%s: and the length has both", kind);
	lab_add(&rx, DATA, HEADER + 64, D_WRITE);
	serve(&rx);
	is(virtio_net_events(r.net), POLLIN, "%s: a buffer waits for a frame", kind);
	peer_sends(stream, 65, 'c');
	peer_sends(stream, 64, 'd');
	serve(&rx);
	ok(used_idx(&rx) == 2 && lab.ram[DATA + HEADER] == 'd' && stats().rx_dropped == 1,
	   "%s: a frame too large for it is dropped, and the next one gets it", kind);
	guest_sends(13, 'e');
	guest_sends(0, 'e');
	serve(&tx);
	ok(used_idx(&tx) == 4 && peer_has(stream, 'e') == -1 && stats().tx_dropped == 2,
	   "%s: what is no frame is dropped", kind);
	ok(stats().tx_frames == 2 && stats().tx_bytes == 120 && stats().rx_frames == 2 &&
		   stats().rx_bytes == 164,
	   "%s: and all is counted", kind);
}

/* A peer that does not read: frames stay in the queue, and come in order later. */
static void back_pressure(void)
{
	unsigned int sent = 0, got = 0;
	bool right = true;
	int len;

	start(true);
	for (; sent < 4000 && !(virtio_net_events(r.net) & POLLOUT); sent++) {
		guest_sends(1000, (uint8_t)sent);
		serve(&tx);
	}
	ok(sent < 4000, "a peer that does not read is waited for");
	guest_sends(1000, (uint8_t)sent);
	serve(&tx);
	ok(used_idx(&tx) == (uint16_t)sent, "meanwhile a frame stays in the queue");
	for (; got < sent + 1; got++) {
		uint8_t frame[1004];
		ssize_t n = 0;

		for (ssize_t more; n < 1004; n += more) {
			more = read(r.peer, frame + n, sizeof(frame) - (size_t)n);
			if (more > 0)
				continue;
			more = 0;
			len = virtio_net_serve(r.net);
			if (len < 0)
				break;
		}
		right = right && frame[4] == (uint8_t)got && frame[1003] == (uint8_t)got;
	}
	ok(right && used_idx(&tx) == (uint16_t)(sent + 1), "and all come, whole and in order");
}

/* A frame that comes in pieces. */
static void pieces(void)
{
	uint8_t frame[4 + 60] = { 0, 0, 0, 60 };
	bool none = true;

	start(true);
	lab_add(&rx, DATA, 2048, D_WRITE);
	serve(&rx);
	memset(frame + 4, 'p', 60);
	for (size_t i = 0; i < sizeof(frame); i++) {
		none = none && !used_idx(&rx);
		if (write(r.peer, frame + i, 1) != 1)
			tap_bail("the peer cannot send");
		virtio_net_serve(r.net);
	}
	ok(none && used_idx(&rx) == 1 && lab.ram[DATA + HEADER + 59] == 'p',
	   "a frame that comes byte by byte is one at its end");
}

static void gone(void)
{
	uint32_t huge = htonl(NET_FRAME_MAX + 1);

	start(true);
	lab_add(&rx, DATA, 2048, D_WRITE);
	serve(&rx);
	lab_interrupted();
	close_fd(&r.peer);
	virtio_net_serve(r.net);
	ok(r.gone == 1 && !virtio_net_events(r.net), "a peer that hangs up is noticed");
	ok(!(reg(R_CONFIG + 4) >> 16) && lab_interrupted() && reg(R_ISR) == 2,
	   "the link is down, and the driver is told");
	guest_sends(60, 'x');
	serve(&tx);
	ok(used_idx(&tx) == 1 && r.gone == 1 && stats().tx_dropped == 1,
	   "what it sends then is lost, and nobody is told again");
	start(true);
	lab_add(&rx, DATA, 2048, D_WRITE);
	serve(&rx);
	if (write(r.peer, &huge, 4) != 4)
		tap_bail("the peer cannot send");
	virtio_net_serve(r.net);
	ok(r.gone == 1 && !used_idx(&rx), "as is one that sends what is no frame");
}

static void rudeness(void)
{
	start(true);
	put_desc(rx.desc, 0, DATA, 2048, 0, 0);
	lab_offer(&rx, 0);
	serve(&rx);
	peer_sends(true, 60, 'x');
	lab_add(&rx, DATA, 2048, D_WRITE);
	serve(&rx);
	ok(stats().rx_dropped == 1 && !(reg(R_STATUS) & S_NEEDS_RESET),
	   "a buffer that cannot be written takes no frame");
	peer_sends(true, 60, 'x');
	start(true);
	lab_add(&rx, 40 * 4096, 2048, D_WRITE);
	peer_sends(true, 60, 'x');
	serve(&rx);
	ok(reg(R_STATUS) & S_NEEDS_RESET, "one that is not RAM stops the device");
	ok(!virtio_net_events(r.net), "which then waits for nothing");
	start(true);
	lab_add(&rx, DATA, 2048, D_WRITE);
	serve(&rx);
	set_reg(R_STATUS, 0);
	peer_sends(true, 60, 'y');
	virtio_net_serve(r.net);
	ok(!lab.ram[DATA + HEADER], "after a reset no buffer of before is used");
	drive();
	lab_add(&rx, DATA + 4096, 2048, D_WRITE);
	serve(&rx);
	ok(used_idx(&rx) == 1 && lab.ram[DATA + 4096 + HEADER] == 'y', "but one of the new driver");
	for (uint32_t i = 0; i < 3; i++)
		put_desc(tx.desc, i, 0, 32 * 4096, i < 2 ? D_NEXT : 0, (uint16_t)(i + 1));
	lab_offer(&tx, 0);
	serve(&tx);
	ok(used_idx(&tx) == 1 && stats().tx_dropped == 1, "a frame as large as RAM is dropped");
}

int main(void)
{
	tap_init();
	registers();
	frames(true, "stream");
	frames(false, "tap");
	back_pressure();
	pieces();
	gone();
	rudeness();
	virtio_net_destroy(r.net);
	close_fd(&r.peer);
	close_fd(&link_fd);
	return tap_done();
}
