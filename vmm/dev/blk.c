/* SPDX-License-Identifier: MIT */
/*
 * virtio-blk: the device and its queue.  blk_request.c has what becomes of one request.
 *
 * BLK_REQUESTS of them are in work at a time.  A buffer takes memory once it has been used, and the
 * lowest that is free is taken: a guest that asks for one thing after the other has one.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include "blk_impl.h"

#define DEVICE_ID 2u

_Static_assert(BLK_REQUESTS *BLK_BUFFER_BYTES + 200 * KiB <= BLK_MEMORY_BYTES, "that is enough");
_Static_assert(BLK_REQUESTS <= FILE_MAX_IN_FLIGHT, "all requests can be in flight");

#define F_SIZE_MAX     (1ULL << 1)
#define F_SEG_MAX      (1ULL << 2)
#define F_RO	       (1ULL << 5)
#define F_BLK_SIZE     (1ULL << 6)
#define F_FLUSH	       (1ULL << 9)
#define F_DISCARD      (1ULL << 13)
#define F_WRITE_ZEROES (1ULL << 14)

#define SIZE_MAX_BYTES (1 * MiB)       /* the largest segment */
#define SEG_MAX	       (VIRTQ_MAX - 2) /* besides header and status */

/* struct virtio_blk_config, as far as our features go */
struct config_space {
	uint64_t capacity;
	uint32_t size_max, seg_max;
	uint8_t geometry[4];
	uint32_t blk_size;
	uint8_t topology[8], writeback, unused0;
	uint16_t num_queues;
	uint32_t max_discard_sectors, max_discard_seg, discard_sector_alignment;
	uint32_t max_write_zeroes_sectors, max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap, unused1[3];
} __attribute__((packed));
_Static_assert(sizeof(struct config_space) == 60, "as the specification has it");

/* ---- the queue ---- */

static struct blk_request *free_request(struct blk *b)
{
	for (unsigned int i = 0; i < BLK_REQUESTS; i++)
		if (b->request[i].state == BLK_FREE)
			return &b->request[i];
	return NULL;
}

static bool has_orphans(const struct blk *b)
{
	for (unsigned int i = 0; i < BLK_REQUESTS; i++)
		if (b->request[i].state == BLK_ORPHAN)
			return true;
	return false;
}

/* What came back, and what waited for it. */
static int advance(struct blk *b, struct virtq *q)
{
	int ret = 0;

	for (unsigned int i = 0; i < BLK_REQUESTS && !ret; i++)
		if (b->request[i].op.done)
			ret = blk_request_done(q, &b->request[i]);
	for (unsigned int i = 0; i < BLK_REQUESTS && !ret; i++)
		if (b->request[i].state == BLK_READY)
			ret = blk_request_go_on(q, &b->request[i]);
	return ret;
}

static int serve(void *dev, unsigned int n)
{
	struct blk *b = dev;
	struct virtq *q = virtio_queue(b->virtio, n);
	int ret = advance(b, q);
	struct blk_request *r;

	while (!ret && !has_orphans(b) && (r = free_request(b))) {
		ret = blk_request_take(q, r);
		if (ret <= 0)
			return ret;
		ret = blk_request_go_on(q, r);
	}
	return ret;
}

static void reset(void *dev)
{
	struct blk *b = dev;

	for (unsigned int i = 0; i < BLK_REQUESTS; i++)
		if (b->request[i].state == BLK_FLYING)
			b->request[i].state = BLK_ORPHAN;
		else if (b->request[i].state == BLK_READY)
			b->request[i].state = BLK_FREE;
	b->flushes = false;
}

/* ---- the rest of the device ---- */

static uint64_t features(void *dev)
{
	const struct disk *d = ((struct blk *)dev)->config.disk;
	uint64_t all = F_SIZE_MAX | F_SEG_MAX | F_BLK_SIZE | F_FLUSH;

	if (d->read_only)
		return all | F_RO;
	return all | F_WRITE_ZEROES | (d->punch ? F_DISCARD : 0);
}

