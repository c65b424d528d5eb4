/* SPDX-License-Identifier: MIT */
/*
 * hvc: a driver of the virtio console (VIRTIO 1.2, section 5.3) that echoes what comes, and says on
 * it how large the terminal is, at first and whenever that changes.  It ends at the line "quit".
 *
 * Input comes in buffers of one byte, as many as the queue has: so their order is what is tested.
 */
#include "memory.h"
#include "paging.h"
#include "virtio.h"
#include "workload.h"

#define DEVICE_ID 3
#define F_SIZE	  1ULL

#define POLL_US 10000

struct hvc {
	struct virtio dev;
	struct virtqueue rx, tx;
	uint8_t *in;  /* a byte for each buffer of rx */
	char *out;    /* a page */
	char line[8]; /* the end of what came since the last Enter */
};

static void offer_byte(struct hvc *h, unsigned int i)
{
	struct virtq_piece piece = { direct_gpa(h->in + i), 1, .device_writes = true };

	virtqueue_add(&h->rx, &piece, 1);
}

/* The host has printed it when the buffer comes back. */
static void send(struct hvc *h, size_t bytes)
{
	struct virtq_piece piece = { direct_gpa(h->out), (uint32_t)bytes, .device_writes = false };
	unsigned int head;

	virtqueue_add(&h->tx, &piece, 1);
	while (!virtqueue_take(&h->tx, &head))
		virtio_check(&h->dev);
}

static void send_number(struct hvc *h, uint32_t n, char after)
{
	char digit[12], *p = digit + sizeof(digit);
	size_t bytes;

	*--p = after;
	do
		*--p = (char)('0' + n % 10);
	while (n /= 10);
	bytes = (size_t)(digit + sizeof(digit) - p);
	memcpy(h->out, p, bytes);
	send(h, bytes);
}

static void send_size(struct hvc *h)
{
	uint32_t size = virtio_read(&h->dev, VIRTIO_REG_CONFIG);

	memcpy(h->out, "size ", 5);
	send(h, 5);
	send_number(h, size & 0xffff, ' ');
	send_number(h, size >> 16, '\n');
}

/* Does the line end here, and say "quit"? */
static bool says_quit(struct hvc *h, char c)
{
	if (c == '\n' || c == '\r')
		return !memcmp(h->line, "quit", 5);
	memmove(h->line, h->line + (strlen(h->line) == 4), 5);
	h->line[strlen(h->line)] = c;
	return false;
}

/* Echo what came, in one piece.  False: it was the end. */
static bool echo(struct hvc *h)
{
	size_t bytes = 0;
	unsigned int i;
	bool quit = false;

	while (bytes < PAGE_SIZE && !quit && virtqueue_take(&h->rx, &i)) {
		h->out[bytes++] = (char)h->in[i];
		quit = says_quit(h, (char)h->in[i]);
		offer_byte(h, i);
	}
	if (bytes)
		send(h, bytes);
	return !quit;
}

static bool start(struct hvc *h)
{
	if (!virtio_find(&h->dev, DEVICE_ID) || !virtio_negotiate(&h->dev, F_SIZE) ||
	    !virtqueue_create(&h->rx, &h->dev, 0) || !virtqueue_create(&h->tx, &h->dev, 1))
		return false;
	h->in = direct(alloc_pages(0));
	h->out = direct(alloc_pages(0));
	virtio_start(&h->dev);
	for (unsigned int i = 0; i < h->rx.size; i++)
		offer_byte(h, i);
	return true;
}

int hvc_run(struct args *a)
{
	static struct hvc h;

	if (!args_done(a))
		return STATUS_USAGE;
	if (!start(&h)) {
		print("hvc: there is no virtio console\n");
		return STATUS_NO_DEVICE;
	}
	send_size(&h);
	while (echo(&h)) {
		if (virtio_config_changed(&h.dev))
			send_size(&h);
		pause_until(rdtsc() + clock_khz() * POLL_US / 1000);
	}
	virtio_reset(&h.dev);
	return STATUS_OK;
}
