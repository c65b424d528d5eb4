/* SPDX-License-Identifier: MIT */
#include "blk.h"
#include "memory.h"
#include "paging.h"

#define STATUS_NONE 0xee

/* What a request has besides its data. */
struct blk_dma {
	uint32_t type, reserved;
	uint64_t sector;
	struct {
		uint64_t sector;
		uint32_t sectors, flags;
	} range;
	uint8_t status, unused[15];
};
_Static_assert(sizeof(struct blk_dma) * BLK_DEPTH <= PAGE_SIZE, "they fit in a page");

bool blk_start(struct blk *b, uint64_t features)
{
	uint64_t dma = alloc_pages(0);

	*b = (struct blk){ .dma = direct(dma), .free = UINT32_MAX };
	if (!dma || !virtio_find(&b->dev, BLK_DEVICE_ID) || !virtio_negotiate(&b->dev, features) ||
	    !virtqueue_create(&b->q, &b->dev, 0))
		return false;
	b->sectors = virtio_read(&b->dev, VIRTIO_REG_CONFIG) |
		     (uint64_t)virtio_read(&b->dev, VIRTIO_REG_CONFIG + 4) << 32;
	virtio_start(&b->dev);
	return true;
}

/* Take one request that is done.  False: none is. */
static bool take(struct blk *b)
{
	unsigned int head, i;

	if (!virtqueue_take(&b->q, &head))
		return false;
	i = b->at_head[head];
	b->failed += *(volatile uint8_t *)&b->dma[i].status != 0;
	b->free |= 1U << i;
	b->nr_flying--;
	return true;
}

static void take_or_wait(struct blk *b)
{
	if (take(b))
		return;
	virtio_check(&b->dev);
	clock_wait(CLOCK_NEVER);
}

static void submit(struct blk *b, unsigned int i, uint64_t gpa, uint32_t bytes)
{
	struct blk_dma *d = &b->dma[i];
	bool in = d->type == BLK_IN || d->type == BLK_GET_ID;
	struct virtq_piece piece[3] = { { direct_gpa(d), 16, false } };
	unsigned int nr = 1;
	int head;

	if (bytes)
		piece[nr++] = (struct virtq_piece){ gpa, bytes, in };
	piece[nr++] = (struct virtq_piece){ direct_gpa(&d->status), 1, true };
	while ((head = virtqueue_add(&b->q, piece, nr)) < 0)
		take_or_wait(b);
	b->at_head[head] = i;
	b->nr_flying++;
}

static unsigned int new_request(struct blk *b, uint32_t type, uint64_t sector)
{
	unsigned int i;

	while (!b->free)
		take_or_wait(b);
	i = (unsigned int)__builtin_ctz(b->free);
	b->free &= ~(1U << i);
	b->dma[i] = (struct blk_dma){ .type = type, .sector = sector, .status = STATUS_NONE };
	return i;
}

void blk_ask(struct blk *b, uint32_t type, uint64_t sector, uint64_t gpa, uint32_t bytes)
{
	submit(b, new_request(b, type, sector), gpa, bytes);
}

void blk_ask_range(struct blk *b, uint32_t type, uint64_t sector, uint32_t sectors, bool unmap)
{
	unsigned int i = new_request(b, type, 0);

	b->dma[i].range.sector = sector;
	b->dma[i].range.sectors = sectors;
	b->dma[i].range.flags = unmap;
	submit(b, i, direct_gpa(&b->dma[i].range), sizeof(b->dma[i].range));
}

uint64_t blk_wait(struct blk *b)
{
	uint64_t failed;

	while (b->nr_flying)
		take_or_wait(b);
	failed = b->failed;
	b->failed = 0;
	return failed;
}