static void config_read(void *dev, uint32_t offset, void *buf, uint32_t len)
{
	const struct blk *b = dev;
	const struct config_space space = {
		.capacity = blk_sectors(b),
		.size_max = SIZE_MAX_BYTES,
		.seg_max = SEG_MAX,
		.blk_size = DISK_SECTOR,
		.num_queues = 1,
		.max_discard_sectors = BLK_MOST_SECTORS,
		.max_discard_seg = 1,
		.discard_sector_alignment = DISK_CLUSTER / DISK_SECTOR,
		.max_write_zeroes_sectors = BLK_MOST_SECTORS,
		.max_write_zeroes_seg = 1,
		.write_zeroes_may_unmap = b->config.disk->punch,
	};

	virtio_config_copy(&space, sizeof(space), offset, buf, len);
}

static void start(void *dev, uint64_t accepted, unsigned int queues)
{
	struct blk *b = dev;

	(void)queues;
	b->flushes = accepted & F_FLUSH;
}

static bool async(void *dev, unsigned int n)
{
	(void)dev;
	(void)n;
	return true;
}

static const struct virtio_ops ops = {
	.name = "disk",
	.device_id = DEVICE_ID,
	.nr_queues = 1,
	.features = features,
	.config_read = config_read,
	.start = start,
	.serve = serve,
	.reset = reset,
	.async = async,
	.own_thread = 1u,
};

/* ---- for others ---- */

struct virtio *blk_virtio(struct blk *b)
{
	return b->virtio;
}

void blk_notify(struct blk *b)
{
	virtio_defer(b->virtio, 0);
}

bool blk_reap(struct blk *b)
{
	bool some = false;

	while (file_io_reap(b->config.io))
		some = true;
	if (some)
		virtio_defer(b->virtio, 0);
	return some;
}

bool blk_serve(struct blk *b)
{
	bool taken;

	blk_reap(b);
	do {
		while (virtio_serve(b->virtio))
			;
		taken = file_io_flush(b->config.io);
	} while (blk_reap(b));
	return taken;
}

void blk_stats(const struct blk *b, struct blk_stats *out)
{
	const struct blk_count *c = &b->count;

	*out = (struct blk_stats){
		.reads = atomic_load(&c->requests[BLK_IN]),
		.writes = atomic_load(&c->requests[BLK_OUT]),
		.flushes = atomic_load(&c->requests[BLK_FLUSH]),
		.discards = atomic_load(&c->requests[BLK_DISCARD]),
		.zeroes = atomic_load(&c->requests[BLK_ZEROES]),
		.read_bytes = atomic_load(&c->read_bytes),
		.written_bytes = atomic_load(&c->written_bytes),
		.errors = atomic_load(&c->errors),
		.refused = atomic_load(&c->refused),
	};
}

int blk_create(const struct blk_config *config, struct bus *mmio, struct blk **out)
{
	struct blk *b = calloc(1, sizeof(*b));
	int ret;

	if (!b)
		return -ENOMEM;
	b->config = *config;
	b->buffers = mmap(NULL, BLK_REQUESTS * BLK_BUFFER_BYTES, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (unsigned int i = 0; i < BLK_REQUESTS; i++) {
		b->request[i].blk = b;
		b->request[i].buffer = b->buffers + i * BLK_BUFFER_BYTES;
	}
	ret = b->buffers == MAP_FAILED ? -ENOMEM :
					 virtio_create(&ops, b, &config->virtio, mmio, &b->virtio);
	if (ret) {
		blk_destroy(b);
		return ret;
	}
	*out = b;
	return 0;
}

void blk_destroy(struct blk *b)
{
	if (!b)
		return;
	virtio_destroy(b->virtio);
	if (b->buffers != MAP_FAILED)
		munmap(b->buffers, BLK_REQUESTS * BLK_BUFFER_BYTES);
	free(b);
}
