/* SPDX-License-Identifier: MIT */
/*
 * net: a driver of the virtio network card (VIRTIO 1.2, section 5.1), for tests.
 *
 * It prints what the card says of itself.  With arp=ADDRESS it asks for the owner of an IPv4
 * address, a number, until there is an answer, which it prints.  Otherwise it sends back each frame
 * of type 0x88b5, which IEEE 802 leaves to experiments.  Such a frame has its length behind its
 * header, in 16 bits.  It ends at one that says "quit" there.
 */
#include "memory.h"
#include "paging.h"
#include "virtio.h"
#include "workload.h"

#define DEVICE_ID    1
#define F_MTU	     (1ULL << 3)
#define F_MAC	     (1ULL << 5)
#define F_STATUS     (1ULL << 16)
#define TYPE_ARP     0x0806
#define TYPE_TEST    0x88b5
#define HEADER	     12 /* of virtio, before each frame */
#define BUFFER_BYTES 2048
#define BUFFERS	     64
#define POLL_US	     10000
#define ASK_MS	     200

struct frame {
	uint8_t to[6], from[6];
	uint8_t type[2];
	uint8_t rest[BUFFER_BYTES - HEADER - 14];
};

struct buffer {
	uint8_t header[HEADER];
	struct frame frame;
};

struct net {
	struct virtio dev;
	struct virtqueue rx, tx;
	struct buffer *in[BUFFERS]; /* by the number of the queue's buffer */
	struct buffer *out;
	uint8_t mac[6];
	uint64_t echoed;
};

static unsigned int get16(const uint8_t *p)
{
	return (unsigned int)p[0] << 8 | p[1];
}

static void put16(uint8_t *p, unsigned int value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

static void offer(struct net *n, struct buffer *b)
{
	struct virtq_piece piece = { direct_gpa(b), BUFFER_BYTES, .device_writes = true };
	int head = virtqueue_add(&n->rx, &piece, 1);

	n->in[head] = b;
}

/* Send the frame in n->out, and wait until the host has it. */
static void send(struct net *n, unsigned int bytes)
{
	struct virtq_piece piece = { direct_gpa(n->out), HEADER + bytes, .device_writes = false };
	unsigned int head;

	virtqueue_add(&n->tx, &piece, 1);
	while (!virtqueue_take(&n->tx, &head)) {
		virtio_check(&n->dev);
		pause_until(rdtsc() + clock_khz() * POLL_US / 1000);
	}
}

static void ask(struct net *n, uint32_t address)
{
	static const uint8_t request[8] = { 0, 1, 8, 0, 6, 4, 0, 1 };
	struct frame *f = &n->out->frame;

	memset(n->out, 0, sizeof(*n->out));
	memset(f->to, 0xff, 6);
	memcpy(f->from, n->mac, 6);
	put16(f->type, TYPE_ARP);
	memcpy(f->rest, request, sizeof(request));
	memcpy(f->rest + 8, n->mac, 6);
	put16(f->rest + 14, (address >> 16) & 0xffff); /* from the address beside it */
	put16(f->rest + 16, (address ^ 1) & 0xffff);
	put16(f->rest + 24, address >> 16);
	put16(f->rest + 26, address & 0xffff);
	send(n, 42);
}

/* False: it is not to be sent back, and was the last one. */
static bool echo(struct net *n, const struct frame *f)
{
	unsigned int bytes = get16(f->rest);

	if (bytes < 60 || bytes > sizeof(*f))
		return true;
	if (!memcmp(f->rest + 2, "quit", 4))
		return false;
	n->out->frame = *f;
	memcpy(n->out->frame.to, f->from, 6);
	memcpy(n->out->frame.from, n->mac, 6);
	send(n, bytes);
	n->echoed++;
	return true;
}

static void print_mac(const char *before, const uint8_t *mac)
{
	print("%s%02x:%02x:%02x:%02x:%02x:%02x", before, mac[0], mac[1], mac[2], mac[3], mac[4],
	      mac[5]);
}

/* Take one frame in.  False: that was all. */
static bool take(struct net *n, bool arp)
{
	struct buffer *b;
	bool more = true;
	unsigned int head;

	if (!virtqueue_take(&n->rx, &head))
		return true;
	b = n->in[head];
	if (arp && get16(b->frame.type) == TYPE_ARP && get16(b->frame.rest + 6) == 2) {
		print_mac("net: the owner is ", b->frame.rest + 8);
		print("\n");
		more = false;
	} else if (!arp && get16(b->frame.type) == TYPE_TEST) {
		more = echo(n, &b->frame);
	}
	offer(n, b);
	return more;
}

static void look(struct net *n)
{
	uint32_t low = virtio_read(&n->dev, VIRTIO_REG_CONFIG);
	uint32_t high = virtio_read(&n->dev, VIRTIO_REG_CONFIG + 4);
	uint32_t mtu = virtio_read(&n->dev, VIRTIO_REG_CONFIG + 8) >> 16;

	memcpy(n->mac, &low, 4);
	memcpy(n->mac + 4, &high, 2);
	print_mac("net: mac=", n->mac);
	print(" mtu=%u link=%s\n", mtu, high >> 16 & 1 ? "up" : "down");
	console_flush();
}

static bool start(struct net *n)
{
	if (!virtio_find(&n->dev, DEVICE_ID) ||
	    !virtio_negotiate(&n->dev, F_MAC | F_STATUS | F_MTU) ||
	    !virtqueue_create(&n->rx, &n->dev, 0) || !virtqueue_create(&n->tx, &n->dev, 1))
		return false;
	n->out = kmalloc(sizeof(*n->out));
	virtio_start(&n->dev);
	for (unsigned int i = 0; i < BUFFERS && i < n->rx.size; i++)
		offer(n, kmalloc(sizeof(struct buffer)));
	look(n);
	return true;
}

int net_run(struct args *a)
{
	static struct net n;
	uint32_t address = (uint32_t)args_key(a, "arp", 0);
	uint64_t next = 0;

	if (!args_done(a))
		return STATUS_USAGE;
	if (!start(&n)) {
		print("net: there is no virtio network card\n");
		return STATUS_NO_DEVICE;
	}
	while (take(&n, address)) {
		if (address && rdtsc() >= next) {
			ask(&n, address);
			next = rdtsc() + clock_khz() * ASK_MS;
		}
		if (n.rx.rings->used.idx == n.rx.used)
			pause_until(rdtsc() + clock_khz() * POLL_US / 1000);
		if (virtio_config_changed(&n.dev))
			look(&n);
	}
	virtio_reset(&n.dev);
	print("net: echoed=%lu\n", n.echoed);
	return STATUS_OK;
}
